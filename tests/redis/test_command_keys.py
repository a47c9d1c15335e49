"""
Where the keys of a call are: plain cases, and the same questions to a real server.
"""

from __future__ import annotations

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.option_examples import SocketConnection
from tests.real_redis import REDIS_SERVER, RealRedis
from tinykv.redis.catalogue import keys_and_flags_of, keys_of, load

CATALOGUE = load()

CASES = {
    "GET a": [1],
    "SET a v": [1],
    "SET a v GET": [1],
    "SET a v EX 10 get": [1],
    "SET get get": [1],
    "MGET a b c": [1, 2, 3],
    "MSET a 1 b 2": [1, 3],
    "MSET a 1 b": [1, 3],
    "LMOVE a b LEFT RIGHT": [1, 2],
    "BLPOP a b 0": [1, 2],
    "RENAME a b": [1, 2],
    "COPY a b REPLACE": [1, 2],
    "SMOVE a b m": [1, 2],
    "ZADD a 1 m": [1],
    "OBJECT ENCODING a": [2],
    "MEMORY USAGE a SAMPLES 5": [2],
    "ZUNION 2 a b WEIGHTS 1 2": [2, 3],
    "ZUNION 3 a b": [],
    "ZUNION 0 a b": [],
    "ZUNION x a b": [],
    "ZUNION -1 a b": [],
    "ZUNIONSTORE d 2 a b": [1, 3, 4],
    "ZINTERSTORE d 2 a": [],
    "SINTERCARD 1 a LIMIT 1": [2],
    "ZRANGESTORE d a 0 -1": [1, 2],
    "LMPOP 2 a b LEFT": [2, 3],
    "BLMPOP 0 2 a b LEFT": [3, 4],
    "BZMPOP 0 1 a MIN": [3],
    "EVAL script 2 a b c": [3, 4],
    "EVAL script 0 a": [],
    "EVAL script 5 a": [],
    "FCALL f 1 a x": [3],
    "XREAD COUNT 2 STREAMS a b 0 0": [4, 5],
    "XREAD COUNT 2 BLOCK 0 streams a 0": [6],
    "XREAD STREAMS": [],
    "XREADGROUP GROUP streams c STREAMS a b > >": [5, 6],
    "SORT a": [1],
    "SORT a BY w* GET g* LIMIT 0 1": [1],
    "SORT a BY store STORE d": [1, 5],
    "SORT a STORE d STORE e": [1, 5],
    "SORT a STORE": [1],
    "SORT a LIMIT store 1 ALPHA store d": [1, 7],
    "SORT a STORE get STORE d": [1, 3],
    "SORT_RO a BY w*": [1],
    "MIGRATE h 1 a 0 10": [3],
    "MIGRATE h 1 a 0 10 COPY REPLACE AUTH keys": [3],
    "MIGRATE h 1 a 0 10 KEYS b c": [],
    "GEORADIUS a 0 0 1 m": [1],
    "GEORADIUS a 0 0 1 m STORE d": [1, 7],
    "GEORADIUS a 0 0 1 m STORE d STOREDIST e": [1, 7, 9],
    "GEORADIUSBYMEMBER a m 1 km COUNT 3 STOREDIST d": [1, 8],
    "GEOSEARCHSTORE d a FROMMEMBER m BYBOX 1 1 m": [1, 2],
    "BITOP AND d a b": [2, 3, 4],
    "BITFIELD a GET u8 0": [1],
    "BITFIELD a GET u8 0 SET u8 0 1": [1],
    "BITFIELD a OVERFLOW SAT GET u8 0": [1],
    "BITFIELD a nonsense": [1],
    "PFCOUNT a b": [1, 2],
    "PFMERGE d a b": [1, 2, 3],
    "XGROUP CREATE a g $": [2],
    "WATCH a b": [1, 2],
    "TOUCH a": [1],
    "RESTORE a 0 x": [1],
}
"""Calls with the positions of their keys; arguments hold no spaces."""


class KeysTests(SynchronousTestCase):
    """The cases one by one."""

    def test_cases(self) -> None:
        for call, positions in CASES.items():
            args = call.encode().split(b" ")
            self.assertEqual(sorted(keys_of(CATALOGUE[_name(args)], args)), positions, call)

    def test_commands_without_keys(self) -> None:
        for call in ("PING a", "SPUBLISH channel text", "CONFIG GET a", "PUBLISH channel text"):
            args = call.encode().split(b" ")
            self.assertEqual(keys_of(CATALOGUE[_name(args)], args), [], call)

    def test_migrate_with_keys_behind(self) -> None:
        args = [b"MIGRATE", b"h", b"1", b"", b"0", b"10", b"COPY", *b"AUTH2 keys x keys a b".split()]
        self.assertEqual(keys_of(CATALOGUE["migrate"], args), [11, 12])

    def test_flags_tell_what_a_call_does(self) -> None:
        cases: dict[str, tuple[str, ...]] = {
            "SET a v": ("OW", "update"),
            "SET a v NX GET": ("RW", "access", "update"),
            "BITFIELD a GET u8 0": ("RO", "access"),
            "BITFIELD a INCRBY u8 0 1": ("RW", "access", "update"),
            "DEL a": ("RM", "delete"),
        }
        for call, flags in cases.items():
            args = call.encode().split(b" ")
            self.assertEqual(keys_and_flags_of(CATALOGUE[_name(args)], args), [(1, flags)], call)

    def test_a_spec_that_only_code_can_tell_has_code(self) -> None:
        """No command but those with code of their own has an unknown search."""
        for name, facts in CATALOGUE.items():
            for count in range(abs(facts.arity), abs(facts.arity) + 6):
                found = keys_of(facts, [name.encode()] + [b"1"] * (count - 1))
                self.assertTrue(all(0 < position < count for position in found), name)


class RealServerTests(SynchronousTestCase):
    """The same calls as questions to COMMAND GETKEYSANDFLAGS."""

    def test_cases(self) -> None:
        if REDIS_SERVER is None:
            raise SkipTest("redis-server isn't installed")
        with RealRedis() as server:
            connection = SocketConnection(server.path)
            self.addCleanup(connection.close)
            for call in CASES:
                args = call.encode().split(b" ")
                found = keys_and_flags_of(CATALOGUE[_name(args)], args)
                ours = [[args[position], [flag.encode() for flag in flags]] for position, flags in found]
                real = connection.call([b"COMMAND", b"GETKEYSANDFLAGS", *args])
                self.assertEqual(ours, real if isinstance(real, list) else [], call)


def _name(args: list[bytes]) -> str:
    """The full name of the command that a call is of."""
    full = b"|".join(args[:2]).lower().decode()
    return full if full in CATALOGUE else args[0].lower().decode()
