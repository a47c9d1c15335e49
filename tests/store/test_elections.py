"""How soon another store leads when one has ended, in simulated clusters of the parts that real stores have."""

from __future__ import annotations

from itertools import permutations

from twisted.trial.unittest import SynchronousTestCase

from tests.store.members import RAFT, Cluster
from tinykv.testing.simulation.events import SECOND
from tinykv.testing.simulation.network import Quality


class FailoverTests(SynchronousTestCase):
    """The end of its connections tells of a leader's end."""

    def test_a_leader_that_is_killed(self) -> None:
        """Its silence is kept, and little more time passes; an election timeout would take up to 1.9 s alone."""
        for seed in range(10):
            cluster = Cluster(seed=seed)
            leader = cluster.leader()
            cluster.run(2)
            leader.kill()
            killed = cluster.events.now
            self.assertIsNot(cluster.leader(), leader)
            took = (cluster.events.now - killed) / SECOND
            self.assertLess(took, RAFT.silence + 5 * RAFT.tick, f"seed {seed}")
            self.assertGreater(took, RAFT.silence - (RAFT.heartbeat_ticks + 1) * RAFT.tick, f"seed {seed}")

    def test_messages_that_take_long(self) -> None:
        """As where the processor is shared. Elections mustn't be held twice since each candidate has its own vote."""
        for killed in (True, False):
            for seed in range(10):
                cluster = Cluster(seed=seed)
                cluster.leader()
                for one, other in permutations(cluster.addresses.values(), 2):
                    cluster.network.link(one, other).quality = Quality(latency_us=50_000, jitter_us=50_000)
                cluster.run(2)
                leader = cluster.leader()
                others = [member for member in cluster.members.values() if member is not leader]
                if killed:
                    leader.kill()
                else:
                    cluster.cut(leader.id)
                began = cluster.events.now
                cluster.until(lambda others=others: [member for member in others if member.host.ready])
                self.assertLess((cluster.events.now - began) / SECOND, 3, f"seed {seed}")

    def test_a_leader_that_cant_be_heard(self) -> None:
        """Connections don't end, so it takes an election timeout, and not several."""
        for seed in range(10):
            cluster = Cluster(seed=seed)
            leader = cluster.leader()
            cluster.run(2)
            cluster.cut(leader.id)
            cut = cluster.events.now
            others = [member for member in cluster.members.values() if member is not leader]
            cluster.until(lambda others=others: [member for member in others if member.host.ready])
            took = (cluster.events.now - cut) / SECOND
            self.assertLess(took, 2 * RAFT.election_ticks * RAFT.tick + 0.3, f"seed {seed}")
