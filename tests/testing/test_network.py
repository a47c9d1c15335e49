"""What a link does to messages."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tinykv.testing.simulation.clock import NodeClock, Process
from tinykv.testing.simulation.events import SECOND, Events
from tinykv.testing.simulation.network import BAD, Network, Quality


class NetworkTests(SynchronousTestCase):
    """Messages between two or three machines."""

    def begin(self, quality: Quality, seed: int = 1) -> None:
        self.events = Events(seed)
        self.network = Network(self.events, quality)
        self.heard: list[tuple[int, str, Any]] = []
        self.processes = {name: self.start(name) for name in "abc"}

    def start(self, name: str) -> Process:
        process = Process(self.events, NodeClock(self.events), name)
        self.network.listen(
            name, process, lambda source, message: self.heard.append((self.events.now, source + name, message))
        )
        return process

    def messages(self) -> list[Any]:
        return [message for _, _, message in self.heard]

    def send_many(self, count: int = 2000) -> None:
        for number in range(count):
            self.events.at(number * 100, "send", self.network.send, "a", "b", number)
        self.events.run_until(100 * SECOND)

    def test_latency(self) -> None:
        self.begin(Quality(latency_us=300, jitter_us=0))
        self.network.send("a", "b", "x")
        self.events.run_until(SECOND)
        self.assertEqual(self.heard, [(301, "ab", "x")])

    def test_large_messages_take_longer_and_hold_others_up(self) -> None:
        self.begin(Quality(latency_us=300, jitter_us=0, bytes_per_second=1_000_000))
        self.network.send("a", "b", "large", 5_000)
        self.network.send("a", "b", "small", 10)
        self.network.send("a", "c", "elsewhere", 10)
        self.events.run_until(SECOND)
        self.assertEqual(self.heard, [(310, "ac", "elsewhere"), (5_300, "ab", "large"), (5_310, "ab", "small")])

    def test_in_order(self) -> None:
        self.begin(Quality(jitter_us=5_000, straying=0.1))
        self.send_many()
        self.assertEqual(self.messages(), list(range(2000)))

    def test_out_of_order(self) -> None:
        self.begin(Quality(jitter_us=5_000, fifo=False))
        self.send_many()
        self.assertNotEqual(self.messages(), list(range(2000)))
        self.assertEqual(sorted(self.messages()), list(range(2000)))

    def test_loss_and_duplication(self) -> None:
        self.begin(Quality(loss=0.1, duplication=0.2))
        self.send_many()
        counted = self.network.link("a", "b").statistics
        self.assertEqual((counted.sent, counted.sent_bytes), (2000, 200_000))
        self.assertEqual(counted.delivered, len(self.heard))
        self.assertEqual(counted.delivered, counted.sent + counted.duplicated - counted.lost)
        self.assertTrue(300 < counted.duplicated < 500, counted)
        self.assertTrue(180 < counted.lost < 300, counted)

    def test_a_cut_goes_one_way_and_takes_what_is_under_way(self) -> None:
        self.begin(Quality(latency_us=300, jitter_us=0))
        self.network.send("a", "b", "under way")
        self.network.cut("a", "b")
        self.network.send("a", "b", "lost")
        self.network.send("b", "a", "back")
        self.events.run_until(1_000)
        self.network.heal("a", "b")
        self.network.send("a", "b", "again")
        self.events.run_until(2_000)
        self.assertEqual(self.messages(), ["back", "again"])
        self.assertEqual(self.network.statistics()["a", "b"].cut, 2)

    def test_a_cut_that_is_healed_at_once_has_lost_what_was_under_way(self) -> None:
        self.begin(Quality(latency_us=300, jitter_us=0))
        self.network.send("a", "b", "under way")
        self.network.cut("a", "b")
        self.network.heal("a", "b")
        self.events.run_until(1_000)
        self.assertEqual(self.messages(), [])

    def test_groups(self) -> None:
        self.begin(Quality())
        self.network.part(["a"], ["b", "c"])
        for source, target in (("a", "b"), ("c", "a"), ("b", "c"), ("c", "b")):
            self.network.send(source, target, source + target)
        self.events.run_until(SECOND)
        self.assertEqual(sorted(self.messages()), ["bc", "cb"])
        self.network.heal_all()
        self.network.send("c", "a", "ca")
        self.events.run_until(2 * SECOND)
        self.assertEqual(self.messages()[-1], "ca")

    def test_messages_wait_for_the_paused_and_miss_the_dead(self) -> None:
        self.begin(Quality())
        self.processes["b"].pause()
        self.network.send("a", "b", "waits")
        self.network.send("a", "nobody", "x")
        self.events.run_until(SECOND)
        self.assertEqual(self.heard, [])
        self.processes["b"].resume()
        self.events.run_until(SECOND)
        self.assertEqual(self.messages(), ["waits"])
        self.processes["b"].kill()
        self.network.send("a", "b", "unheard")
        self.events.run_until(2 * SECOND)
        self.network.send("a", "b", "reaches the next one")
        self.start("b")
        self.events.run_until(3 * SECOND)
        self.assertEqual(self.messages(), ["waits", "reaches the next one"])
        self.assertEqual(self.network.link("a", "b").statistics.unheard, 1)

    def test_the_seed_decides(self) -> None:
        runs = []
        for seed in (1, 1, 2):
            self.begin(BAD, seed)
            self.send_many(200)
            runs.append((self.heard, self.events.digest))
        self.assertEqual(runs[0], runs[1])
        self.assertNotEqual(runs[0], runs[2])

    def test_a_quality_for_all(self) -> None:
        self.begin(Quality())
        self.network.send("a", "b", "x")
        self.network.set_quality(Quality(loss=1.0))
        self.network.send("a", "b", "y")
        self.network.send("b", "c", "z")
        self.events.run_until(SECOND)
        self.assertEqual(self.messages(), ["x"])
        self.assertRaises(AssertionError, Quality, loss=1.1)
