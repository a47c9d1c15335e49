"""Lines of the peer protocol: any split reads alike, every limit holds, and nothing else is ever raised."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.peering.grammar import GrammarError, Line, LineReader, Verb, framed, line, number, shown, words
from tinykv.peering.verbs import BEFORE, CHUNK_BYTES, FRAME_BYTES, LINK_TO_ACCEPTOR, META_BYTES, SNAPSHOT_TO_ACCEPTOR

VERBS = {
    b"PING": Verb(16, 0, 0),
    b"SAY": Verb(30, 1, 3),
    b"PUT": Verb(30, 1, 2, 100),
    b"RAW": Verb(16, 0, 0, 100),
}


def read(data: bytes, sizes: list[int] | None = None) -> tuple[list[Line], str | None]:
    """Read bytes in pieces of some sizes, the rest whole; return the lines, and the reason of the error if any."""
    reader = LineReader(VERBS)
    found: list[Line] = []
    place = 0
    try:
        for size in [*(sizes or []), len(data)]:
            reader.feed(data[place : place + size])
            place += size
            while (one := reader.next()) is not None:
                found.append(one)
    except GrammarError as error:
        return found, error.reason
    return found, None


WORD = st.binary(min_size=1, max_size=6).map(lambda raw: bytes(33 + byte % 94 for byte in raw))
WORDS = st.lists(WORD, min_size=1, max_size=2)
PAYLOADS = st.binary(max_size=100)
LINES = st.one_of(
    st.just((b"PING", [], b"")),
    st.tuples(st.just(b"SAY"), WORDS, st.just(b"")),
    st.tuples(st.just(b"PUT"), WORDS, PAYLOADS),
    st.tuples(st.just(b"RAW"), st.just([]), PAYLOADS),
)


def write(one: Line) -> bytes:
    """Write a line."""
    verb, fields, payload = one
    if VERBS[verb].payload_bytes is None:
        return line(verb, *fields)
    return framed(b" ".join((verb, *fields)), payload)


class ReadingTests(SynchronousTestCase):
    """What is in the grammar."""

    def test_lines(self) -> None:
        data = b"PING\r\nSAY a b\r\nPUT k 3\r\nx\r\n\r\nRAW 0\r\n\r\n"
        self.assertEqual(
            read(data),
            (
                [
                    (b"PING", [], b""),
                    (b"SAY", [b"a", b"b"], b""),
                    (b"PUT", [b"k"], b"x\r\n"),
                    (b"RAW", [], b""),
                ],
                None,
            ),
        )

    @given(st.lists(LINES, max_size=8), st.lists(st.integers(0, 40), max_size=30))
    def test_any_split_reads_alike(self, lines: list[Line], sizes: list[int]) -> None:
        self.assertEqual(read(b"".join(map(write, lines)), sizes), (lines, None))

    @given(st.lists(LINES, max_size=4))
    def test_byte_by_byte(self, lines: list[Line]) -> None:
        data = b"".join(map(write, lines))
        self.assertEqual(read(data, [1] * len(data)), (lines, None))

    def test_verbs_may_change_between_two_lines(self) -> None:
        reader = LineReader({b"PING": VERBS[b"PING"]})
        reader.feed(b"PING\r\nRAW 1\r\nx\r\n")
        self.assertEqual(reader.next(), (b"PING", [], b""))
        reader.verbs = VERBS
        self.assertEqual(reader.next(), (b"RAW", [], b"x"))
        self.assertIsNone(reader.next())
        self.assertEqual(reader.buffered, 0)

    def test_a_payload_in_many_pieces_is_kept_once(self) -> None:
        reader = LineReader({b"RAW": Verb(16, 0, 0, 1 << 20)})
        reader.feed(b"RAW 1000000\r\n")
        for _ in range(999):
            self.assertIsNone(reader.next())
            reader.feed(b"x" * 1000)
        self.assertIsNone(reader.next())
        self.assertEqual(reader.buffered, 999_000)
        reader.feed(b"x" * 1000 + b"\r\nRAW 0")
        self.assertEqual(reader.next(), (b"RAW", [], b"x" * 1_000_000))
        self.assertEqual(reader.buffered, 5)


class BreachTests(SynchronousTestCase):
    """What isn't."""

    def breach(self, data: bytes) -> str:
        """Give the reason of the breach that bytes are, which is the same in any pieces."""
        found, reason = read(data)
        assert reason is not None, f"{data!r} was read as {found}"
        self.assertEqual(read(data, [1] * len(data))[1] is None, False)
        return reason

    def test_breaches(self) -> None:
        for data, expected in (
            (b"\r\n", "no verb"),
            (b"\n", "CR LF"),
            (b"PING\n", "CR LF"),
            (b" PING\r\n", "no verb"),
            (b"PING \r\n", "words"),
            (b"SAY a  b\r\n", "words"),
            (b"SAY a\tb\r\n", "words"),
            (b"SAY \xff\r\n", "words"),
            (b"SAY a\rb\r\n", "words"),
            (b"SAY\r\n", "0 fields where 1 to 3"),
            (b"SAY a b c d\r\n", "4 fields where 1 to 3"),
            (b"PING 1\r\n", "1 fields where 0"),
            (b"ping\r\n", "no verb"),
            (b"PUT 3\r\nabc\r\n", "0 fields where 1 to 2"),
            (b"PUT k k k 1\r\n", "3 fields where 1 to 2"),
            (b"RAW\r\n", "0 fields where 0"),
            (b"RAW x\r\n", "no number"),
            (b"RAW -1\r\n", "no number"),
            (b"RAW +1\r\n", "no number"),
            (b"RAW 01\r\n", "no number"),
            (b"RAW 1_0\r\n", "no number"),
            (b"RAW 3\r\nabcd\r\n", "followed by CR LF"),
            (b"RAW 3\r\nabc\n\r", "followed by CR LF"),
        ):
            self.assertIn(expected, self.breach(data), data)

    def test_payload_at_the_limit_and_one_past(self) -> None:
        self.assertEqual(read(b"RAW 100\r\n" + b"x" * 100 + b"\r\n")[1], None)
        self.assertIn("over the limit of 100", self.breach(b"RAW 101\r\n"))

    def test_line_at_the_limit_and_one_past(self) -> None:
        self.assertEqual(read(b"SAY " + b"x" * 26 + b"\r\n")[1], None)
        self.assertEqual(read(b"SAY " + b"x" * 26 + b"\r\n", [1] * 40)[1], None)
        self.assertIn("over the limit of 30 bytes", self.breach(b"SAY " + b"x" * 27 + b"\r\n"))

    def test_an_endless_line_ends_at_its_limit(self) -> None:
        self.assertEqual(read(b"SAY " + b"x" * 26)[1], None)
        self.assertIn("over the limit of 30 bytes", self.breach(b"SAY " + b"x" * 27))
        self.assertEqual(read(b"X" * 16)[1], None)
        self.assertIn("doesn't begin with a verb", self.breach(b"X" * 17))
        self.assertIn("no verb", self.breach(b"HTTP /"))

    def test_nothing_is_read_behind_a_breach(self) -> None:
        reader = LineReader(VERBS)
        reader.feed(b"X\r\nPING\r\n")
        error = self.assertRaises(GrammarError, reader.next)
        reader.feed(b"PING\r\n")
        self.assertIs(self.assertRaises(GrammarError, reader.next), error)

    @given(st.binary(max_size=300), st.lists(st.integers(0, 40), max_size=30))
    def test_random_bytes(self, data: bytes, sizes: list[int]) -> None:
        read(data, sizes)

    @given(
        st.lists(LINES, min_size=1, max_size=4),
        st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=3), st.integers(0, 3)), min_size=1, max_size=4),
        st.lists(st.integers(0, 40), max_size=30),
    )
    def test_mutations(self, lines: list[Line], changes: list[tuple[int, bytes, int]], sizes: list[int]) -> None:
        data = b"".join(map(write, lines))
        for place, inserted, cut in changes:
            data = data[:place] + inserted + data[place + cut :]
        reader = LineReader(VERBS)
        place = 0
        try:
            for size in [*sizes, len(data)]:
                reader.feed(data[place : place + size])
                place += size
                while reader.next() is not None:
                    pass
                # What is kept is a line's beginning, or a payload's.
                self.assertLessEqual(reader.buffered, 32 + 102)
        except GrammarError as error:
            self.assertIs(reader.error, error)
            self.assertEqual(reader.buffered, 0)
            self.assertTrue(error.reason.isascii() and error.reason.isprintable(), error.reason)
            # A peer can be told.
            line(b"ERROR", b"grammar", *words(error.reason))


class PartsTests(SynchronousTestCase):
    """The small parts."""

    def test_numbers(self) -> None:
        self.assertEqual([number(b"0"), number(b"10"), number(b"9" * 20)], [0, 10, 10**20 - 1])
        for field in (b"", b"00", b"9" * 21, b"1.0", b" 1", b"\xb2"):
            self.assertRaises(GrammarError, number, field)

    def test_shown(self) -> None:
        self.assertEqual(shown(b"a\r\xff"), r"'a\r\xff'")
        self.assertEqual(shown(b"x" * 100), repr("x" * 40))

    @given(st.text(max_size=50))
    def test_any_text_fits_a_line(self, text: str) -> None:
        line(b"ERROR", *words(text))

    def test_a_writer_writes_words_only(self) -> None:
        self.assertRaises(AssertionError, line, b"SAY", b"two words\n")

    def test_the_limits_of_what_has_a_payload(self) -> None:
        self.assertEqual(LINK_TO_ACCEPTOR[b"RAFT"].payload_bytes, FRAME_BYTES)
        self.assertEqual(SNAPSHOT_TO_ACCEPTOR[b"CHUNK"].payload_bytes, CHUNK_BYTES)
        self.assertEqual(SNAPSHOT_TO_ACCEPTOR[b"SNAPSHOT"].payload_bytes, META_BYTES)

    def test_before_the_handshake_little_is_taken(self) -> None:
        self.assertEqual([rule.payload_bytes for rule in BEFORE.values()], [None] * len(BEFORE))
        self.assertLessEqual(max(rule.line_bytes for rule in BEFORE.values()), 1024)
