"""
Who a store is to its peers, and the limits of what they may cost it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from tinykv.peering.verbs import FORWARDS_MAX

#: Ids of clusters and folders, names of features: words of the protocol.
_WORD: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ADDRESS: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):([1-9][0-9]{0,4})")
#: Numbers from here on aren't stores': each run of a gateway has one of them.
GATEWAYS: Final = 1 << 61
#: What a gateway says its cluster is before it has heard; no cluster is called so.
ANY_CLUSTER: Final = "any"
#: What a gateway says its address and its folder are: nobody dials it, and it has none.
NOWHERE: Final = "gateway:1"
NO_FOLDER: Final = "none"

#: A secret that can be guessed protects nothing.
SECRET_BYTES_LEAST: Final = 16


def is_word(text: str) -> bool:
    """Tell whether a text can be the id of a cluster or a folder, or a feature's name."""
    return _WORD.fullmatch(text) is not None and text != "-"


def is_address(text: str) -> bool:
    """Tell whether a text is C{host:port}, an IPv6 address in brackets."""
    found = _ADDRESS.fullmatch(text)
    return found is not None and int(found[1]) < 65536


@dataclass(frozen=True, kw_only=True)
class PeerIdentity:
    """
    Who this store is.

    @ivar store_id: From 1 on.
    @ivar start_id: Names this run of the store; other runs have other ones.
    @ivar address: Where other stores find this one, C{host:port}.
    @ivar secret: What all stores of the cluster know, and nobody else.
    @ivar features: What this version can do beyond the protocol's version.
    """

    cluster_id: str
    store_id: int
    folder_id: str
    start_id: int
    address: str
    secret: bytes = field(repr=False)
    features: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """
        Check that all of it can be said.

        @raise ValueError: Something can't.
        """
        if not is_word(self.cluster_id) or not is_word(self.folder_id):
            raise ValueError("the ids of cluster and folder have to be 1 to 64 letters, digits, '.', '_' or '-'")
        if not 0 < self.store_id < 2**62 or not 0 <= self.start_id < 2**64:
            raise ValueError(f"store id {self.store_id} or start id {self.start_id} is out of range")
        if not is_address(self.address):
            raise ValueError(f"{self.address!r} is no host:port that other stores could reach")
        if len(self.secret) < SECRET_BYTES_LEAST:
            raise ValueError(f"the secret that stores share needs at least {SECRET_BYTES_LEAST} bytes")
        if len(self.features) > 4 or not all(map(is_word, self.features)):
            raise ValueError("there are too many features, or one isn't a word")


@dataclass(frozen=True, kw_only=True)
class PeerLimits:
    """
    What peers may cost. Times are in seconds.

    @ivar handshake_timeout: Within it both sides have to prove who they are.
    @ivar ping_interval: How often the side that dialled says that it's there.
    @ivar idle_timeout: A connection on which nothing came for so long is closed; more than two pings.
    @ivar reconnect_least: The first pause before dialling again; it doubles with each failure up to
        C{reconnect_most}, and each is shortened at random by up to half.
    @ivar connect_timeout: How long an attempt may take until there's a connection.
    @ivar connections_max: Connections that were accepted, of all kinds.
    @ivar unproven_max: Those of them whose peers haven't proven who they are; past it the oldest goes.
    @ivar urgent_bytes_max: What may wait on a link ahead of the rest.
    @ivar bulk_bytes_max: What may wait on a link in appends, commands and replies. One larger message may wait alone.
    @ivar message_bytes_max: The longest message; it has to hold the longest command with its log entry.
    @ivar forwards_max: Batches of commands on one link that aren't answered yet; the protocol allows no more than
        L{tinykv.peering.verbs.FORWARDS_MAX}.
    @ivar snapshot_bytes_max: The longest snapshot that is taken or sent.
    @ivar snapshot_rate: Bytes a second of all snapshots that leave together.
    @ivar snapshot_credit: Pieces of a snapshot that may be under way.
    @ivar snapshots_max: Snapshots that are sent at a time, and as many that are received.
    @ivar snapshot_stall: A snapshot's connection that doesn't get on for so long is closed.
    @ivar snapshot_give_up: When a snapshot doesn't get on for so long, over all connections, it fails.
    """

    handshake_timeout: float = 5.0
    ping_interval: float = 3.0
    idle_timeout: float = 10.0
    reconnect_least: float = 0.1
    reconnect_most: float = 1.0
    connect_timeout: float = 5.0
    connections_max: int = 512
    unproven_max: int = 64
    urgent_bytes_max: int = 4 * 1024 * 1024
    bulk_bytes_max: int = 64 * 1024 * 1024
    message_bytes_max: int = 1088 * 1024 * 1024
    forwards_max: int = 4096
    snapshot_bytes_max: int = 1024 * 1024 * 1024 * 1024
    snapshot_rate: int = 64 * 1024 * 1024
    snapshot_credit: int = 8
    snapshots_max: int = 4
    snapshot_stall: float = 20.0
    snapshot_give_up: float = 120.0

    def __post_init__(self) -> None:
        """
        Check what the protocol needs.

        @raise ValueError: It isn't so.
        """
        if self.forwards_max > FORWARDS_MAX:
            raise ValueError(f"forwards_max is over {FORWARDS_MAX}, which is all that the protocol allows")
        if self.idle_timeout <= 2 * self.ping_interval:
            raise ValueError("idle_timeout has to be more than two ping_intervals, or links are closed while in use")
