"""Three members: nothing that was given or answered is lost, whoever ends, is cut off, or has its clock set."""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.schedule.cluster import Cluster, Member
from tinykv.schedule.errors import Conflict, NotLeader, OutcomeUnknown, Refusal, Unavailable
from tinykv.schedule.routes import Call

HOUR_US = 3_600_000_000


def store(number: int) -> dict[str, Any]:
    """Say what a store says of itself."""
    return {"address": f"h{number}:20160", "folder": f"f{number}"}


class Case(SynchronousTestCase):
    """A scheduler."""

    def make(self, **options: Any) -> Cluster:
        """Make one."""
        return Cluster(self.mktemp(), **options)

    def assert_alike(self, cluster: Cluster) -> None:
        """All members come to have the same state, and none has failed."""

        def alike() -> bool:
            rows = [member.host.state.tables.rows() for member in cluster.alive]
            return all(row == rows[0] for row in rows)

        cluster.until(alike)
        self.assertEqual([member.failures for member in cluster.members.values()], [[]] * len(cluster.members))


class LeaderTests(Case):
    """Timestamps, ids and records over changes of the leader."""

    def test_kill(self) -> None:
        for seed in range(1, 9):
            cluster = self.make(seed=seed)
            last = 0
            ids: set[int] = set()
            for number in range(1, 6):
                leader = cluster.leader()
                given = leader.timestamps(100)
                self.assertGreater(given - 99, last)
                last = given
                first = leader.ask("ids", {"count": 7})["first"]
                self.assertFalse(ids & set(range(first, first + 7)))
                ids |= set(range(first, first + 7))
                leader.ask("putStore", store(number), store=number)
                begun = cluster.events.now
                leader.kill()
                successor = cluster.leader()
                self.assertLess(cluster.events.now - begun, 3_000_000)
                known = successor.ask("stores")["stores"]
                self.assertEqual([view["store"] for view in known], list(range(1, number + 1)))
                leader.start()
            self.assertTrue(successor.ask("bootstrapView")["bootstrapped"])
            self.assert_alike(cluster)

    def test_all_killed_at_once(self) -> None:
        cluster = self.make()
        leader = cluster.leader()
        last = leader.timestamps()
        leader.ask("putStore", store(1), store=1)
        cluster_id = leader.ask("members")["cluster_id"]
        for member in cluster.members.values():
            member.kill()
        for member in cluster.members.values():
            member.start()
        leader = cluster.leader()
        self.assertGreater(leader.timestamps(), last)
        self.assertEqual(leader.ask("store", store=1)["folder"], "f1")
        self.assertEqual(leader.ask("members")["cluster_id"], cluster_id)

    def test_power_lost(self) -> None:
        cluster = self.make()
        leader = cluster.leader()
        leader.ask("putStore", store(1), store=1)
        last = leader.timestamps()
        for member in cluster.members.values():
            member.process.kill()
            cluster.streams.killed(member.process)
            member.disk.lost_power()
        for member in cluster.members.values():
            member.start()
        leader = cluster.leader()
        self.assertEqual(len(leader.ask("stores")["stores"]), 1)
        self.assertGreater(leader.timestamps(), last)

    def test_isolated_leader(self) -> None:
        for seed in range(1, 6):
            cluster = self.make(seed=seed)
            old = cluster.leader()
            given = [old.timestamps()]
            cluster.cut(old)
            # Both are asked all the time: what one gives after the other is more.
            successor: Member | None = None
            for _ in range(60):
                for member in cluster.alive:
                    if member.host.lease:
                        answers = member.begin(member.scheduler.timestamps(Call({}, {"count": 1})))
                        cluster.run(0.02)
                        if answers and not isinstance(answers[0], Failure):
                            given.append(answers[0]["physical"] << 18 | answers[0]["logical"])
                        if member is not old:
                            successor = member
                cluster.run(0.05)
            self.assertIsNotNone(successor)
            self.assertFalse(old.host.lease)
            self.assertEqual(given, sorted(set(given)))
            problem = self.assertRaises(Refusal, old.timestamps)
            self.assertIsInstance(problem, NotLeader | Unavailable | OutcomeUnknown)
            cluster.heal()
            cluster.run(3)
            self.assertGreater(cluster.leader().timestamps(), given[-1])

    def test_writes_of_an_isolated_leader(self) -> None:
        cluster = self.make()
        old = cluster.leader()
        cluster.cut(old)
        self.assertRaises(OutcomeUnknown, old.ask, "putStore", store(1), store=1)
        successor = cluster.leader(but=old)
        successor.ask("putStore", {**store(1), "folder": "other"}, store=1)
        cluster.heal()
        self.assert_alike(cluster)
        self.assertEqual(cluster.leader().ask("store", store=1)["folder"], "other")

    def test_clock_jumps(self) -> None:
        cluster = self.make()
        leader = cluster.leader()
        last = leader.timestamps()
        for error in (-HOUR_US, HOUR_US, 0, -24 * HOUR_US):
            leader.clock.set_error(error)
            given = leader.timestamps(10)
            self.assertGreater(given - 9, last)
            last = given
        leader.kill()
        # The others' clocks are an hour behind what was given.
        for _ in range(3):
            given = cluster.leader().timestamps(10)
            self.assertGreater(given - 9, last)
            last = given
            cluster.run(1)

    def test_followers_name_the_leader(self) -> None:
        cluster = self.make()
        leader = cluster.leader()
        leader.ask("putStore", store(1), store=1)
        cluster.run(1)
        for member in cluster.members.values():
            if member is not leader:
                problem = self.assertRaises(NotLeader, member.timestamps)
                self.assertEqual(problem.leader, leader.id)
                self.assertEqual(member.host.state.url_of(leader.id), f"http://{leader.name}:2379")
                self.assertRaises(NotLeader, member.ask, "stores")
                self.assertRaises(NotLeader, member.ask, "putStore", store(2), store=2)
        self.assertEqual(len(leader.ask("stores")["stores"]), 1)

    def test_begins_when_its_stores_have_come(self) -> None:
        cluster = self.make()
        leader = cluster.leader()
        for number in (1, 2):
            self.assertFalse(leader.ask("putStore", store(number), store=number)["bootstrapped"])
        self.assertRaises(Conflict, leader.ask, "bootstrap")
        self.assertTrue(leader.ask("putStore", store(3), store=3)["bootstrapped"])
        before = leader.ask("bootstrapView")
        leader.kill()
        self.assertEqual(cluster.leader().ask("bootstrapView"), before)


class PlacementTests(Case):
    """What is replicated, and what the next leader hears anew."""

    def test_next_leader(self) -> None:
        cluster = self.make()
        leader = cluster.leader()
        for number in (1, 2, 3):
            leader.ask("putStore", store(number), store=number)
        leader.ask("changeConfig", {"max_down": 60, "evict_leader": [1]})
        leader.ask("pauseScheduler", {"seconds": 60}, scheduler="balance-region")
        leader.ask("advanceSafePoint", {"safe_point": 77})
        views = [leader.ask(name) for name in ("config", "safePoint", "bootstrapView")]
        leader.kill()
        successor = cluster.leader()
        self.assertEqual([successor.ask(name) for name in ("config", "safePoint", "bootstrapView")], views)
        self.assertNotIn("balance-region", successor.placing.cluster.config.schedulers)
        self.assertEqual(successor.ask("regions")["regions"], [])
        peers = [{"peer": 10 + number, "store": number} for number in (1, 2, 3)]
        region = {"region": 1, "start": "", "end": "", "peers": peers, "leader": 1}
        told = {"store": 1, "folder": "f1", "regions": [region]}
        self.assertEqual(successor.ask("regionHeartbeats", told)["orders"], [])
        for number in (1, 2, 3):
            successor.ask("storeHeartbeat", {"folder": f"f{number}", "stats": {"regions": 1}}, store=number)
        self.assertTrue(successor.placing.placement.ready)
        cluster.run(1)
        # Store 1 isn't to lead.
        (order,) = successor.ask("regionHeartbeats", told)["orders"]
        self.assertEqual(order["step"]["kind"], "transfer-leader")

    def test_leader_that_is_back(self) -> None:
        cluster = self.make()
        old = cluster.leader()
        for number in (1, 2, 3):
            old.ask("putStore", store(number), store=number)
        region = {"region": 1, "start": "", "end": "", "peers": [{"peer": 1, "store": 1}], "leader": 1}
        old.ask("regionHeartbeats", {"store": 1, "folder": "f1", "regions": [region]})
        cluster.cut(old)
        cluster.leader(but=old)
        cluster.heal()
        cluster.run(2)
        cluster.leader().kill()
        cluster.run(3)
        # Whoever leads now, it decides by nothing that was heard in another term.
        self.assertEqual(cluster.leader().ask("regions")["regions"], [])

    def test_stores_that_came_before_the_leader_went(self) -> None:
        cluster = self.make()
        leader = cluster.leader()
        for number in (1, 2):
            leader.ask("putStore", store(number), store=number)
        # The third one is noted, and the leader ends before it begins the cluster.
        command = {"do": "put-store", "now": 1, "store": {**store(3), "store": 3}}
        noted: list[Any] = []
        leader.host.propose(command).addCallback(noted.append)
        cluster.until(lambda: noted)
        self.assertFalse(leader.host.state.bootstrapped)
        leader.kill()
        successor = cluster.leader()
        cluster.until(lambda: successor.host.state.bootstrapped)


class LogTests(Case):
    """The log is cut, and who was away gets all rows instead."""

    def test_member_that_was_away_gets_a_snapshot(self) -> None:
        cluster = self.make(kept_entries=0)
        leader = cluster.leader()
        away = next(member for member in cluster.alive if member is not leader)
        away.kill()
        for number in range(1, 30):
            leader.ask("putStore", store(number), store=number)
        cluster.until(lambda: leader.disk.log.visible.base(1)[0] > 20)
        away.start()
        cluster.until(lambda: len(away.host.state.stores) == 29)
        cluster.until(lambda: away.disk.log.visible.base(1)[0] > 20)
        self.assertEqual(leader.snapshots.sent, 1)
        self.assert_alike(cluster)
        # It goes on from there, and over a restart.
        leader.ask("putStore", store(30), store=30)
        cluster.until(lambda: len(away.host.state.stores) == 30)
        away.kill()
        away.start()
        cluster.until(lambda: len(away.host.state.stores) == 30)
        leader.kill()
        self.assertEqual(len(cluster.leader().ask("stores")["stores"]), 30)

    def test_restart_from_rows_and_log(self) -> None:
        cluster = self.make(members=1, kept_entries=0)
        member = cluster.leader()
        for number in range(1, 6):
            member.ask("putStore", store(number), store=number)
            cluster.run(number * 2)
        rows = member.host.state.tables.rows()
        member.kill()
        member.start()
        self.assertEqual(member.host.state.tables.rows(), rows)
        self.assertEqual(len(cluster.leader().ask("stores")["stores"]), 5)

    def test_end(self) -> None:
        cluster = self.make(members=1)
        member = cluster.leader()
        member.ask("putStore", store(1), store=1)
        ended: list[None] = []
        member.host.close().addCallback(ended.append)
        cluster.until(lambda: ended)
        self.assertIsNotNone(member.disk.data.visible.get("data", b"tstore/1"))
        self.assertRaises(Refusal, member.ask, "putStore", store(2), store=2)
