"""
A client that looks at all keys at once: it has a database of its own, so that it knows which keys are there.

What is about all keys (DBSIZE, KEYS, SCAN, RANDOMKEY, FLUSHDB) and what is cut by key (MGET, DEL, EXISTS) goes to all
regions, and to each at a moment of its own. While nobody else changes anything that makes no difference: whatever was
acknowledged is counted and found, exactly once. Of what the client wasn't told the outcome it never knows any more,
since it may be done at any time; where that was FLUSHDB it goes on in another database.
"""

from __future__ import annotations

from typing import Any, Final

from tinykv.testing.redis_space import Command, Failed
from tinykv.testing.simulation.events import SECOND, Event, Events
from tinykv.testing.simulation.ports import RespPort, Together
from tinykv.testing.simulation.workload import NOTHING_DONE, UNKNOWN, Silence

#: A client goes away when it hears nothing for so long.
PATIENCE_US: Final = 3 * SECOND
#: The databases that it uses, one after another.
DATABASES: Final = range(2, 16)
#: How many keys one command names at most.
KEYS_MAX: Final = 4


class Census:
    """
    One such client.

    @ivar problems: What it was told and can't be.
    @ivar looks: How often it looked at all keys and was told.
    """

    def __init__(self, events: Events, port: RespPort, name: str, *, pause_us: int, end_us: int) -> None:
        """
        @param pause_us: The mean time between two requests.
        @param end_us: When no more requests are sent.
        """
        self.problems: list[str] = []
        self.looks = 0
        self._events = events
        self._port = port
        self._name = name
        self._pause_us = pause_us
        self._end_us = end_us
        self._random = events.random(f"census {name}")
        self._db = DATABASES[0]
        self._made = 0
        #: The keys that are there, and those that may be; each key's value is its name.
        self._certain: dict[bytes, None] = {}
        self._doubtful: dict[bytes, None] = {}
        self._patience: Event | None = None
        self._asked = 0
        #: What it waits for.
        self._under_way: Command | None = None
        #: What a SCAN has found so far.
        self._scanned: set[bytes] = set()
        self._audit: list[Command] | None = None

    def start(self) -> None:
        """Begin, some time."""
        pause = int(self._random.expovariate(1.0 / self._pause_us)) + 1
        self._events.after(pause, f"{self._name} goes on", self._go)

    @property
    def busy(self) -> bool:
        """Whether something is left to be looked at in the end."""
        return bool(self._audit)

    def look_at_all(self, port: RespPort) -> None:
        """In the end: look at all keys once more, by a way of its own, and until it's answered."""
        self._asked += 1
        if self._under_way is not None:
            self._doubt(self._under_way)
        self._port = port
        self._audit = [(b"DBSIZE",), (b"KEYS", b"*")]
        self._next_look()

    def _next_look(self) -> None:
        if self._audit:
            self._ask(self._audit[0])

    # What it asks for

    def _go(self) -> None:
        if self._events.now >= self._end_us:
            return
        kinds = ("set", "set", "set", "delete", "get", "exists", "count", "count", "keys", "scan", "pick", "flush")
        self._ask(getattr(self, f"_{self._random.choice(kinds)}")())

    def _set(self) -> Command:
        self._made += 1
        key = b"%s%d" % (self._name.encode(), self._made)
        return (b"SET", key, key)

    def _some(self) -> list[bytes]:
        """Choose keys: some that are there, and some that aren't."""
        known = [*self._certain, *self._doubtful, b"%s0" % self._name.encode()]
        return self._random.sample(known, min(len(known), self._random.randint(1, KEYS_MAX)))

    def _delete(self) -> Command:
        return (self._random.choice((b"DEL", b"UNLINK")), *self._some())

    def _get(self) -> Command:
        return (b"MGET", *self._some())

    def _exists(self) -> Command:
        return (self._random.choice((b"EXISTS", b"TOUCH")), *self._some())

    def _count(self) -> Command:
        return (b"DBSIZE",)

    def _keys(self) -> Command:
        return (b"KEYS", b"*")

    def _scan(self) -> Command:
        self._scanned.clear()
        return (b"SCAN", b"0", b"COUNT", b"3")

    def _pick(self) -> Command:
        return (b"RANDOMKEY",)

    def _flush(self) -> Command:
        # Seldom, or there'd never be many; and not where there'd be no other database to go on in.
        return (b"FLUSHDB",) if self._random.random() < 0.3 and self._db < DATABASES[-1] else self._set()

    def _ask(self, command: Command) -> None:
        self._asked += 1
        self._under_way = command
        asked = self._asked

        def heard(answer: Any) -> None:
            if asked == self._asked:
                self._under_way = None
                assert self._patience is not None
                self._patience.cancel()
                self._heard(command, answer[-1] if isinstance(answer, tuple) else answer)

        self._patience = self._events.after(PATIENCE_US, f"{self._name} has waited enough", self._give_up, command)
        self._port.send(Together(((b"SELECT", b"%d" % self._db), command)), heard)

    # What it's told

    def _give_up(self, command: Command) -> None:
        """Go to another store."""
        self._asked += 1
        self._under_way = None
        self._doubt(command)
        self._port.renew()
        self._rest(False)

    def _rest(self, answered: bool) -> None:
        """Go on, some time."""
        if self._audit is None:
            self.start()
            return
        if answered:
            self._audit.pop(0)
        self._events.after(SECOND // 10, f"{self._name} looks on", self._next_look)

    def _doubt(self, command: Command) -> None:
        """Learn that nobody knows what a command did."""
        name = command[0]
        if name == b"FLUSHDB":
            # Its parts may be done at any time from now on.
            self._db += 1
            self._certain.clear()
            self._doubtful.clear()
        elif name == b"SET":
            self._doubtful[command[1]] = None
        elif name in (b"DEL", b"UNLINK"):
            for key in command[1:]:
                if key in self._certain:
                    del self._certain[key]
                    self._doubtful[key] = None

    def _heard(self, command: Command, answer: Any) -> None:
        code = answer.code if isinstance(answer, Failed) else b""
        if answer is Silence.NEVER_SENT:
            self._port.renew()
        elif isinstance(answer, Silence) or code in NOTHING_DONE | UNKNOWN:
            # One part may have been done when another one wasn't.
            self._give_up(command)
            return
        elif code:
            self._expect(command, answer, False)
        elif self._takes(command, answer):
            return
        self._rest(answer is not Silence.NEVER_SENT)

    def _takes(self, command: Command, answer: Any) -> bool:
        """Take an answer; say whether the next request has been sent already."""
        name, *keys = command
        certain, doubtful = self._certain, self._doubtful
        there, perhaps = sum(key in certain for key in keys), sum(key in doubtful for key in keys)
        if name == b"SET":
            certain[keys[0]] = None
        elif name in (b"DEL", b"UNLINK", b"EXISTS", b"TOUCH"):
            self._expect(command, answer, isinstance(answer, int) and there <= answer <= there + perhaps)
            if name in (b"DEL", b"UNLINK"):
                for key in keys:
                    certain.pop(key, None)
        elif name == b"MGET":
            fits = isinstance(answer, tuple) and len(answer) == len(keys)
            pairs = zip(keys, answer, strict=True) if fits else ()
            self._expect(command, answer, fits and all(self._may_hold(key, value) for key, value in pairs))
        elif name == b"DBSIZE":
            self.looks += 1
            fits = isinstance(answer, int) and len(certain) <= answer <= len(certain) + len(doubtful)
            self._expect(command, answer, fits)
        elif name == b"KEYS":
            self.looks += 1
            self._expect(command, answer, isinstance(answer, tuple) and self._are_all(list(answer)))
        elif name == b"SCAN":
            return self._scans(command, answer)
        elif name == b"RANDOMKEY":
            self._expect(command, answer, not certain if answer is None else self._may_be(answer))
        elif name == b"FLUSHDB":
            certain.clear()
        return False

    def _may_hold(self, key: bytes, value: Any) -> bool:
        """Say whether a key can have a value, or none."""
        return key not in self._certain if value is None else value == key and self._may_be(key)

    def _may_be(self, key: bytes) -> bool:
        return key in self._certain or key in self._doubtful

    def _scans(self, command: Command, answer: Any) -> bool:
        """Go on with a SCAN; say whether it does."""
        cursor, found = answer
        self._scanned.update(found)
        if cursor != b"0":
            self._ask((b"SCAN", cursor, *command[2:]))
            return True
        self.looks += 1
        self._expect((b"SCAN",), tuple(sorted(self._scanned)), self._are_all(sorted(self._scanned)))
        return False

    def _are_all(self, keys: list[bytes]) -> bool:
        """Say whether these can be all keys that there are, each once."""
        found = set(keys)
        return len(found) == len(keys) and self._certain.keys() <= found <= self._certain.keys() | self._doubtful.keys()

    def _expect(self, command: Command, answer: Any, fits: bool) -> None:
        if not fits:
            asked = b" ".join(command).decode()
            known = f"it knows of {sorted(self._certain)}, and perhaps {sorted(self._doubtful)}"
            self.problems.append(f"{self._name}: {asked} was answered with {answer!r}, but {known}")
