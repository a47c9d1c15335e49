"""
Which code runs for which command name.

A L{Route} is one command or subcommand as the front sees it: on data (a read or a write, run by the region) or on the
connection and the server (run here, at once). Modules of connection commands declare theirs with L{connection};
L{Routes} joins them with the table of commands on data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from time import perf_counter
from types import ModuleType
from typing import TYPE_CHECKING

from tinykv.redis import catalogue
from tinykv.redis.catalogue import CommandFacts
from tinykv.redis.context import Context
from tinykv.redis.spec import CommandSpec
from tinykv.resp import replies

if TYPE_CHECKING:
    from tinykv.server.front import Front
    from tinykv.server.session import Session

READS = 0
WRITES = 1
CONNECTION = 2
#: Reads of several keys.
READS_MANY = 3

#: Of so many calls of a command (a power of two) the first is timed.
TIMED_OF = 64

#: Runs a command on the connection: C{(session, number, request) -> reply}, or None if the answer comes later.
Serve = Callable[["Session", int, list[bytes]], bytes | None]

#: Gives what of a command goes through the log, C{(front, request) -> (spec, arguments)}; None if nothing does.
Logged = Callable[["Front", list[bytes]], tuple[CommandSpec, list[bytes]] | None]

#: How many spellings of names are remembered (gEt, GeT, ...).
_SPELLINGS = 4096


class Route:
    """
    One command or subcommand.

    @ivar name: In lower case, C{container|subcommand} for a subcommand; C{wire_name} is the same as bytes.
    @ivar kind: L{READS}, L{READS_MANY}, L{WRITES} or L{CONNECTION}.
    @ivar facts: What the catalogue says of it; None for a container that is only one.
    @ivar timed: C{spec}, but the time that it takes is noted.
    @ivar subcommands: For a container: its routes by subcommand, in lower case.
    @ivar before_auth: Whether it may be used without the password.
    @ivar in_multi_at_once: Whether it's run, not queued, after MULTI.
    @ivar refused_in_multi: Whether it mustn't be queued.
    @ivar logged: For a command on the server that also changes what all replicas share: gives that part of it.
    @ivar in_order: Whether it's run only when what the client sent before it has been applied.
    @ivar calls: How often it was called; C{rejected}: refused before it ran; C{failed}: answered with an error.
    @ivar timed_calls: How many calls were timed; C{timed_seconds} is what they took together.
    """

    __slots__ = (
        "arity",
        "before_auth",
        "calls",
        "facts",
        "failed",
        "in_multi_at_once",
        "in_order",
        "kind",
        "logged",
        "name",
        "refused_in_multi",
        "rejected",
        "serve",
        "spec",
        "subcommands",
        "timed",
        "timed_calls",
        "timed_seconds",
        "wire_name",
    )

    def __init__(self, name: str, kind: int, arity: int) -> None:
        self.name = name
        self.wire_name = name.encode()
        self.kind = kind
        self.arity = arity
        self.spec: CommandSpec = None  # type: ignore[assignment]  # set for READS, WRITES and what has a part on data
        self.serve: Serve | None = None
        self.logged: Logged | None = None
        self.subcommands: dict[bytes, Route] | None = None
        self.before_auth = False
        self.in_multi_at_once = False
        self.refused_in_multi = False
        self.in_order = False
        self.facts: CommandFacts | None = None
        self.timed: CommandSpec = None  # type: ignore[assignment]  # set where spec is
        self.calls = 0
        self.rejected = 0
        self.failed = 0
        self.timed_calls = 0
        self.timed_seconds = 0.0

    def run(self, spec: CommandSpec, timer: Callable[[], float]) -> None:
        """Let this be the route of a command on data; C{timer} gives seconds from whenever."""

        def timed(context: Context, arguments: list[bytes]) -> bytes:
            begun = timer()
            try:
                return spec.run(context, arguments)
            finally:
                self.took(timer() - begun)

        self.spec = spec
        self.timed = replace(spec, run=timed, run_many=None)

    def took(self, seconds: float) -> None:
        """Note what a call took."""
        self.timed_calls += 1
        self.timed_seconds += seconds

    @property
    def lookups(self) -> int:
        """Count the keys that reads of one key have looked up; those that failed looked at none, as far as is known."""
        if self.kind != READS or self.facts is None or not self.facts.single_key or self.facts.module:
            return 0
        return self.calls - self.failed

    def reset(self) -> None:
        """Start the counts again at 0."""
        self.calls = self.rejected = self.failed = self.timed_calls = 0
        self.timed_seconds = 0.0

    @property
    def bare(self) -> bool:
        """Whether it's a container without code of its own."""
        return self.kind == CONNECTION and self.serve is None


def connection(
    name: str,
    *,
    in_multi_at_once: bool = False,
    refused_in_multi: bool = False,
    in_order: bool = False,
    logged: Logged | None = None,
    asks: bool = False,
) -> Callable[[Serve], Serve]:
    """
    Declare a function to be a command on the connection or the server.

    What Redis says of it (arity, whether it's allowed before AUTH or in MULTI) comes from the catalogue.

    @param in_multi_at_once: It's run, not queued, after MULTI.
    @param refused_in_multi: It can't be part of a transaction here, although Redis would let it.
    @param in_order: It shows what commands on data change, or changes how their replies look, so it's run only when
        what the client sent before it has been applied.
    @param logged: It has a part that is a command on data of the same name, and this gives it.
    @param asks: It has a part that is a read of the same name, by which it asks about data; see
        L{tinykv.server.questions}.
    """

    def attach(function: Serve) -> Serve:
        declared = getattr(function, "declared_connection", ())
        entry = (name, in_multi_at_once, refused_in_multi, in_order, logged, asks)
        function.declared_connection = (*declared, entry)  # type: ignore[attr-defined]
        return function

    return attach


class Routes:
    """All commands, found by name as the client spelled it."""

    def __init__(
        self,
        table: Mapping[str, CommandSpec],
        modules: Iterable[ModuleType],
        timer: Callable[[], float] = perf_counter,
    ) -> None:
        self.by_name: dict[str, Route] = {}
        self._spelled: dict[bytes, Route] = {}
        self.get = self._spelled.get
        facts = catalogue.everything()
        for name, spec in table.items():
            many = facts[name].has_keys and not facts[name].single_key and not facts[name].module
            route = Route(name, WRITES if spec.writes else READS_MANY if many else READS, spec.arity)
            route.facts = facts[name]
            route.run(spec, timer)
            self.by_name[name] = route
        for module in modules:
            for function in vars(module).values():
                if getattr(function, "__module__", None) != module.__name__:
                    continue
                for name, at_once, refused, in_order, logged, asks in getattr(function, "declared_connection", ()):
                    assert (name in table) == (asks or logged is not None), name
                    route = Route(name, CONNECTION, facts[name].arity)
                    route.facts = facts[name]
                    if name in table:
                        route.run(table[name], timer)
                    route.logged = logged
                    route.serve = function
                    route.before_auth = "no_auth" in facts[name].flags
                    route.in_multi_at_once = at_once
                    route.in_order = in_order
                    route.refused_in_multi = refused or "no_multi" in facts[name].flags
                    self.by_name[name] = route
        self._contain()

    def _contain(self) -> None:
        """Hang subcommands under their containers; a container without code of its own gets a route too."""
        for name, route in list(self.by_name.items()):
            container, bar, subcommand = name.partition("|")
            if not bar:
                continue
            parent = self.by_name.get(container)
            if parent is None:
                parent = self.by_name[container] = Route(container, CONNECTION, -2)
            if parent.subcommands is None:
                parent.subcommands = {}
            parent.subcommands[subcommand.encode()] = route

    def __iter__(self) -> Iterator[Route]:
        """Give all routes, containers and subcommands alike."""
        return iter(self.by_name.values())

    def find(self, request: list[bytes]) -> Route | bytes:
        """Give a request's route, or the error reply that says why there's none."""
        name = request[0]
        route = self._spelled.get(name)
        if route is None:
            route = self.by_name.get(name.decode("latin-1").lower())
            if route is None or b"|" in name:
                return unknown_command(request)
            if len(self._spelled) < _SPELLINGS:
                self._spelled[name] = route
        if route.subcommands is None:
            return route
        if len(request) < 2:
            if route.serve is None:
                route.rejected += 1
                return wrong_arity(route.name)
            # COMMAND alone is a command of its own.
            return route
        found = route.subcommands.get(request[1].lower())
        if found is None:
            return unknown_subcommand(request)
        return found


def unknown_command(request: list[bytes]) -> bytes:
    """Word the refusal of a command that doesn't exist, as Redis does."""
    shown = b""
    for argument in request[1:]:
        if len(shown) >= 128:
            break
        shown += b"'%b' " % _printed(argument)[: 128 - len(shown)]
    return replies.error(
        b"ERR unknown command '%b', with args beginning with: %b" % (_printed(request[0])[:128], shown)
    )


def _printed(argument: bytes) -> bytes:
    """Give what C's printf shows of an argument: nothing from a NUL on."""
    return argument.partition(b"\0")[0]


def unknown_subcommand(request: list[bytes]) -> bytes:
    """Word the refusal of a subcommand that doesn't exist, as Redis does."""
    shown = _printed(request[1])[:128]
    return replies.error(b"ERR unknown subcommand '%b'. Try %b HELP." % (shown, request[0].upper()))


def wrong_arity(name: str) -> bytes:
    """Word the refusal of a wrong number of arguments, as Redis does."""
    return replies.error(b"ERR wrong number of arguments for '%b' command" % name.encode())
