"""
The consensus of a region that has no other peer.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.interfaces import IReactorTime

from tinykv.interfaces import ILogWriter
from tinykv.keys import FIRST_REGION
from tinykv.peering.turn import Turn
from tinykv.raft.config import RaftConfig
from tinykv.raft.group import Group
from tinykv.raft.log import Storage
from tinykv.raft.membership import Membership
from tinykv.raft.messages import HardState, Message
from tinykv.region.state import ApplyState
from tinykv.store.durations import Durations
from tinykv.store.replica import Replica
from tinykv.store.ticks import Ticks
from tinykv.testing.ended_log import EndedLog


def alone(
    log_writer: ILogWriter,
    clock: IReactorTime,
    durations: Durations,
    applied: ApplyState,
    hard_state: HardState,
    random: Random,
    uptime: Callable[[], float] | None = None,
    region: int = FIRST_REGION,
    log: Storage | None = None,
) -> Replica:
    """
    Make the replica of a region on a store that has applied all of its log.

    @param log: The log on disk, where it's asked for later; only its end is known if it's not given.
    """
    config = RaftConfig()
    storage = log if log is not None else EndedLog(applied.index, applied.term)
    return Replica(
        region=region,
        group=Group(1, config, random, storage, hard_state, Membership((1,)), applied.index),
        log_writer=log_writer,
        send=_nobody_else,
        clock=clock,
        uptime=uptime if uptime is not None else clock.seconds,
        ticks=Ticks(clock, config.tick, Turn(clock)),
        durations=durations,
    )


def _nobody_else(message: Message) -> None:
    raise AssertionError(f"there is no peer {message.to}")
