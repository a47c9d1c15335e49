"""Heartbeats as text, and which verbs there are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.peering.grammar import GrammarError
from tinykv.peering.verbs import (
    HEARTBEATS_MAX,
    LINK_TO_ACCEPTOR,
    heartbeat_field,
    read_heard,
    read_heartbeat,
    read_id,
)
from tinykv.raft.messages import HEARTBEAT, HEARTBEAT_REPLY, Message
from tinykv.raft.wire import MAX_NUMBER

IDS = st.integers(1, MAX_NUMBER - 1)
NUMBERS = st.integers(0, MAX_NUMBER - 1)


class HeartbeatTests(SynchronousTestCase):
    """A region's heartbeat is a field."""

    @given(IDS, IDS, IDS, NUMBERS, NUMBERS)
    def test_heartbeat(self, region_id: int, to: int, sender: int, term: int, count: int) -> None:
        message = Message(HEARTBEAT, to, sender, term, round=count)
        self.assertEqual(read_heartbeat(heartbeat_field(region_id, message)), (region_id, message))

    @given(IDS, IDS, IDS, NUMBERS, NUMBERS, NUMBERS)
    def test_heard(self, region_id: int, to: int, sender: int, term: int, count: int, commit: int) -> None:
        message = Message(HEARTBEAT_REPLY, to, sender, term, round=count, commit=commit)
        self.assertEqual(read_heard(heartbeat_field(region_id, message)), (region_id, message))

    def test_what_is_none(self) -> None:
        largest = b"%d" % (MAX_NUMBER - 1)
        self.assertEqual(read_heartbeat(b"1:1:1:1:" + largest)[1].round, MAX_NUMBER - 1)
        for field in (
            b"1:2:3:4",
            b"1:2:3:4:5:6",
            b"0:2:3:4:5",
            b"1:0:3:4:5",
            b"1:2:0:4:5",
            b"1:2:3:4:%d" % MAX_NUMBER,
            b"1:2:3:4:",
            b"1:2:3:4:-5",
            b"1:2:3:4:05",
            b"1:2:3:4:" + b"9" * 30,
            b"x",
        ):
            self.assertRaises(GrammarError, read_heartbeat, field)
        self.assertRaises(GrammarError, read_heard, b"1:2:3:4:5")

    def test_the_longest_line_is_within_its_limit(self) -> None:
        most = MAX_NUMBER - 1
        field = heartbeat_field(most, Message(HEARTBEAT_REPLY, most, most, most, round=most, commit=most))
        line = b"HEARTBEAT " + b" ".join([field] * HEARTBEATS_MAX)
        self.assertLessEqual(len(line), LINK_TO_ACCEPTOR[b"HEARTBEAT"].line_bytes)

    def test_ids(self) -> None:
        self.assertEqual(read_id(b"%d" % (MAX_NUMBER - 1)), MAX_NUMBER - 1)
        for field in (b"0", b"%d" % MAX_NUMBER, b"-1"):
            self.assertRaises(GrammarError, read_id, field)
