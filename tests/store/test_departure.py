"""The end of stores that were removed: not before the others know it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.store.members import Member
from tests.store.test_control import Answer, ClusterCase
from tinykv.errors import ControlRefused
from tinykv.interfaces import Outcome
from tinykv.raft.membership import REMOVE, Change, Step
from tinykv.raft.messages import HEARTBEAT, Message
from tinykv.region.descriptor import Descriptor
from tinykv.store.departure import ASK_SECONDS, FIRST_WORD_SECONDS, WORD_SECONDS, Departure
from tinykv.store.surroundings import FAREWELL_SECONDS, MARK


class LingeringTests(ClusterCase):
    """A store that was removed is there for the others."""

    def removed(self) -> tuple[Member, Member]:
        """Have the leader of two voters remove itself, and hear of it alone; give it, and the one that is left."""
        leader = self.begin(2)
        self.cluster.run(1)
        other = self.other(leader)
        peer = leader.group.peer
        leader.group.propose_change(Change((Step(REMOVE, peer),)))
        leader.host.replica.go_on()
        # It's written at the other one, which isn't told any more that it's decided.
        self.cluster.until(lambda: other.group.last == leader.group.last)
        self.cluster.until(lambda: leader.group.committed == leader.group.last)
        self.cluster.cut(leader.id)
        self.cluster.until(lambda: leader.lingers)
        return leader, other

    def logged(self) -> list[str]:
        """Note what is logged."""
        words: list[str] = []

        def note(event: Any) -> None:
            words.append(str(event.get("log_format", "")).format(**{**event, "log_format": ""}))

        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)
        return words

    def test_until_a_majority_knows(self) -> None:
        gone, other = self.removed()
        self.cluster.run(20)
        self.assertEqual((gone.left, gone.lingers, other.host.ready), (0, 1, False))
        self.assertIn("removed from the cluster", str(gone.control.problem))
        self.assertIn(f"waits for stores {other.id}", str(gone.control.problem))
        self.cluster.heal()
        self.cluster.until(lambda: other.host.ready and gone.left)
        self.assertEqual((gone.left, gone.lingers), (1, 1))
        self.assertEqual(other.host.descriptor.removed, (gone.id,))
        other.write("SET a 1")
        self.alike(other)

    def test_it_takes_no_part(self) -> None:
        """It answers, and never campaigns; operators are sent elsewhere."""
        gone, _ = self.removed()
        term = gone.group.term
        self.cluster.run(20)
        self.assertEqual((gone.group.term, gone.group.leader_id, gone.control.leader()), (term, 0, None))
        for asked in (gone.control.remove_store(1), gone.control.transfer_leader(1), gone.control.checksum(9)):
            problem = self.assertRaises(ControlRefused, self.cluster.done, asked)
            self.assertIn("was removed from the cluster; ask another one", str(problem))

    def test_it_starts_again(self) -> None:
        """It lingers again, with its vote."""
        gone, other = self.removed()
        peer = gone.group.peer
        gone.kill()
        gone.start()
        self.assertEqual((gone.group.peer, gone.lingers), (peer, 1))
        self.cluster.run(3)
        self.assertEqual((gone.lingers, gone.left), (2, 0))
        self.cluster.heal()
        self.cluster.until(lambda: other.host.ready and gone.left)

    def test_it_starts_when_all_know(self) -> None:
        """Its links were forgotten long ago."""
        leader = self.begin()
        gone = self.other(leader)
        self.cluster.done(leader.control.remove_store(gone.id))
        self.cluster.until(lambda: gone.left)
        gone.kill()
        self.cluster.run(2 * FAREWELL_SECONDS)
        gone.start()
        self.cluster.until(lambda: gone.left == 2, 3)

    def test_a_minority_is_not_enough(self) -> None:
        """Of four that stay, two know it."""
        leader = self.begin(5)
        self.cluster.run(1)
        gone, third, *away = [member for member in self.cluster.members.values() if member is not leader]
        removing = leader.control.remove_store(gone.id)
        self.cluster.until(lambda: leader.group.committed == leader.group.last)
        self.cluster.done(removing)
        self.cluster.until(lambda: third.host.descriptor.removed and gone.lingers and not gone.left or gone.left)
        for member in away:
            member.kill()
        gone.kill()
        gone.start()
        left = gone.left
        self.cluster.run(10)
        self.assertEqual(gone.left, left)
        away[0].start()
        self.cluster.until(lambda: gone.left > left)

    def test_who_was_only_told(self) -> None:
        """It doesn't know the others: one is removed too, another came later."""
        leader = self.begin()
        gone = self.other(leader)
        self.cluster.run(1)
        gone.kill()
        self.cluster.run(3)
        self.cluster.done(leader.control.remove_store(gone.id))
        for store in (4, 5):
            self.added(leader, store)
            self.cluster.until(lambda: set(leader.roles.values()) == {"voter"})
        self.cluster.run(10)
        gone.start()
        self.cluster.until(lambda: gone.lingers)
        self.assertEqual(gone.host.descriptor.removed, ())
        self.cluster.until(lambda: gone.left)
        self.assertEqual(gone.book.noted.get(5), "store5:1")

    def test_a_word_that_gets_lost_is_said_again(self) -> None:
        """Long before a reminder would be due."""
        leader = self.begin()
        gone = self.other(leader)
        gone.kill()
        self.cluster.run(3)
        self.cluster.done(leader.control.remove_store(gone.id))
        leader.control.regions[1].stray(gone.id, gone.group.peer)
        self.cluster.run(10)
        self.assertEqual(gone.lingers, 0)
        gone.start()
        self.cluster.until(lambda: gone.left, 10)

    def test_what_is_said_of_it(self) -> None:
        """Once, then after a while, then seldom."""
        words = self.logged()
        gone, other = self.removed()

        def said() -> int:
            return len([word for word in words if "lingers" in word])

        self.assertEqual(len([word for word in words if "serves no clients any more" in word]), 1)
        for seconds, times in ((FIRST_WORD_SECONDS + 2, 1), (WORD_SECONDS - 5, 1), (10, 2), (WORD_SECONDS, 3)):
            self.cluster.run(seconds)
            self.assertEqual(said(), times)
        self.assertTrue(any(f"it waits for stores {other.id}. If they're gone" in word for word in words))

    def test_its_end(self) -> None:
        """When it's stopped, nothing is asked any more."""
        gone, _ = self.removed()
        gone.control.stop()
        self.cluster.heal()
        self.cluster.run(5)
        self.assertEqual(gone.left, 0)

    def test_a_member_that_is_told_so(self) -> None:
        """A mere word is no proof, nor is a leader's message for another number: it serves on."""
        leader = self.begin()
        self.cluster.run(1)
        for member in self.cluster.members.values():
            teller, peer = self.other(member), member.group.peer
            for _ in range(3):
                member.peers.forwarded(teller.id, MARK + b"R1 %d" % peer, Answer())
                sender = teller.group.peer
                member.peers.received(teller.id, 1, Message(HEARTBEAT, peer + 9, sender, member.group.term))
                self.cluster.run(0.1)
        self.cluster.run(10)
        for member in self.cluster.members.values():
            self.assertEqual((member.lingers, member.left, member.host.vacant), (0, 0, False))
        self.assertTrue(leader.host.ready)
        leader.write("SET a 1")
        self.alike(leader)

    def test_who_is_told_again(self) -> None:
        """Once is enough."""
        gone, other = self.removed()
        gone.peers.forwarded(other.id, MARK + b"R1 %d" % gone.group.peer, Answer())
        self.cluster.run(1)
        self.assertEqual(gone.lingers, 1)


class AnswerTests(SynchronousTestCase):
    """What counts as the word of a majority."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[int] = []
        self.met: list[Descriptor] = []
        self.over = 0
        self.departure = Departure(
            store_id=1,
            region=7,
            gone=lambda descriptor: 1 in descriptor.removed,
            ends=lambda: True,
            clock=self.clock,
            ask=self.ask,
            met=self.met.append,
            over=self.end,
        )
        self.answers: dict[int, Deferred[tuple[Outcome, bytes]]] = {}

    def ask(self, store: int) -> Deferred[tuple[Outcome, bytes]]:
        """Note the question."""
        self.asked.append(store)
        self.answers[store] = Deferred()
        return self.answers[store]

    def end(self) -> None:
        """Note the end."""
        self.over += 1

    def answer(self, store: int, row: bytes, outcome: Outcome = Outcome.ANSWERED) -> None:
        """Answer the question that a store was asked."""
        self.answers[store].callback((outcome, row))

    def descriptor(self, *stores: int, without: Iterable[int] = (1,)) -> Descriptor:
        """Make a descriptor of some stores from which others were removed, one after another."""
        descriptor = Descriptor.initial(7, [*without, *stores])
        for store in without:
            descriptor = descriptor.after(descriptor.removing(store))
        return descriptor

    def test_each_is_asked_until_it_says_so(self) -> None:
        descriptor = self.descriptor(2, 3, 4)
        self.departure.begin(descriptor)
        self.assertEqual(self.asked, [])
        self.clock.advance(0)
        self.assertEqual(self.asked, [2, 3, 4])
        self.answer(2, descriptor.encode())
        self.answer(3, Descriptor.initial(7, [1, 2, 3, 4]).encode())
        self.clock.advance(ASK_SECONDS)
        self.assertEqual(self.asked, [2, 3, 4, 3])
        self.assertEqual(self.over, 0)
        self.answer(3, descriptor.encode())
        self.assertEqual((self.over, self.clock.getDelayedCalls()), (1, []))
        self.answer(4, descriptor.encode())
        self.assertEqual(self.over, 1)

    def test_answers_that_make_no_sense(self) -> None:
        """They confirm nothing, nor does what never came or was refused."""
        row = self.descriptor(2).encode()
        self.departure.begin(self.descriptor(2))
        for answer in (b"", b"1", row[:-1], row + b"x"):
            self.clock.advance(ASK_SECONDS)
            self.answer(2, answer)
        for outcome in (Outcome.REFUSED, Outcome.UNKNOWN):
            self.clock.advance(ASK_SECONDS)
            self.answer(2, row, outcome)
        self.assertEqual(self.over, 0)
        self.clock.advance(ASK_SECONDS)
        self.answer(2, row)
        self.assertEqual(self.over, 1)

    def test_those_who_came_later_count(self) -> None:
        """And those who left meanwhile don't."""
        self.departure.begin(self.descriptor(2))
        self.clock.advance(0)
        now = self.descriptor(3, 4, without=(1, 2))
        self.answer(2, now.encode())
        self.assertEqual((self.over, self.met[-1]), (0, now))
        self.clock.advance(ASK_SECONDS)
        self.assertEqual(self.asked, [2, 3, 4])
        self.answer(3, now.encode())
        self.assertEqual(self.over, 0)
        self.answer(4, now.encode())
        self.assertEqual(self.over, 1)

    def test_both_majorities_of_a_joint_configuration(self) -> None:
        before = self.descriptor(2, 3, 4)
        left = [before.peer_on(store) or 0 for store in (2, 3)]
        joint = before.after(Change(tuple(Step(REMOVE, peer) for peer in left)))
        self.assertEqual((len(joint.membership.voters), len(joint.membership.outgoing)), (1, 3))
        self.departure.begin(joint)
        self.clock.advance(0)
        self.assertEqual(self.asked, [2, 3, 4])
        self.answer(2, joint.encode())
        self.answer(3, joint.encode())
        self.assertEqual(self.over, 0)
        self.answer(4, joint.encode())
        self.assertEqual(self.over, 1)

    def test_who_was_only_told_believes_others(self) -> None:
        """It asks all that it knows, and who told it; none of the members that it knew needs to be one any more."""
        self.departure.begin(Descriptor.initial(7, [1, 2, 3]), 8)
        self.clock.advance(0)
        self.assertEqual(self.asked, [2, 3, 8])
        now = self.descriptor(8, 9)
        self.answer(8, replace(now, conf_ver=20).encode())
        self.clock.advance(ASK_SECONDS)
        self.assertEqual(self.asked[3:], [9])
        self.answer(9, now.encode())
        self.assertEqual(self.over, 1)
