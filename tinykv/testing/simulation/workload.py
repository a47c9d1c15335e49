"""
Clients: what they ask for, what they make of the answers, and the history of it all.

Keys come in groups, and commands that touch several keys stay within one: so the history falls apart into as many
parts for the linearizability checker. Values are unique, so that a read says which write it saw. A client has one
request under way at a time; when it learns nothing of its outcome it goes on as a new client, over a new connection,
as a program does that was started anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from random import Random
from typing import Any, Final, Protocol

from tinykv.testing.history import History, Operation
from tinykv.testing.redis_model import Exec, Watch
from tinykv.testing.redis_space import Command, Failed
from tinykv.testing.simulation.events import SECOND, Event, Events

#: Errors that say that nothing was done, and that nothing will be.
NOTHING_DONE: Final = frozenset(
    {b"TRYAGAIN", b"CLUSTERDOWN", b"MOVED", b"OOM", b"LOADING", b"EXECABORT", b"CROSSSLOT", b"READONLY"}
)
#: Errors that say nothing.
UNKNOWN: Final = frozenset({b"TIMEOUT", b"UNBLOCKED"})
#: What is done to each region at a moment of its own: an error says nothing of the others.
IN_PARTS: Final = frozenset({b"FLUSHALL", b"FLUSHDB"})


class Silence(Enum):
    """What a client hears instead of a reply."""

    #: The connection broke after the request had left.
    LOST = "lost"
    #: The request surely never left.
    NEVER_SENT = "never sent"


#: The keys of a group: three strings of which the last is a counter, two lists, a set and a hash.
NAMES: Final = (b"s", b"t", b"n", b"l", b"m", b"z", b"h")

#: A request as the model understands it: a L{Command}, a L{Watch} or an L{Exec}.
Request = Any
#: Called once with the reply, or a L{Silence}.
Done = Callable[[Any], None]


class Port(Protocol):
    """
    One client's way to the cluster.

    When its connection breaks while nothing is under way, the next request is told so (C{Silence.NEVER_SENT}): it might
    be a transaction whose WATCH went with the connection.
    """

    def send(self, request: Request, done: Done) -> None:
        """Send a request; nothing else is under way."""
        ...

    def renew(self) -> None:
        """Give up what is under way, about which nobody will be told, and connect anew."""
        ...


@dataclass(frozen=True)
class Mix:
    """
    What clients do.

    @ivar groups: How many groups of keys there are.
    @ivar tagged: Whether the keys of a group lie in one slot, and so in one region.
    @ivar pause_us: The mean time between a reply and the next request.
    @ivar patience_us: How long a client waits for a reply before it goes away.
    @ivar flush: How all keys are deleted, where the weights have C{flush}.
    @ivar weights: How often each kind of request is made, beside the others; see L{Requests}.
    """

    groups: int = 4
    tagged: bool = False
    pause_us: int = SECOND // 5
    patience_us: int = 3 * SECOND
    flush: bytes = b"FLUSHDB"
    weights: Mapping[str, int] = field(
        default_factory=lambda: {
            "read": 25,
            "write": 20,
            "increment": 10,
            "append": 5,
            "delete": 4,
            "expire": 6,
            "lists": 12,
            "sets": 8,
            "hashes": 6,
            "many": 6,
            "transaction": 6,
            "watch": 6,
            "block": 4,
        }
    )

    def key(self, group: int, name: bytes) -> bytes:
        """Name a key of a group."""
        return (b"{g%d}%b" if self.tagged else b"g%d%b") % (group, name)

    def with_weights(self, **weights: int) -> Mix:
        """Give the mix with other kinds of requests beside."""
        return replace(self, weights={**self.weights, **weights})

    def flushing(self, command: bytes) -> Mix:
        """Give the mix with another way to delete all keys."""
        return replace(self, flush=command)

    def in_groups(self, operations: Iterable[Operation]) -> list[Operation]:
        """
        Give a history as it is for each group of keys, all of which lie in one slot: what is done to all regions is
        done to each at a moment of its own.
        """
        assert self.tagged, "the keys of a group lie together"
        found: list[Operation] = []
        for operation in operations:
            asked: Any = operation.input
            if isinstance(asked, tuple) and asked[:1] in ((b"FLUSHALL",), (b"FLUSHDB",)):
                for group in range(self.groups):
                    keys = [self.key(group, name) for name in NAMES]
                    found.append(replace(operation, input=(asked[0], *keys)))
            else:
                found.append(operation)
        return found


class Requests:
    """
    Draws requests about groups of keys; see L{NAMES}.
    """

    def __init__(self, random: Random, mix: Mix, number: int) -> None:
        """
        @param number: The client's; no other may draw its values.
        """
        self._random = random
        self._mix = mix
        self._number = number
        self._count = 0
        self._kinds = list(mix.weights)
        self._weights = list(mix.weights.values())

    def _value(self) -> bytes:
        self._count += 1
        return b"%d.%d" % (self._number, self._count)

    def next(self) -> Request:
        """Draw a request; for C{watch} it's the L{Watch}, behind which L{Requests.watched} goes."""
        group = self._random.randrange(self._mix.groups)
        (kind,) = self._random.choices(self._kinds, self._weights)
        if kind == "transaction":
            return Exec(None, (), self._commands(group))
        if kind == "watch":
            self._count += 1
            return Watch(self._number << 32 | self._count, (self._one(group, b"s", b"n"),))
        drawn: Command = getattr(self, f"_{kind}")(group)
        return drawn

    def watched(self, watch: Watch) -> Exec:
        """Give the transaction behind a watch: it changes what was watched."""
        (key,) = watch.keys
        if key.endswith(b"n"):
            return Exec(watch.token, watch.keys, ((b"INCR", key),))
        return Exec(watch.token, watch.keys, ((b"GET", key), (b"SET", key, self._value())))

    def _one(self, group: int, *names: bytes) -> bytes:
        return self._mix.key(group, self._random.choice(names))

    def _commands(self, group: int) -> tuple[Command, ...]:
        choose = self._random.choice
        kinds = (self._read, self._write, self._increment, self._lists, self._sets, self._hashes)
        return tuple(choose(kinds)(group) for _ in range(self._random.randint(2, 4)))

    def _read(self, group: int) -> Command:
        name = self._random.choice((b"GET", b"GET", b"GET", b"EXISTS", b"PTTL"))
        return (name, self._one(group, b"s", b"t", b"n"))

    def _write(self, group: int) -> Command:
        key = self._one(group, b"s", b"t")
        name = self._random.choice((b"SET", b"SET", b"SETNX", b"GETSET"))
        return (name, key, self._value())

    def _increment(self, group: int) -> Command:
        return (b"INCR", self._one(group, b"n"))

    def _append(self, group: int) -> Command:
        return (b"APPEND", self._one(group, b"t"), self._value())

    def _delete(self, group: int) -> Command:
        return (b"DEL", self._one(group, b"s", b"t", b"n", b"l", b"z", b"h"))

    def _expire(self, group: int) -> Command:
        ttl = b"%d" % self._random.choice((20, 100, 500, 2_000))
        if self._random.random() < 0.6:
            return (b"SET", self._one(group, b"s", b"t"), self._value(), b"PX", ttl)
        return (b"PEXPIRE", self._one(group, b"s", b"t", b"l", b"z"), ttl)

    def _lists(self, group: int) -> Command:
        key = self._one(group, b"l", b"m")
        name = self._random.choice((b"LPUSH", b"RPUSH", b"RPUSH", b"LPOP", b"RPOP", b"LRANGE"))
        if name == b"LRANGE":
            return (name, key, b"0", b"-1")
        return (name, key, self._value()) if name.endswith(b"PUSH") else (name, key)

    def _sets(self, group: int) -> Command:
        key = self._one(group, b"z")
        name = self._random.choice((b"SADD", b"SADD", b"SPOP", b"SMEMBERS"))
        return (name, key, self._value()) if name == b"SADD" else (name, key)

    def _hashes(self, group: int) -> Command:
        key, member = self._one(group, b"h"), self._random.choice((b"f", b"g"))
        if self._random.random() < 0.5:
            return (b"HSET", key, member, self._value())
        return (self._random.choice((b"HGET", b"HGET", b"HDEL")), key, member)

    def _many(self, group: int) -> Command:
        one, other = self._mix.key(group, b"s"), self._mix.key(group, b"t")
        if self._random.random() < 0.5:
            return (b"MSET", one, self._value(), other, self._value())
        return (b"MGET", one, other)

    def _flush(self, group: int) -> Command:
        return (self._mix.flush,)

    def _block(self, group: int) -> Command:
        timeout = self._random.choice((b"0.1", b"0.5", b"1"))
        name = self._random.choice((b"BLPOP", b"BRPOP"))
        keys = ((b"l",), (b"m",), (b"l", b"m"))[self._random.randrange(3)]
        return (name, *(self._mix.key(group, key) for key in keys), timeout)


@dataclass
class Statistics:
    """How requests ended."""

    replies: int = 0
    nothing_done: int = 0
    unknown: int = 0


class Workload:
    """
    Some clients at work.

    @ivar history: What they did and were told.
    @ivar statistics: How it ended.
    """

    def __init__(self, events: Events, ports: Sequence[Port], mix: Mix, *, end_us: int) -> None:
        """
        @param end_us: When no more requests are sent.
        """
        self.history = History()
        self.statistics = Statistics()
        self._events = events
        self._mix = mix
        self._workers = [_Client(self, events, number, port, mix, end_us) for number, port in enumerate(ports)]
        self._auditor: _Auditor | None = None
        self._names = len(ports)

    def start(self) -> None:
        """Let them begin."""
        for worker in self._workers:
            worker.rest()

    def look_at_all(self, port: Port) -> None:
        """At the end: let one more client read every key there is, in its own time, and put that into the history."""
        assert self._auditor is None, "once is enough"
        self._auditor = _Auditor(self, self._events, self.new_name(), port, self._mix)
        self._auditor.next()

    @property
    def busy(self) -> bool:
        """Whether one still waits for a reply."""
        return any(worker.busy for worker in self._workers) or (self._auditor is not None and self._auditor.busy)

    def new_name(self) -> int:
        """Give the number of a new client."""
        self._names += 1
        return self._names - 1


class _Client:
    """One of them."""

    def __init__(self, workload: Workload, events: Events, number: int, port: Port, mix: Mix, end_us: int) -> None:
        self.busy = False
        self._workload = workload
        self._events = events
        self._random = events.random(f"client {number}")
        self._requests = Requests(self._random, mix, number)
        self._name = number
        self._port = port
        self._mix = mix
        self._end_us = end_us
        self._request: Request = None
        self._number = 0
        self._watch: Watch | None = None
        self._patience: Event | None = None

    def rest(self) -> None:
        """Do nothing for a while, then ask for something."""
        pause = int(self._random.expovariate(1.0 / self._mix.pause_us)) + 1
        self._events.after(pause, f"client {self._name} goes on", self._ask)

    def _ask(self) -> None:
        if self._events.now >= self._end_us:
            return
        request = self._requests.next() if self._watch is None else self._requests.watched(self._watch)
        self._watch = None
        self._request = request
        self.busy = True
        self._number = number = self._workload.history.call(self._name, self._events.now, request)
        self._patience = self._events.after(
            self._mix.patience_us, f"client {self._name} has waited enough", self._give_up
        )
        self._port.send(request, lambda answer: self._answered(number, answer))

    def _answered(self, number: int, answer: Any) -> None:
        if number != self._number or not self.busy:
            return
        self.busy = False
        assert self._patience is not None
        self._patience.cancel()
        history, statistics = self._workload.history, self._workload.statistics
        code = answer.code if isinstance(answer, Failed) else b""
        if answer is Silence.LOST or code in UNKNOWN or (code and _in_parts(self._request)):
            self._lose()
            return
        if answer is Silence.NEVER_SENT or code in NOTHING_DONE:
            statistics.nothing_done += 1
            history.drop(number)
            if answer is Silence.NEVER_SENT:
                self._port.renew()
        else:
            statistics.replies += 1
            history.reply(number, self._events.now, answer)
            if isinstance(self._request, Watch):
                self._watch = self._request
        self.rest()

    def _give_up(self) -> None:
        self.busy = False
        self._lose()

    def _lose(self) -> None:
        """Learn nothing, and go on as somebody else."""
        self._workload.statistics.unknown += 1
        self._name = self._workload.new_name()
        self._port.renew()
        self.rest()


def _in_parts(request: Request) -> bool:
    return isinstance(request, tuple) and request[0] in IN_PARTS


class _Auditor:
    """Reads one key after another, until all have been read."""

    def __init__(self, workload: Workload, events: Events, name: int, port: Port, mix: Mix) -> None:
        self._workload = workload
        self._events = events
        self._name = name
        self._port = port
        self._left: list[Command] = []
        for group in range(mix.groups):
            self._left += [(b"GET", mix.key(group, key)) for key in (b"s", b"t", b"n")]
            self._left += [(b"LRANGE", mix.key(group, key), b"0", b"-1") for key in (b"l", b"m")]
            self._left.append((b"SMEMBERS", mix.key(group, b"z")))
            self._left += [(b"HGET", mix.key(group, b"h"), member) for member in (b"f", b"g")]
        self._left.reverse()

    @property
    def busy(self) -> bool:
        """Whether there's one left."""
        return bool(self._left)

    def next(self) -> None:
        """Read the next one."""
        if self._left:
            number = self._workload.history.call(self._name, self._events.now, self._left[-1])
            self._port.send(self._left[-1], lambda answer: self._answered(number, answer))

    def _answered(self, number: int, answer: Any) -> None:
        code = answer.code if isinstance(answer, Failed) else b""
        if isinstance(answer, Silence) or code in NOTHING_DONE or code in UNKNOWN:
            # A read that wasn't answered says nothing.
            self._workload.history.drop(number)
            if isinstance(answer, Silence):
                self._port.renew()
            self._events.after(SECOND // 10, "auditor tries again", self.next)
            return
        self._left.pop()
        self._workload.history.reply(number, self._events.now, answer)
        self._events.after(1, "auditor goes on", self.next)
