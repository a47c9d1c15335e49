"""
What sees to it that regions neither grow too large nor have too much to do, put together.
"""

from __future__ import annotations

import os
from random import Random
from typing import TYPE_CHECKING, Any, Final

from tinykv.storage.errors import from_os
from tinykv.storage.slot_sizes import SlotSizes
from tinykv.store.load_check import LoadCheck
from tinykv.store.split_check import SplitCheck

if TYPE_CHECKING:
    from tinykv.tap.store import StoreService

#: How often the load is looked at while the sizes are once: it's gone sooner.
LOOKS_A_CHECK: Final = 5


def split_check_of(store: StoreService, reactor: Any, sizes: SlotSizes) -> SplitCheck:
    """Put together what looks at the sizes of a store's regions."""
    config, hosts = store.config, store.regions.hosts
    return SplitCheck(
        regions=lambda: tuple(hosts.values()),
        held=lambda: data_bytes(store) + _log_bytes(store),
        measure=sizes.measure,
        split=lambda region, slots: store.control.split(region, slots, 2),
        clock=reactor,
        interval=config.split_check_interval,
        max_bytes=config.region_max_size,
        part_bytes=config.region_split_size,
    )


def load_check_of(store: StoreService, reactor: Any, random: Random) -> LoadCheck:
    """Put together what looks at how much a store's regions do."""
    config, hosts = store.config, store.regions.hosts
    return LoadCheck(
        regions=lambda: tuple(hosts.values()),
        split=lambda region, slots: store.control.split(region, slots, 2),
        clock=reactor,
        random=random,
        interval=config.split_check_interval / LOOKS_A_CHECK,
        threshold=config.split_load_threshold,
    )


def data_bytes(store: StoreService) -> int:
    """
    Give the bytes that the store holds, about, without reading them.

    @raise tinykv.storage.errors.StorageError: That can't be seen.
    """
    path = store.folder.data_path
    try:
        size = os.stat(path).st_size
    except OSError as problem:
        raise from_os(problem, path) from problem
    return max(size - store.rows.reader.reusable_bytes(), 0) + store.regions.table_bytes


def _log_bytes(store: StoreService) -> int:
    """
    Give the bytes of the write-ahead log, in which what was flushed lies until a checkpoint. It keeps its size behind
    that, so with it a store seems to hold more than it does; then some regions are measured for nothing, once.
    """
    try:
        return os.stat(store.folder.data_path + "-wal").st_size
    except FileNotFoundError:
        return 0
    except OSError as problem:
        raise from_os(problem, store.folder.data_path) from problem
