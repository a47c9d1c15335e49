"""
A store that was away gets a snapshot: the short forms of C{make proof-catchup} and C{make proof-snapshot}.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.proofs import catchup, snapshot
from tests.proofs.behind import Load, Missed, Return
from tests.proofs.open_loop import Answers, OpenLoop
from tests.redis_server import RedisServer
from tests.system.processes import wait_until
from tests.system.test_clients import BENCHMARK


class SnapshotTests(SynchronousTestCase):
    """
    Three real stores, one of which was away for more than the log keeps.
    """

    if not sys.platform.startswith("linux"):
        skip = "finds the writers' processes in /proc"

    def test_it_catches_up_and_all_are_equal(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        load = Load(rate=50, seconds=0.5)
        figures, back = snapshot.measure(folder, 30, load, log_bytes_max="16mb", memtable_bytes="1mb")
        self.assertGreaterEqual(back.snapshots, 1)
        self.assertTrue(back.during.answered)
        self.assertTrue(all(isinstance(figure, int) for figure in figures.values()), figures)


class WritesTests(SynchronousTestCase):
    """
    What is written while the store is away.
    """

    if BENCHMARK is None:
        skip = "redis-server isn't installed"

    def test_redis_takes_what_is_not_raw(self) -> None:
        with RedisServer() as server:
            commands = [command for command in catchup.writes(2000) if not command[0].startswith(b"RAW.")]
            self.assertLess(len(commands), 2000)
            replies = server.client.pipeline(commands)
        self.assertEqual([reply for reply in replies if isinstance(reply, Exception)], [])


class JudgingTests(SynchronousTestCase):
    """
    What was seen is compared with the bounds.
    """

    def seen(self, *answered: tuple[float, float]) -> Return:
        return Return(Answers(list(answered)), 0.0, 10.0, 11.0, 12.0, 1)

    def test_percentiles(self) -> None:
        answers = Answers([(number, number + number / 1000) for number in range(1, 101)])
        self.assertAlmostEqual(answers.percentile(50), 51)
        self.assertAlmostEqual(answers.percentile(99), 100)
        self.assertAlmostEqual(answers.percentile(100), 100)
        self.assertEqual(Answers().percentile(99), 0)

    def test_the_longest_time(self) -> None:
        answers = Answers([(1.0, 1.5), (2.0, 2.25), (2.0, 4.0), (8.0, 9.0)])
        self.assertEqual(answers.longest_gap(2.0, 5.0), 1750)
        self.assertEqual(answers.longest_gap(5.0, 8.0), 3000)

    def test_what_was_before_is_not_judged(self) -> None:
        slow, quick = (9.0, 9.5), [(10 + place / 10, 10.01 + place / 10) for place in range(20)]
        back = self.seen(slow, *quick)
        snapshot.judge(back)
        catchup.judge(back)
        self.assertEqual(back.figures()["max of SET before, in us"], 500_000)

    def test_too_slow(self) -> None:
        self.assertRaises(Missed, snapshot.judge, self.seen((11.0, 11.1001)))
        self.assertRaises(Missed, catchup.judge, self.seen((10.4, 10.5), (11.4, 11.51)))


class OpenLoopTests(SynchronousTestCase):
    """
    Requests leave when their time has come.
    """

    if BENCHMARK is None:
        skip = "redis-server isn't installed"

    def test_a_server_that_rests(self) -> None:
        with RedisServer() as server:
            with OpenLoop(server.port, rate=200, connections=2, keys=10, value_bytes=10) as loop:
                os.kill(server.pid, signal.SIGSTOP)
                # The time itself is what is measured: a server that rests so long is late by that.
                time.sleep(0.4)
                os.kill(server.pid, signal.SIGCONT)
        answers = loop.answers
        self.assertGreater(len(answers.answered), 40)
        self.assertGreater(answers.percentile(50), 20)
        self.assertEqual(answers.failed.total(), 0)

    def test_errors_and_lost_connections(self) -> None:
        with RedisServer("--maxmemory", "1") as server:
            with OpenLoop(server.port, rate=500, connections=2, keys=10, value_bytes=10) as loop:
                wait_until(lambda: loop.answers.failed["OOM"] > 0, "an error")
                self.assertGreater(server.client.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"), 0)
                before = loop.answers.failed["OOM"]
                wait_until(lambda: loop.answers.failed["OOM"] > before + 10, "errors on other connections")
        self.assertEqual(loop.answers.answered, [])
