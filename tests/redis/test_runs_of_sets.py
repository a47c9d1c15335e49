"""SETs that come together are done in one go, and nothing shows that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.regions import Region, Teller
from tinykv.redis.execution import Execution
from tinykv.redis.operations import Operation

KEYS = st.sampled_from([b"a", b"b", b"c", b"{a}1", b"{}", b"k" * 300])
VALUES = st.sampled_from([b"", b"x", b"y" * 40, b"z" * 5000])
PLAIN = st.tuples(st.just(b"SET"), KEYS, VALUES)
OTHERS = st.one_of(
    st.tuples(st.just(b"SET"), KEYS, VALUES, st.sampled_from([b"NX", b"XX", b"GET", b"KEEPTTL"])),
    st.tuples(st.just(b"SET"), KEYS, VALUES, st.just(b"PX"), st.sampled_from([b"1", b"3", b"1000"])),
    st.tuples(st.just(b"SET"), KEYS, VALUES, st.just(b"WRONG")),
    st.tuples(st.just(b"RPUSH"), KEYS, VALUES),
    st.tuples(st.just(b"APPEND"), KEYS, VALUES),
    st.tuples(st.just(b"DEL"), KEYS),
    st.tuples(st.just(b"BLPOP"), KEYS, st.just(b"0")),
    st.tuples(st.just(b"FLUSHDB")),
)
#: The database, and the command.
COMMAND = st.tuples(st.sampled_from([0, 0, 0, 1]), st.one_of(PLAIN, PLAIN, PLAIN, OTHERS))
ENTRIES = st.lists(st.lists(COMMAND, min_size=1, max_size=12), min_size=1, max_size=6)
#: All slots, and some: those of "a" (15495) and "b" (3300), but not of "c" (7365).
SLOTS = st.sampled_from([(0, 16384), (3300, 3301), (15000, 16384)])


class One(Region):
    """A region that runs each command alone."""

    def _run_all(self, operations: list[Operation]) -> None:
        for operation in operations:
            self.execution.run(operation)


class RunsOfSetsTests(SynchronousTestCase):
    """As if each were run alone."""

    @given(entries=ENTRIES, slots=SLOTS, budget=st.sampled_from([0, 1500, 1 << 30]), forgets=st.booleans())
    def test_they_are_as_one_by_one(
        self,
        entries: list[list[tuple[int, tuple[bytes, ...]]]],
        slots: tuple[int, int],
        budget: int,
        forgets: bool,
    ) -> None:
        seen = []
        for kind in (Region, One):
            region, client = kind(budget), Teller(1)
            region.narrow(slots)
            for place, entry in enumerate(entries):
                region.apply(*(region.make(client, list(line), db) for db, line in entry))
                if forgets and place == 2:
                    region.forget()
                    region.narrow(slots)
            keyspace = region.keyspace
            counts = [(db.keys, db.expiring) for db in keyspace.physical]
            figures = (keyspace.sequence, keyspace.used, keyspace.changes, keyspace.expired_keys)
            region.rows.flush()
            seen.append((region.rows.rows, client.told, client.waiting, counts, figures, region.defects))
        self.assertEqual(seen[0], seen[1])

    def test_a_cold_key_is_looked_for(self) -> None:
        region, client = Region(), Teller(1)
        region.do(client, "RPUSH list x")
        region.do(client, "SET a 1")
        region.forget()
        self.assertFalse(region.keyspace.complete)
        region.apply(*(region.make(client, line) for line in ("SET a 2", "SET list 3", "SET new 4")))
        self.assertEqual(client.heard(), 3 * [b"+OK\r\n"])
        self.assertEqual(region.keyspace.databases[0].keys, 3)
        database = region.keyspace.databases[0]
        self.assertEqual([database.string(key) for key in (b"a", b"list", b"new")], [b"2", b"3", b"4"])

    def test_they_do_go_together(self) -> None:
        region, client = Region(), Teller(1)
        runs: list[int] = []
        execution: Execution = region.execution
        operations = [region.make(client, f"SET key:{number} x") for number in range(10)]
        operations.insert(7, region.make(client, "INCR n"))
        execution.begin_entry(region.time + 1, 5)
        while sum(runs) < len(operations):
            runs.append(execution.run_from(operations, sum(runs)))
        self.assertEqual(runs, [7, 1, 3])
