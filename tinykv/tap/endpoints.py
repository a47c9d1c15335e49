"""
Where a port listens: on a socket that systemd passed under the port's name, or else on the configured
addresses.

systemd names the sockets of a unit by C{FileDescriptorName=}; `systemd/tinykv@.socket` calls the port of
Redis clients C{resp}. The names C{cluster}, C{tls} and C{http} work alike.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence

from twisted.internet.endpoints import AdoptedStreamServerEndpoint, TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.python.systemd import ListenFDs

from tinykv.config import StoreConfig, check_exposure
from tinykv.gateway.config import GatewayConfig


def passed_sockets(environ: Mapping[str, str]) -> dict[str, int]:
    """
    Find the sockets that systemd passed to this process.

    @param environ: The environment, of which LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES are read.
    @return: File descriptor by name.
    """
    return dict(ListenFDs.fromEnvironment(environ).inheritedNamedDescriptors())


def environment_at_start() -> dict[str, str]:
    """
    Give the environment with which this process began.

    Twisted takes what systemd says out of C{os.environ} when its endpoints are imported, for itself alone.
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            settings = file.read().split(b"\0")
    except OSError:  # not on Linux, so there's no systemd either
        return dict(os.environ)
    pairs = (os.fsdecode(setting).partition("=") for setting in settings if setting)
    return {name: value for name, _, value in pairs}


def endpoints(
    reactor: object, name: str, addresses: Sequence[str], port: int, backlog: int, passed: Mapping[str, int]
) -> list[IStreamServerEndpoint]:
    """
    Make the endpoints of one port; more than one only where several addresses are configured.

    @param reactor: Listens on TCP and on adopted sockets.
    @param name: C{resp}, C{cluster}, C{tls} or C{http}: the name of the socket that is looked for in C{passed}.
    @param addresses: IP addresses, used if there's no such socket.
    @param passed: What L{passed_sockets} found.
    """
    if name in passed:
        descriptor = passed[name]
        return [AdoptedStreamServerEndpoint(reactor, descriptor, _family(descriptor))]
    return [
        (TCP6ServerEndpoint if ":" in address else TCP4ServerEndpoint)(reactor, port, backlog, address)
        for address in addresses
    ]


def check_passed(config: StoreConfig | GatewayConfig, passed: Mapping[str, int]) -> None:
    """
    Hold the sockets of Redis clients that systemd passed to the same rule as the option bind.

    @raise ConfigError: If one can be reached by other hosts while there's no password and protected_mode is
    on.
    """
    for name in ("resp", "cluster", "tls"):
        if name in passed and _family(passed[name]) != socket.AF_UNIX:
            with socket.socket(fileno=os.dup(passed[name])) as view:
                check_exposure(config, view.getsockname()[0], f"socket {name!r} passed by systemd")


def _family(descriptor: int) -> socket.AddressFamily:
    with socket.socket(fileno=os.dup(descriptor)) as view:
        return socket.AddressFamily(view.family)
