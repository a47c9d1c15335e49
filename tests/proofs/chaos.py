"""
C{make proof-chaos}: three real stores keep their promise while they're killed, stopped and cut off.

Twenty clients, each at any of three daemons (C{twistd tinykv}) and at another one when its connection breaks, do what
clients do for 60 s, one request after another: strings, counters, lists, sets, hashes, expiries, MULTI, WATCH and
blocking pops, on a few groups of keys. Every two seconds something happens to a store: kill -9 and another start,
SIGSTOP for 3 s, and, where the system lets each store have a network namespace of its own, a network that is cut, in
both directions or one, or slow. Then all is well again, and

- the history of all that clients asked for and were told is linearizable (L{tinykv.testing.linearizability}): there is
  one order of all requests, in which each reply is what a single copy of the data would have said. What was
  acknowledged is in it, and was read again at the end; what was answered with an error that says so isn't; of what
  nobody knows, each may be in it, once;
- four more clients send many requests at once. What one of them pushes in a connection is in its list in the order in
  which it was sent, what was acknowledged once, what was refused not at all, anything else at most once; and a read
  sees the write before it and never the one behind it;
- no store has ended by itself;
- the leader is killed some more times, with nothing else going on and default settings: how long until a write is
  acknowledged that was asked for after that?
"""

from __future__ import annotations

import json
import pickle
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from random import Random
from threading import Event, Lock, Thread
from typing import Any

from tests.proofs.report import Figures, Run, folder_of, options, prose
from tests.redis_server import BlockingClient, ReplyError
from tests.system.stores import Loopback, Namespaces, Stores, namespaces_work
from tinykv.resp.replies import encode_command
from tinykv.testing.history import History
from tinykv.testing.redis_model import Exec, RedisModel, Watch
from tinykv.testing.redis_space import Failed
from tinykv.testing.simulation.scenario import judge
from tinykv.testing.simulation.workload import NOTHING_DONE, UNKNOWN, Mix, Requests

CLIENTS = 20
#: Clients that send many requests at once, and how many.
PIPELINERS = 4
PIPELINE = 8
STORES = 3
#: Of one unit, in seconds.
LOAD_SECONDS = 60.0
FAULT_SECONDS = 2.0
#: Kills of the leader with nothing else going on, in each unit, and the time for each, in seconds.
KILLS = 4
KILL_SECONDS = 6.0
#: How long a client waits for a reply, in seconds.
PATIENCE = 8.0
#: The mean time between a reply and the next request, in seconds.
PAUSE = 0.04
#: The clocks of the stores are one, but a request is timed by threads that wait for one another.
SLACK_US = 50_000
#: Steps of the search for an order, for keys that belong together.
STEPS_MAX = 20_000_000
UNITS = 5
SECONDS = 900.0

WRITES = frozenset((b"SET", b"INCR", b"APPEND", b"LPUSH", b"RPUSH", b"SADD", b"HSET", b"MSET", b"GETSET"))
MIX = Mix(
    groups=24,
    weights={
        "read": 20,
        "write": 20,
        "increment": 12,
        "append": 8,
        "delete": 4,
        "expire": 4,
        "lists": 14,
        "sets": 5,
        "hashes": 5,
        "many": 4,
        "transaction": 6,
        "watch": 6,
        "block": 6,
    },
)


class Book:
    """
    The history, as threads write it.

    @ivar written: When a write was acknowledged: (called, returned), in seconds of the monotonic clock.
    @ivar errors: What clients met instead of a reply, by the error's code; C{lost} for a connection that broke,
        C{refused} for one that couldn't be made.
    """

    def __init__(self) -> None:
        self.history = History()
        self.written: list[tuple[float, float]] = []
        self.unknown = 0
        self.nothing_done = 0
        self.replies = 0
        self.errors: Counter[str] = Counter()
        self._lock = Lock()
        self._names = CLIENTS

    def call(self, client: int, request: Any) -> int:
        """Note a request that is about to leave."""
        with self._lock:
            return self.history.call(client, time.monotonic_ns() // 1000, request)

    def reply(self, number: int, output: Any, called: float | None) -> None:
        """Note a reply; C{called} is when the request left, if it's a write."""
        now = time.monotonic_ns()
        with self._lock:
            self.replies += 1
            self.history.reply(number, now // 1000, output)
            if called is not None:
                self.written.append((called, now / 1e9))

    def drop(self, number: int, code: bytes) -> None:
        """Note that a request did nothing, as an error says."""
        with self._lock:
            self.nothing_done += 1
            self.errors[code.decode("latin-1")] += 1
            self.history.drop(number)

    def lost(self, code: bytes = b"lost") -> int:
        """Note that nobody knows what became of a request, and give the client that follows its name."""
        with self._lock:
            self.unknown += 1
            self.errors[code.decode("latin-1")] += 1
            self._names += 1
            return self._names

    def refused(self) -> None:
        """Note that nobody took a client's connection."""
        with self._lock:
            self.errors["refused"] += 1

    def newcomer(self) -> int:
        """Give the name of one more client."""
        with self._lock:
            self._names += 1
            return self._names


class Client:
    """
    One client: it asks for one thing after another, at one store after another.

    A watch is asked for on its own; everything of a transaction leaves together.
    """

    def __init__(
        self, number: int, connect: Callable[[], BlockingClient], book: Book, random: Random, mix: Mix = MIX
    ) -> None:
        """
        @param connect: Connects to a store, any of those there are.
        """
        self._name = number
        self._connect_anywhere = connect
        self._book = book
        self._random = random
        self._mix = mix
        self._requests = Requests(random, mix, number)
        self._connection: BlockingClient | None = None
        self._watch: Watch | None = None

    def work(self, end: Event) -> None:
        """Ask until the end."""
        while not end.is_set():
            if self._connection is None and not self._connect():
                time.sleep(0.05)
                continue
            request = self._requests.next() if self._watch is None else self._requests.watched(self._watch)
            self.ask(request)
            time.sleep(self._random.expovariate(1 / PAUSE))
        self.leave()

    def _connect(self) -> bool:
        self._watch = None
        try:
            self._connection = self._connect_anywhere()
        except OSError:
            self._book.refused()
            return False
        return True

    def read_all(self) -> None:
        """Read every key there may be, in the end."""
        key = self._mix.key
        for group in range(self._mix.groups):
            for name in (b"s", b"t", b"n"):
                self._insist((b"GET", key(group, name)))
            for name in (b"l", b"m"):
                self._insist((b"LRANGE", key(group, name), b"0", b"-1"))
            self._insist((b"SMEMBERS", key(group, b"z")))
            self._insist((b"HGET", key(group, b"h"), b"f"))

    def _insist(self, request: Any) -> None:
        deadline = time.monotonic() + 30
        while not ((self._connection is not None or self._connect()) and self.ask(request)):
            assert time.monotonic() < deadline, "the stores don't answer although all is well"
            time.sleep(0.1)

    def ask(self, request: Any) -> bool:
        """Ask for something; say if there was a reply."""
        book = self._book
        self._watch = None
        connection = self._connection
        assert connection is not None
        number = book.call(self._name, request)
        called = time.monotonic() if _writes(request) else None
        try:
            output = _send(connection, request)
        except (OSError, ConnectionError):
            self._name = book.lost()
            self.leave()
            return False
        code = output.code if isinstance(output, Failed) else b""
        if code in UNKNOWN:
            self._name = book.lost(code)
            self.leave()
            return False
        if code in NOTHING_DONE:
            book.drop(number, code)
            return False
        book.reply(number, output, called if not isinstance(output, Failed) and output is not None else None)
        if isinstance(request, Watch):
            self._watch = request
        return True

    def leave(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Pipeliner:
    """
    A client that sends many requests at once: it pushes number after number onto a list, and sets and gets a string.

    @ivar pushed: How many numbers were acknowledged, over all connections.
    """

    def __init__(self, number: int, connect: Callable[[], BlockingClient], random: Random) -> None:
        self.pushed = 0
        self._number = number
        self._connect = connect
        self._random = random
        self._count = 0
        #: What became of each number, by the list: b"+" it's there, b"-" it isn't, b"?" nobody knows.
        self._lists: dict[bytes, dict[int, bytes]] = {}
        self._problem: str | None = None

    def work(self, end: Event) -> None:
        """Push until the end; each connection has its own keys."""
        while not end.is_set() and self._problem is None:
            name = b"pipeline:%d:%d" % (self._number, len(self._lists))
            try:
                connection = self._connect()
            except OSError:
                time.sleep(0.05)
                continue
            numbers = self._lists[name] = {}
            try:
                while not end.is_set() and self._turn(connection, name, numbers):
                    time.sleep(self._random.expovariate(1 / (4 * PAUSE)))
            except (OSError, ConnectionError):
                continue
            finally:
                connection.close()

    def _turn(self, connection: BlockingClient, name: bytes, numbers: dict[int, bytes]) -> bool:
        """Send some requests, and take their replies; say if the connection is still of use."""
        requests: list[bytes] = []
        sent = range(self._count + 1, self._count + 1 + PIPELINE)
        for number in sent:
            numbers[number] = b"?"
            words = b"%d" % number
            for request in ((b"RPUSH", name, words), (b"SET", name + b":s", words), (b"GET", name + b":s")):
                requests.append(encode_command(request))
        self._count = sent[-1]
        if self._random.random() < 0.5:
            connection.send_raw(b"".join(requests))
        else:
            # In several turns of the reactor.
            for request in requests:
                connection.send_raw(request)
        useful = True
        for number in sent:
            pushed, written, found = (_output(connection.read_reply()) for _ in range(3))
            for reply in (pushed, written, found):
                if isinstance(reply, Failed):
                    assert reply.code in UNKNOWN | NOTHING_DONE, reply
                    useful = False
            numbers[number] = _mark(pushed)
            self.pushed += numbers[number] == b"+"
            seen = 0 if found is None or isinstance(found, Failed) else int(found)
            if not isinstance(found, Failed) and (seen > number or (_mark(written) == b"+" and seen != number)):
                self._problem = f"{name!r}: GET behind SET {number}, answered {written!r}, gave {found!r}"
        return useful

    def check(self, connection: BlockingClient) -> None:
        """
        Compare the lists with what was told.

        @raise AssertionError: They differ.
        """
        assert self._problem is None, self._problem
        for name, numbers in self._lists.items():
            found = [int(word) for word in connection.call("LRANGE", name, 0, -1)]
            assert found == sorted(set(found)), f"{name!r} is not in order: {found}"
            wrong = [number for number, mark in numbers.items() if mark != b"?" and (mark == b"+") != (number in found)]
            assert not wrong, f"{name!r}: {[(number, numbers[number]) for number in wrong]}"
            assert numbers.keys() >= set(found), f"{name!r} has what nobody pushed"


def _mark(reply: Any) -> bytes:
    if not isinstance(reply, Failed):
        return b"+"
    return b"-" if reply.code in NOTHING_DONE else b"?"


def _writes(request: Any) -> bool:
    return isinstance(request, tuple) and request[0] in WRITES


def _send(connection: BlockingClient, request: Any) -> Any:
    """Send a request of the model's, and give its reply as the model understands it."""
    if isinstance(request, Watch):
        return _output(connection.attempt("WATCH", *request.keys))
    if isinstance(request, Exec):
        return _output(connection.pipeline([[b"MULTI"], *request.commands, [b"EXEC"]])[-1])
    return _output(connection.attempt(*request))


def _output(reply: Any) -> Any:
    if isinstance(reply, ReplyError):
        return Failed(reply.wire.split(b" ", 1)[0])
    return tuple(map(_output, reply)) if isinstance(reply, list) else reply


class Chaos:
    """
    Does to the stores what can happen to them.

    @ivar figures: What was done, how often.
    @ivar events: The same with the time, for whoever has to find out.
    """

    def __init__(self, stores: Stores, random: Random) -> None:
        self.figures: Figures = {}
        self.events: list[tuple[float, str]] = []
        self._stores = stores
        self._random = random
        #: What is the matter now: until when, and how it ends.
        self._faults: list[tuple[float, ExitStack]] = []
        self._sick: set[int] = set()

    def go_on(self, until: float) -> None:
        """Do something every now and then, until it's time to stop."""
        following = time.monotonic() + FAULT_SECONDS
        try:
            while time.monotonic() < until:
                time.sleep(0.05)
                self._mend(time.monotonic())
                if time.monotonic() >= following:
                    following += FAULT_SECONDS
                    self._hurt()
        finally:
            self._mend(float("inf"))
        for place in range(STORES):
            self._stores.wait_for(place)

    def _mend(self, now: float) -> None:
        for fault in [fault for fault in self._faults if fault[0] <= now]:
            self._faults.remove(fault)
            fault[1].close()

    def _hurt(self) -> None:
        random = self._random
        place = self._stores.leader if random.random() < 0.6 else random.randrange(STORES)
        well = [place for place in range(STORES) if place not in self._sick]
        if place not in well:
            if not well:
                return
            place = random.choice(well)
        kinds: list[tuple[str, float, Callable[[int], AbstractContextManager[None]]]] = [
            ("kill -9", random.choice((0.0, 0.5, 1.5)), self._killed),
            ("kill -9", random.choice((0.0, 0.5, 1.5)), self._killed),
            ("SIGSTOP", 3.0, self._stopped),
        ]
        network = self._stores.network
        if isinstance(network, Namespaces):
            other = random.choice([other for other in range(STORES) if other != place])
            kinds += [
                ("two stores parted", random.choice((1.0, 3.0)), lambda place: network.parted([place, other])),
                ("all stores parted", random.choice((1.0, 3.0)), lambda place: network.parted(range(STORES))),
                ("a store unheard", random.choice((1.0, 3.0)), network.unheard),
                ("a store unplugged", random.choice((1.0, 3.0)), network.unplugged),
                ("a slow line", 2.5, network.slow),
            ]
        name, lasts, begin = random.choice(kinds)
        self.figures[name] = self.figures.get(name, 0) + 1
        self.events.append((time.monotonic(), f"{name} {place} for {lasts} s, leader {self._stores.leader}"))
        stack = ExitStack()
        stack.enter_context(self._marked(place))
        stack.enter_context(begin(place))
        self._faults.append((time.monotonic() + lasts, stack))

    @contextmanager
    def _marked(self, place: int) -> Iterator[None]:
        self._sick.add(place)
        yield
        self._sick.discard(place)
        self.events.append((time.monotonic(), f"{place} is well"))

    @contextmanager
    def _killed(self, place: int) -> Iterator[None]:
        self._stores.kill(place)
        yield
        self._stores.start(place)

    @contextmanager
    def _stopped(self, place: int) -> Iterator[None]:
        self._stores.signal(place, signal.SIGSTOP)
        yield
        self._stores.signal(place, signal.SIGCONT)


class Unit:
    """
    One run: a load with faults, a load with kills of the leader alone, and what came of it.
    """

    def __init__(self, folder: Path, seed: int, *, load_seconds: float = LOAD_SECONDS, kills: int = KILLS) -> None:
        self.folder = folder
        self.book = Book()
        self.chaos: Chaos | None = None
        self._random = Random(seed)
        self._pipeliners: list[Pipeliner] = []
        self._load_seconds = load_seconds
        self._kills = kills

    def run(self) -> Figures:
        """
        Do it.

        @raise AssertionError: A promise was broken; what there is to be looked at is in the folder.
        """
        network = Namespaces(STORES) if namespaces_work() else Loopback(STORES)
        try:
            with Stores(self.folder, network) as stores:
                self.chaos = chaos = Chaos(stores, Random(self._random.getrandbits(32)))
                gaps = self._load(stores, chaos)
                auditor = Client(self.book.newcomer(), lambda: stores.connect(0, PATIENCE), self.book, self._random)
                auditor.read_all()
                auditor.leave()
                connection = stores.connect(0, PATIENCE)
                for pipeliner in self._pipeliners:
                    pipeliner.check(connection)
                connection.close()
                ended = stores.ended()
        finally:
            network.close()
        assert not ended, ended
        book = self.book
        self._keep()
        began = time.monotonic()
        problems, steps = judge(
            book.history.operations, RedisModel(slack_us=SLACK_US, spurious_aborts=True), steps_max=STEPS_MAX
        )
        assert not problems, "\n".join(problems)
        return {
            "requests": len(book.history),
            "acknowledged": book.replies,
            "acknowledged writes of one key": len(book.written),
            "refused with nothing done": book.nothing_done,
            "acknowledged numbers of the lists": sum(pipeliner.pushed for pipeliner in self._pipeliners),
            "of unknown outcome": book.unknown,
            **{f"fault: {name}": count for name, count in chaos.figures.items()},
            "kills of the leader alone": len(gaps),
            "of these, a write within 1 s": sum(gap < 1 for gap in gaps),
            "of these, a write within 2 s": sum(gap < 2 for gap in gaps),
            "of these, a write within 3 s": sum(gap < 3 for gap in gaps),
            "ms without a write after them, in all": int(sum(gaps) * 1000),
            "steps of the search for an order": steps,
            "s of the search": int(time.monotonic() - began),
        }

    def _load(self, stores: Stores, chaos: Chaos) -> list[float]:
        """Let clients ask while things happen; give how long there was no write after each kill of a leader."""
        end = Event()
        clients = [
            Client(number, self._door(stores), self.book, Random(self._random.getrandbits(32)))
            for number in range(CLIENTS)
        ]
        self._pipeliners = [
            Pipeliner(number, self._door(stores), Random(self._random.getrandbits(32))) for number in range(PIPELINERS)
        ]
        threads = [Thread(target=client.work, args=(end,)) for client in (*clients, *self._pipeliners)]
        for thread in threads:
            thread.start()
        try:
            chaos.go_on(time.monotonic() + self._load_seconds)
            killed: list[float] = []
            for _ in range(self._kills):
                time.sleep(KILL_SECONDS / 2)
                place = stores.leader
                killed.append(time.monotonic())
                chaos.events.append((killed[-1], f"leader {place} killed alone"))
                stores.kill(place)
                time.sleep(KILL_SECONDS / 2)
                stores.start(place)
                stores.wait_for(place)
        finally:
            end.set()
            for thread in threads:
                thread.join()
        written = self.book.written
        gaps = [min(returned for called, returned in written if called > at) - at for at in killed]
        print("without a write after kills: " + ", ".join(f"{gap:.2f} s" for gap in gaps), file=sys.stderr)
        return gaps

    def _door(self, stores: Stores) -> Callable[[], BlockingClient]:
        """Give a client what connects it, each time to a store by chance."""
        random = Random(self._random.getrandbits(32))
        return lambda: stores.connect(random.randrange(STORES), PATIENCE)

    def _keep(self) -> None:
        """Keep the history, so that it can be looked at if it can't be explained."""
        with (self.folder / "history.pickle").open("wb") as file:
            pickle.dump(self.book.history.operations, file)
        if self.chaos is not None:
            (self.folder / "events.json").write_text(json.dumps(self.chaos.events, indent=0))


def main(arguments: list[str]) -> None:
    """Run the long form."""
    units, seconds = options(arguments, units=UNITS, seconds=SECONDS)
    proof = Run("chaos", units=units, seconds=seconds)

    def unit(number: int) -> Figures:
        with folder_of("chaos") as folder:
            return Unit(folder, number).run()

    complete = proof.work(unit)
    print(f"figures are in {proof.write('Chaos', prose(__doc__))}")
    sys.exit(0 if complete else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
