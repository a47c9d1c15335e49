"""Two stores and their links: what is sent arrives, or somebody hears that it didn't."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.peering.stores import append, pair
from tinykv.interfaces import IPeering
from tinykv.raft.messages import VOTE, Message


class SendTests(SynchronousTestCase):
    """Raft messages."""

    def test_it_keeps_its_contract(self) -> None:
        network, one, two = pair(Path(self.mktemp()))
        verifyObject(IPeering, one.peering)

    def test_the_first_message_opens_the_link(self) -> None:
        network, one, two = pair(Path(self.mktemp()))
        vote = Message(VOTE, 2, 1, 5, index=3, log_term=4)
        one.peering.send(2, 9, vote)
        one.peering.send(2, 9, append(b"x" * 10))
        network.settle()
        self.assertEqual(two.take(), [("received", 1, 9, vote), ("received", 1, 9, append(b"x" * 10))])
        self.assertEqual(one.take(), [("link_up", 2)])
        self.assertTrue(one.peering.is_up(2))
        self.assertFalse(two.peering.is_up(1))
