"""
Tests for L{tinykv.redis.forwarded}.
"""

from __future__ import annotations

from struct import pack
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.errors import Damaged
from tinykv.redis.forwarded import (
    REFUSED,
    REPLY,
    WAITS,
    decode_batch,
    decode_origin,
    decode_results,
    decode_timeout,
    encode_batch,
    encode_results,
    encode_timeout,
)
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
    encode_transaction,
    lookup,
)
from tinykv.resp.replies import encode_command
from tinykv.testing.embedded import TABLE


class Sender:
    """A client."""

    def __init__(self, client_id: int = 7, proto: int = 2) -> None:
        self.client_id = client_id
        self.proto = proto

    def answer(self, number: int, reply: bytes) -> None:
        """Never called here."""

    def waits(self, number: int, timeout_ms: int) -> None:
        """Never called here."""


class Remote:
    """What a client becomes at the other side."""

    def __init__(self, place: int, proto: int, client_id: int) -> None:
        self.told = (place, proto, client_id)


#: It only notes what it was made of.
REMOTE: Any = Remote

def words(line: str) -> list[bytes]:
    return line.encode().split()


def one(line: str, *, db: int = 0, number: int = 5, sender: Any = None, fresh: bool = False) -> Operation:
    """Give a command as an operation."""
    arguments = words(line)
    spec = lookup(arguments, TABLE)
    sender = sender or Sender()
    if not spec.writes:
        return (READ, sender, number, db, spec, arguments, fresh or None)
    if spec.blocks:
        return (WAITING, sender, number, db, spec, arguments, None)
    return (COMMANDS, sender, number, db, spec, arguments, encode_command(arguments))


def transaction(*lines: str, kind: int = EXEC, watched: Any = None, db: int = 0) -> Operation:
    """Give a transaction as an operation."""
    commands = [(db, lookup(words(line), TABLE), words(line), None) for line in lines]
    return (kind, Sender(), 5, 0, None, commands, watched)


def internal(*arguments: bytes) -> Operation:
    """Give what a leader decides itself."""
    return (INTERNAL, NOBODY, 0, 0, None, list(arguments), None)


def carried(*operations: Operation) -> Any:
    """Encode and decode."""
    return decode_batch(encode_batch(1, 1, 3, 9, list(operations)), TABLE, REMOTE)


def raw(kind: int, body: bytes, *, flags: int = 0, proto: int = 2, db: int = 0) -> bytes:
    """Give a batch of one operation, whatever is in it."""
    return pack(">QQQQ", 1, 1, 3, 9) + pack(">BBBBQQI", kind, flags, proto, db, 7, 5, len(body)) + body


class BatchTests(SynchronousTestCase):
    """L{encode_batch} and L{decode_batch}."""

    def test_origin(self) -> None:
        self.assertEqual(decode_origin(encode_batch(1, 1, 2**64 - 1, 9, [])), (2**64 - 1, 9))
        self.assertEqual(carried().operations, [])

    def test_all_kinds(self) -> None:
        sent = [
            one("SET a 1", db=15, sender=Sender(8, 3)),
            one("BLPOP q 0"),
            one("GET a"),
            transaction("GET a", "INCR b", watched=[(2, b"key", 2**64 - 1)]),
            transaction("GET a", "GET b", kind=READ_EXEC),
            internal(b"gone", b"12"),
        ]
        batch = carried(*sent)
        self.assertEqual(batch.strange, frozenset())
        for place, (before, after) in enumerate(zip(sent, batch.operations, strict=True)):
            self.assertEqual((after[0], after[2], after[3:5]), (before[0], place, before[3:5]))
            self.assertEqual([*after[5]], [*before[5]])
            self.assertEqual(after[1].told, (place, before[1].proto, before[1].client_id))
        self.assertEqual(
            [operation[6] for operation in batch.operations],
            [encode_command(words("SET a 1")), (3, 7, 5), None, [(2, b"key", 2**64 - 1)], None, None],
        )

    def test_fresh_reads(self) -> None:
        self.assertEqual(carried(one("GET a"), one("GET b", fresh=True)).fresh, frozenset({1}))
        batch = decode_batch(raw(COMMANDS, encode_command(words("SET a 1")), flags=1), TABLE, REMOTE)
        self.assertEqual(batch.fresh, frozenset())

    def test_an_inline_request(self) -> None:
        batch = decode_batch(raw(COMMANDS, b"SET a 1\r\n"), TABLE, REMOTE)
        self.assertEqual(batch.operations[0][5], words("SET a 1"))

    def test_no_operation_is_taken_for_another(self) -> None:
        """One that can't be read is in nobody's way, and what is spelled alike may be another command."""
        bodies = {
            encode_command(words("SET a 1")): words("SET a 1"),
            b"SET b 2\r\n": words("SET b 2"),
            encode_command(words("SET c 3"))[:-3]: None,
            encode_command(words("set d 4")): words("set d 4"),
            encode_command([b"SET", b"e", 2000 * b"5"]): [b"SET", b"e", 2000 * b"5"],
            2 * encode_command(words("SET f 6")): None,
            encode_command(words("CONFIG SET g 7")): words("CONFIG SET g 7"),
            encode_command(words("CONFIG GET g")): None,
            encode_command(words("BLPOP h 0")): None,
            encode_command(words("SET i 9")): words("SET i 9"),
            encode_command(words("SET i")): None,
            encode_command(words("SET j 10")): words("SET j 10"),
        }
        data = raw(COMMANDS, b"")[:32] + b"".join(raw(COMMANDS, body)[32:] for body in bodies)
        batch = decode_batch(data, TABLE, REMOTE)
        found = [None if place in batch.strange else one[5] for place, one in enumerate(batch.operations)]
        self.assertEqual(found, list(bodies.values()))
        for place, (one_of, arguments, body) in enumerate(zip(batch.operations, found, bodies, strict=True)):
            if arguments is not None:
                self.assertEqual(one_of, (COMMANDS, one_of[1], place, 0, lookup(arguments, TABLE), arguments, body))

    def test_no_batch(self) -> None:
        good = encode_batch(1, 1, 3, 9, [one("SET a 1")])
        for end in range(len(good)):
            if end == 32:
                continue
            self.assertRaises(Damaged, decode_batch, good[:end], TABLE, REMOTE)

    def test_no_operation(self) -> None:
        body = encode_command(words("SET a 1"))
        for kind in (0, LOCAL, 9, 255):
            self.assertRaises(Damaged, decode_batch, raw(kind, body), TABLE, REMOTE)
        self.assertRaises(Damaged, decode_batch, raw(COMMANDS, body, proto=4), TABLE, REMOTE)
        self.assertRaises(Damaged, decode_batch, raw(COMMANDS, body, db=16), TABLE, REMOTE)

    def strange(self, *batches: bytes) -> None:
        """Check that the one operation of each can't be done here."""
        for data in batches:
            batch = decode_batch(data, TABLE, REMOTE)
            self.assertEqual(batch.strange, frozenset({0}), data)
            self.assertEqual(batch.operations[0][1].told, (0, 2, 7))

    def test_an_unknown_command_alone_is_strange(self) -> None:
        unknown = raw(COMMANDS, encode_command(words("NEWCOMMAND a")))
        batch = decode_batch(unknown + encode_batch(1, 1, 3, 9, [one("SET a 1")])[32:], TABLE, REMOTE)
        self.assertEqual(batch.strange, frozenset({0}))
        self.assertEqual(batch.operations[1][5], words("SET a 1"))

    def test_what_would_fail_on_every_replica(self) -> None:
        self.strange(
            # The wrong kind would write behind the log's back, or log a read.
            raw(READ, encode_command(words("SET a 1"))),
            raw(COMMANDS, encode_command(words("GET a"))),
            raw(COMMANDS, encode_command(words("BLPOP a 0"))),
            raw(WAITING, encode_command(words("SET a 1"))),
            raw(READ_EXEC, encode_transaction([(0, TABLE["set"], words("SET a 1"), None)], [])),
            # More or fewer arguments than it takes, no request, two, or half of one.
            raw(READ, encode_command(words("GET"))),
            raw(READ, encode_command(words("GET a b"))),
            raw(COMMANDS, encode_command(words("MSET a"))),
            raw(COMMANDS, b""),
            raw(COMMANDS, b"*0\r\n"),
            raw(COMMANDS, b"*4000000000\r\n$3\r\nSET\r\n"),
            raw(COMMANDS, 2 * encode_command(words("SET a 1"))),
            raw(COMMANDS, encode_command(words("SET a 1"))[:-1]),
            # Databases that aren't there.
            raw(EXEC, encode_transaction([(16, TABLE["set"], words("SET a 1"), None)], [])),
            raw(EXEC, encode_transaction([], [(16, b"a", 1)])),
            # A transaction cut off.
            raw(EXEC, b""),
            raw(EXEC, pack(">I", 2**32 - 1)),
            raw(EXEC, encode_transaction([], [(0, b"abc", 1)])[:-1]),
            raw(EXEC, encode_transaction([(0, TABLE["get"], words("GET"), None)], [])),
        )

    def test_decisions_that_there_are(self) -> None:
        good = [
            internal(b"expire", b"15", b"a", b"b"),
            internal(b"wake", b"%d" % (2**64 - 1), b"2", b"3", b"timeout"),
            internal(b"gone", b"1"),
        ]
        self.assertEqual(carried(*good).strange, frozenset())
        for arguments in (
            [b"vanish", b"1"],
            [b"expire"],
            [b"expire", b"16", b"a"],
            [b"expire", b"-1", b"a"],
            [b"expire", b"x", b"a"],
            [b"wake", b"1", b"2", b"3"],
            [b"wake", b"1", b"2", b"x", b"gone"],
            [b"gone"],
            [b"gone", b"9" * 5000],
        ):
            self.strange(raw(INTERNAL, encode_command(arguments)))

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        try:
            decode_batch(data, TABLE, REMOTE)
        except Damaged:
            return

    @given(st.sampled_from((COMMANDS, WAITING, EXEC, INTERNAL, READ, READ_EXEC)), st.binary(max_size=100))
    def test_any_operation(self, kind: int, body: bytes) -> None:
        batch = decode_batch(raw(kind, body), TABLE, REMOTE)
        self.assertEqual(len(batch.operations), 1)

    @given(st.data())
    def test_damage(self, data: Any) -> None:
        exec_ = transaction("INCR b", watched=[(0, b"k", 1)])
        good = encode_batch(1, 1, 3, 9, [one("SET a 1"), one("BLPOP q 0"), exec_, internal(b"gone", b"1")])
        bad = bytearray(good)
        for _ in range(data.draw(st.integers(1, 4))):
            bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
        try:
            decode_batch(bytes(bad), TABLE, REMOTE)
        except Damaged:
            return


class ResultsTests(SynchronousTestCase):
    """L{encode_results} and L{decode_results}."""

    def test_there_and_back(self) -> None:
        results = [(REPLY, b"+OK\r\n"), (WAITS, encode_timeout(2**64 - 1)), (REFUSED, b""), (REPLY, b"")]
        self.assertEqual(decode_results(encode_results(results), 4), results)
        self.assertEqual(decode_results(b"", 0), [])

    def test_not_as_many(self) -> None:
        data = encode_results([(REPLY, b"+OK\r\n")])
        for count in (0, 2):
            self.assertRaises(Damaged, decode_results, data, count)

    def test_no_results(self) -> None:
        data = encode_results([(REPLY, b"+OK\r\n")])
        for end in range(1, len(data)):
            self.assertRaises(Damaged, decode_results, data[:end], 1)
        self.assertRaises(Damaged, decode_results, encode_results([(5, b"")]), 1)
        self.assertRaises(Damaged, decode_results, encode_results([(WAITS, b"1234567")]), 1)

    def test_timeout(self) -> None:
        self.assertEqual(decode_timeout(encode_timeout(1500)), 1500)
        self.assertRaises(Damaged, decode_timeout, b"123456789")

    @given(st.binary(max_size=60), st.integers(0, 3))
    def test_any_bytes(self, data: bytes, count: int) -> None:
        try:
            self.assertEqual(len(decode_results(data, count)), count)
        except Damaged:
            return
