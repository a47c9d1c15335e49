"""What hashes and sets have in common: both forms, rows, undoing, walking."""

from __future__ import annotations

from binascii import crc32

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.twins import content, stray_nodes
from tinykv.errors import Damaged
from tinykv.redis.hash_value import Hash
from tinykv.redis.keyed_value import SMALL_BYTES, SMALL_ENTRIES, KeyedValue, place
from tinykv.redis.keyspace import Database
from tinykv.redis.set_value import Set
from tinykv.testing.embedded import Embedded

ELEMENTS = st.integers(0, 200).map(lambda i: b"e%d" % i)
VALUES = st.sampled_from([b"", b"v", b"w" * 70, b"x" * 3000])
STEPS = st.one_of(
    st.tuples(st.just("put"), ELEMENTS, VALUES),
    st.tuples(st.just("put"), ELEMENTS, VALUES),
    st.tuples(st.just("remove"), ELEMENTS, VALUES),
    st.tuples(st.just("put many"), ELEMENTS, VALUES),
    st.tuples(st.just("remove many"), ELEMENTS, VALUES),
)
COMMANDS = st.lists(
    st.tuples(st.lists(STEPS, max_size=8), st.sampled_from(["commit", "undo", "forget", "turn"]))
)


def hash_of(embedded: Embedded, pairs: list[tuple[bytes, bytes]], key: bytes = b"k") -> Hash:
    """Let a key hold a new hash."""
    keyspace = embedded.keyspace
    keyspace.begin(embedded.now)
    value = keyspace.databases[0].typed_or_new(key, Hash)
    for pair in pairs:
        value.put(*pair)
    keyspace.commit()
    return value


def set_of(embedded: Embedded, members: list[bytes], key: bytes = b"k") -> Set:
    """Let a key hold a new set."""
    keyspace = embedded.keyspace
    keyspace.begin(embedded.now)
    value = keyspace.databases[0].typed_or_new(key, Set)
    for member in members:
        value.add(member)
    keyspace.commit()
    return value


def numbered(count: int) -> list[tuple[bytes, bytes]]:
    """Make pairs."""
    return [(b"f%d" % i, b"v%d" % i) for i in range(count)]


def is_large(value: KeyedValue) -> bool:
    """Say if it's kept in a tree."""
    return bool(value.generations())


class ModelTests(SynchronousTestCase):
    """A hash and a set beside a dict."""

    def test_hash(self) -> None:
        """A hash is what a dict would be, over undone commands, restarts, and a cache that drops all."""

        @given(COMMANDS)
        def check(commands: list[tuple[list[tuple[str, bytes, bytes]], str]]) -> None:
            self._check(Hash, commands)

        check()

    def test_set(self) -> None:
        """So is a set."""

        @given(COMMANDS)
        def check(commands: list[tuple[list[tuple[str, bytes, bytes]], str]]) -> None:
            self._check(Set, commands)

        check()

    def _check(
        self, cls: type[KeyedValue], commands: list[tuple[list[tuple[str, bytes, bytes]], str]]
    ) -> None:
        embedded = Embedded(budget=30000)
        model: dict[bytes, bytes] = {}
        for steps, end in commands:
            keyspace = embedded.keyspace
            db = keyspace.databases[0]
            before = content(keyspace)
            now = model.copy()
            keyspace.begin(embedded.now)
            for step, element, payload in steps:
                self._step(db, cls, now, (step, element, payload if cls is Hash else b""))
            if end == "undo":
                keyspace.rollback()
                assert content(keyspace) == before
            else:
                keyspace.commit()
                model = now
            assert not stray_nodes(embedded)
            if end == "forget":
                embedded.forget()
            elif end == "turn":
                embedded.rows.flush()
                keyspace.rotate()
            value = embedded.keyspace.databases[0].typed(b"k", cls)
            if value is None:
                assert not model
                continue
            pairs = list(value.pairs())
            if is_large(value):
                assert pairs == sorted(model.items(), key=lambda pair: place(pair[0]))
            else:
                assert pairs == list(model.items())
            assert len(value) == len(model)
            assert list(value.places()) == sorted(map(place, model))

    @staticmethod
    def _step(
        db: Database, cls: type[KeyedValue], model: dict[bytes, bytes], step: tuple[str, bytes, bytes]
    ) -> None:
        name, element, payload = step
        elements = [element]
        if name.endswith("many"):
            elements = [b"e%d" % i for i in range(int(element[1:]), 201)]
        value = db.typed_or_new(b"k", cls)
        for element in elements:
            if name.startswith("remove"):
                assert value.remove(element) == (model.pop(element, None) is not None)
                continue
            new = element not in model
            model[element] = payload
            if isinstance(value, Hash):
                assert value.put(element, payload) == new
            else:
                assert isinstance(value, Set)
                assert value.add(element) == new


class FormTests(SynchronousTestCase):
    """When a dict becomes a tree, and what their rows are."""

    def setUp(self) -> None:
        """Start with nothing."""
        self.embedded = Embedded()

    def test_grows_by_count(self) -> None:
        """One element too many makes a tree of it."""
        value = hash_of(self.embedded, numbered(SMALL_ENTRIES))
        assert not is_large(value)
        hash_of(self.embedded, [(b"f0", b"again")])
        assert not is_large(value)
        hash_of(self.embedded, [(b"more", b"v")])
        assert is_large(value)
        assert value.encoding() == b"listpack"

    def test_grows_by_bytes(self) -> None:
        """So does a byte too many, and only what is there counts."""
        value = hash_of(self.embedded, [(b"f", b"x" * (SMALL_BYTES - 1))])
        hash_of(self.embedded, [(b"f", b"y" * (SMALL_BYTES - 1))])
        assert not is_large(value)
        self.embedded.run(b"HDEL", b"k", b"f")
        value = hash_of(self.embedded, [(b"f", b"x" * (SMALL_BYTES - 2)), (b"g", b"")])
        assert not is_large(value)
        self.embedded.run(b"HDEL", b"k", b"g")
        hash_of(self.embedded, [(b"f", b"x" * (SMALL_BYTES - 1))])
        assert not is_large(value)
        hash_of(self.embedded, [(b"f", b"x" * SMALL_BYTES)])
        assert is_large(value)

    def test_undone_growth(self) -> None:
        """Undoing the growth gives back the same row, and leaves no node."""
        value = hash_of(self.embedded, numbered(SMALL_ENTRIES))
        before = self.embedded.rows.image()
        keyspace = self.embedded.keyspace
        keyspace.begin(self.embedded.now)
        value.put(b"f5", b"other")
        value.remove(b"f3")
        value.put(b"f3", b"last")
        for i in range(1000):
            value.put(b"more%d" % i, b"v" * 100)
        value.remove(b"f7")
        assert is_large(value)
        keyspace.rollback()
        assert self.embedded.rows.image() == before
        assert list(value.items()) == numbered(SMALL_ENTRIES)
        assert value.encoding() == b"listpack"

    def test_undone_removal(self) -> None:
        """Undoing removals gives back the order."""
        value = set_of(self.embedded, [b"a", b"b", b"c", b"d"])
        before = self.embedded.rows.image()
        keyspace = self.embedded.keyspace
        for _ in range(2):
            keyspace.begin(self.embedded.now)
            value.add(b"e")
            value.remove(b"b")
            value.remove(b"e")
            value.add(b"b")
            value.remove(b"a")
            keyspace.rollback()
            assert self.embedded.rows.image() == before

    def test_one_node_for_one_element(self) -> None:
        """A change of one element of many changes its leaf, what's above it, and the meta row."""
        value = set_of(self.embedded, [b"%d" % i for i in range(20000)])
        self.embedded.rows.flush()
        set_of(self.embedded, [b"one more"])
        changed = [row for row in self.embedded.rows.rows["data"].values() if not isinstance(row, bytes)]
        assert value in changed
        assert len(changed) <= 4

    def test_rows_remain_readable(self) -> None:
        """The inline rows of hash and set as they were always written."""
        hash_of(self.embedded, [(b"f", b"v1")], b"h")
        set_of(self.embedded, [b"7", b"8"], b"n")
        set_of(self.embedded, [b"7", b"m"], b"s")
        db = self.embedded.keyspace.databases[0]
        for key, kind, body in (
            (b"h", 5, b"\x02\x02\0\0\0\x01\0\0\0\x02\0\0\0fv1"),
            (b"n", 3, b"\x02\x02\0\0\0\x01\0\0\0\x01\0\0\x0078"),
            (b"s", 3, b"\x00\x02\0\0\0\x01\0\0\0\x01\0\0\x007m"),
        ):
            value = db.get(key)
            assert isinstance(value, KeyedValue)
            row = value.encode()
            assert (row[0], row[9:]) == (kind, body), row

    def test_damaged(self) -> None:
        """A row that can't be is refused."""
        db = self.embedded.keyspace.databases[0]
        good = hash_of(self.embedded, numbered(3)).encode_body()
        large = set_of(self.embedded, [b"%d" % i for i in range(500)], b"l").encode_body()
        odd = b"\x00\x01\0\0\0\x01\0\0\0f"
        twice = b"\x00\x04\0\0\0" + b"\x01\0\0\0" * 4 + b"fvfv"
        for body in (
            b"",
            b"\x04",
            good[:-1],
            good + b"x",
            odd,
            twice,
            large[:-1],
            b"\x01",
            b"\x01\0\0\0\0\0\0\0\x01",
        ):
            with self.assertRaises(Damaged):
                Hash(db, b"k", b"row").decode_body(body)
        with self.assertRaises(Damaged):
            Set(db, b"k", b"row").decode_body(b"\x00\x02\0\0\0" + b"\x01\0\0\0" * 2 + b"mm")

    def test_copy(self) -> None:
        """A copy has the same elements in the same order and the same encoding, and is its own."""
        keyspace = self.embedded.keyspace
        for count in (3, 1000):
            value = hash_of(self.embedded, numbered(count), b"a%d" % count)
            keyspace.begin(self.embedded.now)
            value.unpack()
            value.remove(b"f1")
            keyspace.commit()
            before = content(keyspace)
            for end in (keyspace.rollback, keyspace.commit):
                keyspace.begin(self.embedded.now)
                copy = keyspace.databases[0].create(b"b%d" % count, Hash)
                copy.copy_from(value)
                assert list(copy.items()) == list(value.items())
                assert copy.encoding() == b"hashtable"
                end()
                if end == keyspace.rollback:
                    assert content(keyspace) == before
                    assert not stray_nodes(self.embedded)
            hash_of(self.embedded, [(b"only here", b"v")], b"b%d" % count)
            assert value.get(b"only here") is None
            assert not stray_nodes(self.embedded)

    def test_size(self) -> None:
        """What a small value is charged grows with it."""
        value = hash_of(self.embedded, numbered(10))
        before = value.size()
        hash_of(self.embedded, [(b"f", b"x" * 1000)])
        assert value.size() - before > 1000


class WalkTests(SynchronousTestCase):
    """Ranks and scans."""

    def setUp(self) -> None:
        """Start with nothing."""
        self.embedded = Embedded()

    def test_ranks(self) -> None:
        """Each rank gives the element at that place of the row order, one by one or many together."""
        for count in (5, 1000):
            value = hash_of(self.embedded, numbered(count), b"h%d" % count)
            pairs = list(value.items())
            assert [value.at(rank) for rank in range(count)] == pairs
            for ranks in ([], [0], [count - 1], list(range(0, count, 2)), list(range(3, count, 100))):
                assert list(value.pairs_at(ranks)) == [pairs[rank] for rank in ranks]

    def scan_all(self, value: Hash | Set, count: int) -> list[object]:
        """Walk to the end."""
        found: list[object] = []
        position = 0
        while True:
            position, part = value.scan(position, count)
            found += part
            if not position:
                return found

    def test_scan(self) -> None:
        """A scan gives everything once, about as many at a time as asked for."""
        value = set_of(self.embedded, [b"m%d" % i for i in range(3000)])
        for count in (1, 10, 999, 5000):
            assert self.scan_all(value, count) == list(value.members())
        assert len(value.scan(0, 10)[1]) == 10
        assert value.scan(1 << 40, 10) == (0, [])

    def test_scan_survives_changes(self) -> None:
        """What is there from beginning to end comes, whatever else comes and goes, over a restart too."""
        value = set_of(self.embedded, [b"m%d" % i for i in range(2000)])
        found: list[bytes] = []
        position, place_in = 0, 0
        while True:
            position, part = value.scan(position, 50)
            found += part
            if not position:
                break
            place_in += 1
            self.embedded.run(b"SREM", b"k", *part)
            set_of(self.embedded, [b"new%d" % place_in])
            self.embedded.forget()
            again = self.embedded.keyspace.databases[0].typed(b"k", Set)
            assert again is not None
            value = again
        assert {b"m%d" % i for i in range(2000)} <= set(found)

    def test_scan_whole(self) -> None:
        """What Redis keeps in a compact encoding comes at once."""
        value = hash_of(self.embedded, numbered(400))
        assert is_large(value)
        position, part = value.scan(0, 10)
        assert (position, len(part)) == (0, 400)
        value.unpack()
        assert len(value.scan(0, 10)[1]) == 10

    def test_equal_hashes_together(self) -> None:
        """Elements of one crc32 are never cut apart, so that a position is a number."""
        # A well-known pair.
        one, other = b"plumless", b"buckeroo"
        assert crc32(one) == crc32(other)
        value = set_of(self.embedded, [one, other, *(b"m%d" % i for i in range(500))])
        position, found = 0, []
        while True:
            position, part = value.scan(position, 1)
            assert (one in part) == (other in part)
            found += part
            if not position:
                break
        assert found == list(value.members())
