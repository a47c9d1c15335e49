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
    facts = catalogue.load()
    found: dict[str, CommandSpec] = {}
    for module in modules:
        for function in vars(module).values():
            declarations: tuple[Declared, ...] = getattr(function, "declared", ())
            if getattr(function, "__module__", None) != module.__name__:
                continue
            for declared in declarations:
                assert declared.name not in found, declared.name
                known = facts.get(declared.name)
                arity = declared.arity if known is None else known.arity
                assert arity is not None, f"{declared.name} is neither Redis's nor has an arity of its own"
                group = "" if known is None else known.group
                flags = frozenset() if known is None else frozenset(known.flags)
                found[declared.name] = CommandSpec(
                    name=declared.name,
                    run=function,
                    writes=declared.kind == WRITE,
                    arity=arity,
                    blocks="blocking" in flags,
                    grows="denyoom" in flags or (known is None and declared.kind == WRITE),
                    waits_for=_AWAITED.get(group, b""),
                )
    return found
