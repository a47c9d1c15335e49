"""The replicated state: what each command does, what is refused, and that rows are all there is."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.errors import Damaged, Fault
from tinykv.placement.config import SCHEDULERS
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.stores import Life
from tinykv.region.descriptor import Descriptor
from tinykv.schedule import state as module
from tinykv.schedule.errors import Conflict, Invalid, NotFound, Refusal
from tinykv.schedule.rows import Tables
from tinykv.schedule.state import FIRST_ID, INITIAL_REGIONS_MAX, SERVICES_MAX, State
from tinykv.schedule.timestamps import PHYSICAL_MAX

NOW = 1_700_000_000_000


def command(do: str, **arguments: Any) -> dict[str, Any]:
    """Make a command."""
    return {"do": do, "now": NOW, **arguments}


def store(number: int, **more: Any) -> dict[str, Any]:
    """Make the command that registers a store."""
    record = {"store": number, "address": f"h{number}:20160", "folder": f"f{number}", **more}
    return command("put-store", store=record)


class Case(SynchronousTestCase):
    """A state."""

    def setUp(self) -> None:
        self.state = State()

    def do(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Apply a command, which has to work."""
        return self.apply(command(do, **arguments))

    def apply(self, made: dict[str, Any]) -> dict[str, Any]:
        """Apply a command, which has to work."""
        result = self.state.apply(made)
        assert isinstance(result, dict), result
        return result

    def refused(self, kind: type[Refusal], made: dict[str, Any]) -> str:
        """Apply a command, which is to change nothing; give the reason."""
        before = self.state.tables.rows()
        result = self.state.apply(made)
        assert isinstance(result, kind), result
        self.assertEqual(self.state.tables.rows(), before)
        return str(result)

    def stores(self, count: int) -> None:
        """Register some stores."""
        for number in range(1, count + 1):
            self.apply(store(number))


class ClusterTests(Case):
    """Id, windows and the beginning."""

    def test_the_first_id_stays(self) -> None:
        self.assertEqual(self.do("begin", id="a"), {"id": "a"})
        self.assertEqual(self.do("begin", id="b"), {"id": "a"})
        self.assertEqual(self.state.cluster_id, "a")

    def test_windows_have_no_id_in_common(self) -> None:
        self.assertEqual(
            self.do("window", timestamps=NOW, ids=10), {"timestamps": NOW, "first": FIRST_ID, "end": FIRST_ID + 10}
        )
        later = FIRST_ID + 10
        given = self.do("window", timestamps=NOW - 1, ids=5)
        self.assertEqual(given, {"timestamps": NOW, "first": later, "end": later + 5})
        self.assertEqual(self.do("window"), {"timestamps": NOW, "first": later + 5, "end": later + 5})

    def test_ends_of_windows(self) -> None:
        self.do("window", timestamps=PHYSICAL_MAX)
        self.refused(Conflict, command("window", timestamps=PHYSICAL_MAX + 1))
        self.do("window", ids=module.ID_MAX - FIRST_ID)
        self.refused(Conflict, command("window", ids=1))

    def test_where_leaders_are(self) -> None:
        self.do("lead", member=2, url="http://b:2379")
        self.assertEqual((self.state.url_of(2), self.state.url_of(1)), ("http://b:2379", ""))

    def test_waits_for_its_stores(self) -> None:
        self.stores(2)
        self.assertIn("2 have come", self.refused(Conflict, command("bootstrap", stores=3, regions=1)))
        self.apply(store(3))
        regions = self.do("bootstrap", stores=3, regions=1)["regions"]
        self.assertEqual([(r["start"], r["end"]) for r in regions], [("", "")])
        self.assertEqual(sorted(p["store"] for p in regions[0]["peers"]), [1, 2, 3])
        self.assertTrue(self.state.bootstrapped)
        self.refused(Conflict, command("bootstrap", stores=3, regions=1))

    def test_several_regions_at_once(self) -> None:
        self.stores(5)
        for count in (4, INITIAL_REGIONS_MAX):
            self.state = State()
            self.stores(5)
            self.do("bootstrap", stores=5, regions=count)
            regions = self.state.initial_regions
            self.assertEqual(len(regions), count)
            self.assertEqual(regions[0].start, b"")
            self.assertEqual([r.end for r in regions], [*[r.start for r in regions[1:]], b""])
            self.assertEqual([r.region for r in regions], list(range(1, count + 1)))
            self.assertLess(count, self.state.next_id)
            self.assertEqual({tuple(p.peer for p in r.peers) for r in regions}, {(1, 2, 3)})
            held = [sum(s in r.stores for r in regions) for s in range(1, 6)]
            self.assertLessEqual(max(held) - min(held), 3)

    def test_a_cluster_begins_alike_with_and_without_a_scheduler(self) -> None:
        self.stores(3)
        self.do("bootstrap", stores=3, regions=1)
        self.assertEqual(self.state.initial_regions, [RegionInfo.of(Descriptor.initial(1, [1, 2, 3]), None)])

    def test_a_cluster_that_began_without_it(self) -> None:
        self.do("begin", id="own")
        region = RegionInfo.of(Descriptor.initial(1, [1, 2, 3]), None)
        adopt = command("adopt", id="c0de", regions=[region.to_json()])
        self.apply(adopt)
        self.assertEqual((self.state.cluster_id, self.state.bootstrapped), ("c0de", True))
        self.assertEqual(self.state.initial_regions, [region])
        # Ids of a scheduler that was lost aren't given again.
        self.assertGreaterEqual(self.state.next_id, NOW)
        before = self.state.tables.rows()
        self.apply({**adopt, "now": NOW + 1})
        self.assertEqual(self.state.tables.rows(), before)
        self.assertIn("cluster c0de", self.refused(Conflict, command("adopt", id="bad", regions=[])))
        self.stores(3)
        self.refused(Conflict, command("bootstrap", stores=3, regions=1))

    def test_as_many_replicas_as_such_a_cluster_has(self) -> None:
        """Nobody asked for fewer; and where a single store began, more are to come."""

        def adopted(*voters: int, chosen: int | None = None) -> int:
            self.state = State()
            self.do("begin", id="own")
            if chosen is not None:
                self.do("choose", choices={"replicas": chosen})
            regions = [
                RegionInfo.of(Descriptor.initial(place, list(range(1, count + 1))), None).to_json()
                for place, count in enumerate(voters, 1)
            ]
            self.do("adopt", id="c0de", regions=regions)
            return self.state.choices.replicas

        self.assertEqual([adopted(1), adopted(3), adopted(5), adopted(7)], [3, 3, 5, 7])
        # A replica is on its way, in some regions or in all.
        self.assertEqual([adopted(4), adopted(6), adopted(5, 6), adopted(3, 5)], [3, 5, 5, 3])
        self.assertEqual([adopted(5, chosen=3), adopted(3, chosen=5)], [3, 5])

    def test_beginnings_that_cannot_be(self) -> None:
        region = RegionInfo.of(Descriptor.initial(FIRST_ID, [1]), None).to_json()
        self.refused(Invalid, command("adopt", id="c0de", regions=[region]))
        self.refused(Invalid, command("adopt", id="c0de", regions=[{**region, "peers": []}]))

    def test_unknown_command(self) -> None:
        self.assertRaises(Fault, self.state.apply, command("dance"))


class StoreTests(Case):
    """Stores' records."""

    def test_registered_and_moved(self) -> None:
        self.apply(store(1, labels={"zone": "a"}))
        self.apply(store(1, address="other:1", labels={}))
        record = self.state.stores[1]
        self.assertEqual((record.address, record.folder, record.labels), ("other:1", "f1", {}))

    def test_another_folder(self) -> None:
        self.stores(1)
        self.assertIn("lost its folder", self.refused(Conflict, store(1, folder="new")))

    def test_same_address(self) -> None:
        self.stores(1)
        self.refused(Conflict, store(2, address="h1:20160"))

    def test_bad_record(self) -> None:
        self.refused(Invalid, store(1, address=""))

    def test_too_many(self) -> None:
        for number in range(1, module.STORES_MAX + 1):
            name = f"{number}"
            record = {"store": number, "address": f"h{name}:1", "life": "tombstone"}
            self.state.tables.put("store", name, record)
        self.refused(Conflict, store(module.STORES_MAX + 1))
        self.refused(Conflict, command("bury-unknown", store=module.STORES_MAX + 1))

    def test_a_number_that_is_nobodys(self) -> None:
        """It's a tombstone's from then on; one that has registered isn't."""
        self.stores(1)
        self.refused(Conflict, command("bury-unknown", store=1))
        self.assertEqual(self.do("bury-unknown", store=2)["life"], "tombstone")
        self.assertIn("never returns", self.refused(Conflict, store(2)))
        self.apply(store(3))

    def test_changes(self) -> None:
        self.stores(1)
        changed = self.do("change-store", store=1, changes={"leader_weight": 0.5, "labels": {"zone": "b"}})
        self.assertEqual((changed["leader_weight"], changed["labels"]), (0.5, {"zone": "b"}))
        self.refused(NotFound, command("change-store", store=9, changes={}))
        self.refused(Invalid, command("change-store", store=1, changes={"leader_weight": -1}))

    def life(self, number: int) -> Life:
        """Give a store's life."""
        return self.state.stores[number].life

    def test_life(self) -> None:
        self.stores(4)
        self.do("bootstrap", stores=4, regions=1)
        self.do("set-life", store=1, life="offline")
        self.do("set-life", store=1, life="up")
        self.do("set-life", store=1, life="offline")
        self.do("set-life", store=1, life="tombstone")
        self.assertEqual(self.life(1), Life.TOMBSTONE)
        for life in ("up", "offline"):
            self.assertIn("never returns", self.refused(Conflict, command("set-life", store=1, life=life)))
        self.assertIn("never returns", self.refused(Conflict, store(1)))
        self.refused(Conflict, command("change-store", store=1, changes={"labels": {}}))
        self.apply(store(5, address="h1:20160"))

    def test_view_follows_the_rows(self) -> None:
        self.stores(2)
        view = self.state.stores
        rows = self.state.tables.rows()
        other = State()
        other.tables.load(rows.items())
        self.assertEqual(other.stores, view)
        self.apply(store(3))
        self.assertEqual(list(self.state.stores), [1, 2, 3])
        self.assertIs(self.state.stores, view)


class ChoiceTests(Case):
    """Choices, pauses, and what may be collected."""

    def test_choices(self) -> None:
        self.do("choose", choices={"replicas": 5})
        self.assertEqual(self.state.choices.replicas, 5)
        self.assertEqual(self.state.tables.get("choices", "placement"), {"replicas": 5})
        self.do("choose", choices={"replicas": 3})
        self.do("choose", choices={"max_down": 60})
        self.assertEqual(self.state.tables.get("choices", "placement"), {"replicas": 3, "max_down": 60.0})

    def test_bad_choices(self) -> None:
        for choices in ({"replicas": 0}, {"unheard": 1}, {"low_space": 0.9}, {"schedulers": ["x"]}):
            self.refused(Invalid, command("choose", choices=choices))

    def test_pauses(self) -> None:
        name = SCHEDULERS[0]
        self.do("pause", scheduler=name, until=NOW + 5)
        self.assertEqual(self.state.paused_until(name), NOW + 5)
        self.do("pause", scheduler=name, until=0)
        self.do("pause", scheduler=name, until=0)
        self.assertEqual(self.state.paused_until(name), 0)
        self.refused(NotFound, command("pause", scheduler="x", until=NOW + 5))

    def test_safe_point_never_goes_back(self) -> None:
        self.assertEqual(self.do("advance-safe-point", at=10), {"safe_point": 10})
        self.assertEqual(self.do("advance-safe-point", at=5), {"safe_point": 10})

    def test_services_hold_it_back(self) -> None:
        self.do("hold-safe-point", service="backup", at=7, until=NOW + 1)
        self.assertEqual(self.do("advance-safe-point", at=10), {"safe_point": 7})
        self.refused(Conflict, command("hold-safe-point", service="late", at=6, until=NOW + 1))
        self.do("hold-safe-point", service="backup", at=0, until=0)
        self.do("hold-safe-point", service="backup", at=0, until=0)
        self.assertEqual(self.do("advance-safe-point", at=10), {"safe_point": 10})

    def test_services_that_were_silent(self) -> None:
        self.do("hold-safe-point", service="backup", at=7, until=NOW + 1)
        late = {**command("advance-safe-point", at=10), "now": NOW + 1}
        self.assertEqual(self.apply(late), {"safe_point": 10})

    def test_too_many_services(self) -> None:
        for number in range(SERVICES_MAX):
            self.do("hold-safe-point", service=f"s{number}", at=1, until=NOW + 9)
        self.refused(Conflict, command("hold-safe-point", service="more", at=1, until=NOW + 9))
        self.do("hold-safe-point", service="s1", at=2, until=NOW + 9)


COMMANDS = st.one_of(
    st.builds(lambda ids, at: command("window", ids=ids, timestamps=at), st.integers(0, 50), st.integers(0, NOW)),
    st.builds(lambda number, folder: store(number, folder=f"f{folder}"), st.integers(1, 5), st.integers(1, 2)),
    st.builds(
        lambda number, life: command("set-life", store=number, life=life),
        st.integers(1, 5),
        st.sampled_from([life.value for life in Life]),
    ),
    st.builds(lambda number: command("bury-unknown", store=number), st.integers(1, 7)),
    st.just(command("bootstrap", stores=2, regions=3)),
    st.builds(lambda replicas: command("choose", choices={"replicas": replicas}), st.integers(0, 3)),
    st.builds(lambda at: command("advance-safe-point", at=at), st.integers(0, 100)),
    st.builds(
        lambda at, until: command("hold-safe-point", service="x", at=at, until=NOW + until),
        st.integers(0, 100),
        st.integers(-1, 1),
    ),
)


class LogTests(SynchronousTestCase):
    """What holds for any log."""

    @given(st.lists(COMMANDS, max_size=30), st.integers(0, 30))
    def test_rows_are_all_there_is(self, commands: list[dict[str, Any]], cut: int) -> None:
        whole = State()
        rows: dict[bytes, bytes] = {}
        for made in commands[:cut]:
            whole.apply(made)
        for key, value in whole.tables.take_changes().items():
            if value is not None:
                rows[key] = value
        restarted = State()
        restarted.tables.load(rows.items())
        for made in commands[cut:]:
            results = [whole.apply(made), restarted.apply(made)]
            self.assertEqual(str(results[0]), str(results[1]))
        self.assertEqual(whole.tables.rows(), restarted.tables.rows())
        for changes in (whole.tables.take_changes(), restarted.tables.take_changes()):
            after = dict(rows)
            for key, value in changes.items():
                if value is None:
                    after.pop(key, None)
                else:
                    after[key] = value
            self.assertEqual(after, whole.tables.rows())

    @given(st.lists(COMMANDS, max_size=30))
    def test_a_refusal_changes_nothing(self, commands: list[dict[str, Any]]) -> None:
        state = State()
        for made in commands:
            before = state.tables.rows()
            if isinstance(state.apply(made), Refusal):
                self.assertEqual(state.tables.rows(), before)


class RowsTests(SynchronousTestCase):
    """Rows that aren't what was written."""

    def test_damage(self) -> None:
        for key, value in ((b"ta/b", b"{"), (b"ta/b", b"1"), (b"tx/b", b"{}"), (b"ta", b"{}"), (b"ta/\xff", b"{}")):
            self.assertRaises(Damaged, Tables(["a"]).load, [(key, value)])
