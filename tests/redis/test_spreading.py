"""Commands are spread over the regions in which their keys lie, and the replies to their parts become one."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.errors import Damaged
from tinykv.keys import SLOTS, slot_of
from tinykv.redis.operations import COMMANDS, EXEC, INTERNAL, NOBODY, READ, lookup
from tinykv.redis.ownership import owns
from tinykv.redis.spreading import CROSS_SLOT, Spread, merged, region_of_transaction, scanned, spread
from tinykv.resp import replies
from tinykv.testing.embedded import TABLE

#: Keys of three regions: the first letter says which.
PLACES = {b"a": 0, b"b": 1, b"c": 2}


def region_of(key: bytes) -> int:
    """Give the region of a key."""
    return PLACES[key[:1]]


def of(line: str) -> int | Spread | bytes:
    """Spread a command over three regions."""
    arguments = line.encode().split()
    return spread(lookup(arguments, TABLE), arguments, region_of, 3)


def parts(line: str) -> list[tuple[int, bytes]]:
    """Give the parts of a command that has some."""
    found = of(line)
    assert isinstance(found, Spread), found
    return [(part.region, b" ".join(part.arguments)) for part in found.parts]


def transaction(*lines: str, watched: tuple[bytes, ...] = ()) -> int | bytes:
    """Say where a transaction goes."""
    commands: list[tuple[int, Any, list[bytes], Any]] = []
    for line in lines:
        arguments = line.encode().split()
        commands.append((0, None if line == "PING" else lookup(arguments, TABLE), arguments, None))
    return region_of_transaction(commands, [(0, key, 1) for key in watched], region_of, 3)


class SpreadTests(SynchronousTestCase):
    """L{spread}."""

    def test_one_region(self) -> None:
        for line, region in (
            ("SET b1 x", 1),
            ("MSET c1 x c2 y", 2),
            ("DEL a1 a2", 0),
            ("RENAME b1 b2", 1),
            ("ZUNIONSTORE c1 2 c2 c3", 2),
            ("BLPOP b1 b2 0", 1),
            ("OBJECT ENCODING c1", 2),
        ):
            self.assertEqual(of(line), region, line)

    def test_across_regions(self) -> None:
        for line in ("MSET a1 x b1 y", "RENAME a b", "SINTER a b", "BLPOP a b 0", "SWAPDB 0 1", "MSETNX a 1 c 2"):
            self.assertEqual(of(line), CROSS_SLOT, line)
        self.assertEqual(CROSS_SLOT, b"-CROSSSLOT Keys in request don't hash to the same slot\r\n")

    def test_by_key(self) -> None:
        self.assertEqual(parts("MGET b1 a1 b2 c1"), [(0, b"MGET a1"), (1, b"MGET b1 b2"), (2, b"MGET c1")])
        for name in ("DEL", "UNLINK", "EXISTS", "TOUCH"):
            found = [(0, f"{name} a1 a1".encode()), (2, f"{name} c1".encode())]
            self.assertEqual(parts(f"{name} c1 a1 a1"), found)

    def test_everywhere(self) -> None:
        for line in ("DBSIZE", "KEYS *", "FLUSHALL", "FLUSHDB ASYNC"):
            self.assertEqual(parts(line), [(region, line.encode()) for region in range(3)])

    def test_without_keys(self) -> None:
        self.assertEqual(of("MEMORY DOCTOR"), 0)
        # Whatever is wrong with it, one region says so.
        self.assertEqual(of("ZUNION x a b"), 0)

    def test_raw_keys(self) -> None:
        for line in ("RAW.PUT default a x", "RAW.GET default b", "RAW.SCAN default a z 10"):
            self.assertEqual(of(line), 2, line)

    def test_sort(self) -> None:
        self.assertEqual(of("SORT a1 LIMIT 0 10 ALPHA"), 0)
        self.assertEqual(of("SORT b1 BY nosort GET #"), 1)
        for line, option in (("SORT a1 BY w_*", b"BY"), ("SORT a1 GET # GET x*", b"GET"), ("SORT_RO a1 BY w_*", b"BY")):
            self.assertEqual(of(line), b"-ERR %b option of SORT denied in Cluster mode.\r\n" % option)
        self.assertEqual(of("SORT a1 STORE b1"), CROSS_SLOT)


class MergeTests(SynchronousTestCase):
    """L{merged}."""

    def together(self, line: str, *answers: bytes) -> bytes:
        """Merge the replies to the parts of a command."""
        found = of(line)
        assert isinstance(found, Spread)
        return merged(found, answers)

    def test_numbers(self) -> None:
        self.assertEqual(self.together("DEL a b c", b":1\r\n", b":0\r\n", b":7\r\n"), b":8\r\n")
        self.assertEqual(self.together("DBSIZE", b":10\r\n", b":0\r\n", b":90\r\n"), b":100\r\n")

    def test_values_in_their_places(self) -> None:
        answers = (replies.array([b"$1\r\nA\r\n"]), replies.array([b"$-1\r\n", b"$2\r\n\r\n\r\n"]))
        self.assertEqual(
            self.together("MGET b1 a1 b2", *answers), replies.array([b"$-1\r\n", b"$1\r\nA\r\n", b"$2\r\n\r\n\r\n"])
        )

    def test_elements(self) -> None:
        answers = (replies.array([b"$1\r\na\r\n"]), replies.array([]), replies.array([b"$1\r\nb\r\n", b"$1\r\nc\r\n"]))
        self.assertEqual(
            self.together("KEYS *", *answers), replies.array([b"$1\r\na\r\n", b"$1\r\nb\r\n", b"$1\r\nc\r\n"])
        )

    def test_errors(self) -> None:
        self.assertEqual(self.together("FLUSHALL", b"+OK\r\n", b"+OK\r\n", b"+OK\r\n"), b"+OK\r\n")
        self.assertEqual(self.together("DBSIZE", b":1\r\n", b"-TRYAGAIN x\r\n", b"-ERR\r\n"), b"-TRYAGAIN x\r\n")
        self.assertEqual(self.together("DEL a b", b"-TRYAGAIN x\r\n", b"-ERR\r\n"), b"-TRYAGAIN x\r\n")

    def test_some_parts_were_done(self) -> None:
        """Nobody is told that nothing was."""
        down = b"-CLUSTERDOWN no store leads; nothing was done\r\n"
        told = b"-TIMEOUT not all parts of the command were done (CLUSTERDOWN no store leads); outcome unknown\r\n"
        self.assertEqual(self.together("FLUSHALL", b"+OK\r\n", down, down), told)
        self.assertEqual(self.together("UNLINK a b", down, b":0\r\n"), told)
        # Nor where a part may have been; nor is it said twice.
        unknown = b"-TIMEOUT x; outcome unknown\r\n"
        self.assertEqual(self.together("DEL a b", down, unknown), unknown)
        self.assertEqual(self.together("DEL a b c", b":1\r\n", down, told), told)

    def test_what_does_not_fit(self) -> None:
        self.assertRaises(Damaged, self.together, "DBSIZE", b"+OK\r\n", b":1\r\n", b":1\r\n")
        self.assertRaises(Damaged, self.together, "MGET a b", replies.array([]), replies.array([b":1\r\n"]))

    @given(st.lists(st.sampled_from([b"a", b"b", b"c", b"a1", b"b2"]), min_size=1, max_size=12))
    def test_as_if_it_were_one(self, keys: list[bytes]) -> None:
        """What parts answer key by key is what the whole command would have."""
        arguments = [b"MGET", *keys]
        found = spread(TABLE["mget"], arguments, region_of, 3)
        if isinstance(found, Spread):
            answers = [replies.array([replies.bulk(b"of " + key) for key in one.arguments[1:]]) for one in found.parts]
            whole = merged(found, answers)
            self.assertEqual(whole, replies.array([replies.bulk(b"of " + key) for key in keys]))
        else:
            self.assertEqual({region_of(key) for key in keys}, {found})


class TransactionTests(SynchronousTestCase):
    """L{region_of_transaction}."""

    def test_one_region(self) -> None:
        self.assertEqual(transaction("SET b1 x", "PING", "GET b2", watched=(b"b3",)), 1)
        self.assertEqual(transaction("PING"), 0)
        self.assertEqual(transaction(), 0)
        self.assertEqual(transaction("GET c1", "RAW.GET default a"), 2)
        self.assertEqual(transaction("HSCAN b1 0"), 1)

    def test_several(self) -> None:
        for lines in (("SET a x", "SET b x"), ("MGET a b",), ("GET a", "DBSIZE"), ("FLUSHALL",)):
            self.assertEqual(transaction(*lines), CROSS_SLOT, lines)
        for line in ("SCAN 0", "RANDOMKEY"):
            self.assertEqual(transaction(line, "GET a"), CROSS_SLOT, line)
        self.assertEqual(transaction("SET a x", watched=(b"b",)), CROSS_SLOT)


class ScanTests(SynchronousTestCase):
    """L{scanned}."""

    def test_on_to_the_next_region(self) -> None:
        items = replies.array([b"$1\r\na\r\n"])
        end = replies.array([b"$1\r\n0\r\n", items])
        within = replies.array([b"$2\r\n17\r\n", items])
        self.assertEqual(scanned(within, 99), within)
        self.assertEqual(scanned(end, 99), replies.array([b"$2\r\n99\r\n", items]))
        self.assertEqual(scanned(end, 0), end)
        self.assertEqual(scanned(b"-ERR invalid cursor\r\n", 99), b"-ERR invalid cursor\r\n")


class OwnershipTests(SynchronousTestCase):
    """L{owns}."""

    def op(self, line: str, kind: int = COMMANDS) -> Any:
        """Make an operation."""
        arguments = line.encode().split()
        return (kind, NOBODY, 0, 0, lookup(arguments, TABLE), arguments, None)

    def test_at_the_borders(self) -> None:
        slot = slot_of(b"k")
        ranges = (((slot, slot + 1), True), ((0, slot), False), ((slot + 1, SLOTS), False), ((0, SLOTS), True))
        for slots, own in ranges:
            self.assertEqual(owns(slots, self.op("SET k x")), own)
            self.assertEqual(owns(slots, self.op("GET k", READ)), own)
            self.assertTrue(owns(slots, self.op("DBSIZE", READ)))
            self.assertTrue(owns(slots, (INTERNAL, NOBODY, 0, 0, None, [b"expire", b"0", b"k"], None)))
            commands = [(0, TABLE["set"], [b"SET", b"k", b"x"], None), (0, None, [b"PING"], None)]
            self.assertEqual(owns(slots, (EXEC, NOBODY, 0, 0, None, commands, [])), own)
            self.assertEqual(owns(slots, (EXEC, NOBODY, 0, 0, None, [], [(0, b"k", 1)])), own)

    def test_raw_keys_lie_in_the_last(self) -> None:
        self.assertTrue(owns((5, SLOTS), self.op("RAW.PUT default k x")))
        self.assertFalse(owns((0, SLOTS - 1), self.op("RAW.PUT default k x")))
