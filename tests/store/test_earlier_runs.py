"""What becomes of clients that waited in a blocking command at a store that has ended, in simulated clusters."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.store.members import Cluster, Member
from tests.store.test_forwarding import Asker
from tinykv.store.host import AGAIN_SECONDS


class EarlierRunTests(SynchronousTestCase):
    """A client waits at one store, which is killed and comes back before the others take it for lost."""

    def setUp(self) -> None:
        self.cluster = Cluster()
        self.leader = self.cluster.leader()
        self.cluster.run(2)
        self.other = next(member for member in self.cluster.members.values() if member is not self.leader)

    def wait_at(self, member: Member) -> None:
        """Let a client wait there, kill the store before it has flushed that, and start it again."""
        member.host.submit(Asker(1)("BLPOP l 0"))
        self.cluster.run(1)
        self.assertEqual(len(member.host.execution.waiters), 1)
        member.kill()
        self.cluster.run(1)
        member.start()

    def assert_nobody_waits(self) -> None:
        """See that what is pushed stays."""
        self.assertEqual([len(member.host.execution.waiters) for member in self.cluster.members.values()], [0, 0, 0])
        client = Asker(2)
        leader = self.cluster.leader()
        leader.host.submit(client("RPUSH l x"))
        leader.host.submit(client("LLEN l"))
        self.cluster.run(1)
        self.assertEqual([reply for _, reply in client.told], [b":1\r\n", b":1\r\n"])

    def test_at_a_follower(self) -> None:
        self.wait_at(self.other)
        self.cluster.run(5)
        self.assert_nobody_waits()

    def test_at_the_leader(self) -> None:
        self.wait_at(self.leader)
        self.cluster.run(8)
        self.assert_nobody_waits()

    def test_without_a_leader(self) -> None:
        """It's proposed once, and not again and again before there's one."""
        others = [member for member in self.cluster.members.values() if member is not self.other]
        self.other.host.submit(Asker(1)("BLPOP l 0"))
        self.cluster.run(40)  # it's flushed
        for member in (*others, self.other):
            member.kill()
        self.other.start()
        self.cluster.run(3 * AGAIN_SECONDS)
        elsewhere = self.other.host.elsewhere
        assert elsewhere is not None
        self.assertEqual((len(self.other.host.execution.waiters), len(elsewhere.undone())), (1, 1))
        for member in others:
            member.start()
        self.cluster.run(8)
        self.assert_nobody_waits()

    def test_those_who_wait_now_stay(self) -> None:
        self.wait_at(self.other)
        self.other.host.submit(Asker(3)("BLPOP l 0"))
        self.cluster.run(2 * AGAIN_SECONDS)
        for member in self.cluster.members.values():
            runs = [origin[0] for origin in member.host.execution.waiters.by_origin]
            self.assertEqual(runs, [self.other.host.start_id])
