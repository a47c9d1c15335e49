"""
Tests for what a region's host leaves to others: L{tinykv.store.host.Elsewhere}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.store.hosted import Asker, Hosted
from tinykv.redis.operations import INTERNAL, LOCAL, NOBODY, READ, Operation


class FakeElsewhere:
    """Takes what can't be done here."""

    def __init__(self) -> None:
        self.holds = False
        self.changes = False
        self.behind = False
        self.polls = False
        self.taken: list[Operation] = []
        self.back: list[Operation] = []

    def wakes(self, operation: Operation) -> bool:
        raise AssertionError("nobody waits here")

    def take(self, operations: list[Operation]) -> None:
        self.taken += operations

    def take_back(self, operations: list[Operation]) -> None:
        self.back += operations

    def undone(self) -> list[Operation]:
        return [*self.back, *self.taken]

    def expect_local_reads(self) -> None:
        """Nobody reads here."""

    def leads(self, here: bool) -> None:
        """Nothing waits for it."""


class ElsewhereTests(SynchronousTestCase):
    """A host beside a forwarder."""

    def setUp(self) -> None:
        self.hosted = Hosted(self.mktemp())
        self.addCleanup(self.hosted.close)
        self.elsewhere = FakeElsewhere()
        self.hosted.host.elsewhere = self.elsewhere
        self.asker = self.hosted.client()

    def lines(self, operations: list[Operation]) -> list[bytes]:
        return [b" ".join(operation[5]) for operation in operations]

    def test_what_comes_later_waits_behind_what_is_there(self) -> None:
        self.elsewhere.holds = True
        self.asker.send("SET a 2")
        self.asker.send("GET a")
        self.hosted.settle()
        self.assertEqual(self.lines(self.elsewhere.taken), [b"SET a 2", b"GET a"])
        self.assertEqual(self.asker.heard(), [])

    def test_what_is_older_goes_first(self) -> None:
        self.elsewhere.holds = True
        self.asker.send("SET a 1")
        self.hosted.settle()
        self.elsewhere.holds = False
        self.asker.send("GET a")
        self.hosted.host.submit_before(self.elsewhere.taken)
        self.hosted.settle()
        self.assertEqual(self.asker.heard(), [b"+OK\r\n", b"$1\r\n1\r\n"])

    def test_steps_are_given_back_too(self) -> None:
        client: Any = Asker(self.hosted, 9)
        operations: list[Operation] = [
            (LOCAL, NOBODY, 0, 0, None, lambda: None, None),
            (INTERNAL, NOBODY, 0, 0, None, [b"gone", b"4"], None),
            (READ, client, 0, 0, None, [b"GET", b"a"], None),
        ]
        self.hosted.host.unreadable(operations)
        self.assertEqual(self.elsewhere.back, operations)
        # Nobody waits for what was given up.
        self.hosted.host.unreadable([(READ, NOBODY, 0, 0, None, [b"GET", b"a"], None)])
        self.assertEqual(self.elsewhere.back, operations)
