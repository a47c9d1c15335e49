"""Inline commands are split as Redis splits them; the tables were checked against Redis 7.0.15."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.resp.inline import UnbalancedQuotes, split_inline


class SplitTests(SynchronousTestCase):
    """`split_inline`."""

    def test_words(self) -> None:
        for line, words in [
            (b"", []),
            (b"   ", []),
            (b"PING", [b"PING"]),
            (b"  GET \t a ", [b"GET", b"a"]),
            (b"ECHO a\rb", [b"ECHO", b"a", b"b"]),
            (b"ECHO\x0ba", [b"ECHO\x0ba"]),
            (b"ECHO \x0ba", [b"ECHO", b"a"]),
            (b"\rECHO a\r", [b"ECHO", b"a"]),
            (b"ECHO \\x41", [b"ECHO", b"\\x41"]),
        ]:
            self.assertEqual(split_inline(line), words, line)

    def test_quotes(self) -> None:
        for line, words in [
            (b'ECHO "a b"', [b"ECHO", b"a b"]),
            (b'ECHO a"b c"', [b"ECHO", b"ab c"]),
            (b"ECHO ''", [b"ECHO", b""]),
            (b"ECHO a''", [b"ECHO", b"a"]),
            (b'ECHO ""\x0b"x"', [b"ECHO", b"", b"x"]),
            (b'ECHO "\\x41\\n\\r\\t\\b\\a\\q\\xzz"', [b"ECHO", b"A\n\r\t\b\aqxzz"]),
            (b"ECHO '\\'\\n'", [b"ECHO", b"'\\n"]),
            (b'ECHO "\\x00"', [b"ECHO", b"\0"]),
            (b"ECHO \"it's\" 'a\"b'", [b"ECHO", b"it's", b'a"b']),
        ]:
            self.assertEqual(split_inline(line), words, line)

    def test_unbalanced(self) -> None:
        for line in [b'"a', b"'a", b"'a'b", b'"a"b', b'"a\\', b"'\\", b"'\\'", b'""""', b"a'", b'a "']:
            with self.assertRaises(UnbalancedQuotes, msg=repr(line)):
                split_inline(line)

    @given(st.lists(st.binary(max_size=8)))
    def test_quoted_words_come_back(self, words: list[bytes]) -> None:
        line = b" ".join(b'"%b"' % b"".join(b"\\x%02x" % byte for byte in word) for word in words)
        self.assertEqual(split_inline(line), words)
