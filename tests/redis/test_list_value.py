"""Lists: both forms, rows, undoing, walking."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.twins import stray_nodes
from tinykv.errors import Damaged
from tinykv.redis.keyspace import Database
from tinykv.redis.list_value import SMALL_BYTES, SMALL_ENTRIES, List
from tinykv.testing.embedded import Embedded

ELEMENTS = st.sampled_from([b"", b"a", b"b", b"w" * 70, b"x" * 3000])
PLACES = st.integers(0, 1000)
STEPS = st.tuples(
    st.sampled_from(
        [
            "push left",
            "push right",
            "pop left",
            "pop right",
            "set",
            "insert",
            "extend",
            "extend",
            "delete range",
            "delete at",
            "delete much",
        ]
    ),
    ELEMENTS,
    PLACES,
    PLACES,
)
COMMANDS = st.lists(
    st.tuples(st.lists(STEPS, max_size=6), st.sampled_from(["commit", "commit", "undo", "forget", "turn"])),
    max_size=12,
)


def list_of(embedded: Embedded, elements: list[bytes], key: bytes = b"k") -> List:
    """Let a key hold a new list."""
    embedded.run(b"DEL", key)
    embedded.run(b"RPUSH", key, *elements)
    value = embedded.keyspace.databases[0].typed(key, List)
    assert value is not None
    return value


def numbered(count: int) -> list[bytes]:
    """Make elements that differ."""
    return [b"e%d" % i for i in range(count)]


def apply(value: List, model: list[bytes], step: tuple[str, bytes, int, int]) -> None:
    """Do the same to a list and to a Python list."""
    name, element, one, two = step
    size = len(model)
    if name == "push left":
        value.push_left(element)
        model.insert(0, element)
    elif name == "push right":
        value.push_right(element)
        model.append(element)
    elif name == "insert":
        value.insert(one % (size + 1), element)
        model.insert(one % (size + 1), element)
    elif name == "extend":
        more = [element] * (one // 300) + numbered(one // 5)
        value.extend(iter(more))
        model.extend(more)
    elif not size:
        return
    elif name == "pop left":
        assert value.pop_left() == model.pop(0)
    elif name == "pop right":
        assert value.pop_right() == model.pop()
    elif name == "set":
        value.set(one % size, element)
        model[one % size] = element
    elif name == "delete at":
        indexes = [index for index in range(size) if index % (one % 7 + 1) in (0, 2)]
        value.delete_at(indexes)
        model[:] = [held for index, held in enumerate(model) if index not in indexes]
    else:
        start = one % size
        stop = start + two if name == "delete much" else start + two % 5
        assert value.delete_range(start, stop) == model[start:stop]
        del model[start:stop]


class ModelTests(SynchronousTestCase):
    """A list beside a Python list."""

    def test_like_a_python_list(self) -> None:
        """It's the same over undone commands, restarts, and a cache that drops all."""

        @given(COMMANDS)
        def check(commands: list[tuple[list[tuple[str, bytes, int, int]], str]]) -> None:
            embedded = Embedded(budget=30000)
            model: list[bytes] = []
            for steps, end in commands:
                model = self._command(embedded, model, steps, end)
                self._compare(embedded.keyspace.databases[0], model)
                assert not stray_nodes(embedded)

        check()

    def _command(
        self, embedded: Embedded, model: list[bytes], steps: list[tuple[str, bytes, int, int]], end: str
    ) -> list[bytes]:
        """Run steps as one command and give what the list should be then."""
        keyspace = embedded.keyspace
        before = {key: row for key, row in embedded.rows.image()["data"].items() if key[4] == 1}
        now = model.copy()
        keyspace.begin(embedded.now)
        value = keyspace.databases[0].typed_or_new(b"k", List)
        small = not value.generations()
        for step in steps:
            apply(value, now, step)
        if end == "undo":
            keyspace.rollback()
            if small:
                after = {key: row for key, row in embedded.rows.image()["data"].items() if key[4] == 1}
                assert after == before
            return model
        keyspace.commit()
        if end == "forget":
            embedded.forget()
        elif end == "turn":
            embedded.rows.flush()
            keyspace.rotate()
        return now

    def _compare(self, db: Database, model: list[bytes]) -> None:
        value = db.typed(b"k", List)
        if value is None:
            assert not model
            return
        size = len(model)
        assert len(value) == size
        assert list(value.items()) == model
        assert list(value.items(reverse=True)) == model[::-1]
        for start in (0, 1, size // 2, size - 1):
            if start < size:
                assert value.at(start) == model[start]
                assert list(value.items(start)) == model[start:]
                assert list(value.items(start, reverse=True)) == model[start::-1]
        places = [index for index, element in enumerate(model) if element == b"a"]
        assert list(value.positions(b"a")) == places
        assert list(value.positions(b"a", reverse=True)) == places[::-1]
        assert list(value.positions(b"a", within=3)) == [index for index in places if index < 3]
        assert list(value.positions(b"a", True, 3)) == [index for index in places[::-1] if index >= size - 3]


class FormTests(SynchronousTestCase):
    """Where the elements lie."""

    def test_limits(self) -> None:
        """It's inline up to the limits, whichever way it grows, and never again."""
        embedded = Embedded()
        value = list_of(embedded, numbered(SMALL_ENTRIES))
        assert not value.generations()
        for command in (b"RPUSH k x", b"LPUSH k x", b"LINSERT k AFTER e5 x"):
            value = list_of(embedded, numbered(SMALL_ENTRIES))
            embedded.run(*command.split())
            assert value.generations(), command
        embedded.run(b"LTRIM", b"k", b"0", b"1")
        assert value.generations()
        value = list_of(embedded, [b"x" * (SMALL_BYTES - 1), b"y"])
        assert not value.generations()
        embedded.run(b"LSET", b"k", b"1", b"yy")
        assert value.generations()
        assert value.encoding() == b"quicklist"

    def test_nothing_is_left_behind(self) -> None:
        """A list that goes takes its nodes along."""
        for command in (
            b"DEL k",
            b"LTRIM k 1 0",
            b"LPOP k 1000",
            b"RPOP k 1000",
            b"SET k x",
            b"LREM k 0 e",
            b"RENAME k j",
        ):
            embedded = Embedded()
            list_of(embedded, [b"e"] * 1000)
            embedded.run(*command.split())
            assert not stray_nodes(embedded), command

    def test_outside(self) -> None:
        """Indexes outside are refused in both forms, and nothing is found there."""
        for size in (3, 300):
            value = list_of(Embedded(), numbered(size))
            for index in (-1, size):
                self.assertRaises(IndexError, value.at, index)
                self.assertRaises(IndexError, value.set, index, b"x")
                self.assertRaises(IndexError, value.insert, -1 if index < 0 else size + 1, b"x")
                assert list(value.items(index)) == []
            assert value.delete_range(size, size + 5) == []
            value.delete_at([])
            assert list(value.items()) == numbered(size)

    def test_empty(self) -> None:
        """There's nothing to take from an empty list, small or large."""
        for size in (1, 300):
            embedded = Embedded()
            value = list_of(embedded, numbered(size))
            embedded.keyspace.begin(embedded.now)
            value.delete_range(0, size)
            assert list(value.items()) == list(value.items(reverse=True)) == []
            self.assertRaises(IndexError, value.pop_left)
            self.assertRaises(IndexError, value.pop_right)
            embedded.keyspace.rollback()
            assert list(value.items()) == numbered(size)

    def test_damaged(self) -> None:
        """A body that no list wrote is noticed."""
        value = list_of(Embedded(), [b"a", b"b"])
        body = value.encode_body()
        for bad in (b"", b"\x02" + body[1:], body[:-1], body + b"x", b"\x01", b"\x01" + bytes(8)):
            self.assertRaises(Damaged, value.decode_body, bad)

    def test_size_grows_with_the_content(self) -> None:
        """The cache's account knows about what is inline."""
        embedded = Embedded()
        small = list_of(embedded, [b"a"]).size()
        assert list_of(embedded, [b"a" * 5000]).size() > small + 4000
        assert list_of(embedded, numbered(100)).size() > small + 99 * 40
