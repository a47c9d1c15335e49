"""
The command table: every command on data, from a written list of modules.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

from tinykv.redis import catalogue
from tinykv.redis.spec import WRITE, CommandSpec, Declared

#: What the blocking commands of a group wait for.
_AWAITED = {"list": b"list", "sorted-set": b"zset", "sorted_set": b"zset"}


def commands_of(modules: Iterable[ModuleType]) -> dict[str, CommandSpec]:
    """Collect what the functions of these modules declare, by name in lower case."""
    facts = catalogue.everything()
    found: dict[str, CommandSpec] = {}
    for module in modules:
        for function in vars(module).values():
            declarations: tuple[Declared, ...] = getattr(function, "declared", ())
            if getattr(function, "__module__", None) != module.__name__:
                continue
            for declared in declarations:
                assert declared.name not in found, declared.name
                known = facts[declared.name]
                found[declared.name] = CommandSpec(
                    name=declared.name,
                    run=function,
                    writes=declared.kind == WRITE,
                    arity=known.arity,
                    blocks="blocking" in known.flags,
                    grows="denyoom" in known.flags,
                    waits_for=_AWAITED.get(known.group, b""),
                    facts=known,
                    run_many=declared.run_many,
                )
    return found
