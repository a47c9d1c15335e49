"""The life of a write: turn, entry, log, apply, flush, cut, and a start after each."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.store.hosted import START, Hosted
from tinykv.errors import Damaged
from tinykv.keys import meta_key
from tinykv.redis.operations import INTERNAL, NOBODY
from tinykv.storage.connection import connect_reader
from tinykv.storage.errors import StorageError
from tinykv.storage.log import read_entries
from tinykv.store.flushes import FLUSH_SECONDS
from tinykv.store.proposals import GATHER_SECONDS, HELD_MOST, HOLD_SECONDS

OK = b"+OK\r\n"
NIL = b"$-1\r\n"


class HostCase(SynchronousTestCase):
    """A host on an empty folder."""

    def make(self, **options: Any) -> Hosted:
        """Make one that has begun its term."""
        hosted = Hosted(self.mktemp(), **options)
        self.addCleanup(hosted.close)
        hosted.settle()
        return hosted


class WriteTests(HostCase):
    """From the turn to the reply."""

    def test_a_turn_is_an_entry(self) -> None:
        """What arrives in one turn is one entry, and nobody is answered before it's durable."""
        hosted = self.make()
        one, two = hosted.client(), hosted.client()
        entries = hosted.host.entries
        one.send("SET a 1")
        two.send("INCR a")
        one.send("GET a")
        self.assertEqual(hosted.host.entries, entries)
        hosted.turn()
        self.assertEqual(hosted.host.entries, entries + 1)
        self.assertEqual((one.told, two.told), ([], []))
        hosted.sync()
        self.assertEqual(one.heard(), [OK, b"$1\r\n2\r\n"])
        self.assertEqual(two.heard(), [b":2\r\n"])

    def test_turns_overlap(self) -> None:
        """Later turns don't wait for the disk; they're applied in their order, and become durable together."""
        hosted = self.make()
        client = hosted.client()
        for number in range(5):
            client.send(f"RPUSH l {number}")
            hosted.turn()
        self.assertEqual(client.told, [])
        self.assertEqual(hosted.host.group.last, hosted.host.applied + 5)
        before = hosted.answered
        hosted.sync()
        self.assertEqual(client.heard(), [b":%d\r\n" % number for number in range(1, 6)])
        self.assertEqual(hosted.host.applied, hosted.host.group.committed)
        self.assertGreater(hosted.answered, before)

    def test_what_comes_waits_for_the_entry_under_way(self) -> None:
        """So that it's one entry; but for no longer than is worth it, nor if it's only reads or very much."""
        hosted = self.make(hold_seconds=HOLD_SECONDS)
        client = hosted.client()
        last = hosted.host.group.last
        client.send("RPUSH l 0")
        hosted.turn()
        for number in (1, 2):
            client.send(f"RPUSH l {number}")
            hosted.turn()
        self.assertEqual(hosted.host.group.last, last + 1)
        hosted.sync()
        hosted.turn()
        self.assertEqual(hosted.host.group.last, last + 2)
        client.send("RPUSH l 3")
        hosted.turn()
        hosted.clock.advance(HOLD_SECONDS / 2)
        self.assertEqual(hosted.host.group.last, last + 2)
        hosted.clock.pump([HOLD_SECONDS / 2, 0])
        self.assertEqual(hosted.host.group.last, last + 3)
        client.send("LLEN l")
        hosted.turn()
        hosted.sync()
        self.assertEqual(client.heard(), [b":%d\r\n" % number for number in (1, 2, 3, 4, 4)])
        for number in range(HELD_MOST + 1):
            client.send(f"RPUSH l {number}")
            if number in (0, HELD_MOST - 1):
                hosted.turn()
                self.assertEqual(hosted.host.group.last, last + 4)
        hosted.turn()
        self.assertEqual(hosted.host.group.last, last + 5)

    def test_those_answered_together_are_waited_for(self) -> None:
        """Whoever speaks first again waits for the others, if they're quick."""
        hosted = self.make(gather_seconds=GATHER_SECONDS)
        first, second = hosted.client(), hosted.client()
        last = hosted.host.group.last
        for client in (first, second):
            client.send("INCR a")
        hosted.settle()
        for client in (first, second):
            self.assertEqual(hosted.host.group.last, last + 1)
            client.send("INCR a")
            hosted.turn()
        self.assertEqual(hosted.host.group.last, last + 2)
        hosted.sync()
        first.send("INCR a")
        hosted.turn()
        self.assertEqual(hosted.host.group.last, last + 2)
        hosted.clock.pump([GATHER_SECONDS, 0])
        self.assertEqual(hosted.host.group.last, last + 3)
        hosted.settle()
        first.send("INCR a")
        hosted.turn()
        self.assertEqual(hosted.host.group.last, last + 4)
        hosted.settle()
        self.assertEqual((len(first.heard()), len(second.heard())), (4, 2))
        first.send("INCR a")
        second.send("INCR a")
        self.assertNoResult(hosted.closing())
        hosted.settle()
        hosted.flush()
        now = hosted.clock.seconds()
        self.assertEqual([call for call in hosted.clock.getDelayedCalls() if call.getTime() > now], [])

    def test_reads_keep_their_place(self) -> None:
        """A read that comes behind a write sees it, and not the one after."""
        hosted = self.make()
        client = hosted.client()
        client.send("SET a 1")
        hosted.turn()
        client.send("GET a")
        hosted.turn()
        client.send("SET a 2")
        hosted.turn()
        self.assertEqual(client.told, [])
        hosted.sync()
        self.assertEqual(client.heard(), [OK, b"$1\r\n1\r\n", OK])

    def test_an_expired_key_keeps_its_place(self) -> None:
        """So does a read of a key whose time is over by the clock but not yet in the log."""
        hosted = self.make()
        client = hosted.client()
        client.send("SET a 1 PX 50")
        hosted.settle()
        client.send("SET b 1")
        hosted.turn()
        hosted.now += 60
        client.send("GET a")
        hosted.turn()
        client.send("SET a 2")
        hosted.settle()
        self.assertEqual(client.heard(), [OK, OK, NIL, OK])
        self.assertEqual(client.read("GET a"), b"$1\r\n2\r\n")

    def test_just_expired(self) -> None:
        """A read in its place looks by the log's time, which may be a little behind the clock, and never ahead."""
        hosted = self.make()
        client = hosted.client()
        client.send("SET a 1 PX 5")
        hosted.settle()
        client.send("SET b 1")
        hosted.turn()
        hosted.now += 6
        client.send("GET a")
        hosted.turn()
        client.send("SET a 2")
        hosted.settle()
        self.assertEqual(client.heard(), [OK, OK, b"$1\r\n1\r\n", OK])

    def test_nothing_is_logged_for_reads(self) -> None:
        """Reads alone make no entry, as long as the log's time isn't far behind."""
        hosted = self.make()
        client = hosted.client()
        client.send("SET a 1 EX 100")
        hosted.settle()
        entries = hosted.host.entries
        client.send("GET a")
        client.local(lambda: client.answer(2, b"+local\r\n"))
        hosted.turn()
        self.assertEqual(hosted.host.entries, entries)
        self.assertEqual(client.heard(), [OK, b"$1\r\n1\r\n", b"+local\r\n"])
        hosted.now += 60_000
        client.send("TTL a")
        hosted.settle()
        self.assertEqual(hosted.host.entries, entries + 1)
        self.assertEqual(client.heard(), [b":40\r\n"])
        hosted.now += 60_000
        client.local(lambda: None)
        hosted.settle()
        self.assertEqual(hosted.host.entries, entries + 1)

    def test_large_turns_are_cut(self) -> None:
        """Entries close when they've grown large, and a larger command has one alone."""
        hosted = self.make()
        client = hosted.client()
        entries = hosted.host.entries
        client.send("SET a " + "x" * 5_000_000)
        client.send("SET b " + "x" * 5_000_000)
        client.send("SET c 1")
        client.send("SET d " + "x" * 9_000_000)
        client.send("STRLEN d")
        hosted.turn()
        self.assertEqual(hosted.host.entries, entries + 3)
        hosted.settle()
        self.assertEqual(client.heard(), [OK, OK, OK, OK, b":9000000\r\n"])
        hosted.crash()
        hosted.settle()
        self.assertEqual(hosted.client().read("STRLEN d"), b":9000000\r\n")

    def test_too_large(self) -> None:
        """What the log can't hold is refused, and what's around it is done."""
        hosted = self.make(command_bytes_max=9_000_000)
        client = hosted.client()
        client.send("SET a 1")
        client.send("SET a " + "x" * 9_000_000)
        client.send("GET a")
        client.exec("APPEND a " + "x" * 5_000_000, "APPEND a " + "x" * 5_000_000)
        client.send("APPEND a 2")
        client.send("BLPOP " + "x" * 8_500_000 + " 0")
        hosted.settle()
        replies = dict(client.told)
        self.assertTrue(replies[5].startswith(b"-ERR the command is too large"))
        self.assertTrue(replies[1].startswith(b"-ERR the command is too large"))
        self.assertTrue(replies[3].startswith(b"-ERR the command is too large"))
        self.assertEqual([replies[0], replies[2], replies[4]], [OK, b"$1\r\n1\r\n", b":2\r\n"])
        self.assertEqual(hosted.failures, [])

    def test_reads_at_the_start(self) -> None:
        """A read that comes before the term has begun waits for that, and sees what has expired meanwhile."""
        hosted = self.make()
        client = hosted.client()
        client.send("SET a 1 PX 50")
        client.send("SET b 1")
        hosted.settle()
        hosted.crash()
        hosted.now += 1000
        client = hosted.client()
        self.assertIsNone(client.read("GET a"))
        self.assertIsNone(client.read("GET b"))
        hosted.turn()
        self.assertEqual(client.told, [])
        hosted.settle()
        self.assertEqual(client.heard(), [NIL, b"$1\r\n1\r\n"])

    def test_time_never_falls_back(self) -> None:
        """An entry's time is never before that of one before it, whatever the clock says."""
        hosted = self.make()
        client = hosted.client()
        client.send("SET a 1 PX 100")
        hosted.settle()
        hosted.now -= 1_000_000
        client.send("PTTL a")
        client.send("SET b 1 PX 10")
        hosted.settle()
        self.assertEqual(client.heard(), [OK, b":100\r\n", OK])
        self.assertEqual(hosted.execution.time, START)
        hosted.crash()
        hosted.settle()
        self.assertEqual(hosted.execution.time, START)


class ExpiryTests(HostCase):
    """Keys whose time is over."""

    def expiries(self, hosted: Hosted) -> int:
        """Count the entries of the index."""
        return len(hosted.store.rows.due(1 << 60, 1 << 20))

    def test_a_read_decides(self) -> None:
        """What one client has seen expire is gone for all, though no entry had come that late."""
        hosted = self.make()
        client = hosted.client()
        client.send("SET a 1 PX 50")
        hosted.settle()
        hosted.now += 50
        self.assertIsNone(client.read("GET a"))
        hosted.settle()
        self.assertEqual(client.heard(), [OK, NIL])
        self.assertEqual(hosted.keyspace.databases[0].keys, 0)
        hosted.now -= 50
        self.assertEqual(client.read("GET a"), NIL)

    def test_active(self) -> None:
        """Keys that nobody asks for go too, cold ones included, and so do their entries in the index."""
        hosted = self.make()
        client = hosted.client()
        for number in range(450):
            client.send(f"SET k{number} 1 PX 50", number % 3)
        client.send("SET stays 1 PX 50000")
        hosted.settle()
        hosted.regions.flushes._flush_old()
        hosted.flush()
        hosted.keyspace.rotate()
        hosted.keyspace.rotate()
        hosted.now += 60
        hosted.clock.advance(0.1)
        hosted.settle()
        self.assertEqual(sum(db.keys for db in hosted.keyspace.physical), 1)
        self.assertEqual(self.expiries(hosted), 1)

    def test_in_swapped_databases(self) -> None:
        """An expired key of a database that was exchanged is found."""
        hosted = self.make()
        client = hosted.client()
        client.send("SET a 1 PX 50")
        client.send("SWAPDB 0 7")
        client.send("SET a 1 PX 5000")
        hosted.settle()
        hosted.now += 60
        hosted.clock.advance(0.1)
        hosted.settle()
        self.assertEqual(hosted.keyspace.databases[7].keys, 0)
        self.assertEqual(client.read("GET a"), b"$1\r\n1\r\n")

    def test_set_again(self) -> None:
        """A key whose expiry was changed while its deletion was under way stays, and goes in its own time."""
        hosted = self.make()
        client = hosted.client()
        client.send("SET a 1 PX 50")
        hosted.settle()
        client.send("PEXPIRE a 100")
        hosted.turn()
        hosted.now += 60
        hosted.clock.advance(0.1)
        hosted.settle()
        self.assertEqual(client.read("GET a"), b"$1\r\n1\r\n")
        self.assertEqual(self.expiries(hosted), 1)
        hosted.now += 60
        hosted.clock.advance(0.1)
        hosted.settle()
        self.assertEqual(hosted.keyspace.databases[0].keys, 0)
        self.assertEqual(self.expiries(hosted), 0)

    def test_the_clock_is_put_back(self) -> None:
        """A key that was due by a clock that was put back isn't forgotten."""
        hosted = self.make()
        client = hosted.client()
        client.send("SET a 1 PX 50")
        hosted.settle()
        hosted.now += 60
        hosted.host.tick()
        hosted.now -= 60
        hosted.settle()
        self.assertEqual(hosted.keyspace.databases[0].keys, 1)
        hosted.now += 60
        hosted.clock.advance(0.1)
        hosted.settle()
        self.assertEqual(hosted.keyspace.databases[0].keys, 0)

    def test_many(self) -> None:
        """However many are due, they go without a tick for each batch, and what's forgotten isn't looked at again."""
        hosted = self.make(expiry_effort=1)
        client = hosted.client()
        for number in range(3000):
            client.send(f"SET k{number} 1 PX 50")
        hosted.settle()
        hosted.regions.flushes._flush_old()
        hosted.flush()
        hosted.now += 60
        hosted.clock.advance(0.1)
        for _ in range(3):
            hosted.settle()
        self.assertEqual(hosted.keyspace.databases[0].keys, 0)
        self.assertEqual(self.expiries(hosted), 0)

    def test_stale_entries_are_resolved(self) -> None:
        """An entry of the index whose key is long gone is looked at once."""
        hosted = self.make()
        hosted.store.rows.note_expiry(START + 1, meta_key(0, b"never"))
        hosted.now += 60
        hosted.clock.advance(0.1)
        hosted.settle()
        entries = hosted.host.entries
        self.assertEqual(self.expiries(hosted), 0)
        for _ in range(3):
            hosted.clock.advance(0.1)
            hosted.settle()
        self.assertEqual(hosted.host.entries, entries)


class FlushTests(HostCase):
    """From the memory table to data.db, and the end of the log."""

    def log(self, hosted: Hosted) -> list[int]:
        """Give the indexes of the entries on disk."""
        session: Any = hosted.store.log_session
        store = session._store
        first = store._connection.execute("SELECT coalesce(min(idx), 1) FROM log").fetchone()[0]
        return [entry.index for entry in read_entries(store._connection, "", 1, first - 1)]

    def test_after_some_time(self) -> None:
        """Changes are flushed after a while, and the log is cut behind that, not before."""
        hosted = self.make()
        client = hosted.client()
        client.send("SET a 1")
        hosted.settle()
        self.assertEqual(hosted.host.flushes, 0)
        hosted.clock.advance(FLUSH_SECONDS)
        self.assertEqual(len(hosted.store.rows.frozen), 1)
        applied = hosted.host.applied
        client.send("SET a 2")
        hosted.settle()
        self.assertIn(applied, self.log(hosted))
        hosted.flush()
        self.assertEqual((hosted.host.flushes, hosted.store.rows.frozen), (1, []))
        hosted.settle()
        self.assertEqual(self.log(hosted), [applied + 1])
        hosted.crash()
        self.assertEqual(len(hosted.store.replay), 1)
        hosted.settle()
        self.assertEqual(hosted.client().read("GET a"), b"$1\r\n2\r\n")

    def test_after_some_bytes(self) -> None:
        """Changes are flushed when they've grown to some size."""
        hosted = self.make(memtable_bytes=65536, frozen_tables=100)
        client = hosted.client()
        for number in range(30):
            client.send(f"SET k{number} " + "x" * 10_000)
            hosted.settle()
        self.assertGreater(len(hosted.store.rows.frozen), 2)

    def test_large_nodes_count(self) -> None:
        """The nodes of large values count with their size when they take much of the budget."""
        hosted = self.make(memtable_bytes=1_000_000, frozen_tables=100, budget=4_000_000)
        client = hosted.client()
        pairs = " ".join(f"f{field} {'x' * 500}" for field in range(3000))
        client.send(f"HSET h {pairs}")
        hosted.settle()
        self.assertEqual(len(hosted.store.rows.frozen), 1)
        self.assertLess(hosted.store.rows.frozen[0].bytes, 1_000_000)

    def test_busy(self) -> None:
        """When too many tables wait, writes wait; after some time they're refused, until a table is written."""
        hosted = self.make(memtable_bytes=1)
        client = hosted.client()
        for _ in range(2):
            client.send("INCR a")
            hosted.settle()
        self.assertTrue(hosted.host.busy)
        client.send("INCR a")
        client.send("GET a")
        hosted.settle()
        self.assertEqual(client.heard(), [b":1\r\n", b":2\r\n"])
        spec = hosted.execution.table["incr"]
        self.assertIsNone(hosted.host.refusal(spec))
        hosted.clock.advance(5.1)
        refusal = hosted.host.refusal(spec)
        assert refusal is not None
        self.assertTrue(refusal.startswith(b"-TRYAGAIN"))
        self.assertEqual(client.read("GET b"), NIL)
        # What waited since then did nothing, and its client isn't kept waiting; a read is answered in its place.
        refused, answer = client.heard()
        self.assertTrue(refused.startswith(b"-TRYAGAIN"), refused)
        self.assertEqual(answer, b"$1\r\n2\r\n")
        hosted.flush()
        hosted.settle()
        self.assertIsNone(hosted.host.refusal(spec))
        client.send("INCR a")
        hosted.settle()
        self.assertEqual(client.heard(), [b":3\r\n"])

    def test_busy_for_a_moment(self) -> None:
        """What waits for a table to be written is done when it is."""
        hosted = self.make(memtable_bytes=1)
        client = hosted.client()
        for _ in range(3):
            client.send("INCR a")
            hosted.settle()
        client.send("GET a")
        hosted.clock.advance(4.0)
        self.assertEqual(client.heard(), [b":1\r\n", b":2\r\n"])
        hosted.flush()
        hosted.settle()
        self.assertEqual(client.heard(), [b":3\r\n", b"$1\r\n3\r\n"])

    def test_the_disk_does_not_answer(self) -> None:
        """Clients learn that the outcome is unknown, further writes are refused, reads go on; it happens once."""
        hosted = self.make()
        client, blocked = hosted.client(), hosted.client()
        hosted.settle()
        client.send("INCR a")
        client.send("GET a")
        blocked.send("BLPOP l 0")
        hosted.turn()
        hosted.clock.advance(5.0)
        self.assertEqual(client.told, [])
        self.assertFalse(hosted.host.stalled)
        hosted.clock.advance(0.2)
        unknown, refused = client.heard()
        self.assertTrue(unknown.startswith(b"-TIMEOUT") and b"outcome unknown" in unknown, unknown)
        self.assertTrue(refused.startswith(b"-TRYAGAIN"), refused)
        refusal = hosted.host.refusal(hosted.execution.table["incr"])
        assert refusal is not None
        self.assertTrue(refusal.startswith(b"-TRYAGAIN"))
        self.assertEqual(client.read("GET a"), NIL)
        hosted.clock.advance(1.0)
        self.assertEqual((client.told, blocked.told), ([], []))
        hosted.sync()
        hosted.clock.advance(0.2)
        self.assertFalse(hosted.host.stalled)
        self.assertEqual((client.told, blocked.told, blocked.waiting), ([], [], [0]))
        self.assertEqual(client.read("GET a"), b"$1\r\n1\r\n")
        self.assertIsNone(hosted.host.refusal(hosted.execution.table["incr"]))

    def test_entries_under_way_when_it_gets_busy(self) -> None:
        """They're applied, and reach the disk although no table is frozen meanwhile."""
        hosted = self.make(memtable_bytes=1, frozen_tables=1)
        client = hosted.client()
        for _ in range(5):
            client.send("INCR a")
            hosted.turn()
        for _ in range(5):
            hosted.sync()
        self.assertEqual(len(client.heard()), 5)
        self.assertEqual(len(hosted.store.rows.frozen), 1)
        hosted.clock.advance(FLUSH_SECONDS)
        self.assertEqual(len(hosted.store.rows.frozen), 1)
        hosted.flush()
        hosted.clock.advance(FLUSH_SECONDS)
        hosted.flush()
        hosted.settle()
        self.assertFalse(hosted.store.rows.active)
        hosted.crash()
        self.assertEqual(hosted.store.replay, [])

    def test_what_is_known_of_flushes_does_not_grow(self) -> None:
        """Nothing is kept of a flush behind which the log was cut."""
        hosted = self.make(memtable_bytes=1)
        client = hosted.client()
        for _ in range(5):
            client.send("INCR a")
            hosted.settle()
            hosted.flush()
            hosted.settle()
        self.assertGreater(hosted.host.flushes, 4)
        self.assertEqual(len(hosted.host.flushing._log_cut.marks), 0)

    def test_durability_os(self) -> None:
        """Without an fsync for each entry, the log is still on disk before the rows that it leads to."""
        hosted = self.make(durability_os=True)
        client = hosted.client()
        client.send("SET a 1")
        hosted.settle()
        hosted.clock.advance(FLUSH_SECONDS)
        hosted.flush()
        self.assertEqual((hosted.host.flushes, self.syncs(hosted)), (0, 0))
        hosted.sync()
        self.assertEqual(self.syncs(hosted), 1)
        hosted.flush()
        self.assertEqual(hosted.host.flushes, 1)

    @staticmethod
    def syncs(hosted: Hosted) -> int:
        """Count the batches that were to be fsynced although nothing in them asked for it but SYNC."""
        with closing(connect_reader(hosted.store.folder.raft_path)) as connection:
            (count,) = connection.execute("SELECT value FROM meta WHERE name = 'syncs'").fetchone()
        return int(count)


class RestartTests(HostCase):
    """What is there after a crash."""

    def test_only_what_is_durable(self) -> None:
        """Every acknowledged write is there; those under way may not be."""
        hosted = self.make()
        client = hosted.client()
        client.send("SET a 1")
        hosted.settle()
        client.send("SET a 2")
        hosted.turn()
        self.assertEqual(client.heard(), [OK])
        term = hosted.host.group.term
        hosted.crash()
        hosted.settle()
        self.assertEqual(hosted.client().read("GET a"), b"$1\r\n1\r\n")
        self.assertEqual(hosted.host.group.term, term + 1)

    def test_waiters_are_gone(self) -> None:
        """Who waited before a restart isn't served after it."""
        hosted = self.make()
        client = hosted.client()
        client.send("BLPOP l 0")
        hosted.settle()
        self.assertEqual((client.waiting, len(hosted.execution.waiters)), ([0], 1))
        hosted.crash()
        self.assertEqual(len(hosted.execution.waiters), 1)
        other = hosted.client()
        other.send("RPUSH l 1")
        hosted.settle()
        self.assertEqual(len(hosted.execution.waiters), 0)
        self.assertEqual(other.read("LLEN l"), b":1\r\n")

    def test_replay_is_the_same(self) -> None:
        """At any moment a crash leaves the rows that were applied, whatever was flushed by then."""
        line = st.one_of(
            st.tuples(st.sampled_from("ab"), st.integers(1, 300)).map(lambda d: f"RPUSH l{d[0]}" + " x" * d[1]),
            st.tuples(st.sampled_from("ab"), st.integers(0, 99)).map(lambda d: f"HSET h{d[0]} f{d[1]} v"),
            st.tuples(st.sampled_from("ab"), st.integers(1, 30)).map(lambda d: f"SET s{d[0]} v PX {d[1]}"),
            st.sampled_from(["LPOP la 100", "SPOP h", "DEL la ha", "RENAME la lb", "SWAPDB 0 1", "FLUSHDB", "INCR sa"]),
            st.sampled_from(["LMPOP 2 la lb LEFT COUNT 9", "PEXPIRE la 5", "BLPOP la lb 0", "PERSIST la"]),
        )
        step = st.one_of(
            st.tuples(st.just("send"), line),
            st.tuples(st.just("send"), line),
            st.tuples(st.just("exec"), st.lists(line, min_size=1, max_size=3)),
            st.sampled_from([("turn",), ("sync",), ("settle",), ("flush",), ("freeze",), ("crash",), ("rotate",)]),
            st.tuples(st.just("wait"), st.integers(1, 20)),
        )

        @given(st.lists(step, max_size=25))
        def check(steps: list[tuple[Any, ...]]) -> None:
            hosted = Hosted(self.mktemp())
            client = hosted.client()
            for kind, *rest in steps:
                if kind == "send":
                    client.send(rest[0])
                elif kind == "exec":
                    client.exec(*rest[0])
                elif kind == "freeze":
                    hosted.regions.flushes._flush_old()
                elif kind == "rotate":
                    hosted.keyspace.rotate()
                elif kind == "wait":
                    hosted.now += rest[0]
                    hosted.clock.advance(0.1)
                else:
                    getattr(hosted, kind)()
            hosted.settle()
            self.assertEqual(hosted.failures, [])
            rows = hosted.rows()
            time, sequence = hosted.execution.time, hosted.keyspace.sequence
            hosted.crash()
            self.assertEqual(hosted.rows(), rows)
            self.assertEqual((hosted.execution.time, hosted.keyspace.sequence), (time, sequence))
            hosted.close()

        check()


class EndTests(HostCase):
    """A good end, and bad ones."""

    def test_close(self) -> None:
        """The end waits for what was taken, and flushes it."""
        hosted = self.make()
        client = hosted.client()
        client.send("SET a 1")
        hosted.turn()
        client.send("SET a 2")
        closing = hosted.closing()
        self.assertNoResult(closing)
        hosted.settle()
        self.assertEqual(client.heard(), [OK, OK])
        self.assertNoResult(closing)
        hosted.flush()
        self.successResultOf(closing)
        client.send("SET a 3")
        hosted.settle()
        self.assertEqual(client.heard(), [])
        hosted.sync()
        hosted.crash()
        self.assertEqual(hosted.store.replay, [])
        hosted.settle()
        self.assertEqual(hosted.client().read("GET a"), b"$1\r\n2\r\n")

    def test_close_with_nothing_to_do(self) -> None:
        """The end of an idle store comes at once."""
        hosted = self.make()
        self.successResultOf(hosted.closing())

    def test_a_failure_while_closing(self) -> None:
        """The end doesn't wait for ever for what can't come."""
        hosted = self.make()
        client = hosted.client()
        client.send("SET a 1")
        hosted.turn()
        closing = hosted.closing()
        hosted.host.fail(StorageError("broken"))
        self.failureResultOf(closing, StorageError)
        self.successResultOf(hosted.closing())

    def test_the_log_fails(self) -> None:
        """What was under way isn't answered, and nothing more is taken."""
        hosted = self.make()
        client = hosted.client()
        client.send("SET a 1")
        hosted.turn()
        hosted.store.log.lost(StorageError("broken"))
        self.assertEqual(len(hosted.failures), 1)
        hosted.settle()
        client.send("SET a 2")
        hosted.settle()
        self.assertEqual(client.told, [])

    def test_a_fault_in_apply(self) -> None:
        """The entry doesn't count as applied, no later one is, and none of them is answered."""
        hosted = self.make()
        client = hosted.client()
        applied = hosted.host.applied
        client.send("SET a 1")
        client.local(self.break_down)
        hosted.turn()
        client.send("SET a 2")
        hosted.settle()
        self.assertEqual(hosted.host.applied, applied)
        self.assertEqual(len(hosted.failures), 1)
        self.assertEqual(client.told, [(0, OK)])
        hosted.crash()
        hosted.settle()
        self.assertEqual(hosted.client().read("GET a"), b"$1\r\n2\r\n")

    def break_down(self) -> None:
        """Fail."""
        raise Damaged("a row isn't what was written")

    def test_a_defect_in_apply(self) -> None:
        """A failure that nobody thought of stops the store as well, rather than leave it half alive."""
        hosted = self.make()
        client = hosted.client()
        client.local(lambda: {}[0])
        client.send("SET a 1")
        hosted.settle()
        self.assertEqual([type(problem) for problem in hosted.failures], [KeyError])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_a_fault_in_a_read(self) -> None:
        """A read that finds the files damaged stops the store."""
        hosted = self.make()
        client = hosted.client()
        client.send("SET a 1")
        hosted.settle()
        hosted.keyspace.rotate()
        hosted.keyspace.rotate()
        hosted.store.rows.put("data", meta_key(0, b"a"), b"\x7f")
        self.assertIsNone(client.read("GET a"))
        self.assertEqual([type(problem) for problem in hosted.failures], [Damaged])

    def test_internal_operations(self) -> None:
        """Whoever asked for something that isn't a command on data is told when it's applied."""
        hosted = self.make()
        client = hosted.client()
        hosted.host.submit((INTERNAL, client, 7, 0, None, [b"gone", b"1"], None))
        hosted.host.submit((INTERNAL, NOBODY, 0, 0, None, [b"expire", b"0", b"a"], None))
        hosted.turn()
        self.assertEqual(client.told, [])
        hosted.sync()
        self.assertEqual(client.told, [(7, OK)])
