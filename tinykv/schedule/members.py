"""
What other members of the scheduler say to this one, and where it goes.
"""

from __future__ import annotations

import os
from typing import Protocol

from twisted.logger import Logger
from zope.interface import implementer

from tinykv.errors import Fault
from tinykv.interfaces import IForwardAnswer, IPeerHandler, IPeering
from tinykv.raft.messages import SNAPSHOT, Message, SnapshotMeta
from tinykv.raft.wire import Malformed, decode_message
from tinykv.schedule.host import ScheduleHost
from tinykv.schedule.recovery import REGION


class Snapshots(Protocol):
    """Sends snapshots, as L{tinykv.store.snapshots.Snapshots} does."""

    def send(self, store: int, message: Message) -> None:
        """Send the snapshot that a message is about."""


@implementer(IPeerHandler)
class Members:
    """
    The other members.

    @ivar strays: What came that nobody here knows what to do with.
    """

    log = Logger()

    def __init__(self, peering: IPeering) -> None:
        self.strays = 0
        self._peering = peering
        self._host: ScheduleHost | None = None
        self._snapshots: Snapshots | None = None
        #: The snapshot that has arrived and wasn't taken: what it stands for, and its file.
        self._arrived: tuple[SnapshotMeta, str] | None = None

    def serve(self, host: ScheduleHost, snapshots: Snapshots) -> None:
        """Say who takes what comes in; before anything does."""
        self._host = host
        self._snapshots = snapshots
        host.arrived = self._take

    @property
    def host(self) -> ScheduleHost:
        """Who takes what comes in."""
        assert self._host is not None, "serve comes first"
        return self._host

    def send(self, message: Message) -> None:
        """Send a message to the member that it's for."""
        member = self.host.descriptor.stores[message.to]
        if message.kind == SNAPSHOT:
            assert self._snapshots is not None, "serve comes first"
            self._snapshots.send(member, message)
        else:
            self._peering.send(member, REGION, message)

    # IPeerHandler

    def sender_store(self, region_id: int, peer_id: int) -> int | None:
        """Name the member of a peer."""
        return self.host.descriptor.stores.get(peer_id) if region_id == REGION else None

    def received(self, store_id: int, region_id: int, message: Message) -> None:
        """Take a Raft message."""
        host = self.host
        if region_id != REGION or message.to != host.group.peer:
            self.strays += 1
            return
        try:
            host.replica.received(message)
        except Fault as problem:
            host.fail(problem)

    def unreachable(self, store_id: int, region_id: int) -> None:
        """Learn that messages were lost."""
        peer = self.host.descriptor.peer_on(store_id)
        if peer is not None:
            self.host.group.unreachable(peer)

    def forwarded(self, store_id: int, payload: bytes, answer: IForwardAnswer) -> None:
        """Nothing is forwarded: clients are redirected."""
        self.strays += 1
        answer.refuse(b"")

    def pushed(self, store_id: int, payload: bytes) -> None:
        """Nothing is pushed."""
        self.strays += 1

    def link_up(self, store_id: int) -> None:
        """Learn that a member is there."""
        self.log.info("member {member} is reached", member=store_id)

    def link_down(self, store_id: int) -> None:
        """Learn that a member isn't there."""
        self.log.warn("member {member} isn't reached any more", member=store_id)
        if store_id == self.host.leader:
            # Most likely its process has ended, so there's no need to wait and see.
            self.host.replica.suspect_leader()

    def snapshot_offered(self, store_id: int, region_id: int, size: int, meta: bytes) -> str | None:
        """Say why a snapshot isn't wanted, or nothing."""
        message = self._read(region_id, meta)
        if message is None or message.snapshot is None:
            return "it's for a region or a peer that isn't here"
        if message.snapshot.index <= self.host.applied:
            return f"entry {self.host.applied} is applied here already"
        return None

    def snapshot_received(self, store_id: int, region_id: int, path: str, meta: bytes) -> None:
        """Take over a snapshot that has arrived."""
        message = self._read(region_id, meta)
        if self._arrived is not None:
            os.unlink(self._arrived[1])
            self._arrived = None
        if message is None or message.snapshot is None:
            os.unlink(path)
            return
        self._arrived = (message.snapshot, path)
        self.received(store_id, region_id, message)

    def _read(self, region_id: int, meta: bytes) -> Message | None:
        """Read the message that came with a snapshot; None if it isn't for here."""
        try:
            message = decode_message(meta)
        except Malformed:
            return None
        return message if region_id == REGION and message.to == self.host.group.peer else None

    def _take(self, snapshot: SnapshotMeta) -> str:
        """Hand out the file of a snapshot."""
        assert self._arrived is not None and self._arrived[0] == snapshot, "what the group takes is what came last"
        _, path = self._arrived
        self._arrived = None
        return path
