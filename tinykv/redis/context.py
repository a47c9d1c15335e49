"""
What a command gets to work with, and how it says that it has to wait.

There is one L{Context} for the commands of the log and one for reads, and they live as long as the region: per
command only a few of its attributes are set. A command is a plain function C{(context, arguments) -> reply}; it takes
no clock and no randomness but the context's, so that every replica computes the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from tinykv.redis.keyspace import Database, Keyspace
from tinykv.redis.pace import PACE
from tinykv.redis.sampling import Chance, SplitMix
from tinykv.resp import replies

T = TypeVar("T")


class MustWait(Exception):
    """
    A blocking command found nothing to take.

    Raised before it changed anything; whoever runs it records a waiter for C{keys}, and runs it again when one of them
    may be ready.

    @ivar keys: The keys that may make it ready.
    @ivar timeout_ms: How long it wants to wait at most; 0 for ever.
    @ivar timed_out: The reply if nothing came.
    """

    def __init__(self, keys: list[bytes], timeout_ms: int, timed_out: bytes) -> None:
        super().__init__()
        self.keys = keys
        self.timeout_ms = timeout_ms
        self.timed_out = timed_out


class Context:
    """
    The circumstances of the running command.

    @ivar keyspace: The region's data.
    @ivar db: The database selected.
    @ivar index: Its number as the client knows it.
    @ivar now: Milliseconds since 1970: the entry's time or, for reads, the clock's (never less than region time).
    @ivar proto: 2 or 3, the RESP version in which to answer.
    @ivar may_wait: Whether a blocking command may wait; it may not within EXEC.
    @ivar ready_key: When a waiting command is run again, the key that became ready: it's the only one to look at.
    """

    __slots__ = ("_place", "_random", "_seed", "db", "index", "keyspace", "may_wait", "now", "proto", "ready_key")

    def __init__(self, keyspace: Keyspace) -> None:
        self.keyspace = keyspace
        self.index = 0
        self.db: Database = keyspace.databases[0]
        self.now = 0
        self.proto = 2
        self.may_wait = False
        self.ready_key: bytes | None = None
        self._seed = 0
        self._place = 0
        self._random: Chance | None = None

    def select(self, index: int) -> None:
        """Choose the database by its number as the client knows it."""
        self.index = index
        self.db = self.keyspace.databases[index]

    def seed(self, seed: int, place: int) -> None:
        """Set what L{random} starts from: an entry's seed and the command's place in the entry."""
        self._seed = seed
        self._place = place
        self._random = None

    def lend(self, random: Chance) -> None:
        """Let a read, whose picks nobody has to repeat, take its randomness from here."""
        self._random = random

    @property
    def random(self) -> Chance:
        """The running command's own source of randomness, alike on every replica."""
        if self._random is None:
            self._random = SplitMix(self._seed, self._place)
        return self._random

    def paced(self, items: Sequence[T]) -> Iterable[T]:
        """Give items one after another, with rests between them where there are many."""
        return items if len(items) <= PACE else self._paced(items)

    def _paced(self, items: Sequence[T]) -> Iterator[T]:
        pause = self.keyspace.rows.pause
        for start in range(0, len(items), PACE):
            pause()
            yield from items[start : start + PACE]

    def bulks(self, values: Sequence[bytes]) -> bytes:
        """Give the reply for what may be very many strings."""
        if len(values) <= PACE:
            return replies.bulks(values)
        return replies.array([replies.bulk(value) for value in self.paced(values)])

    def candidates(self, keys: list[bytes]) -> list[bytes]:
        """Give the keys that a blocking command looks at, in order."""
        return keys if self.ready_key is None else [self.ready_key]

    def wait(self, keys: list[bytes], timeout_ms: int, timed_out: bytes) -> bytes:
        """
        Wait for one of these keys, or answer at once as if the time were over where waiting isn't allowed.

        @raise MustWait: It is allowed.
        """
        if self.may_wait:
            raise MustWait(keys, timeout_ms, timed_out)
        return timed_out
