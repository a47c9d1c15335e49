"""Sorted sets: both forms beside a slow twin, rows, undoing, ranks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.twins import stray_nodes
from tinykv.errors import Damaged
from tinykv.redis.keyed_value import SMALL_BYTES, SMALL_ENTRIES, place
from tinykv.redis.keyspace import Database, Keyspace
from tinykv.redis.score_order import order_after, order_of, score_at
from tinykv.redis.value import Value
from tinykv.redis.zset_value import SortedSet
from tinykv.testing.embedded import Embedded

Pairs = list[tuple[bytes, float]]

EDGES = [-math.inf, -1e300, -2.5, -1.0, -5e-324, 0.0, 5e-324, 0.1, 1.0, 2.0, 1e300, math.inf]
MEMBERS = st.integers(0, 250).map(lambda i: b"m%d" % i)
SCORES = st.one_of(st.sampled_from([*EDGES, -0.0]), st.integers(-5, 5).map(float))
STEPS = st.one_of(
    st.tuples(st.just("add"), MEMBERS, SCORES),
    st.tuples(st.just("add"), MEMBERS, SCORES),
    st.tuples(st.just("remove"), MEMBERS, SCORES),
    st.tuples(st.just("add many"), MEMBERS, SCORES),
    st.tuples(st.just("remove many"), MEMBERS, SCORES),
    st.tuples(st.just("remove ranks"), MEMBERS, SCORES),
)
COMMANDS = st.lists(
    st.tuples(st.lists(STEPS, max_size=6), st.sampled_from(["commit", "undo", "forget", "turn"])), max_size=12
)


def zset_of(embedded: Embedded, pairs: Pairs, key: bytes = b"k") -> SortedSet:
    """Add members to a key's sorted set."""
    keyspace = embedded.keyspace
    keyspace.begin(embedded.now)
    value = keyspace.databases[0].typed_or_new(key, SortedSet)
    for member, score in pairs:
        value.add(member, score)
    keyspace.commit()
    return value


def numbered(count: int) -> Pairs:
    """Make pairs whose scores ascend."""
    return [(b"m%d" % i, i / 4) for i in range(count)]


def is_large(value: SortedSet) -> bool:
    """Say if it's kept in trees."""
    return bool(value.generations())


def content(keyspace: Keyspace) -> dict[bytes, object]:
    """Give what the first database holds: small values as rows, of large ones what can be seen."""
    held: dict[bytes, object] = {}
    db = keyspace.databases[0]
    for _, _, key, _ in list(db.rows_from(0, 0)):
        value = db.get(key)
        if isinstance(value, SortedSet) and is_large(value):
            held[key] = (value.version, value.expires, value.packed, signed(value.items()), signed(value.places()))
        else:
            held[key] = value.encode() if isinstance(value, Value) else value
    return held


def signed(pairs: Iterable[tuple[bytes, float]]) -> list[tuple[bytes, str]]:
    """Make the sign of zeros comparable."""
    return [(member, repr(score)) for member, score in pairs]


class Model:
    """The slow, obvious twin: a dict, sorted whenever it's asked."""

    def __init__(self, scores: dict[bytes, float] | None = None) -> None:
        self.scores = {} if scores is None else scores

    def ranked(self) -> Pairs:
        return sorted(self.scores.items(), key=lambda pair: (pair[1], pair[0]))

    def check(self, value: SortedSet) -> None:
        """Compare everything that can be asked."""
        ranked = self.ranked()
        count = len(ranked)
        assert len(value) == count
        assert list(value.items()) == ranked
        assert list(value.places()) == sorted((place(member), score) for member, score in ranked)
        for rank in {0, 1, count // 3, count - 1}:
            if 0 <= rank < count:
                member, score = ranked[rank]
                assert value.at(rank) == (member, score)
                assert value.rank(member) == rank
                assert value.score(member) == score
        assert value.rank(b"absent") is None
        assert value.score(b"absent") is None
        for bound in (*EDGES, 3.0):
            assert value.ranks_below(bound, False) == sum(score < bound for _, score in ranked)
            assert value.ranks_below(bound, True) == sum(score <= bound for _, score in ranked)
        for start, stop in ((0, 0), (0, count), (count // 3, count // 2), (count // 2, count)):
            assert list(value.by_rank(start, stop)) == ranked[start:stop]
            assert list(value.by_rank(start, stop, True)) == ranked[start:stop][::-1]
        ranks = list(range(0, count, 7))
        assert list(value.pairs_at(ranks)) == [ranked[rank] for rank in ranks]
        assert list(value.pairs_at(ranks[:2])) == [ranked[rank] for rank in ranks[:2]]


class ModelTests(SynchronousTestCase):
    """A sorted set beside its twin."""

    def test_like_the_twin(self) -> None:
        """It is what the twin is, over undone commands, restarts, and a cache that drops everything."""

        @given(COMMANDS)
        def check(commands: list[tuple[list[tuple[str, bytes, float]], str]]) -> None:
            embedded = Embedded(budget=30000)
            model = Model()
            for steps, end in commands:
                keyspace = embedded.keyspace
                before = content(keyspace)
                now = Model(model.scores.copy())
                keyspace.begin(embedded.now)
                for step in steps:
                    self._step(keyspace.databases[0], now, step)
                if end == "undo":
                    keyspace.rollback()
                    assert content(keyspace) == before
                else:
                    keyspace.commit()
                    model = now
                assert not stray_nodes(embedded)
                seen = content(keyspace)
                if end == "forget":
                    embedded.forget()
                    assert content(embedded.keyspace) == seen
                elif end == "turn":
                    embedded.rows.flush()
                    keyspace.rotate()
                value = embedded.keyspace.databases[0].typed(b"k", SortedSet)
                if value is None:
                    assert not model.scores
                else:
                    model.check(value)

        check()

    @staticmethod
    def _step(db: Database, model: Model, step: tuple[str, bytes, float]) -> None:
        name, member, score = step
        number = int(member[1:])
        value = db.typed_or_new(b"k", SortedSet)
        if name == "remove ranks":
            ranked = model.ranked()
            start, stop = sorted((number % (len(ranked) + 1), len(ranked) // 2))
            value.remove_ranks(start, stop)
            for gone, _ in ranked[start:stop]:
                del model.scores[gone]
            return
        members = [b"m%d" % i for i in range(number, 251)] if name.endswith("many") else [member]
        for i, one in enumerate(members):
            if name.startswith("remove"):
                assert value.remove(one) == (model.scores.pop(one, None) is not None)
                continue
            new = score if i % 2 else float(i % 5)
            assert value.add(one, new) == model.scores.get(one)
            model.scores[one] = new

    def test_lexical_ranks(self) -> None:
        """With equal scores members are ordered as bytes, in both forms, and bounds needn't be members."""
        for count in (20, 600):
            embedded = Embedded()
            members = sorted([b"", b"\x00", b"\xff" * 9, *(b"%d" % (i * 7) for i in range(count))])
            value = zset_of(embedded, [(member, 1.5) for member in members])
            for bound in [b"", b"0", b"1", b"14", b"14\0", b"9", b"\xff", b"\xff" * 9, b"\xff" * 10]:
                assert value.ranks_before(bound, False) == sum(member < bound for member in members)
                assert value.ranks_before(bound, True) == sum(member <= bound for member in members)

    def test_lexical_ranks_of_mixed_scores(self) -> None:
        """With other scores it's some rank, the same in both forms as long as members ascend with them."""
        for count in (20, 600):
            pairs = [(b"%05d" % i, i / 8) for i in range(count)]
            value = zset_of(Embedded(), pairs)
            for i in range(0, count, 9):
                assert value.ranks_before(b"%05d" % i, False) == i
                assert value.ranks_before(b"%05d" % i, True) == i + 1

    def test_scan(self) -> None:
        """A large one comes in the order of its hashes, whatever happens between; a small one at once."""
        embedded = Embedded()
        small = zset_of(embedded, numbered(20), b"small")
        assert small.scan(77, 1) == (0, list(small.items()))
        value = zset_of(embedded, numbered(3000))
        found: Pairs = []
        position = 0
        while True:
            position, part = value.scan(position, 100)
            found += part
            if not position:
                break
            assert 100 <= len(part) < 110
            zset_of(embedded, [(b"other%d" % position, 1.0)], b"small")
        assert found == [(name[4:], score) for name, score in value.places()]
        assert value.scan(1 << 40, 10) == (0, [])


class FormTests(SynchronousTestCase):
    """When a dict becomes trees, and what the rows are."""

    def setUp(self) -> None:
        """Start with nothing."""
        self.embedded = Embedded()

    def test_grows(self) -> None:
        """One member or one byte too many makes trees of it, for good; the encoding doesn't hang on that."""
        value = zset_of(self.embedded, numbered(SMALL_ENTRIES))
        assert not is_large(value)
        assert value.encoding() == b"listpack"
        zset_of(self.embedded, [(b"more", 1.0)])
        assert is_large(value)
        assert value.encoding() == b"skiplist"
        self.embedded.run(b"ZREMRANGEBYRANK", b"k", b"0", b"-3")
        assert is_large(value)
        other = zset_of(self.embedded, [(b"x" * (SMALL_BYTES - 8), 1.0)], b"o")
        assert not is_large(other)
        assert other.encoding() == b"skiplist"
        zset_of(self.embedded, [(b"", 1.0)], b"o")
        assert is_large(other)
        self.embedded.keyspace.settings.change({"zset-max-listpack-entries": 1000}, self.embedded.rows)
        packed = zset_of(self.embedded, numbered(900), b"p")
        assert is_large(packed)
        assert packed.encoding() == b"listpack"
        assert packed.scan(5, 3) == (0, list(packed.items()))

    def test_undone_growth(self) -> None:
        """Undoing the growth gives back the same row, and leaves no node."""
        value = zset_of(self.embedded, numbered(SMALL_ENTRIES))
        before = self.embedded.rows.image()
        keyspace = self.embedded.keyspace
        keyspace.begin(self.embedded.now)
        value.add(b"m5", 100.0)
        value.remove(b"m3")
        for i in range(1000):
            value.add(b"more%d" % i, -i / 2)
        value.remove_ranks(100, 700)
        value.add(b"m7", -0.0)
        assert is_large(value)
        keyspace.rollback()
        assert self.embedded.rows.image() == before
        assert list(value.items()) == numbered(SMALL_ENTRIES)
        assert value.encoding() == b"listpack"

    def test_signs_of_zero(self) -> None:
        """The compact encoding has no -0; the other keeps the sign that came first, in the row and in trees too."""
        value = zset_of(self.embedded, [(b"a", -0.0), (b"b", 1.0)])
        assert signed(value.items()) == [(b"a", "0.0"), (b"b", "1.0")]
        zset_of(self.embedded, [(b"l" * 65, -0.0), (b"a", -0.0), (b"b", -0.0)])
        expected = [(b"a", "0.0"), (b"b", "-0.0"), (b"l" * 65, "-0.0")]
        assert signed(value.items()) == expected
        self.embedded.forget()
        for count in (0, 500):
            value = zset_of(self.embedded, [(b"~%d" % i, i + 1.0) for i in range(count)])
            assert is_large(value) == bool(count)
            assert signed(value.items())[:3] == expected
            assert signed([value.at(1)]) == expected[1:2]
            zset_of(self.embedded, [(b"b", 0.0)])
            assert repr(value.score(b"b")) == "-0.0"
            self.embedded.forget()
        value = zset_of(self.embedded, [(b"~1", -0.0)])
        assert signed(value.by_rank(2, 4)) == [(b"l" * 65, "-0.0"), (b"~1", "-0.0")]

    def test_one_leaf_of_each_tree(self) -> None:
        """A change of one member of many changes a leaf of each tree, what's above them, and the meta row."""
        value = zset_of(self.embedded, numbered(20000))
        self.embedded.rows.flush()
        zset_of(self.embedded, [(b"one more", 77.0)])
        changed = [row for row in self.embedded.rows.rows["data"].values() if not isinstance(row, bytes)]
        assert value in changed
        assert len(changed) <= 7
        self.embedded.rows.flush()
        zset_of(self.embedded, [(b"one more", 77.0)])
        assert all(isinstance(row, bytes) for row in self.embedded.rows.rows["data"].values())

    def test_row_remains_readable(self) -> None:
        """The inline row as it was always written."""
        row = zset_of(self.embedded, [(b"n", 1.5), (b"m", -2.0)]).encode()
        doubles = b"\xc0\0\0\0\0\0\0\0m" + b"\x3f\xf8\0\0\0\0\0\0n"
        assert (row[0], row[9:]) == (4, b"\x02\x02\0\0\0\x09\0\0\0\x09\0\0\0" + doubles)

    def test_damaged(self) -> None:
        """A row that can't be is refused."""
        db = self.embedded.keyspace.databases[0]
        good = zset_of(self.embedded, numbered(3)).encode_body()
        large = zset_of(self.embedded, numbered(500), b"l").encode_body()
        head = b"\x00\x02\0\0\0" + b"\x09\0\0\0" * 2
        one, two = b"\x3f\xf0\0\0\0\0\0\0", b"\x40\0\0\0\0\0\0\0"
        short = b"\x00\x01\0\0\0\x07\0\0\0" + b"x" * 7
        not_a_number = b"\x00\x01\0\0\0\x08\0\0\0\x7f\xf8\0\0\0\0\0\0"
        twice, descending = head + one + b"m" + two + b"m", head + two + b"a" + one + b"b"
        bodies = [b"", b"\x08", good[:-1], good + b"x", short, not_a_number, twice, descending]
        for body in [*bodies, large[:-1], large + b"x", b"\x01", large[:14]]:
            with self.assertRaises(Damaged):
                SortedSet(db, b"k", b"row").decode_body(body)

    def test_copy(self) -> None:
        """A copy has the same members and the same encoding, and is its own."""
        keyspace = self.embedded.keyspace
        for count in (3, 1000):
            value = zset_of(self.embedded, [(b"l" * 65, -0.0), *numbered(count)], b"a%d" % count)
            before = content(keyspace)
            for end in (keyspace.rollback, keyspace.commit):
                keyspace.begin(self.embedded.now)
                copy = keyspace.databases[0].create(b"b%d" % count, SortedSet)
                copy.copy_from(value)
                assert signed(copy.items()) == signed(value.items())
                assert signed(copy.places()) == signed(value.places())
                assert copy.encoding() == b"skiplist"
                end()
                if end == keyspace.rollback:
                    assert content(keyspace) == before
                    assert not stray_nodes(self.embedded)
            zset_of(self.embedded, [(b"only here", 5.0)], b"b%d" % count)
            assert value.score(b"only here") is None
            assert not stray_nodes(self.embedded)

    def test_build(self) -> None:
        """Building gives what adding gives, can be undone, and packs what Redis would."""
        keyspace = self.embedded.keyspace
        keyspace.settings.change({"zset-max-listpack-entries": 500}, self.embedded.rows)
        for count in (1, 128, 129, 500, 501, 10000):
            pairs = [(b"z", -0.0), *numbered(count - 1)]
            scored = sorted((place(member), score) for member, score in pairs)
            before = self.embedded.rows.image()
            for end in (keyspace.rollback, keyspace.commit):
                keyspace.begin(self.embedded.now)
                value = keyspace.databases[0].create(b"b%d" % count, SortedSet)
                value.build(scored)
                assert value.packed == (count <= 500)
                Model(dict(pairs)).check(value)
                assert repr(value.score(b"z")) == ("0.0" if value.packed else "-0.0")
                assert signed(value.items()) == sorted(signed(value.items()), key=lambda pair: float(pair[1]))
                end()
                if end == keyspace.rollback:
                    after = self.embedded.rows.image()
                    counters = [key for key in after["data"] if key not in before["data"] and key[4]]
                    assert not counters
            seen = content(keyspace)
            self.embedded.forget()
            keyspace = self.embedded.keyspace
            assert content(keyspace) == seen
        keyspace.begin(self.embedded.now)
        value = keyspace.databases[0].create(b"long", SortedSet)
        value.build([(place(b"x" * 65), -0.0)])
        assert not value.packed
        assert repr(value.score(b"x" * 65)) == "-0.0"

    def test_size(self) -> None:
        """What a small value is charged grows with it."""
        value = zset_of(self.embedded, numbered(10))
        before = value.size()
        zset_of(self.embedded, [(b"x" * 1000, 1.0)])
        assert value.size() - before > 1000
        assert zset_of(self.embedded, numbered(1000)).size() > 2000


class OrderTests(SynchronousTestCase):
    """Scores as bytes."""

    def test_order(self) -> None:
        """Bytes compare as the numbers do, and give them back."""
        for low, high in pairwise(EDGES):
            assert order_of(low) < order_after(low) <= order_of(high)
        assert order_of(-0.0) == order_of(0.0)
        for score in EDGES:
            assert score_at(order_of(score) + b"member") == score

    def test_any_order(self) -> None:
        """So do any two."""

        @given(st.floats(allow_nan=False), st.floats(allow_nan=False))
        def check(a: float, b: float) -> None:
            assert (order_of(a) < order_of(b)) == (a < b)
            assert score_at(order_of(a)) == a

        check()
