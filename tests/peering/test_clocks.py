"""Stores learn what each other's clocks say."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.peering.stores import PeerStore, pair, sides
from tests.peering.wires import Network
from tinykv.peering.clocks import FEATURE, KEPT_SECONDS, ClockOffset, PeerClocks

CLOCK = frozenset((FEATURE,))


class PeerClocksTests(SynchronousTestCase):
    """L{PeerClocks}."""

    @given(
        offset=st.integers(-(10**9), 10**9),
        ways=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1),
    )
    def test_the_truth_is_within_the_bound(self, offset: int, ways: list[tuple[int, int]]) -> None:
        """Whatever time each way takes; and more answers never tell less, of the latest eight."""
        clocks = PeerClocks(Clock())
        now = 10**12
        for there, back in ways:
            clocks.answered(2, now, now + there + offset, now + there + back)
            now += 10_000
        found = clocks.offset(2)
        assert found is not None
        self.assertLessEqual(abs(found.ms - offset), found.within)
        self.assertEqual(found.within, min(there + back for there, back in ways[-8:]) / 2 + 1)

    def test_what_was_told_long_ago_says_nothing(self) -> None:
        time = Clock()
        clocks = PeerClocks(time)
        self.assertIsNone(clocks.offset(2))
        clocks.answered(2, 1000, 1500, 1000)
        time.advance(KEPT_SECONDS)
        self.assertEqual(clocks.offset(2), ClockOffset(500, 1))
        time.advance(0.1)
        self.assertIsNone(clocks.offset(2))

    def test_an_own_clock_that_was_set_back_meanwhile(self) -> None:
        clocks = PeerClocks(Clock())
        clocks.answered(2, 1000, 1500, 999)
        self.assertIsNone(clocks.offset(2))

    def test_a_store_that_is_forgotten(self) -> None:
        clocks = PeerClocks(Clock())
        clocks.answered(2, 1000, 1500, 1000)
        clocks.forget(2)
        clocks.forget(3)
        self.assertIsNone(clocks.offset(2))


class PingTests(SynchronousTestCase):
    """Times travel with pings."""

    def test_the_side_that_dials_learns(self) -> None:
        network, one, two = pair(Path(self.mktemp()), features=CLOCK)
        one.peering.connect(2)
        network.run(4)
        self.assertEqual(one.peering.clocks.offset(2), ClockOffset(two.now_ms - one.now_ms, 1))
        self.assertIsNone(two.peering.clocks.offset(1))
        dialler, acceptor = sides(network)
        self.assertIn(b"PING 1000000000000\r\n", dialler.sent)
        self.assertIn(b"PONG 1000000000000 2000000000000\r\n", acceptor.sent)

    def test_a_side_that_doesnt_understand(self) -> None:
        """Nothing that it doesn't know is said to it, whichever side it is."""
        for features in ((CLOCK, frozenset()), (frozenset(), CLOCK)):
            network = Network()
            folder = Path(self.mktemp())
            folder.mkdir()
            one, two = (
                PeerStore(network, store, {3 - store: f"host{3 - store}:1"}, folder, features=features[store - 1])
                for store in (1, 2)
            )
            two.listen()
            one.peering.connect(2)
            network.run(10)
            self.assertTrue(one.peering.is_up(2))
            self.assertIsNone(one.peering.clocks.offset(2))
            dialler, acceptor = sides(network)
            self.assertIn(b"PING\r\n", dialler.sent)
            self.assertIn(b"PONG\r\n", acceptor.sent)

    def test_an_answer_with_half_of_it(self) -> None:
        network, one, _ = pair(Path(self.mktemp()), features=CLOCK)
        one.peering.connect(2)
        network.settle()
        sides(network)[1].write(b"PONG 5\r\n")
        network.settle()
        self.assertEqual(one.figures.breaches, 1)
