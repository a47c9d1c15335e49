"""
Regions that this store leads are merged, whoever wants it: the neighbour's leadership is brought here, the merge is
proposed, and its outcome is waited for.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import Deferred

from tinykv.errors import ControlRefused, ControlUnknown
from tinykv.raft.log import Compacted
from tinykv.raft.refusals import Refused
from tinykv.region.descriptor import Descriptor
from tinykv.store.host import RegionHost
from tinykv.store.splitter import Until

_LATE: Final = "it isn't decided in time whether the regions are merged; `tinykv ctl status` tells when it is"


class Merger:
    """
    Merges them.

    @ivar done: How many merges have been made that were asked for here.
    """

    def __init__(self, *, until: Until) -> None:
        """
        @param until: Waits until something is so.
        """
        self.done = 0
        self._until = until
        #: Regions whose merge is under way.
        self._merging: set[int] = set()

    async def merge(self, host: RegionHost, target: int) -> Descriptor:
        """
        Merge a region that this store leads into a neighbour.

        @return: What that one is then.
        @raise ControlRefused: It can't be; both are as they were.
        @raise ControlUnknown: Nobody can tell whether it was.
        """
        region = host.descriptor.region
        if region in self._merging:
            raise ControlRefused(f"region {region} is being merged already")
        self._merging.add(region)
        try:
            await self._lead(host, target)
            try:
                index = host.propose_merge(target)
            except Refused as refused:
                raise ControlRefused(str(refused)) from refused
            await self._outcome(host, target, index)
        finally:
            self._merging.discard(region)
        self.done += 1
        return host.regions.hosts[target].descriptor

    async def _lead(self, host: RegionHost, target: int) -> None:
        """
        Have this store lead the target as well.

        @raise ControlRefused: It can't.
        """
        other = host.regions.hosts.get(target)
        if other is None or other.vacant or other.ready:
            return  # if it isn't here, the proposal says so
        leads = other.leader_store()
        try:
            other.group.transfer_leader(other.group.peer)
        except Refused as refused:
            raise ControlRefused(f"store {leads} leads region {target}: one has to lead both ({refused})") from refused
        other.replica.go_on()
        try:
            await self._until(lambda: True if other.ready or other.merging.gone else None, "")
        except ControlUnknown:
            text = f"store {leads} leads region {target}, and doesn't hand it over: one has to lead both; ask again"
            raise ControlRefused(text) from None

    def _outcome(self, host: RegionHost, target: int, index: int) -> Deferred[bool]:
        """Wait until it's known what became of a merge; fails where it wasn't made."""
        group = host.group
        term, region = group.term, host.descriptor.region

        def applied() -> bool | None:
            if region in host.regions.merged:
                return True
            if host.applied < index:
                return None
            try:
                found = group.term_of(index)
            except Compacted:
                raise ControlUnknown("another store leads now; see whether the regions were merged") from None
            if found != term:
                raise ControlRefused("another store took over before a majority had the merge; ask again")
            if host.merging.state is None:
                raise ControlRefused(f"region {region} or {target} was changed before they could be merged; ask again")
            return None

        return self._until(applied, _LATE)
