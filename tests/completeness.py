"""
How complete the server is: Redis 7.2's commands and options, counted against ours.

C{python -m tests.completeness --write} writes the table docs/commands.md;
C{python -m tests.completeness --record} asks the installed redis-server, which is to be 7.0.15, every example
call and keeps its answers. What we have is what the command table registers; what an option does is probed
with the calls of L{tests.option_examples}, never declared.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tests.option_examples import load_examples, record
from tinykv.redis.catalogue import Argument, CommandFacts, load

ROOT = Path(__file__).parent.parent
COMPATIBILITY = ROOT / "docs" / "compatibility.md"
COMMANDS = ROOT / "docs" / "commands.md"

FAMILIES = {
    "string": "Strings",
    "hash": "Hashes",
    "list": "Lists",
    "set": "Sets",
    "sorted-set": "Sorted sets",
    "generic": "Keys",
    "connection": "Connection",
    "transactions": "Transactions",
    "server": "Server",
    "bitmap": "Bits",
    "hyperloglog": "HyperLogLog",
    "geo": "Geo",
    "stream": "Streams",
    "pubsub": "Pub/sub",
    "scripting": "Scripting",
    "cluster": "Cluster",
}


@dataclass(frozen=True)
class Missing:
    """A command that isn't there, or (with C{option}) an option without an example call."""

    command: str
    option: str = ""

    def __str__(self) -> str:
        return f"{self.command.upper().replace('|', ' ')} {self.option}".rstrip()


def options_of(facts: CommandFacts) -> list[str]:
    """
    Name every option of a command.

    A token goes by its word, behind the token it belongs to (C{AGGREGATE SUM}) and, where a command takes the
    same one twice, behind its argument's name (C{wherefrom LEFT}). An optional argument or an alternative
    without a token is C{[count]}, and one that may be repeated is C{key ...}.
    """
    found = list(_options(facts.arguments, "", ()))
    twice = {label for label, count in Counter(label for label, _ in found).items() if count > 1}
    return [f"{owner} {label}" if label in twice else label for label, owner in found]


def _options(
    arguments: Iterable[Argument], prefix: str, above: tuple[Argument, ...]
) -> Iterator[tuple[str, str]]:
    """List options below one argument, each with the names of the arguments without a token above it."""
    owner = " ".join(one.name for one in above)
    for place, argument in enumerate(arguments):
        label = prefix + (argument.token or argument.name)
        if argument.token:
            yield label, owner
        elif not argument.arguments and _is_choice(argument, above[-1] if above else None, place):
            yield f"{prefix}[{argument.name}]", owner
        if "multiple" in argument.flags:
            yield f"{label} ...", owner
        if argument.token:
            yield from _options(argument.arguments, f"{label} ", ())
        else:
            yield from _options(argument.arguments, prefix, (*above, argument))


def _is_choice(argument: Argument, parent: Argument | None, place: int) -> bool:
    """Tell whether a caller may leave an argument without a token out, or use another in its place."""
    if "optional" in argument.flags:
        return True
    if parent is None:
        return False
    # An optional block is named after the first thing in it.
    return parent.kind == "oneof" or ("optional" in parent.flags and place == 0)


def excused() -> list[str]:
    """
    Read what docs/compatibility.md lists as not yet there.

    @return: Names of commands (C{XADD}, C{CONFIG REWRITE}), each with all its subcommands and options, and of
        single options behind their command (C{CLIENT KILL USER}).
    """
    text = COMPATIBILITY.read_text("utf-8")
    section = text.split("\n## Not yet there\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("|")]
    return [pattern for row in rows for pattern in re.findall(r"`([^`]+)`", row[2])]


def _is_excused(missing: Missing, patterns: Collection[str]) -> bool:
    """Tell whether one of the patterns names it; a command's name covers its subcommands."""
    name = str(missing)
    command = missing.command.upper().replace("|", " ")
    return any(
        fnmatchcase(name, pattern) or fnmatchcase(command, pattern) or command.startswith(f"{pattern} ")
        for pattern in patterns
    )


def stale(implemented: Collection[str]) -> list[str]:
    """List what docs/compatibility.md still excuses although nothing of it is missing."""
    catalogue = load()
    lacking = [Missing(name) for name in catalogue.keys() - with_containers(implemented, catalogue)]
    lacking += [one for one in _without_example(implemented) if one.option != "-"]
    return [pattern for pattern in excused() if not any(_is_excused(one, [pattern]) for one in lacking)]


def exercised() -> Mapping[str, set[str]]:
    """The options of each command that the examples exercise; a command with any example has an entry."""
    found: dict[str, set[str]] = {}
    for example in load_examples():
        found.setdefault(example.command, set()).update(example.options)
    return found


def missing(implemented: Collection[str], listed: Collection[str] | None = None) -> list[Missing]:
    """
    Count a server's commands and options against Redis 7.2's.

    @param implemented: Full names of its commands and subcommands in lower case.
    @param listed: What is known not to be there; by default what the compatibility page lists.
    @return: Commands of the catalogue that it lacks, and commands and options that it has but that no example
        call exercises (such a command has the option C{-}); without what is listed.
    """
    catalogue = load()
    have = with_containers(implemented, catalogue)
    found = [Missing(name) for name in catalogue if name not in have] + _without_example(implemented)
    patterns = excused() if listed is None else listed
    return [one for one in found if not _is_excused(one, patterns)]


def _without_example(implemented: Collection[str]) -> list[Missing]:
    """List commands and options that are there but that no example call exercises."""
    catalogue = load()
    probed = exercised()
    containers = {facts.container for facts in catalogue.values()}
    found = []
    for name in sorted(catalogue.keys() & set(implemented)):
        if name not in probed and name not in containers:
            found.append(Missing(name, "-"))
        options = options_of(catalogue[name])
        found += [Missing(name, option) for option in options if option not in probed.get(name, ())]
    return found


def with_containers(implemented: Collection[str], catalogue: Mapping[str, CommandFacts]) -> set[str]:
    """Add the containers: C{CONFIG} is there once one of its subcommands is."""
    have = set(implemented)
    return have | {facts.container for name, facts in catalogue.items() if name in have and facts.container}


def table(implemented: Collection[str]) -> str:
    """Write the page that shows what we have of each family, command and option."""
    catalogue = load()
    patterns = excused()
    probed = exercised()
    have = with_containers(implemented, catalogue)
    rows: dict[str, list[str]] = {group: [] for group in FAMILIES}
    there_by_group: Counter[str] = Counter()
    for name, facts in catalogue.items():
        there = name in have
        there_by_group[facts.group] += there
        shown = []
        for option in options_of(facts) if there else ():
            works = option in probed.get(name, ()) and not _is_excused(Missing(name, option), patterns)
            shown.append(f"`{option}`" if works else f"~~`{option}`~~")
        mark = "yes" if there else "not yet"
        since = " (7.2)" if facts.added_in_7_2 else ""
        title = f"`{name.upper().replace('|', ' ')}`{since}"
        rows[facts.group].append(f"| {title} | {mark} | {' '.join(shown)} |")
    total = sum(there_by_group.values())
    out = [
        "# Commands",
        "",
        "Every command and subcommand of Redis 7.2 with ours beside it, written by",
        "`python -m tests.completeness --write`. An option stands here because the tests make a call that",
        "uses it and compare the answer with a real server's; one that is struck out is listed in",
        "[compatibility.md](compatibility.md), with all that is not yet there.",
        "",
        f"We have {total} of {len(catalogue)}.",
    ]
    for group, title in FAMILIES.items():
        head = ["", f"## {title}: {there_by_group[group]} of {len(rows[group])}", ""]
        out += [*head, "| command | here | options |", "|---|---|---|", *rows[group]]
    return "\n".join(out) + "\n"


def implemented_commands() -> set[str]:
    """The full names of the commands that a store's RESP port knows, containers without code of their own aside."""
    # Only here: counting takes names, and needs no server.
    from tinykv.redis.commands import MODULES
    from tinykv.redis.table import commands_of
    from tinykv.server.commands import CONNECTION_MODULES
    from tinykv.server.routes import Routes

    return {route.name for route in Routes(commands_of(MODULES), CONNECTION_MODULES) if not route.bare}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser("python -m tests.completeness", description="Count Redis's commands.")
    parser.add_argument("--write", action="store_true", help="write docs/commands.md")
    parser.add_argument("--record", action="store_true", help="record a real redis-server's answers")
    options = parser.parse_args()
    if options.record:
        count, refused = record()
        print(f"recorded {count} examples", *refused, sep="\n  refused: ")
    if options.write:
        COMMANDS.write_text(table(implemented_commands()), "utf-8")
    for one in missing(implemented_commands()) if not options.record else ():
        print(f"missing: {one}")


if __name__ == "__main__":
    main()
