"""
Where stores are, by their labels, and how crowded a place is for a replica.

With the labels C{("zone", "host")} two stores are on one host when both labels are equal, and in one zone when the
first is. The crowding of a store among others is how many of them share its place, from the widest place to the
narrowest: compared as tuples, less is better, so that zones are kept apart before hosts are. A move that lowers the
crowding of one replica lowers the sum over all of the region's, therefore moves for the sake of labels come to an end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tinykv.placement.stores import StoreRecord

#: How many others are in the same place, for each label.
Crowding = tuple[int, ...]


def shared_levels(one: StoreRecord, other: StoreRecord, labels: tuple[str, ...]) -> int:
    """
    Tell in how many of the nested places two stores are together.

    A label that neither has says nothing: where hosts are named and zones aren't, hosts still are kept apart.
    """
    together = 0
    for level, label in enumerate(labels, 1):
        own, others = one.labels.get(label), other.labels.get(label)
        if own != others:
            break
        if own is not None:
            together = level
    return together


def crowding(stores: Mapping[int, StoreRecord], labels: tuple[str, ...], store: int, others: Iterable[int]) -> Crowding:
    """Tell how many of some other stores share each place of a store. Those that aren't known are nowhere."""
    record = stores[store]
    depths = [shared_levels(record, stores[other], labels) for other in others if other != store and other in stores]
    return tuple(sum(depth > level for depth in depths) for level in range(len(labels)))
