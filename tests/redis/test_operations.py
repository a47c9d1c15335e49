"""Operations as records of a log entry."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.regions import START_ID, Teller
from tinykv.errors import Damaged
from tinykv.redis.operations import (
    COMMANDS,
    EXEC,
    INTERNAL,
    LOCAL,
    NOBODY,
    READ,
    READ_EXEC,
    WAITING,
    Operation,
    decode_records,
    encode_records,
    lookup,
)
from tinykv.resp.replies import encode_command
from tinykv.testing.embedded import TABLE

NAMES = st.sampled_from([b"SET", b"set", b"LPUSH", b"Blpop", b"RAW.PUT", b"OBJECT"])
REQUESTS = st.tuples(NAMES, st.lists(st.binary(max_size=20), max_size=4)).map(
    lambda drawn: [drawn[0], *([b"encoding"] if drawn[0] == b"OBJECT" else []), *drawn[1]]
)
DATABASES = st.integers(0, 15)
WATCHED = st.lists(st.tuples(DATABASES, st.binary(max_size=20), st.integers(0, 2**64 - 1)), max_size=3)
WORDS = st.lists(st.binary(max_size=20), min_size=1, max_size=5)


def simple(db: int, arguments: list[bytes]) -> Operation:
    """Make a client's command."""
    return (COMMANDS, Teller(3), 9, db, TABLE["set"], arguments, encode_command(arguments))


def waiting(db: int, arguments: list[bytes], client: int, number: int) -> Operation:
    """Make a blocking command."""
    return (WAITING, Teller(client), number, db, TABLE["blpop"], arguments, None)


def transaction(commands: list[tuple[int, list[bytes]]], watched: list[tuple[int, bytes, int]]) -> Operation:
    """Make a transaction, with something that isn't logged before each command."""
    queued: list[object] = []
    for db, arguments in commands:
        queued += ((db, None, [b"PING"], lambda: b"+PONG\r\n"), (db, TABLE["set"], arguments, None))
    return (EXEC, Teller(3), 9, 0, None, queued, watched)


def internal(arguments: list[bytes]) -> Operation:
    """Make what a leader decides."""
    return (INTERNAL, NOBODY, 0, 0, None, arguments, None)


UNLOGGED = st.sampled_from([READ, READ_EXEC, LOCAL]).map(lambda kind: (kind, NOBODY, 0, 1, None, [b"GET"], None))
OPERATIONS = st.lists(
    st.one_of(
        st.builds(simple, DATABASES, REQUESTS),
        st.builds(simple, st.just(0), REQUESTS),
        st.builds(waiting, DATABASES, REQUESTS, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
        st.builds(transaction, st.lists(st.tuples(DATABASES, REQUESTS), max_size=4), WATCHED),
        st.builds(internal, WORDS),
        UNLOGGED,
    ),
    max_size=8,
)


def logged(operation: Operation) -> Operation:
    """Give what has to come back of an operation."""
    kind, client, number, db, _, arguments, extra = operation
    if kind == COMMANDS:
        return (kind, NOBODY, 0, db, lookup(arguments, TABLE), arguments, None)
    if kind == WAITING:
        origin = (START_ID, client.client_id, number)
        return (kind, NOBODY, 0, db, lookup(arguments, TABLE), arguments, origin)
    if kind == EXEC:
        commands = [(db, lookup(words, TABLE), words, None) for db, spec, words, _ in arguments if spec is not None]
        return (kind, NOBODY, 0, 0, None, commands, extra)
    return (kind, NOBODY, 0, 0, None, arguments, None)


class RecordTests(SynchronousTestCase):
    """Encoding and decoding."""

    def test_round_trip(self) -> None:
        """What is decoded is what was encoded, less what is never logged."""

        @given(OPERATIONS, st.binary(max_size=5))
        def check(operations: list[Operation], head: bytes) -> None:
            data = head + b"".join(encode_records(operations, START_ID))
            expected = [logged(operation) for operation in operations if operation[0] < READ]
            assert decode_records(data, len(head), TABLE) == expected

        check()

    def test_cut_off(self) -> None:
        """Whatever is left of records that were cut is either whole records or noticed."""

        @given(OPERATIONS.filter(bool), st.data())
        def check(operations: list[Operation], data: st.DataObject) -> None:
            ends = []
            for count in range(len(operations) + 1):
                ends.append(b"".join(encode_records(operations[:count], START_ID)))
            whole = ends[-1]
            cut = whole[: data.draw(st.integers(0, len(whole)))]
            try:
                decoded = decode_records(cut, 0, TABLE)
            except Damaged:
                return
            expected = [logged(operation) for operation in operations if operation[0] < READ]
            assert decoded == expected[: len(decoded)]
            assert cut in ends

        check()

    def test_damaged_within(self) -> None:
        """So are bodies that are shorter than they must be, or hold what no command is."""
        get = encode_command([b"SET", b"k", b"v"])
        for kind, body in (
            (COMMANDS, get[:-1]),
            (COMMANDS, get[:4]),
            (COMMANDS, b"*1\r\n$x\r\n"),
            (COMMANDS, encode_command([b"NOSUCH"])),
            (COMMANDS, encode_command([b"OBJECT", b"NOSUCH"])),
            (WAITING, bytes(23)),
            (WAITING, bytes(24)),
            (WAITING, bytes(24) + get + get),
            (EXEC, bytes(3)),
            (EXEC, b"\0\0\0\1" + bytes(12)),
            (EXEC, bytes(4) + bytes(4)),
            (EXEC, bytes(4) + b"\0\0\0\0\x63" + get),
            (EXEC, bytes(4) + b"\0\0\0\0\0" + get),
            (INTERNAL, b""),
            (INTERNAL, get + get),
            (9, get),
        ):
            record = bytes((kind, 0)) + len(body).to_bytes(4, "big") + body
            self.assertRaises(Damaged, decode_records, record, 0, TABLE)

    def test_inline(self) -> None:
        """A command that came as a plain line is logged as it came."""
        operation = (COMMANDS, Teller(1), 1, 2, TABLE["set"], [b"SET", b"k", b"v w"], b'SET  k "v w"\r\n')
        pieces = encode_records([operation, simple(2, [b"SET", b"a", b"b"])], START_ID)
        decoded = decode_records(b"".join(pieces), 0, TABLE)
        self.assertEqual(
            [(done[3], done[5]) for done in decoded], [(2, [b"SET", b"k", b"v w"]), (2, [b"SET", b"a", b"b"])]
        )

    def test_neighbours_share_a_record(self) -> None:
        """A pipeline of one database costs one head."""
        operations = [simple(1, [b"SET", b"a", b"b"])] * 50
        single = len(b"".join(encode_records(operations[:1], START_ID)))
        whole = len(b"".join(encode_records(operations, START_ID)))
        self.assertEqual(whole, 50 * (single - 6) + 6)
