"""
In what order a replica makes durable what its group says.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.raft.disk import Disk
from tests.store.test_turn_writer import FakeWriter
from tinykv.peering.turn import Turn
from tinykv.raft.config import RaftConfig
from tinykv.raft.group import Group
from tinykv.raft.membership import Membership
from tinykv.raft.messages import APPEND, NORMAL, SNAPSHOT, Entry, HardState, Message, SnapshotMeta
from tinykv.server.metrics import Metrics
from tinykv.storage.log import APPEND as APPENDED
from tinykv.storage.log import RESET, STATE
from tinykv.store.replica import Replica
from tinykv.store.ticks import Ticks

REGION = 1
MEMBERS = Membership((1, 2, 3))


class Applies:
    """Installs snapshots when it's told to."""

    def __init__(self) -> None:
        self.installing: list[tuple[SnapshotMeta, Callable[[], None]]] = []

    def decided(self) -> None:
        """Apply nothing."""

    def role_changed(self) -> None:
        """Don't mind."""

    def persisted(self) -> None:
        """Don't mind."""

    def install(self, snapshot: SnapshotMeta, installed: Callable[[], None]) -> None:
        """Take one."""
        self.installing.append((snapshot, installed))


class InstallationTests(SynchronousTestCase):
    """A snapshot comes to a store whose log ends with an entry that was never committed (R5 b)."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.writer = FakeWriter()
        self.sent: list[Message] = []
        self.applies = Applies()
        self.replica = Replica(
            region=REGION,
            group=Group(1, RaftConfig(), Random(1), Disk(MEMBERS), HardState(1, 0, 0), MEMBERS, 0),
            log_writer=cast(Any, self.writer),
            send=self.sent.append,
            clock=self.clock,
            uptime=self.clock.seconds,
            ticks=Ticks(self.clock, 0.1, Turn(self.clock)),
            durations=Metrics(),
        )
        self.replica.start(cast(Any, self.applies))
        self.addCleanup(self.replica.stop)
        entries = (Entry(1, 1, NORMAL, b""), Entry(2, 1, NORMAL, b""))
        self.receive(Message(APPEND, 1, 2, 1, entries=entries, commit=1))
        self.assertEqual(self.written(), [(STATE, 1, 0, 1), (APPENDED, 1)])

    def receive(self, message: Message) -> None:
        """Let a message come."""
        self.replica.received(message)
        self.clock.advance(0)

    def written(self) -> list[tuple[Any, ...]]:
        """End a write, and say what it was of: states as term, vote and commit index; the others with their index."""
        operations, done = self.writer.batches.pop(0)
        self.assertEqual(self.writer.batches, [])
        done()
        self.clock.advance(0)
        return [(kind, *rest[2:]) if kind == STATE else (kind, rest[1]) for kind, *rest in operations]

    def snapshot(self, term: int) -> None:
        """Let a snapshot as of entry 10 come."""
        self.receive(Message(SNAPSHOT, 1, 3, term, snapshot=SnapshotMeta(10, term, MEMBERS)))

    def test_what_is_committed_waits_for_the_logs_new_base(self) -> None:
        self.snapshot(2)
        # A crash from here on until the new base is written leaves entry 2, in whose place there is another one.
        self.assertEqual(self.written(), [(STATE, 2, 0, 1)])
        ((snapshot, installed),) = self.applies.installing
        self.assertEqual(snapshot.index, 10)
        self.assertEqual(self.writer.batches, [])
        installed()
        self.assertEqual(self.written(), [(RESET, 10), (STATE, 2, 0, 10)])

    def test_a_peer_that_begins_anew_knows_of_nothing_that_is_committed(self) -> None:
        self.replica.stop()
        self.replica.group.begin_anew(MEMBERS)
        self.replica.group.become(1)
        self.replica.begin_anew()
        self.snapshot(2)
        self.assertEqual(self.written(), [(STATE, 2, 0, 0)])
