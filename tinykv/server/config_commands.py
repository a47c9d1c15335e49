"""
CONFIG: a store's parameters, and the settings that all replicas share.

@see: U{https://redis.io/commands/config-get/}, U{https://redis.io/commands/config-set/}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tinykv.errors import CommandError, SyntaxProblem
from tinykv.redis import settings
from tinykv.redis.context import Context
from tinykv.redis.glob import match
from tinykv.redis.operations import COMMANDS
from tinykv.redis.spec import CommandSpec
from tinykv.resp import replies
from tinykv.resp.replies import encode_command
from tinykv.resp.splitting import elements_of
from tinykv.server import parameter_kinds as kinds
from tinykv.server import parameters
from tinykv.server.front import Front
from tinykv.server.parameter_kinds import INT_MAX, LONG_MAX, Kind
from tinykv.server.questions import ask
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


@connection("config|get", in_order=True, asks=True)
def config_get(session: Session, number: int, request: list[bytes]) -> bytes | None:
    """
    Give the parameters that fit one of the patterns; one that is asked for by its name comes as that was spelled.

    What all replicas share is asked of them; in a transaction it's what is known here, if anything is.
    """
    front = session.front
    patterns = request[2:]
    spelled = {pattern.lower(): pattern for pattern in reversed(patterns)}
    names = [name for name in NAMES if any(match(pattern, name.encode(), True) for pattern in patterns)]

    def told(values: Mapping[str, bytes]) -> bytes:
        found: list[bytes] = []
        for name in names:
            value = values.get(_ALIASES.get(name, name))
            if value is not None:
                found += (replies.bulk(spelled.get(name.encode(), name.encode())), replies.bulk(value))
        return replies.map_(found, session.proto)

    def answered(reply: bytes) -> bytes:
        if reply.startswith(b"-"):
            return reply
        words = [element.split(b"\r\n")[1] for element in elements_of(reply)]
        shared = {name.decode(): value for name, value in zip(words[::2], words[1::2], strict=True)}
        return told({**front.parameters.values, **shared})

    if all(_ALIASES.get(name, name) not in SETTINGS for name in names):
        return told(front.parameters.values)
    if number < 0:
        here = front.host.execution.keyspace.settings.values
        return told({**front.parameters.values, **{name: b"%d" % value for name, value in here.items()}})
    return ask(session, number, [b"CONFIG", b"GET", b"*"], answered)


def _logged(front: Front, request: list[bytes]) -> tuple[CommandSpec, list[bytes]] | None:
    """Give what of a CONFIG SET goes through the log within a transaction."""
    try:
        return _shared_part(front, _checked(front, request))
    except CommandError:
        # It's told when the transaction runs.
        return None


def _shared_part(front: Front, changes: dict[str, bytes]) -> tuple[CommandSpec, list[bytes]] | None:
    """
    Give the logged command for a change that all replicas share; None if there's nothing to share.

    Here, where the client is, it changes this store's own parameters along with it.
    """
    arguments, own = _parted(changes)
    if len(arguments) == 2:
        return None
    spec = front.routes.by_name["config|set"].spec

    def run(context: Context, arguments: list[bytes]) -> bytes:
        reply = spec.run(context, arguments)
        _change_along(front, changes, own)
        return reply

    return replace(spec, run=run), arguments


def _parted(changes: dict[str, bytes]) -> tuple[list[bytes], dict[str, bytes]]:
    """Give the command for what all replicas share, without arguments if that's nothing, and what is this store's."""
    arguments = [b"CONFIG", b"SET"]
    own: dict[str, bytes] = {}
    for name, value in changes.items():
        if name in SETTINGS:
            arguments += (name.encode(), value)
        else:
            own[name] = value
    return arguments, own


def _change_along(front: Front, changes: dict[str, bytes], own: dict[str, bytes]) -> None:
    """Change what is this store's, now that what all replicas share was changed."""
    _change(front, own)
    if "proto-max-bulk-len" in changes:
        front.set_bulk_limit(int(changes["proto-max-bulk-len"]))


def _change(front: Front, changes: dict[str, bytes]) -> None:
    """Change parameters of this store."""
    for name, value in changes.items():
        front.parameters.change(name, value)


@connection("config|set", in_order=True, logged=_logged)
def config_set(session: Session, number: int, request: list[bytes]) -> bytes | None:
    """Change parameters: all of them, or none. Settings that all replicas share change through the log."""
    front = session.front
    changes = _checked(front, request)
    arguments, own = _parted(changes)
    if len(arguments) == 2:
        _change(front, changes)
        return replies.OK
    spec = front.routes.by_name["config|set"].spec
    changing = _Changing(session, changes, own)
    session.host.submit((COMMANDS, changing, number, 0, spec, arguments, encode_command(arguments)))
    return None


class _Changing:
    """Changes this store's own parameters when what all replicas share was changed, wherever that was done."""

    __slots__ = ("_changes", "_own", "_session", "client_id", "proto")

    def __init__(self, session: Session, changes: dict[str, bytes], own: dict[str, bytes]) -> None:
        self._session = session
        self._changes = changes
        self._own = own
        self.client_id = session.client_id
        self.proto = session.proto

    def answer(self, number: int, reply: bytes) -> None:
        """Take the reply."""
        if reply == replies.OK:
            _change_along(self._session.front, self._changes, self._own)
        self._session.answer(number, reply)

    def waits(self, number: int, timeout_ms: int) -> None:
        """It doesn't block."""
        raise AssertionError("a change of settings doesn't block")


def _checked(front: Front, request: list[bytes]) -> dict[str, bytes]:
    """
    Check all before anything changes, in Redis's order.

    @return: The values in their proper form, by their parameters' present names.
    @raise CommandError: One of them can't be.
    """
    if len(request) % 2:
        raise SyntaxProblem
    names, values = request[2::2], request[3::2]
    found: list[str] = []
    failure: CommandError | None = None
    for given in names:
        name = given.decode("latin-1").lower()
        name = _ALIASES.get(name, name)
        if name not in SETTINGS and name not in front.parameters.values:
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
