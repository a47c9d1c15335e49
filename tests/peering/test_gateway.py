"""Links of gateways: who they are to stores, what they may say there, and which stores they believe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.peering.stores import SECRET, PeerStore, Recorder, outcomes
from tests.peering.test_acceptor import PortCase
from tests.peering.wires import Network
from tinykv.interfaces import IForwardAnswer, Outcome
from tinykv.peering.gateway_links import GatewayLinks
from tinykv.peering.grammar import framed
from tinykv.peering.handshake import GATEWAY, LINK
from tinykv.peering.lanes import FRAME_BYTES
from tinykv.peering.settings import ANY_CLUSTER, GATEWAYS, NO_FOLDER, NOWHERE, PeerLimits

ID = GATEWAYS + 5
WHO: dict[str, Any] = {"cluster_id": ANY_CLUSTER, "folder_id": NO_FOLDER, "address": NOWHERE, "purpose": GATEWAY}


class PortTests(PortCase):
    """A gateway at a store's port, spoken by hand."""

    def setUp(self) -> None:
        self.store()
        self.hand = self.dial()

    def test_it_is_let_in(self) -> None:
        """Nothing of it is kept: no folder, no address, no link back, and it's no store's link."""
        self.assertEqual([verb for verb, _, _ in self.greet(self.hand, ID, **WHO)], [b"PROOF"])
        self.assertEqual(list(self.one.peering.acceptor.gateways), [ID])
        self.assertEqual(self.one.peering.acceptor.links, {})
        self.assertEqual((self.one.folder_ids.known, dict(self.one.addresses.known)), ({}, {}))
        self.assertEqual((self.one.figures.links_in, self.one.figures.gateways_in), (0, 1))
        self.assertTrue(self.one.peering.is_connected(ID))
        self.assertEqual(self.one.take(), [])
        self.assertEqual(self.say(self.hand, b"PING\r\n"), [(b"PONG", [], b"")])
        self.hand.transport.loseConnection()  # type: ignore[union-attr]
        self.network.settle()
        self.assertFalse(self.one.peering.is_connected(ID))

    def test_it_may_be_of_the_stores_cluster(self) -> None:
        self.assertEqual([verb for verb, _, _ in self.greet(self.hand, ID, **{**WHO, "cluster_id": "c1"})], [b"PROOF"])

    def test_who_is_refused(self) -> None:
        for store_id, changes, code in (
            (ID, {"secret": b"another sixteen bytes"}, b"secret"),
            (ID, {"cluster_id": "c2"}, b"cluster"),
            (7, {}, b"grammar"),
            (ID, {"purpose": LINK}, b"grammar"),
            (ID, {"purpose": LINK, "cluster_id": "c1"}, b"grammar"),
            (7, {"purpose": LINK}, b"cluster"),
        ):
            hand = self.dial()
            (found,) = self.greet(hand, store_id, **{**WHO, **changes})
            self.assertEqual((found[0], found[1][0]), (b"ERROR", code), (store_id, changes))
        self.assertEqual(self.one.peering.acceptor.gateways, {})

    def test_batches(self) -> None:
        self.greet(self.hand, ID, **WHO)
        long = bytes(FRAME_BYTES + 1)
        self.say(self.hand, framed(b"FORWARD 9 1", b"batch") + framed(b"FORWARD 9 2", b""))
        begin = b"BEGIN FORWARD 9 3 %d\r\n" % len(long)
        self.say(self.hand, begin + framed(b"PART", long[:FRAME_BYTES]) + framed(b"PART", long[FRAME_BYTES:]))
        heard = [("forwarded", ID, payload) for payload in (b"batch", b"", long)]
        self.assertEqual(self.one.take(), heard)
        answers: list[IForwardAnswer] = self.one.recorder.answers
        answers[0].answer(b"done")
        answers[1].refuse(b"elsewhere")
        self.assertTrue(self.one.peering.push(ID, b"pushed"))
        self.network.settle()
        expected = [(b"ANSWER", [b"1"], b"done"), (b"REFUSED", [b"2"], b"elsewhere"), (b"PUSH", [], b"pushed")]
        self.assertEqual(self.hand.lines(), expected)
        self.assertFalse(self.one.peering.push(ID + 1, b"to nobody"))

    def test_what_only_stores_may_say(self) -> None:
        for line in (framed(b"RAFT 1", b"x"), b"HEARTBEAT 1:1:1:1:1\r\n", b"SERVES a:1\r\n", b"PING 1\r\n",
                     b"BEGIN RAFT 1 %d\r\n" % (FRAME_BYTES + 1)):  # fmt: skip
            hand = self.dial()
            self.greet(hand, ID, **WHO)
            (found,) = self.say(hand, line)
            self.assertEqual((found[0], found[1][0]), (b"ERROR", b"grammar"), line)
        self.assertEqual(self.one.take(), [])

    def test_a_newer_link(self) -> None:
        self.greet(self.hand, ID, **WHO)
        newer = self.dial()
        self.greet(newer, ID, **WHO)
        self.assertEqual(self.hand.lines()[0][1][0], b"replaced")
        self.network.settle()
        self.assertTrue(self.one.peering.is_connected(ID))


class LinksTests(SynchronousTestCase):
    """A gateway and its stores."""

    def setUp(self) -> None:
        self.network = Network()
        self.stores: dict[int, PeerStore] = {}
        self.recorder = Recorder()
        self.links = self.gateway()

    def store(self, number: int, **changes: Any) -> PeerStore:
        """Make a store that listens."""
        folder = Path(self.mktemp())
        folder.mkdir()
        store = self.stores[number] = PeerStore(self.network, number, {}, folder, **changes)
        store.listen()
        return store

    def gateway(self) -> GatewayLinks:
        """Make one."""
        links = GatewayLinks(
            clock=self.network.clock,
            gateway_id=ID,
            start_id=99,
            secret=SECRET,
            dial=self.network.endpoint("gateway"),
            limits=replace(PeerLimits()),
            entropy=Random(1).randbytes,
            random=Random(2),
            now_ms=lambda: 0,
        )
        links.handle(self.recorder)
        return links

    def test_a_batch(self) -> None:
        one = self.store(1)
        self.links.connect(1, "host1:1")
        found, answered = outcomes()
        self.links.forward(1, b"batch", answered)
        self.network.settle()
        self.assertEqual((self.links.up, self.links.is_up(1), self.links.cluster_id), ([1], True, "c1"))
        self.assertEqual(one.take(), [("forwarded", ID, b"batch")])
        one.recorder.answers.pop().refuse(b"elsewhere")
        one.peering.push(ID, b"pushed")
        self.network.settle()
        self.assertEqual(found, [(Outcome.REFUSED, b"elsewhere")])
        self.assertEqual(self.recorder.take(), [("link_up", 1), ("pushed", 1, b"pushed")])

    def test_nobody(self) -> None:
        found, answered = outcomes()
        self.links.forward(7, b"batch", answered)
        self.assertEqual(found, [])
        self.network.settle()
        self.assertEqual((found, self.links.is_up(7)), ([(Outcome.REFUSED, b"")], False))

    def test_a_store_of_another_cluster(self) -> None:
        self.store(1)
        self.store(2, cluster_id="c2")
        self.links.connect(1, "host1:1")
        self.network.settle()
        self.links.connect(2, "host2:1")
        self.network.settle()
        self.assertEqual(self.links.up, [1])
        self.assertEqual(self.links.figures.refused_in["cluster"], 1)

    def test_a_store_that_lost_its_folder(self) -> None:
        one = self.store(1)
        self.links.connect(1, "host1:1")
        self.network.settle()
        one.peering.close()
        self.network.settle()
        self.store(1, folder_id="another")
        self.network.run(3)
        self.assertEqual(self.links.up, [])
        self.assertGreater(self.links.figures.refused_in["folder"], 0)

    def test_it_moves_and_leaves(self) -> None:
        self.links.connect(1, "host9:1")
        self.network.settle()
        self.store(1)
        self.links.connect(1, "host1:1")
        self.network.run(3)
        self.assertEqual(self.links.up, [1])
        # While it's reached nobody else knows better where it is.
        self.links.connect(1, "host9:1")
        self.store(2)
        self.links.connect(2, "host2:1")
        self.network.run(1)
        self.links.keep({2})
        self.network.run(1)
        self.assertEqual(self.links.up, [2])
        self.assertEqual(self.stores[1].peering.acceptor.gateways, {})
        closed: list[None] = []
        self.links.close().addCallback(closed.append)
        self.network.settle()
        self.assertEqual((closed, self.stores[2].peering.acceptor.gateways), ([None], {}))
        self.links.connect(3, "host3:1")
