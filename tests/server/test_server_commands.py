"""INFO, TIME, LOLWUT, SHUTDOWN, COMMAND, and the description for /status."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, cast

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.option_examples import ErrorReply, SocketConnection, load_examples
from tests.real_redis import REDIS_SERVER, RealRedis
from tests.server.harness import TABLE, Client, Store
from tinykv.redis.operations import COMMANDS, NOBODY
from tinykv.resp.replies import encode_command
from tinykv.server.commands import CONNECTION_MODULES
from tinykv.server.info import SECTIONS
from tinykv.server.routes import Routes
from tinykv.server.server_commands import picture
from tinykv.server.status import describe


class Folder(NamedTuple):
    """Whose folder it is."""

    store_id: int
    cluster_id: str
    folder_id: str


def info(client: Client, *sections: bytes) -> dict[str, str]:
    """Ask for figures."""
    text = client.call([b"INFO", *sections])
    assert isinstance(text, bytes)
    return dict(line.split(":", 1) for line in text.decode().split("\r\n") if ":" in line)


class InfoTests(SynchronousTestCase):
    """The figures."""

    def setUp(self) -> None:
        self.store = Store()
        self.client = self.store.connect()
        self.other = self.store.connect()

    def titles(self, *sections: bytes) -> list[str]:
        """Name the sections that come."""
        text = self.client.call([b"INFO", *sections])
        assert isinstance(text, bytes)
        return [line[2:].lower() for line in text.decode().split("\r\n") if line.startswith("# ")]

    def test_sections(self) -> None:
        default = [name for name in SECTIONS if name not in ("commandstats", "latencystats")]
        self.assertEqual(self.titles(), default)
        self.assertEqual(self.titles(b"default"), default)
        self.assertEqual(self.titles(b"everything"), list(SECTIONS))
        self.assertEqual(self.titles(b"ALL"), list(SECTIONS))
        self.assertEqual(self.titles(b"stats", b"Server", b"stats", b"nosuch"), ["server", "stats"])
        self.assertEqual(self.client.call([b"INFO", b"nosuch"]), b"")

    def test_form(self) -> None:
        text = self.client.call([b"INFO", b"cluster", b"replication"])
        assert isinstance(text, bytes)
        self.assertTrue(text.startswith(b"# Replication\r\nrole:master\r\n"))
        self.assertTrue(text.endswith(b"\r\n\r\n# Cluster\r\ncluster_enabled:0\r\n"))

    def test_figures_live(self) -> None:
        other = self.store.connect()
        other.says(b"BLPOP l 0")
        self.client.says(b"SET k v PX 100000", b"SET l v", b"SELECT 5", b"SET k v", b"SELECT 0")
        self.store.turn(2.5)
        found = info(self.client, b"everything")
        wanted = {
            "redis_version": "7.2.4",
            "arch_bits": "64",
            "uptime_in_seconds": "2",
            "connected_clients": "3",
            "blocked_clients": "1",
            "loading": "0",
            "aof_enabled": "1",
            "role": "master",
            "cluster_enabled": "0",
            "total_connections_received": "3",
            "total_commands_processed": "7",
            "rdb_changes_since_last_save": "3",
            "db0": "keys=2,expires=1,avg_ttl=0",
            "db5": "keys=1,expires=0,avg_ttl=0",
            "maxclients": "10000",
        }
        self.assertEqual({name: found.get(name) for name in wanted}, wanted)
        self.assertGreater(int(found["used_memory"]), 0)
        self.assertGreater(int(found["used_memory_rss"]), 1 << 20)
        self.assertGreater(int(found["total_net_input_bytes"]), 100)

    def test_expired_keys(self) -> None:
        self.client.says(b"SET k v PX 100")
        self.store.turn(1)
        self.assertEqual(info(self.client)["expired_keys"], "1")

    def test_rates(self) -> None:
        for _ in range(10):
            self.client.says(b"PING")
        self.store.turn(1)
        self.assertEqual(info(self.client)["instantaneous_ops_per_sec"], "10")

    def test_commands_and_errors(self) -> None:
        self.client.says(
            b"SET k v", b"INCR k", b"LPUSH k a", b"GET", b"NOSUCH", b"CONFIG SET nosuch 1", b"CLIENT nosuch"
        )
        self.client.says(b"MULTI", b"INCR k", b"EXEC", b"LLEN k")
        found = info(self.client, b"commandstats", b"errorstats", b"stats")
        self.assertRegex(
            found["cmdstat_set"], r"^calls=1,usec=\d+,usec_per_call=\d+\.\d\d,rejected_calls=0,failed_calls=0$"
        )
        self.assertTrue(found["cmdstat_incr"].endswith("rejected_calls=0,failed_calls=2"))
        self.assertTrue(
            found["cmdstat_get"].endswith("calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0")
        )
        self.assertTrue(found["cmdstat_config|set"].endswith("failed_calls=1"))
        self.assertEqual(found["errorstat_ERR"], "count=6")
        self.assertEqual(found["errorstat_WRONGTYPE"], "count=2")
        self.assertEqual(found["total_error_replies"], "8")
        self.client.says(b"CONFIG RESETSTAT")
        found = info(self.client, b"commandstats", b"errorstats", b"stats")
        self.assertEqual(found["total_error_replies"], "0")
        self.assertNotIn("errorstat_ERR", found)
        self.assertNotIn("cmdstat_set", found)

    def test_errors_of_other_stores_clients(self) -> None:
        """They're counted there, though every store runs the command."""
        self.client.says(b"SET k v")
        words = [b"incr", b"k"]
        operation = (COMMANDS, NOBODY, 0, 0, self.store.execution.table["incr"], words, encode_command(words))
        self.store.host.submit(operation)
        self.store.turn()
        found = info(self.client, b"errorstats", b"commandstats")
        self.assertNotIn("errorstat_ERR", found)
        self.assertNotIn("cmdstat_incr", found)
        self.client.says(b"INCR k")
        self.assertEqual(info(self.client, b"errorstats")["errorstat_ERR"], "count=1")

    def test_times(self) -> None:
        """Of 64 calls the first is timed, however it's run, and stands for the others."""
        seconds = iter(range(1000))
        ticking = Routes(TABLE, CONNECTION_MODULES, lambda: next(seconds) / 1000)
        front = self.store.front
        front.routes = ticking
        front.route_of, front.find_route = ticking.get, ticking.find
        self.client.says(*[b"SET k v"] * 65, b"GET k", b"SET k v", b"MGET k k", b"MULTI", b"DEL k", b"EXEC")
        self.other.says(b"BLPOP l 1")
        self.client.says(b"RPUSH l a")
        found = info(self.client, b"commandstats")
        for name, calls in {"set": 66, "get": 1, "mget": 1, "del": 1, "blpop": 1, "rpush": 1}.items():
            times = f"calls={calls},usec={calls * 1000},usec_per_call=1000.00"
            self.assertTrue(found[f"cmdstat_{name}"].startswith(times), found[f"cmdstat_{name}"])
        self.assertEqual(ticking.by_name["set"].timed_calls, 2)

    def test_memory(self) -> None:
        self.client.call([b"SET", b"k", b"x" * 1_000_000])
        used = int(info(self.client)["used_memory"])
        self.assertEqual(info(self.client)["used_memory_peak"], str(used))
        self.client.call([b"FLUSHALL"])
        found = info(self.client)
        self.assertLess(int(found["used_memory"]), used)
        self.assertEqual(found["used_memory_peak"], str(used))

    def test_status(self) -> None:
        self.client.says(b"SET k v")
        found = describe(self.store.front, Folder(1, "", "f"), None)
        self.assertEqual(json.loads(json.dumps(found)), found)
        self.assertEqual((found["healthy"], found["clients"]), (True, 2))
        self.assertEqual(found["keys"], {"0": {"keys": 1, "expiring": 0}})
        self.assertEqual(describe(self.store.front, Folder(1, "", "f"), "broken")["problem"], "broken")


class HitTests(SynchronousTestCase):
    """Keys that reads found or didn't, counted beside a real server."""

    def counts(self, figures: str) -> tuple[int, int]:
        """Give hits and misses."""
        found = dict(line.split(":", 1) for line in figures.split("\r\n") if ":" in line)
        return int(found["keyspace_hits"]), int(found["keyspace_misses"])

    def test_as_a_real_server(self) -> None:
        if REDIS_SERVER is None:
            raise SkipTest("redis-server isn't installed")
        server = RealRedis()
        self.addCleanup(server.close)
        real = SocketConnection(server.path)
        self.addCleanup(real.close)
        ours = Store().connect()
        for line in ("SET s v", "RPUSH l a b", "SADD e a b", "HSET h f v", "ZADD z 1 a", "SET gone v PX 1"):
            real.call(line.encode().split())
            ours.call(line.encode().split())
        before, after = (0, 0), (0, 0)
        differing: dict[str, object] = {}
        for line in (
            "GET s",
            "GET n",
            "MGET s n l n",
            "EXISTS s n s",
            "STRLEN s",
            "GETRANGE n 0 1",
            "SUBSTR s 0 1",
            "TTL s",
            "PTTL n",
            "EXPIRETIME s",
            "TYPE s",
            "TYPE n",
            "OBJECT ENCODING s",
            "OBJECT ENCODING n",
            "DUMP s",
            "DUMP n",
            "LRANGE l 0 -1",
            "LLEN n",
            "LINDEX l 0",
            "LPOS n a",
            "SMEMBERS e",
            "SISMEMBER n a",
            "SCARD e",
            "SRANDMEMBER e",
            "SRANDMEMBER n 2",
            "SUNION e n",
            "SINTER e e",
            "SDIFF e n",
            "SINTERCARD 2 e n",
            "SMISMEMBER e a b",
            "HGET h f",
            "HGETALL n",
            "HRANDFIELD h",
            "HLEN h",
            "ZRANGE z 0 -1",
            "ZSCORE n a",
            "ZRANK z a",
            "ZUNION 2 z e",
            "ZINTER 2 z n",
            "ZDIFF 2 n z",
            "ZCARD z",
            "LCS s s",
            "SORT_RO l ALPHA",
            "SCAN 0",
            "SSCAN e 0",
            "HSCAN n 0",
            "DBSIZE",
            "RANDOMKEY",
            "KEYS *",
            "SET s w",
            "APPEND n v",
            "DEL n",
            "LPOP l",
            "WATCH s n",
            "UNWATCH",
        ):
            args = line.encode().split()
            real.call(args)
            ours.call(args)
            figures = real.call([b"INFO", b"stats"]), ours.call([b"INFO", b"stats"])
            wanted, found = (self.counts(cast(bytes, text).decode()) for text in figures)
            ours_by = [now - then for now, then in zip(found, after, strict=True)]
            theirs_by = [now - then for now, then in zip(wanted, before, strict=True)]
            if ours_by != theirs_by:
                differing[line] = (ours_by, theirs_by)
            before, after = wanted, found
        self.assertEqual(differing, {})

    def test_within_a_transaction_and_again_at_zero(self) -> None:
        client = Store().connect()
        client.says(b"SET k v", b"MULTI", b"GET k", b"MGET k n", b"GET n", b"EXEC", b"GET n")
        text = client.call([b"INFO", b"stats"])
        self.assertEqual(self.counts(cast(bytes, text).decode()), (2, 3))
        client.says(b"CONFIG RESETSTAT")
        text = client.call([b"INFO", b"stats"])
        self.assertEqual(self.counts(cast(bytes, text).decode()), (0, 0))

    def test_a_key_that_expired(self) -> None:
        store = Store()
        client = store.connect()
        client.says(b"SET k v PX 1")
        store.clock.advance(0.005)
        client.says(b"GET k", b"GET k")
        text = client.call([b"INFO", b"stats"])
        self.assertEqual(self.counts(cast(bytes, text).decode()), (0, 2))


class ServerTests(SynchronousTestCase):
    """The rest."""

    def setUp(self) -> None:
        self.store = Store()
        self.client = self.store.connect()

    def test_time(self) -> None:
        self.store.turn(1.25)
        said: Any = self.client.call([b"TIME"])
        seconds, microseconds = said
        self.assertAlmostEqual(int(seconds) + int(microseconds) / 1e6, self.store.now(), 3)

    def test_lolwut(self) -> None:
        for request in (
            b"LOLWUT",
            b"LOLWUT VERSION 5",
            b"LOLWUT VERSION 6 10 5",
            b"LOLWUT 0 0",
            b"LOLWUT 99999999 9999999",
        ):
            reply = self.client.call(request.split())
            assert isinstance(reply, bytes)
            self.assertTrue(reply.endswith(b"as Redis ver. 7.2.4\n"))
            self.assertLess(len(reply), 1_000_000)
        wrong = ErrorReply(b"ERR value is not an integer or out of range")
        self.assertEqual(self.client.call([b"LOLWUT", b"VERSION", b"x"]), wrong)
        self.assertEqual(self.client.call([b"LOLWUT", b"x"]), wrong)
        self.assertEqual(picture(90, 7, 3), "   █\n  █ █\n █   █")

    def test_shutdown(self) -> None:
        refused = {
            b"SHUTDOWN foo": b"ERR syntax error",
            b"SHUTDOWN SAVE NOSAVE": b"ERR syntax error",
            b"SHUTDOWN ABORT NOW": b"ERR syntax error",
            b"SHUTDOWN ABORT": b"ERR No shutdown in progress.",
        }
        for request, text in refused.items():
            self.assertEqual(self.client.call(request.split()), ErrorReply(text))
        self.assertFalse(self.store.stopped)
        for example in load_examples():
            if example.ends_server:
                store = Store()
                client = store.connect()
                client.send([word.encode() for word in example.steps[-1].args])
                client.pipeline(b"PING")
                self.assertTrue(store.stopped)
                self.assertEqual(client.taken(), b"")

    def test_command(self) -> None:
        count = self.client.call([b"COMMAND", b"COUNT"])
        listed = self.client.call([b"COMMAND"])
        assert isinstance(listed, list)
        self.assertEqual(len(listed), count)
        names = {entry[0] for entry in listed}
        self.assertLessEqual({b"get", b"client", b"exec", b"command"}, names)
        self.assertNotIn(b"xadd", names)
        self.assertEqual(self.client.call([b"COMMAND", b"GETKEYS", b"GET", b"k"]), [b"k"])
        self.assertEqual(self.client.call([b"COMMAND", b"INFO", b"nosuch"]), [None])

    def test_command_of_raw(self) -> None:
        """What Redis doesn't have is described as a module's commands are."""
        raw = sorted(name.encode() for name in self.store.front.routes.by_name if name.startswith("raw."))
        self.assertEqual(len(raw), 8)
        ask = self.client.call
        self.assertEqual(ask([b"COMMAND", b"LIST", b"FILTERBY", b"MODULE", b"RAW"]), raw)
        (info,) = cast(list[Any], ask([b"COMMAND", b"INFO", b"RAW.GET"]))
        self.assertEqual(info[:7], [b"raw.get", 3, [b"readonly", b"fast", b"module"], 2, 2, 1, [b"@read", b"@fast"]])
        keys = {
            b"RAW.GET default a": [b"a"],
            b"RAW.CAS lock a ABSENT b": [b"a"],
            b"RAW.BATCHPUT write a 1 b 2": [b"a", b"b"],
            b"RAW.BATCHDELETE write a b c": [b"a", b"b", b"c"],
            b"RAW.SCAN default a 1": ErrorReply(b"ERR The command has no key arguments"),
        }
        for call, wanted in keys.items():
            self.assertEqual(ask([b"COMMAND", b"GETKEYS", *call.split()]), wanted)
        listed = cast(list[Any], ask([b"COMMAND"]))
        self.assertLessEqual(set(raw), {entry[0] for entry in listed})
        name, docs = cast(list[Any], ask([b"COMMAND", b"DOCS", b"raw.put"]))
        self.assertEqual(name, b"raw.put")
        self.assertEqual(docs[:6], [b"summary", b"Stores a raw entry.", b"group", b"module", b"module", b"raw"])
