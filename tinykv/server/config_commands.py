"""
CONFIG: a store's parameters, and the settings that all replicas share.

@see: U{https://redis.io/commands/config-get/}, U{https://redis.io/commands/config-set/}
"""

from __future__ import annotations

from collections.abc import Mapping

from tinykv.errors import CommandError, SyntaxProblem
from tinykv.redis import settings
from tinykv.redis.glob import match
from tinykv.resp import replies
from tinykv.server import parameter_kinds as kinds
from tinykv.server import parameters
from tinykv.server.front import Front
from tinykv.server.parameter_kinds import INT_MAX, LONG_MAX, Kind
from tinykv.server.routes import connection
from tinykv.server.session import Session

#: How the settings that change through the log are checked.
SETTINGS: Mapping[str, Kind] = {
    "hash-max-listpack-entries": kinds.integer(0, LONG_MAX),
    "hash-max-listpack-value": kinds.memory(0, LONG_MAX),
    "list-compress-depth": kinds.integer(0, INT_MAX),
    "list-max-listpack-size": kinds.integer(-INT_MAX - 1, INT_MAX),
    "proto-max-bulk-len": kinds.memory(1024 * 1024, LONG_MAX),
    "set-max-intset-entries": kinds.integer(0, LONG_MAX),
    "zset-max-listpack-entries": kinds.integer(0, LONG_MAX),
    "zset-max-listpack-value": kinds.memory(0, LONG_MAX),
}

_ALIASES = {**settings.ALIASES, **parameters.ALIASES}
#: Every name that a parameter goes by.
NAMES = sorted({*SETTINGS, *parameters.TABLE, *_ALIASES})

_HELP = (
    b"CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"GET <pattern> [<pattern> ...]",
    b"    Give the parameters whose names fit a pattern, with their values.",
    b"SET <parameter> <value> [<parameter> <value> ...]",
    b"    Change parameters: all of them, or none if one is refused.",
    b"RESETSTAT",
    b"    Start the figures of INFO again.",
    b"HELP",
    b"    Show these lines.",
)


def value_of(front: Front, name: str) -> bytes:
    """Give a parameter's value by any of its names."""
    name = _ALIASES.get(name, name)
    if name in SETTINGS:
        return b"%d" % front.host.execution.keyspace.settings.values[name]
    return front.parameters.values[name]


@connection("config|get", in_order=True)
def config_get(session: Session, number: int, request: list[bytes]) -> bytes:
    """Give the parameters that fit one of the patterns."""
    patterns = request[2:]
    found: list[bytes] = []
    for name in NAMES:
        if any(match(pattern, name.encode(), True) for pattern in patterns):
            found += (replies.bulk(name.encode()), replies.bulk(value_of(session.front, name)))
    return replies.map_(found, session.proto)


@connection("config|set", in_order=True)
def config_set(session: Session, number: int, request: list[bytes]) -> bytes | None:
    """Change parameters: all of them, or none. Settings that all replicas share change through the log."""
    if len(request) % 2:
        raise SyntaxProblem
    changes = _checked(request[2::2], request[3::2])
    front = session.front
    shared: list[bytes] = []
    for name, value in changes.items():
        if name in SETTINGS:
            shared += (name.encode(), value)
        else:
            front.parameters.change(name, value)
    if not shared:
        return replies.OK
    if b"proto-max-bulk-len" in shared:
        front.set_bulk_limit(int(changes["proto-max-bulk-len"]))
    if number < 0:
        # Within a transaction it's applied right behind it.
        front.decide([b"settings", *shared])
        return replies.OK
    front.decide([b"settings", *shared], session, number)
    return None


def _checked(names: list[bytes], values: list[bytes]) -> dict[str, bytes]:
    """
    Check all before anything changes, in Redis's order.

    @return: The values in their proper form, by their parameters' present names.
    @raise CommandError: One of them can't be.
    """
    found: list[str] = []
    failure: CommandError | None = None
    for given in names:
        name = given.decode("latin-1").lower()
        name = _ALIASES.get(name, name)
        if name not in SETTINGS and name not in parameters.TABLE:
            raise CommandError(b"ERR Unknown option or number of arguments for CONFIG SET - '%b'" % given)
        if failure is None and name not in SETTINGS and parameters.TABLE[name].kind is None:
            failure = _failed(given, "can't set immutable config")
        if failure is None and name in found:
            failure = _failed(given, "duplicate parameter")
        found.append(name)
    if failure is not None:
        raise failure
    changes: dict[str, bytes] = {}
    for given, name, value in zip(names, found, values, strict=True):
        kind = SETTINGS.get(name) or parameters.TABLE[name].kind
        assert kind is not None
        try:
            changes[name] = kind(value)
        except ValueError as problem:
            raise _failed(given, str(problem)) from problem
    return changes


def _failed(name: bytes, why: str) -> CommandError:
    return CommandError(
        b"ERR CONFIG SET failed (possibly related to argument '%b') - %b" % (name, why.encode("latin-1"))
    )


@connection("config|resetstat", in_order=True)
def config_resetstat(session: Session, number: int, request: list[bytes]) -> bytes:
    """Start the figures of INFO again."""
    session.front.reset_figures()
    return replies.OK


@connection("config|help")
def config_help(session: Session, number: int, request: list[bytes]) -> bytes:
    """Say what there is."""
    return replies.array([replies.simple(line) for line in _HELP])
