"""
The stores as nodes of a Redis Cluster: who has which slots, and who is whose replica.

A store that clients are to go to with some slots is a master; one without any is shown as a replica of the store that
has most, whose slots it can read for a client that said READONLY. A store that nobody knows how to reach as a node is
none.

No slot is left out, even if it isn't known who leads it: some clients believe in no cluster that lacks any.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha1
from typing import NamedTuple

from tinykv.interfaces import ISlots


class Node(NamedTuple):
    """
    A store.

    @ivar name: Its id as a node: 40 hexadecimal digits, always the same ones.
    @ivar up: Whether it can be reached.
    @ivar epoch: The greatest term in which it leads a region.
    @ivar slots: Its ranges of slots, each the first and the last.
    @ivar master: The store whose replica it is; None if it's a master.
    """

    store: int
    name: bytes
    host: bytes
    port: int
    up: bool
    epoch: int
    slots: tuple[tuple[int, int], ...]
    master: int | None


def node_name(cluster_id: str, store_id: int) -> bytes:
    """Give the id of a store as a node of a cluster."""
    return sha1(f"{cluster_id} {store_id}".encode(), usedforsecurity=False).hexdigest().encode()


def nodes_of(slots: ISlots) -> list[Node]:
    """List the nodes, by store id."""
    ranges = slots.ranges()
    # Who leads may have a range without being known as a member, where all that is known of the region is who leads it.
    stores = sorted({slots.store_id, *(store for one in ranges for store in (one.owner, *one.stores))})
    owned: dict[int, list[tuple[int, int]]] = {store: [] for store in stores}
    epochs = dict.fromkeys(stores, 0)
    for one in ranges:
        _extend(owned[one.owner], one.first, one.last)
        epochs[one.owner] = max(epochs[one.owner], one.term if one.led else 0)
    masters = [store for store in stores if owned[store]]
    most = max(masters, key=lambda store: (_count(owned[store]), -store), default=None)
    nodes: list[Node] = []
    for store in stores:
        address = slots.address(store)
        if address is None:
            continue
        host, port = address
        master = None if owned[store] else most
        nodes.append(
            Node(
                store,
                node_name(slots.cluster_id, store),
                host.encode(),
                port,
                slots.is_up(store),
                epochs[store if master is None else master],
                tuple(owned[store]),
                master,
            )
        )
    return nodes


def master_of(slots: ISlots) -> Node | None:
    """Give the node that this store is shown as a replica of; None if it's a master."""
    nodes = nodes_of(slots)
    own = next((node for node in nodes if node.store == slots.store_id), None)
    if own is None or own.master is None:
        return None
    return next((node for node in nodes if node.store == own.master), None)


def _extend(owned: list[tuple[int, int]], first: int, last: int) -> None:
    """Add a range of slots that lies behind the others."""
    if owned and owned[-1][1] + 1 == first:
        owned[-1] = (owned[-1][0], last)
    else:
        owned.append((first, last))


def _count(ranges: Iterable[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in ranges)


def count_led(slots: ISlots) -> int:
    """Count the slots of which it's known who leads them."""
    return _count((one.first, one.last) for one in slots.ranges() if one.led)
