"""Leaders that are stopped in order, in simulated clusters of the parts that real stores have."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.store.members import Cluster
from tests.store.test_forwarding import Asker


class PlannedStopTests(SynchronousTestCase):
    """A leader hands over, and ends."""

    def setUp(self) -> None:
        self.cluster = Cluster()
        self.leader = self.cluster.leader()
        self.cluster.run(2)
        self.others = [member for member in self.cluster.members.values() if member is not self.leader]

    def test_leadership_goes_to_a_store_that_is_there(self) -> None:
        """Who is gone may have a log as long as any."""
        first, second = self.others
        first.kill()
        self.cluster.until(lambda: not self.leader.view(first.id)["up"])
        self.leader.host.hand_over()
        self.assertEqual(self.leader.group.transferring, second.group.peer)
        self.cluster.until(lambda: second.host.ready, 1)

    def test_nobody_is_there(self) -> None:
        for member in self.others:
            member.kill()
        self.cluster.until(lambda: not any(self.leader.view(member.id)["up"] for member in self.others))
        self.leader.host.hand_over()
        self.assertEqual(self.leader.group.transferring, 0)

    def test_the_end_comes_also_if_nobody_takes_over(self) -> None:
        """What came meanwhile is done, or goes elsewhere, as soon as that is known."""
        self.leader.host.hand_over()
        target = self.leader.group.transferring
        self.cluster.cut(next(member.id for member in self.others if member.group.peer == target))
        asker = Asker()
        self.leader.host.submit(asker("SET a 1"))
        self.cluster.run(0.1)
        ended: list[Any] = []
        self.leader.host.close().addBoth(ended.append)
        self.assertEqual(ended, [])
        self.cluster.until(lambda: ended, 4)
        self.assertEqual((ended, asker.told), ([None], [(0, b"+OK\r\n")]))

    def test_the_end_comes_also_while_others_have_work(self) -> None:
        """Their clients are served by who leads next."""
        client = Asker()

        def busy() -> None:
            self.others[0].host.submit(client(f"SET a {client.number}"))
            self.others[0].process.callLater(0.001, busy)

        busy()
        self.cluster.run(0.5)
        self.assertGreater(len(client.told), 50)
        ended: list[Any] = []
        self.leader.host.close().addBoth(ended.append)
        self.cluster.until(lambda: ended, 1)
        self.leader.kill()
        self.cluster.until(lambda: any(member.host.ready for member in self.others))
        told = len(client.told)
        self.cluster.run(2)
        self.assertGreater(len(client.told), told)
