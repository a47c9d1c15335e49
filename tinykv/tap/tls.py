"""
The TLS port: its certificate, and how it's read again without closing anything.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from tinykv.config import ConfigError, StoreConfig
from tinykv.gateway.config import GatewayConfig
from tinykv.schedule.config import ScheduleConfig

_VERIFY = {
    "no": SSL.VERIFY_NONE,
    "optional": SSL.VERIFY_PEER,
    "yes": SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}


@implementer(IOpenSSLServerConnectionCreator)
class TlsPort:
    """
    Makes the TLS connections of a port from the files that the configuration names.

    Connections keep the certificate that they began with; new ones get the one that was read last.
    """

    log = Logger()

    def __init__(self, config: StoreConfig | ScheduleConfig | GatewayConfig) -> None:
        self._config = config
        self._context = self._read()

    def _read(self) -> SSL.Context:
        config = self._config
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        name, path = "tls_cert", config.tls_cert
        try:
            context.use_certificate_chain_file(_readable(config.tls_cert))
            name, path = "tls_key", config.tls_key
            context.use_privatekey_file(_readable(config.tls_key))
            context.check_privatekey()
            if config.tls_ca is not None:
                name, path = "tls_ca", config.tls_ca
                context.load_verify_locations(_readable(config.tls_ca))
        except OSError as problem:
            raise ConfigError("configuration", "tls", name, f"{path} can't be read: {problem.strerror}") from problem
        except SSL.Error as problem:
            why = "; ".join(reason for _, _, reason in problem.args[0] if reason) if problem.args else ""
            why = why or "it's not what it should be"
            raise ConfigError("configuration", "tls", name, f"{path} can't be used: {why}") from problem
        context.set_verify(_VERIFY[config.tls_auth_clients], lambda *results: bool(results[-1]))
        return context

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Make the connection of a new client."""
        return SSL.Connection(self._context, None)

    def reload(self) -> None:
        """Read the files again; if they can't be used the old ones stay in use, and the log says why."""
        try:
            self._context = self._read()
        except ConfigError as problem:
            self.log.error("the TLS certificate was not reloaded: {problem}", problem=str(problem))
        else:
            self.log.info("the TLS certificate was read again")

    def wrap(self, factory: Factory, clock: Any) -> TLSMemoryBIOFactory:
        """Put TLS under a factory's protocols."""
        return TLSMemoryBIOFactory(self, False, factory, clock)


def _readable(path: object) -> str:
    """
    Give a path as OpenSSL wants it, which doesn't say why it can't read a file.

    @raise OSError: It can't be read.
    """
    with open(str(path), "rb"):
        return str(path)
