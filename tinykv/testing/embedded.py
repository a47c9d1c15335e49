"""
A keyspace with its commands and nothing around it: no log, no sockets, no clock but the one it's given.
"""

from __future__ import annotations

from tinykv.errors import CommandError
from tinykv.redis.commands import MODULES, VALUE_TYPES
from tinykv.redis.context import Context, MustWait
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.table import commands_of
from tinykv.resp import replies
from tinykv.testing.memory_rows import MemoryRows

TABLE = commands_of(MODULES)


class Embedded:
    """
    Runs single commands against an own keyspace.

    @ivar now: The time that commands see, in ms since 1970.
    """

    def __init__(self, *, budget: int = 1 << 30, rows: MemoryRows | None = None) -> None:
        self.rows = rows if rows is not None else MemoryRows()
        self.keyspace = Keyspace(self.rows, VALUE_TYPES, budget=budget)
        self.keyspace.load()
        self.context = Context(self.keyspace)
        self.now = 1_700_000_000_000
        self.place = 0

    def run(self, *arguments: bytes, db: int = 0, proto: int = 2, may_wait: bool = False) -> bytes:
        """
        Run a command, and give its encoded reply.

        @raise MustWait: It would wait, and C{may_wait} allows that.
        """
        spec = TABLE.get(arguments[0].decode().lower())
        if spec is None and len(arguments) > 1:
            spec = TABLE.get((arguments[0] + b"|" + arguments[1]).decode().lower())
        assert spec is not None, arguments[0]
        count = len(arguments)
        if count != spec.arity if spec.arity > 0 else count < -spec.arity:
            return replies.error(b"ERR wrong number of arguments for '%b' command" % spec.name.encode())
        keyspace, context = self.keyspace, self.context
        self.place += 1
        context.proto = proto
        context.may_wait = may_wait
        context.now = self.now
        context.seed(1, self.place)
        if spec.writes:
            keyspace.begin(self.now)
            keyspace.region_time = self.now
        else:
            keyspace.writing = False
            keyspace.now = self.now
        context.select(db)
        try:
            reply = spec.run(context, list(arguments))
        except CommandError as problem:
            keyspace.rollback()
            return replies.error(problem.wire)
        except MustWait:
            keyspace.rollback()
            raise
        if spec.writes:
            keyspace.commit()
        else:
            assert not keyspace.undo, f"{spec.name} is declared a read but changed something"
        return reply

    def forget(self) -> None:
        """Turn all live objects into rows and start again from the rows alone, as a restart does."""
        self.rows.flush()
        sequence = self.keyspace.sequence
        self.keyspace = Keyspace(self.rows, VALUE_TYPES, budget=self.keyspace.budget)
        self.keyspace.sequence = sequence
        self.keyspace.load()
        self.context = Context(self.keyspace)
