"""
The catalogue of Redis's commands: every command and subcommand of Redis 7.2, read from C{catalogue.json}.

One entry a line, sorted by name. Facts are those of Redis 7.0.15 wherever it has the command, as COMMAND and
COMMAND DOCS report them; what 7.2 adds is on top and marked C{added_in_7_2}, and where an addition changed an
older fact, C{in_7_0} keeps the old one. Summaries are ours.

C{own_catalogue.json} has the commands that Redis doesn't have, in the same form.

The fields of an entry are those of L{CommandFacts} under short names: C{acl}, C{keys} (key specs, whose
C{begin} is C{["index", position]}, C{["keyword", word, from]} or C{["unknown"]} and whose C{find} is
C{["range", last, step, limit]}, C{["keynum", count, first, step]} or C{["unknown"]}).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from tinykv.redis.command_facts import Argument, CommandFacts, KeySpec
from tinykv.redis.command_keys import keys_and_flags_of, keys_of

__all__ = ["Argument", "CommandFacts", "KeySpec", "everything", "keys_and_flags_of", "keys_of", "load", "parse"]


@cache
def load() -> Mapping[str, CommandFacts]:
    """
    Read the catalogue that comes with the package; once, as it can't be changed.

    @return: Every command and subcommand by its full name in lower case (C{get}, C{config|get}), sorted.
    """
    return parse(files("tinykv.redis").joinpath("catalogue.json").read_text("ascii"))


@cache
def everything() -> Mapping[str, CommandFacts]:
    """Read the catalogue, and that of the commands which Redis doesn't have: here they look like a module's."""
    own = parse(files("tinykv.redis").joinpath("own_catalogue.json").read_text("ascii"))
    return MappingProxyType({**load(), **own})


def parse(text: str) -> Mapping[str, CommandFacts]:
    """Read a catalogue from its JSON text."""
    entries = (_command(entry) for entry in json.loads(text))
    return MappingProxyType({facts.name: facts for facts in entries})


def _command(entry: dict[str, Any]) -> CommandFacts:
    """Build the facts of one entry."""
    specs = tuple(_key_spec(spec) for spec in entry.get("keys", ()))
    return CommandFacts(
        name=entry["name"],
        group=entry["group"],
        since=entry["since"],
        arity=entry["arity"],
        flags=tuple(entry["flags"]),
        container=entry.get("container", ""),
        first=entry["first"],
        last=entry["last"],
        step=entry["step"],
        acl_categories=tuple(entry["acl"]),
        tips=tuple(entry.get("tips", ())),
        key_specs=specs,
        arguments=tuple(_argument(argument) for argument in entry.get("arguments", ())),
        doc_flags=tuple(entry.get("doc_flags", ())),
        deprecated_since=entry.get("deprecated_since", ""),
        replaced_by=entry.get("replaced_by", ""),
        module=entry.get("module", ""),
        summary=entry.get("summary", ""),
        added_in_7_2=entry.get("added_in_7_2", False),
        arity_in_7_0=entry.get("in_7_0", {}).get("arity", 0),
        single_key=_single_key(specs),
    )


def _single_key(specs: tuple[KeySpec, ...]) -> int:
    """Tell where a command's only key is, or 0 if the arguments have to be looked at."""
    if len(specs) != 1:
        return 0
    spec = specs[0]
    fixed = spec.begin == "index" and spec.find == "range" and spec.numbers[0] == 0
    return spec.position if fixed and "not_key" not in spec.flags else 0


def _key_spec(spec: dict[str, Any]) -> KeySpec:
    """Build a key spec."""
    begin, *start = spec["begin"]
    find, *numbers = spec["find"]
    return KeySpec(
        flags=tuple(spec["flags"]),
        begin=begin,
        position=start[-1] if start else 0,
        keyword=start[0] if begin == "keyword" else "",
        find=find,
        numbers=tuple(numbers),
    )


def _argument(entry: dict[str, Any]) -> Argument:
    """Build an argument with all below it."""
    return Argument(
        name=entry["name"],
        kind=entry["type"],
        token=entry.get("token"),
        key_spec_index=entry.get("key_spec_index", -1),
        since=entry.get("since", ""),
        deprecated_since=entry.get("deprecated_since", ""),
        flags=tuple(entry.get("flags", ())),
        arguments=tuple(_argument(argument) for argument in entry.get("arguments", ())),
        added_in_7_2=entry.get("added_in_7_2", False),
        kind_in_7_0=entry.get("in_7_0", {}).get("type", ""),
    )
