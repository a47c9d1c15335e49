"""
The kinds of values that options have: how each is read from text, and how it's written back.

A kind is a pair of functions that undo each other: `parse(render(value)) == value`. A parse function gets
text that was stripped and raises ValueError saying what was expected; it doesn't know the option's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, NamedTuple

#: Bytes in each suffix of a size, as in redis.conf: `k` is a thousand, `kb` is 1024.
SIZE_UNITS = {"": 1, "b": 1, "k": 10**3, "kb": 1 << 10, "m": 10**6, "mb": 1 << 20, "g": 10**9, "gb": 1 << 30}
#: Seconds in each suffix of a duration; a bare number is in seconds.
TIME_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
#: How long the secret may be that stores share: a short one can be guessed.
SECRET_BYTES_LEAST: Final = 16
SECRET_BYTES_MOST: Final = 1024
#: Stores that a list may name: as many as a group may have members.
STORES_MAX: Final = 64
#: Schedulers that a list may name: members, and other addresses of them.
SCHEDULERS_MAX: Final = 16
#: Labels of a store, and the characters of a name or value; the scheduler takes no more.
LABELS_MAX: Final = 32
#: The largest id of a store; the least is 1.
STORE_ID_MAX: Final = (1 << 16) - 1


class InitialStore(NamedTuple):
    """
    One store of a list of stores.

    @ivar address: Where the others find it, C{host:port}, an IPv6 address in brackets.
    """

    store_id: int
    address: str


@dataclass(frozen=True)
class Kind:
    """
    How one sort of option is read and written.

    @ivar name: What a reader of the manual is told, such as "size in bytes (64kb, 256mb)".
    @ivar parse: Text to value; ValueError with a reason if it's none.
    @ivar render: Value to the text that parses to it.
    """

    name: str
    parse: Callable[[str], Any]
    render: Callable[[Any], str] = str


def _with_unit(text: str, units: dict[str, Any], example: str) -> tuple[float, str]:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", text.lower())
    if match is None or match[2] not in units:
        suffixes = " ".join(unit for unit in units if unit)
        raise ValueError(f"expected a number like {example}, with one of {suffixes} or none")
    return float(match[1]), match[2]


def parse_size(text: str) -> int:
    """Read a number of bytes such as `65536`, `64kb`, `1gb`; ValueError if it's none or not whole."""
    number, unit = _with_unit(text, SIZE_UNITS, "256mb")
    size = number * SIZE_UNITS[unit]
    if size != int(size):
        raise ValueError("expected a whole number of bytes")
    return int(size)


def render_size(size: int) -> str:
    """Write a number of bytes with the largest binary unit that leaves it whole."""
    for unit in ("gb", "mb", "kb"):
        if size and size % SIZE_UNITS[unit] == 0:
            return f"{size // SIZE_UNITS[unit]}{unit}"
    return str(size)


def parse_duration(text: str) -> float:
    """Read seconds from `5s`, `250ms`, `2m`, or a bare number of seconds; ValueError if it's none."""
    number, unit = _with_unit(text, TIME_UNITS, "5s")
    return number * TIME_UNITS[unit]


def render_duration(seconds: float) -> str:
    """Write seconds as the shortest text without exponent that reads back as the same number."""
    return f"{Decimal(repr(seconds)).normalize():f}s"


def size(minimum: int, maximum: int = 1 << 40) -> Kind:
    """Make the kind of a number of bytes within bounds, both included."""
    return Kind("size in bytes", _bounded(parse_size, minimum, maximum, render_size), render_size)


def duration(minimum: float, maximum: float) -> Kind:
    """Make the kind of a length of time within bounds in seconds, both included; the value is in seconds."""
    return Kind("time", _bounded(parse_duration, minimum, maximum, render_duration), render_duration)


def integer(minimum: int, maximum: int) -> Kind:
    """Make the kind of a whole number within bounds, both included."""
    return Kind(f"whole number, {minimum} to {maximum}", _bounded(_parse_integer, minimum, maximum, str))


def choice(*words: str) -> Kind:
    """Make the kind of one word out of a few; case doesn't matter, the value is as written here."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"expected one of {', '.join(words)}")
        return text.lower()

    return Kind(" | ".join(words), parse)


def text(name: str, pattern: str = ".*", expected: str = "text") -> Kind:
    """Make the kind of free text that matches a regular expression as a whole."""

    def parse(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise ValueError(f"expected {expected}")
        return value

    return Kind(name, parse)


def _parse_integer(text: str) -> int:
    if re.fullmatch(r"-?[0-9]{1,19}", text) is None:
        raise ValueError("expected a whole number")
    return int(text)


def _bounded(
    parse: Callable[[str], Any], minimum: float, maximum: float, render: Callable[[Any], str]
) -> Callable[[str], Any]:
    def parse_bounded(text: str) -> Any:
        value = parse(text)
        if not minimum <= value <= maximum:
            raise ValueError(f"must be from {render(minimum)} to {render(maximum)}")
        return value

    return parse_bounded


def _parse_switch(text: str) -> bool:
    if text.lower() not in ("yes", "no"):
        raise ValueError("expected yes or no")
    return text.lower() == "yes"


def _parse_port(text: str) -> int:
    port = _parse_integer(text) if text.isdigit() else -1
    if not 0 <= port <= 65535:
        raise ValueError("expected a port from 1 to 65535, or 0 for any free one")
    return port


def _parse_optional_port(text: str) -> int | None:
    return None if text.lower() == "off" else _parse_port(text)


def _render_optional_port(port: int | None) -> str:
    return "off" if port is None else str(port)


def _parse_address(text: str) -> str:
    try:
        return str(ip_address("127.0.0.1" if text == "localhost" else text))
    except ValueError:
        raise ValueError("expected an IP address of this host (127.0.0.1, ::1, 0.0.0.0)") from None


def _parse_addresses(text: str) -> tuple[str, ...]:
    addresses = tuple(_parse_address(word) for word in text.split())
    if not addresses:
        raise ValueError("expected at least one IP address")
    if len(set(addresses)) != len(addresses):
        raise ValueError("expected each address once")
    return addresses


def _parse_advertised(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 1 <= int(port) <= 65535 or re.search(r"\s", host):
        raise ValueError("expected host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _render_advertised(value: tuple[str, int] | None) -> str:
    if value is None:
        return ""
    return f"[{value[0]}]:{value[1]}" if ":" in value[0] else f"{value[0]}:{value[1]}"


def _parse_peer_address(text: str) -> str:
    host, _, port = text.rpartition(":")
    named = re.fullmatch(r"[A-Za-z0-9._-]{1,253}", host) is not None
    if not (named or _is_bracketed(host)) or re.fullmatch("[1-9][0-9]{0,4}", port) is None or int(port) > 65535:
        raise ValueError("expected host:port, with an IPv6 address in brackets")
    return text


def _is_bracketed(host: str) -> bool:
    """Tell whether it's an IPv6 address in brackets, without a zone."""
    try:
        return host[:1] == "[" and host[-1:] == "]" and "%" not in host and ip_address(host[1:-1]).version == 6
    except ValueError:
        return False


def _parse_optional_peer_address(text: str) -> str:
    return _parse_peer_address(text) if text else ""


def _parse_stores(text: str) -> tuple[InitialStore, ...]:
    stores: list[InitialStore] = []
    for item in text.split(",") if text else ():
        number, at, address = item.strip().partition("@")
        if not at or re.fullmatch("[1-9][0-9]{0,4}", number) is None or int(number) > STORE_ID_MAX:
            raise ValueError(f"expected ID@host:port, separated by commas, with ids from 1 to {STORE_ID_MAX}")
        stores.append(InitialStore(int(number), _parse_peer_address(address)))
    if len(stores) > STORES_MAX:
        raise ValueError(f"expected at most {STORES_MAX} stores")
    if len({store.store_id for store in stores}) != len(stores):
        raise ValueError("expected each store's id once")
    if len({store.address.lower() for store in stores}) != len(stores):
        raise ValueError("expected each store at an address of its own")
    return tuple(sorted(stores))


def _render_stores(stores: tuple[InitialStore, ...]) -> str:
    return ", ".join(f"{store.store_id}@{store.address}" for store in stores)


def _parse_peer_addresses(text: str) -> tuple[str, ...]:
    addresses = tuple(_parse_peer_address(item.strip()) for item in text.split(",")) if text else ()
    if len(addresses) > SCHEDULERS_MAX:
        raise ValueError(f"expected at most {SCHEDULERS_MAX} addresses")
    if len({address.lower() for address in addresses}) != len(addresses):
        raise ValueError("expected each address once")
    return addresses


def _parse_labels(text: str) -> tuple[tuple[str, str], ...]:
    labels: dict[str, str] = {}
    for item in text.split(",") if text else ():
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or any(re.fullmatch(r"[A-Za-z0-9._/-]{1,128}", word) is None for word in (name, value)):
            raise ValueError("expected NAME=VALUE, separated by commas, of letters, digits, . _ / and -")
        if name in labels:
            raise ValueError(f"expected each name once, and {name} is there twice")
        labels[name] = value
    if len(labels) > LABELS_MAX:
        raise ValueError(f"expected at most {LABELS_MAX} labels")
    return tuple(sorted(labels.items()))


def _render_labels(labels: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(f"{name}={value}" for name, value in labels)


def _parse_secret(text: str) -> str:
    if text and ("\n" in text or not SECRET_BYTES_LEAST <= len(text.encode()) <= SECRET_BYTES_MOST):
        raise ValueError(f"expected one line of {SECRET_BYTES_LEAST} to {SECRET_BYTES_MOST} bytes")
    return text


def _parse_path(text: str) -> Path:
    if not text:
        raise ValueError("expected a path")
    return Path(text)


def _parse_optional_path(text: str) -> Path | None:
    return Path(text) if text else None


def _render_optional_path(path: Path | None) -> str:
    return "" if path is None else str(path)


SWITCH = Kind("yes | no", _parse_switch, lambda value: "yes" if value else "no")
PORT = Kind("port, 0 = any free one", _parse_port)
OPTIONAL_PORT = Kind("port, 0 = any free one, or off", _parse_optional_port, _render_optional_port)
ADDRESSES = Kind("IP addresses, separated by spaces", _parse_addresses, " ".join)
ADDRESS = Kind("IP address", _parse_address)
ADVERTISED = Kind("host:port, or empty", _parse_advertised, _render_advertised)
PATH = Kind("path", _parse_path)
OPTIONAL_PATH = Kind("path, or empty", _parse_optional_path, _render_optional_path)
PEER_PORT = Kind("port, 1 to 65535", _bounded(_parse_integer, 1, 65535, str))
PEER_ADDRESS = Kind("host:port, or empty", _parse_optional_peer_address)
PEER_ADDRESSES = Kind("host:port, separated by commas, or empty", _parse_peer_addresses, ", ".join)
LABELS = Kind("NAME=VALUE, separated by commas, or empty", _parse_labels, _render_labels)
STORES = Kind("ID@host:port, separated by commas, or empty", _parse_stores, _render_stores)
SECRET = Kind("text, or empty", _parse_secret)
