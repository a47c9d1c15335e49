"""INFO, TIME, LOLWUT, SHUTDOWN, COMMAND, and the description for /status."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, cast

from twisted.trial.unittest import SynchronousTestCase

from tests.option_examples import ErrorReply, load_examples
from tests.server.harness import Client, Store
from tinykv.server.info import SECTIONS
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
            "connected_clients": "2",
            "blocked_clients": "1",
            "loading": "0",
            "aof_enabled": "1",
            "role": "master",
            "cluster_enabled": "0",
            "total_connections_received": "2",
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
        self.assertEqual(found["cmdstat_set"], "calls=1,usec=0,usec_per_call=0.00,rejected_calls=0,failed_calls=0")
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

    def test_status(self) -> None:
        self.client.says(b"SET k v")
        found = describe(self.store.front, Folder(1, "", "f"), None)
        self.assertEqual(json.loads(json.dumps(found)), found)
        self.assertEqual((found["healthy"], found["clients"]), (True, 1))
        self.assertEqual(found["keys"], {"0": {"keys": 1, "expiring": 0}})
        self.assertEqual(describe(self.store.front, Folder(1, "", "f"), "broken")["problem"], "broken")


class ServerTests(SynchronousTestCase):
    """The rest."""

    def setUp(self) -> None:
        self.store = Store()
        self.client = self.store.connect()

    def test_time(self) -> None:
        self.store.turn(1.25)
        seconds, microseconds = self.client.call([b"TIME"])  # type: ignore[misc]
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
