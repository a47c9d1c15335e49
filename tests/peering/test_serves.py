"""Stores tell each other where clients of a Redis Cluster find them."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.peering.stores import PeerStore, sides
from tests.peering.wires import Network
from tinykv.peering.verbs import SERVES_FEATURE

SERVES = frozenset((SERVES_FEATURE,))
ADDRESS = "10.0.0.1:6380"


class ServesTests(SynchronousTestCase):
    """What the store that dials says to the one that is dialled."""

    def linked(self, serves: str, features: frozenset[str] = SERVES) -> tuple[Network, PeerStore, PeerStore]:
        """Let the first of two stores dial the second."""
        network = Network()
        folder = Path(self.mktemp())
        folder.mkdir()
        self.says = serves
        one, two = (
            PeerStore(
                network, store, {3 - store: f"host{3 - store}:1"}, folder, features=features, serves=lambda: self.says
            )
            for store in (1, 2)
        )
        two.listen()
        one.peering.connect(2)
        network.settle()
        self.assertTrue(one.peering.is_up(2))
        return network, one, two

    def test_it_is_told_on_a_new_link(self) -> None:
        network, one, two = self.linked(ADDRESS)
        self.assertEqual(two.addresses.serving(1), ADDRESS)
        self.assertIsNone(one.addresses.serving(2))
        self.assertEqual(sides(network)[0].sent.count(b"SERVES 10.0.0.1:6380\r\n"), 1)
        # It has moved meanwhile, or has it no more.
        for says, known in (("[::1]:7", "[::1]:7"), ("", None)):
            self.says = says
            sides(network)[0].abortConnection()
            network.run(3)
            self.assertTrue(one.peering.is_up(2))
            self.assertEqual(two.addresses.serving(1), known)

    def test_a_store_that_is_forgotten(self) -> None:
        _, _, two = self.linked(ADDRESS)
        two.peering.forget(1)
        self.assertIsNone(two.addresses.serving(1))

    def test_a_side_that_doesnt_understand(self) -> None:
        network, _, two = self.linked(ADDRESS, frozenset())
        self.assertIsNone(two.addresses.serving(1))
        self.assertNotIn(b"SERVES", sides(network)[0].sent)

    def test_what_is_no_address(self) -> None:
        network, _, two = self.linked("")
        sides(network)[0].write(b"SERVES nowhere\r\n")
        network.settle()
        self.assertEqual(two.figures.breaches, 1)
        self.assertIsNone(two.addresses.serving(1))
