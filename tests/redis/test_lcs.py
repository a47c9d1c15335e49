"""Longest common subsequences: by hand, and against LCS of a real server."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis_server import RedisServer, ReplyError
from tinykv.redis.lcs import LcsTooLarge, Match, lcs, lcs_length, lcs_matches

TEXTS = st.lists(st.sampled_from(b"abc\x00\xff"), max_size=40).map(bytes) | st.binary(max_size=12)


class LcsTests(SynchronousTestCase):
    """L{lcs}, L{lcs_length} and L{lcs_matches}."""

    def test_the_example_of_the_manual(self) -> None:
        first, second = b"ohmytext", b"mynewtext"
        self.assertEqual(lcs(first, second), b"mytext")
        self.assertEqual(lcs_length(first, second), 6)
        text, my = Match((4, 7), (5, 8)), Match((2, 3), (0, 1))
        self.assertEqual(lcs_matches(first, second), ([text, my], 6))
        self.assertEqual((text.length, my.length), (4, 2))
        self.assertEqual(lcs_matches(first, second, 4), ([text], 6))

    def test_nothing_in_common(self) -> None:
        for first, second in ((b"", b""), (b"", b"a"), (b"a", b""), (b"ab", b"cd")):
            self.assertEqual(lcs(first, second), b"")
            self.assertEqual(lcs_length(first, second), 0)
            self.assertEqual(lcs_matches(first, second), ([], 0))

    def test_a_table_that_redis_refuses_is_refused(self) -> None:
        self.assertEqual(lcs_length(b"abc", b"abc", max_table_bytes=64), 3)
        for function in (lcs, lcs_length, lcs_matches):
            self.assertRaises(LcsTooLarge, function, b"abc", b"abcd", max_table_bytes=64)

    def test_the_largest_table_with_little_memory(self) -> None:
        text = bytes(range(256)) * 40
        self.assertEqual(lcs_length(text, text[1:] + b"x"), len(text) - 1)
        self.assertEqual(lcs_matches(text, b"\x00" + text)[1], len(text))


class DifferentialTests(SynchronousTestCase):
    """What a real server answers."""

    def setUp(self) -> None:
        self.server = RedisServer()
        self.addCleanup(self.server.close)

    @given(TEXTS, TEXTS, st.integers(0, 4))
    @example(b"ohmytext", b"mynewtext", 0)
    def test_all_forms(self, first: bytes, second: bytes, least: int) -> None:
        client = self.server.client
        client.call("MSET", "a", first, "b", second)
        self.assertEqual(lcs(first, second), client.call("LCS", "a", "b"))
        self.assertEqual(lcs_length(first, second), client.call("LCS", "a", "b", "LEN"))
        matches, length = lcs_matches(first, second, least)
        expected = [
            b"matches",
            [[list(found.first), list(found.second), found.length] for found in matches],
            b"len",
            length,
        ]
        reply = client.call("LCS", "a", "b", "IDX", "MINMATCHLEN", least, "WITHMATCHLEN")
        self.assertEqual(expected, reply)

    def test_the_limit_and_its_error(self) -> None:
        client = self.server.client
        limit = 1024 * 1024
        client.call("CONFIG", "SET", "proto-max-bulk-len", limit)
        for size in (511, 512):
            text = b"x" * size
            client.call("MSET", "a", text, "b", text)
            try:
                expected: object = lcs_length(text, text, max_table_bytes=limit)
            except LcsTooLarge as error:
                expected = ReplyError(b"ERR " + str(error).encode())
            self.assertEqual(client.attempt("LCS", "a", "b", "LEN"), expected)
        self.assertIsInstance(expected, ReplyError)
