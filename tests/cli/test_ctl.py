"""
`tinykv ctl` over the real pages of a cluster that is made up; only the sockets and the clock are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from tests.server.controls import FakeControl
from tinykv.cli.ctl import ANSWER_SECONDS, LOOK_SECONDS, Outside
from tinykv.cli.ctl_http import HttpControl, judged
from tinykv.cli.main import tinykv
from tinykv.cli.problems import Problem
from tinykv.errors import ControlRefused, ControlUnknown
from tinykv.server.control import answer_relayed
from tinykv.server.http_control import HEADER, control_resource
from tinykv.server.http_status import status_resource


class CtlTests(SynchronousTestCase):
    """Store 1 is asked."""

    def setUp(self) -> None:
        self.control = self.leader = FakeControl()
        self.link = True
        self.time = 0.0
        #: How much longer than usual answers were awaited.
        self.longer: list[float] = []
        #: What happens in each pause, until nothing is left.
        self.events: list[Callable[[], object]] = []

    def relay(self, store: int, payload: bytes) -> Deferred[bytes]:
        """Pass a question on to the leader."""
        return answer_relayed(self.leader, payload) if self.link else fail(ControlRefused("the link is down"))

    def ask(self, name: str, fields: Mapping[str, Any] | None = None, *, longer: float = 0.0) -> dict[str, Any]:
        """Ask the pages."""
        if longer:
            self.longer.append(longer)
        root = status_resource(dict, lambda: None, CollectorRegistry())
        root.putChild(b"control", control_resource(self.control, self.relay))
        client = StubTreq(root)
        headers = {HEADER: "1", "Content-Type": "application/json"}
        method, data = ("GET", None) if fields is None else ("POST", json.dumps(fields).encode())
        asking = client.request(method, f"http://127.0.0.1/control/v1/{name}", data=data, headers=headers)
        answer = self.successResultOf(asking)
        return judged("http://127.0.0.1", answer.code, self.successResultOf(answer.content()))

    def pause(self, seconds: float) -> None:
        """Let time pass, and what happens then happen."""
        self.time += seconds
        if self.events:
            self.events.pop(0)()

    def run_ctl(self, *arguments: str) -> Result:
        """Run a command."""

        def connect(url: str, timeout: float) -> CtlTests:
            self.assertEqual((url, timeout), ("http://127.0.0.1:20180", ANSWER_SECONDS))
            return self

        outside = Outside(connect, self.pause, lambda: self.time)
        return CliRunner().invoke(tinykv, ["ctl", *arguments], obj=outside, env={"COLUMNS": "200"})

    def done(self, *arguments: str) -> str:
        """Run a command that succeeds, and give what it printed."""
        result = self.run_ctl(*arguments)
        self.assertEqual(result.exit_code, 0, result.output)
        return result.output

    def refused(self, *arguments: str, status: int = 1) -> str:
        """Run a command that fails, and give its error, one line."""
        result = self.run_ctl(*arguments)
        self.assertEqual(result.exit_code, status, result.output)
        self.assertTrue(result.stderr.startswith("tinykv: "), result.output)
        self.assertEqual(result.stderr.count("\n"), 1, result.output)
        return result.stderr

    def test_members(self) -> None:
        self.control.down.add(3)
        said = self.done("members")
        self.assertRegex(said, r"1 .* host-1:20160 .* voter .* yes .* leads")
        self.assertRegex(said, r"3 .* host-3:20160 .* voter .* no ")
        self.assertIn("As store 1 sees them.", said)

    def test_members_without_a_leader(self) -> None:
        self.control.leads = None
        self.assertIn("There's no leader", self.done("members"))

    def test_json(self) -> None:
        self.assertEqual(json.loads(self.done("--json", "members"))["members"], self.control.members())
        self.assertEqual(json.loads(self.done("--json", "status"))["regions"], self.control.status())
        self.assertEqual(json.loads(self.done("--json", "transfer-leader", "2")), {"leader": 2})

    def test_status(self) -> None:
        self.control.lags[3] = 17
        said = self.done("status")
        self.assertIn("Region 1: slots 0 to 16383, term 5, led by store 1, commit 1000, applied 999 on store 1", said)
        self.assertRegex(said, r"3 .* voter .* 983 .* 17 ")
        self.assertNotIn("?", said)

    def test_status_when_the_leader_is_away(self) -> None:
        self.control.leads = 2
        self.link = False
        self.assertIn("the leader knows, and couldn't be asked", self.done("status"))

    def test_a_store_is_added(self) -> None:
        def behind(entries: int) -> None:
            self.control.lags[4] = entries

        def caught_up() -> None:
            self.control.roles[4] = "voter"

        self.events = [lambda: behind(100), lambda: behind(3), caught_up]
        self.assertEqual(self.done("add-store", "4", "host-4:20160"), "Store 4 is a voter.\n")
        self.assertEqual(self.control.asked, [("add-store", 4, "host-4:20160")])
        self.assertEqual(self.time, 3 * LOOK_SECONDS)

    def test_a_store_is_added_without_waiting(self) -> None:
        self.assertIn("is a learner", self.done("add-store", "4", "host-4:20160", "--no-wait"))
        self.assertEqual(self.time, 0)

    def test_a_store_is_added_while_the_leader_changes(self) -> None:
        def none() -> None:
            self.control.leads = None

        def another() -> None:
            self.control.leads = 2
            self.leader = FakeControl(2, (1, 2, 3, 4))
            self.leader.leads = 2

        self.events = [none, another]
        self.assertIn("voter", self.done("add-store", "4", "host-4:20160"))

    def test_a_store_that_does_not_catch_up(self) -> None:
        self.control.lags[4] = 1234
        said = self.refused("add-store", "4", "host-4:20160", "--timeout", "5s", status=3)
        self.assertIn("it's a learner so far, 1234 entries behind. It goes on", said)
        self.assertEqual(self.time, 5)

    def test_a_store_that_is_removed_while_it_is_added(self) -> None:
        self.events = [lambda: self.control.roles.pop(4)]
        self.assertIn("store 4 was removed meanwhile", self.refused("add-store", "4", "host-4:20160"))

    def test_who_does_not_lead_may_not_know_of_a_store_yet(self) -> None:
        self.control.leads = 2
        self.leader = FakeControl(2)
        self.leader.leads = 2

        def cut() -> None:
            self.link = False

        def heard() -> None:
            self.control.roles[4] = "voter"

        self.events = [cut, heard]
        self.assertIn("voter", self.done("add-store", "4", "host-4:20160"))

    def test_a_store_is_removed(self) -> None:
        self.assertIn("Store 3 is no member any more.", self.done("remove-store", "3"))
        self.assertIn("store 3 isn't a member", self.refused("remove-store", "3"))

    def test_a_store_is_removed_in_steps(self) -> None:
        def out() -> None:
            del self.control.roles[3]

        self.control.in_steps = True
        self.events = [lambda: None, out]
        self.done("remove-store", "3")
        self.assertEqual(self.time, 2 * LOOK_SECONDS)
        self.assertIn("being removed", self.done("remove-store", "2", "--no-wait"))
        said = self.refused("remove-store", "1", "--timeout", "1s", status=3)
        self.assertIn("it's an outgoing voter so far", said)

    def test_the_removed_store_itself_is_asked(self) -> None:
        self.control = FakeControl(3, (1, 2))
        self.leader.leads = 1
        self.control.leads = 1

        def gone() -> None:
            self.link = False

        self.events = [gone]
        self.assertIn("no member any more", self.done("remove-store", "3"))

    def test_refusals(self) -> None:
        self.control.problem = ControlRefused("another change is under way")
        for command in (("add-store", "4", "h:1"), ("remove-store", "3"), ("transfer-leader",), ("checksum",),
                        ("split",), ("merge", "2", "--into", "1")):  # fmt: skip
            self.assertEqual(self.refused(*command), "tinykv: another change is under way\n")

    def test_nobody_can_tell(self) -> None:
        self.control.problem = ControlUnknown("the leader changed")
        self.assertIn("may have been done", self.refused("remove-store", "3", status=3))

    def test_transfer(self) -> None:
        self.assertEqual(self.done("transfer-leader", "3"), "Store 3 leads.\n")
        self.control.leads = 1
        self.assertEqual(self.done("transfer-leader"), "Store 2 leads.\n")

    def test_split(self) -> None:
        said = self.done("split", "--region", "1")
        self.assertRegex(said, r"1 .* 0 .* 8191 ")
        self.assertRegex(said, r"2 .* 8192 .* 16383 ")
        self.assertIn("Region 1 was split.", said)
        # The key lies in slot 15495, as another one with its tag does.
        told = json.loads(self.done("--json", "split", "--slot", "7", "--key", "a", "--key", "{a}b"))
        self.assertEqual([part["first"] for part in told["regions"]], [0, 7, 15495])
        self.done("split", "--parts", "257")
        self.assertEqual(
            self.control.asked, [("split", 1, (), 2), ("split", None, (7, 15495), 2), ("split", None, (), 257)]
        )

    def test_merge(self) -> None:
        said = self.done("merge", "2", "--into", "1")
        self.assertEqual(said, "Region 2 was merged into region 1, which has slots 0 to 16383 now.\n")
        self.assertEqual(self.control.asked, [("merge", 2, 1)])

    def test_equal_checksums(self) -> None:
        said = self.done("checksum")
        self.assertEqual(said.count("00c0ffee"), 3)
        self.assertIn("All stores hold the same.", said)

    def test_checksums_that_differ(self) -> None:
        self.control.checksums[2] = "deadbeef"
        self.assertEqual(self.refused("checksum"), "tinykv: the stores differ in region 1\n")

    def test_a_checksum_is_missing(self) -> None:
        del self.control.checksums[2]
        self.assertEqual(
            self.refused("--json", "checksum"), "tinykv: store 2 didn't say what it has of region 1: it is away\n"
        )

    def test_nothing_was_compared(self) -> None:
        self.control.slots = None
        self.assertIn("knows of none", self.done("status"))
        self.assertIn("knows of none", self.refused("checksum"))
        self.control.slots = 0, 8191
        self.assertIn("where 8192 of the 16384 slots are", self.refused("checksum"))
        self.assertEqual(self.control.asked, [])
        self.done("checksum", "--region", "1")

    def test_how_long_it_may_take(self) -> None:
        self.done("checksum")
        self.done("checksum", "--timeout", "1s")
        self.done("checksum", "--timeout", "1h")
        self.assertEqual(self.control.asked, [("checksum", seconds) for seconds in (600, 1, 3600)])
        self.assertEqual(self.longer, [600, 1, 3600])

    def test_usage(self) -> None:
        for arguments in (
            ("checksum", "--timeout", "0s"),
            ("checksum", "--timeout", "3601s"),
            ("checksum", "--timeout", "soon"),
            ("add-store", "4"),
            ("add-store", "0", "h:1"),
            ("add-store", "65536", "h:1"),
            ("remove-store", "three"),
            ("remove-store", "3", "--timeout", "soon"),
            ("transfer-leader", "-1"),
            ("merge", "2"),
            ("merge", "0", "--into", "1"),
            ("split", "--slot", "0"),
            ("split", "--slot", "16384"),
            ("split", "--parts", "1"),
            ("split", "--parts", "258"),
            ("split", "--slot", "5", "--parts", "2"),
            ("split", "--region", "0"),
            # It lies in slot 0.
            ("split", "--key", "3560"),
            ("split", *(word for slot in range(1, 258) for word in ("--slot", str(slot)))),
        ):
            self.assertEqual(self.run_ctl(*arguments).exit_code, 2, arguments)
        self.assertEqual(self.control.asked, [])

    def test_help(self) -> None:
        for command in ("members", "status", "add-store", "remove-store", "transfer-leader", "checksum", "split"):
            self.assertIn(f"Usage: tinykv ctl {command}", self.done(command, "--help"))


class ClientTests(SynchronousTestCase):
    """The URL, and what isn't an answer."""

    def test_urls(self) -> None:
        for url in ("http://127.0.0.1:20180", "http://[::1]:1/", "store-1", "127.0.0.1:20180", "http://h"):
            HttpControl(url, 1)
        for url in ("https://h", "http://", "http://h:x", "http://h:65536", "http://h/status", "http://u@h", "http://h/?q"):
            self.assertRaises(ValueError, HttpControl, url, 1)

    def test_a_bad_url(self) -> None:
        result = CliRunner().invoke(tinykv, ["ctl", "--url", "https://h", "members"])
        self.assertEqual(result.exit_code, 2)
        self.assertIn("expected http://HOST:PORT", result.output)

    def test_what_is_no_answer(self) -> None:
        for body in (b"", b"<html>", b"[]", b"\xff", b"[" * 100_000):
            self.assertIn("isn't the HTTP port", str(self.assertRaises(Problem, judged, "u", 200, body)))
        self.assertIn("on its own", str(self.assertRaises(Problem, judged, "u", 404, b"{}")))
        self.assertIn("status 418", str(self.assertRaises(Problem, judged, "u", 418, b"{}")))
