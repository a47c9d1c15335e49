"""
Clients of a cluster that want some keys much more often than others, as Zipf's law has it.

Each knows where slots are led and asks there, a few keys at a time; the next are asked for when these are answered.
Which store is asked next is drawn by how much is wanted of what it leads, so all keys together are wanted as the law
says, wherever they are.
"""

from __future__ import annotations

import select
import socket
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import accumulate
from random import Random
from threading import Event, Thread

import hiredis

from tests.proofs.behind import PATIENCE, Missed
from tests.redis_server import BlockingClient, encode_command
from tinykv.keys import slot_of

CLIENTS = 32
#: Keys that a client asks for at once, and how many of 100 requests read.
AT_ONCE = 8
READS_PERCENT = 90
VALUE_BYTES = 100
#: How often is looked where slots are led, in seconds.
MAP_SECONDS = 0.5
_RECEIVE = 1 << 16


def keys_within(slots: Sequence[tuple[int, int]], count: int) -> list[bytes]:
    """Give some keys that lie in ranges of slots, first and last."""
    found: list[bytes] = []
    number = 0
    while len(found) < count:
        key = b"zipf:%d" % number
        number += 1
        if any(first <= slot_of(key) <= last for first, last in slots):
            found.append(key)
    return found


class _Store:
    """What is wanted of a store: its keys' places, and how much of all they are, added up."""

    def __init__(self, places: list[int], weights: Sequence[float]) -> None:
        self.places = places
        self.cumulated = list(accumulate(weights[place] for place in places))
        self.weight = self.cumulated[-1] if places else 0.0


class Zipf:
    """
    The load, from a thread of its own; a context manager that ends it.

    @ivar answered: Requests that each store has answered so far, by its place among the ports.
    @ivar refused: Replies by which nothing was done, such as that the slot is led elsewhere, by their code.
    """

    def __init__(
        self,
        ports: Sequence[int],
        keys: Sequence[bytes],
        *,
        exponent: float = 1.0,
        clients: int = CLIENTS,
        pause: float = 0.0,
        seed: int = 1,
    ) -> None:
        """
        @param ports: Of the stores, where clients of clusters connect.
        @param keys: The most wanted first.
        @param pause: How long nothing is asked each time after something was answered, in seconds.
        """
        self.answered = Counter[int]()
        self.refused = Counter[str]()
        self._ports = ports
        self._keys = keys
        self._weights = [1 / rank**exponent for rank in range(1, len(keys) + 1)]
        self._slots = [slot_of(key) for key in keys]
        self._reads = [encode_command([b"GET", key]) for key in keys]
        self._writes = [encode_command([b"SET", key, b"x" * VALUE_BYTES]) for key in keys]
        self._clients = clients
        self._pause = pause
        self._random = Random(seed)
        self._end = Event()
        self._problem: BaseException | None = None
        self._thread = Thread(target=self._work, name="zipf")

    def __enter__(self) -> Zipf:
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._end.set()
        self._thread.join()

    def during(self, seconds: float) -> Mapping[int, float]:
        """
        Let it go on for a time; give the requests a second that each store has answered.

        @raise Missed: It ended, or a client was told what it shouldn't be.
        """
        before, begin = self.answered.copy(), time.monotonic()
        self._end.wait(seconds)
        if self._problem is not None:
            raise Missed(f"the load has failed: {self._problem!r}") from self._problem
        took = time.monotonic() - begin
        after = self.answered.copy()
        return {place: (after[place] - before[place]) / took for place in range(len(self._ports))}

    def _work(self) -> None:
        try:
            self._run()
        except BaseException as problem:  # noqa: BLE001  # whatever it is, whoever looks raises it
            self._problem = problem
            self._end.set()

    def _run(self) -> None:
        connections = [
            [socket.create_connection(("127.0.0.1", port), PATIENCE) for port in self._ports]
            for _ in range(self._clients)
        ]
        try:
            _Loop(self, connections).run()
        finally:
            for client in connections:
                for connection in client:
                    connection.close()

    # For the loop

    @property
    def over(self) -> bool:
        """Whether it's to end."""
        return self._end.is_set()

    def rest(self) -> None:
        """Ask for nothing for a while."""
        if self._pause:
            self._end.wait(self._pause)

    def stores(self) -> list[_Store]:
        """Ask where slots are led; give what is wanted of each store."""
        with closing(BlockingClient.tcp("127.0.0.1", self._random.choice(self._ports), PATIENCE)) as client:
            told = client.call("CLUSTER", "SLOTS")
        return self.shared_out(sorted((first, last, self._ports.index(leader[1])) for first, last, leader, *_ in told))

    def shared_out(self, firsts: Sequence[tuple[int, int, int]]) -> list[_Store]:
        """Give what is wanted of each store, by the first and last of some slots and the store that leads them."""
        starts = [first for first, _, _ in firsts]
        places: list[list[int]] = [[] for _ in self._ports]
        for place, slot in enumerate(self._slots):
            at = bisect_right(starts, slot) - 1
            if at >= 0 and slot <= firsts[at][1]:
                places[firsts[at][2]].append(place)
        return [_Store(each, self._weights) for each in places]

    def batch(self, store: _Store) -> bytes:
        """Give some requests for what a store leads."""
        random = self._random
        drawn = random.choices(store.places, cum_weights=store.cumulated, k=AT_ONCE)
        return b"".join(
            [(self._reads if random.random() * 100 < READS_PERCENT else self._writes)[place] for place in drawn]
        )

    def choose(self, stores: Sequence[_Store]) -> int:
        """Draw which store is asked next."""
        return self._random.choices(range(len(stores)), weights=[store.weight for store in stores])[0]


class _Loop:
    """Clients that ask and wait, all in one thread."""

    def __init__(self, load: Zipf, connections: list[list[socket.socket]]) -> None:
        self._load = load
        self._connections = connections
        self._who = {
            connection.fileno(): (client, place)
            for client, each in enumerate(connections)
            for place, connection in enumerate(each)
        }
        self._readers = {descriptor: hiredis.Reader(encoding=None) for descriptor in self._who}
        self._poll = select.epoll()
        for descriptor in self._who:
            self._poll.register(descriptor, select.EPOLLIN)
        #: How many replies each client waits for.
        self._open = [0] * len(connections)
        self._stores: list[_Store] = []
        self._looked = 0.0

    def run(self) -> None:
        """Ask until it's over."""
        with closing(self._poll):
            self._look()
            for client in range(len(self._connections)):
                self._ask(client)
            while not self._load.over:
                if time.monotonic() - self._looked > MAP_SECONDS:
                    self._look()
                for descriptor, _ in self._poll.poll(0.1):
                    self._hear(descriptor)
                self._load.rest()

    def _look(self) -> None:
        stores = self._load.stores()
        if any(store.weight for store in stores):
            self._stores = stores
        self._looked = time.monotonic()

    def _ask(self, client: int) -> None:
        place = self._load.choose(self._stores)
        self._open[client] = AT_ONCE
        self._connections[client][place].sendall(self._load.batch(self._stores[place]))

    def _hear(self, descriptor: int) -> None:
        client, place = self._who[descriptor]
        data = self._connections[client][place].recv(_RECEIVE)
        if not data:
            raise Missed(f"store {place + 1} has closed a connection")
        reader = self._readers[descriptor]
        reader.feed(data)
        answered = 0
        while (reply := reader.gets()) is not False:
            self._open[client] -= 1
            if isinstance(reply, hiredis.ReplyError):
                self._refused(str(reply))
            else:
                answered += 1
        self._load.answered[place] += answered
        if not self._open[client]:
            self._ask(client)

    def _refused(self, text: str) -> None:
        """Learn that nothing was done, since a slot is led elsewhere; that's looked up soon."""
        code = text.partition(" ")[0]
        if code not in ("MOVED", "TRYAGAIN", "CLUSTERDOWN"):
            raise Missed(f"a request was answered {text!r}")
        self._load.refused[code] += 1
        self._looked = min(self._looked, time.monotonic() - MAP_SECONDS * 0.8)
