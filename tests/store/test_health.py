"""What a store says of itself on /healthz."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.store.hosted import Hosted
from tests.store.members import Cluster
from tinykv.raft.messages import SnapshotMeta
from tinykv.store.health import problem_of


class HealthTests(SynchronousTestCase):
    """Stores that serve, and that don't."""

    def test_a_store_of_its_own(self) -> None:
        hosted = Hosted(self.mktemp())
        self.addCleanup(hosted.close)
        self.assertEqual(problem_of(hosted.host), "starting")
        hosted.settle()
        self.assertIsNone(problem_of(hosted.host))
        hosted.host.growing_refused = True
        self.assertEqual(problem_of(hosted.host), "disk nearly full: growing writes are refused")
        hosted.client().send("SET a 1")
        hosted.clock.pump([0.1] * 70)
        self.assertEqual(problem_of(hosted.host), "the disk does not answer: writes are refused")

    def test_a_store_that_joins(self) -> None:
        """It isn't a member, then it catches up, then it votes."""
        cluster = Cluster()
        leader = cluster.leader()
        cluster.run(1)
        self.assertEqual([problem_of(member.host) for member in cluster.members.values()], [None] * 3)
        member = cluster.join(4)
        cluster.run(1)
        self.assertIn("not a member yet", str(problem_of(member.host)))
        adding = leader.control.add_store(4, "store4:1")
        cluster.until(lambda: member.group.peer)
        self.assertIn("catching up: a new member", str(problem_of(member.host)))
        cluster.done(adding)
        cluster.until(lambda: member.roles.get(4) == "voter")
        cluster.run(1)
        self.assertIsNone(problem_of(member.host))

    def test_no_majority(self) -> None:
        cluster = Cluster()
        leader = cluster.leader()
        cluster.cut(leader.id)
        cluster.run(30)
        self.assertEqual(problem_of(leader.host), "no store leads: a majority isn't reached")

    def test_a_snapshot_is_installed(self) -> None:
        hosted = Hosted(self.mktemp())
        self.addCleanup(hosted.close)
        hosted.settle()
        hosted.host.install(SnapshotMeta(99, 9, hosted.host.group.membership), lambda: None)
        self.assertEqual(problem_of(hosted.host), "catching up: a snapshot takes the place of its data")
