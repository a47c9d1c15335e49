"""
Rounds of what clients want of several regions.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.store.members import Cluster
from tests.store.test_read_modes import Reader, bulk
from tinykv.peering.turn import Turn
from tinykv.redis.operations import COMMANDS, NOBODY, Operation, lookup
from tinykv.store.rounds import GATHER_SECONDS, ROUND_MOST, ROUND_SECONDS, Rounds
from tinykv.testing.embedded import TABLE

_OPERATION: Operation = (COMMANDS, NOBODY, 0, 0, None, [], b"")


class Region:
    """
    Notes what leaves.

    @ivar left: Of each time how many operations left, and when, in ms.
    """

    def __init__(self, rounds: Rounds, clock: Clock) -> None:
        self.pending: list[Operation] = []
        self.left: list[tuple[int, int]] = []
        self.hurried = False
        self._rounds = rounds
        self._clock = clock

    def take(self, count: int = 1) -> None:
        """Take operations in, in a turn of their own."""
        self.pending += count * [_OPERATION]
        self._rounds.come(self)

    def end_turn(self) -> bool:
        """Say if they may wait."""
        if self.hurried:
            self.leave()
        return not self.hurried

    def leave(self) -> None:
        """Note it."""
        if self.pending:
            self.left.append((len(self.pending), round(1000 * self._clock.seconds())))
            self.pending = []


class RoundsTests(SynchronousTestCase):
    """L{Rounds}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.rounds = Rounds(self.clock, Turn(self.clock))
        self.one, self.two, self.three = (Region(self.rounds, self.clock) for _ in range(3))
        # Whatever is done at the beginning of time is done before it.
        self.ms = 0
        self.pass_ms(1000)

    def pass_ms(self, ms: int) -> None:
        """Let time pass."""
        for _ in range(ms):
            self.ms += 1
            # However many they are, they add up to what was asked for.
            self.clock.advance(self.ms / 1000 - self.clock.seconds())

    def come(self, *counts: int) -> None:
        """Let so many operations come for the regions, all in one turn."""
        for region, count in zip((self.one, self.two, self.three), counts, strict=False):
            if count:
                region.take(count)
        self.clock.advance(0)

    def left(self, since: int) -> list[list[tuple[int, int]]]:
        """Give what has left the regions, with the ms since a time; and forget it."""
        found = [[(count, ms - since) for count, ms in region.left] for region in (self.one, self.two, self.three)]
        for region in (self.one, self.two, self.three):
            region.left.clear()
        return found

    def test_a_client_alone_is_never_waited_for(self) -> None:
        for region in (self.one, self.two, self.one):
            region.take()
            self.clock.advance(0)
            self.assertEqual(len(region.left), 1)
            self.rounds.answered(region)
            region.left.clear()

    def test_what_comes_in_one_turn_leaves_together(self) -> None:
        self.come(2, 0, 3)
        self.assertEqual(self.left(1000), [[(2, 0)], [], [(3, 0)]])
        self.assertEqual(self.rounds.count, 1)

    def test_what_comes_waits_until_all_is_answered(self) -> None:
        self.come(2, 3)
        self.left(1000)
        self.rounds.answered(self.one)
        self.pass_ms(1)
        self.come(1, 0, 1)
        self.assertEqual(self.left(1000), [[], [], []])
        self.rounds.answered(self.two)
        # They are five, of whom two have come: the others are waited for.
        self.come(0, 3)
        self.assertEqual(self.left(1001), [[], [], []])
        self.come(2)
        self.assertEqual(self.left(1001), [[(3, 0)], [(3, 0)], [(1, 0)]])

    def test_those_who_were_answered_are_not_waited_for_long(self) -> None:
        self.come(2, 3)
        self.rounds.answered(self.one)
        self.rounds.answered(self.two)
        self.left(1000)
        self.come(1)
        self.pass_ms(round(1000 * GATHER_SECONDS) + 1)
        self.assertEqual(self.left(1000), [[(1, round(1000 * GATHER_SECONDS))], [], []])

    def test_two_halves_become_one(self) -> None:
        """Who waits while others are answered doesn't leave without them."""
        self.come(5)
        self.come(0, 5)
        self.left(1000)
        self.rounds.answered(self.one)
        self.assertEqual(self.left(1000), [[], [], []])
        self.come(5)
        self.assertEqual(self.left(1000), [[(5, 0)], [(5, 0)], []])

    def test_a_round_is_not_waited_for_without_end(self) -> None:
        most = round(1000 * ROUND_SECONDS)
        self.come(1, 1)
        self.rounds.answered(self.one)
        self.come(1)
        self.left(1000)
        self.pass_ms(most - 1)
        self.assertEqual(self.left(1000), [[], [], []])
        self.pass_ms(1)
        self.assertEqual(self.left(1000), [[(1, most)], [], []])
        # What is left of the one before is of no account from then on.
        self.come(0, 0, 1)
        self.rounds.answered(self.two)
        self.assertEqual(self.left(1000), [[], [], []])
        self.rounds.answered(self.one)
        self.pass_ms(2)
        self.assertEqual(self.left(1000), [[], [], [(1, most + round(1000 * GATHER_SECONDS))]])

    def test_so_many_wait_no_longer(self) -> None:
        self.come(1)
        self.left(1000)
        self.come(0, ROUND_MOST - 1)
        self.assertEqual(self.left(1000), [[], [], []])
        self.come(0, 0, 1)
        self.assertEqual(self.left(1000), [[], [(ROUND_MOST - 1, 0)], [(1, 0)]])

    def test_so_many_are_not_waited_for(self) -> None:
        self.come(2 * ROUND_MOST)
        self.rounds.answered(self.one)
        self.left(1000)
        self.come(ROUND_MOST)
        self.assertEqual(self.left(1000), [[(ROUND_MOST, 0)], [], []])

    def test_what_must_not_wait(self) -> None:
        self.come(1)
        self.left(1000)
        self.come(0, 1)
        self.two.hurried = True
        self.come(0, 2)
        self.assertEqual(self.left(1000), [[], [(3, 0)], []])
        self.rounds.answered(self.one)
        self.pass_ms(100)
        self.assertEqual(self.left(1000), [[], [], []])

    def test_a_round_begins_while_a_turn_ends(self) -> None:
        """What a region lets go may be the last that was waited for."""
        self.rounds = Rounds(self.clock, Turn(self.clock), gather_seconds=0)
        self.one, self.two, self.three = (Region(self.rounds, self.clock) for _ in range(3))
        self.come(1)
        self.come(0, 1)
        self.left(1000)

        def leave() -> bool:
            self.rounds.answered(self.one)
            return False

        self.one.end_turn = leave  # type: ignore[method-assign]  # answered in the midst of it
        self.one.take()
        self.three.take()
        self.clock.advance(0)
        self.assertEqual(self.left(1000), [[], [(1, 0)], []])
        self.rounds.answered(self.two)
        self.assertEqual(self.left(1000), [[], [], [(1, 0)]])

    def test_a_region_ends(self) -> None:
        self.come(1, 1)
        self.come(0, 0, 1)
        self.left(1000)
        self.rounds.answered(self.one)
        self.rounds.forget(self.two)
        self.rounds.forget(self.three)
        self.pass_ms(100)
        self.assertEqual(self.left(1000), [[], [], []])
        self.come(1)
        self.assertEqual(self.left(1100), [[(1, 0)], [], []])

    def test_what_waits_may_have_gone(self) -> None:
        """As when a region is split: then there's nothing to be waited for."""
        self.come(1)
        self.come(0, 1)
        self.two.pending = []
        self.left(1000)
        self.rounds.answered(self.one)
        self.pass_ms(2)
        self.come(0, 0, 1)
        self.assertEqual(self.left(1002), [[], [], [(1, 0)]])

    def test_close(self) -> None:
        self.come(1)
        self.come(0, 1)
        self.rounds.close()
        self.rounds.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class MemberTests(SynchronousTestCase):
    """A region of three stores, as if they had others."""

    def setUp(self) -> None:
        self.cluster = Cluster(seed=5, read_mode="lease")
        self.leader = self.cluster.leader()
        self.cluster.run(1)
        self.follower = next(one for one in self.cluster.members.values() if one is not self.leader)
        for member in self.cluster.members.values():
            member.host.proposals.rounds = member.host.regions.rounds
        self.told: list[tuple[str, bytes]] = []

    def write(self, member: Any, line: str) -> None:
        """Let a client write."""
        member.host.submit(self._operation(line))

    def _operation(self, line: str) -> Operation:
        arguments = line.encode().split()
        told = self.told

        class Client:
            proto = 2
            client_id = 1

            def answer(self, number: int, reply: bytes) -> None:
                told.append((line, reply))

        raw = b"*%d\r\n%b" % (len(arguments), b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in arguments))
        return (COMMANDS, cast(Any, Client()), 0, 0, lookup(arguments, TABLE), arguments, raw)

    def told_now(self) -> list[str]:
        """Give the commands that were answered since the last time."""
        found = [line for line, reply in self.told if reply == b"+OK\r\n"]
        self.assertEqual(len(found), len(self.told))
        self.told.clear()
        return found

    def pretend(self, member: Any) -> Region:
        """Have a round under way at a store, of another region that never answers."""
        rounds = member.host.regions.rounds
        other = Region(rounds, cast(Any, member.host.regions.clock))
        other.take()
        self.cluster.run(0)
        return other

    def test_where_another_store_leads(self) -> None:
        self._check(self.follower)

    def test_where_this_store_leads(self) -> None:
        self._check(self.leader)

    def _check(self, member: Any) -> None:
        rounds = member.host.regions.rounds
        self.write(member, "SET a 1")
        self.cluster.run(0.015)
        self.assertEqual(self.told_now(), ["SET a 1"])
        # It has heard that that round is over.
        other = self.pretend(member)
        self.assertEqual(len(other.left), 1)
        self.write(member, "SET b 1")
        self.write(member, "SET c 1")
        self.cluster.run(ROUND_SECONDS / 2)
        self.assertEqual(self.told_now(), [])
        self.assertEqual(len(member.host.undone()), 2)
        rounds.answered(other)
        self.cluster.run(0.02)
        self.assertEqual(self.told_now(), ["SET b 1", "SET c 1"])

    def test_what_comes_from_other_stores_does_not_wait(self) -> None:
        self.pretend(self.leader)
        self.write(self.follower, "SET a 1")
        self.cluster.run(ROUND_SECONDS - 0.005)
        self.assertEqual(self.told_now(), ["SET a 1"])

    def test_a_round_ends_though_others_read(self) -> None:
        """Where another store leads; there some reads are always under way."""
        reader = Reader()
        latest = "SET a 0"
        begun, taken = 0, [0]
        self.write(self.follower, latest)
        for step in range(1000):
            if step % 20 == 10:
                # Somebody else waits for the next round.
                self.write(self.follower, "SET b 1")
            reader.read(self.follower, "GET c")
            self.cluster.run(0.0001)
            if latest in self.told_now():
                taken.append(step - begun)
                begun, latest = step, f"SET a {step}"
                self.write(self.follower, latest)
        self.assertTrue(self.follower.host.elsewhere.holds)
        self.assertGreater(len(taken), 4)
        self.assertLess(0.0001 * max(taken), ROUND_SECONDS)

    def test_a_round_does_not_end_by_what_was_before(self) -> None:
        rounds, stacks = self.leader.host.regions.rounds, self.leader.host.regions.stacks
        stacks.held = True
        self.write(self.leader, "SET a 1")
        self.cluster.run(2 * ROUND_SECONDS)
        stacks.held = False
        # The one before is applied as soon as this one is proposed.
        self.write(self.leader, "SET a 2")
        self.cluster.run(0)
        self.assertEqual(self.told_now(), ["SET a 1"])
        other = Region(rounds, cast(Any, self.leader.host.regions.clock))
        other.take()
        self.cluster.run(0)
        self.assertEqual(other.left, [])
        self.cluster.run(ROUND_SECONDS / 2)
        self.assertEqual(self.told_now(), ["SET a 2"])
        self.assertEqual(len(other.left), 1)

    def test_reads_pass_writes_of_others(self) -> None:
        self.leader.write("SET a 1")
        self.cluster.run(0.02)
        self.pretend(self.follower)
        self.write(self.follower, "SET a 2")
        self.assertEqual(Reader().read_later(self.follower, "GET a", ROUND_SECONDS / 2), bulk("1"))
        self.assertEqual(self.told_now(), [])
        self.cluster.run(ROUND_SECONDS)
        self.assertEqual(self.told_now(), ["SET a 2"])
        self.assertEqual(Reader().read_later(self.follower, "GET a"), bulk("2"))
