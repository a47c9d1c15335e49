"""
TLS between stores: each side shows a certificate, and believes those that the cluster's own authority signed.

Host names aren't compared: a store is known by its id and by the cluster's secret, its address may change, and the
authority signs for nobody else. It mustn't be a public one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer


class TlsProblem(Exception):
    """
    A file can't be used for TLS between stores.

    @ivar path: Which one.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} {why}")
        self.path = path


@implementer(IOpenSSLServerConnectionCreator, IOpenSSLClientConnectionCreator)
class PeerTls:
    """
    Makes both sides' TLS connections from a certificate, its key, and the authority that signed all of them.

    Connections keep the certificate that they began with; new ones get the one that was read last.
    """

    def __init__(self, certificate: Path, key: Path, authority: Path) -> None:
        """
        @raise TlsProblem: A file can't be used.
        """
        self._certificate = certificate
        self._key = key
        self._authority = authority
        self.reload()

    def reload(self) -> None:
        """
        Read the files again.

        @raise TlsProblem: One can't be used; the old ones stay in use.
        """
        server = self._context(SSL.TLS_SERVER_METHOD)
        client = self._context(SSL.TLS_CLIENT_METHOD)
        self._server, self._client = server, client

    def _context(self, method: int) -> SSL.Context:
        context = SSL.Context(method)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        path = self._certificate
        try:
            context.use_certificate_chain_file(_readable(path))
            path = self._key
            context.use_privatekey_file(_readable(path))
            context.check_privatekey()
            path = self._authority
            context.load_verify_locations(_readable(path))
        except OSError as problem:
            raise TlsProblem(path, f"can't be read: {problem.strerror}") from problem
        except SSL.Error as problem:
            raise TlsProblem(path, f"can't be used: {_reasons(problem) or 'it is not what it should be'}") from problem
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *results: bool(results[-1]))
        # Both sides prove themselves each time: a resumed session would skip that.
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        return context

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Make the TLS connection of a peer that has connected."""
        return SSL.Connection(self._server, None)

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Make the TLS connection to a peer that was dialled."""
        return SSL.Connection(self._client, None)

    def listening(self, factory: Factory, clock: IReactorTime) -> TLSMemoryBIOFactory:
        """Put TLS under the connections that others dial."""
        return TLSMemoryBIOFactory(self, False, factory, clock)

    def dialling(self, endpoint: IStreamClientEndpoint, clock: IReactorTime) -> IStreamClientEndpoint:
        """Put TLS under the connections that this store dials."""
        return _TlsEndpoint(self, endpoint, clock)


@implementer(IStreamClientEndpoint)
class _TlsEndpoint:
    """Twisted's own wrapper takes no clock, and asks the global reactor instead."""

    def __init__(self, tls: PeerTls, endpoint: IStreamClientEndpoint, clock: IReactorTime) -> None:
        self._tls = tls
        self._endpoint = endpoint
        self._clock = clock

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803  # Twisted's name
        """Connect, and give the protocol above TLS."""
        factory: Any = protocolFactory
        connected = self._endpoint.connect(TLSMemoryBIOFactory(self._tls, True, factory, self._clock))
        return connected.addCallback(_above)


def why_ended(problem: BaseException | None) -> str | None:
    """Say why TLS ended a connection; None if that wasn't TLS, as far as is known."""
    if not isinstance(problem, SSL.Error):
        return None
    return f"TLS with it failed: {_reasons(problem) or 'it closed the connection amid that'}"


def _reasons(problem: SSL.Error) -> str:
    """Give what OpenSSL says of a problem; nothing if it says nothing."""
    found = problem.args[0] if problem.args and isinstance(problem.args[0], list) else []
    return "; ".join(reason for _, _, reason in found if reason)


def _above(protocol: Any) -> IProtocol:
    """Give the protocol above TLS's."""
    found: IProtocol = protocol.wrappedProtocol
    return found


def _readable(path: Path) -> str:
    """
    Give a path as OpenSSL wants it, which doesn't say why it can't read a file.

    @raise OSError: It can't be read.
    """
    with path.open("rb"):
        return str(path)
