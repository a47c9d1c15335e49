"""What waits to be sent: its order, its pieces, its limits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.peering.grammar import GrammarError, Line, LineReader
from tinykv.peering.lanes import WRITE_BYTES, Assembly, Lanes, Tracked
from tinykv.peering.verbs import FRAME_BYTES, HEARTBEATS_MAX, LINK_TO_ACCEPTOR

LARGE = 64 << 20


def lanes() -> Lanes:
    """Make lanes with room."""
    return Lanes(1 << 20, LARGE)


def lines(data: bytes) -> list[Line]:
    """Read what was taken."""
    reader = LineReader(LINK_TO_ACCEPTOR)
    reader.feed(data)
    found = []
    while (one := reader.next()) is not None:
        found.append(one)
    assert not reader.buffered
    return found


class OrderTests(SynchronousTestCase):
    """What leaves first."""

    def test_a_turn_is_one_write(self) -> None:
        waiting = lanes()
        waiting.bulk(b"RAFT 1", b"append", 1)
        waiting.urgent(b"RAFT 2 4\r\nvote\r\n", 2)
        waiting.heard(4, b"4:1:2:3:4:5")
        waiting.beat(3, b"3:1:2:3:4")
        waiting.beat(5, b"5:1:2:3:4")
        self.assertEqual(
            waiting.take(),
            b"HEARTBEAT 3:1:2:3:4 5:1:2:3:4\r\nHEARD 4:1:2:3:4:5\r\nRAFT 2 4\r\nvote\r\nRAFT 1 6\r\nappend\r\n",
        )
        self.assertFalse(waiting)
        self.assertEqual((waiting.bulk_bytes, waiting.urgent_bytes), (0, 0))

    def test_only_the_latest_heartbeat_of_a_region_waits(self) -> None:
        waiting = lanes()
        for count in range(3):
            waiting.beat(3, b"3:1:2:3:%d" % count)
            waiting.heard(3, b"3:1:2:3:4:%d" % count)
        self.assertEqual(waiting.take(), b"HEARTBEAT 3:1:2:3:2\r\nHEARD 3:1:2:3:4:2\r\n")

    def test_regions_in_one_line_at_the_limit_and_one_past(self) -> None:
        waiting = lanes()
        for region in range(HEARTBEATS_MAX):
            waiting.beat(region, b"%d" % region)
        self.assertEqual(waiting.take().count(b"\r\n"), 1)
        for region in range(HEARTBEATS_MAX + 1):
            waiting.beat(region, b"%d" % region)
        first, second = waiting.take().splitlines()
        self.assertEqual((first.count(b" "), second), (HEARTBEATS_MAX, b"HEARTBEAT %d" % HEARTBEATS_MAX))

    def test_urgent_lines_pass_between_writes(self) -> None:
        waiting = lanes()
        for region in (1, 2, 3):
            waiting.bulk(b"RAFT %d" % region, b"x" * (WRITE_BYTES // 2), region)
        first = lines(waiting.take())
        waiting.urgent(b"PING\r\n")
        second = lines(waiting.take())
        self.assertEqual([(verb, fields) for verb, fields, _ in first], [(b"RAFT", [b"1"]), (b"RAFT", [b"2"])])
        self.assertEqual([verb for verb, _, _ in second], [b"PING", b"RAFT"])


class PieceTests(SynchronousTestCase):
    """What is too long for one line."""

    def test_at_the_limit_it_stays_whole_and_one_past_it_is_cut(self) -> None:
        waiting = lanes()
        waiting.bulk(b"RAFT 1", b"x" * FRAME_BYTES, 1)
        self.assertEqual([verb for verb, _, _ in lines(waiting.take())], [b"RAFT"])
        waiting.bulk(b"RAFT 1", b"x" * (FRAME_BYTES + 1), 1)
        self.assertEqual(
            [(verb, fields, len(payload)) for verb, fields, payload in lines(waiting.take())],
            [(b"BEGIN", [b"RAFT", b"1", b"%d" % (FRAME_BYTES + 1)], 0), (b"PART", [], FRAME_BYTES)],
        )
        waiting.urgent(b"PING\r\n")
        self.assertEqual(lines(waiting.take()), [(b"PING", [], b""), (b"PART", [], b"x")])
        self.assertFalse(waiting)
        self.assertEqual(waiting.bulk_bytes, 0)

    @given(st.lists(st.sampled_from([0, 1, 1000, FRAME_BYTES, FRAME_BYTES + 1, 2 * FRAME_BYTES, 5 << 19]), max_size=6))
    def test_everything_comes_out_whole_and_in_order(self, sizes: list[int]) -> None:
        waiting, assembly = lanes(), Assembly(LARGE)
        for place, size in enumerate(sizes):
            self.assertTrue(waiting.bulk(b"RAFT %d" % place, bytes([place]) * size, place))
        found = []
        while waiting:
            data = waiting.take()
            self.assertLessEqual(len(data), WRITE_BYTES + 1000)
            for verb, fields, payload in lines(data):
                if verb == b"BEGIN":
                    assembly.begin(fields, LINK_TO_ACCEPTOR)
                elif verb == b"PART":
                    if (whole := assembly.part(payload)) is not None:
                        found.append(whole)
                else:
                    found.append((verb, fields, payload))
        expected = [(b"RAFT", [b"%d" % place], bytes([place]) * size) for place, size in enumerate(sizes)]
        self.assertEqual(found == expected, True)

    def test_left_says_whether_all_was_taken(self) -> None:
        waiting, tracked = lanes(), Tracked()
        waiting.bulk(b"FORWARD 1 1", b"x" * (2 * FRAME_BYTES), tracked)
        waiting.take()
        self.assertFalse(tracked.left)
        waiting.take()
        self.assertTrue(tracked.left)


class LimitTests(SynchronousTestCase):
    """How much waits."""

    def test_urgent(self) -> None:
        waiting = Lanes(10, 10)
        self.assertTrue(waiting.urgent(b"x" * 10, 1))
        self.assertFalse(waiting.urgent(b"x", 2))
        waiting.take()
        self.assertFalse(waiting.urgent(b"x" * 11, 2))
        self.assertEqual(waiting.clear(), [])

    def test_bulk(self) -> None:
        waiting = Lanes(10, 2 * (64 + 100))
        self.assertTrue(waiting.bulk(b"RAFT 1", b"x" * 100, 1))
        self.assertFalse(waiting.bulk(b"RAFT 1", b"x" * 101, 1))
        self.assertTrue(waiting.bulk(b"RAFT 1", b"x" * 100, 1))
        self.assertFalse(waiting.bulk(b"RAFT 1", b"", 1))

    def test_something_too_large_waits_alone(self) -> None:
        waiting = Lanes(10, 100)
        self.assertTrue(waiting.bulk(b"RAFT 1", b"x" * 1000, 1))
        self.assertFalse(waiting.bulk(b"RAFT 1", b"", 1))

    def test_clear_tells_whose_messages_are_lost(self) -> None:
        waiting, tracked = lanes(), Tracked()
        waiting.urgent(b"RAFT 7 1\r\nx\r\n", 7)
        waiting.urgent(b"PING\r\n")
        waiting.bulk(b"RAFT 8", b"x" * (2 * FRAME_BYTES), 8)
        waiting.bulk(b"FORWARD 1 1", b"", tracked)
        waiting.take()
        waiting.urgent(b"RAFT 9 1\r\nx\r\n", 9)
        waiting.beat(4, b"x")
        self.assertEqual(waiting.clear(), [9, 8])
        self.assertFalse(waiting)
        self.assertFalse(tracked.left)
        waiting.bulk(b"RAFT 8", b"x", 8)
        self.assertEqual(waiting.take(), b"RAFT 8 1\r\nx\r\n")


class AssemblyTests(SynchronousTestCase):
    """What a peer may do with pieces."""

    def breach(self, *steps: list[bytes] | bytes, most: int = LARGE) -> str:
        """Take BEGIN lines (lists) and pieces (bytes); the last is the breach whose reason is returned."""
        assembly = Assembly(most)
        for step in steps[:-1]:
            if isinstance(step, list):
                assembly.begin(step, LINK_TO_ACCEPTOR)
            else:
                assembly.part(step)
        last = steps[-1]
        if isinstance(last, list):
            return self.assertRaises(GrammarError, assembly.begin, last, LINK_TO_ACCEPTOR).reason
        return self.assertRaises(GrammarError, assembly.part, last).reason

    def test_breaches(self) -> None:
        begin = [b"RAFT", b"1", b"2000000"]
        self.assertIn("without a BEGIN", self.breach(b"x"))
        self.assertIn("under way", self.breach(begin, begin))
        self.assertIn("0 bytes where", self.breach(begin, b""))
        self.assertIn("2000001 bytes where 2000000", self.breach(begin, b"x" * 2_000_001))
        self.assertIn("'PING'", self.breach([b"PING", b"1", b"2000000"]))
        self.assertIn("'PART'", self.breach([b"PART", b"1", b"2000000"]))
        self.assertIn("number of fields", self.breach([b"FORWARD", b"1", b"2000000"]))

    def test_sizes_at_the_limits_and_one_past(self) -> None:
        least, most = FRAME_BYTES + 1, FRAME_BYTES + 10
        for size in (least, most):
            Assembly(most).begin([b"RAFT", b"1", b"%d" % size], LINK_TO_ACCEPTOR)
        for size in (least - 1, most + 1):
            self.assertIn("isn't within", self.breach([b"RAFT", b"1", b"%d" % size], most=most))
