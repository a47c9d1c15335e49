"""Stores that have lost their folders, and come back under their numbers, in simulated clusters."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.store.members import Cluster
from tests.store.test_forwarding import Asker


class DisownedTests(SynchronousTestCase):
    """Some store knows their numbers with other folders."""

    def test_a_majority_of_them_begins_no_cluster(self) -> None:
        cluster = Cluster()
        for number in (2, 3):
            cluster.members[number].peers.known_otherwise = lambda: True
        cluster.run(20)
        self.assertEqual([member.host.ready for member in cluster.members.values()], [False] * 3)
        self.assertEqual([member.group.last for member in cluster.members.values()], [0] * 3)
        self.assertEqual([member.peers.disowned for member in cluster.members.values()], [False, True, True])

    def test_who_has_a_log_goes_on(self) -> None:
        cluster = Cluster()
        leader = cluster.leader()
        cluster.run(2)
        for member in cluster.members.values():
            member.peers.known_otherwise = lambda: True
        client = Asker(1)
        leader.host.submit(client("SET a 1"))
        cluster.run(2)
        self.assertEqual([reply for _, reply in client.told], [b"+OK\r\n"])
        self.assertFalse(leader.peers.disowned)
