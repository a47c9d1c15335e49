"""
What a store's first start has to know: which cluster it belongs to, and with which regions that began.

A list of stores says it, or the store's folder does, since it was told before. Only a new store that has a scheduler
and no list has to ask, and to wait until as many have come as the scheduler wants.
"""

from __future__ import annotations

from hashlib import sha256

from twisted.internet.interfaces import IReactorTime

from tinykv.config import ConfigError, StoreConfig
from tinykv.interfaces import IScheduler
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.stores import Life
from tinykv.region.descriptor import Descriptor
from tinykv.storage.beginning import Beginning, read_beginning, write_beginning
from tinykv.storage.folder import DataFolder
from tinykv.store.scheduling import Registration, wait_for_cluster

#: The one region that there is, and the store that has it where there's no other.
REGION = 1
STORE_ID = 1

_SOURCE = "configuration"


def cluster_id_of(config: StoreConfig) -> str:
    """Give the cluster's id: the same for all stores that have the same list, empty for a store of its own."""
    if not config.initial_stores:
        return ""
    stores = ",".join(str(store.store_id) for store in sorted(config.initial_stores))
    # Stores that cut their slots otherwise are no stores of the same cluster.
    cut = f" {config.initial_regions}" if config.initial_regions > 1 else ""
    return sha256(f"{config.cluster_name} {stores}{cut}".encode()).hexdigest()[:32]


def known_beginning(config: StoreConfig, folder: DataFolder) -> Beginning | None:
    """
    Give how the store's cluster began, as far as that needn't be asked; None if the scheduler has to say it.

    A store that was on its own, and is given a scheduler, is the cluster's beginning.

    @raise ConfigError: The folder belongs to a cluster of which the configuration says nothing, or to a store of its
        own, and the configuration names others.
    @raise tinykv.storage.errors.StorageError: The file that says it can't be read or written.
    """
    stores = [store.store_id for store in config.initial_stores] or [config.store_id]
    firsts = Descriptor.initial_regions(config.initial_regions, stores)
    own = Beginning(cluster_id_of(config), tuple(RegionInfo.of(first, None) for first in firsts))
    found = read_beginning(config.data_dir)
    if config.initial_stores:
        if stores != [config.store_id]:
            _refuse_own_data(config, folder)
        if config.schedulers and found is None:
            write_beginning(config.data_dir, own)
        return own
    if found is not None:
        if not config.schedulers:
            why = "is needed still, or initial_stores: this folder belongs to a cluster of several stores"
            raise ConfigError(_SOURCE, "schedule", "schedulers", why)
        return found
    if folder.identity.cluster_id:
        why = "is needed still: this folder belongs to a cluster that began with such a list"
        raise ConfigError(_SOURCE, "cluster", "initial_stores", why)
    if not config.schedulers:
        return own
    if not _is_used(folder):
        return None
    alone = Beginning(sha256(folder.identity.folder_id.encode()).hexdigest()[:32], own.regions)
    write_beginning(config.data_dir, alone)
    return alone


def _is_used(folder: DataFolder) -> bool:
    """Say if a store has run with a folder: it has promised something then, if nothing else."""
    recovery = folder.recover(REGION)
    return recovery.hard_state is not None or recovery.last[0] > 0


def _refuse_own_data(config: StoreConfig, folder: DataFolder) -> None:
    """
    Don't take the folder of a store of its own into a cluster that begins without its data.

    Its log would be another one than the cluster's, so that two could lead, and what one of them acknowledged would go.

    @raise ConfigError: It's such a folder.
    """
    if folder.identity.cluster_id or not _is_used(folder):
        return
    why = (
        f"names other stores, and the folder {config.data_dir} has data of store {config.store_id} on its own, which"
        f" they don't know. To keep the data, name this store alone, {config.store_id}@HOST:PORT, and add the others"
        " with tinykv ctl add-store; to begin without it, give this store an empty data_dir"
    )
    raise ConfigError(_SOURCE, "cluster", "initial_stores", why)


async def asked_beginning(
    config: StoreConfig, scheduler: IScheduler, registration: Registration, clock: IReactorTime
) -> tuple[Beginning, dict[int, str]]:
    """
    Ask the scheduler how the cluster began, or begins; it's kept in the folder before it's given.

    @return: That, and where the stores are.
    @raise tinykv.storage.errors.StorageError: It can't be written.
    """
    said, records = await wait_for_cluster(scheduler, registration, clock)
    beginning = Beginning(said["cluster_id"], tuple(said["regions"]))
    write_beginning(config.data_dir, beginning)
    living = {store: record.address for store, record in records.items() if record.life is not Life.TOMBSTONE}
    return beginning, living
