"""
CLUSTER and ASKING: what clients of a Redis Cluster ask of its nodes.

They're answered on the cluster port; on the others this is a Redis on its own. Slots and nodes are looked after by the
stores themselves, so what changes them isn't here.

@see: U{https://redis.io/commands/?group=cluster}
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from itertools import islice, takewhile
from typing import Final

from tinykv.errors import CommandError, NotAnInteger
from tinykv.interfaces import ISlots
from tinykv.keys import SLOTS, slot_of
from tinykv.redis.numbers import parse_int64
from tinykv.resp import replies
from tinykv.server.cluster_nodes import Node, count_led, node_name, nodes_of
from tinykv.server.routes import Serve, connection
from tinykv.server.session import Session

_DISABLED: Final = replies.error(b"ERR This instance has cluster support disabled")

#: Keys that one GETKEYSINSLOT gives at most, whatever it asks for: all clients wait for it.
KEYS_MAX: Final = 10_000

#: Answers on the cluster port: C{(slots, session, request) -> reply}.
_Answer = Callable[[ISlots, Session, list[bytes]], bytes]

_HELP: Final = (
    b"CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"COUNT-FAILURE-REPORTS <node-id>",
    b"    Give 0: nodes don't report each other.",
    b"COUNTKEYSINSLOT <slot>",
    b"    Count the keys that this store has in a slot.",
    b"GETKEYSINSLOT <slot> <count>",
    b"    Give so many keys that this store has in a slot.",
    b"INFO",
    b"    Describe the cluster.",
    b"KEYSLOT <key>",
    b"    Give the slot of a key.",
    b"LINKS",
    b"    Give nothing: nodes have no links of Redis Cluster's kind.",
    b"MYID",
    b"    Give the id of this node.",
    b"NODES",
    b"    Describe the nodes, a line each:",
    b"    <id> <host:port> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...",
    b"REPLICAS <node-id>",
    b"    Describe the replicas of a node.",
    b"SHARDS",
    b"    Give the masters' slots, each with the nodes that have them.",
    b"SLOTS",
    b"    Give the ranges of slots, each with the nodes that have it.",
    b"HELP",
    b"    Show these lines.",
)


def _in_cluster(answer: _Answer) -> Serve:
    """Make a command of an answer that only the cluster port gives."""

    @wraps(answer)
    def serve(session: Session, number: int, request: list[bytes]) -> bytes:
        slots = session.front.slots
        if not session.cluster or slots is None:
            return _DISABLED
        return answer(slots, session, request)

    return serve


@connection("asking")
@_in_cluster
def asking(slots: ISlots, session: Session, request: list[bytes]) -> bytes:
    """Announce a command on a slot that comes to this node; none ever comes slowly, so nothing changes by it."""
    return replies.OK


@connection("cluster|help")
@_in_cluster
def cluster_help(slots: ISlots, session: Session, request: list[bytes]) -> bytes:
    """Say what there is."""
    return replies.array([replies.simple(line) for line in _HELP])


@connection("cluster|myid")
@_in_cluster
def cluster_myid(slots: ISlots, session: Session, request: list[bytes]) -> bytes:
    """Give this node's id."""
    return replies.bulk(node_name(slots.cluster_id, slots.store_id))


@connection("cluster|keyslot")
@_in_cluster
def cluster_keyslot(slots: ISlots, session: Session, request: list[bytes]) -> bytes:
    """Give the slot of a key."""
    return replies.integer(slot_of(request[2]))


# Keys of a slot


@connection("cluster|countkeysinslot")
@_in_cluster
def cluster_countkeysinslot(slots: ISlots, session: Session, request: list[bytes]) -> bytes:
    """Count a slot's keys, as they're applied here."""
    slot = _number(request[2])
    if not 0 <= slot < SLOTS:
        raise CommandError(b"ERR Invalid slot")
    return replies.integer(_keys_in(slots, slot))


@connection("cluster|getkeysinslot")
@_in_cluster
def cluster_getkeysinslot(slots: ISlots, session: Session, request: list[bytes]) -> bytes:
    """Give some of a slot's keys, as they're applied here."""
    slot, count = _number(request[2]), _number(request[3])
    if not 0 <= slot < SLOTS or count < 0:
        raise CommandError(b"ERR Invalid slot or number of keys")
    execution = slots.execution(slot)
    if execution is None or not _keys_in(slots, slot):
        return replies.EMPTY_ARRAY
    rows = execution.keyspace.databases[0].rows_from(slot, 0)
    inside = takewhile(lambda row: row[0] == slot, rows)
    return replies.bulks([key for _, _, key, _ in islice(inside, min(count, KEYS_MAX))])


def _keys_in(slots: ISlots, slot: int) -> int:
    execution = slots.execution(slot)
    counter = None if execution is None else execution.keyspace.databases[0].counters.get(slot)
    return 0 if counter is None else counter.keys


def _number(text: bytes) -> int:
    number = parse_int64(text)
    if number is None:
        raise NotAnInteger
    return number


# Nodes


@connection("cluster|info")
@_in_cluster
def cluster_info(slots: ISlots, session: Session, request: list[bytes]) -> bytes:
    """Describe the cluster."""
    nodes = nodes_of(slots)
    served = count_led(slots)
    own = max((node.epoch for node in nodes if node.store == slots.store_id), default=0)
    figures = {
        "cluster_state": "ok" if served == SLOTS else "fail",
        "cluster_slots_assigned": SLOTS,
        "cluster_slots_ok": served,
        "cluster_slots_pfail": 0,
        "cluster_slots_fail": SLOTS - served,
        "cluster_known_nodes": len(nodes),
        "cluster_size": sum(bool(node.slots) for node in nodes),
        "cluster_current_epoch": max((node.epoch for node in nodes), default=0),
        "cluster_my_epoch": own,
        "cluster_stats_messages_sent": 0,
        "cluster_stats_messages_received": 0,
        "total_cluster_links_buffer_limit_exceeded": 0,
    }
    text = "".join(f"{figure}:{value}\r\n" for figure, value in figures.items())
    return replies.verbatim(text.encode(), b"txt", session.proto)


@connection("cluster|nodes")
@_in_cluster
def cluster_nodes(slots: ISlots, session: Session, request: list[bytes]) -> bytes:
    """Describe the nodes, a line each."""
    nodes = nodes_of(slots)
    return replies.verbatim(b"".join(_line(slots, nodes, node) + b"\n" for node in nodes), b"txt", session.proto)


def _line(slots: ISlots, nodes: list[Node], node: Node) -> bytes:
    """Write the line of a node; stores have no port for gossip, so that is given as 0."""
    flags = [b"myself"] if node.store == slots.store_id else []
    flags.append(b"master" if node.master is None else b"slave")
    if not node.up:
        flags.append(b"fail")
    master = b"-" if node.master is None else node_name(slots.cluster_id, node.master)
    address = b"%b:%d@0" % (node.host, node.port)
    link = b"connected" if node.up else b"disconnected"
    ranges = [b"%d" % first if first == last else b"%d-%d" % (first, last) for first, last in node.slots]
    return b" ".join((node.name, address, b",".join(flags), master, b"0 0 %d" % node.epoch, link, *ranges))


@connection("cluster|slots")
@_in_cluster
def cluster_slots(slots: ISlots, session: Session, request: list[bytes]) -> bytes:
    """
    Give the ranges of slots, each with its master and the replicas that can be reached.

    Where there are several regions no replicas are given: clients take it that one which is found to be a master has
    taken over all slots of its own, and ask that one for nothing more.
    """
    nodes = nodes_of(slots)
    found: list[tuple[int, bytes]] = []
    several = len(slots.ranges()) > 1
    for node in nodes:
        replicas = [] if several else [one for one in _replicas(nodes, node) if one.up]
        held = [_place(one, session.proto) for one in (node, *replicas)]
        for first, last in node.slots:
            found.append((first, replies.array([replies.integer(first), replies.integer(last), *held])))
    return replies.array([text for _, text in sorted(found)])


def _place(node: Node, proto: int) -> bytes:
    """Write a node as CLUSTER SLOTS does: host, port, id, and what else there is to know of its network."""
    return replies.array(
        [replies.bulk(node.host), replies.integer(node.port), replies.bulk(node.name), replies.map_([], proto)]
    )


@connection("cluster|shards")
@_in_cluster
def cluster_shards(slots: ISlots, session: Session, request: list[bytes]) -> bytes:
    """Give each master's slots, with itself and its replicas."""
    nodes, proto = nodes_of(slots), session.proto
    return replies.array(
        [
            replies.map_(
                [
                    replies.bulk(b"slots"),
                    replies.array([replies.integer(border) for borders in node.slots for border in borders]),
                    replies.bulk(b"nodes"),
                    replies.array([_member(one, proto) for one in (node, *_replicas(nodes, node))]),
                ],
                proto,
            )
            for node in nodes
            if node.master is None
        ]
    )


def _member(node: Node, proto: int) -> bytes:
    """Write a node as CLUSTER SHARDS does."""
    fields = (
        (b"id", replies.bulk(node.name)),
        (b"port", replies.integer(node.port)),
        (b"ip", replies.bulk(node.host)),
        (b"endpoint", replies.bulk(node.host)),
        (b"role", replies.bulk(b"master" if node.master is None else b"replica")),
        (b"replication-offset", replies.ZERO),
        (b"health", replies.bulk(b"online" if node.up else b"fail")),
    )
    return replies.map_([part for name, value in fields for part in (replies.bulk(name), value)], proto)


def _replicas(nodes: list[Node], master: Node) -> list[Node]:
    return [node for node in nodes if node.master == master.store]


@connection("cluster|replicas")
@connection("cluster|slaves")
@_in_cluster
def cluster_replicas(slots: ISlots, session: Session, request: list[bytes]) -> bytes:
    """Describe the replicas of a node."""
    nodes = nodes_of(slots)
    node = _named(nodes, request[2])
    if node.master is not None:
        raise CommandError(b"ERR The specified node is not a master")
    return replies.bulks([_line(slots, nodes, one) for one in _replicas(nodes, node)])


@connection("cluster|count-failure-reports")
@_in_cluster
def cluster_count_failure_reports(slots: ISlots, session: Session, request: list[bytes]) -> bytes:
    """Count who reported that a node fails: nobody, since each store looks for itself."""
    _named(nodes_of(slots), request[2])
    return replies.ZERO


def _named(nodes: list[Node], name: bytes) -> Node:
    for node in nodes:
        if node.name == name:
            return node
    raise CommandError(b"ERR Unknown node %b" % name)


@connection("cluster|links")
@_in_cluster
def cluster_links(slots: ISlots, session: Session, request: list[bytes]) -> bytes:
    """Give the links of Redis Cluster's own kind; stores have others."""
    return replies.EMPTY_ARRAY
