"""
A group's parts put together, where daemons and simulations would do the same: one place, so that they stay alike.

What differs is given: the clock and the randomness, how messages leave, and the files. Regions and the scheduler's
state have the same kinds of peers and of snapshots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import NamedTuple, Protocol

from twisted.internet.interfaces import IReactorTime

from tinykv.interfaces import ILogWriter, IPeering, ISnapshotMaker
from tinykv.keys import ALL_SLOTS
from tinykv.peering.figures import PeerFigures
from tinykv.peering.notices import Notices
from tinykv.peering.turn import Turn
from tinykv.peering.verbs import MERGE_FEATURE
from tinykv.raft.config import RaftConfig
from tinykv.raft.group import Group
from tinykv.raft.log import Storage
from tinykv.raft.messages import HardState, Message, SnapshotMeta
from tinykv.redis.spec import CommandSpec
from tinykv.region.descriptor import Descriptor
from tinykv.region.state import ApplyState
from tinykv.store.durations import Durations
from tinykv.store.forwarding import Forwarder, Receiver
from tinykv.store.host import RegionHost
from tinykv.store.peers import Peers
from tinykv.store.polls import Polls
from tinykv.store.replica import Replica
from tinykv.store.snapshots import Sends, Snapshots
from tinykv.store.ticks import Ticks


class Start(Protocol):
    """What a start found, as far as it's about the peer; see L{tinykv.store.recovery.Recovered}."""

    @property
    def applied(self) -> ApplyState:
        """What is applied."""

    @property
    def hard_state(self) -> HardState:
        """What the peer has promised."""

    @property
    def descriptor(self) -> Descriptor:
        """The members as of what is applied."""

    @property
    def peer(self) -> int | None:
        """The peer's number; None if it was one of a store that was removed, and isn't known any more."""


class Log(Storage, Protocol):
    """
    The log on disk.

    @ivar newest: Gives the newest snapshot that can be sent, or has one made.
    """

    newest: Callable[[], SnapshotMeta | None]

    def base(self) -> int:
        """Give the last index that the log lacks."""


class Host(Protocol):
    """
    What applies the group's entries.

    @ivar log_needed: Says behind which index the log mustn't be cut.
    """

    log_needed: Callable[[], int | None]

    @property
    def descriptor(self) -> Descriptor:
        """The members."""

    def flush_all(self, done: Callable[[], None]) -> None:
        """Write all that is applied into data.db, and call back then."""

    def snapshot_sent(self, peer: int, arrived: bool) -> None:
        """Learn whether a snapshot that was sent has arrived."""

    def progress(self, peer: int) -> tuple[int, int] | None:
        """Give up to where a peer is known to have the log, and up to where it's applied here."""


def replica_of(
    recovered: Start,
    *,
    raft: RaftConfig,
    log: Storage,
    log_writer: ILogWriter,
    send: Callable[[Message], None],
    clock: IReactorTime,
    uptime: Callable[[], float],
    random: Random,
    durations: Durations,
    group_type: type[Group] = Group,
    replica_type: type[Replica] = Replica,
    quiet_until: float | None = None,
    ticks: Ticks | None = None,
) -> Replica:
    """
    Make a region's peer from what a start found: it belongs to the region, or will, or did and lingers.

    @param log: Reads the log that is on disk.
    @param send: Sends a message to the peer that it's for.
    @param uptime: The time in seconds since whenever, sleep included.
    @param random: Seeds the peer's own randomness.
    @param quiet_until: Until when it neither votes nor campaigns, by C{uptime}; None for as long as a lease that was
        granted before the start may seem to another host's clock.
    @param ticks: By which it counts time together with others; its own if there are none.
    """
    assert recovered.peer is not None, "there was, is or will be a peer"
    group = group_type(
        recovered.peer,
        raft,
        Random(random.getrandbits(64)),
        log,
        recovered.hard_state,
        recovered.descriptor.membership,
        recovered.applied.index,
        uptime() + raft.silence if quiet_until is None else quiet_until,
    )
    return replica_type(
        region=recovered.descriptor.region,
        group=group,
        log_writer=log_writer,
        send=send,
        clock=clock,
        uptime=uptime,
        ticks=ticks if ticks is not None else Ticks(clock, raft.tick, Turn(clock)),
        durations=durations,
    )


def snapshots_of(host: Host, *, log: Log, maker: ISnapshotMaker, sends: Sends, clock: IReactorTime) -> Snapshots:
    """Make what makes and sends the snapshots of what a host applies; the log is kept for who gets one."""
    snapshots = Snapshots(
        region=host.descriptor.region,
        maker=maker,
        sends=sends,
        flush=host.flush_all,
        key_range=lambda: (host.descriptor.start, host.descriptor.end),
        version=lambda: host.descriptor.version,
        log_begins=log.base,
        sent=host.snapshot_sent,
        progress=host.progress,
        clock=clock,
    )
    host.log_needed = lambda: snapshots.needed
    log.newest = snapshots.newest
    return snapshots


class Joined(NamedTuple):
    """
    What a region's host has beside it where there are other stores.

    @ivar forwarder: Takes to the store that leads what can't be done here.
    @ivar snapshots: Makes and sends copies to stores that need more than the log has.
    """

    forwarder: Forwarder
    snapshots: Snapshots


def join_stores(
    host: RegionHost,
    *,
    peers: Peers,
    links: IPeering,
    store_id: int,
    table: Mapping[str, CommandSpec],
    maker: ISnapshotMaker,
    log: Log,
    clock: IReactorTime,
    request_timeout: float,
    answered: Callable[[], None],
    local_reads: bool = False,
    forwarder_type: type[Forwarder] = Forwarder,
) -> Joined:
    """
    Put a region's host among other stores; before it starts.

    @param peers: Hears what comes over the links.
    @param table: The commands, by name.
    @param request_timeout: How long clients wait, in seconds.
    @param answered: Called when clients may have been answered.
    @param local_reads: Whether clients read what is applied here.
    """
    own = peers.of(host.descriptor.region)
    forwarder = forwarder_type(
        region=host.descriptor.region,
        here=host,
        links=links,
        leader_store=own.leader_store,
        own_store=store_id,
        clock=clock,
        request_timeout=request_timeout,
        answered=answered,
        local_reads=local_reads,
    )
    regions = host.regions
    if regions.polls is None:
        regions.polls = Polls(
            table=table,
            start_id=host.start_id,
            # Wherever the keys lie by now.
            submit=lambda operation: regions.moved(operation, ALL_SLOTS, None),
            clock=clock,
            answered=answered,
        )
    polls = regions.polls
    forwarder.blocks, forwarder.woken, forwarder.blocked = polls.begin, polls.wake, lambda: polls.operations
    host.elsewhere = forwarder
    forwarder.landed = host.proposals.landed
    host.leader_store = own.leader_store
    host.reached = lambda peer: (store := own.store_of(peer)) is not None and links.is_up(store)
    host.can_merge = lambda peer: (store := own.store_of(peer)) is not None and links.can(store, MERGE_FEATURE)
    snapshots = snapshots_of(host, log=log, maker=maker, sends=links, clock=clock)
    notices = Notices(clock, PeerFigures())
    own.serve(host, Receiver(here=host, table=table, notices=notices, route=partial(peers.routes, [own])), snapshots)
    return Joined(forwarder, snapshots)
