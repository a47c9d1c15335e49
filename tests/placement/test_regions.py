"""The table of regions: what is news, what is stale, and what each store holds."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.placement.making import MB, region
from tinykv.placement.plain import BadRecord
from tinykv.placement.region_info import LEAST_SIZE, PeerInfo, RegionInfo, Role
from tinykv.placement.regions import DrawnSet, RegionTable, StaleHeartbeat


def table(*regions: RegionInfo) -> RegionTable:
    """Give a table with some regions."""
    made = RegionTable()
    for each in regions:
        made.put(each)
    return made


class StaleTests(SynchronousTestCase):
    """Region heartbeat handling: what is older than what is known is refused."""

    def refused(self, known: RegionInfo, told: RegionInfo, by: str) -> None:
        """Expect a heartbeat to be refused and nothing to have changed."""
        made = table(known)
        problem = self.assertRaises(StaleHeartbeat, made.put, told)
        self.assertIn(by, str(problem))
        self.assertEqual(list(made), [known])

    def test_an_older_version_of_the_same_region(self) -> None:
        self.refused(region(1, version=3, conf_ver=3), region(1, version=2, conf_ver=9), "version 3 already, not 2")

    def test_an_older_conf_ver_of_the_same_region(self) -> None:
        self.refused(region(1, version=3, conf_ver=3), region(1, version=9, conf_ver=2), "conf_ver 3 already, not 2")

    def test_an_older_term_of_the_same_region(self) -> None:
        self.refused(region(1, term=5), region(1, term=4), "term 5 already, not 4")

    def test_an_older_version_in_the_same_range(self) -> None:
        self.refused(region(1, b"a", b"z", version=3), region(2, b"c", b"d", version=2), "belongs to region 1")

    def test_an_equal_version_and_an_older_conf_ver_in_the_same_range(self) -> None:
        self.refused(
            region(1, b"a", b"z", version=3, conf_ver=4), region(2, b"c", version=3, conf_ver=3), "belongs to region 1"
        )

    def test_after_a_merge_the_other_conf_ver_says_nothing(self) -> None:
        """The region that remains has a higher version, and may have changed its members less often."""
        made = table(region(1, b"a", b"m", version=3, conf_ver=9), region(2, b"m", b"z", version=3, conf_ver=1))
        merged = region(2, b"a", b"z", version=5, conf_ver=1)
        self.assertEqual([gone.region for gone in made.put(merged)], [1])
        self.assertEqual(list(made), [merged])

    def test_epochs_that_nobody_told_are_zero(self) -> None:
        self.refused(region(1, version=1), RegionInfo.from_json({
            "region": 1, "start": "", "end": "", "peers": [{"peer": 1, "store": 1}]
        }), "version 1 already, not 0")  # fmt: skip


class NewsTests(SynchronousTestCase):
    """What isn't older is taken over, and can be seen at once."""

    def test_what_changes_without_the_epoch(self) -> None:
        """Leader, members, who lags, and size."""
        before = region(1, stores=(1, 2, 3), leader=1, size=5 * MB)
        for after in (
            region(1, stores=(1, 2, 3), leader=2, size=5 * MB),
            region(1, stores=(1, 2, 3), leader=1, size=5 * MB, pending=(3,)),
            region(1, stores=(1, 2), leader=1, size=5 * MB),
            region(1, stores=(1, 2, 3, 4), leader=1, size=5 * MB),
            region(1, stores=(1, 2, 3), leader=1, size=9 * MB),
        ):
            made = table(before)
            self.assertEqual(made.put(after), [])
            self.assertEqual(made.get(1), after)
            self.assertEqual(made.on(3).count, int(3 in after.stores))
            self.assertEqual(list(made.on(1).leaders), [1] if after.leader == 1 else [])
            self.assertEqual(list(made.on(3).pending), [1] if after.pending else [])
            self.assertEqual(made.on(1).size, after.size)

    def test_either_half_of_a_split_first(self) -> None:
        """The other half of the range has no region until its heartbeat comes."""
        whole = region(1, b"a", b"z", version=1)
        halves = (region(1, b"m", b"z", version=2), region(2, b"a", b"m", version=2))
        for first, second in (halves, halves[::-1]):
            made = table(whole)
            made.put(first)
            self.assertIsNone(made.at(b"b" if first.start == b"m" else b"n"))
            made.put(second)
            self.assertEqual([each.region for each in made], [2, 1])

    def test_seven_rounds_of_splits_and_merges(self) -> None:
        made, version = table(region(1, version=1)), 1
        for _ in range(7):
            version += 1
            made.put(region(1, b"", b"m", version=version))
            made.put(region(2, b"m", b"", version=version))
            self.assertEqual((made.at(b"a"), made.at(b"x")), (made.get(1), made.get(2)))
            version += 1
            made.put(region(2, b"", b"", version=version))
            self.assertEqual([each.region for each in made], [2])
            version += 1
            made.put(region(1, version=version))

    def test_an_empty_region_weighs_something(self) -> None:
        made = table(region(1, stores=(1,), size=0))
        self.assertEqual((made.on(1).size, made.on(1).leader_size), (LEAST_SIZE, LEAST_SIZE))


class LookupTests(SynchronousTestCase):
    """Regions by key and by order."""

    def setUp(self) -> None:
        self.table = table(region(1, b"b", b"d"), region(2, b"d", b"f"), region(3, b"h", b"k"), region(4, b"k", b""))

    def ids(self, *regions: RegionInfo | None) -> list[int | None]:
        """Name regions."""
        return [each.region if each else None for each in regions]

    def test_by_key(self) -> None:
        keys = (b"", b"a", b"b", b"czz", b"d", b"f", b"h", b"k", b"zzz")
        self.assertEqual(self.ids(*map(self.table.at, keys)), [None, None, 1, 1, 2, None, 3, 4, 4])

    def test_previous(self) -> None:
        keys = (b"a", b"b", b"d", b"h", b"z")
        self.assertEqual(self.ids(*map(self.table.previous, keys)), [None, None, 1, None, 3])

    def test_scan(self) -> None:
        self.assertEqual(self.ids(*self.table.scan(b"")), [1, 2, 3, 4])
        self.assertEqual(self.ids(*self.table.scan(b"d")), [2, 3, 4])
        self.assertEqual(self.ids(*self.table.scan(b"c", b"h")), [1, 2])
        self.assertEqual(self.ids(*self.table.scan(b"g", most=1)), [3])
        self.assertEqual(self.ids(*self.table.scan(b"", most=0)), [])

    def test_gaps(self) -> None:
        self.assertEqual(self.table.gap(), (b"", b"b"))
        self.assertEqual(RegionTable().gap(), (b"", b""))
        self.assertEqual(table(region(1, b"", b"b")).gap(), (b"b", b""))
        self.assertIsNone(table(region(1, b"", b"b"), region(2, b"b", b"")).gap())


def apart(one: RegionInfo, other: RegionInfo) -> bool:
    """Tell whether two regions have no key in common."""
    return bool(one.end and one.end <= other.start or other.end and other.end <= one.start)


class ModelTests(SynchronousTestCase):
    """The table against a list that is looked through."""

    @given(
        st.lists(st.tuples(st.integers(1, 6), st.integers(0, 9), st.integers(1, 10), st.integers(1, 3)), max_size=30)
    )
    def test_histories(self, puts: list[tuple[int, int, int, int]]) -> None:
        made, model = RegionTable(), list[RegionInfo]()
        for version, (number, start, length, store) in enumerate(puts, 1):
            told = region(
                number, b"%d" % start, b"%d" % (start + length) if start + length < 10 else b"",
                version=version, stores=(store, 4), leader=store,
            )  # fmt: skip
            made.put(told)
            model = [each for each in model if each.region != number and apart(each, told)]
            model.append(told)
            self.assertEqual(list(made), sorted(model, key=lambda each: each.start))
            for key in (b"0", b"35", b"9"):
                found = [each for each in model if each.start <= key and (not each.end or key < each.end)]
                self.assertEqual(made.at(key), found[0] if found else None)
            self.assertEqual(made.on(4).count, len(model))
            self.assertEqual(made.on(4).size, sum(each.placed_size for each in model))
            for each in (1, 2, 3):
                self.assertEqual(set(made.on(each).leaders), {one.region for one in model if one.leader == each})

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 9))), st.integers(0, 12))
    def test_drawing(self, changes: list[tuple[bool, int]], most: int) -> None:
        drawn, model = DrawnSet(), set[int]()
        for add, item in changes:
            (drawn.add if add else drawn.discard)(item)
            (model.add if add else model.discard)(item)
        self.assertEqual((set(drawn), len(drawn)), (model, len(model)))
        found = drawn.draw(Random(1), most)
        self.assertEqual(len(set(found)), min(most, len(model)))
        self.assertLessEqual(set(found), model)


class RecordTests(SynchronousTestCase):
    """Heartbeats as JSON has them."""

    def test_what_is_written_is_what_is_read(self) -> None:
        peers = tuple(PeerInfo(number, number + 10, role) for number, role in enumerate(Role, 1))
        told = RegionInfo(7, b"\x00a", b"\xff", peers, 11, 2, 3, 4, 5, 6, (12,), {13: 1.5}, 1.0, 2.0, 3.0, 4.0, "redis")
        self.assertEqual(RegionInfo.from_json(told.to_json()), told)

    def test_what_no_region_can_be(self) -> None:
        good = region(1, b"a", b"b", stores=(1, 2)).to_json()
        learner = {"peer": 1, "store": 1, "role": "learner"}
        for change, words in (
            ({"region": 0}, "at least 1"),
            ({"start": "62"}, "ends before it starts"),
            ({"start": "6"}, "RegionInfo.start must be hexadecimal"),
            ({"peers": []}, "1 to 64 peers"),
            ({"peers": [good["peers"][0]] * 2}, "two peers on one store"),
            ({"peers": [learner]}, "no voter"),
            ({"peers": [{"peer": 1, "store": 1, "role": "king"}]}, "RegionInfo.peers[0].role must be one of voter"),
            ({"leader": 9}, "led by store 9"),
            ({"size": -1}, "negative"),
            ({"down": {"2": -1}}, "negative"),
            ({"down": {"x": 1}}, "whole number"),
            ({"reads": float("nan")}, "finite"),
            ({"size": True}, "RegionInfo.size must be of type int"),
            ({"peers": 5}, "RegionInfo.peers must be a list"),
        ):
            problem = self.assertRaises(BadRecord, RegionInfo.from_json, {**good, **change})
            self.assertIn(words, str(problem))
        self.assertRaises(BadRecord, RegionInfo.from_json, [])
        del good["peers"]
        self.assertIn("peers is missing", str(self.assertRaises(BadRecord, RegionInfo.from_json, good)))

    def test_fields_of_a_newer_store_are_passed_over(self) -> None:
        told = region(1)
        self.assertEqual(RegionInfo.from_json({**told.to_json(), "colour": "red"}), told)
