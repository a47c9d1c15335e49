"""
What the regions of a store have of its memory for live values, and of the room for their logs: all of them the same.

So it's shared anew whenever one comes or goes: by a split, as a replica that begins here, or one that is given up.
"""

from __future__ import annotations

from tinykv.store.regions import Regions


class Shares:
    """
    Shares a store's limits among its regions, from when it's made.
    """

    def __init__(self, regions: Regions, *, memory_budget: int, log_bytes_max: int) -> None:
        """
        @param memory_budget: About how many bytes the live values of all regions may take.
        @param log_bytes_max: About how many bytes of entries all of them keep at most for slow followers.
        """
        self._regions = regions
        self._memory_budget = memory_budget
        self._log_bytes_max = log_bytes_max
        regions.watchers.append(self._share)
        self._share()

    def _share(self) -> None:
        hosts = self._regions.ordered
        for host in hosts:
            host.keyspace.budget = self._memory_budget // len(hosts)
            host.flushing.log_bytes_max = self._log_bytes_max // len(hosts)
