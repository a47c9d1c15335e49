"""
The keys of the model of Redis, while one operation works on them; see L{tinykv.testing.redis_model}.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tinykv.testing.history import Operation

#: The upper bound of an expiry that was set by an operation of unknown outcome.
FOREVER: Final = 1 << 62

STRING: Final = "string"
LIST: Final = "list"
HASH: Final = "hash"
SET: Final = "set"

#: (type, content, expiry): bytes, a tuple, a tuple of sorted pairs or a frozenset; bounds in us, or None for never.
Value = tuple[str, Any, tuple[int, int] | None]
#: Keys with their values, in order, and watches as (token, key, mark).
State = tuple[tuple[tuple[bytes, Value], ...], frozenset[tuple[int, bytes, str]]]

Command = tuple[bytes, ...]

# Marks of a watch: what became of the key.
PRESENT: Final = "present"
ABSENT: Final = "absent"
CREATED: Final = "created"
GONE_AGAIN: Final = "gone again"
CHANGED: Final = "changed"


@dataclass(frozen=True, slots=True)
class Failed:
    """An error reply, by its first word."""

    code: bytes


class Refused(Exception):
    """A command fails, and has changed nothing."""

    def __init__(self, code: bytes) -> None:
        super().__init__(code)
        self.code = code


WRONGTYPE: Final = b"WRONGTYPE"


class Space:
    """
    The keys, while an operation works on them.

    @ivar earliest: The earliest clock reading that may be taken for the operation, in us; C{latest} the latest.
    @ivar touched: The keys that it changed.
    @ivar alone: Whether it isn't part of a transaction, so that it may wait.
    """

    def __init__(self, state: State, operation: Operation, slack_us: int, script: tuple[int, ...]) -> None:
        self.items = dict(state[0])
        self.watches = state[1]
        self.operation = operation
        self.earliest = operation.called - slack_us
        self.latest = FOREVER if operation.returned is None else operation.returned + slack_us
        self.slack_us = slack_us
        self.touched: dict[bytes, None] = {}
        self.alone = True
        self._seen: set[bytes] = set()
        self._script = script
        self.choices: list[tuple[int, int]] = []

    def choose(self, count: int) -> int:
        """Choose a number below C{count}; each will be tried."""
        place = len(self.choices)
        chosen = self._script[place] if place < len(self._script) else 0
        self.choices.append((chosen, count))
        return chosen

    # Keys

    def find(self, key: bytes) -> Value | None:
        """Give a key's value; whether its time is over is decided here, once an operation."""
        value = self.items.get(key)
        if value is None or value[2] is None or key in self._seen:
            return value
        self._seen.add(key)
        low, high = value[2]
        may_go, may_stay = self.latest >= low, self.earliest <= high
        if may_go and (not may_stay or self.choose(2)):
            self.remove(key)
            return None
        return value

    def content(self, key: bytes, kind: str) -> Any:
        """Give what a key of a type holds, or None if there's none; refuse a key of another type."""
        value = self.find(key)
        if value is None:
            return None
        if value[0] != kind:
            raise Refused(WRONGTYPE)
        return value[1]

    def put(self, key: bytes, kind: str, content: Any, expiry: tuple[int, int] | None) -> None:
        """Write a key, and when it goes."""
        self.items[key] = (kind, content, expiry)
        self._seen.add(key)
        self.touched[key] = None

    def change(self, key: bytes, kind: str, content: Any) -> None:
        """Write a key, and leave its expiry; what holds nothing is removed."""
        if not content and kind != STRING:
            self.remove(key)
            return
        old = self.items.get(key)
        self.put(key, kind, content, old[2] if old is not None else None)

    def remove(self, key: bytes) -> None:
        """Remove a key that is there."""
        del self.items[key]
        self.touched[key] = None

    def expiry(self, ttl_ms: int) -> tuple[int, int]:
        """Give the bounds of an expiry that is set now."""
        high = FOREVER if self.latest == FOREVER else self.latest + ttl_ms * 1000
        return self.earliest + ttl_ms * 1000, high

    # The end

    def state(self) -> State:
        """Give the state afterwards."""
        watches = self.watches
        if watches and self.touched:
            watches = frozenset((token, key, self._mark(key, mark)) for token, key, mark in watches)
        return tuple(sorted(self.items.items())), watches

    def _mark(self, key: bytes, mark: str) -> str:
        """Say what becomes of a watched key's mark."""
        if key not in self.touched:
            return mark
        if mark in (PRESENT, CHANGED):
            return CHANGED
        return CREATED if key in self.items else GONE_AGAIN
