"""
A scripted session over every type, once for each client library: what a program does that has never heard of TinyKV.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
import txredisapi

NODE = shutil.which("node")
#: Where C{make node} puts the client of Node: beside those of Python.
NODE_MODULES = Path(sys.prefix) / "node" / "node_modules"
_NODE_SESSION = Path(__file__).with_name("session.js")


class Wrong(AssertionError):
    """A client got something else than it should have."""


def expect(got: Any, wanted: Any) -> None:
    """Compare an answer."""
    if got != wanted:
        raise Wrong(f"{got!r} instead of {wanted!r}")


def redis_py_session(port: int, protocol: int) -> None:
    """Use redis-py, in RESP2 or RESP3."""
    with redis.Redis(port=port, protocol=protocol, decode_responses=True, socket_timeout=60) as client:
        client.flushall()
        _strings(client)
        _hashes_and_lists(client)
        _sets_and_sorted_sets(client)
        _keys(client)
        _transactions(client)
        _waiting(client)
        info: Any = client.info()
        expect("redis_version" in info, True)


def _strings(client: Any) -> None:
    expect(client.set("string", "value", ex=1000), True)
    expect(client.get("string"), "value")
    expect(client.set("string", "other", nx=True), None)
    expect(client.set("string", "other", get=True, keepttl=True), "value")
    expect(990 < client.ttl("string") <= 1000, True)
    expect(client.mset({"a": "1", "b": "2"}), True)
    expect(client.mget(["a", "b", "c"]), ["1", "2", None])
    expect(client.incrbyfloat("a", 0.5), 1.5)
    expect(client.incrby("b", 40), 42)
    expect(client.append("string", "!"), 6)
    expect(client.getrange("string", 1, 3), "the")
    expect(client.getex("string", persist=True), "other!")
    expect(client.ttl("string"), -1)
    expect(client.lcs("string", "string", len=True), 6)


def _hashes_and_lists(client: Any) -> None:
    expect(client.hset("hash", mapping={"a": "1", "b": "2"}), 2)
    expect(client.hgetall("hash"), {"a": "1", "b": "2"})
    expect(client.hincrbyfloat("hash", "a", 0.25), 1.25)
    expect(sorted(client.hkeys("hash")), ["a", "b"])
    expect(dict(client.hscan_iter("hash")), {"a": "1.25", "b": "2"})
    expect(client.rpush("list", *range(1000)), 1000)
    expect(client.lrange("list", 500, 502), ["500", "501", "502"])
    expect(client.lpos("list", "777"), 777)
    expect(client.lmove("list", "other list", "RIGHT", "LEFT"), "999")
    expect(client.lmpop(1, "list", direction="LEFT", count=2), ["list", ["0", "1"]])
    expect(client.linsert("list", "before", "500", "x"), 998)
    expect(client.lrem("list", 0, "x"), 1)


def _sets_and_sorted_sets(client: Any) -> None:
    expect(client.sadd("set", "a", "b", "c"), 3)
    expect(client.sadd("other set", "b", "c", "d"), 3)
    expect(set(client.sinter("set", "other set")), {"b", "c"})
    expect(client.sintercard(2, ["set", "other set"], limit=1), 1)
    expect(client.smismember("set", ["a", "z"]), [1, 0])
    expect(client.spop("set") in ("a", "b", "c"), True)
    expect(client.zadd("zset", {"one": 1, "two": 2, "more": 2.5}), 3)
    expect([tuple(pair) for pair in client.zrange("zset", 0, -1, withscores=True)],
           [("one", 1.0), ("two", 2.0), ("more", 2.5)])  # fmt: skip
    expect(client.zrange("zset", "(1", "+inf", byscore=True, offset=0, num=1), ["two"])
    expect(client.zadd("zset", {"one": 5}, gt=True, ch=True), 1)
    expect(client.zincrby("zset", 0.5, "one"), 5.5)
    expect(client.zrank("zset", "one"), 2)
    expect(client.zscore("zset", "nobody"), None)
    expect(sorted(client.zunion({"zset": 2, "other set": 1})), ["b", "c", "d", "more", "one", "two"])
    expect(dict(client.zscan_iter("zset")), {"one": 5.5, "two": 2.0, "more": 2.5})
    client.zpopmin("zset")
    expect(client.zcard("zset"), 2)


def _keys(client: Any) -> None:
    expect(client.type("zset"), "zset")
    expect(client.object("encoding", "hash"), "listpack")
    expect(client.copy("hash", "hash copy"), True)
    expect(client.rename("hash copy", "hash again"), True)
    expect(client.expire("hash again", 100, gt=True), False)
    expect(client.expireat("hash again", 4_000_000_000), True)
    expect(client.expiretime("hash again"), 4_000_000_000)
    expect(set(client.scan_iter(match="hash*")), {"hash", "hash again"})
    expect(client.sort("other set", alpha=True, desc=True), ["d", "c", "b"])
    expect(client.move("hash again", 5), True)
    expect(client.unlink("a", "b", "nothing"), 2)
    options = {**client.get_connection_kwargs(), "decode_responses": False}
    with redis.Redis(connection_pool=redis.ConnectionPool(**options)) as raw:
        dumped: Any = raw.dump("list")
        raw.restore("restored", 0, dumped)
        raw.set(b"\x00\xff\r\n", bytes(range(256)))
        expect(raw.get(b"\x00\xff\r\n"), bytes(range(256)))
        raw.delete(b"\x00\xff\r\n")
    expect(client.lrange("restored", 0, -1), client.lrange("list", 0, -1))


def _transactions(client: Any) -> None:
    with client.pipeline() as pipe:
        pipe.set("count", 1).incr("count").hgetall("hash")
        expect(pipe.execute(), [True, 2, {"a": "1.25", "b": "2"}])
    with client.pipeline() as pipe:
        pipe.watch("count")
        client.incr("count")
        pipe.multi()
        pipe.set("count", 100)
        try:
            pipe.execute()
        except redis.WatchError:
            expect(client.get("count"), "3")
        else:
            raise Wrong("a watched key had changed")
    with client.pipeline(transaction=False) as pipe:
        for number in range(2000):
            pipe.set(f"key:{number}", number)
        expect(pipe.execute(), [True] * 2000)
    try:
        client.incr("hash")
    except redis.ResponseError as error:
        expect(str(error).startswith("WRONGTYPE"), True)
    else:
        raise Wrong("a hash was counted up")


def _waiting(client: Any) -> None:
    got: list[Any] = []
    waiter = threading.Thread(target=lambda: got.append(client.blpop(["queue"], timeout=30)))
    waiter.start()
    client.rpush("queue", "element")
    waiter.join()
    expect([list(pair) for pair in got], [["queue", "element"]])
    expect(client.bzpopmin(["nothing"], timeout=0.01), None)


async def txredisapi_session(port: int) -> None:
    """Use txredisapi, the client of Twisted."""
    client = await txredisapi.Connection("127.0.0.1", port, charset="utf-8", reconnect=False)
    try:
        await client.flushall()
        expect(await client.set("string", "value", expire=1000), "OK")
        expect(await client.get("string"), "value")
        expect(990 < await client.ttl("string") <= 1000, True)
        expect(await client.incrby("count", 5), 5)
        expect(await client.mget(["count", "nothing"]), [5, None])
        await client.hmset("hash", {"a": "1", "b": "x"})
        expect(await client.hgetall("hash"), {"a": 1, "b": "x"})
        expect(await client.rpush("list", ["a", "b", "c"]), 3)
        expect(await client.lrange("list", 0, -1), ["a", "b", "c"])
        expect(await client.lpop("list"), "a")
        expect(await client.sadd("set", ["a", "b"]), 2)
        expect(await client.smembers("set"), {"a", "b"})
        expect(await client.zadd("zset", 1, "one"), 1)
        expect(await client.zadd("zset", 2.5, "more"), 1)
        expect(await client.zrange("zset", 0, -1, withscores=True), [("one", 1.0), ("more", 2.5)])
        expect(await client.type("zset"), "zset")
        expect(sorted(await client.keys("*set")), ["set", "zset"])
        transaction = await client.multi()
        await transaction.incr("count")
        await transaction.lpop("list")
        expect(await transaction.commit(), [6, "b"])
        try:
            await client.incr("hash")
        except txredisapi.ResponseError as error:
            expect(str(error).startswith("WRONGTYPE"), True)
        else:
            raise Wrong("a hash was counted up")
        await client.select(3)
        expect(await client.dbsize(), 0)
    finally:
        await client.disconnect()


def node_client_found() -> bool:
    """Say if Node finds its client, where C{make node} puts it or where Node looks by itself."""
    return NODE is not None and _node("-e", "require('ioredis')").returncode == 0


def node_session(port: int) -> None:
    """Use ioredis, the client of Node."""
    done = _node(str(_NODE_SESSION), str(port))
    if done.returncode:
        raise Wrong(done.stderr)


def _node(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Node until it ends."""
    assert NODE is not None, "node isn't installed"
    places = [str(NODE_MODULES), *filter(None, [os.environ.get("NODE_PATH")])]
    environment = {**os.environ, "NODE_PATH": os.pathsep.join(places)}
    command = [NODE, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


#: Sessions that need nothing but the port, by the name of the client.
SYNCHRONOUS: dict[str, Callable[[int], None]] = {
    "redis-py, RESP2": lambda port: redis_py_session(port, 2),
    "redis-py, RESP3": lambda port: redis_py_session(port, 3),
}
