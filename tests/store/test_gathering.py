"""
Where another store leads, entries wait a moment for more, so that many are applied together; what somebody waits for
doesn't.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.store.members import Cluster, Member
from tests.store.test_read_modes import Reader, bulk
from tinykv.raft.messages import NORMAL, Entry
from tinykv.redis.operations import COMMANDS, NOBODY, WAITING, encode_records, lookup
from tinykv.region.entry import encode_header
from tinykv.resp.replies import encode_command
from tinykv.store.apply_queue import BEHIND_BYTES, BEHIND_SECONDS
from tinykv.store.replica import TELL_SECONDS
from tinykv.testing.embedded import TABLE

#: Long enough for an entry to be decided everywhere, and short beside what it may wait then.
_DECIDED = 0.03
#: Long enough for an entry to be decided and told soon, and short beside what that may wait for entries to go with.
_ON_ITS_WAY = 0.012


class Blocked(Reader):
    """A client that may be made to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_there = False

    def waits(self, number: int, timeout_ms: int) -> None:
        """Note that it's to wait."""
        self.waits_there = True

    def pop(self, member: Member) -> None:
        """Wait for an element of a list."""
        arguments = [b"BLPOP", b"list", b"0"]
        client: Any = self
        member.host.execution.waiting_client = lambda client_id, number: client
        member.host.submit((WAITING, client, 0, 0, lookup(arguments, TABLE), arguments, None))


class GatheringTests(SynchronousTestCase):
    """Three stores, two of which follow."""

    mode = "lease"

    def setUp(self) -> None:
        """Have them agree, and rest."""
        self.cluster = Cluster(seed=5, read_mode=self.mode)
        self.leader = self.cluster.leader()
        self.cluster.run(1)
        self.follower, self.other = (one for one in self.cluster.members.values() if one is not self.leader)

    def behind(self, member: Member) -> int:
        """Count the entries that are decided there and not applied."""
        return member.group.committed - member.host.applied

    def test_entries_wait_for_more(self) -> None:
        self.leader.write("SET a 1")
        self.cluster.run(_DECIDED)
        self.leader.write("SET b 2")
        self.cluster.run(_DECIDED)
        self.assertEqual([self.behind(one) for one in (self.leader, self.follower, self.other)], [0, 2, 2])
        self.cluster.run(BEHIND_SECONDS)
        self.assertEqual([self.behind(one) for one in (self.leader, self.follower, self.other)], [0, 0, 0])
        self.assertEqual(self.follower.host.keyspace.databases[0].keys, 2)

    def test_each_time_anew(self) -> None:
        for _ in range(3):
            self.test_entries_wait_for_more()

    def test_not_without_end(self) -> None:
        """Entries that keep coming don't put off those that wait."""
        most = 0
        for number in range(100):
            self.leader.write(f"SET a {number}")
            self.cluster.run(0.01)
            most = max(most, self.behind(self.follower))
        self.assertGreater(most, 5)
        self.assertLess(most, 20)

    def test_with_other_regions(self) -> None:
        """When it's time for one region of a store, the others apply what is there."""
        self.leader.write("SET a 1")
        self.cluster.run(_DECIDED)
        stacks = self.follower.host.regions.stacks
        self.assertEqual((self.behind(self.follower), len(stacks.gathering)), (1, 1))
        self.cluster.run(BEHIND_SECONDS / 2)
        stacks.catch_up(self.follower.host.regions.clock.seconds)
        self.assertEqual((self.behind(self.follower), len(stacks.gathering)), (0, 0))
        # What comes then has its own time.
        self.leader.write("SET b 2")
        self.cluster.run(BEHIND_SECONDS / 2 + _DECIDED)
        self.assertEqual(self.behind(self.follower), 1)

    def test_so_many_bytes_are_enough(self) -> None:
        self.leader.write("SET a " + (BEHIND_BYTES - 1000) * "x")
        self.cluster.run(_DECIDED)
        self.assertEqual(self.behind(self.follower), 1)
        self.leader.write("SET b " + 1000 * "x")
        self.cluster.run(_DECIDED)
        self.assertEqual(self.behind(self.follower), 0)

    def test_a_change_of_the_members_is_applied_at_once(self) -> None:
        self.leader.write("SET a 1")
        self.cluster.run(_DECIDED)
        self.assertEqual(self.behind(self.follower), 1)
        self.leader.control.remove_store(self.other.id)
        self.cluster.run(_DECIDED)
        self.assertEqual(self.behind(self.follower), 0)
        self.assertNotIn(self.other.id, self.follower.roles)

    def test_another_peer_takes_the_place(self) -> None:
        """Its log begins anew, and what is there at once is counted as any other."""
        self.leader.write("SET a 1")
        self.cluster.run(_DECIDED)
        host = self.follower.host
        self.assertEqual(self.behind(self.follower), 1)
        host.replica.entries.clear()
        host.queue.begin_anew()
        self.assertEqual((host.applied, len(host.regions.stacks.gathering)), (0, 0))
        words = [b"SET", b"b", BEHIND_BYTES * b"x"]
        write = (COMMANDS, NOBODY, 0, 0, TABLE["set"], words, encode_command(words))
        host.replica.entries.append(Entry(1, 1, NORMAL, encode_header(0, 1) + b"".join(encode_records([write], 1))))
        host.queue.go_on()
        self.assertEqual(host.applied, 1)

    def test_a_blocked_client_is_answered_at_once(self) -> None:
        client = Blocked()
        client.pop(self.follower)
        self.cluster.run(_DECIDED)
        self.assertTrue(client.waits_there)
        self.leader.write("RPUSH list 1")
        self.cluster.run(_DECIDED)
        self.assertEqual(len(client.told), 1)

    def test_what_is_decided_is_told_with_the_next_entry(self) -> None:
        self.leader.write("SET a 1")
        self.cluster.run(_ON_ITS_WAY)
        first = self.leader.group.committed
        self.assertEqual(self.leader.host.applied, first)
        self.assertLess(self.follower.group.committed, first)
        self.leader.write("SET a 2")
        self.cluster.run(_ON_ITS_WAY)
        self.assertEqual(self.follower.group.committed, first)
        self.cluster.run(TELL_SECONDS)
        self.assertEqual(self.follower.group.committed, first + 1)

    def test_a_blocked_client_does_not_wait_for_that(self) -> None:
        """Nor for the entry before, which nobody waits for."""
        self.leader.write("SET a 1")
        client = Blocked()
        client.pop(self.follower)
        self.cluster.run(_ON_ITS_WAY)
        self.leader.write("RPUSH list 1")
        self.cluster.run(_ON_ITS_WAY)
        self.assertEqual(len(client.told), 1)

    def test_who_leads_next_has_applied_all(self) -> None:
        self.leader.write("SET a 1")
        self.cluster.run(_DECIDED)
        self.assertEqual(self.behind(self.follower), 1)
        self.leader.kill()
        new = self.cluster.leader()
        self.assertEqual(Reader().read_later(new, "GET a"), bulk("1"))

    def test_all_is_applied_before_the_end(self) -> None:
        self.leader.write("SET a 1")
        self.cluster.run(_DECIDED)
        self.cluster.done(self.follower.host.close())
        self.assertEqual(self.behind(self.follower), 0)


class LocalReadTests(GatheringTests):
    """Where clients read what is applied here."""

    mode = "local"

    def test_a_read_sees_all_that_is_decided_here(self) -> None:
        self.leader.write("SET a 1")
        self.cluster.run(_DECIDED)
        self.assertEqual(self.behind(self.follower), 1)
        self.assertEqual(Reader().read(self.follower, "GET a"), bulk("1"))
