"""What a leader reads whose own disk is behind those of the others, in simulated clusters."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.store.members import Cluster
from tests.store.test_forwarding import Asker


class DecidedElsewhereTests(SynchronousTestCase):
    """Others may have applied, and told their clients, what the leader can't apply yet."""

    def test_a_waiter_is_answered_elsewhere(self) -> None:
        cluster = Cluster()
        leader = cluster.leader()
        cluster.run(2)
        other = next(member for member in cluster.members.values() if member is not leader)
        waiter, writer, reader = Asker(1), Asker(2), Asker(3)
        other.host.execution.waiting_client = lambda client_id, number: waiter
        other.host.submit(waiter("BLMOVE from to LEFT LEFT 0"))
        cluster.run(1)
        self.assertEqual(waiter.told, [])
        leader.disk.stuck = True
        leader.host.submit(writer("RPUSH from x"))
        cluster.run(0.5)
        self.assertEqual(waiter.told, [(0, b"$1\r\nx\r\n")])
        read = reader("LLEN to")
        self.assertIsNone(leader.host.read(read[1], read[2], read[3], read[4], read[5]))
        cluster.run(0.1)
        self.assertEqual(reader.told, [])
        leader.disk.stuck = False
        cluster.run(0.5)
        self.assertEqual(reader.told, [(0, b":1\r\n")])
