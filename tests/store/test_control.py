"""Stores that are added, removed and compared while their cluster runs."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.store.members import Cluster, Member
from tinykv.errors import ControlRefused, ControlUnknown, NotLeading
from tinykv.interfaces import IClusterControl, IForwardAnswer
from tinykv.raft.membership import REMOVE, Change, Step
from tinykv.store.control import QUESTION
from tinykv.store.surroundings import MARK
from tinykv.testing.simulation.disk import DiskQuality


@implementer(IForwardAnswer)
class Answer:
    """Notes an answer."""

    crowded = False

    def __init__(self) -> None:
        self.given: list[tuple[str, bytes]] = []

    def answer(self, payload: bytes) -> None:
        """Note it."""
        self.given.append(("answer", payload))

    def refuse(self, payload: bytes) -> None:
        """Note it."""
        self.given.append(("refuse", payload))

    def unknown(self) -> None:
        """Note it."""
        self.given.append(("unknown", b""))


class ClusterCase(SynchronousTestCase):
    """What all tests here need."""

    def refused(self, asked: Deferred[Any], *parts: str) -> None:
        """Check that something is refused, and that the reason says so."""
        problem = self.assertRaises(ControlRefused, self.cluster.done, asked)
        for part in parts:
            self.assertIn(part, str(problem))

    def begin(self, stores: int = 3) -> Member:
        """Begin a cluster, and give the store that leads it."""
        self.cluster = Cluster(stores)
        return self.cluster.leader()

    def other(self, *but: Member) -> Member:
        """Give a store that isn't one of these."""
        return next(member for member in self.cluster.members.values() if member not in but)

    def added(self, leader: Member, store: int) -> Member:
        """Add a store, and wait until it votes."""
        member = self.cluster.join(store)
        self.cluster.done(leader.control.add_store(store, f"store{store}:1"))
        self.cluster.until(lambda: member.roles.get(store) == "voter")
        return member

    def alike(self, leader: Member) -> None:
        """Check that all replicas hold the same."""
        ((region),) = self.cluster.done(leader.control.checksum(60))
        self.assertEqual([told["store"] for told in region["replicas"]], sorted(leader.roles))
        self.assertEqual(len({told["checksum"] for told in region["replicas"]}), 1, region)
        self.assertIsNotNone(region["replicas"][0]["checksum"])


class ViewTests(ClusterCase):
    """What is seen."""

    def test_it_is_a_control(self) -> None:
        self.assertTrue(verifyObject(IClusterControl, self.begin().control))

    def test_members(self) -> None:
        leader = self.begin()
        self.cluster.run(3)
        for member in self.cluster.members.values():
            self.assertEqual(member.roles, dict.fromkeys((1, 2, 3), "voter"))
            self.assertEqual(member.control.leader(), leader.id)
            self.assertTrue(member.view(leader.id)["leads"])
            self.assertEqual(member.view(member.id)["address"], member.name)
        self.other(leader).kill()
        self.cluster.run(3)
        self.assertEqual(sorted(view["up"] for view in leader.control.members()), [False, True, True])

    def test_status(self) -> None:
        leader = self.begin()
        leader.write("SET a 1")
        self.cluster.run(1)
        last = leader.group.last
        (region,) = leader.control.status()
        self.assertEqual((region["commit"], region["applied"], region["leader"]), (last, last, leader.id))
        for replica in region["members"]:
            self.assertEqual((replica["match"], replica["lag"]), (last, 0))
        (region,) = self.other(leader).control.status()
        self.assertEqual({replica["lag"] for replica in region["members"]}, {None})

    def test_without_a_leader(self) -> None:
        leader = self.begin()
        for member in self.cluster.members.values():
            if member is not leader:
                member.kill()
        self.cluster.run(5)
        self.assertIsNone(leader.control.leader())
        problem = self.assertRaises(NotLeading, self.cluster.done, leader.control.remove_store(1))
        self.assertIsNone(problem.leader)


class AddTests(ClusterCase):
    """A store is added."""

    def test_it_catches_up_and_votes(self) -> None:
        """It gets the log from its beginning, and with it the change that added it."""
        leader = self.begin()
        leader.write(*(f"SET key{number} {number}" for number in range(50)), "RPUSH l a b c", "ZADD z 1 m")
        self.cluster.run(1)
        member = self.cluster.join(4)
        self.cluster.run(2)
        self.assertEqual((member.group.peer, member.control.status()), (0, []))
        self.cluster.done(leader.control.add_store(4, "store4:1"))
        self.assertEqual(leader.roles[4], "learner")
        self.cluster.until(lambda: leader.roles[4] == "voter")
        leader.write("SET a 1")
        self.cluster.run(1)
        self.assertEqual(member.group.peer, 4)
        for one in self.cluster.members.values():
            self.assertEqual(one.roles, dict.fromkeys((1, 2, 3, 4), "voter"))
            self.assertEqual((one.host.descriptor.addresses, one.host.applied), ({4: "store4:1"}, leader.group.last))
            self.assertEqual(one.book.noted.get(4), None if one is member else "store4:1")
        self.alike(leader)

    def test_a_new_leader_goes_on(self) -> None:
        """That it's a learner is all that has to be known."""
        leader = self.begin()
        member = self.cluster.join(4)
        added = leader.control.add_store(4, "store4:1")
        self.cluster.until(lambda: any(one.roles.get(4) == "learner" for one in self.cluster.members.values()))
        self.cluster.done(added)
        leader.kill()
        after = self.cluster.leader()
        self.assertIsNot(after, leader)
        self.cluster.until(lambda: member.roles.get(4) == after.roles[4] == "voter")

    def test_it_starts_again(self) -> None:
        """By then it knows which peer it is, though the entry that added it may not be applied yet."""
        leader = self.begin()
        member = self.cluster.join(4)
        self.cluster.done(leader.control.add_store(4, "store4:1"))
        self.cluster.until(lambda: member.group.stable)
        member.kill()
        member.start()
        self.assertEqual(member.group.peer, 4)
        self.cluster.until(lambda: member.roles.get(4) == "voter")

    def test_the_others_start_again(self) -> None:
        """They know where it is."""
        leader = self.begin()
        self.added(leader, 4)
        self.cluster.run(1)
        for member in self.cluster.members.values():
            member.kill()
            member.start()
        for member in self.cluster.members.values():
            self.assertEqual(member.book.noted.get(4), None if member.id == 4 else "store4:1")
        self.alike(self.cluster.leader())

    def test_one_that_was_added_leads(self) -> None:
        """Also over those who haven't heard of it: they answer whoever speaks to them."""
        leader = self.begin()
        late = self.other(leader)
        late.kill()
        member = self.added(leader, 4)
        self.assertEqual(self.cluster.done(leader.control.transfer_leader(4)), 4)
        self.assertIs(self.cluster.leader(), member)
        leader.kill()
        late.start()
        member.write("SET a 1")
        self.cluster.until(lambda: late.host.applied == member.group.last)
        self.assertEqual(late.roles, dict.fromkeys((1, 2, 3, 4), "voter"))

    def test_from_one_to_three(self) -> None:
        leader = self.begin(1)
        leader.write("SET a 1")
        self.added(leader, 2)
        self.added(leader, 3)
        leader.kill()
        self.cluster.leader()

    def test_who_is_there_already(self) -> None:
        leader = self.begin()
        self.added(leader, 4)
        last = leader.group.last
        self.assertIsNone(self.cluster.done(leader.control.add_store(4, "store4:1")))
        self.assertEqual(leader.group.last, last)
        self.refused(leader.control.add_store(4, "elsewhere:1"), "is a member already, at store4:1")

    def test_who_is_not_there(self) -> None:
        """It's refused before anything is changed, and its address is forgotten."""
        leader = self.begin()
        self.refused(leader.control.add_store(5, "store5:1"), "store 5 can't be reached at store5:1", "join = yes")
        self.assertEqual(leader.roles, dict.fromkeys((1, 2, 3), "voter"))

    def test_who_has_data(self) -> None:
        """A store that has a peer already doesn't wait to be added."""
        leader = self.begin()
        self.cluster.join(4).group.become(9)
        self.refused(leader.control.add_store(4, "store4:1"), "store 4 has data of a cluster already", "empty folder")

    def test_who_was_removed(self) -> None:
        leader = self.begin()
        member = self.added(leader, 4)
        self.cluster.done(leader.control.remove_store(4))
        self.cluster.until(lambda: member.left)
        self.refused(leader.control.add_store(4, "store4:1"), "store 4 was removed", "new store_id")

    def test_two_at_once(self) -> None:
        leader = self.begin()
        self.cluster.join(4)
        self.cluster.join(5)
        first = leader.control.add_store(4, "store4:1")
        second = leader.control.add_store(5, "store5:1")
        self.refused(second, "")
        self.cluster.done(first)
        self.assertEqual(sorted(leader.roles), [1, 2, 3, 4])

    def learning(self, leader: Member) -> Member:
        """Begin to add a store, and let it stand still before it has caught up."""
        member = self.cluster.join(4)
        added = leader.control.add_store(4, "store4:1")
        self.cluster.until(lambda: leader.roles.get(4) == "learner")
        member.process.pause()
        self.cluster.done(added)
        return member

    def test_while_one_catches_up(self) -> None:
        leader = self.begin()
        member = self.learning(leader)
        self.cluster.join(5)
        self.refused(leader.control.add_store(5, "store5:1"), "store 4 is still catching up")
        self.refused(leader.control.transfer_leader(4), "store 4 doesn't vote")
        member.process.resume()
        self.cluster.until(lambda: leader.roles[4] == "voter")

    def test_a_learner_that_is_away_stays_one(self) -> None:
        """And it can be removed, or else nobody could be added any more."""
        leader = self.begin()
        self.learning(leader).kill()
        self.cluster.run(10)
        self.assertEqual(leader.roles[4], "learner")
        self.cluster.done(leader.control.remove_store(4))
        self.assertEqual(leader.roles, dict.fromkeys((1, 2, 3), "voter"))
        self.added(leader, 5)

    def test_at_the_address_of_another(self) -> None:
        leader = self.begin()
        self.refused(leader.control.add_store(4, leader.name), f"store {leader.id} is at {leader.name}")

    def test_elsewhere_than_at_the_leader(self) -> None:
        leader = self.begin()
        problem = self.assertRaises(NotLeading, self.cluster.done, self.other(leader).control.add_store(4, "x:1"))
        self.assertEqual(problem.leader, leader.id)

    def test_no_majority_confirms_it(self) -> None:
        """It may be made yet, so that nobody knows."""
        leader = self.begin()
        self.cluster.join(4)
        self.cluster.cut(leader.id, but=4)
        problem = self.assertRaises(ControlUnknown, self.cluster.done, leader.control.add_store(4, "store4:1"))
        self.assertIn("no majority has confirmed", str(problem))

    def test_another_leader_replaces_it(self) -> None:
        """Then it's certain that nothing was done."""
        leader = self.begin()
        self.cluster.join(4)
        self.cluster.cut(leader.id, but=4)
        adding = leader.control.add_store(4, "store4:1")
        others = [member for member in self.cluster.members.values() if member is not leader]
        self.cluster.until(lambda: any(member.host.ready for member in others))
        self.cluster.heal()
        self.refused(adding, "another store took over before a majority had the change")

class RemoveTests(ClusterCase):
    """A store is removed."""

    def test_a_follower(self) -> None:
        """It hears of it, and stops; its number isn't used again."""
        leader = self.begin()
        gone = self.other(leader)
        self.assertIsNone(self.cluster.done(leader.control.remove_store(gone.id)))
        self.assertNotIn(gone.id, leader.roles)
        self.cluster.until(lambda: gone.left)
        self.assertEqual(leader.host.descriptor.removed, (gone.id,))
        self.refused(leader.control.remove_store(gone.id), "isn't a member any more")
        self.cluster.run(10)
        self.assertEqual((gone.left, leader.failures, gone.failures), (1, [], []))
        self.alike(leader)

    def test_who_is_down_hears_of_it_later(self) -> None:
        """When it comes back, and asks to be elected."""
        leader = self.begin()
        gone = self.other(leader)
        gone.kill()
        self.cluster.run(3)
        self.cluster.done(leader.control.remove_store(gone.id))
        self.cluster.run(10)
        gone.start()
        self.cluster.until(lambda: gone.left)
        self.assertIs(self.cluster.leader(), leader)

    def test_the_leader(self) -> None:
        """It hands over first; the next one removes it."""
        leader = self.begin()
        self.cluster.run(1)
        self.assertIsNone(self.cluster.done(leader.control.remove_store(leader.id)))
        after = next(member for member in self.cluster.members.values() if member.host.ready)
        self.assertIsNot(after, leader)
        self.assertEqual(after.roles, {member: "voter" for member in (1, 2, 3) if member != leader.id})
        self.cluster.until(lambda: leader.left)

    def test_down_to_one(self) -> None:
        leader = self.begin()
        for gone in [member for member in self.cluster.members.values() if member is not leader]:
            self.cluster.done(leader.control.remove_store(gone.id))
        self.refused(leader.control.remove_store(leader.id), "the only one that votes")
        leader.write("SET a 1")
        self.alike(leader)

    def test_the_majority_would_be_lost(self) -> None:
        """Of two that would be left, one is away."""
        leader = self.begin()
        down = self.other(leader)
        third = self.other(leader, down)
        down.kill()
        self.cluster.run(3)
        self.refused(leader.control.remove_store(third.id), "would lose its majority", f"only {leader.id} can be")
        self.refused(leader.control.remove_store(leader.id), "would lose its majority", f"only {third.id} can be")
        self.cluster.done(leader.control.remove_store(down.id))

    def test_who_never_was_there(self) -> None:
        leader = self.begin()
        self.refused(leader.control.remove_store(9), "store 9 isn't a member")

    def test_during_another_change(self) -> None:
        """Members that change in steps, or a leader that hands over: then one waits."""
        leader = self.begin()
        joint = Change((Step(REMOVE, 1), Step(REMOVE, 2)), auto_leave=False)
        leader.group.propose_change(joint)
        leader.host.replica.go_on()
        self.cluster.until(lambda: leader.group.membership.outgoing)
        self.refused(leader.control.remove_store(3), "isn't done; ask again")
        self.assertEqual(sorted(leader.roles.values()), ["outgoing", "outgoing", "voter"])


class TransferTests(ClusterCase):
    """Leadership is handed over."""

    def test_to_whoever_is_best(self) -> None:
        leader = self.begin()
        self.cluster.run(1)
        down = self.other(leader)
        third = self.other(leader, down)
        down.kill()
        self.cluster.run(3)
        self.assertEqual(self.cluster.done(leader.control.transfer_leader(None)), third.id)

    def test_to_oneself(self) -> None:
        leader = self.begin()
        self.assertEqual(self.cluster.done(leader.control.transfer_leader(leader.id)), leader.id)

    def test_to_who_cannot(self) -> None:
        leader = self.begin()
        self.cluster.run(1)
        self.refused(leader.control.transfer_leader(9), "store 9 isn't a member")
        down = self.other(leader)
        down.kill()
        self.cluster.run(3)
        self.refused(leader.control.transfer_leader(down.id), "can't be reached")
        self.other(leader, down).kill()
        self.assertRaises(ControlRefused, self.cluster.done, leader.control.transfer_leader(None))

    def test_who_does_not_take_over(self) -> None:
        leader = self.begin()
        self.cluster.run(1)
        slow = self.other(leader)
        slow.process.pause()
        handing = leader.control.transfer_leader(slow.id)
        self.refused(leader.control.transfer_leader(self.other(leader, slow).id), f"goes to store {slow.id} already")
        self.refused(handing, f"store {slow.id} didn't take over in time; this one leads on")
        self.assertTrue(leader.host.ready)

    def test_changes_wait_for_it(self) -> None:
        leader = self.begin()
        self.cluster.run(1)
        slow = self.other(leader)
        slow.process.pause()
        leader.control.transfer_leader(slow.id).addErrback(lambda failure: None)
        self.refused(leader.control.remove_store(slow.id), f"is being handed to store {slow.id}; ask again")

    def test_nobody_says_that_it_leads(self) -> None:
        leader = self.begin()
        self.cluster.run(1)
        handing = leader.control.transfer_leader(None)
        self.cluster.until(lambda: not leader.group.leads)
        self.cluster.cut(leader.id)
        problem = self.assertRaises(ControlUnknown, self.cluster.done, handing)
        self.assertIn("no store has said that it leads", str(problem))


class ChecksumTests(ClusterCase):
    """Replicas are compared."""

    def test_one_is_away(self) -> None:
        leader = self.begin()
        self.cluster.run(1)
        down = self.other(leader)
        down.kill()
        self.cluster.run(3)
        (region,) = self.cluster.done(leader.control.checksum(60))
        told = {replica["store"]: replica["checksum"] for replica in region["replicas"]}
        self.assertIsNone(told.pop(down.id))
        self.assertEqual(len(set(told.values())), 1)
        self.assertEqual(leader.control.mismatches, 0)

    def test_one_is_slow(self) -> None:
        """It's awaited, but not for ever."""
        leader = self.begin()
        self.cluster.run(1)
        slow = self.other(leader)
        slow.process.pause()
        comparing = leader.control.checksum(60)
        self.cluster.run(1)
        slow.process.resume()
        (region,) = self.cluster.done(comparing)
        self.assertEqual(len({replica["checksum"] for replica in region["replicas"]}), 1)

    def test_one_differs(self) -> None:
        """That's told loudly."""
        leader = self.begin()
        leader.write("SET a 1")
        self.cluster.run(1)
        wrong = self.other(leader)
        wrong.host.rows.put("write", b"w", b"never written")
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        (region,) = self.cluster.done(leader.control.checksum(60))
        told = {replica["store"]: replica["checksum"] for replica in region["replicas"]}
        self.assertEqual(len(set(told.values())), 2)
        self.assertNotEqual(told[wrong.id], told[leader.id])
        self.assertEqual(leader.control.mismatches, 1)
        self.assertTrue(any("differ" in str(event.get("log_format")) for event in events))

    def test_elsewhere_than_at_the_leader(self) -> None:
        leader = self.begin()
        self.assertRaises(NotLeading, self.cluster.done, self.other(leader).control.checksum(60))

    def comparing(self, leader: Member, seconds: float = 60) -> Deferred[Any]:
        """Begin to compare, and go on until all stores read, which takes them long."""
        leader.write(*(f"SET key{number} {'x' * 2000}" for number in range(3000)))
        self.cluster.run(2)
        for member in self.cluster.members.values():
            member.disk.quality = DiskQuality(read_us=100_000)
        comparing = leader.control.checksum(seconds)
        self.cluster.until(lambda: all(member.host.flushes for member in self.cluster.members.values()))
        self.cluster.run(0.5)
        self.assertNoResult(comparing)
        return comparing

    def told(self, comparing: Deferred[Any]) -> dict[int, str]:
        """Give, by store, its checksum or its problem."""
        (region,) = self.cluster.done(comparing)
        return {told["store"]: told["checksum"] or told["problem"] for told in region["replicas"]}

    def test_writes_go_on(self) -> None:
        """And change nothing of it, whether they're flushed meanwhile or not."""
        leader = self.begin()
        comparing = self.comparing(leader)
        before = leader.host.applied
        for number in range(20):
            leader.write(f"SET key{number} y", f"INCR new{number}")
            self.cluster.run(0.1)
        self.assertEqual(leader.host.applied, before + 20)
        self.other(leader).host.flush_all(lambda: None)
        self.assertNoResult(comparing)
        self.assertEqual(len(set(self.told(comparing).values())), 1)
        self.assertEqual({member.host.flushes for member in self.cluster.members.values()}, {1, 2})

    def test_one_at_a_time(self) -> None:
        leader = self.begin()
        comparing = self.comparing(leader)
        self.refused(leader.control.checksum(60), "being compared already", "ask again when that's done")
        self.assertEqual(len(set(self.told(comparing).values())), 1)
        self.alike(leader)

    def test_one_takes_too_long(self) -> None:
        leader = self.begin()
        slow = self.other(leader)
        comparing = self.comparing(leader, 20)
        for member in self.cluster.members.values():
            member.disk.quality = DiskQuality(read_us=100_000_000 if member is slow else 1)
        told = self.told(comparing)
        self.assertIn("isn't summed up within 20 s", told.pop(slow.id))
        self.assertEqual(len(set(told.values())), 1)
        self.assertEqual(leader.control.mismatches, 0)

    def test_one_doesnt_answer_for_longer_than_a_sum_may_take(self) -> None:
        """The others wait for the entry without that counting."""
        leader = self.begin()
        self.cluster.run(1)
        frozen = self.other(leader)
        frozen.process.pause()
        told = self.told(leader.control.checksum(2))
        self.assertIn("doesn't answer", told.pop(frozen.id))
        self.assertEqual((len(told), len(set(told.values()))), (2, 1), told)

    def test_the_leader_takes_too_long(self) -> None:
        leader = self.begin()
        comparing = self.comparing(leader, 20)
        leader.disk.quality = DiskQuality(read_us=100_000_000)
        self.refused(comparing, "isn't summed up within 20 s")

    def test_the_leader_gives_up_before_the_entry(self) -> None:
        """Nobody waits for the entry then."""
        leader = self.begin()
        self.cluster.run(1)
        others = [member for member in self.cluster.members.values() if member is not leader]
        for member in others:
            member.disk.stuck = True
        comparing = leader.control.checksum(60)
        self.cluster.run(11)
        leader.control.stop()
        self.cluster.run(1)
        problem = self.failureResultOf(comparing, ControlRefused).value
        self.assertIn("this store stops", str(problem))

    def test_one_begins_anew(self) -> None:
        leader = self.begin()
        comparing = self.comparing(leader)
        one = self.other(leader)
        one.kill()
        one.start()
        told = self.told(comparing)
        self.assertIn("started anew", told.pop(one.id))
        self.assertEqual(len(set(told.values())), 1)
        self.assertEqual([member.failures for member in self.cluster.members.values()], [[], [], []])

    def test_one_is_out_of_reach_for_a_moment(self) -> None:
        leader = self.begin()
        comparing = self.comparing(leader)
        self.cluster.cut(self.other(leader).id)
        self.cluster.run(4)
        self.cluster.heal()
        self.assertEqual(len(set(self.told(comparing).values())), 1)

    def test_one_is_out_of_reach(self) -> None:
        leader = self.begin()
        comparing = self.comparing(leader)
        one = self.other(leader)
        self.cluster.cut(one.id)
        self.assertEqual(self.told(comparing)[one.id], "it can't be reached any more")

    def test_no_majority(self) -> None:
        """The entry may be there some time, and then it means nothing."""
        leader = self.begin()
        self.cluster.run(1)
        for member in self.cluster.members.values():
            if member is not leader:
                member.kill()
        self.refused(leader.control.checksum(60), "no majority has decided")

    def test_the_leader_stops(self) -> None:
        leader = self.begin()
        comparing = self.comparing(leader)
        leader.control.stop()
        self.refused(comparing, "this store stops")

    def test_another_leads_meanwhile(self) -> None:
        """Who began goes on, and who leads now may begin as well: then that counts."""
        leader = self.begin()
        comparing = self.comparing(leader)
        self.cluster.done(leader.control.transfer_leader(None))
        self.cluster.run(1)
        for member in self.cluster.members.values():
            member.disk.quality = DiskQuality()
        self.alike(self.cluster.leader())
        self.refused(comparing, "another comparison has begun")

    def test_a_store_on_its_own(self) -> None:
        leader = self.begin(1)
        leader.write("SET a 1")
        self.assertEqual(len(self.told(leader.control.checksum(60))), 1)

    def test_whatever_lies_in_memory(self) -> None:
        """One has flushed and begun anew, one keeps all of it in memory."""
        leader = self.begin()
        leader.write("SET a 1", "RPUSH l a b c", "HSET h f v", "SADD s 1 2 3", "ZADD z 1 m 2 n", "DEL a")
        leader.write(*(f"RPUSH long {'x' * 100}{number}" for number in range(300)), "DEL long", "SET b 2")
        self.cluster.run(1)
        one = self.other(leader)
        flushed: list[bool] = []
        one.host.flush_all(lambda: flushed.append(True))
        self.cluster.until(lambda: flushed)
        one.kill()
        one.start()
        self.cluster.run(3)
        self.alike(self.cluster.leader())


class QuestionTests(ClusterCase):
    """What comes over the links beside commands."""

    def test_a_question_of_operators(self) -> None:
        leader = self.begin()
        leader.control.relayed = lambda payload: succeed(payload.upper())
        answer = Answer()
        leader.peers.forwarded(2, MARK + QUESTION + b"what", answer)
        self.assertEqual(answer.given, [("answer", b"WHAT")])

    def test_nobody_takes_questions(self) -> None:
        answer = Answer()
        self.begin().control.forwarded(2, QUESTION + b"what", answer)
        self.assertEqual(answer.given, [("unknown", b"")])

    def test_a_question_of_another_version(self) -> None:
        for payload in (b"", b"z", b"\xff\xff"):
            answer = Answer()
            self.begin().control.forwarded(2, payload, answer)
            self.assertEqual(answer.given[0][0], "refuse")

    def test_who_is_told_wrongly_that_it_was_removed(self) -> None:
        """Such a word is for one store, and only where there's a peer."""
        leader = self.begin()
        joining = self.cluster.join(4)
        for member, payload in ((leader, b"R9"), (leader, b"R"), (joining, b"R4")):
            member.control.forwarded(2, payload, Answer())
        self.cluster.run(1)
        self.assertEqual((leader.left, joining.left), (0, 0))

    def test_a_comparison_of_which_it_knows_nothing(self) -> None:
        """Its store was started anew since, or the question is of another version."""
        control = self.begin().control
        for payload in (b"C1-1", b"C", b"S", b"S10", b"S10 ", b"Sx y", b"S10 " + b"x" * 65, b"S1234567890 x"):
            answer = Answer()
            control.forwarded(2, payload, answer)
            self.assertEqual([kind for kind, _ in answer.given], ["refuse"], payload)

    def test_its_end(self) -> None:
        """Who still waits is told that nobody knows."""
        leader = self.begin()
        self.cluster.run(1)
        self.cluster.cut(leader.id)
        leaving = leader.control.remove_store(self.other(leader).id)
        leader.control.stop()
        self.failureResultOf(leaving, ControlUnknown)
