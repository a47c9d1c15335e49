"""Payloads of DUMP and RESTORE: both ways with a real server, from old servers, and damaged."""

from __future__ import annotations

import math
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.old_blobs import plain, sealed, ziplist, zipmap
from tests.redis_server import BlockingClient, RedisServer
from tinykv.redis.packed import write_intset, write_listpack
from tinykv.redis.rdb import BadFooter, BadPayload, dump, load

WORDS = st.sampled_from(
    [b"", b"a", b"abc", b"x" * 64, b"x" * 65, b"ab" * 300, b"\x00\xff", b"12", b"-1", b"0012", b"1e3"]
)
NUMBERS = st.sampled_from([0, 12, 13, 127, 128, -1, -128, -129, 4095, 4096, -4096, 32767, 32768, -32769,
2**23, 2**31,
                           2**31 - 1, -(2**31), 2**63 - 1, -(2**63)]) | st.integers(-(2**63),
                           2**63 - 1)  # fmt: skip
TEXTS = WORDS | st.binary(max_size=30) | NUMBERS.map(lambda value: b"%d" % value)
SCORES = st.floats(allow_nan=False).map(lambda score: score + 0.0) | NUMBERS.map(float)
LARGE = (b"", b"1", b"x" * 63, b"y" * 64, b"z" * 4095, b"w" * 4096, b"v" * 8100, b"u" * 8192, b"t" * 20000)


def contents(client: BlockingClient, key: bytes) -> tuple[str, Any]:
    """Return kind and value of a key of a real server, in an order that does not depend on its encoding."""
    kind = client.call("TYPE", key).decode()
    if kind == "string":
        return kind, client.call("GET", key)
    if kind == "list":
        return kind, client.call("LRANGE", key, 0, -1)
    if kind == "set":
        return kind, sorted(client.call("SMEMBERS", key))
    if kind == "hash":
        flat = client.call("HGETALL", key)
        return kind, sorted(zip(flat[::2], flat[1::2], strict=True))
    flat = client.call("ZRANGE", key, 0, -1, "WITHSCORES")
    return kind, sorted((member, float(score)) for member, score in zip(flat[::2], flat[1::2], strict=True))


def normal(loaded: tuple[str, Any]) -> tuple[str, Any]:
    """Return what L{load} gave in the order of L{contents}."""
    kind, value = loaded
    return kind, value if kind in ("string", "list") else sorted(value)


class LimitTests(SynchronousTestCase):
    """What can't be kept is refused before it's unpacked."""

    def test_a_bomb(self) -> None:
        """A small payload that promises more than a row can hold."""
        for length in (1 << 30, 1 << 40):
            promise = b"\x81" + length.to_bytes(8, "big")
            problem = self.assertRaises(BadPayload, load, sealed(b"\x00\xc3\x05" + promise + b"\x00a\xe0\xff\x00"))
            self.assertIn("too large", str(problem))


class DifferentialTests(SynchronousTestCase):
    """With a real server."""

    def setUp(self) -> None:
        self.server = RedisServer("--sanitize-dump-payload", "yes", "--enable-debug-command", "yes")
        self.addCleanup(self.server.close)
        self.client = self.server.client

    def both_ways(self, *create: Any, exact: bool, encoding: bytes | None = None) -> None:
        """Make the key C{k}, read its payload, and give it back; C{exact}: as the same bytes.

        Without compression,
        that is: the server's finds copies through a table that starts with what its stack held.
        """
        client = self.client
        client.pipeline([["DEL", "k", "l"], create])
        expected = contents(client, b"k")
        name = client.call("OBJECT", "ENCODING", "k")
        if encoding is not None:
            self.assertEqual(name, encoding)
        theirs = client.call("DUMP", "k")
        kind, loaded = load(theirs)
        self.assertEqual(normal((kind, loaded)), expected)
        value: Any = loaded
        if kind == "zset":
            value = sorted(value, key=lambda pair: (pair[1], pair[0]))
        for version, packed in ((10, True), (10, False), (9, True), (8, False), (7, True), (6, False)):
            ours = dump(kind, value, version=version, encoding=name.decode(), packed=packed)
            self.assertEqual(normal(load(ours)), expected)
            client.call("RESTORE", "l", 0, ours, "REPLACE")
            self.assertEqual(contents(client, b"l"), expected)
        client.call("CONFIG", "SET", "rdbcompression", "no")
        theirs = client.call("DUMP", "k")
        client.call("CONFIG", "SET", "rdbcompression", "yes")
        self.assertEqual(normal(load(theirs)), expected)
        if exact:
            self.assertEqual(dump(kind, value, packed=False), theirs)
            self.assertEqual(dump(kind, value, encoding=name.decode(), packed=False), theirs)

    @given(TEXTS)
    def test_strings(self, text: bytes) -> None:
        self.both_ways("SET", "k", text, exact=True)

    def test_strings_of_odd_sizes(self) -> None:
        for size in (20, 21, 63, 64, 16383, 16384, 65537):
            self.both_ways("SET", "k", b"x" * size, exact=True)
            self.both_ways("SET", "k", Random(size).randbytes(size), exact=True)

    def test_compressed_strings(self) -> None:
        for size in (*range(18, 60), 300, 16384, 65536):
            self.client.call("SET", "k", b"x" * size)
            self.assertEqual(dump("string", b"x" * size), self.client.call("DUMP", "k"))

    @given(st.lists(TEXTS, min_size=1, max_size=20))
    def test_lists(self, items: list[bytes]) -> None:
        self.both_ways("RPUSH", "k", *items, exact=True)

    def test_lists_of_many_nodes(self) -> None:
        random = Random(1)
        for _ in range(10):
            items = [
                random.choice(LARGE) + b"%d" % random.randrange(99) for _ in range(random.randrange(1, 40))
            ]
            self.both_ways("RPUSH", "k", *items, exact=True)
        self.both_ways("RPUSH", "k", *range(5000), exact=True)

    def test_lists_of_plain_nodes(self) -> None:
        self.client.call("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "100b")
        self.both_ways("RPUSH", "k", b"a", b"b" * 200, b"c", b"d" * 300, b"e" * 99, exact=False)

    @given(st.sets(TEXTS, min_size=1, max_size=20))
    def test_sets(self, members: set[bytes]) -> None:
        self.both_ways("SADD", "k", *members, exact=False)

    @given(st.sets(NUMBERS, min_size=1, max_size=20))
    def test_sets_of_integers(self, members: set[int]) -> None:
        self.both_ways("SADD", "k", *members, exact=True, encoding=b"intset")

    def test_sets_around_the_limit(self) -> None:
        self.both_ways("SADD", "k", *range(512), exact=True, encoding=b"intset")
        self.both_ways("SADD", "k", *range(513), exact=False, encoding=b"hashtable")

    @given(st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=10))
    def test_hashes(self, fields: dict[bytes, bytes]) -> None:
        small = all(len(text) <= 64 for pair in fields.items() for text in pair)
        self.both_ways("HSET", "k", *[text for pair in fields.items() for text in pair], exact=small)

    def test_hashes_around_the_limit(self) -> None:
        self.both_ways("HSET", "k", *range(1024), exact=True, encoding=b"listpack")
        self.both_ways("HSET", "k", *range(1026), exact=False, encoding=b"hashtable")

    @given(st.dictionaries(TEXTS, SCORES, min_size=1, max_size=10))
    def test_sorted_sets(self, scores: dict[bytes, float]) -> None:
        pairs = [text for member, score in scores.items() for text in (b"%.17g" % score, member)]
        self.both_ways("ZADD", "k", *pairs, exact=True)

    def test_sorted_sets_around_the_limit(self) -> None:
        for count, encoding in ((128, b"listpack"), (129, b"skiplist")):
            pairs = [value for n in range(count) for value in (n / 3, b"m%d" % n)]
            self.both_ways("ZADD", "k", *pairs, exact=True, encoding=encoding)
        self.both_ways("ZADD", "k", "inf", "a", "-inf", "b", "-0", "c", exact=True)

    @given(st.lists(NUMBERS | TEXTS, min_size=2, max_size=12), st.integers(0, 2))
    def test_what_old_servers_wrote(self, items: list[bytes | int], unused: int) -> None:
        texts = [b"%d" % item if isinstance(item, int) else item for item in items]
        names = [b"%d" % place for place in range(len(items))]
        scored = [
            text for pair in zip(names, [b"-inf", b"1.5", b"3", b"-2e9"], strict=False) for text in pair
        ]
        mixed: list[bytes | int] = [part for place, item in enumerate(items) for part in (place, item)]
        flat = [part for pair in zip(names, texts, strict=True) for part in pair]
        text_scores = b"".join(plain(name) + bytes((len(name),)) + name for name in names)
        bodies = (
            b"\x01" + bytes((len(items),)) + b"".join(map(plain, texts)),
            b"\x0a" + plain(ziplist(items)),
            b"\x0e\x03" + plain(ziplist([])) + plain(ziplist(items)) + plain(ziplist(items[:1])),
            b"\x12\x02\x01" + plain(texts[0] or b"?") + b"\x02" + plain(write_listpack(texts)),
            b"\x02" + bytes((len(names),)) + b"".join(map(plain, names)),
            b"\x0b" + plain(write_intset(range(len(items)))),
            b"\x0d" + plain(ziplist(mixed)),
            b"\x09" + plain(zipmap(flat, unused)),
            b"\x04" + bytes((len(names),)) + b"".join(map(plain, flat)),
            b"\x0c" + plain(ziplist(scored)),
            b"\x11" + plain(write_listpack(scored)),
            b"\x03" + bytes((len(names),)) + text_scores,
            b"\x03\x02" + plain(b"a") + b"\xfe" + plain(b"b") + b"\xff",
        )
        for body in bodies:
            payload = sealed(body)
            self.client.call("RESTORE", "k", 0, payload, "REPLACE")
            self.assertEqual(contents(self.client, b"k"), normal(load(payload)), body)

    @given(st.randoms(use_true_random=False))
    def test_what_is_accepted_is_accepted_by_the_server(self, random: Random) -> None:
        """Payloads damaged under a right checksum: the server may be laxer, and so it is at times, never
        this.
        """
        for _ in range(10):
            payload = damaged(random)
            try:
                loaded = load(payload)
            except BadPayload:
                continue
            self.client.call("RESTORE", "k", 0, payload, "REPLACE")
            self.assertEqual(contents(self.client, b"k"), normal(loaded), payload)


SAMPLES = [
    dump("string", b"a" * 100),
    dump("string", b"123456"),
    dump("list", [b"a", b"12", b"b" * 70, b"300"]),
    dump("list", [b"a", b"b"], version=9),
    dump("set", [b"1", b"2", b"70000"]),
    dump("set", [b"a", b"b", b"2"]),
    dump("hash", [(b"a", b"1"), (b"b", b"x" * 30)]),
    dump("hash", [(b"a", b"1"), (b"b", b"2")], encoding="hashtable"),
    dump("zset", [(b"a", 1.0), (b"b", 2.5), (b"c", math.inf)]),
    dump("zset", [(b"a", 1.0), (b"b", 2.5)], encoding="skiplist"),
    dump("zset", [(b"a", 1.0), (b"b", 2.5)], version=7),
    sealed(b"\x0a" + plain(ziplist([1, b"a", 300, b"b"]))),
    sealed(b"\x0e\x01" + plain(ziplist([1, b"a", 300, b"b"]))),
    sealed(b"\x0d" + plain(ziplist([1, b"a", 300, b"b"]))),
    sealed(b"\x0c" + plain(ziplist([b"m", 1, b"n", b"2.5"]))),
    sealed(b"\x09" + plain(zipmap([b"a", b"b", b"c", b"d"], 1))),
]


def damaged(random: Random) -> bytes:
    """Return a sample with some bytes changed, added or taken away, under a right checksum."""
    body = bytearray(random.choice(SAMPLES)[:-10])
    for _ in range(random.randrange(1, 4)):
        place = random.randrange(len(body))
        change = random.randrange(4)
        if change == 0:
            body[place] = random.randrange(256)
        elif change == 1:
            body[place] = (body[place] + random.choice((-1, 1))) & 0xFF
        elif change == 2:
            body.insert(place, random.randrange(256))
        elif len(body) > 1:
            del body[place]
    return sealed(bytes(body), 10)


class LoadTests(SynchronousTestCase):
    """L{load} and L{dump} where no server is needed."""

    def test_sets_of_redis_7_2(self) -> None:
        payload = sealed(b"\x14" + plain(write_listpack([b"a", b"5", b"b"])), 11)
        self.assertEqual(load(payload), ("set", [b"a", b"5", b"b"]))

    def test_footers(self) -> None:
        good = dump("string", b"text")
        for bad in (
            b"",
            good[:9],
            good[:-1] + b"\x00",
            good[:-10] + sealed(b"", 12),
            sealed(b"\x00\x01a", 12),
        ):
            self.assertRaises(BadFooter, load, bad)
        self.assertEqual(load(sealed(b"\x00\x01a", 11)), ("string", b"a"))

    def test_types_that_are_not_kept(self) -> None:
        for kind, words in (
            (15, "streams"),
            (19, "streams"),
            (21, "streams"),
            (6, "module"),
            (7, "module"),
            (99, "unknown"),
        ):
            error = self.assertRaises(BadPayload, load, sealed(bytes((kind, 1, 1, 1))))
            self.assertIn(words, str(error))

    def test_each_kind_of_damage(self) -> None:
        nan = b"\x00\x00\x00\x00\x00\x00\xf8\x7f"
        for body in (
            b"\x00\x05abc",
            b"\x00\xc3\x03\x05\x00ab",
            b"\x00\xc3\x03\xc0\x00ab",
            b"\x00\xc4",
            b"\x00\x82abc",
            b"\x00\x01ab",
            b"\x01\x00",
            b"\x01\x02\x01a",
            b"\x01\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a",
            b"\x02\x02\x01a\x01a",
            b"\x04\x02\x01a\x01b\x01a\x01c",
            b"\x04\x00",
            b"\x05\x01\x01a" + nan,
            b"\x05\x02\x01a" + bytes(8) + b"\x01a" + bytes(8),
            b"\x03\x01\x01a\xfd",
            b"\x03\x01\x01a\x01x",
            b"\x10" + plain(write_listpack([b"a"])),
            b"\x10" + plain(write_listpack([b"a", b"b", b"a", b"c"])),
            b"\x10" + plain(write_listpack([])),
            b"\x11" + plain(write_listpack([b"a", b"nan"])),
            b"\x11" + plain(write_listpack([b"a", b"b"])),
            b"\x12\x01\x03\x01a",
            b"\x12\x00",
            b"\x12\x02\x01\x01a\x01\x00",
            b"\x12\x01\x02" + plain(write_listpack([])),
            b"\x0e\x01" + plain(ziplist([])),
            b"\x14" + plain(write_listpack([b"a", b"a"])),
        ):
            self.assertRaises(BadPayload, load, sealed(body))

    @given(st.binary(max_size=60))
    def test_random_bytes_raise_nothing_else(self, body: bytes) -> None:
        for start in range(22):
            try:
                load(sealed(bytes((start,)) + body))
            except BadPayload:
                pass

    @given(st.randoms(use_true_random=False))
    def test_damaged_payloads_raise_nothing_else(self, random: Random) -> None:
        for _ in range(20):
            try:
                kind, value = load(damaged(random))
            except BadPayload:
                continue
            if kind != "zset":
                self.assertEqual(normal(load(dump(kind, value))), normal((kind, value)))
