"""
TLS towards the scheduler: whom to believe, and what to show.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    KeyPair,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

_BEGIN = b"-----BEGIN CERTIFICATE-----"


class TlsProblem(Exception):
    """
    A file can't be used for TLS.

    @ivar path: Which one.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} {why}")
        self.path = path


@implementer(IPolicyForHTTPS)
class ScheduleTls:
    """Believes servers that an authority vouches for, by the names by which they're asked."""

    def __init__(self, authority: Path, certificate: Path | None = None, key: Path | None = None) -> None:
        """
        @param certificate: What is shown to servers that want it, with its chain; none without.
        @param key: Its private key.
        @raise TlsProblem: A file can't be used.
        """
        self._trust = trustRootFromCertificates([Certificate(made) for made in _certificates(authority)])
        self._own: PrivateCertificate | None = None
        self._more: dict[str, Any] = {}
        if certificate is not None and key is not None:
            first, *chain = _certificates(certificate)
            self._own = _owned(certificate, first, key)
            if chain:
                self._more["extraCertChain"] = chain

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:  # noqa: N802
        """Make what connects to a server by a name."""
        found: IOpenSSLClientConnectionCreator = optionsForClientTLS(
            hostname.decode("ascii"), self._trust, self._own, extraCertificateOptions=self._more
        )
        return found


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise TlsProblem(path, f"can't be read: {problem.strerror}") from problem


def _certificates(path: Path) -> list[crypto.X509]:
    """
    Read the certificates of a file, of which there's at least one.

    @raise TlsProblem: It can't be read, or has none.
    """
    parts = _bytes(path).split(_BEGIN)[1:]
    try:
        found = [crypto.load_certificate(crypto.FILETYPE_PEM, _BEGIN + part) for part in parts]
    except crypto.Error as problem:
        raise TlsProblem(path, "has a certificate that can't be read") from problem
    if not found:
        raise TlsProblem(path, "has no certificate in PEM")
    return found


def _owned(path: Path, certificate: crypto.X509, key: Path) -> PrivateCertificate:
    """
    Put a certificate and its key together.

    @raise TlsProblem: The key can't be read, or is another one's.
    """
    try:
        private = crypto.load_privatekey(crypto.FILETYPE_PEM, _bytes(key), b"")
    except (crypto.Error, ValueError, TypeError) as problem:
        raise TlsProblem(key, "has no private key that can be read without a passphrase") from problem
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    try:
        context.use_certificate(certificate)
        context.use_privatekey(private)
        context.check_privatekey()
    except SSL.Error as problem:
        raise TlsProblem(key, f"isn't the key of the certificate in {path}") from problem
    owned: PrivateCertificate = PrivateCertificate.fromCertificateAndKeyPair(Certificate(certificate), KeyPair(private))
    return owned
