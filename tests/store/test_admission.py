"""Leaders whose disks are nearly full or don't answer, in simulated clusters of the parts that real stores have."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.store.members import Cluster, Member
from tests.store.test_forwarding import Asker
from tinykv.store.admission import PAUSE_SECONDS


class LeadershipTests(SynchronousTestCase):
    """A store that can't write doesn't lead, if another one can."""

    def setUp(self) -> None:
        self.cluster = Cluster()
        self.leader = self.cluster.leader()
        self.cluster.run(2)

    def transfer(self, source: Member, target: Member) -> None:
        """Have an operator hand leadership over."""
        self.cluster.done(source.control.transfer_leader(target.id))

    def test_a_leader_whose_disk_gets_full(self) -> None:
        self.leader.host.growing_refused = True
        self.cluster.run(1)
        self.assertIsNot(self.cluster.leader(), self.leader)

    def test_a_leader_whose_disk_was_full_before(self) -> None:
        """Nobody else knew of it. At once the first time, and then at most now and then."""
        other = next(member for member in self.cluster.members.values() if member is not self.leader)
        other.host.growing_refused = True
        self.transfer(self.leader, other)
        self.cluster.run(1)
        leader = self.cluster.leader()
        self.assertIsNot(leader, other)
        client = Asker()
        leader.host.submit(client("SET a 1"))
        self.cluster.run(1)
        self.assertEqual(client.told, [(0, b"+OK\r\n")])
        self.transfer(leader, other)
        self.cluster.run(PAUSE_SECONDS - 5)
        self.assertIs(self.cluster.leader(), other)
        self.cluster.run(6)
        self.assertIsNot(self.cluster.leader(), other)

    def test_it_leads_on_if_nobody_is_reached(self) -> None:
        """When somebody is again, that one leads: at once, or at the next try, as it may not be ready for it yet."""
        others = [member for member in self.cluster.members.values() if member is not self.leader]
        for member in others:
            member.kill()
        self.cluster.until(lambda: not any(self.leader.view(member.id)["up"] for member in others))
        self.leader.host.growing_refused = True
        self.assertFalse(self.leader.host.hand_over())
        for member in others:
            member.start()
        self.cluster.run(PAUSE_SECONDS + 10)
        self.assertIsNot(self.cluster.leader(), self.leader)

    def test_it_doesnt_go_round(self) -> None:
        for member in self.cluster.members.values():
            member.host.growing_refused = True
        before = self.leader.group.term
        for seconds, most in ((20, 3), (60, 6), (120, 3)):
            self.cluster.run(seconds)
            term = self.cluster.leader().group.term
            self.assertLessEqual(term - before, most)
            before = term

    def test_a_leader_whose_disk_stops(self) -> None:
        """One that is elected again while its disk still doesn't answer hands over again."""
        self.leader.disk.stuck = True
        self.leader.write("SET a 1")
        self.cluster.run(12)
        self.assertTrue(self.leader.host.stalled)
        self.assertIsNot(self.cluster.leader(), self.leader)


class BusyTests(SynchronousTestCase):
    """A store whose data writer doesn't answer, so that as many tables wait for it as may."""

    def setUp(self) -> None:
        self.cluster = Cluster()
        self.store = self.cluster.leader()
        self.store.write("SET a old")
        self.cluster.run(2)
        self.store.disk.stuck = True
        while not self.store.host.rows.full:
            self.store.host.flush_all(lambda: None)
        self.client = Asker()

    def ask(self) -> bytes:
        """Read by the store, until it says something."""
        self.store.host.submit(self.client("GET a"))
        self.cluster.until(lambda: self.client.told)
        ((_, reply),) = self.client.told
        return reply

    def test_a_leader_answers_reads(self) -> None:
        self.assertEqual(self.ask(), b"$3\r\nold\r\n")

    def test_one_that_leads_no_more_refuses_them(self) -> None:
        """Another one leads, and what is applied here is old."""
        self.cluster.cut(self.store.id)
        self.cluster.until(lambda: not self.store.group.leads)
        self.cluster.leader().write("SET a new")
        self.cluster.run(1)
        self.assertTrue(self.ask().startswith(b"-TRYAGAIN "))
