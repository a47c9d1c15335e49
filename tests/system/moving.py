"""
Scripted sessions of Python's client libraries that go on while regions are split and led elsewhere: what they're told
is compared with what they know, and any error that reaches them is too much.

Each runs in a process of its own: C{python -m tests.system.moving KIND PORT NUMBER SECONDS MANY}. It goes through its
script again and again until the seconds are over, once at least, and prints its figures as JSON. MANY says how many
keys commands on many have, and a tenth of it how often most is done. C{moving.js} is the like for the client of Node.

The clients are as a program gets them that doesn't ask for anything, except that redis-py gives up no request after 5 s
to send it once more, whatever it did: who waits for a reply in vain waits for ever, and is found to do so.

Where a port takes any key a session has a database for itself, so that it knows what DBSIZE, KEYS and SCAN have to
say. On the cluster's port others write to the only one, and a client of a cluster asks each node for itself what it
has, at its own moment.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import redis
import txredisapi
from redis.cluster import ClusterNode, RedisCluster
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater, react

#: For how long it's waited in blocking commands, in seconds.
PATIENCE = 30.0
#: How long keys live that are to expire, in ms, and what is waited until they have, in seconds.
LIFE_MS = 60
EXPIRED_SECONDS = 0.1
#: How long what is popped is on its way, in seconds.
PUSH_SECONDS = 0.03
#: Options of redis-py: it gives no request up.
_PATIENT: dict[str, Any] = {"decode_responses": True, "socket_timeout": None, "socket_connect_timeout": None}
#: How often it's tried to change a watched key before somebody else does.
ATTEMPTS = 20


class Wrong(AssertionError):
    """A client got something else than it should have."""


class Session:
    """
    What sessions have in common.

    @ivar figures: What it has done.
    """

    def __init__(self, name: str, client: Any, other: Any, many: int) -> None:
        """
        @param name: Begins the names of its keys.
        @param other: Somebody else, who pushes what is waited for and changes what is watched.
        @param many: How many keys a command on many has.
        """
        self.figures = {"rounds": 0, "answers compared": 0, "transactions begun again": 0}
        self._name = name
        self._client = client
        self._other = other
        self._many = many
        self._times = many // 10
        self._prefix = ""

    def _begin_round(self) -> None:
        self._prefix = f"{self._name}:{self.figures['rounds']}"

    def _expect(self, got: Any, wanted: Any) -> None:
        self.figures["answers compared"] += 1
        if got != wanted:
            raise Wrong(f"{self._prefix}: {got!r} instead of {wanted!r}")

    def _key(self, name: str, number: int = 0) -> str:
        """Name a key; those with the same number lie in the same slot."""
        return f"{{{self._prefix}:{number}}}:{name}"


class Script(Session):
    """What a session of redis-py does."""

    def __init__(self, name: str, client: Any, other: Any, many: int, *, clustered: bool) -> None:
        """
        @param clustered: Whether it's on the cluster's port.
        """
        super().__init__(name, client, other, many)
        self._clustered = clustered

    def run(self, seconds: float) -> None:
        """Go through the script until the seconds are over, once at least."""
        end = time.monotonic() + seconds
        parts = (
            self._strings,
            self._hashes_and_lists,
            self._sets_and_sorted_sets,
            self._expiry,
            self._transactions,
            self._watch,
            self._pipelines,
            self._waiting,
            self._many_keys,
            self._all_keys,
        )
        while True:
            self._begin_round()
            for part in parts:
                part()
            self.figures["rounds"] += 1
            if time.monotonic() > end:
                return

    def _strings(self) -> None:
        client, expect = self._client, self._expect
        for number in range(self._times):
            key, count = self._key("string", number), self._key("count", number)
            expect(client.set(key, "value", ex=1000), True)
            expect(client.set(key, "other", nx=True), None)
            expect(client.set(key, "other", get=True, keepttl=True), "value")
            expect(990 < client.ttl(key) <= 1000, True)
            expect(client.append(key, "!"), 6)
            expect(client.getrange(key, 1, 3), "the")
            for amount in range(1, 6):
                expect(client.incr(count), amount)
            expect(client.incrby(count, 37), 42)
            expect(client.decr(count), 41)
            expect(client.mget([key, count, self._key("nothing", number)]), ["other!", "41", None])

    def _hashes_and_lists(self) -> None:
        client, expect = self._client, self._expect
        for number in range(self._times):
            key, numbers, other = (self._key(name, number) for name in ("hash", "list", "other list"))
            expect(client.hset(key, mapping={"a": "1", "b": "2"}), 2)
            expect(client.hincrby(key, "a", 4), 5)
            expect(client.hgetall(key), {"a": "5", "b": "2"})
            expect(client.hdel(key, "b", "c"), 1)
            expect(client.rpush(numbers, *range(100)), 100)
            expect(client.lrange(numbers, 50, 52), ["50", "51", "52"])
            expect(client.lmove(numbers, other, "RIGHT", "LEFT"), "99")
            expect(client.lpop(numbers, 2), ["0", "1"])
            expect(client.llen(numbers), 97)
            expect(client.lindex(other, 0), "99")

    def _sets_and_sorted_sets(self) -> None:
        client, expect = self._client, self._expect
        for number in range(self._times):
            key, other, scores = (self._key(name, number) for name in ("set", "other set", "zset"))
            expect(client.sadd(key, "a", "b", "c"), 3)
            expect(client.sadd(other, "b", "c", "d"), 3)
            expect(set(client.sinter(key, other)), {"b", "c"})
            popped = client.spop(key)
            expect(client.sismember(key, popped), 0)
            expect(client.scard(key), 2)
            expect(client.zadd(scores, {"one": 1, "two": 2, "more": 2.5}), 3)
            expect(client.zincrby(scores, 2, "one"), 3.0)
            expect(client.zrange(scores, 0, -1), ["two", "more", "one"])
            expect(client.zrank(scores, "one"), 2)
            expect(client.zrem(scores, "more"), 1)

    def _expiry(self) -> None:
        client, expect = self._client, self._expect
        for number in range(self._times):
            expect(client.set(self._key("short", number), "x", px=LIFE_MS), True)
            expect(client.set(self._key("kept", number), "x", px=LIFE_MS * 1000), True)
            expect(client.persist(self._key("kept", number)), True)
        time.sleep(EXPIRED_SECONDS)
        for number in range(self._times):
            expect(client.get(self._key("short", number)), None)
            expect(client.ttl(self._key("short", number)), -2)
            expect(client.ttl(self._key("kept", number)), -1)

    def _transactions(self) -> None:
        for number in range(self._times):
            total, log = self._key("total", number), self._key("log", number)
            for turn in range(3):
                with self._client.pipeline(transaction=True) as pipe:
                    pipe.incrby(total, 5)
                    pipe.rpush(log, turn)
                    pipe.lrange(log, 0, -1)
                    self._expect(pipe.execute(), [5 * (turn + 1), turn + 1, [str(one) for one in range(turn + 1)]])

    def _watch(self) -> None:
        for number in range(self._times):
            key, log = self._key("watched", number), self._key("watches", number)
            for turn in range(3):
                self._add(key, log, turn)
            self._expect(self._client.get(key), "3")
            self._expect(self._client.lrange(log, 0, -1), ["0", "1", "2"])
            with self._client.pipeline(transaction=True) as pipe:
                pipe.watch(key)
                self._other.incr(key)
                pipe.multi()
                pipe.set(key, 100)
                try:
                    pipe.execute()
                except redis.WatchError:
                    self._expect(self._client.get(key), "4")
                else:
                    raise Wrong(f"{key}: a watched key had changed")

    def _add(self, key: str, log: str, turn: int) -> None:
        """Count a key up that nobody else may have changed meanwhile."""
        for _ in range(ATTEMPTS):
            with self._client.pipeline(transaction=True) as pipe:
                try:
                    pipe.watch(key)
                    count = int(pipe.get(key) or 0)
                    pipe.multi()
                    pipe.incr(key)
                    pipe.rpush(log, turn)
                    self._expect((count, pipe.execute()), (turn, [turn + 1, turn + 1]))
                    return
                except redis.WatchError:
                    # Who took over what it watched may not tell any more whether it has changed.
                    self.figures["transactions begun again"] += 1
        raise Wrong(f"{key}: a transaction was refused {ATTEMPTS} times")

    def _pipelines(self) -> None:
        for turn in range(1, 4):
            with self._client.pipeline(transaction=False) as pipe:
                for number in range(self._many):
                    pipe.incr(self._key("piped", number))
                    pipe.get(self._key("piped", number))
                self._expect(pipe.execute(), [answer for _ in range(self._many) for answer in (turn, str(turn))])

    def _waiting(self) -> None:
        client, other, expect = self._client, self._other, self._expect
        for number in range(self._times):
            queue, to, scores = (self._key(name, number) for name in ("queue", "to", "waited"))
            expect(self._meanwhile(partial(client.blpop, [queue], PATIENCE), other.rpush, queue, "a"), [queue, "a"])
            expect(self._meanwhile(partial(client.blmove, queue, to, PATIENCE), other.lpush, queue, "b"), ["b"])
            expect(client.lrange(to, 0, -1), ["b"])
            got = self._meanwhile(partial(client.bzpopmin, [scores], PATIENCE), other.zadd, scores, {"one": 1})
            expect(got, [scores, "one", 1.0])
            expect(client.brpop([queue], 0.05), None)

    def _meanwhile(self, wait: Callable[[], Any], push: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Wait for what somebody else pushes a little later."""
        problems: list[BaseException] = []

        def pushes() -> None:
            try:
                push(*arguments)
            except BaseException as problem:  # noqa: BLE001 - whatever it is, it's raised below
                problems.append(problem)

        pusher = threading.Timer(PUSH_SECONDS, pushes)
        pusher.start()
        got = wait()
        pusher.join()
        if problems:
            raise problems[0]
        return list(got) if isinstance(got, (tuple, list)) else [got]

    def _many_keys(self) -> None:
        client, expect = self._client, self._expect
        keys = [self._key("many", number) for number in range(self._many)]
        for place, key in enumerate(keys):
            expect(client.set(key, place), True)
        values = [str(place) for place in range(self._many)]
        mget = client.mget_nonatomic if self._clustered else client.mget
        expect(mget([*keys, self._key("nothing", 1)]), [*values, None])
        expect(client.exists(*keys, self._key("nothing", 2)), self._many)
        expect(client.touch(*keys), self._many)
        expect(client.delete(*keys[: self._many // 2], self._key("nothing", 3)), self._many // 2)
        expect(client.unlink(*keys), self._many - self._many // 2)
        expect(mget(keys), [None] * self._many)

    def _all_keys(self) -> None:
        client, expect = self._client, self._expect
        keys = [self._key("all", number) for number in range(self._many)]
        if self._clustered:
            for key in keys:
                expect(client.set(key, "x"), True)
            expect(set(client.scan_iter(match=f"{{{self._prefix}:*}}:all", count=100)) <= set(keys), True)
            expect(client.dbsize() >= 0, True)
            expect(client.delete(*keys), self._many)
            return
        expect(client.flushdb(), True)
        expect(client.dbsize(), 0)
        expect(client.randomkey(), None)
        for place, key in enumerate(keys):
            expect(client.set(key, "x"), True)
            if place % 10 == 0:
                expect(client.dbsize(), place + 1)
        expect(set(client.scan_iter(count=7)), set(keys))
        expect(set(client.scan_iter(match="*:all", count=100)), set(keys))
        expect(sorted(client.keys("*")), sorted(keys))
        expect(client.randomkey() in keys, True)
        expect(client.flushdb(), True)
        expect(set(client.scan_iter()), set())


class TwistedScript(Session):
    """What the session of txredisapi does."""

    def __init__(self, name: str, client: Any, other: Any, many: int, after: Callable[[float], Any]) -> None:
        """
        @param after: Waits for some seconds.
        """
        super().__init__(name, client, other, many)
        self._after = after

    async def run(self, seconds: float) -> None:
        """Go through the script until the seconds are over, once at least."""
        end = time.monotonic() + seconds
        parts = (
            self._values,
            self._expiry,
            self._transactions,
            self._watch,
            self._pipelines,
            self._waiting,
            self._all_keys,
        )
        while True:
            self._begin_round()
            for part in parts:
                await part()
            self.figures["rounds"] += 1
            if time.monotonic() > end:
                return

    async def _values(self) -> None:
        client, expect = self._client, self._expect
        for number in range(self._times):
            string, count, hashed, numbers, members, scores = (
                self._key(name, number) for name in ("string", "count", "hash", "list", "set", "zset")
            )
            expect(await client.set(string, "value", expire=1000), "OK")
            expect(await client.get(string), "value")
            expect(990 < await client.ttl(string) <= 1000, True)
            for amount in range(1, 6):
                expect(await client.incr(count), amount)
            await client.hmset(hashed, {"a": "1", "b": "x"})
            expect(await client.hgetall(hashed), {"a": 1, "b": "x"})
            expect(await client.rpush(numbers, ["a", "b", "c"]), 3)
            expect(await client.lrange(numbers, 0, -1), ["a", "b", "c"])
            expect(await client.lpop(numbers), "a")
            expect(await client.sadd(members, ["a", "b"]), 2)
            expect(await client.smembers(members), {"a", "b"})
            expect(await client.zadd(scores, 1, "one"), 1)
            expect(await client.zadd(scores, 2.5, "more"), 1)
            expect(await client.zrange(scores, 0, -1, withscores=True), [("one", 1.0), ("more", 2.5)])

    async def _expiry(self) -> None:
        key = self._key("short")
        self._expect(await self._client.set(key, "x", pexpire=LIFE_MS), "OK")
        await self._after(EXPIRED_SECONDS)
        self._expect(await self._client.get(key), None)

    async def _transactions(self) -> None:
        for number in range(self._times):
            total, log = self._key("total", number), self._key("log", number)
            for turn in range(1, 4):
                transaction = await self._client.multi()
                await transaction.incr(total)
                await transaction.rpush(log, turn)
                self._expect(await transaction.commit(), [turn, turn])

    async def _watch(self) -> None:
        for number in range(self._times):
            key = self._key("watched", number)
            for turn in range(3):
                await self._add(key, turn)
            transaction = await self._client.multi(key)
            await self._other.incr(key)
            await transaction.set(key, 100)
            try:
                await transaction.commit()
            except txredisapi.WatchError:
                self._expect(await self._client.get(key), 4)
            else:
                raise Wrong(f"{key}: a watched key had changed")

    async def _add(self, key: str, turn: int) -> None:
        """Count a key up that nobody else may have changed meanwhile."""
        for _ in range(ATTEMPTS):
            watching = await self._client.watch(key)
            count = await watching.get(key) or 0
            self._expect(count, turn)
            transaction = await watching.multi()
            await transaction.set(key, count + 1)
            try:
                self._expect(await transaction.commit(), ["OK"])
                return
            except txredisapi.WatchError:
                self.figures["transactions begun again"] += 1
        raise Wrong(f"{key}: a transaction was refused {ATTEMPTS} times")

    async def _pipelines(self) -> None:
        for turn in range(1, 4):
            pipe = await self._client.pipeline()
            for number in range(self._many):
                pipe.incr(self._key("piped", number))
                pipe.get(self._key("piped", number))
            self._expect(await pipe.execute_pipeline(), [turn for _ in range(self._many) for _ in "ab"])

    async def _waiting(self) -> None:
        for number in range(self._times):
            queue = self._key("queue", number)
            popped = self._client.blpop([queue], int(PATIENCE))
            await self._after(PUSH_SECONDS)
            self._expect(await self._other.rpush(queue, ["a"]), 1)
            self._expect(await popped, [queue, "a"])
        self._expect(await self._client.blpop([self._key("queue")], 1), None)

    async def _all_keys(self) -> None:
        client, expect = self._client, self._expect
        expect(await client.flushdb(), "OK")
        expect(await client.dbsize(), 0)
        keys = [self._key("all", number) for number in range(self._many)]
        for place, key in enumerate(keys):
            expect(await client.set(key, place), "OK")
        expect(await client.dbsize(), self._many)
        expect(await client.mget(keys), list(range(self._many)))
        expect(sorted(await client.keys("*")), sorted(keys))
        found: set[str] = set()
        cursor = 0
        while True:
            cursor, some = await client.scan(cursor, count=7)
            found |= set(some)
            if not cursor:
                break
        expect(found, set(keys))
        expect(await client.delete(keys[: self._many // 2]), self._many // 2)
        expect(await client.dbsize(), self._many - self._many // 2)


def plain_session(port: int, number: int, seconds: float, many: int) -> dict[str, int]:
    """Use redis-py, on a port that takes any key."""
    options: dict[str, Any] = {"port": port, "db": number, **_PATIENT}
    with redis.Redis(**options) as client, redis.Redis(**options) as other:
        script = Script(f"plain{number}", client, other, many, clustered=False)
        script.run(seconds)
    return script.figures


def cluster_session(port: int, number: int, seconds: float, many: int) -> dict[str, int]:
    """Use redis-py's client of a cluster."""

    def connect() -> Any:
        nodes = [ClusterNode("127.0.0.1", port)]
        return RedisCluster(startup_nodes=nodes, **_PATIENT)

    with connect() as client, connect() as other:
        script = Script(f"cluster{number}", client, other, many, clustered=True)
        script.run(seconds)
    return script.figures


def twisted_session(port: int, number: int, seconds: float, many: int) -> dict[str, int]:
    """Use txredisapi, in a reactor of its own."""
    figures: dict[str, int] = {}

    async def main(reactor: Any) -> None:
        client = await txredisapi.Connection("127.0.0.1", port, number, reconnect=False)
        other = await txredisapi.Connection("127.0.0.1", port, number, reconnect=False)
        script = TwistedScript(f"twisted{number}", client, other, many, lambda wanted: deferLater(reactor, wanted))
        try:
            await script.run(seconds)
        finally:
            await client.disconnect()
            await other.disconnect()
        figures.update(script.figures)

    try:
        react(lambda reactor: ensureDeferred(main(reactor)), [])
    except SystemExit as end:
        if end.code:
            raise Wrong("the session of txredisapi failed") from end
    return figures


KINDS: dict[str, Callable[[int, int, float, int], dict[str, int]]] = {
    "plain": plain_session,
    "cluster": cluster_session,
    "twisted": twisted_session,
}


def main(arguments: list[str]) -> None:
    """Run one."""
    kind, port, number, seconds, many = arguments
    # Whoever waits for it in vain has it say where it is.
    faulthandler.enable()
    print(json.dumps(KINDS[kind](int(port), int(number), float(seconds), int(many))))


if __name__ == "__main__":
    main(sys.argv[1:])
