"""A region is merged into its neighbour on a store that's on its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.store.test_splits import HIGH, LOW, MIDDLE, OK, SplitsCase
from tinykv.keys import SLOTS, slot_of, slots_range
from tinykv.raft.log import Compacted
from tinykv.raft.messages import Entry
from tinykv.raft.refusals import Refused
from tinykv.redis.operations import COMMANDS, INTERNAL, LOCAL
from tinykv.region.descriptor import descriptor_key
from tinykv.region.merging import Merging, encode_rollback, merging_key, record_key
from tinykv.region.state import ApplyState, apply_key
from tinykv.region.tombstone import NO_PEER, decode_merged, decode_tombstone, tombstone_key
from tinykv.resp.replies import encode_command
from tinykv.resp.splitting import elements_of
from tinykv.storage.log_reader import LogReader
from tinykv.store.host import RegionHost
from tinykv.store.letting_go import LetGo
from tinykv.store.merge_entries import merges, takes_in
from tinykv.store.merging import REFUSE_SECONDS, RegionMerging
from tinykv.testing.embedded import TABLE


class MergesCase(SplitsCase):
    """A store with two regions, of which one can be merged into the other."""

    reads_log = True

    def setUp(self) -> None:
        """Split the region."""
        super().setUp()
        (self.part,) = self.split()
        self.merged: list[int] = []
        self.regions.gone = lambda host: self.merged.append(host.descriptor.region)

    def prepare(self, source: RegionHost, target: RegionHost) -> int:
        """Have a region merged into the other one, as far as that its service has ended."""
        index = source.propose_merge(target.descriptor.region)
        self.hosted.turn()
        self.hosted.store.log_channel.run()
        return index

    def merge(self, source: RegionHost, target: RegionHost) -> None:
        """Merge them."""
        source.propose_merge(target.descriptor.region)
        self.settle()
        self.assertEqual(self.merged, [source.descriptor.region])
        self.assertEqual(self.regions.ordered, [target])

    def settle(self) -> None:
        """Let happen what follows, looks at merges among it."""
        for _ in range(4):
            self.hosted.settle()
            self.hosted.clock.advance(0.1)
        self.hosted.settle()
        self.assertEqual(self.hosted.failures, [])


class DataTests(MergesCase):
    """What becomes of keys and values."""

    def test_into_the_left_one(self) -> None:
        self.ask(*(f"SET {key} {key}" for key in "abcdefgh"))
        self.merge(self.part, self.whole)
        # Both were in version 2, and the source was in 3 when its service had ended.
        self.assertEqual((self.whole.descriptor.slots, self.whole.descriptor.version), ((0, SLOTS), 4))
        found = self.ask("DBSIZE", "GET a", "GET h")
        self.assertEqual(found, [b":8\r\n", b"$1\r\na\r\n", b"$1\r\nh\r\n"])

    def test_into_the_right_one(self) -> None:
        self.ask(*(f"SET {key} {key}" for key in "abcdefgh"))
        self.merge(self.whole, self.part)
        self.assertEqual(self.part.descriptor.slots, (0, SLOTS))
        self.assertEqual(self.ask("DBSIZE", f"SET {LOW} 1", f"GET {LOW}"), [b":8\r\n", OK, b"$1\r\n1\r\n"])

    def test_what_was_cut_off_and_comes_back(self) -> None:
        """Its old values in the cache are never seen again, small ones, large ones and their nodes."""
        large = f"{{{HIGH}}}l"
        self.merge(self.part, self.whole)
        self.ask(f"SET {HIGH} 1", f"RPUSH {large} " + " ".join(map(str, range(1000))))
        (part,) = self.split()
        self.ask(f"SET {HIGH} 2", f"LSET {large} 500 x")
        self.hosted.flush()
        self.merged.clear()
        self.merge(part, self.whole)
        self.assertEqual(self.ask(f"GET {HIGH}", f"LINDEX {large} 500"), [b"$1\r\n2\r\n", b"$1\r\nx\r\n"])

    def test_trees_of_the_same_generation(self) -> None:
        """Each region has given its own."""
        low, high = f"{{{LOW}}}l", f"{{{HIGH}}}l"
        self.ask(f"RPUSH {low} " + "l " * 1000, f"RPUSH {high} " + "h " * 1000)
        generations = [
            list(host.keyspace.databases[0].get(key.encode()).generations())  # type: ignore[union-attr]  # they're lists
            for host, key in ((self.whole, low), (self.part, high))
        ]
        self.assertEqual(generations[0], generations[1])
        self.merge(self.part, self.whole)
        found = self.ask(f"LINDEX {low} 700", f"LINDEX {high} 700", f"LINDEX {low} 701")
        self.assertEqual(found, [b"$1\r\nl\r\n", b"$1\r\nh\r\n", b"$1\r\nl\r\n"])

    def test_expiry(self) -> None:
        """Keys of the source may have expired long before the target looked last."""
        self.ask(f"SET {HIGH} 1 PX 100")
        self.ask(f"SET {LOW} 1 PX 5000")
        self.part.closing = True  # it looks for none
        self.part._expiry.stop()
        self.hosted.now += 6000
        for _ in range(3):
            self.hosted.clock.advance(0.2)
            self.hosted.settle()
        self.assertEqual(self.whole.keyspace.databases[0].keys, 0)
        self.part.closing = False
        self.merge(self.part, self.whole)
        for _ in range(3):
            self.hosted.clock.advance(0.2)
            self.hosted.settle()
        self.assertEqual(self.ask("DBSIZE"), [b":0\r\n"])

    def test_time_and_sequence(self) -> None:
        """The larger ones count, so that versions stay comparable."""
        self.ask(*(f"SET {HIGH} {number}" for number in range(50)))
        version = self.part.keyspace.databases[0].version(HIGH.encode())
        self.hosted.now += 100
        self.ask(f"SET {HIGH} x")
        time = self.part.execution.time
        self.assertGreater(self.part.keyspace.sequence, self.whole.keyspace.sequence)
        self.merge(self.part, self.whole)
        self.assertGreaterEqual(self.whole.execution.time, time)
        self.ask(f"SET {LOW} 1")
        self.assertGreater(self.whole.keyspace.databases[0].version(LOW.encode()), version)


class RowTests(MergesCase):
    """What is in the rows, and in raft.db."""

    def test_data_db_knows_of_all_or_nothing(self) -> None:
        self.ask(f"SET {HIGH} 1")
        self.whole.flush_all(lambda: None)
        self.hosted.flush()
        region = self.part.descriptor.region
        reader, log = self.hosted.store.reader, LogReader(self.hosted.store.folder.raft_path, region)
        self.addCleanup(log._connection.close)
        self.merge(self.part, self.whole)
        # In memory all is done; on disk nothing of it.
        self.assertIsNotNone(reader.get("region", descriptor_key(region)))
        self.assertIsNone(reader.get("region", tombstone_key(region)))
        self.assertIsNone(reader.get("region", record_key(1, region)))
        self.assertIsNotNone(log.hard_state())
        self.hosted.flush()
        for key in (descriptor_key(region), apply_key(region), merging_key(region)):
            self.assertIsNone(reader.get("region", key))
        self.assertEqual(decode_tombstone(reader.get("region", tombstone_key(region))), NO_PEER)
        self.assertEqual(decode_merged(region, reader.get("region", tombstone_key(region))), (1, self.part.descriptor))
        self.assertIsNotNone(reader.get("region", record_key(1, region)))
        state = reader.get("region", apply_key(1))
        assert state is not None
        self.assertEqual(ApplyState.decode(state).index, self.whole.applied)
        # Only behind that its log goes.
        self.hosted.settle()
        self.assertIsNone(log.hard_state())
        self.assertEqual(log.last(), (0, 0))

    def test_a_log_that_is_deleted_before(self) -> None:
        """It's noticed: after a crash what the peer had promised would be missing, and the region there."""

        class Hasty(RegionMerging):
            def _take_over(self, source: RegionHost) -> None:
                super()._take_over(source)
                self._host.regions.forget_log(source.descriptor.region)

        region = self.part.descriptor.region
        log = LogReader(self.hosted.store.folder.raft_path, region)
        self.addCleanup(log._connection.close)
        self.whole.merging.__class__ = Hasty
        self.merge(self.part, self.whole)
        self.assertIsNone(self.hosted.store.reader.get("region", tombstone_key(region)))
        self.assertIsNone(log.hard_state())

    def test_records_go_with_the_region(self) -> None:
        """What the source had taken in before."""
        first = self.part.descriptor.region
        self.merge(self.part, self.whole)
        (second,) = self.split()
        self.merged.clear()
        self.merge(self.whole, second)
        rows = self.hosted.store.rows
        about = second.descriptor.region
        self.assertIsNotNone(rows.get("region", record_key(about, first)))
        self.assertIsNotNone(rows.get("region", record_key(about, 1)))
        self.assertIsNone(rows.get("region", record_key(1, first)))

    def test_entries_are_known_at_a_glance(self) -> None:
        self.ask("SET commit-merge prepare-merge", "SET a rollback-merge")
        region = self.part.descriptor.region
        self.merge(self.part, self.whole)
        log = LogReader(self.hosted.store.folder.raft_path, 1)
        self.addCleanup(log._connection.close)
        entries = log.entries(1, self.whole.applied + 1, 1 << 30)
        self.assertEqual([merges(entry.data) for entry in entries].count(True), 1)
        self.assertEqual([takes_in(entry.data) for entry in entries].count(True), 1)
        self.assertTrue(takes_in(entries[-1].data), region)


class RefusalTests(MergesCase):
    """When it can't be."""

    def test_who_is_asked(self) -> None:
        self.assertRaises(Refused, self.whole.propose_merge, 77)
        self.assertRaises(Refused, self.whole.propose_merge, 1)

    def test_while_another_is_under_way(self) -> None:
        self.prepare(self.part, self.whole)
        self.assertRaises(Refused, self.part.propose_merge, 1)
        self.assertRaises(Refused, self.whole.propose_merge, self.part.descriptor.region)

    def test_no_split_meanwhile(self) -> None:
        self.part.propose_merge(1)
        self.whole = self.part
        self.assertRaises(Refused, self.propose, 12000)

    def test_prepared_for_another_epoch(self) -> None:
        """One that was proposed before the region changed does nothing."""
        about = self.part.descriptor
        self.part.descriptor = replace(about, version=about.version - 1)
        self.part.propose_merge(1)
        self.part.descriptor = about
        self.settle()
        self.assertIsNone(self.part.merging.state)
        self.assertEqual(len(self.regions.ordered), 2)
        self.assertEqual(self.ask(f"SET {HIGH} 1"), [OK])


class RollbackTests(MergesCase):
    """The target changes before it has taken the source in."""

    def test_it_serves_again(self) -> None:
        self.ask(f"SET {HIGH} 1")
        # The target is split by an entry that comes first.
        self.part.propose_merge(1)
        self.propose(100)
        self.client.send(f"APPEND {HIGH} 2")
        self.settle()
        self.assertEqual(self.client.heard(), [b":2\r\n"])
        self.assertEqual(len(self.regions.ordered), 3)
        self.assertEqual((self.part.merging.state, self.part.descriptor.version), (None, 4))
        self.assertEqual(self.client.read(f"GET {HIGH}"), b"$2\r\n12\r\n")

    def test_the_target_was_merged_itself(self) -> None:
        """Had it taken this one in, this one wouldn't be here."""
        self.regions.merged = {99: 98}
        self.part.merging._be(Merging(99, 1, 1, 2, 3))
        self.part.merging.look()
        self.assertGreater(self.part.proposals.deciding, 0)

    def test_by_what_another_store_has_applied(self) -> None:
        """Where no peer of the target is here any more; that it's past some epoch is for the store to say."""
        self.part.merging._be(Merging(99, 4, 4, 2, 3))
        self.part.merging.look()
        self.assertEqual(self.part.proposals.deciding, 0)
        self.assertTrue(self.part.merging.wants_word())
        self.assertFalse(self.part.merging.wants_word(), "not all the time")
        for version, conf_ver in ((4, 4), (3, 4), (4, 3)):
            self.part.merging.told_past(version, conf_ver)
            self.assertEqual(self.part.proposals.deciding, 0)
        self.part.merging.told_past(5, 4)
        self.assertGreater(self.part.proposals.deciding, 0)

    def test_what_is_left_of_one_that_was_taken_in_elsewhere(self) -> None:
        """It goes, once no peer of the one that took it in is here, which may need it."""
        self.ask(f"SET {HIGH} 1")
        region, last = self.part.descriptor.region, self.part.descriptor
        self.part.merging.told_taken_in(1, last)
        self.settle()
        self.assertEqual(len(self.regions.ordered), 2)
        self.part.merging.told_taken_in(99, last)
        for _ in range(3):
            self.settle()
            self.hosted.flush()
        self.assertEqual((self.merged, self.regions.ordered), ([region], [self.whole]))
        rows = self.hosted.store.rows
        row = self.hosted.store.reader.get("region", tombstone_key(region))
        self.assertEqual(decode_merged(region, row), (99, last))
        self.assertEqual(list(rows.scan("data", *slots_range(last.slots))), [])

    def test_a_target_that_refuses(self) -> None:
        """What nobody who leads it can propose is refused after a while, in its log; then the source serves again."""
        self.prepare(self.part, self.whole)
        self.part.merging._entries = self.cut_off  # type: ignore[method-assign]  # as where the log was cut
        self.settle()
        self.assertIsNotNone(self.part.merging.state)
        for _ in range(int(REFUSE_SECONDS * 10) + 5):
            self.hosted.clock.advance(0.1)
            self.hosted.settle()
        self.assertIsNone(self.part.merging.state)
        self.assertEqual((self.whole.descriptor.version, len(self.regions.ordered)), (3, 2))
        self.assertEqual(self.ask(f"SET {HIGH} 1"), [OK])

    def cut_off(self, low: int, last: int) -> list[Entry]:
        """Say that entries aren't there any more."""
        raise Compacted

    def test_one_that_is_meant_for_another_merge(self) -> None:
        index = self.prepare(self.part, self.whole)
        state = self.part.merging.state
        assert state is not None and state.at == index
        self.part.merging.apply(encode_rollback(index + 1))
        self.assertEqual(self.part.merging.state, state)


class OrderTests(MergesCase):
    """What is under way meanwhile."""

    def test_what_waits_goes_to_the_target(self) -> None:
        self.part.propose_merge(1)
        for line in (f"SET {HIGH} 1", f"APPEND {HIGH} 1", f"GET {HIGH}", f"SET {LOW} 2", f"MGET {HIGH} {LOW}"):
            self.client.send(line)
        self.settle()
        self.client.told.sort()
        found = self.client.heard()
        self.assertEqual(found[:4], [OK, b":2\r\n", b"$2\r\n11\r\n", OK])
        self.assertEqual(len(found), 5)

    def test_no_lease_and_no_service(self) -> None:
        """From when it's decided on another group may serve the keys (R18)."""
        self.ask(f"SET {HIGH} 1")
        self.assertEqual(self.client.read(f"GET {HIGH}"), b"$1\r\n1\r\n")
        index = self.part.propose_merge(1)
        self.assertIsNone(self.client.read(f"GET {HIGH}"))
        self.client.send(f"SET {HIGH} 2")
        for _ in range(3):
            self.hosted.turn()
        self.assertEqual(self.part.group.last, index)
        self.hosted.store.log_channel.run()
        self.assertFalse(self.part.ready)
        self.assertEqual(self.part.replica.lease_end, float("-inf"))
        self.settle()
        self.client.told.sort()
        self.assertEqual(self.client.heard(), [b"$1\r\n1\r\n", OK])

    def test_what_is_about_all_keys(self) -> None:
        """Of what both have a part of each, one can't be done any more; it's said what is known."""
        self.part.propose_merge(1)
        for line in ("DBSIZE", "FLUSHALL", "CONFIG SET hash-max-listpack-entries 9", "RANDOMKEY", "SCAN 0"):
            self.client.send(line)
        self.settle()
        self.client.told.sort()
        size, flushed, config, key, scanned = self.client.heard()
        self.assertEqual((size, flushed, config, key), (b":0\r\n", OK, OK, b"$-1\r\n"))
        self.assertTrue(scanned.startswith(b"*2"), scanned)
        self.assertEqual(self.whole.keyspace.settings.values["hash-max-listpack-entries"], 9)

    def flush_a_part(self, command: str) -> None:
        """Let a command that deletes all reach the source when its service has ended, and the target before."""
        self.ask(f"SET {HIGH} 1", f"SET {LOW} 1", f"SADD {{{HIGH}}}s a")
        self.part.propose_merge(1)
        self.client.send(command)
        self.hosted.turn()
        self.client.send(f"SET {LOW} 2")
        self.settle()
        self.client.told.sort()
        self.assertEqual(self.client.heard(), [OK, OK])
        self.assertEqual(self.regions.ordered, [self.whole])
        found = self.ask("DBSIZE", f"GET {LOW}", f"GET {HIGH}", f"SCARD {{{HIGH}}}s")
        self.assertEqual(found, [b":1\r\n", b"$1\r\n2\r\n", b"$-1\r\n", b":0\r\n"])

    def test_a_part_of_a_flush(self) -> None:
        """What the source was to delete goes, and nothing that was written to the target since it did its part."""
        self.flush_a_part("FLUSHALL")

    def test_a_part_of_a_flush_of_a_database(self) -> None:
        self.flush_a_part("FLUSHDB")

    def test_a_part_that_the_target_counts_late(self) -> None:
        """What the source has counted isn't counted again, as the target has got it meanwhile."""
        self.ask(f"SET {HIGH} 1", f"SET {LOW} 1")
        until = LetGo([self.whole])
        self.client.send("DBSIZE")
        self.settle()
        self.merge(self.part, self.whole)
        self.assertEqual(self.client.heard(), [])
        until()
        self.settle()
        self.assertEqual(self.client.heard(), [b":2\r\n"])

    def count_before(self, command: str) -> None:
        """Let a pipeline count keys, and then delete them, of which the target does its parts before it has them."""
        self.ask(f"SET {LOW} 1", f"SET {HIGH} 1")
        self.part.propose_merge(1)
        for line in ("DBSIZE", "INFO", "KEYS *", f"KEYS {LOW}", f"KEYS {HIGH}", command, "DBSIZE"):
            self.client.send(line)
        self.settle()
        self.assertEqual(self.regions.ordered, [self.whole])
        self.client.told.sort()
        size, counts, keys, low, high, flushed, now = self.client.heard()
        self.assertEqual(elements_of(counts)[:4], [b":2\r\n", *3 * [b":0\r\n"]])
        self.assertEqual((size, sorted(elements_of(keys))), (b":2\r\n", [b"$1\r\na\r\n", b"$1\r\nb\r\n"]))
        self.assertEqual((low, high), (b"*1\r\n$1\r\nb\r\n", b"*1\r\n$1\r\na\r\n"))
        self.assertEqual((flushed, now), (OK, b":0\r\n"))

    def test_what_is_counted_before_it_is_deleted(self) -> None:
        self.count_before("FLUSHALL")

    def test_what_is_counted_before_a_database_is_deleted(self) -> None:
        self.count_before("FLUSHDB")

    def test_a_part_that_the_target_deletes_late(self) -> None:
        """What was written to the source since it did its part stays."""
        self.ask(f"SET {HIGH} 1", f"SET {LOW} 1")
        until = LetGo([self.whole])
        self.client.send("FLUSHALL")
        self.settle()
        self.client.send(f"SET {HIGH} 2")
        self.settle()
        self.merge(self.part, self.whole)
        until()
        self.settle()
        self.client.told.sort()
        self.assertEqual(self.client.heard(), [OK, OK])
        self.assertEqual(self.ask("DBSIZE", f"GET {HIGH}"), [b":1\r\n", b"$1\r\n2\r\n"])

    def test_a_part_that_comes_back_at_once(self) -> None:
        """The target doesn't wait for itself where the part has waited for it."""
        before = LetGo([self.whole])
        self.whole.hand_on((0, SLOTS), [self.part])
        self.hosted.host = self.part
        self.client.send(f"SET {HIGH} 1")
        self.settle()
        self.assertEqual(self.client.heard(), [], "what was sent to the whole may be for the part")
        self.merge(self.part, self.whole)
        self.assertEqual(self.client.heard(), [])
        before()
        self.settle()
        self.assertEqual(self.client.heard(), [OK])
        self.assertFalse(self.whole.proposals.on_hold)
        self.hosted.host = self.whole
        self.assertEqual(self.ask(f"GET {HIGH}", f"SET {LOW} 1"), [b"$1\r\n1\r\n", OK])

    def merge_while_it_waits(self, cut: int) -> None:
        """Merge a region that waits for the outcome of what was sent to another one, perhaps after it was split."""
        whole, part = self.whole, self.part
        self.split(1000)
        target = self.regions.ordered[1]
        until = LetGo([part])
        self.client.send(f"APPEND {HIGH} 3")
        self.rest()
        before = [[b"APPEND", HIGH.encode(), b"%d" % number] for number in (1, 2)]
        first, second = [(COMMANDS, self.client, 0, 0, TABLE["append"], one, encode_command(one)) for one in before]
        whole.move(first, (0, SLOTS))
        if cut:
            self.whole = part
            self.split(cut)
        part.propose_merge(target.descriptor.region)
        self.settle()
        self.assertEqual(self.merged, [part.descriptor.region])
        self.client.send(f"APPEND {HIGH} 4")
        self.rest()
        whole.move(second, (0, SLOTS))
        self.assertEqual(self.client.heard(), [])
        until()
        self.rest()
        self.assertEqual(self.ask(f"GET {HIGH}")[-1], b"$4\r\n1234\r\n")
        self.assertFalse(any(host.proposals.on_hold for host in self.regions.ordered))

    def test_one_that_waits_for_what_was_sent_before(self) -> None:
        """What came there itself goes behind what comes from elsewhere later."""
        self.merge_while_it_waits(0)

    def test_one_that_waits_and_was_split(self) -> None:
        self.merge_while_it_waits(slot_of(HIGH.encode()) + 1)

    def test_what_was_cut_off_one_that_waits(self) -> None:
        self.merge_while_it_waits(slot_of(HIGH.encode()) - 1)

    def test_a_step_behind_what_the_source_had(self) -> None:
        """It's run, though the region that has these slots begins before them."""
        steps: list[bool] = []
        client: Any = self.client
        self.merge(self.part, self.whole)
        self.router.moved((LOCAL, client, 0, 0, None, lambda: steps.append(True), None), (MIDDLE, SLOTS), None)
        self.settle()
        self.assertEqual(steps, [True])

    def test_a_transaction(self) -> None:
        self.part.propose_merge(1)
        self.hosted.host = self.part
        self.client.exec(f"SET {HIGH} 1", f"APPEND {HIGH} 2")
        self.settle()
        self.assertEqual(self.client.heard(), [b"*2\r\n+OK\r\n:2\r\n"])

    def test_the_end_of_the_store(self) -> None:
        """Both come to their ends."""
        self.part.propose_merge(1)
        closing = self.regions.close()
        for _ in range(20):
            self.settle()
            self.hosted.flush()
        self.successResultOf(closing)


class WaiterTests(MergesCase):
    """Clients that wait in blocking commands."""

    def test_they_wait_in_the_target(self) -> None:
        """In their order, also where two regions gave the same places."""
        clients = [self.hosted.client() for _ in range(3)]
        for client, key, host in zip(clients, (LOW, HIGH, HIGH), (self.whole, self.part, self.part), strict=True):
            self.hosted.host = host
            client.send(f"BLPOP {key} 0")
            self.hosted.settle()
        self.merge(self.part, self.whole)
        self.assertEqual(len(self.whole.execution.waiters), 3)
        self.ask(f"RPUSH {HIGH} x", f"RPUSH {LOW} y", f"RPUSH {HIGH} z")
        self.assertEqual(clients[0].heard(), [b"*2\r\n$1\r\nb\r\n$1\r\ny\r\n"])
        self.assertEqual(clients[1].heard(), [b"*2\r\n$1\r\na\r\n$1\r\nx\r\n"])
        self.assertEqual(clients[2].heard(), [b"*2\r\n$1\r\na\r\n$1\r\nz\r\n"])

    def test_one_that_is_woken_meanwhile(self) -> None:
        """That its time is over was on its way to the source, and finds it in the target."""
        self.hosted.host = self.part
        self.client.send(f"BLPOP {HIGH} 1")
        self.hosted.settle()
        self.part.propose_merge(1)
        wake = [b"wake", b"1", b"%d" % self.client.client_id, b"0", b"timeout"]
        self.part.submit((INTERNAL, self.hosted.client(), 0, 0, None, wake, None))
        self.settle()
        self.assertEqual(self.client.heard(), [b"*-1\r\n"])
        self.assertEqual(len(self.whole.execution.waiters), 0)

    def test_one_that_waited_before_a_split(self) -> None:
        self.hosted.host = self.part
        client = self.hosted.client()
        client.send(f"BLPOP {HIGH} 0")
        self.hosted.settle()
        self.merge(self.part, self.whole)
        (part,) = self.split(MIDDLE)
        self.hosted.flush()
        self.merged.clear()
        self.merge(self.whole, part)
        self.ask(f"RPUSH {HIGH} x")
        self.assertEqual(client.heard(), [b"*2\r\n$1\r\na\r\n$1\r\nx\r\n"])
