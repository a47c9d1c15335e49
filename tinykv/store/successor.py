"""Who leads next, when the one that leads is to hand over."""

from __future__ import annotations

from collections.abc import Callable

from tinykv.raft.group import Group


def successor_of(group: Group, reached: Callable[[int], bool] = lambda peer: True) -> int | None:
    """
    Choose the voter with the longest log, of equal ones the first; None if there is none, or this peer doesn't lead.

    @param reached: Says whether a peer can be reached, where that is known.
    """
    voters = group.membership.voters
    known = [(-seen.match, peer) for peer, seen in group.progress().items() if peer in voters and peer != group.peer]
    return min([(match, peer) for match, peer in known if reached(peer)], default=(0, None))[1]
