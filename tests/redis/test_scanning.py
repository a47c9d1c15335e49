"""The SCAN family: replies as from a real server, and guarantees over large values, changes and restarts."""

from __future__ import annotations

from binascii import crc32

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.scripted import check_scripts
from tests.redis_server import RedisServer
from tinykv.keys import slot_of
from tinykv.testing.embedded import Embedded


def _decode(reply: bytes) -> tuple[bytes, list[bytes]]:
    """Give cursor and elements of a scan's reply, none of which holds a newline."""
    words = reply.split(b"\r\n")
    return words[2], words[5::2]


class ScanningTests(SynchronousTestCase):
    """SCAN, HSCAN, SSCAN and ZSCAN."""

    def _walk(self, embedded: Embedded, *arguments: bytes, at: int = 1) -> list[bytes]:
        """Follow the cursors to the end; C{at} is where the cursor stands among the arguments."""
        found: list[bytes] = []
        cursor = b"0"
        for _ in range(100_000):
            cursor, elements = _decode(embedded.run(*arguments[:at], cursor, *arguments[at:]))
            found += elements
            if cursor == b"0":
                return found
        raise AssertionError("the scan doesn't end")

    def test_replies_as_from_redis(self) -> None:
        with RedisServer() as server:
            self.assertEqual(check_scripts(server, "scanning"), [])

    def test_every_key_comes_once(self) -> None:
        embedded = Embedded()
        names = [b"key:%d" % number for number in range(300)] + [b"{tag}%d" % number for number in range(300)]
        for name in names:
            embedded.run(b"set", name, b"1")
        for _ in range(2):
            for count in (b"1", b"7", b"100", b"1000"):
                self.assertEqual(sorted(self._walk(embedded, b"scan", b"COUNT", count)), sorted(names))
            found = self._walk(embedded, b"scan", b"MATCH", b"*7", b"TYPE", b"string")
            self.assertEqual(sorted(found), sorted(name for name in names if name.endswith(b"7")))
            self.assertEqual(self._walk(embedded, b"scan", b"TYPE", b"set"), [])
            embedded.forget()

    def test_count_bounds_a_step(self) -> None:
        embedded = Embedded()
        for number in range(100):
            embedded.run(b"set", b"key:%d" % number, b"1")
        _, elements = _decode(embedded.run(b"scan", b"0"))
        self.assertEqual(len(elements), 10)
        _, elements = _decode(embedded.run(b"scan", b"0", b"COUNT", b"25"))
        self.assertEqual(len(elements), 25)

    def test_equal_positions_come_together(self) -> None:
        # The crc32 of these two is the same, and the tag puts them in one slot.
        pair = _colliding()
        embedded = Embedded()
        self.assertEqual(
            {(slot_of(name), crc32(name)) for name in pair}, {(slot_of(pair[0]), crc32(pair[0]))}
        )
        for name in (*pair, *[b"{t}%d" % number for number in range(50)]):
            embedded.run(b"set", name, b"1")
        self.assertEqual(len(self._walk(embedded, b"scan", b"COUNT", b"1")), 52)
        embedded.run(b"hset", b"h", *[word for name in pair for word in (name, b"1")])
        embedded.run(b"hset", b"h", *[b"%d" % number for number in range(2000)])
        self.assertEqual(len(self._walk(embedded, b"hscan", b"h", b"COUNT", b"1", at=2)), 2 * 1002)

    def test_cursors_past_the_end(self) -> None:
        embedded = Embedded()
        embedded.run(b"set", b"a", b"1")
        embedded.run(b"sadd", b"s", *[b"m%d" % number for number in range(3000)])
        for cursor in (b"18446744073709551615", b"-1", b"%d" % (16384 << 32), b"70368744177663"):
            self.assertEqual(_decode(embedded.run(b"scan", cursor)), (b"0", []), cursor)
            self.assertEqual(_decode(embedded.run(b"sscan", b"s", cursor))[0], b"0", cursor)

    def test_expired_keys_are_left_out(self) -> None:
        embedded = Embedded()
        embedded.run(b"set", b"a", b"1", b"PX", b"10")
        embedded.run(b"sadd", b"s", b"1")
        embedded.run(b"pexpire", b"s", b"10")
        embedded.run(b"set", b"b", b"1", b"PX", b"11")
        embedded.now += 10
        self.assertEqual(self._walk(embedded, b"scan"), [b"b"])

    def test_large_values(self) -> None:
        embedded = Embedded()
        names = [b"m%d" % number for number in range(2500)]
        embedded.run(b"sadd", b"s", *names)
        embedded.run(b"hset", b"h", *[word for name in names for word in (name, b"v" + name)])
        embedded.run(b"zadd", b"z", *[word for name in names for word in (name[1:], name)])
        for _ in range(2):
            for count in (b"3", b"100"):
                self.assertEqual(
                    sorted(self._walk(embedded, b"sscan", b"s", b"COUNT", count, at=2)), sorted(names)
                )
                found = self._walk(embedded, b"hscan", b"h", b"COUNT", count, at=2)
                self.assertEqual(
                    dict(zip(found[::2], found[1::2], strict=True)), {name: b"v" + name for name in names}
                )
                found = self._walk(embedded, b"zscan", b"z", b"COUNT", count, at=2)
                self.assertEqual(
                    dict(zip(found[::2], found[1::2], strict=True)), {name: name[1:] for name in names}
                )
            found = self._walk(embedded, b"sscan", b"s", b"MATCH", b"m1?", at=2)
            self.assertEqual(sorted(found), [b"m1%d" % number for number in range(10)])
            embedded.forget()

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), min_size=5, max_size=30), st.integers(1, 9))
    def test_what_stays_is_returned_whatever_else_changes(
        self, changes: list[tuple[bool, int]], count: int
    ) -> None:
        embedded = Embedded()
        touched = {b"key:%d" % number for _, number in changes}
        names = {b"key:%d" % number for number in range(61)}
        for name in sorted(names):
            embedded.run(b"set", name, b"1")
        found: list[bytes] = []
        cursor = b"0"
        steps = iter(changes)
        while True:
            cursor, elements = _decode(embedded.run(b"scan", cursor, b"COUNT", b"%d" % count))
            found += elements
            if cursor == b"0":
                break
            add, number = next(steps, (True, 0))
            embedded.run(*((b"set", b"key:%d" % number, b"2") if add else (b"del", b"key:%d" % number)))
            if number % 7 == 0:
                embedded.forget()
        self.assertEqual(len(found), len(set(found)))
        self.assertLessEqual(names - touched, set(found))


def _colliding() -> tuple[bytes, bytes]:
    """Make two keys of one slot with the same crc32: any four bytes behind a name give it any crc."""
    first = b"{t}first...."
    # Append bytes that lead from the state after the second name to the crc of the first: crc32 is linear.
    start = crc32(b"{t}other")
    wanted = crc32(first)
    basis = [crc32((1 << bit).to_bytes(4, "little"), start) ^ crc32(bytes(4), start) for bit in range(32)]
    rows = [(value, 1 << bit) for bit, value in enumerate(basis)]
    target, answer = wanted ^ crc32(bytes(4), start), 0
    for bit in reversed(range(32)):
        pivot = next((row for row in rows if row[0] >> bit & 1), None)
        if pivot is None:
            continue
        rows.remove(pivot)
        rows = [(v ^ pivot[0], m ^ pivot[1]) if v >> bit & 1 else (v, m) for v, m in rows]
        if target >> bit & 1:
            target, answer = target ^ pivot[0], answer ^ pivot[1]
    return first, b"{t}other" + answer.to_bytes(4, "little")
