"""
Commands are rows of a table.

The decorator only attaches a L{CommandSpec} to a function; L{tinykv.redis.table} builds the table from a written list
of modules, so importing one has no effect. Arity, flags, keys and the rest of what clients ask about come from the
catalogue of commands (L{tinykv.redis.catalogue}), so that they aren't said twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tinykv.redis.command_facts import CommandFacts
from tinykv.redis.context import Context

Handler = Callable[[Context, list[bytes]], bytes]
#: Does the first of some requests of one command: C{(context, requests) -> encoded replies}. Each is a command of its
#: own, and it ends before one that anything but the commonest could come of, so that nothing is ever to be undone.
RunHandler = Callable[[Context, Iterator[list[bytes]]], list[bytes]]

READ = "read"
WRITE = "write"


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """
    One command on data, or subcommand, as it's dispatched.

    @ivar name: In lower case; C{container|subcommand} for a subcommand.
    @ivar run: Does it: C{(context, arguments) -> encoded reply}; C{arguments[0]} is the command's name as sent, and a
        subcommand's arguments begin with its container's name likewise.
    @ivar run_many: Does the first of some requests in one go; for commands of which many come together.
    @ivar writes: Whether it goes through the log.
    @ivar arity: As Redis counts it: the name included, negative for "at least".
    @ivar blocks: Whether it may raise L{tinykv.redis.context.MustWait}.
    @ivar grows: Whether it can make the data larger, and is refused when the disk is nearly full.
    @ivar facts: What the catalogue knows of it.
    @ivar waits_for: The type of value, as TYPE names it, whose appearance wakes a blocking command.
    """

    name: str
    run: Handler
    writes: bool
    arity: int
    blocks: bool = False
    grows: bool = False
    waits_for: bytes = b""
    facts: CommandFacts | None = None
    run_many: RunHandler | None = None


@dataclass(frozen=True, slots=True)
class Declared:
    """What the decorator attaches to a handler."""

    name: str
    kind: str
    run_many: RunHandler | None


def command(name: str, kind: str, *, run_many: RunHandler | None = None) -> Callable[[Handler], Handler]:
    """
    Declare a function to be a command.

    @param name: The command's name in lower case, C{container|subcommand} for a subcommand.
    @param kind: L{READ} for what never changes data, L{WRITE} for what goes through the log.
    @param run_many: See L{CommandSpec}.
    """

    def attach(function: Handler) -> Handler:
        declared = getattr(function, "declared", ())
        function.declared = (*declared, Declared(name, kind, run_many))  # type: ignore[attr-defined]
        return function

    return attach
