"""
`tinykv import`: addresses, the walk over the keys, and what becomes of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from tests.redis_server import free_port
from tinykv.cli.importing import LISTED, Outcome, copy, scan
from tinykv.cli.main import tinykv
from tinykv.cli.wire import Address, Wire, WireError
from tinykv.resp.reply_reader import ErrorReply, Reply, Simple


class AddressTests(SynchronousTestCase):
    """L{Address.parse}."""

    def test_what_is_left_out(self) -> None:
        self.assertEqual(Address.parse("redis://example.org"), Address("example.org", 6379, "", "", None))

    def test_everything(self) -> None:
        address = Address.parse("redis://user:p%40ss@[::1]:7000/3")
        self.assertEqual(address, Address("::1", 7000, "user", "p@ss", 3))
        self.assertNotIn("p@ss", str(address))

    def test_a_password_alone(self) -> None:
        self.assertEqual(Address.parse("redis://:secret@host/"), Address("host", 6379, "", "secret", None))

    def test_refused(self) -> None:
        for url in ("host", "rediss://host", "redis://", "redis://host/x", "redis://host?db=1", "redis://host:99999"):
            self.assertRaises(ValueError, Address.parse, url)


class FakeServer:
    """Answers batches from what it holds, as a Redis does."""

    address = Address("fake")

    def __init__(self, held: dict[bytes, tuple[int, bytes]], pages: Sequence[tuple[bytes, list[bytes]]] = ()) -> None:
        self.held = held
        self.pages = list(pages)
        self.commands: list[Sequence[str | bytes | int]] = []

    def need(self, *command: str | bytes | int) -> Reply:
        """Answer SCAN with the next page."""
        self.commands.append(command)
        cursor, keys = self.pages.pop(0)
        return [cursor, cast("list[Reply]", keys)]

    def batch(self, commands: Iterable[Sequence[str | bytes | int]]) -> list[Reply]:
        """Answer PTTL, DUMP and RESTORE."""
        return [self.answer(command) for command in commands]

    def answer(self, command: Sequence[str | bytes | int]) -> Reply:
        """Answer one command."""
        self.commands.append(command)
        key = cast(bytes, command[1])
        if command[0] == "PTTL":
            return self.held[key][0] if key in self.held else -2
        if command[0] == "DUMP":
            return self.held[key][1] if key in self.held else None
        assert command[0] == "RESTORE"
        if key in self.held and "REPLACE" not in command:
            return ErrorReply(b"BUSYKEY Target key name already exists.")
        payload = cast(bytes, command[3])
        if payload == b"bad":
            return ErrorReply(b"ERR Bad data format")
        self.held[key] = (cast(int, command[2]), payload)
        return Simple(b"OK")


class CopyTests(SynchronousTestCase):
    """L{copy} between two fake servers."""

    def copied(self, source: FakeServer, target: FakeServer, *, replace: bool = False) -> Outcome:
        """Copy everything."""
        outcome = Outcome()
        self.done = 0

        def done(count: int) -> None:
            self.done += count

        reading, writing = cast(Wire, source), cast(Wire, target)
        copy(reading, writing, 0, outcome, match="*", replace=replace, batch=2, done=done)
        return outcome

    def test_expiries(self) -> None:
        held = {b"never": (-1, b"x"), b"soon": (0, b"y"), b"later": (5000, b"z")}
        target = FakeServer({})
        outcome = self.copied(FakeServer(held, [(b"0", list(held))]), target)
        self.assertEqual(target.held, {b"never": (0, b"x"), b"soon": (1, b"y"), b"later": (5000, b"z")})
        self.assertEqual((outcome.copied, self.done), (3, 3))

    def test_pages_with_repetitions_and_keys_that_vanished(self) -> None:
        pages = [(b"7", [b"a", b"a"]), (b"9", []), (b"0", [b"b", b"gone"])]
        source, target = FakeServer({b"a": (-1, b"1"), b"b": (-1, b"2")}, pages), FakeServer({})
        outcome = self.copied(source, target)
        self.assertEqual(target.held, {b"a": (0, b"1"), b"b": (0, b"2")})
        self.assertEqual((outcome.copied, outcome.gone, outcome.failures), (2, 1, 0))
        cursors = [command[1] for command in source.commands if command[0] == "SCAN"]
        self.assertEqual(cursors, [b"0", b"7", b"9"])

    def test_keys_that_are_there_already(self) -> None:
        held = {b"a": (-1, b"new")}
        target = FakeServer({b"a": (0, b"old")})
        self.assertEqual(self.copied(FakeServer(held, [(b"0", [b"a"])]), target).present, 1)
        self.assertEqual(target.held[b"a"], (0, b"old"))
        outcome = self.copied(FakeServer(held, [(b"0", [b"a"])]), target, replace=True)
        self.assertEqual((outcome.copied, outcome.present), (1, 0))
        self.assertEqual(target.held[b"a"], (0, b"new"))

    def test_failures_are_listed_up_to_a_limit(self) -> None:
        keys = [b"%d" % number for number in range(LISTED + 5)]
        source = FakeServer({key: (-1, b"bad") for key in keys}, [(b"0", keys)])
        outcome = self.copied(source, FakeServer({}))
        self.assertEqual((outcome.failures, len(outcome.failed)), (LISTED + 5, LISTED))
        self.assertEqual(outcome.failed[0], '[0] "0": ERR Bad data format')

    def test_something_that_is_no_redis(self) -> None:
        class Odd(FakeServer):
            def need(self, *command: str | bytes | int) -> Reply:
                return b"hello"

        self.assertRaises(WireError, list, scan(cast(Wire, Odd({})), "*", 10))


class CommandTests(SynchronousTestCase):
    """What the command refuses."""

    def test_a_bad_address(self) -> None:
        result = CliRunner().invoke(tinykv, ["import", "http://host"])
        self.assertEqual(result.exit_code, 2)
        self.assertIn("it has to begin with redis://", result.output)

    def test_nobody_there(self) -> None:
        port = free_port()
        result = CliRunner().invoke(tinykv, ["import", f"redis://127.0.0.1:{port}"])
        self.assertEqual(result.exit_code, 1)
        self.assertTrue(result.output.startswith(f"tinykv: 127.0.0.1:{port}: can't connect: "), result.output)

    def test_two_ways_to_name_a_database(self) -> None:
        result = CliRunner().invoke(tinykv, ["import", "redis://127.0.0.1/1", "--db", "2"])
        self.assertEqual(result.exit_code, 1)
        self.assertIn("names a database already", result.output)
