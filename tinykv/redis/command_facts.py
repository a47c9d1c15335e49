"""
What is known of a command before it runs: the frozen records behind COMMAND, arity checks, routing and ACL
rules.

They're facts about Redis's interface (names, numbers, flags, tokens), not about our handlers: L{CommandFacts}
says how a command may be called, the command table says which function answers. Positions count from the
command's name, which is 0; of a subcommand the container is 0 and the subcommand 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class KeySpec:
    """
    Where some of a command's keys are, and what it does to them.

    @ivar flags: In COMMAND's order: one of RO, RW, OW, RM, then C{access}, C{update}, C{insert}, C{delete},
        C{not_key}, C{incomplete}, C{variable_flags}.
    @ivar begin: How the search starts: at a fixed C{position}, behind C{keyword}, or C{unknown} (only code
        knows).
    @ivar position: The index of the first argument, or where the search for the keyword starts (negative:
        from the end, backwards).
    @ivar keyword: In upper case; empty unless C{begin} is C{keyword}.
    @ivar find: How keys follow from there: a C{range}, a count in C{keynum}, or C{unknown}.
    @ivar numbers: For C{range}: last key (relative to the first; negative: from the end), step, limit (the
        arguments' share, 2 = half of them, 0 = all). For C{keynum}: index of the count, first key (both
        relative to the start), step. Empty for C{unknown}.
    """

    flags: tuple[str, ...]
    begin: Literal["index", "keyword", "unknown"]
    position: int
    keyword: str
    find: Literal["range", "keynum", "unknown"]
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Argument:
    """
    A node of the tree that says what a command takes.

    @ivar kind: C{string}, C{integer}, C{double}, C{key}, C{pattern}, C{unix-time}, C{pure-token}, C{oneof} or
        C{block}; the last two have C{arguments}.
    @ivar token: The word that introduces it, in upper case, or L{None}. One is empty: MIGRATE's for no key.
    @ivar key_spec_index: The key spec that finds it, or -1.
    @ivar since: The version that brought it, or empty where it's as old as the command.
    @ivar flags: C{optional}, C{multiple}, C{multiple_token}.
    @ivar added_in_7_2: Redis 7.0.15 doesn't have it.
    @ivar kind_in_7_0: The C{kind} in 7.0.15 where 7.2 describes the argument in more detail; else empty.
    """

    name: str
    kind: str
    token: str | None = None
    key_spec_index: int = -1
    since: str = ""
    deprecated_since: str = ""
    flags: tuple[str, ...] = ()
    arguments: tuple[Argument, ...] = ()
    added_in_7_2: bool = False
    kind_in_7_0: str = ""


@dataclass(frozen=True)
class CommandFacts:
    """
    One command, or one subcommand under its full name (C{config|get}).

    @ivar name: In lower case.
    @ivar container: The command it's a subcommand of; empty for none.
    @ivar group: The family, such as C{sorted-set}.
    @ivar since: The version of Redis that brought it; empty for what Redis doesn't have.
    @ivar arity: The number of arguments with the name; negative: at least that many.
    @ivar flags: As COMMAND prints them.
    @ivar first: The first key's position, 0 for none, as in COMMAND before there were key specs; with C{last}
        (negative: from the end) and C{step}.
    @ivar acl_categories: With their C{@}.
    @ivar tips: Hints for clients of a cluster.
    @ivar doc_flags: C{deprecated}, C{syscmd}.
    @ivar replaced_by: What to use instead of a deprecated one; empty for none.
    @ivar module: The module that has it, as far as clients can tell; empty for Redis's own.
    @ivar summary: One sentence; empty for commands that we don't have.
    @ivar arity_in_7_0: The arity in 7.0.15 where an addition of 7.2 changed it, else 0.
    @ivar single_key: The position of its key if it always has exactly one, at a fixed place; else 0.
        For the most common commands this is all that routing needs.
    """

    name: str
    group: str
    since: str
    arity: int
    flags: tuple[str, ...] = ()
    container: str = ""
    first: int = 0
    last: int = 0
    step: int = 0
    acl_categories: tuple[str, ...] = ()
    tips: tuple[str, ...] = ()
    key_specs: tuple[KeySpec, ...] = ()
    arguments: tuple[Argument, ...] = ()
    doc_flags: tuple[str, ...] = ()
    deprecated_since: str = ""
    replaced_by: str = ""
    module: str = ""
    summary: str = ""
    added_in_7_2: bool = False
    arity_in_7_0: int = 0
    single_key: int = 0

    def takes(self, count: int) -> bool:
        """Tell whether C{count} arguments, the name among them, are as many as it takes."""
        return count == self.arity if self.arity > 0 else count >= -self.arity

    @property
    def has_keys(self) -> bool:
        """Tell whether a call can name a key at all."""
        return any("not_key" not in spec.flags for spec in self.key_specs)
