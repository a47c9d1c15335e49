"""Stores: what they announce, how long they were silent, and how they leave."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from tests.placement.making import GB, MB, START, change, hear, only, placement, region, row, silence
from tinykv.placement.plain import BadRecord
from tinykv.placement.stores import (
    LABEL_LENGTH_MAX,
    LABELS_MAX,
    Life,
    Refused,
    StoreRecord,
    StoreState,
    StoreStats,
    registered,
)

ONE = StoreRecord(1, "a:1", "a:6379", "f1", {"zone": "z1"})


class RecordTests(SynchronousTestCase):
    """Records and heartbeats as JSON has them."""

    def test_what_is_written_is_what_is_read(self) -> None:
        full = StoreRecord(3, "c:1", "c:2", "f", {"host": "h"}, Life.OFFLINE, 0.5, 2.0, 30.0, 0.5)
        for record in (ONE, full):
            self.assertEqual(StoreRecord.from_json(record.to_json()), record)
        stats = StoreStats(100, 50, 3, True, 1, 2)
        self.assertEqual(StoreStats.from_json(stats.to_json()), stats)

    def test_what_no_store_can_be(self) -> None:
        for told, words in (
            ({"store": 0}, "at least 1"),
            ({"address": ""}, "needs an address"),
            ({"address": 5}, "StoreRecord.address must be of type str"),
            ({"life": "gone"}, "must be one of up, offline, tombstone"),
            ({"leader_weight": -1}, "weights"),
            ({"add_limit": 0}, "limits"),
            ({"labels": {"zone": ""}}, "1 to 128 characters"),
            ({"labels": {"zone": "z" * (LABEL_LENGTH_MAX + 1)}}, "1 to 128 characters"),
            ({"labels": {str(number): "x" for number in range(LABELS_MAX + 1)}}, "more than 32 labels"),
            ({"labels": []}, "must be an object"),
        ):
            problem = self.assertRaises(BadRecord, StoreRecord.from_json, {**ONE.to_json(), **told})
            self.assertIn(words, str(problem))
        most = {str(number): "z" * LABEL_LENGTH_MAX for number in range(LABELS_MAX)}
        self.assertEqual(StoreRecord(1, "a:1", labels=most).labels, most)

    def test_what_no_heartbeat_can_be(self) -> None:
        for told, words in (({"regions": -1}, "negative"), ({"capacity": 1, "available": 2}, "more bytes")):
            self.assertIn(words, str(self.assertRaises(BadRecord, StoreStats.from_json, told)))


class RegistrationTests(SynchronousTestCase):
    """What a store says when it starts."""

    def test_a_new_one(self) -> None:
        self.assertEqual(registered({}, replace(ONE, life=Life.TOMBSTONE)), ONE)

    def test_a_known_one_moves(self) -> None:
        """Its addresses and labels are new; what was decided about it stays."""
        known = replace(ONE, life=Life.OFFLINE, leader_weight=2.0, add_limit=3.0)
        told = StoreRecord(1, "b:1", "b:6379", "f1", {"zone": "z2"})
        self.assertEqual(
            registered({1: known}, told), replace(told, life=Life.OFFLINE, leader_weight=2.0, add_limit=3.0)
        )

    def test_refusals(self) -> None:
        gone = replace(ONE, life=Life.TOMBSTONE)
        for stores, record, words in (
            ({1: gone}, ONE, "never returns"),
            ({1: ONE}, replace(ONE, folder="f2"), "has lost its folder f1"),
            ({1: ONE}, StoreRecord(2, "a:1"), "store 1 has the address a:1 already"),
        ):
            self.assertIn(words, str(self.assertRaises(Refused, registered, stores, record)))
        self.assertEqual(registered({1: gone}, StoreRecord(2, "a:1")), StoreRecord(2, "a:1"))


class StateTests(SynchronousTestCase):
    """Store states: up, disconnected, down, by the time since the last heartbeat."""

    def test_silence(self) -> None:
        made = placement(stores=1)
        for seconds, state in (
            (20.0, StoreState.UP), (20.1, StoreState.DISCONNECTED), (1800.0, StoreState.DISCONNECTED),
            (1800.1, StoreState.DOWN),
        ):  # fmt: skip
            made.tick(START + seconds)
            self.assertEqual(made.cluster.state(1), state)
        hear(made, START + 1900)
        self.assertEqual(made.cluster.state(1), StoreState.UP)

    def test_max_down_can_be_set(self) -> None:
        made = placement(stores=1)
        made.configure(made.cluster.config.changed({"max_down": 60}))
        made.tick(START + 61)
        self.assertEqual(made.cluster.state(1), StoreState.DOWN)

    def test_who_was_never_heard_of(self) -> None:
        """Its silence is counted from the start of the scheduler."""
        made = placement(stores=1)
        made.cluster.forget(1)
        made.tick(START + 21)
        self.assertEqual(made.cluster.state(1), StoreState.DISCONNECTED)

    def test_who_has_just_come(self) -> None:
        """Its silence is counted from when its record is there, however long the others have been."""
        made = placement(stores=1)
        made.tick(START + 5000)
        records = made.cluster.stores
        assert isinstance(records, dict)
        records[2] = StoreRecord(2, "h2:1")
        self.assertEqual(made.cluster.state(2), StoreState.UP)
        for seconds, state in ((5001, StoreState.UP), (5021, StoreState.UP), (5022, StoreState.DISCONNECTED)):
            made.tick(START + seconds)
            self.assertEqual(made.cluster.state(2), state)
        del records[2]
        made.tick(START + 6000)
        records[2] = StoreRecord(2, "h2:1")
        self.assertEqual(made.cluster.silence(2), 0.0)

    def test_one_that_serves_and_has_just_registered(self) -> None:
        """The scheduler came long ago; what the store holds isn't made anew elsewhere before it has said a word."""
        made = placement(region(1, stores=(1, 2, 3)), stores=4)
        records = made.cluster.stores
        assert isinstance(records, dict)
        third = records.pop(3)
        made.tick(START + 1)
        now = START + 2000
        hear(made, now)
        made.heartbeat(region(1, stores=(1, 2, 3)), now)
        made.tick(now)
        records[3] = third
        made.tick(now + 0.2)
        self.assertEqual(only(made), {})

    def test_heartbeats_that_are_refused(self) -> None:
        made = placement(stores=1)
        self.assertIn("isn't known", str(self.assertRaises(Refused, made.store_heartbeat, 9, StoreStats(), START)))
        change(made, 1, life=Life.TOMBSTONE)
        self.assertIn("never returns", str(self.assertRaises(Refused, made.store_heartbeat, 1, StoreStats(), START)))
        told = region(1, stores=(1, 2))
        self.assertIn("store 1 isn't known", str(self.assertRaises(Refused, made.heartbeat, told, START)))


class LeavingTests(SynchronousTestCase):
    """Up, offline, tombstone."""

    def test_offline_then_tombstone(self) -> None:
        made = placement(*row(2, stores=(1, 2, 3)))
        change(made, 1, life=made.offline(1, START).life)
        self.assertEqual(made.cluster.state(1), StoreState.OFFLINE)
        self.assertEqual(made.offline(1, START).life, Life.OFFLINE)
        self.assertEqual(made.buried(START), [])
        for each in row(2, stores=(4, 2, 3), conf_ver=5):
            made.heartbeat(each, START + 1)
        (record,) = made.buried(START + 1)
        self.assertEqual((record.store, record.life), (1, Life.TOMBSTONE))
        change(made, 1, life=record.life)
        self.assertIn("tombstone", str(self.assertRaises(Refused, made.offline, 1, START)))
        self.assertIn("never returns", str(self.assertRaises(Refused, made.back_up, 1, START)))
        self.assertEqual(made.bury(1, START), record)

    def test_an_empty_store_leaves_at_once(self) -> None:
        made = placement(*row(2, stores=(1, 2, 3)), stores=4)
        change(made, 4, life=made.offline(4, START).life)
        self.assertEqual([record.store for record in made.buried(START)], [4])

    def test_an_offline_without_end_is_refused(self) -> None:
        made = placement(*row(2), stores=3)
        problem = self.assertRaises(Refused, made.offline, 3, START)
        self.assertEqual(
            str(problem),
            "each region shall have 3 replicas, and without store 3 there would be 2 stores: add a store first",
        )

    def test_those_that_are_down_or_leave_dont_count(self) -> None:
        made = placement(*row(2), stores=5)
        change(made, 5, life=made.offline(5, START).life)
        now = silence(made, 4, 1801)
        self.assertIn("there would be 2 stores", str(self.assertRaises(Refused, made.offline, 3, now)))

    def test_room_for_what_it_holds(self) -> None:
        """Of each other store's free bytes those count that are above low_space."""
        made = placement(*row(2, size=6 * GB), stores=4)
        for store in (1, 2, 3, 4):
            made.store_heartbeat(store, StoreStats(100 * GB, 24 * GB), START)
        self.assertEqual(made.offline(3, START).life, Life.OFFLINE)
        for store in (1, 2, 3, 4):
            made.store_heartbeat(store, StoreStats(100 * GB, 23 * GB), START)
        problem = self.assertRaises(Refused, made.offline, 3, START)
        self.assertIn(f"{12 * GB} bytes would have to be moved", str(problem))
        made.store_heartbeat(4, StoreStats(), START)
        self.assertEqual(made.offline(3, START).life, Life.OFFLINE)

    def test_a_region_that_has_lost_its_majority(self) -> None:
        """It can't change its members, so the store that's left of it can't be emptied."""
        made = placement(*row(2), stores=6)
        now = made.cluster.now + 1801
        hear(made, now, 1, 4, 5, 6)
        problem = self.assertRaises(Refused, made.offline, 1, now)
        self.assertEqual(str(problem), "region 1 on store 1 has lost its majority: recover it first")

    def test_stores_that_are_to_hold_nothing(self) -> None:
        """They can't take what leaves; what they hold already stays as long as there's no place for it."""
        made = placement(*row(2), stores=4)
        change(made, 4, region_weight=0.0)
        problem = self.assertRaises(Refused, made.offline, 3, START)
        self.assertEqual(
            str(problem),
            "region 1 shall have 3 replicas, and without store 3 there would be 2 stores that may have one: add a store"
            " first, or raise the region_weight of one that has 0",
        )
        made = placement(*row(2), stores=4)
        change(made, 2, region_weight=0.0)
        self.assertEqual(made.offline(3, START).life, Life.OFFLINE)
        self.assertEqual(made.offline(2, START).life, Life.OFFLINE)
        for store, available in ((1, 20), (2, 90), (3, 90), (4, 20)):
            made.store_heartbeat(store, StoreStats(100 * GB, available * GB), START)
        self.assertIn("has room for 0", str(self.assertRaises(Refused, made.offline, 3, START)))

    def test_beside_a_store_that_has_not_registered(self) -> None:
        """It serves, says the leader: the store that leaves is emptied all the same."""
        made = placement(region(1, stores=(1, 2, 9)))
        change(made, 2, life=made.offline(2, START).life)
        made.tick(START)
        self.assertEqual(only(made), {1: "offline-peer"})
        (said,) = made.warnings(START)
        self.assertIn("store 9 has replicas of 1 regions, and hasn't registered", said)
        made = placement(region(1, stores=(1, 2, 9)), stores=2)
        self.assertIn("there would be 1 stores", str(self.assertRaises(Refused, made.offline, 2, START)))

    def test_warnings(self) -> None:
        """An offline that was possible may become endless."""
        made = placement(*row(2))
        change(made, 3, life=made.offline(3, START).life)
        self.assertEqual(made.warnings(START), [])
        now = silence(made, 4, 1801)
        few, stuck = made.warnings(now)
        self.assertEqual(few, "2 stores are up, and each region shall have 3 replicas")
        self.assertIn("store 3 can't be emptied: each region shall have", stuck)
        made = placement(region(1, b"", b"m"))
        self.assertEqual(made.warnings(START), ["no region is known that has the keys from 6d on"])

    def test_what_a_tombstone_said_is_forgotten(self) -> None:
        made = placement(*row(1))
        change(made, 4, life=Life.TOMBSTONE)
        made.tick(START)
        self.assertIsNone(made.cluster.stats(4))
        self.assertIsNotNone(made.cluster.stats(3))

    def test_an_offline_is_cancelled(self) -> None:
        """What was begun to empty the store ends."""
        made = placement(*row(1), stores=4)
        change(made, 3, life=made.offline(3, START).life)
        made.tick(START)
        self.assertEqual(only(made), {1: "offline-peer"})
        change(made, 3, life=made.back_up(3, START).life)
        self.assertEqual((only(made), made.cluster.state(3)), ({}, StoreState.UP))
        last = made.controller.last(1)
        assert last is not None
        self.assertEqual(last.reason, "store 3 stays")
        self.assertEqual(made.back_up(3, START).life, Life.UP)

    def test_burials_that_are_refused(self) -> None:
        made = placement(*row(2), stores=4)
        self.assertIn("make it offline first", str(self.assertRaises(Refused, made.bury, 3, START)))
        change(made, 3, life=made.offline(3, START).life)
        self.assertIn("still holds 2 regions", str(self.assertRaises(Refused, made.bury, 3, START)))
        self.assertIn("isn't known", str(self.assertRaises(Refused, made.bury, 9, START)))
        self.assertEqual(made.bury(1, START, force=True).life, Life.TOMBSTONE)

    def test_one_that_was_never_heard_of(self) -> None:
        """It registered, and isn't there any more: nobody can empty it, and it's as good as empty."""
        made = placement(*row(2), stores=3)
        records = made.cluster.stores
        assert isinstance(records, dict)
        for store in (4, 5):
            records[store] = StoreRecord(store, f"h{store}:1")
        made.tick(START)
        now = START + 20
        hear(made, now, 1, 2, 3, 5)
        self.assertIn("make it offline first", str(self.assertRaises(Refused, made.bury, 4, now)))
        now = START + 21
        self.assertEqual(made.bury(4, now).life, Life.TOMBSTONE)
        hear(made, now + 100, 1, 2, 3)
        self.assertIn("make it offline first", str(self.assertRaises(Refused, made.bury, 5, now + 100)))
        made.heartbeat(region(1, b"", b"0001", stores=(1, 2, 3, 4), conf_ver=2), now)
        self.assertIn("still holds 1 regions", str(self.assertRaises(Refused, made.bury, 4, now)))

    def test_one_that_never_registered(self) -> None:
        made = placement(region(1, b"", b"m", stores=(1, 2, 9)), stores=3)
        self.assertIn("haven't been heard of", str(self.assertRaises(Refused, made.refuse_named, 8, START)))
        made.heartbeat(region(2, b"m", b""), START)
        self.assertIn("still holds 1 regions", str(self.assertRaises(Refused, made.refuse_named, 9, START)))
        made.refuse_named(8, START)

    def test_nobody_is_buried_before_all_was_heard_of(self) -> None:
        """Right after a start the scheduler knows of no regions; that doesn't mean that there are none."""
        made = placement(region(1, b"", b"m"), stores=5)
        change(made, 5, life=Life.OFFLINE)
        self.assertIn("haven't been heard of", str(self.assertRaises(Refused, made.bury, 5, START)))
        self.assertEqual(made.buried(START), [])
        made.heartbeat(region(2, b"m", b""), START)
        made.store_heartbeat(5, StoreStats(GB, MB, regions=1), START)
        self.assertIn("says that it holds 1", str(self.assertRaises(Refused, made.bury, 5, START)))
        made.store_heartbeat(5, StoreStats(GB, MB), START)
        self.assertEqual([record.store for record in made.buried(START)], [5])
