"""What operators ask: how it's read, and who answers it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.server.controls import FakeControl
from tinykv.config_values import STORE_ID_MAX
from tinykv.errors import ControlRefused, ControlUnknown
from tinykv.interfaces import CHECKSUM_SECONDS_MAX, IClusterControl, Outcome
from tinykv.server.control import (
    ACTIONS,
    QUESTION_BYTES_MAX,
    VIEWS,
    Answer,
    BadQuestion,
    Question,
    answer_relayed,
    ask,
    decode_question,
    described,
    encode_question,
    question_of,
    relay_over,
)


class Trouble(Exception):
    """Something fails in a way that nobody thought of."""


class QuestionTests(SynchronousTestCase):
    """Fields become questions, or are refused."""

    def test_each(self) -> None:
        for name, fields, question in (
            ("members", {}, Question("members")),
            ("status", {}, Question("status")),
            ("checksum", {}, Question("checksum")),
            ("checksum", {"timeout": 1}, Question("checksum", timeout=1)),
            ("checksum", {"timeout": CHECKSUM_SECONDS_MAX}, Question("checksum", timeout=CHECKSUM_SECONDS_MAX)),
            ("add-store", {"store": 4, "address": "d:20160"}, Question("add-store", 4, "d:20160")),
            ("remove-store", {"store": STORE_ID_MAX}, Question("remove-store", STORE_ID_MAX)),
            ("remove-store", {"store": 1, "region": 7}, Question("remove-store", 1, region=7)),
            ("transfer-leader", {}, Question("transfer-leader")),
            ("transfer-leader", {"store": None}, Question("transfer-leader")),
            ("transfer-leader", {"store": 1}, Question("transfer-leader", 1)),
            ("merge", {"region": 7, "target": 2}, Question("merge", region=7, target=2)),
            ("split", {}, Question("split")),
            ("split", {"parts": 257, "region": 7}, Question("split", parts=257, region=7)),
            ("split", {"slots": [1, 16383]}, Question("split", slots=(1, 16383))),
            ("split", {"slots": list(range(1, 257))}, Question("split", slots=tuple(range(1, 257)))),
        ):
            self.assertEqual(question_of(name, fields), question)
            self.assertEqual(decode_question(encode_question(question)), question)

    def test_in_words(self) -> None:
        self.assertEqual(described(Question("transfer-leader")), "transfer-leader")
        self.assertEqual(described(Question("split", region=7, slots=(5,))), "split, slots (5,), parts 2, region 7")

    def test_refused(self) -> None:
        for name, fields in (
            ("shutdown", {}),
            ("members", []),
            ("members", None),
            ("members", {"store": 1}),
            ("checksum", {"region": 0}),
            ("checksum", {"region": "1"}),
            ("members", {"region": 1}),
            ("checksum", {"timeout": 0}),
            ("checksum", {"timeout": CHECKSUM_SECONDS_MAX + 1}),
            ("checksum", {"timeout": 60.0}),
            ("checksum", {"timeout": True}),
            ("members", {"timeout": 60}),
            ("add-store", {"store": 4}),
            ("add-store", {"address": "d:1"}),
            ("add-store", {"store": 4, "address": "d"}),
            ("add-store", {"store": 4, "address": 7}),
            ("add-store", {"store": 4, "address": "d:1\r\nPING"}),
            ("remove-store", {}),
            ("remove-store", {"store": None}),
            ("remove-store", {"store": 0}),
            ("remove-store", {"store": STORE_ID_MAX + 1}),
            ("remove-store", {"store": True}),
            ("remove-store", {"store": "1"}),
            ("remove-store", {"store": 1.0}),
            ("remove-store", {"store": 1, "force": True}),
            ("merge", {"region": 7}),
            ("merge", {"target": 7}),
            ("merge", {"region": 7, "target": 0}),
            ("split", {"slots": 5}),
            ("split", {"slots": [0]}),
            ("split", {"slots": [16384]}),
            ("split", {"slots": [True]}),
            ("split", {"slots": ["5"]}),
            ("split", {"slots": list(range(1, 258))}),
            ("split", {"parts": 1}),
            ("split", {"parts": 258}),
            ("split", {"parts": 2.0}),
            ("split", {"store": 1}),
        ):
            self.assertRaises(BadQuestion, question_of, name, fields)

    @given(st.binary(max_size=64) | st.sampled_from([b"[" * 4000, b"{}", b'{"name": 1}', b'{"name": "members"}']))
    def test_any_bytes_are_a_question_or_refused(self, payload: bytes) -> None:
        try:
            self.assertIn(decode_question(payload).name, (*VIEWS, *ACTIONS))
        except BadQuestion:
            pass

    def test_the_limit(self) -> None:
        payload = encode_question(Question("members"))
        self.assertEqual(decode_question(payload.ljust(QUESTION_BYTES_MAX)).name, "members")
        self.assertRaises(BadQuestion, decode_question, payload.ljust(QUESTION_BYTES_MAX + 1))


class AskingTests(SynchronousTestCase):
    """Store 2 is asked; store 1 leads."""

    def setUp(self) -> None:
        self.here = FakeControl(2)
        self.leader = FakeControl(1)
        self.relayed: list[int] = []
        self.lost: BaseException | None = None
        self.reply: bytes | None = None

    def relay(self, store: int, payload: bytes) -> Deferred[bytes]:
        """Take a question to store 1."""
        self.relayed.append(store)
        if self.lost is not None:
            return fail(self.lost)
        return answer_relayed(self.leader, payload) if self.reply is None else succeed(self.reply)

    def ask(self, name: str, **fields: Any) -> Answer:
        """Ask store 2."""
        asking = Deferred.fromCoroutine(ask(self.here, self.relay, question_of(name, fields)))
        return self.successResultOf(asking)

    def test_the_leader_answers_by_itself(self) -> None:
        self.here = self.leader
        for name, fields in (
            ("members", {}),
            ("status", {}),
            ("checksum", {}),
            ("add-store", {"store": 4, "address": "d:1"}),
            ("remove-store", {"store": 4}),
            ("split", {}),
            ("transfer-leader", {"store": 2}),
        ):
            self.assertIn(self.ask(name, **fields).code, (200, 202), name)
        self.assertEqual(self.relayed, [])

    def test_the_leader_makes_the_changes(self) -> None:
        self.assertEqual(self.ask("add-store", store=4, address="d:1"), (202, {"store": 4}))
        self.assertEqual(self.ask("transfer-leader"), (200, {"leader": 2}))
        self.assertEqual(self.leader.asked, [("add-store", 4, "d:1"), ("transfer-leader", None)])
        self.assertEqual(self.relayed, [1, 1])

    def test_views_are_the_leaders(self) -> None:
        self.leader.lags[3] = 12
        status = self.ask("status")
        self.assertEqual((status.code, status.body["store"]), (200, 1))
        self.assertEqual(status.body["regions"][0]["members"][2]["lag"], 12)
        self.assertEqual(self.ask("members").body["store"], 1)

    def test_views_are_our_own_when_the_leader_is_away(self) -> None:
        for lost in (ControlRefused("the link is down"), ControlUnknown("the link broke")):
            self.lost = lost
            status = self.ask("status")
            self.assertEqual((status.code, status.body["store"]), (200, 2))
            self.assertEqual(status.body["regions"][0]["members"][2]["lag"], None)

    def test_views_without_a_leader(self) -> None:
        self.here.leads = None
        self.assertEqual(self.ask("members").body["leader"], None)
        self.assertEqual(self.relayed, [])

    def test_no_leader(self) -> None:
        self.here.leads = None
        answer = self.ask("transfer-leader")
        self.assertEqual((answer.code, answer.body["leader"]), (503, None))
        self.assertIn("there is no leader", answer.body["error"])

    def test_a_leader_that_is_away(self) -> None:
        self.lost = ControlRefused("the link is down")
        answer = self.ask("remove-store", store=3)
        self.assertEqual(answer.code, 503)
        self.assertIn("store 1 leads, and can't be asked: the link is down", answer.body["error"])

    def test_an_answer_that_gets_lost(self) -> None:
        self.lost = ControlUnknown("the link to store 1 broke")
        self.assertEqual(self.ask("remove-store", store=3), (504, {"error": "the link to store 1 broke"}))

    def test_an_answer_that_is_none(self) -> None:
        for reply in (b"", b"[]", b"{}", b'{"code": 200}', b'{"code": true, "body": {}}', b'{"code": 99, "body": {}}'):
            self.reply = reply
            answer = self.ask("remove-store", store=3)
            self.assertEqual(answer.code, 504, reply)
            self.assertIn("doesn't understand", answer.body["error"])
            self.assertEqual(self.ask("status").body["store"], 2)

    def test_it_is_passed_on_once(self) -> None:
        self.leader.leads = 3
        answer = self.ask("remove-store", store=3)
        self.assertEqual((answer.code, answer.body["leader"]), (503, 3))
        self.assertEqual(self.relayed, [1])

    def test_refusals(self) -> None:
        self.here = self.leader
        self.leader.problem = ControlRefused("only one of two could be reached")
        self.assertEqual(self.ask("remove-store", store=3), (409, {"error": "only one of two could be reached"}))
        self.leader.problem = ControlUnknown("the leader changed meanwhile")
        self.assertEqual(self.ask("remove-store", store=3).code, 504)

    def test_a_defect(self) -> None:
        self.leader.problem = Trouble()
        answer = self.ask("checksum")
        self.assertEqual(answer, (500, {"error": "internal error, see the log of store 1"}))
        self.assertEqual(len(self.flushLoggedErrors(Trouble)), 1)

    def test_a_question_of_another_version(self) -> None:
        reply = json.loads(self.successResultOf(answer_relayed(self.leader, b'{"name": "dance", "fields": {}}')))
        self.assertEqual(reply["code"], 400)
        self.assertIn("'dance'", reply["body"]["error"])


class Forwards:
    """As much of the links between stores as a relay uses."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes, Callable[[Outcome, bytes], None]]] = []

    def forward(self, store_id: int, payload: bytes, answered: Callable[[Outcome, bytes], None]) -> None:
        """Note a batch."""
        self.sent.append((store_id, payload, answered))


class RelayTests(SynchronousTestCase):
    """A question on a link."""

    def ask(self, outcome: Outcome, answer: bytes) -> Deferred[bytes]:
        """Send a question, and give what becomes of it."""
        links: Any = Forwards()
        answered = relay_over(links, b"?")(3, b"question")
        self.assertNoResult(answered)
        ((store, payload, arrived),) = links.sent
        self.assertEqual((store, payload), (3, b"?question"))
        arrived(outcome, answer)
        return answered

    def test_outcomes(self) -> None:
        self.assertEqual(self.successResultOf(self.ask(Outcome.ANSWERED, b"answer")), b"answer")
        for answer, why in ((b"", "there is no link to store 3 now"), (b"too busy", "too busy")):
            failure = self.failureResultOf(self.ask(Outcome.REFUSED, answer), ControlRefused)
            self.assertEqual(str(failure.value), why)
        self.failureResultOf(self.ask(Outcome.UNKNOWN, b""), ControlUnknown)

    def test_the_fake_is_whole(self) -> None:
        self.assertTrue(verifyObject(IClusterControl, FakeControl()))
