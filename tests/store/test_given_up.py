"""What becomes of the commands of other stores' clients that a leader can't decide, in simulated clusters."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.store.members import Cluster, Member
from tests.store.test_forwarding import Asker


class UndecidedTests(SynchronousTestCase):
    """A majority is gone; the leader and one other store are left."""

    def setUp(self) -> None:
        self.cluster = Cluster(5)
        self.leader = self.cluster.leader()
        self.cluster.run(2)
        self.other, *self.gone = [member for member in self.cluster.members.values() if member is not self.leader]
        for member in self.gone:
            member.kill()
        self.one, self.two = Asker(1), Asker(2)

    def told(self, member: Member) -> list[bytes]:
        """Submit a blocking command and a write in one turn, and give what their clients were told in the end."""
        member.host.submit(self.one("BLPOP l 0"))
        member.host.submit(self.two("SET a 1"))
        self.cluster.run(8)
        return [reply.split(b" ")[0] for _, reply in self.one.told + self.two.told]

    def test_a_blocking_command_keeps_no_others_waiting(self) -> None:
        """They're forwarded and answered together."""
        self.assertEqual(self.told(self.other), [b"-TIMEOUT", b"-TIMEOUT"])

    def test_where_the_leader_is_they_wait(self) -> None:
        self.assertEqual(self.told(self.leader), [b"-TIMEOUT"])
        self.assertEqual(self.one.told, [])

    def test_nothing_is_popped_for_who_was_told(self) -> None:
        """Neither when the majority is back."""
        self.told(self.other)
        for member in self.gone:
            member.start()
        leader = self.cluster.leader()
        self.cluster.run(3)
        self.assertEqual(list(leader.host.execution.waiters), [])
        leader.host.submit(self.two("RPUSH l x"))
        leader.host.submit(self.two("LRANGE l 0 -1"))
        self.cluster.run(2)
        self.assertEqual([reply for _, reply in self.two.told[-2:]], [b":1\r\n", b"*1\r\n$1\r\nx\r\n"])


class FrozenTests(SynchronousTestCase):
    """The leader doesn't answer, and its connections stay; nobody else can be elected."""

    def test_clients_are_told_in_time(self) -> None:
        cluster = Cluster()
        leader = cluster.leader()
        cluster.run(2)
        other, gone = (member for member in cluster.members.values() if member is not leader)
        gone.kill()
        cluster.run(1)
        cluster.cut(leader.id)
        client = Asker(1)
        other.host.submit(client("SET a 1"))
        cluster.run(5.5)
        self.assertEqual([reply.split(b" ")[0] for _, reply in client.told], [b"-TIMEOUT"])


class FullTests(SynchronousTestCase):
    """The other stores are there, and their disks don't answer."""

    def test_what_cant_even_be_proposed(self) -> None:
        cluster = Cluster()
        leader = cluster.leader()
        cluster.run(2)
        others = [member for member in cluster.members.values() if member is not leader]
        for member in others:
            member.disk.stuck = True
        clients = [Asker(number) for number in range(10)]
        for client in clients:
            leader.host.submit(client("SET a " + "x" * (8 << 20)))
            cluster.run(0.05)
        steps: list[str] = []
        leader.host.submit(clients[9].step(lambda: steps.append("step")))
        leader.host.submit(clients[8].look(b"a"))
        cluster.run(6)
        self.assertTrue(leader.host.ready)
        told = [reply.split(b" ")[0] for client in clients for _, reply in client.told]
        self.assertEqual((len(told), set(told)), (11, {b"-TIMEOUT", b"-CLUSTERDOWN"}))
        self.assertEqual(steps, ["step"])
        for member in others:
            member.disk.stuck = False
        cluster.run(2)
        leader.host.submit(clients[0]("STRLEN a"))
        leader.host.submit(clients[0]("SET b 1"))
        cluster.run(1)
        self.assertEqual([reply for _, reply in clients[0].told[-2:]], [b":%d\r\n" % (8 << 20), b"+OK\r\n"])
