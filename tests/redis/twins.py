"""
The same commands for a keyspace without a store and for a real Redis, and what their answers have in common.

What Redis leaves open is not compared: the order of unordered replies, and which elements are picked at
random. What was picked here is taken out of the real server too.
"""

from __future__ import annotations

from tests.redis_server import RedisServer
from tinykv.keys import KIND_NODE
from tinykv.redis.hash_value import Hash
from tinykv.redis.keyed_value import KeyedValue
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.value import Value
from tinykv.testing.embedded import TABLE, Embedded

#: Commands whose replies have no order, and of how many elements an entry consists in RESP2.
UNORDERED = {b"HGETALL": 2, b"HKEYS": 1, b"HVALS": 1, b"SMEMBERS": 1, b"SINTER": 1, b"SUNION": 1, b"SDIFF": 1}
AT_RANDOM = {b"SPOP", b"SRANDMEMBER", b"HRANDFIELD"}


def parts_of(reply: bytes) -> tuple[bytes, list[bytes]]:
    """Cut a flat aggregate of strings into head and elements; of any other reply all is head."""
    end = reply.index(b"\r\n") + 2
    head = reply[:end]
    parts: list[bytes] = []
    if reply[:1] not in b"*~%":
        return reply, parts
    while end < len(reply):
        start = reply.index(b"\r\n", end) + 2
        if reply[end : end + 1] != b"$":
            # An array within: its elements follow as if it weren't there.
            end = start
            continue
        after = start + int(reply[end + 1 : start - 2]) + 2
        parts.append(reply[start : after - 2])
        end = after
    return head, parts


def content(keyspace: Keyspace) -> dict[bytes, object]:
    """Give what the first database holds: small values as rows, of large ones only what can be seen."""
    held: dict[bytes, object] = {}
    db = keyspace.databases[0]
    for _, _, key, _ in list(db.rows_from(0, 0)):
        value = db.get(key)
        if isinstance(value, KeyedValue) and value.generations():
            held[key] = (value.version, value.expires, value.packed, list(value.pairs()))
        else:
            held[key] = value.encode() if isinstance(value, Value) else value
    return held


def stray_nodes(embedded: Embedded) -> list[bytes]:
    """Name the node rows that no value refers to."""
    db = embedded.keyspace.databases[0]
    values = [db.get(key) for _, _, key, _ in list(db.rows_from(0, 0))]
    used = {generation for value in values if isinstance(value, Value) for generation in value.generations()}
    nodes = [key for key in embedded.rows.rows["data"] if key[:1] == b"r" and key[4] == KIND_NODE]
    return [key for key in nodes if int.from_bytes(key[5:13], "big") not in used]


def roll_back(embedded: Embedded, commands: list[tuple[bytes, ...]]) -> None:
    """Run writing commands as one, and undo them."""
    keyspace, context = embedded.keyspace, embedded.context
    keyspace.begin(embedded.now)
    context.now = embedded.now
    context.seed(1, 0)
    context.select(0)
    for arguments in commands:
        TABLE[arguments[0].decode().lower()].run(context, list(arguments))
    keyspace.rollback()


class Twins:
    """An L{Embedded} and a connection to a real server for each protocol, both empty at first."""

    def __init__(self, server: RedisServer) -> None:
        self.embedded = Embedded()
        self.real = {2: server.connect(), 3: server.connect()}
        self.real[3].call("HELLO", "3")

    def clear(self) -> None:
        """Empty both."""
        self.embedded = Embedded()
        self.real[2].call("FLUSHALL")

    def set_string(self, key: bytes) -> None:
        """Let a key hold a string."""
        keyspace = self.embedded.keyspace
        keyspace.begin(self.embedded.now)
        keyspace.databases[0].set_string(key, b"a string")
        keyspace.commit()
        self.real[2].call("SET", key, b"a string")

    def rebuilds(self, arguments: list[bytes]) -> bool:
        """Say if this is an SPOP after which Redis builds what stays of a set anew."""
        if arguments[0] != b"SPOP" or len(arguments) != 3:
            return False
        value, count = self.embedded.keyspace.databases[0].get(arguments[1]), int(arguments[2])
        return isinstance(value, KeyedValue) and 0 < len(value) - count <= count // 5

    def run(self, *arguments: bytes, proto: int = 2) -> bytes:
        """Run a command on both and compare; give the reply."""
        name = arguments[0].upper()
        mine = self.embedded.run(*arguments, proto=proto)
        if name in AT_RANDOM and not mine.startswith(b"-"):
            self._compare_random(arguments, mine, proto)
            return mine
        theirs = self.real[proto].raw(*arguments)
        if name in UNORDERED:
            width = UNORDERED[name]
            assert entries(mine, width) == entries(theirs, width), (arguments, mine, theirs)
        else:
            assert mine == theirs, (arguments, mine, theirs)
        return mine

    def _compare_random(self, arguments: tuple[bytes, ...], mine: bytes, proto: int) -> None:
        """Compare the shape of what was picked; the real server loses the members that were popped here."""
        name = arguments[0].upper()
        real = self.real[2]
        head, parts = parts_of(mine)
        if name == b"SPOP":
            picked = parts
            if len(arguments) == 2 and mine not in (b"$-1\r\n", b"_\r\n"):
                picked = [mine.split(b"\r\n", 1)[1][:-2]]
            if not picked:
                theirs = self.real[proto].raw(*arguments)
                assert mine == theirs, (arguments, mine, theirs)
                return
            likely = real.raw(b"SRANDMEMBER", *arguments[1:])
            assert len(parts_of(likely)[1]) == len(parts), arguments
            if len(arguments) > 2:
                assert (head[:1] == b"~") == (proto == 3), (arguments, mine)
            assert len(set(picked)) == len(picked)
            assert real.call(b"SREM", arguments[1], *picked) == len(picked), (arguments, picked)
            return
        theirs = self.real[proto].raw(*arguments)
        if len(arguments) == 2:
            assert mine[:1] == theirs[:1], (arguments, mine, theirs)
            return
        their_head, their_parts = parts_of(theirs)
        assert (head, len(parts)) == (their_head, len(their_parts)), (arguments, mine, theirs)
        pairs = len(arguments) == 4
        elements = parts[::2] if pairs else parts
        if not arguments[2].startswith(b"-"):
            assert len(set(elements)) == len(elements), (arguments, mine)
        check = b"HEXISTS" if name == b"HRANDFIELD" else b"SISMEMBER"
        assert all(real.call(check, arguments[1], element) for element in set(elements)), (arguments, mine)

    def compare_all(self, keys: list[bytes]) -> None:
        """Compare what keys hold and how Redis encodes it."""
        db = self.embedded.keyspace.databases[0]
        for key in keys:
            value = db.get(key)
            kind = self.real[2].call(b"TYPE", key)
            if not isinstance(value, KeyedValue):
                assert kind == (b"none" if value is None else b"string"), key
                continue
            assert kind == value.NAME, key
            assert isinstance(value, Hash) or kind == b"set"
            self.run(b"HGETALL" if kind == b"hash" else b"SMEMBERS", key)
            encoding = self.real[2].call(b"OBJECT", b"ENCODING", key)
            assert value.encoding() == encoding, (key, value.encoding(), encoding)


def entries(reply: bytes, width: int) -> tuple[bytes, list[list[bytes]]]:
    """Bring the entries of an unordered reply into an order."""
    head, parts = parts_of(reply)
    return head, sorted(parts[at : at + width] for at in range(0, len(parts), width))
