"""
How a store's cluster began, in a file of its own beside the databases: its id, and its first regions.

The rows say it only from the first flush on, and afterwards how things are now. The file is written before the store
has promised anything, and never changes: so a start needs no scheduler, and one that was lost can be told by any store.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, NamedTuple

from tinykv.placement.plain import BadRecord
from tinykv.placement.region_info import RegionInfo
from tinykv.storage.errors import CorruptFile
from tinykv.storage.small_files import read_file, replace_file

NAME: Final = "beginning.json"


class Beginning(NamedTuple):
    """
    The beginning of a cluster.

    @ivar cluster_id: The cluster's id.
    @ivar regions: The regions that there were, each with its first voters.
    """

    cluster_id: str
    regions: tuple[RegionInfo, ...]


def read_beginning(folder: Path) -> Beginning | None:
    """
    Read it; None if the store knows of no cluster yet.

    @raise tinykv.storage.errors.StorageError: It can't be read, or is something else.
    """
    data = read_file(folder / NAME)
    if data is None:
        return None
    try:
        plain = json.loads(data)
        return Beginning(str(plain["cluster"]), tuple(map(RegionInfo.from_json, plain["regions"])))
    except (BadRecord, KeyError, TypeError, ValueError) as problem:
        raise CorruptFile(
            f"{folder / NAME}: this doesn't say how the cluster began. Copy the file of another store of it here"
        ) from problem


def write_beginning(folder: Path, beginning: Beginning) -> None:
    """
    Write it, durably.

    @raise tinykv.storage.errors.StorageError: It can't be written.
    """
    plain = {"cluster": beginning.cluster_id, "regions": [region.to_json() for region in beginning.regions]}
    replace_file(folder / NAME, json.dumps(plain, indent=1) + "\n")
