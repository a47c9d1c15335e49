"""Whether a store serves as it should, for /healthz: in words that tell an operator what to do or to wait for."""

from __future__ import annotations

from tinykv.store.host import RegionHost


def problem_of(host: RegionHost, scheduled: bool = False) -> str | None:
    """
    Say why a store doesn't serve as it should, or None.

    @param scheduled: Whether a scheduler gives it what it holds.
    """
    group = host.group
    members = group.membership
    if not group.peer and scheduled:
        return "empty: it waits for the scheduler to give it a replica"
    if not group.peer:
        return "not a member yet: it waits for `tinykv ctl add-store` at one of the cluster's stores"
    if group.peer not in members.voters and group.peer not in members.outgoing:
        return "catching up: a new member, which doesn't vote yet"
    if not group.leader_id:
        return "starting" if members.voters == (group.peer,) else "no store leads: a majority isn't reached"
    if host.queue.held:
        return "catching up: a snapshot takes the place of its data"
    if host.stalled:
        return "the disk does not answer: writes are refused"
    return "disk nearly full: growing writes are refused" if host.growing_refused else None
