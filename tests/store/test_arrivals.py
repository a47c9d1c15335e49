"""
Snapshots that arrive while another is still to be installed.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.raft.disk import Disk
from tinykv.raft.config import RaftConfig
from tinykv.raft.group import Group
from tinykv.raft.membership import Membership
from tinykv.raft.messages import SNAPSHOT, HardState, Message, SnapshotMeta
from tinykv.raft.wire import encode_message
from tinykv.region.descriptor import Descriptor
from tinykv.storage.snapshot_format import SnapshotHead
from tinykv.store.peers import Peers

REGION = 1


class FakeReplica:
    """Takes messages."""

    def __init__(self, group: Group) -> None:
        self._group = group

    def received(self, message: Message) -> None:
        self._group.step(message, 0.0)


class FakeHost:
    """A region that was left behind."""

    applied = 3

    def __init__(self) -> None:
        self.descriptor = Descriptor.initial(REGION, [1, 2, 3])
        disk = Disk(self.descriptor.membership)
        self.group = Group(1, RaftConfig(), Random(1), disk, HardState(1, 0, 0), self.descriptor.membership, 0)
        self.replica = FakeReplica(self.group)
        self.arrived: Any = None
        self.execution = SimpleNamespace(tell_distant=lambda client: None)
        # There's no other one.
        self.regions = SimpleNamespace(claims=lambda *range_: False, overlapping=lambda start, end: [], claimed={})


class ArrivalTests(SynchronousTestCase):
    """Each that the group wants is handed out, and no other stays."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.host = FakeHost()
        self.peers = Peers(cast(Any, None), Clock())
        self.peers.of(REGION).serve(cast(Any, self.host), cast(Any, None), cast(Any, None))

    def meta(self, index: int, sender: int, term: int) -> bytes:
        members = Membership((1, 2, 3))
        return encode_message(Message(SNAPSHOT, 1, sender, term, snapshot=SnapshotMeta(index, 1, members)))

    def arrives(self, index: int, sender: int = 2, term: int = 1) -> str:
        """Let a snapshot arrive."""
        path = self.folder / f"{index}-{sender}-{term}"
        state = index.to_bytes(8, "big") + (1).to_bytes(8, "big")
        path.write_bytes(SnapshotHead(REGION, b"a", b"b", state).encode())
        self.peers.snapshot_received(sender, REGION, str(path), self.meta(index, sender, term))
        return str(path)

    def wanted(self) -> SnapshotMeta:
        """Take from the group what it wants to be installed."""
        ready = self.host.group.ready()
        assert ready is not None and ready.snapshot is not None
        return ready.snapshot

    @property
    def files(self) -> list[str]:
        return sorted(str(path) for path in self.folder.iterdir())

    def test_one(self) -> None:
        path = self.arrives(10)
        self.assertEqual(self.host.arrived(self.wanted()), path)
        self.assertEqual(self.files, [path])

    def test_a_newer_one_before_the_first_is_installed(self) -> None:
        first = self.arrives(10)
        wanted = self.wanted()
        second = self.arrives(20, sender=3, term=2)
        self.assertEqual(self.host.arrived(wanted), first)
        self.assertEqual(self.host.arrived(self.wanted()), second)
        self.assertEqual(self.files, [first, second])

    def test_a_newer_one_before_the_first_is_asked_for(self) -> None:
        self.arrives(10)
        second = self.arrives(20)
        self.assertEqual(self.host.arrived(self.wanted()), second)
        self.assertEqual(self.files, [second])

    def test_one_of_a_leader_of_before(self) -> None:
        first = self.arrives(20, sender=3, term=2)
        self.arrives(10, term=1)
        self.assertEqual(self.host.arrived(self.wanted()), first)
        self.assertEqual(self.files, [first])

    def test_one_for_somebody_else(self) -> None:
        path = self.folder / "x"
        path.write_bytes(b"rows")
        self.peers.snapshot_received(2, REGION + 1, str(path), self.meta(10, 2, 1))
        self.assertEqual(self.files, [])

    def test_what_is_refused(self) -> None:
        self.arrives(10)
        offered = {
            index: self.peers.snapshot_offered(2, REGION, 4, self.meta(index, 2, 1)) for index in (3, 4, 10, 11)
        }
        self.assertEqual(
            offered,
            {
                3: "entry 3 is applied here already",
                4: "one as of entry 10 is being installed here",
                10: "one as of entry 10 is being installed here",
                11: None,
            },
        )
