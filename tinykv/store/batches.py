"""A turn's operations on their way: what they wait for, and which of their keys will have to be read."""

from __future__ import annotations

from tinykv.redis.command_keys import keys_of
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.operations import COMMANDS, EXEC, LOCAL, LOOK, READ, READ_EXEC, WAITING, Operation, size_of
from tinykv.redis.spec import CommandSpec
from tinykv.region.entry import ENTRY_BYTES_MAX

#: Keys of a batch that are read ahead at most.
READ_AHEAD_KEYS = 1000


class Batch:
    """
    A turn's operations on their way.

    @ivar index: The entry that has to be decided first.
    @ivar logged: Whether they have an entry of their own, which is the one at C{index}.
    @ivar since: When it was proposed, by the clock.
    @ivar reading: Whether cold rows that they need are still being read ahead, or the others are asked whether reads
        may be done.
    @ivar asked: Whether the others have said that they may.
    """

    __slots__ = ("asked", "index", "logged", "operations", "reading", "seed", "since", "term", "time")

    def __init__(
        self, index: int, logged: bool, operations: list[Operation], time: int, seed: int, term: int, since: float
    ) -> None:
        self.index = index
        self.logged = logged
        self.operations = operations
        self.reading = False
        self.asked = False
        self.since = since
        self.time = time
        self.seed = seed
        self.term = term


def by_size(operations: list[Operation]) -> list[list[Operation]]:
    """Cut a turn's operations where an entry would grow too large; a single large one stands alone."""
    parts: list[list[Operation]] = []
    start = size = 0
    for place, operation in enumerate(operations):
        length = 0 if operation[0] in (READ, LOCAL, LOOK) else size_of(operation)
        if size and size + length > ENTRY_BYTES_MAX:
            parts.append(operations[start:place])
            start = place
            size = 0
        size += length
    parts.append(operations[start:])
    return parts


def cold_keys(operations: list[Operation], keyspace: Keyspace) -> list[bytes]:
    """Give the rows that operations will need and that aren't in memory, as far as their keys tell."""
    cold: list[bytes] = []
    for kind, _, _, db, spec, arguments, _ in operations:
        if kind in (COMMANDS, WAITING, READ):
            _add_cold(cold, keyspace, db, spec, arguments)
        elif kind in (EXEC, READ_EXEC):
            for index, command, words, _ in arguments:
                _add_cold(cold, keyspace, index, command, words)
    return cold


def _add_cold(cold: list[bytes], keyspace: Keyspace, db: int, spec: CommandSpec | None, arguments: list[bytes]) -> None:
    facts = spec.facts if spec is not None else None
    if facts is None or facts.module or len(cold) >= READ_AHEAD_KEYS:
        return
    if facts.single_key:
        keys = arguments[facts.single_key : facts.single_key + 1]
    else:
        keys = [arguments[place] for place in keys_of(facts, arguments)]
    cold += keyspace.cold(db, keys)
