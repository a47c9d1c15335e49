"""Replaying a log ends in the same rows, whatever was in memory and whenever the store was started again."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.regions import START_ID, Region, Teller, lines
from tinykv.redis.operations import INTERNAL, Operation

KEYS = st.sampled_from(["l", "m", "n", "k"])
ELEMENT = st.sampled_from(["a", "b", "x" * 100, "y" * 3000])
FILL = st.integers(1, 4).map(lambda n: " ".join(f"e{i}" for i in range(90 * n)))
PAIRS = st.integers(1, 3).map(lambda n: " ".join(f"{i} f{i}" for i in range(90 * n)))
END = st.sampled_from(["LEFT", "RIGHT"])

COMMANDS = st.one_of(
    lines("RPUSH {} {}", KEYS, ELEMENT),
    lines("LPUSH {} {} {}", KEYS, ELEMENT, ELEMENT),
    lines("RPUSH {} {}", KEYS, FILL),
    lines("LPOP {}", KEYS),
    lines("RPOP {} {}", KEYS, st.sampled_from(["2", "100"])),
    lines("LREM {} 0 {}", KEYS, st.sampled_from(["a", "e7"])),
    lines("LTRIM {} 1 -2", KEYS),
    lines("LINSERT {} AFTER e5 {}", KEYS, ELEMENT),
    lines("LMOVE {} {} {} {}", KEYS, KEYS, END, END),
    lines("SADD {} {}", KEYS, FILL),
    lines("SPOP {} {}", KEYS, st.sampled_from(["1", "60"])),
    lines("HSET {} {}", KEYS, PAIRS),
    lines("ZADD {} {}", KEYS, PAIRS),
    lines("ZPOPMIN {} 50", KEYS),
    lines("SET {} {}", KEYS, ELEMENT),
    lines("APPEND {} {}", KEYS, ELEMENT),
    lines("PEXPIRE {} {}", KEYS, st.sampled_from(["1", "5", "1000"])),
    lines("DEL {}", KEYS),
    lines("RENAME {} {}", KEYS, KEYS),
    lines("COPY {} {} REPLACE", KEYS, KEYS),
    lines("SORT {} BY nosort STORE {}", KEYS, KEYS),
    st.sampled_from(["FLUSHDB", "SWAPDB 0 1", "SWAPDB 1 0"]),
)
BLOCKING = st.one_of(
    lines("BLPOP {} {} 0", KEYS, KEYS),
    lines("BLMOVE {} {} {} {} 0", KEYS, KEYS, END, END),
    lines("BRPOPLPUSH {} {} 1.5", KEYS, KEYS),
    lines("BLMPOP 0 2 {} {} {} COUNT 3", KEYS, KEYS, END),
    lines("BZPOPMIN {} {} 0", KEYS, KEYS),
)
CLIENT = st.integers(0, 5)
DATABASE = st.sampled_from([0, 0, 0, 1])
COMMAND = st.tuples(st.just("command"), CLIENT, DATABASE, st.one_of(COMMANDS, COMMANDS, BLOCKING))
STEP = st.one_of(
    COMMAND,
    COMMAND,
    st.tuples(st.just("exec"), CLIENT, KEYS, st.lists(st.one_of(COMMANDS, BLOCKING), max_size=4)),
    st.tuples(st.just("wake"), CLIENT, st.sampled_from([b"timeout", b"error", b"gone"])),
    st.tuples(st.just("expire"), DATABASE, KEYS),
    st.just(("gone",)),
)
ENTRIES = st.lists(st.tuples(st.lists(STEP, min_size=1, max_size=5), st.sampled_from([0, 1, 3])), max_size=12)
#: What happens between entries of a replay.
PAUSES = st.lists(st.sampled_from(["", "", "flush", "rotate", "forget"]), min_size=12, max_size=12)


def operation(region: Region, clients: list[Teller], step: tuple[Any, ...]) -> Operation | None:
    """Make an operation of a step; none of a client that waits."""
    kind = step[0]
    if kind == "expire":
        return region.internal(b"expire", str(step[1]).encode(), str(step[2]).encode())
    if kind == "gone":
        return region.internal(b"gone", b"%d" % START_ID)
    client = clients[step[1]]
    if kind == "wake":
        name = b"%d" % client.client_id
        return region.internal(b"wake", b"%d" % START_ID, name, b"%d" % client.number, step[2])
    if client.blocked:
        return None
    if kind == "exec":
        watched = region.watch(str(step[2]).encode())
        return region.transaction(client, "SELECT 0", *step[3], watched=(watched,))
    return region.make(client, str(step[3]), step[2])


class ReplayTests(SynchronousTestCase):
    """The same entries, applied twice."""

    def test_the_same_rows(self) -> None:
        """A replay with a small cache and restarts in between gives the same as the first time with a large one."""

        @given(ENTRIES, PAUSES)
        def check(entries: list[tuple[list[tuple[object, ...]], int]], pauses: list[str]) -> None:
            first, second = Region(), Region(budget=20_000)
            clients = [Teller(number) for number in range(6)]
            for (steps, after_ms), pause in zip(entries, pauses, strict=False):
                self._apply(first, clients, steps, after_ms)
                second.replay(first.log[-1])
                assert second.image() == first.image()
                if pause in ("flush", "rotate"):
                    second.rows.flush()
                if pause == "rotate":
                    second.keyspace.rotate()
                if pause == "forget":
                    second.forget()
            assert first.defects == second.defects == []
            self._compare(first, second)

        check()

    def _apply(self, region: Region, clients: list[Teller], steps: list[tuple[object, ...]], after_ms: int) -> None:
        """Apply an entry; whether a client waits is known only afterwards, so each has one request in it."""
        operations: list[Operation] = []
        busy: set[Teller] = set()
        for step in steps:
            made = operation(region, clients, step)
            if made is not None and (made[0] == INTERNAL or made[1] not in busy):
                operations.append(made)
                busy.add(made[1])
        region.apply(*operations, after_ms=after_ms)

    def _compare(self, first: Region, second: Region) -> None:
        """Compare what isn't rows."""
        waiting = [[waiter.encode() for waiter in region.execution.waiters] for region in (first, second)]
        assert waiting[0] == waiting[1]
        for one, two in zip(first.keyspace.databases, second.keyspace.databases, strict=True):
            assert (one.number, one.keys, one.expiring) == (two.number, two.keys, two.expiring)

    def test_the_order_of_waiters(self) -> None:
        """Who is served first by SWAPDB doesn't hang on what was waited for before a restart."""
        regions = Region(), Region()
        for region in regions:
            clients = [Teller(number) for number in range(5)]
            writer = clients[4]
            region.do(clients[0], "BLPOP b 0")
            region.do(clients[1], "BLMOVE a x LEFT RIGHT 0")
            region.do(clients[2], "BLMOVE b x LEFT RIGHT 0")
            region.wake(clients[0])
            if region is regions[1]:
                region.forget()
            region.do(clients[3], "BLPOP other 0")
            region.do(writer, "RPUSH a from-a", 1)
            region.do(writer, "RPUSH b from-b", 1)
            region.do(writer, "SWAPDB 0 1")
        self.assertEqual(regions[0].image(), regions[1].image())
        self.assertEqual(regions[0].do(Teller(1), "LPOP x"), [b"$6\r\nfrom-a\r\n"])
