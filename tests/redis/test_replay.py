"""
The log decides: replayed from nothing, by another process, with another hash seed, another memory budget, other moments
of flushing, and with rests wherever work may rest, it gives the rows that the clients' commands made when they were
first applied (R12).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from random import Random

from twisted.internet.task import Clock as Turns
from twisted.trial.unittest import SynchronousTestCase

from tests.instant_store import Engine, InstantClient, InstantStore
from tests.sequences import DISTURB, MAIN, OTHER, WAITER, steps_of_seed
from tests.sources import ROOT
from tinykv.store.pacing import Pacer

#: A time in ms since 1970 from which the load's clock runs.
BEGIN = 1_700_000_000_000
SEQUENCES = 25
LENGTH = 60

#: How the log is replayed: PYTHONHASHSEED, the budget in bytes, after how many entries a memory table is frozen, how
#: many frozen ones are kept before they're flushed, and at which of the rests that work takes at every chance they're
#: flushed meanwhile (0: there are no rests).
WAYS = [
    ("0", 0, 1, 1, 0),
    ("1", 30_000, 7, 3, 0),
    ("2", 1 << 40, 1 << 40, 1, 0),
    ("3", 5_000, 50, 1, 0),
    ("4", 5_000, 3, 8, 50),
    ("5", 1 << 40, 1, 8, 7),
]

SCRIPT = [
    [b"RPUSH", b"list", *[b"%d" % number for number in range(700)]],
    [b"SADD", b"set", *[b"member %d" % number for number in range(600)]],
    [b"SPOP", b"set", b"250"],
    [b"SPOP", b"set"],
    [b"HSET", b"hash", *[b"%d" % number for number in range(1400)]],
    [b"ZADD", b"zset", *[word for number in range(300) for word in (b"%d" % (number % 7), b"%d" % number)]],
    [b"ZUNIONSTORE", b"union", b"2", b"zset", b"set"],
    [b"SDIFFSTORE", b"difference", b"set", b"zset"],
    [b"SINTERSTORE", b"common", b"set", b"difference"],
    [b"SORT", b"list", b"BY", b"nosort", b"STORE", b"sorted"],
    [b"SORT", b"set", b"ALPHA", b"LIMIT", b"10", b"100", b"STORE", b"sorted set"],
    [b"SET", b"soon", b"gone", b"PX", b"1500"],
    [b"PEXPIRE", b"hash", b"2500"],
    [b"COPY", b"zset", b"copy"],
    [b"SWAPDB", b"0", b"1"],
    [b"SWAPDB", b"1", b"2"],
    [b"SWAPDB", b"2", b"0"],
    [b"CONFIG", b"SET", b"hash-max-listpack-entries", b"3"],
    [b"HSET", b"small", b"a", b"1", b"b", b"2", b"c", b"3", b"d", b"4"],
    [b"RAW.PUT", b"lock", b"key", b""],
    [b"RAW.PUT", b"write", b"key", b"value"],
    [b"FLUSHDB"],
    [b"RPUSH", b"list", b"a"],
]


class Clock:
    """A clock that goes on by some ms with every look."""

    def __init__(self) -> None:
        self._now = BEGIN
        self._random = Random(1)

    def __call__(self) -> int:
        self._now += self._random.choice((0, 1, 3, 20))
        return self._now


def digest(engine: Engine) -> str:
    """Sum up all rows, the apply state's among them."""
    seen = sha256()
    for family, rows in engine.image().items():
        seen.update(repr((family, rows)).encode())
    return seen.hexdigest()


def load(store: InstantStore) -> dict[int, str]:
    """
    Let three clients do the scripted and the random load, some of it in pipelines that become one entry.

    @return: The digests of the rows by the number of entries, one for each sequence.
    """
    digests: dict[int, str] = {}
    for number in range(SEQUENCES):
        clients = {who: store.client() for who in (MAIN, OTHER, WAITER)}
        script = iter(SCRIPT) if number % 5 == 0 else iter(())
        for step in steps_of_seed(7_000 + number, BEGIN // 1000, LENGTH):
            scripted = next(script, None)
            if scripted is not None:
                clients[OTHER].raw(*scripted)
            if step.who == DISTURB:
                _disturb(store.engine, step.arguments[0])
            elif not (step.who == WAITER and clients[WAITER].session.waiting is not None):
                _send(clients[step.who], step.arguments)
        for client in clients.values():
            client.session.connectionLost()
        store.settle()
        if number % 3 == 0 or number == SEQUENCES - 1:
            digests[store.engine.index] = digest(store.engine)
    return digests


def _send(client: InstantClient, arguments: tuple[bytes, ...]) -> None:
    if arguments[0].startswith(b"@"):
        return
    if arguments[0].startswith(b"RPUSH"):
        client.raw_pipeline([arguments, (b"LPUSH", b"list", b"x"), (b"SPOP", b"e1"), (b"INCR", b"count")])
    else:
        client.raw(*arguments)


def _disturb(engine: Engine, how: bytes) -> None:
    if how == b"freeze":
        engine.freeze()
    elif how == b"flush":
        engine.freeze()
        engine.flush()
    else:
        engine.keyspace.rotate()


class Resting:
    """
    Applies entries in a stack of its own, which rests at every chance; meanwhile tables are flushed.

    @ivar rests: How often it did.
    """

    def __init__(self, engine: Engine, flush_at: int) -> None:
        self.rests = 0
        self._engine = engine
        self._flush_at = flush_at
        self._turns = Turns()
        # A slice is over as soon as it has begun.
        self._pacer = Pacer(self._turns, lambda: 0.0, self._rested, lambda seconds: None, slice_seconds=0.0)
        engine.rows.pausing = self._pacer.pause
        engine.rows.expected = self._expected

    def apply(self, entry: bytes) -> None:
        """Apply one, to its end."""
        self._pacer.run(lambda: self._engine.apply(entry), lambda: None)
        while self._pacer.running:
            self._turns.advance(0)

    def _rested(self) -> None:
        self.rests += 1
        if self.rests % self._flush_at == 0:
            self._engine.flush()

    def _expected(self, keys: list[bytes]) -> None:
        rows = self._engine.rows

        def answer(wake: Callable[[], None]) -> None:
            rows.ahead.update((key, rows.reader.get("data", key)) for key in keys)
            wake()

        self._pacer.wait(lambda wake: self._turns.callLater(0, answer, wake))


def replay(
    entries: list[bytes], marks: list[int], *, budget: int, freeze: int, frozen: int, flush_at: int
) -> list[str]:
    """Apply entries to nothing; give the digests of the rows after as many entries as the marks say."""
    engine = Engine(budget=budget, start_id=99)
    resting = Resting(engine, flush_at) if flush_at else None
    apply = engine.apply if resting is None else resting.apply
    digests: list[str] = []
    for number, entry in enumerate(entries, 1):
        apply(entry)
        engine.keyspace.turn()
        if number % freeze == 0:
            engine.freeze()
            if len(engine.rows.frozen) >= frozen:
                engine.flush()
        if number in marks:
            digests.append(digest(engine))
    assert not engine.defects, engine.defects
    assert resting is None or resting.rests > 500, resting.rests
    return digests


class Replay(SynchronousTestCase):
    """The log, replayed elsewhere."""

    def test_all_ways_lead_to_the_same_rows(self) -> None:
        engine = Engine(budget=60_000, start_id=7)
        store = InstantStore(engine, now_ms=Clock(), record=True)
        digests = load(store)
        assert store.host.entries is not None
        self.assertEqual(engine.defects, [])
        self.assertGreater(len(store.host.entries), 500)
        self.assertEqual(len(set(digests.values())), len(digests))
        with tempfile.NamedTemporaryFile("w") as file:
            json.dump({"entries": [entry.hex() for entry in store.host.entries], "marks": list(digests)}, file)
            file.flush()
            started = [self._start(file.name, *way) for way in WAYS]
            for way, process in zip(WAYS, started, strict=True):
                told, failed = process.communicate()
                self.assertEqual(process.returncode, 0, failed)
                self.assertEqual(told.split(), list(digests.values()), way)

    def _start(self, path: str, seed: str, *numbers: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.redis.test_replay", path, *map(str, numbers)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


if __name__ == "__main__":
    recorded = json.loads(Path(sys.argv[1]).read_text("ascii"))
    log = [bytes.fromhex(text) for text in recorded["entries"]]
    budget, freeze, frozen, flush_at = map(int, sys.argv[2:])
    print(*replay(log, recorded["marks"], budget=budget, freeze=freeze, frozen=frozen, flush_at=flush_at), sep="\n")
