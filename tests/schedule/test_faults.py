"""
Three members while everything goes wrong: killed, cut off, their disks' power lost, their clocks set, messages lost.

Clients ask any member all the time. Whatever was answered has to hold: what was given after something else is more, no
id comes twice, no store that was registered is ever missing.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.schedule.cluster import Cluster, Member
from tests.schedule.given import Given, given_problems
from tinykv.schedule.errors import Refusal
from tinykv.schedule.routes import Call
from tinykv.testing.simulation.clock import Life
from tinykv.testing.simulation.network import Quality

#: Simulated seconds of faults.
SECONDS = 20.0
STEP = 0.05
#: Runs, each with other faults.
SEEDS = 6


class Clients:
    """Those who ask, and what they were told."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.random = cluster.events.random(f"clients {seed}")
        self.timestamps: list[Given] = []
        self.ids: list[range] = []
        self.stores: set[int] = set()
        self.problems: list[str] = []
        self._next_store = 1

    def ask(self, member: Member) -> None:
        """Ask a member something."""
        kind = self.random.choice(("timestamps", "timestamps", "ids", "store"))
        count = self.random.randint(1, 100)
        begun = self.cluster.events.now
        scheduler = member.scheduler
        if kind == "store":
            number, self._next_store = self._next_store, self._next_store + 1
            body: dict[str, Any] = {"address": f"h{number}:1", "folder": f"f{number}"}
            asked = Deferred.fromCoroutine(scheduler.put_store(Call({"store": number}, body)))
        else:
            answer = scheduler.ids if kind == "ids" else scheduler.timestamps
            asked = Deferred.fromCoroutine(answer(Call({}, {"count": count})))
            number = 0
        process = member.process

        def came(result: Any) -> None:
            if process.is_dead:
                # Nobody heard it.
                return
            if isinstance(result, Failure):
                if not result.check(Refusal):
                    self.problems.append(str(result))
            elif kind == "store":
                self.stores.add(number)
            elif kind == "ids":
                self.ids.append(range(result["first"], result["first"] + count))
            else:
                first = result["physical"] << 18 | result["logical"]
                self.timestamps.append(Given(begun, self.cluster.events.now, first, first + count - 1))

        asked.addBoth(came)

    def check(self) -> list[str]:
        """Say what shouldn't be."""
        return [*self.problems, *given_problems(self.timestamps, self.ids)]


class FaultTests(SynchronousTestCase):
    """Everything goes wrong, and nothing is lost."""

    def go_through(self, seed: int) -> Clients:
        """Let a cluster go through faults, then heal."""
        cluster = Cluster(self.mktemp(), seed=seed, kept_entries=seed % 2 * 10_000)
        cluster.network.set_quality(Quality(loss=0.02, jitter_us=2_000))
        clients = Clients(cluster, seed)
        random = cluster.events.random(f"faults {seed}")
        until = cluster.events.now + int(SECONDS * 1_000_000)
        while cluster.events.now < until:
            for member in cluster.alive:
                if member.process.life is Life.RUNNING:
                    clients.ask(member)
            if random.random() < 0.04:
                self.fault(cluster, clients, random)
            cluster.run(STEP)
        cluster.heal()
        for member in cluster.members.values():
            member.process.resume()
            if member.process.is_dead:
                member.start()
        leader = cluster.leader()
        clients.ask(leader)
        cluster.run(6)
        self.assertEqual([member.failures for member in cluster.members.values()], [[], [], []])
        for member in cluster.members.values():
            self.assertLessEqual(clients.stores, set(member.host.state.stores))
        rows = [member.host.state.tables.rows() for member in cluster.members.values()]
        self.assertEqual(rows[1:], rows[:-1])
        return clients

    def fault(self, cluster: Cluster, clients: Clients, random: Any) -> None:
        """Have something go wrong, or go right again."""
        member = random.choice(list(cluster.members.values()))
        if member.process.is_dead:
            member.start()
            return
        what = random.choice(("kill", "power", "cut", "heal", "clock", "pause", "pause"))
        if what == "kill":
            member.kill()
        elif what == "power":
            member.process.kill()
            cluster.streams.killed(member.process)
            member.disk.lost_power()
        elif what == "cut":
            cluster.cut(member)
        elif what == "heal":
            cluster.heal()
        elif what == "clock":
            member.clock.set_error(random.randint(-3_600_000_000, 3_600_000_000))
        else:
            process = member.process
            process.pause()

            def resume() -> None:
                if process.life is Life.PAUSED:
                    process.resume()
                    # What has waited longest for an answer gets one before anything else happens.
                    clients.ask(member)

            cluster.events.after(random.randint(100_000, 4_000_000), f"{member.name} goes on", resume)

    def test_faults(self) -> None:
        answered = [0, 0, 0]
        for seed in range(1, SEEDS + 1):
            clients = self.go_through(seed)
            self.assertEqual(clients.check(), [], f"seed {seed}")
            for kind, count in enumerate((len(clients.timestamps), len(clients.ids), len(clients.stores))):
                answered[kind] += count
        # It isn't that nothing was answered.
        self.assertGreater(min(answered), 30 * SEEDS, answered)

    def test_the_check_finds_what_it_is_for(self) -> None:
        clients = Clients(Cluster(self.mktemp(), members=1), 1)
        clients.timestamps = [Given(1, 2, 10, 12), Given(3, 4, 13, 13), Given(3, 5, 20, 20), Given(4, 9, 14, 15)]
        self.assertEqual(clients.check(), [])
        clients.timestamps.append(Given(6, 7, 16, 19))
        self.assertEqual(len(clients.check()), 1)
        clients.timestamps[-1] = Given(1, 7, 12, 12)
        self.assertEqual(len(clients.check()), 1)
        clients.ids = [range(1, 3), range(2, 4)]
        self.assertEqual(len(clients.check()), 2)
