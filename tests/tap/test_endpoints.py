"""Where a port listens: on what systemd passed, or on the configured addresses."""

from __future__ import annotations

import os
import socket

from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from tinykv.config import ConfigError, StoreConfig
from tinykv.tap.endpoints import check_passed, endpoints, passed_sockets


class EndpointTests(SynchronousTestCase):
    """The endpoints of one port."""

    def test_configured_addresses(self) -> None:
        reactor = MemoryReactor()
        for endpoint in endpoints(reactor, "resp", ("127.0.0.1", "::1"), 7000, 511, {}):
            self.successResultOf(endpoint.listen(Factory()))
        heard = [(server[0], server[2], server[3]) for server in reactor.tcpServers]
        self.assertEqual(heard, [(7000, 511, "127.0.0.1"), (7000, 511, "::1")])

    def test_a_passed_socket_is_used_instead(self) -> None:
        with socket.socket(socket.AF_INET6) as passed:
            found = endpoints(MemoryReactor(), "resp", ("127.0.0.1",), 7000, 511, {"resp": passed.fileno()})
        self.assertEqual([type(endpoint) for endpoint in found], [AdoptedStreamServerEndpoint])
        self.assertEqual(found[0].addressFamily, socket.AF_INET6)

    def test_sockets_of_other_names_are_not(self) -> None:
        found = endpoints(MemoryReactor(), "tls", ("127.0.0.1",), 7000, 511, {"resp": 3})
        self.assertNotIsInstance(found[0], AdoptedStreamServerEndpoint)


class PassedTests(SynchronousTestCase):
    """What systemd says in the environment."""

    def test_names(self) -> None:
        environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "resp:http"}
        self.assertEqual(passed_sockets(environ), {"resp": 3, "http": 4})

    def test_meant_for_another_process(self) -> None:
        environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "resp"}
        self.assertEqual(passed_sockets(environ), {})

    def test_nothing(self) -> None:
        self.assertEqual(passed_sockets({}), {})

    def test_an_open_socket_needs_a_password(self) -> None:
        with socket.socket() as passed:  # unbound: its address is 0.0.0.0, any
            given = {"resp": passed.fileno()}
            error = self.assertRaises(ConfigError, check_passed, StoreConfig(), given)
            self.assertIn("requirepass", str(error))
            self.assertRaises(ConfigError, check_passed, StoreConfig(), {"cluster": passed.fileno()})
            check_passed(StoreConfig(requirepass="x"), given)
            check_passed(StoreConfig(protected_mode=False), given)
            check_passed(StoreConfig(), {"http": passed.fileno()})
