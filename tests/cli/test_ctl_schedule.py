"""`tinykv ctl schedule` over the real API of a scheduler; only the sockets are left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from tests.schedule.client import Client
from tests.schedule.cluster import Cluster
from tests.schedule.test_http import region, store
from tinykv.cli.ctl import Outside
from tinykv.cli.ctl_schedule import size_of
from tinykv.cli.ctl_schedule_http import Answered, Proof, judged
from tinykv.cli.main import tinykv

URL = "http://127.0.0.1:2379"


class Case(SynchronousTestCase):
    """A scheduler with one member."""

    def setUp(self) -> None:
        self.cluster = Cluster(self.mktemp(), members=1)
        self.client = Client(self.cluster.leader())
        self.cluster.run(0.1)
        self.proof: Proof | None = None

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Ask the API."""
        answer = self.client.ask(method, path, body)
        return judged(URL, Answered(answer.code, answer.body))

    def connect(self, urls: Sequence[str], proof: Proof) -> Case:
        """Note whom would be asked."""
        if "nonsense" in urls:
            raise ValueError("expected something else")
        self.proof = proof
        return self

    def run_ctl(self, *arguments: str, columns: int = 200) -> Result:
        """Run a command."""
        outside = Outside(connect_scheduler=self.connect)
        return CliRunner().invoke(tinykv, ["ctl", *arguments], obj=outside, env={"COLUMNS": str(columns)})

    def done(self, *arguments: str) -> str:
        """Run a command that succeeds, and give what it printed."""
        result = self.run_ctl("schedule", *arguments)
        self.assertEqual(result.exit_code, 0, result.output)
        return result.output

    def json(self, *arguments: str) -> Any:
        """Run one for a program."""
        result = self.run_ctl("--json", "schedule", *arguments)
        self.assertEqual(result.exit_code, 0, result.output)
        return json.loads(result.stdout)

    def refused(self, *arguments: str, status: int = 1) -> str:
        """Run a command that fails, and give its error."""
        result = self.run_ctl("schedule", *arguments)
        self.assertEqual(result.exit_code, status, result.output)
        self.assertNotIn("Traceback", result.output)
        return result.stderr

    def begin(self, *regions: dict[str, Any]) -> None:
        """Have the cluster begin with three stores and a region, and hear of them."""
        for number in (1, 2, 3):
            self.ask("PUT", f"/stores/{number}", store(number, labels={"zone": "a"}))
        for number in (1, 2, 3):
            stats = {"capacity": 1 << 40, "available": 1 << 39, "regions": 1}
            self.ask("POST", f"/stores/{number}/heartbeat", {"folder": f"f{number}", "stats": stats})
        heard = list(regions) or [region(1, "", "", size=5 << 20, keys=7)]
        answer = self.ask("POST", "/region-heartbeats", {"store": 1, "folder": "f1", "regions": heard})
        self.assertEqual(answer["refused"], [])


class ViewTests(Case):
    """What is seen."""

    def test_an_empty_cluster(self) -> None:
        said = self.done("status")
        self.assertIn("begins when 3 more stores", said)
        self.assertIn("Stores: none", said)
        self.assertIn("Regions: 0", said)
        self.assertIn("Nothing is under way", self.done("operators"))

    def test_at_a_glance(self) -> None:
        self.begin()
        said = self.done("status")
        self.assertIn("member 1 leads, of 1", said)
        self.assertIn("Stores: 3 up", said)
        self.assertIn("1 heard of, 0 unhealthy", said)
        self.assertRegex(said, r"1 .* h1:20160 .* up .* 1 .* 1 .* 5\.0\sMiB .* 512\.0\sGiB")
        said = self.done("stores")
        self.assertRegex(said, r"1 .* h1:20160 .* 512\.0\sGiB ")
        self.assertRegex(said, r"1 .* zone=a")
        found = self.json("status")
        self.assertEqual((found["stores"], found["regions"], found["paused"]), ({"up": 3}, 1, []))
        self.assertEqual(len(self.json("stores")["stores"]), 3)

    def test_regions(self) -> None:
        peers = [{"peer": 1, "store": 1}, {"peer": 2, "store": 2}, {"peer": 3, "store": 3, "role": "learner"}]
        self.begin(
            region(1, "", "7230", size=1 << 20, reads=5.0),
            {**region(2, "7230", "7240", size=3 << 20), "peers": peers, "pending": [3]},
            region(3, "7240", "", size=2 << 20, writes=70.0, down={"2": 9.0}),
        )
        self.assertEqual([found["region"] for found in self.json("regions")["regions"]], [1, 2, 3])
        self.assertEqual([r["region"] for r in self.json("regions", "--order", "size")["regions"]], [2, 3, 1])
        self.assertEqual([r["region"] for r in self.json("regions", "--order", "load")["regions"]], [3, 1, 2])
        self.assertEqual([r["region"] for r in self.json("regions", "--unhealthy")["regions"]], [2, 3])
        self.assertEqual([r["region"] for r in self.json("regions", "--row-key", "7235")["regions"]], [2])
        # The key's slot is 12739, in hexadecimal 31c3; its row keys begin with r.
        self.assertEqual([r["region"] for r in self.json("regions", "--key", "123456789")["regions"]], [2])
        said = self.done("regions")
        self.assertRegex(said, r"2 .* 12288-16383 .* 1 .* 1, 2 .* 3 .* 3\.0\sMiB ")
        self.assertIn("Region 2: 2 voters instead of 3; learners; behind: 3", said)
        self.assertIn("down: 2", said)
        self.assertIn("And 2 more", self.done("regions", "--limit", "1"))
        self.assertIn("hexadecimal", self.refused("regions", "--row-key", "xyz", status=2))
        self.refused("regions", "--row-key", "72", "--key", "x", status=2)
        self.assertIn("2 unhealthy", self.done("status"))

    def test_what_is_not_mended_by_itself(self) -> None:
        self.begin()
        self.assertEqual(self.json("status")["warnings"], [])
        self.assertNotIn("Look at this", self.done("status"))
        self.ask("PATCH", "/config", {"replicas": 5})
        self.assertIn("Look at this: 3 stores are up, and each region shall have 5 replicas.", self.done("status"))
        self.assertEqual(len(self.json("status")["warnings"]), 1)

    def test_terminals_of_80_columns(self) -> None:
        self.begin(region(1, "", "721000", size=1023 << 20, keys=1_000_000, reads=99_999.0), region(2, "721000", ""))
        for command in ("status", "stores", "regions"):
            said = self.run_ctl("schedule", command, columns=80).output
            self.assertNotIn("…", said)
            self.assertLessEqual(max(map(len, said.splitlines())), 80)
        rows = [line.split() for line in said.splitlines() if line.strip()]
        self.assertEqual(rows[2][:5], ["1", "0-4095", "1", "1,", "2,"])
        self.assertEqual(rows[3][1], "4096-16383")

    def test_more_regions_than_one_answer_lists(self) -> None:
        count = 1001
        borders = ["", *(f"{at:04x}" for at in range(1, count)), ""]
        heard = [region(at + 1, borders[at], borders[at + 1]) for at in range(count)]
        self.begin(*heard[:500])
        for part in (heard[500:1000], heard[1000:]):
            self.ask("POST", "/region-heartbeats", {"store": 1, "folder": "f1", "regions": part})
        self.assertEqual(self.json("status")["regions"], count)

    def test_sizes(self) -> None:
        for count, text in ((0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 40, "3.0 TiB")):
            # A line never ends between the two.
            self.assertEqual(size_of(count), text.replace(" ", "\N{NO-BREAK SPACE}"))


class ChangeTests(Case):
    """What is changed."""

    def test_operators(self) -> None:
        self.begin()
        self.assertRegex(self.done("transfer-leader", "1", "2"), r"1 .* 0 of 1 .* transfer-leader target 2 .* running")
        self.assertEqual([o["region"] for o in self.json("operators")["operators"]], [1])
        self.assertRegex(self.done("operators"), r"1 .* transfer-leader target 2")
        self.assertIn("region 1 is cancelled", self.done("cancel", "1"))
        self.assertIn("no operator", self.refused("cancel", "1"))
        self.assertIn("store 9", self.refused("move-peer", "1", "2", "9"))

    def test_splits(self) -> None:
        self.begin()
        said = self.done("split", "1", "--slot", "8192", "--slot", "1")
        self.assertRegex(said, r"1 .* 0 of 1 .* split-region .*'720001', '722000'.* running")
        self.done("cancel", "1")
        self.assertEqual(self.json("split", "1")["steps"][0]["keys"], [])
        self.assertIn("region 9 isn't known", self.refused("split", "9"))
        self.refused("split", "1", "--slot", "0", status=2)

    def test_what_is_spread(self) -> None:
        self.begin()
        self.assertIn("Nothing has to be moved", self.done("scatter", "1"))
        self.assertIn("leader", self.done("scatter", "1", "--group", ""))
        self.assertIn("region 9 isn't known", self.refused("scatter", "1", "9"))
        self.refused("scatter", status=2)

    def test_a_store_that_shall_not_lead(self) -> None:
        self.done("evict", "2")
        self.assertEqual(self.json("evict", "1")["evict_leader"], [1, 2])
        self.assertIn("may lead again", self.done("evict", "2", "--stop"))
        self.assertEqual(self.json("config")["evict_leader"], [1])

    def test_stores_that_go(self) -> None:
        self.begin()
        self.assertIn("replicas", self.refused("drain", "1"))
        self.ask("PUT", "/stores/4", store(4))
        self.ask("POST", "/stores/4/heartbeat", {"folder": "f4", "stats": {"capacity": 1 << 40, "available": 1 << 39}})
        self.assertIn("offline", self.done("drain", "4"))
        self.assertIn("up", self.done("drain", "4", "--stop"))
        self.refused("remove", "1")
        self.assertIn("tombstone", self.done("remove", "4", "--lost"))

    def test_pauses(self) -> None:
        self.assertIn("paused for 600 s", self.done("pause", "balance-leader", "10m"))
        self.assertIn("paused: balance-leader", self.done("status"))
        self.assertIn("goes on", self.done("pause", "balance-leader", "0"))
        self.assertIn("no scheduler dance", self.refused("pause", "dance", "1"))
        self.assertIn("number", self.refused("pause", "balance-leader", "soon", status=2))

    def test_choices(self) -> None:
        self.assertRegex(self.done("config"), r"max_down .* 1800")
        said = self.done("config", "max_down=600", 'labels=["rack"]')
        self.assertRegex(said, r"max_down .* 600")
        self.assertNotIn("replicas", said)
        self.assertEqual(self.json("config")["labels"], ["rack"])
        self.assertIn("NAME=VALUE", self.refused("config", "max_down", status=2))
        self.assertIn("JSON", self.refused("config", "labels=[", status=2))
        self.assertIn("max_down", self.refused("config", "max_down=1"))


class ProofTests(Case):
    """Whom is asked, and what it's shown."""

    def test_a_token(self) -> None:
        path = Path(self.mktemp())
        path.write_text("0123456789abcdef\n")
        self.done("--token-file", str(path), "stores")
        self.assertEqual(self.proof, Proof("0123456789abcdef"))
        self.assertIn("No such file", self.refused("--token-file", str(path) + "x", "stores"))
        path.write_bytes(b"\xff" * 20)
        self.assertIn("ASCII", self.refused("--token-file", str(path), "stores"))

    def test_wrong_options(self) -> None:
        self.assertIn("--cert and --key", self.refused("--cert", "c", "stores", status=2))
        self.assertIn("expected something else", self.refused("--url", "nonsense", "stores", status=2))
