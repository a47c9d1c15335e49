"""Leaders whose clocks are wrong hand over, and nobody hands over for nothing."""

from __future__ import annotations

from statistics import median

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.store.members import Cluster, Member
from tinykv.peering.clocks import ClockOffset
from tinykv.store.clock_watch import PAUSE_SECONDS, ClockWatch, Median, median_of

EXACT = ClockOffset(0, 0)


class MedianTests(SynchronousTestCase):
    """L{median_of}."""

    def find(self, *offsets: float, within: float = 0, voters: int = 0) -> Median | None:
        found = {store: ClockOffset(offset, within) for store, offset in enumerate(offsets)}
        return median_of(found, voters or len(offsets))

    def test_one_of_three_is_off(self) -> None:
        self.assertEqual(self.find(0, 5000, 5000), Median(5000, 5000))
        self.assertEqual(self.find(0, 3, 5000), Median(3, 3))

    def test_of_two_nobody_can_say_which(self) -> None:
        found = self.find(0, 5000)
        assert found is not None
        self.assertEqual((found, found.distance), (Median(0, 5000), 0))

    def test_less_than_a_majority_says_nothing(self) -> None:
        self.assertIsNone(self.find(0, 5000, voters=4))
        self.assertIsNotNone(self.find(0, 5000, voters=3))

    def test_distance(self) -> None:
        self.assertEqual(Median(-3, 4).distance, 0)
        self.assertEqual(Median(3, 4).distance, 3)
        self.assertEqual(Median(-4, -3).distance, 3)

    def test_who_is_certainly_within(self) -> None:
        found = Median(90, 110)
        cases = ((100, 10, True), (100, 40, True), (100, 41, False), (60, 0, True), (59, 0, False))
        for offset, within, expected in cases:
            self.assertEqual(found.has_within(ClockOffset(offset, within), 50), expected, (offset, within))

    @given(st.lists(st.tuples(st.integers(-1000, 1000), st.integers(0, 100), st.floats(-1, 1)), min_size=1, max_size=7))
    def test_the_true_one_is_between(self, clocks: list[tuple[int, int, float]]) -> None:
        """Each estimate is off by no more than it says."""
        offsets = {
            store: ClockOffset(true + error * within, within) for store, (true, within, error) in enumerate(clocks)
        }
        found = median_of(offsets, len(offsets))
        assert found is not None
        true = median(true for true, _, _ in clocks)
        self.assertLessEqual(found.least, true + 1e-6)
        self.assertGreaterEqual(found.most, true - 1e-6)


class _Told:
    """What a member's links would have told it: the others' clocks, within some ms."""

    def __init__(self, member: Member, within: float) -> None:
        self._member = member
        self._within = within
        self._random = member.cluster.events.random(f"clocks of {member.name}")

    def offset(self, store_id: int) -> ClockOffset | None:
        """Compare two clocks, with an error."""
        member = self._member
        if not member.peering.is_up(store_id):
            return None
        true = (member.cluster.members[store_id].clock.error_us - member.clock.error_us) / 1000
        return ClockOffset(true + self._random.uniform(-self._within, self._within), self._within)


class ClocksApartTests(SynchronousTestCase):
    """Three stores in simulation, with clocks that are apart."""

    def setUp(self) -> None:
        """Begin with good clocks."""
        self.cluster = Cluster(seed=4)
        self.first = self.cluster.leader()
        self.watches: dict[int, ClockWatch] = {}

    def watch(self, within: float = 20) -> None:
        """Have all stores watch their clocks, with links to all others."""
        for member in self.cluster.members.values():
            for other in self.cluster.members:
                if other != member.id:
                    member.peering.forward(other, b"\xff?", lambda outcome, answer: None)
            watch = self.watches[member.id] = ClockWatch(
                hosts=[member.host],
                store_id=member.id,
                clocks=_Told(member, within),
                is_up=member.peering.is_up,
                clock=member.process,
                max_offset_ms=500,
            )
            watch.start()
            self.addCleanup(watch.stop)
        self.cluster.run(3)

    @property
    def others(self) -> list[Member]:
        return [member for member in self.cluster.members.values() if member is not self.first]

    @property
    def hand_overs(self) -> int:
        return sum(watch.hand_overs for watch in self.watches.values())

    def terms(self, seconds: float) -> int:
        """Let time pass; tell how many elections there were."""
        before = self.cluster.leader().group.term
        self.cluster.run(seconds)
        return self.cluster.leader().group.term - before

    def test_the_leaders_clock_is_wrong(self) -> None:
        """It hands over once, in either direction, and leadership stays."""
        for error in (-2_000_000, 2_000_000):
            self.setUp()
            self.watch()
            self.first.write("SET a 1")
            self.first.clock.set_error(error)
            self.assertEqual(self.terms(3), 1)
            self.assertIsNot(self.cluster.leader(), self.first)
            self.assertEqual(self.terms(3 * PAUSE_SECONDS), 0)
            self.assertEqual(self.hand_overs, 1)
            offset = self.watches[self.first.id].offset_ms
            assert offset is not None
            self.assertLess(abs(offset - error / 1000), 50)

    def test_within_the_bound_nothing_happens(self) -> None:
        self.watch()
        for error in (470_000, -470_000):
            self.first.clock.set_error(error)
            self.assertEqual(self.terms(2 * PAUSE_SECONDS), 0)
        self.assertEqual(self.hand_overs, 0)

    def test_at_the_bound_nobody_is_certain(self) -> None:
        """Nor is leadership handed to and fro when all clocks are about as far apart as they may be."""
        self.watch(within=100)
        self.first.clock.set_error(550_000)
        self.others[0].clock.set_error(-500_000)
        self.assertLessEqual(self.terms(10 * PAUSE_SECONDS), 1)

    def test_a_followers_clock_is_wrong(self) -> None:
        self.watch()
        self.others[0].clock.set_error(10_000_000)
        self.assertEqual(self.terms(2 * PAUSE_SECONDS), 0)
        self.assertEqual(self.hand_overs, 0)

    def test_who_has_a_good_clock_gets_it(self) -> None:
        self.watch()
        wrong, right = self.others
        wrong.clock.set_error(-5_000_000)
        self.first.clock.set_error(5_000_000)
        self.cluster.run(3)
        self.assertIs(self.cluster.leader(), right)
        self.assertEqual(self.terms(2 * PAUSE_SECONDS), 0)

    def test_all_are_apart(self) -> None:
        """The one in the middle is as right as can be known."""
        self.watch()
        self.first.clock.set_error(5_000_000)
        self.others[0].clock.set_error(10_000_000)
        self.cluster.run(3)
        self.assertEqual(self.terms(2 * PAUSE_SECONDS), 0)

    def test_of_two_nobody_can_say_which_is_wrong(self) -> None:
        """While a store is away the others go on as they were."""
        self.watch()
        self.others[0].kill()
        self.cluster.run(3)
        self.first.clock.set_error(5_000_000)
        self.assertEqual(self.terms(2 * PAUSE_SECONDS), 0)
        self.assertEqual(self.hand_overs, 0)

    def test_nobody_is_fit_to_lead(self) -> None:
        """A leader with a wrong clock is better than none."""
        self.watch(within=600)
        self.first.clock.set_error(5_000_000)
        self.assertEqual(self.terms(2 * PAUSE_SECONDS), 0)
        self.assertEqual(self.hand_overs, 0)

    def test_it_comes_back_when_the_clock_is_right_again(self) -> None:
        """That is, it may: who has handed over isn't kept from leading."""
        self.watch()
        self.first.clock.set_error(5_000_000)
        self.cluster.run(3)
        self.first.clock.set_error(0)
        self.cluster.run(3)
        self.cluster.done(self.cluster.leader().control.transfer_leader(self.first.id))
        self.assertEqual(self.terms(2 * PAUSE_SECONDS), 0)
        self.assertIs(self.cluster.leader(), self.first)
