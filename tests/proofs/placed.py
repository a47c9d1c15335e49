"""
A cluster of stores that schedulers look after, for proofs of what these do: started, filled, asked and looked at, with
clients that write down what they're told.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

from tests.proofs import chaos
from tests.proofs.behind import PATIENCE, Missed, write_all
from tests.proofs.chaos import SLACK_US, STEPS_MAX, Book, Client
from tests.proofs.scale import value_of
from tests.redis_server import BlockingClient, ReplyError
from tests.system.scheduled import ScheduledStore
from tests.system.schedulers import Daemon, Daemons
from tinykv.testing.redis_model import RedisModel
from tinykv.testing.simulation.scenario import judge
from tinykv.testing.simulation.workload import Mix

REPLICAS = 3
VALUE_BYTES = 10_000
#: Connections to each store that fill it, and the bytes that each sends at once, about.
FILLERS = 8
FILL_BYTES = 100_000
#: Keys that are read at once.
READ_KEYS = 50
#: How often is looked, in seconds, and told.
LOOK_SECONDS = 0.2
TELL_SECONDS = 10.0
#: How long the cluster has to begin, and to be heard of by a scheduler, in seconds.
BEGIN_SECONDS = 60.0
CLIENTS = 20
#: What they do, on groups of keys that lie in one region each: a command can't have several. They don't block.
MIX = Mix(
    groups=48,
    tagged=True,
    weights={
        kind: weight
        for kind, weight in {**chaos.MIX.weights, "read": 24, "write": 24, "increment": 14}.items()
        if kind != "block"
    },
)

_ENDED = re.compile(r"^tinyschedule_operators_ended_total\{.*\} ([0-9.e+]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Size:
    """
    How large a cluster is.

    @ivar regions: Into how many the keys are cut at the beginning.
    @ivar max_down: After how many seconds a silent store is taken for lost.
    """

    stores: int = 5
    schedulers: int = 3
    regions: int = 16
    megabytes: int = 200
    max_down: float = 60.0

    @property
    def keys(self) -> int:
        """How many keys there are."""
        return self.megabytes * 1_000_000 // VALUE_BYTES


def key_of(number: int) -> bytes:
    """Name a key."""
    return b"placed:%d" % number


class Placed:
    """
    The schedulers and stores; a context manager that ends them.

    @ivar stores: By number, those that were started and not killed for good.
    """

    def __init__(self, folder: Path, size: Size, tell: Callable[[str], None], **options: str) -> None:
        """
        @param tell: Told how far it is.
        @param options: More of the stores' configuration.
        """
        self.size = size
        self.tell = tell
        self.schedulers = Daemons(
            folder, size.schedulers, bootstrap_stores=str(size.stores), initial_regions=str(size.regions)
        )
        self.stores: dict[int, ScheduledStore] = {}
        self._folder = folder
        # Each has room for all of the data with all replicas, however full the disk of this machine is.
        self._options = {"schedule_heartbeat": "10s", "capacity": f"{8 * size.megabytes + 1024}mb", **options}

    def __enter__(self) -> Placed:
        with ExitStack() as stack:
            stack.push(self._end)
            self.schedulers.__enter__()
            for number in range(1, self.size.stores + 1):
                self.begin(number)
            for store in self.stores.values():
                store.wait_for()
            self.until(lambda: self.is_whole(self.stores), BEGIN_SECONDS, "the schedulers to hear of all regions")
            self.schedulers.ask("PATCH", "/config", {"max_down": self.size.max_down})
            stack.pop_all()
        return self

    def __exit__(self, *problem: object) -> None:
        self._end()

    def _end(self, *problem: object) -> None:
        for store in self.stores.values():
            store.kill()
        self.schedulers.__exit__()

    def begin(self, number: int) -> ScheduledStore:
        """Start one more store, which knows where the schedulers are and nothing else."""
        store = self.stores[number] = ScheduledStore(self._folder, self.schedulers, number, **self._options)
        store.start()
        return store

    # What the schedulers say

    def views(self) -> dict[int, dict[str, Any]]:
        """Give the stores that aren't gone as the schedulers see them, by number."""
        found = self.schedulers.ask("GET", "/stores")["stores"]
        return {view["store"]: view for view in found if view["life"] != "tombstone"}

    def regions(self) -> list[dict[str, Any]]:
        """Give all regions as the schedulers see them."""
        found: list[dict[str, Any]] = self.schedulers.ask("GET", "/regions")["regions"]
        return found

    def is_whole(self, stores: Sequence[int] | dict[int, ScheduledStore]) -> bool:
        """Say whether all regions have a leader and as many voters as they shall, on no other stores than these."""
        regions = self.regions()
        return len(regions) >= self.size.regions and all(
            region["leader"] is not None
            and not region["pending"]
            and len(region["peers"]) == REPLICAS
            and all(peer["role"] == "voter" and peer["store"] in stores for peer in region["peers"])
            for region in regions
        )

    def held(self) -> tuple[dict[int, int], dict[int, int]]:
        """Give how many regions the stores have, and how many they lead."""
        views = self.views()
        return (
            {number: view["regions"] for number, view in views.items()},
            {number: view["leaders"] for number, view in views.items()},
        )

    def operators(self) -> tuple[int, int]:
        """Give how many operators run, and how many have ended in this term of the scheduler that leads."""
        running = self.schedulers.ask("GET", "/operators")["operators"]
        code, page = self.leader().ask("GET", "/metrics")
        if code != 200:
            raise Missed(f"the scheduler's figures were answered {code}")
        return len(running), int(sum(map(float, _ENDED.findall(page))))

    def leader(self) -> Daemon:
        """Give the scheduler that leads."""
        return self.schedulers.leader()

    def until(self, true: Callable[[], bool], seconds: float, what: str) -> float:
        """
        Wait until something is so; give how many seconds that took.

        @raise Missed: It took longer.
        """
        begin = told = time.monotonic()
        while not true():
            now = time.monotonic()
            if now - begin > seconds:
                regions, leaders = self.held()
                raise Missed(f"waited {seconds:.0f} s in vain for {what}; regions {regions}, leaders {leaders}")
            if now - told > TELL_SECONDS:
                told = now
                self.tell(f"{now - begin:.0f} s for {what}: regions and leaders {self.held()}")
            time.sleep(LOOK_SECONDS)
        return time.monotonic() - begin

    # What clients do

    def door(self, seed: int, stores: Sequence[int]) -> Callable[[], BlockingClient]:
        """Give what connects a client, each time to one of these stores by chance."""
        random = Random(seed)
        return lambda: self.stores[random.choice(stores)].connect()

    def fill(self) -> float:
        """Write all keys, through all stores; give how many seconds that took."""
        begin = time.monotonic()
        commands: Iterator[tuple[bytes, ...]] = (
            (b"SET", key_of(number), value_of(number, VALUE_BYTES)) for number in range(self.size.keys)
        )
        clients = [store.connect(PATIENCE) for store in self.stores.values() for _ in range(FILLERS)]
        write_all(clients, commands, self.tell, FILL_BYTES)
        self.tell(f"{self.size.megabytes} MB were written in {time.monotonic() - begin:.0f} s")
        return time.monotonic() - begin

    def check(self, store: int) -> None:
        """
        Read all keys at a store.

        @raise Missed: One isn't as it was written.
        """
        client = self.stores[store].connect(PATIENCE)
        try:
            for start in range(0, self.size.keys, READ_KEYS):
                numbers = range(start, min(start + READ_KEYS, self.size.keys))
                replies = client.pipeline([(b"GET", key_of(number)) for number in numbers])
                for number, reply in zip(numbers, replies, strict=True):
                    if isinstance(reply, ReplyError):
                        raise Missed(f"store {store} answered {reply.wire!r} to a GET")
                    if reply != value_of(number, VALUE_BYTES):
                        raise Missed(f"store {store} has lost {key_of(number)!r}: {reply!r}")
        finally:
            client.close()

    def look(self) -> None:
        """
        See that nothing has ended by itself, or met what it shouldn't have.

        @raise Missed: Something has.
        """
        for name, output in (
            *((f"store {store.number}", store.output) for store in self.stores.values()),
            *((f"scheduler {member.number}", member.output) for member in self.schedulers.members.values()),
        ):
            if "Traceback" in output:
                raise Missed(f"{name} met what it shouldn't have:\n{output[-3000:]}")
        for store in self.stores.values():
            with self._answering(store) as client:
                client.call("PING")

    @contextmanager
    def _answering(self, store: ScheduledStore) -> Iterator[BlockingClient]:
        try:
            client = store.connect()
        except OSError as problem:
            raise Missed(f"store {store.number} doesn't answer: {problem}\n{store.output[-3000:]}") from problem
        try:
            yield client
        finally:
            client.close()


class Crowd:
    """
    Clients at some stores, who write down all they do; a context manager that has them end.

    @ivar book: What they did and were told.
    """

    def __init__(self, placed: Placed, stores: Sequence[int], seed: int = 1) -> None:
        self.book = Book()
        self._random = Random(seed)
        self._placed = placed
        self._stores = stores
        self._end = Event()
        self._threads = [Thread(target=self._client(number).work, args=(self._end,)) for number in range(CLIENTS)]

    def _client(self, name: int) -> Client:
        door = self._placed.door(self._random.getrandbits(32), self._stores)
        return Client(name, door, self.book, Random(self._random.getrandbits(32)), MIX)

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def judge(self) -> tuple[dict[str, int], list[str]]:
        """
        Read every key, and look whether there's an order of all requests that explains all replies.

        @return: (figures, what isn't as it should be).
        """
        book = self.book
        problems = [f"clients met errors: {dict(book.errors)}"] if book.errors else []
        auditor = self._client(book.newcomer())
        auditor.read_all()
        auditor.leave()
        begin = time.monotonic()
        found, steps = judge(
            book.history.operations, RedisModel(slack_us=SLACK_US, spurious_aborts=True), steps_max=STEPS_MAX
        )
        figures = {
            "requests": len(book.history),
            "acknowledged": book.replies,
            "errors": book.errors.total(),
            "steps of the search for an order": steps,
            "s of the search": round(time.monotonic() - begin),
        }
        return figures, [*problems, *found]
