"""
Checks of options that several daemons have: whether those fit together that only make sense so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from tinykv.config_options import ConfigError


class Encrypts(Protocol):
    """Options of who has a second port for clients, encrypted."""

    @property
    def tls_port(self) -> int | None:
        """The port, None for none."""

    @property
    def tls_ca(self) -> object:
        """File with the authorities of clients' certificates, or None."""

    @property
    def tls_auth_clients(self) -> str:
        """Whether clients prove who they are: no, optional or yes."""


def check_tls_port(config: Encrypts, source: str) -> None:
    """
    Check that the encrypted port has what it takes.

    @raise ConfigError: Something is missing.
    """
    if config.tls_port is not None:
        for name in ("tls_cert", "tls_key"):
            if getattr(config, name) is None:
                raise ConfigError(source, "tls", name, "is needed for tls_port")
    if config.tls_auth_clients != "no" and config.tls_ca is None:
        raise ConfigError(source, "tls", "tls_ca", f"is needed for tls_auth_clients = {config.tls_auth_clients}")


def check_ports(ports: Iterable[tuple[str, str, int | None]], source: str) -> None:
    """
    Check that ports of one host differ.

    @param ports: Sections, names and values of their options; 0 is any free one, and None is none.
    @raise ConfigError: Two are the same.
    """
    taken: dict[int, str] = {}
    for section, name, port in ports:
        if port and port in taken:
            raise ConfigError(source, section, name, f"is the same as {taken[port]} ({port})")
        if port:
            taken[port] = name


def check_together(
    config: object, source: str, section: str, names: Sequence[str], why: str, *, implied: Sequence[str] = ()
) -> None:
    """
    Check that options which need each other are all given, or none.

    @param why: What is said of one that is missing.
    @param implied: Those that may be given without the others.
    @raise ConfigError: Only some are.
    """
    if any(getattr(config, name) is not None for name in names if name not in implied):
        for name in names:
            if getattr(config, name) is None:
                raise ConfigError(source, section, name, why)


def check_secret(config: object, source: str, section: str, name: str) -> None:
    """
    Check that a secret is given as itself or as a file that holds it, not as both.

    @raise ConfigError: It's both.
    """
    if getattr(config, name) and getattr(config, f"{name}_file") is not None:
        raise ConfigError(source, section, f"{name}_file", f"is given beside {name}; give one")
