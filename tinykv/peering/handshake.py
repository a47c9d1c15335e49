"""
How two stores prove to each other who they are, before anything else is said.

The side that dialled speaks first, and each line waits for the one before::

    -> HELLO version cluster store folder purpose features nonce address
    <- HELLO ...
    -> PROOF hmac
    <- PROOF hmac

A proof is the HMAC-SHA256, with the secret that all stores of a cluster share, of the side that gives it and both
HELLO lines as they were sent: ids, folder ids, nonces, features and addresses of both. The side is in it, so a proof
can't be sent back to whom it came from; the nonces are, so an old one is worth nothing; the rest is, so nothing of
what was said can be exchanged on its way. Behind the handshake lines aren't protected: that is what TLS is for.

This is only the conversation. That a store's folder is the one that it came with the first time (R16) is asked by the
channel, when the proof is good: it takes the disk.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final

from tinykv.peering.grammar import GrammarError, line, number
from tinykv.peering.settings import ANY_CLUSTER, GATEWAYS, PeerIdentity, is_address, is_word

#: The version of the protocol.
VERSION: Final = 3
#: What a connection is for.
LINK: Final = "link"
SNAPSHOT: Final = "snapshot"
#: A link of a gateway: it has clients, and no number among the stores, no folder and no part in any group.
GATEWAY: Final = "gateway"
_PURPOSES: Final = frozenset((LINK, SNAPSHOT, GATEWAY))

NONCE_BYTES: Final = 16
_HEX: Final = frozenset(b"0123456789abcdef")

_DIALLER: Final = b"dialler"
_ACCEPTOR: Final = b"acceptor"


class Refused(Exception):
    """
    A peer isn't one that this store talks to.

    @ivar code: One word, by which refusals are counted and their lines in the log are rationed.
    @ivar text: What's wrong and what to do, for the log and the peer.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Hello:
    """
    What a side says of itself.

    @ivar purpose: What the connection is for; both sides say the same.
    @ivar address: Where the store can be reached.
    """

    cluster_id: str
    store_id: int
    folder_id: str
    purpose: str
    features: frozenset[str]
    nonce: bytes
    address: str

    def to_line(self) -> bytes:
        """Write it."""
        features = ",".join(sorted(self.features)) or "-"
        return line(
            b"HELLO",
            VERSION,
            self.cluster_id,
            self.store_id,
            self.folder_id,
            self.purpose,
            features,
            self.nonce,
            self.address,
        )


def read_hello(fields: list[bytes]) -> Hello:
    """
    Read what L{Hello.to_line} wrote.

    @raise GrammarError: It isn't that.
    @raise Refused: It's another version's.
    """
    if (version := number(fields[0])) != VERSION:
        raise Refused("version", f"this store speaks version {VERSION} of the peer protocol, and you speak {version}")
    if len(fields) != 8:
        raise GrammarError(f"a HELLO line has {len(fields)} fields where 8 belong")
    cluster_id, folder_id, purpose, features, address = (fields[place].decode() for place in (1, 3, 4, 5, 7))
    store_id = number(fields[2])
    names = frozenset(() if features == "-" else features.split(","))
    nonce = fields[6]
    if not is_word(cluster_id) or not is_word(folder_id) or not all(map(is_word, names)):
        raise GrammarError("an id or feature of a HELLO line is no word")
    if not 0 < store_id < 2**62:
        raise GrammarError(f"{store_id} is no store id")
    if purpose not in _PURPOSES:
        raise GrammarError("a HELLO line has a purpose that nobody knows")
    if len(nonce) != 2 * NONCE_BYTES or not _HEX.issuperset(nonce):
        raise GrammarError(f"the nonce of a HELLO line isn't {NONCE_BYTES} bytes in hex")
    if not is_address(address):
        raise GrammarError("the address of a HELLO line is no host:port")
    return Hello(cluster_id, store_id, folder_id, purpose, names, nonce, address)


class Handshake:
    """
    One side of the conversation.

    @ivar peer: What the other side said of itself, once it has; not believed before L{proven}.
    @ivar proven: Whether the other side has shown that it knows the secret.
    """

    def __init__(self, identity: PeerIdentity, entropy: bytes, *, purpose: str | None, expected: int | None) -> None:
        """
        @param entropy: Random bytes, never used before.
        @param purpose: What the connection is for, on the side that dials; None on the other.
        @param expected: Whose address was dialled; None on the other side.
        """
        assert len(entropy) == NONCE_BYTES
        self.peer: Hello | None = None
        self.proven = False
        self._identity = identity
        self._nonce = entropy.hex().encode()
        self._dials = purpose is not None
        self._purpose = purpose
        self._expected = expected
        self._own_line = b""
        self._peer_line = b""

    def begin(self) -> bytes:
        """Give what is sent first, before anything came: nothing, on the side that was dialled."""
        if self._purpose is None:
            return b""
        return self._hello(self._purpose)

    def hello_received(self, fields: list[bytes]) -> bytes:
        """
        Take the other side's HELLO line.

        @return: What to send.
        @raise Refused: That side is none to talk to.
        @raise GrammarError: It isn't a HELLO line, or comes out of turn.
        """
        if self.peer is not None:
            raise GrammarError("a second HELLO line")
        hello = read_hello(fields)
        own = self._identity
        from_gateway = not self._dials and hello.purpose == GATEWAY
        if from_gateway != (hello.store_id >= GATEWAYS):
            raise GrammarError("a gateway has the number of a store, or a store that of a gateway")
        anyone = hello.cluster_id if from_gateway else own.cluster_id
        if hello.cluster_id != own.cluster_id and anyone != ANY_CLUSTER:
            raise Refused(
                "cluster",
                f"this store is of cluster {own.cluster_id}, and you are of {hello.cluster_id}: check the addresses",
            )
        if hello.store_id == own.store_id:
            raise Refused("own-id", f"this store has the id {own.store_id} itself: give each store its own store_id")
        if self._expected is not None and hello.store_id != self._expected:
            raise Refused(
                "other-store",
                f"store {self._expected} was expected at this address, and you are store {hello.store_id}",
            )
        if self._purpose is not None and hello.purpose != self._purpose:
            raise GrammarError("the other side answers with another purpose")
        self.peer = hello
        self._peer_line = b" ".join((b"HELLO", *fields)) + b"\r\n"
        return self.proof() if self._dials else self._hello(hello.purpose)

    def proof_received(self, fields: list[bytes]) -> None:
        """
        Take the other side's proof.

        @raise Refused: It proves nothing.
        @raise GrammarError: It comes out of turn.
        """
        if self.peer is None or self.proven:
            raise GrammarError("a PROOF line out of turn")
        expected = self._hmac(not self._dials)
        if not hmac.compare_digest(expected, fields[0]):
            raise Refused("secret", "the proof is wrong: give all stores of the cluster the same peer secret")
        self.proven = True

    def proof(self) -> bytes:
        """Give this side's PROOF line."""
        return line(b"PROOF", self._hmac(self._dials))

    def _hello(self, purpose: str) -> bytes:
        own = self._identity
        hello = Hello(own.cluster_id, own.store_id, own.folder_id, purpose, own.features, self._nonce, own.address)
        self._own_line = hello.to_line()
        return self._own_line

    def _hmac(self, of_dialler: bool) -> bytes:
        """Compute a side's proof."""
        lines = (self._own_line, self._peer_line) if self._dials else (self._peer_line, self._own_line)
        said = b"".join((_DIALLER if of_dialler else _ACCEPTOR, b"\r\n", *lines))
        return hmac.digest(self._identity.secret, said, "sha256").hex().encode()
