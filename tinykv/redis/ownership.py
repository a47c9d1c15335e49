"""
Whether commands are about keys that lie in a region.

It's asked before a command is proposed, and again when it's applied: the region's range may have changed in between.
"""

from __future__ import annotations

from typing import Final

from tinykv.keys import SLOTS, slot_of
from tinykv.redis.command_keys import keys_of
from tinykv.redis.looks import keys_of as keys_of_look
from tinykv.redis.operations import EXEC, INTERNAL, LOCAL, LOOK, READ_EXEC, Operation
from tinykv.redis.spec import CommandSpec
from tinykv.resp import replies

#: What a command is told that isn't about this region's keys.
NOT_HERE: Final = replies.error(b"TRYAGAIN the keys lie in another region by now; nothing was done")


def owns(slots: tuple[int, int], operation: Operation) -> bool:
    """
    Say whether all keys of an operation lie in a region, and those that a transaction depends on.

    @param slots: The first of its slots, and the one behind the last.
    """
    kind, _, _, _, spec, arguments, extra = operation
    if kind in (INTERNAL, LOCAL):
        return True
    first, end = slots
    if kind == LOOK:
        return all(first <= slot_of(key) < end for key in keys_of_look(arguments))
    if kind not in (EXEC, READ_EXEC):
        return lie_in(slots, spec, arguments)
    return all(first <= slot_of(key) < end for _, key, _ in extra or ()) and all(
        command is None or lie_in(slots, command, request) for _, command, request, _ in arguments
    )


def names_keys(operation: Operation) -> bool:
    """Say whether an operation is about certain keys; if not, it's about all that a region has."""
    kind, _, _, _, spec, arguments, _ = operation
    if kind in (INTERNAL, LOCAL, LOOK, EXEC, READ_EXEC):
        return True
    facts = spec.facts
    return facts is None or bool(facts.module) or bool(keys_of(facts, arguments))


def lie_in(slots: tuple[int, int], spec: CommandSpec, arguments: list[bytes]) -> bool:
    """Say whether all keys of a command lie in some slots."""
    facts = spec.facts
    if facts is None:
        return True
    first, end = slots
    if facts.module:
        # Raw keys lie behind all slots.
        return end == SLOTS
    if facts.single_key:
        return first <= slot_of(arguments[facts.single_key]) < end
    return all(first <= slot_of(arguments[position]) < end for position in keys_of(facts, arguments))
