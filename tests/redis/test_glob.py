"""Glob patterns: by hand, and against KEYS of a real server."""

from __future__ import annotations

from time import perf_counter

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis_server import RedisServer
from tinykv.redis.glob import Glob, match

# Few letters, so that much matches; the bytes around the signs of patterns; both ends of a signed char.
LETTERS = b"abcABz\\]-^*?[\x00\x7f\x80\xff"
TEXTS = st.lists(st.sampled_from(LETTERS), max_size=7).map(bytes)
PATTERNS = st.lists(
    st.sampled_from([
        b"a", b"b", b"*", b"*", b"?", b"[a-c]", b"[^a]", b"[", b"]", b"^", b"-", b"\\", b"\\*", b"[c-a]",
        b"[\\]]",
        b"[\\a-]", b"[a-]", b"[^", b"[A-b]", b"[\x7f-\x80]", b"\xff", b"[\x80-\xff]", b"[]", b"[^]", b"ab",
        b"\x00",
        b"[Z-a]", b"A", b"[b-\\]", b"[a\\",
    ]),
    max_size=7,
).map(b"".join)  # fmt: skip


class GlobTests(SynchronousTestCase):
    """L{match} and L{Glob}."""

    def test_plain_patterns(self) -> None:
        for pattern, text, expected in (
            (b"", b"", True), (b"", b"a", False), (b"*", b"a", True), (b"abc", b"abc", True), (b"abc",
            b"ab", False),
            (b"user:*", b"user:1", True), (b"user:*", b"user:", True), (b"user:*", b"use", False), (b"*a",
            b"a", True),
            (b"*:1", b"user:1", True), (b"a*b*c", b"a-b-b-c", True), (b"a*b*c", b"a-c-b", False),
            (b"ab*ba", b"aba", False),
            (b"h?llo", b"hello", True), (b"h[ae]llo", b"hallo", True), (b"h[^e]llo", b"hello", False),
            (b"h\\?llo", b"h?llo", True), (b"h\\?llo", b"hello", False), (b"*?", b"", False), (b"a**",
            b"a", True),
        ):  # fmt: skip
            self.assertEqual(match(pattern, text), expected, (pattern, text))

    def test_an_empty_text_is_matched_by_the_empty_pattern_alone(self) -> None:
        self.assertFalse(match(b"*", b""))
        self.assertTrue(Glob(b"*").matches_all)
        self.assertFalse(Glob(b"**").matches_all)

    def test_case(self) -> None:
        self.assertTrue(match(b"MaxMemory*", b"maxmemory-policy", nocase=True))
        self.assertTrue(match(b"h[A-C]?X", b"Hb!x", nocase=True))
        self.assertFalse(match(b"[\\a]", b"A", nocase=True))
        self.assertFalse(match(b"[\\A]", b"a", nocase=True))
        self.assertTrue(match(b"[Z]", b"z", nocase=True))
        self.assertFalse(match(b"MAX", b"max"))
        self.assertFalse(match(b"\xc4", b"\xe4", nocase=True))
        self.assertTrue(match(b"\\K*z", b"kyZ", nocase=True))

    def test_hints(self) -> None:
        self.assertEqual(Glob(b"a\\*b").literal, b"a*b")
        self.assertEqual(Glob(b"[x]y").literal, b"xy")
        self.assertIsNone(Glob(b"ab*").literal)
        self.assertIsNone(Glob(b"a?").literal)
        self.assertIsNone(Glob(b"ab", nocase=True).literal)
        self.assertEqual(Glob(b"ab?c*").prefix, b"ab")
        self.assertEqual(Glob(b"*ab").prefix, b"")
        self.assertEqual(Glob(b"ab", nocase=True).prefix, b"")

    def test_many_stars_cost_little(self) -> None:
        started = perf_counter()
        for unit in (b"a*", b"?*", b"[ab]*", b"a?*"):
            self.assertFalse(match(unit * 60 + b"b", b"a" * 5000))
            self.assertFalse(match(b"*" + unit * 60 + b"[b]c", b"a" * 5000))
        self.assertLess(perf_counter() - started, 5.0)

    @given(PATTERNS, TEXTS)
    def test_case_is_ignored_in_text_without_classes(self, pattern: bytes, text: bytes) -> None:
        if b"[" not in pattern:
            self.assertEqual(match(pattern, text, nocase=True), match(pattern.lower(), text.lower()))


class DifferentialTests(SynchronousTestCase):
    """The keys that a real server finds."""

    def setUp(self) -> None:
        self.server = RedisServer()
        self.addCleanup(self.server.close)

    @given(st.sets(TEXTS, min_size=5, max_size=12), st.lists(PATTERNS, min_size=6, max_size=6))
    @example({b"", b"a", b"ab", b"*"}, [b"", b"*", b"**", b"?", b"[^]", b"[", b"a[", b"\\"])
    def test_keys(self, names: set[bytes], patterns: list[bytes]) -> None:
        client = self.server.client
        client.pipeline([[b"FLUSHALL"], *([b"SET", name, b"1"] for name in names)])
        for pattern, found in zip(patterns, client.pipeline([b"KEYS", p] for p in patterns), strict=True):
            glob = Glob(pattern)
            expected = {name for name in names if glob.matches_all or glob.matches(name)}
            self.assertEqual(expected, set(found), pattern)
            for name in expected:
                self.assertTrue(glob.matches_all or name.startswith(glob.prefix))
                self.assertIn(glob.literal, (None, name))

    @given(st.lists(PATTERNS.filter(bool), min_size=3, max_size=3))
    def test_names_of_settings_in_any_case(self, patterns: list[bytes]) -> None:
        """CONFIG GET compares without case (and takes what has no sign of a pattern for a name)."""
        names = self.server.client.call("CONFIG", "GET", "*")[::2]
        client = self.server.client
        asked = [b"*" + pattern.replace(b"\x00", b"") + b"*" for pattern in patterns]
        for pattern, reply in zip(asked, client.pipeline([b"CONFIG", b"GET", p] for p in asked), strict=True):
            glob = Glob(pattern, nocase=True)
            expected = {name for name in names if glob.matches(name)}
            self.assertEqual(sorted(expected), sorted(reply[::2]), pattern)
