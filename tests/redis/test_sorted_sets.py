"""Commands on sorted sets, compared with a real Redis."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.scripted import Pair, check_scripts
from tests.redis.test_zset_value import content
from tests.redis.twins import parts_of, roll_back, stray_nodes
from tests.redis_server import RedisServer
from tinykv.errors import CommandError
from tinykv.redis.context import MustWait
from tinykv.testing.embedded import Embedded

KEYS = [b"z", b"y", b"large", b"lex", b"members", b"text"]
SOME = [b"a", b"b", b"c", b"", b"e", b"m1", b"m77", b"m200", b"long" * 20, b"\x00\r\n\xff"]
SCORES = [b"0", b"-0", b"1", b"-1", b"2.5", b"0.1", b"0.2", b"1e17", b"inf", b"-inf", b"100", b"-7.25", b"x", b"3e-9"]
WRITES = {b"ZADD", b"ZINCRBY", b"ZREM", b"ZPOPMIN", b"ZREMRANGEBYRANK", b"ZUNIONSTORE", b"ZRANGESTORE"}


def pairs(start: int, count: int) -> list[bytes]:
    """Make scores and members, in turn; every third score is the same."""
    return [part for i in range(start, start + count) for part in (b"%d" % (i * 7919 % 97 if i % 3 else 5), b"m%d" % i)]


def looks(key: bytes) -> list[list[bytes]]:
    """Make the commands that show what a key holds."""
    return [[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"], [b"OBJECT", b"ENCODING", key]]


def commands() -> st.SearchStrategy[list[bytes]]:
    """Make commands on sorted sets, right and wrong ones. Lexical ranges are for a key whose scores are all equal."""
    key = st.sampled_from([key for key in KEYS if key != b"lex"])
    sources = st.lists(st.sampled_from(KEYS[:5]), min_size=1, max_size=3).map(lambda keys: [b"%d" % len(keys), *keys])
    member, score = st.sampled_from(SOME), st.sampled_from(SCORES)
    limit = st.sampled_from(SCORES[:-1]).flatmap(lambda text: st.sampled_from([text, b"(" + text]))
    rank = st.one_of(st.integers(-9, 9), st.integers(-400, 400)).map(lambda n: b"%d" % n)
    lexical = st.one_of(
        st.sampled_from([b"-", b"+", b"b"]), member.map(lambda m: b"[" + m), member.map(lambda m: b"(" + m)
    )
    scores = st.sampled_from([[], [b"WITHSCORES"]])
    cut: st.SearchStrategy[list[bytes]] = st.one_of(st.just([]), st.tuples(st.just(b"LIMIT"), rank, rank).map(list))
    flags = st.lists(st.sampled_from([b"NX", b"XX", b"GT", b"LT", b"CH"]), max_size=2)
    some = st.lists(st.tuples(score, member), min_size=1, max_size=4).map(lambda drawn: [x for p in drawn for x in p])
    many = st.tuples(st.integers(0, 200), st.integers(60, 300)).map(lambda drawn: pairs(*drawn))
    aggregate = st.sampled_from([[], [b"AGGREGATE", b"MIN"], [b"AGGREGATE", b"MAX"], [b"WEIGHTS", b"2", b"-0.5"]])

    def made(*parts: object) -> st.SearchStrategy[list[bytes]]:
        strategies = [part if isinstance(part, st.SearchStrategy) else st.just(part) for part in parts]
        return st.tuples(*strategies).map(
            lambda drawn: [x for part in drawn for x in (part if isinstance(part, list) else [part])]
        )

    return st.one_of(
        made(b"ZADD", key, flags, some),
        made(b"ZADD", key, many),
        made(b"ZADD", key, b"INCR", flags, score, member),
        made(b"ZADD", b"lex", b"5", member),
        made(b"ZINCRBY", key, score, member),
        made(b"ZREM", key, st.lists(member, min_size=1, max_size=4)),
        made(b"ZREM", key, many),
        made(b"ZSCORE", key, member),
        made(b"ZMSCORE", key, member, member),
        made(b"ZCARD", key),
        made(st.sampled_from([b"ZRANK", b"ZREVRANK"]), key, member),
        made(b"ZCOUNT", key, limit, limit),
        made(b"ZLEXCOUNT", b"lex", lexical, lexical),
        made(st.sampled_from([b"ZRANGE", b"ZREVRANGE"]), key, rank, rank, scores),
        made(b"ZRANGE", key, rank, rank, b"REV", scores),
        made(b"ZRANGE", key, limit, limit, b"BYSCORE", cut, scores),
        made(b"ZRANGE", key, limit, limit, b"BYSCORE", b"REV", cut, scores),
        made(st.sampled_from([b"ZRANGEBYSCORE", b"ZREVRANGEBYSCORE"]), key, limit, limit, cut, scores),
        made(st.sampled_from([b"ZRANGEBYLEX", b"ZREVRANGEBYLEX"]), b"lex", lexical, lexical, cut),
        made(b"ZRANGE", b"lex", lexical, lexical, b"BYLEX", b"REV", cut),
        made(b"ZRANGESTORE", key, key, rank, rank),
        made(b"ZRANGESTORE", key, key, limit, limit, b"BYSCORE", cut),
        made(b"ZRANGESTORE", key, key, limit, limit, b"BYSCORE", b"REV", cut),
        made(b"ZRANGESTORE", b"lex", b"lex", lexical, lexical, b"BYLEX", cut),
        made(b"ZREMRANGEBYRANK", key, rank, rank),
        made(b"ZREMRANGEBYSCORE", key, limit, limit),
        made(b"ZREMRANGEBYLEX", b"lex", lexical, lexical),
        made(st.sampled_from([b"ZPOPMIN", b"ZPOPMAX"]), key, st.one_of(st.just([]), rank)),
        made(b"ZMPOP", b"2", key, key, st.sampled_from([b"MIN", b"MAX"]), b"COUNT", rank),
        made(st.sampled_from([b"BZPOPMIN", b"BZPOPMAX"]), key, b"large", b"0.001"),
        made(st.sampled_from([b"ZUNION", b"ZINTER"]), sources, aggregate, scores),
        made(b"ZDIFF", sources, scores),
        made(b"ZINTERCARD", sources, st.sampled_from([[], [b"LIMIT", b"3"]])),
        made(st.sampled_from([b"ZUNIONSTORE", b"ZINTERSTORE"]), key, sources, aggregate),
        made(b"ZDIFFSTORE", key, sources),
        made(b"ZSCAN", st.sampled_from([b"z", b"y"]), b"0", b"COUNT", b"5000"),
    )


class SortedSetTests(SynchronousTestCase):
    """What clients see."""

    def setUp(self) -> None:
        """Start a server."""
        self.server = RedisServer()
        self.addCleanup(self.server.close)

    def test_scripts(self) -> None:
        """Every command with every option and refusal, in both protocols."""
        self.assertEqual(check_scripts(self.server, "sorted_sets"), [])

    def test_encoding(self) -> None:
        """A sorted set is a listpack up to the limits, and never again; results are what they can be."""
        pair = Pair(self.server)
        one_by_one = [[b"ZADD", b"z", b"-0", b"m%d" % i] for i in range(130)]
        self.assertEqual(pair.differences([step for add in one_by_one for step in (add, *looks(b"z"))]), [])
        stores = [
            b"ZRANGESTORE d z 0 -1",
            b"ZRANGESTORE d z 0 127",
            b"ZRANGESTORE d z 128 129",
            b"ZRANGESTORE d z -1 1 BYSCORE",
            b"ZRANGESTORE d z -1 1 BYSCORE LIMIT 0 128",
            b"ZRANGESTORE d z 1 -1 BYSCORE REV",
            b"ZUNIONSTORE d 1 z",
            b"ZUNIONSTORE d 1 z WEIGHTS -1",
            b"ZINTERSTORE d 2 z z",
            b"ZDIFFSTORE d 1 z",
        ]
        for limit in (b"128", b"129", b"500", b"0"):
            value = {"zset-max-listpack-entries": int(limit)}
            pair.ours.keyspace.settings.change(value, pair.ours.rows)
            pair.theirs.call("CONFIG", "SET", "zset-max-listpack-entries", limit)
            for store in stores:
                steps = [store.split(), *looks(b"d")]
                self.assertEqual(pair.differences(steps), [], (limit, store))
            pair.ours.forget()
            self.assertEqual(pair.differences([[b"ZADD", b"n", b"1", b"m"], [b"OBJECT", b"ENCODING", b"n"]]), [])
        pair.theirs.call("CONFIG", "SET", "zset-max-listpack-entries", 128)

    def test_like_redis(self) -> None:
        """Any commands give what Redis gives, over restarts from the rows and after undone commands."""
        both = {proto: Pair(self.server, proto) for proto in (2, 3)}

        @given(
            st.sampled_from((2, 3)),
            st.lists(
                st.one_of(
                    commands(),
                    commands(),
                    commands(),
                    st.just("forget"),
                    st.lists(commands().filter(lambda command: command[0] in WRITES), max_size=4).map(tuple),
                ),
                max_size=30,
            ),
        )
        def check(proto: int, steps: list[str | list[bytes] | tuple[list[bytes], ...]]) -> None:
            pair = both[proto]
            pair.clear()
            filled = [[b"ZADD", b"large", *pairs(0, 250)], [b"SADD", b"members", *SOME, b"7"], [b"SET", b"text", b"x"]]
            filled.append([b"ZADD", b"lex", *(x for i in range(100, 250) for x in (b"5", b"m%d" % i))])
            self.assertEqual(pair.differences(filled), [])
            for step in steps:
                if isinstance(step, str):
                    pair.ours.forget()
                elif isinstance(step, list):
                    self.assertEqual(pair.differences([step], frozenset({b"zscan"})), [])
                else:
                    self._undone(pair.ours, step)
            for key in KEYS[:4]:
                self.assertEqual(pair.differences(looks(key)), [])
            assert not stray_nodes(pair.ours)

        check()

    @staticmethod
    def _undone(embedded: Embedded, steps: tuple[list[bytes], ...]) -> None:
        """Run commands as one, undo them, and look for what stayed."""
        before = content(embedded.keyspace)
        keyspace = embedded.keyspace
        try:
            roll_back(embedded, [tuple(step) for step in steps])
        except CommandError:
            # What went before the refusal is undone as well.
            keyspace.rollback()
        assert content(embedded.keyspace) == before, steps
        assert not stray_nodes(embedded)

    def test_more_than_ten_thousand(self) -> None:
        """Ranks and ranges of a set that's kept in trees of several levels."""
        pair = Pair(self.server)
        count = 10500
        for start in range(0, count, 1500):
            self.assertEqual(pair.differences([[b"ZADD", b"z", *pairs(start, 1500)]]), [])
        pair.ours.forget()
        checks: list[list[bytes]] = []
        for i in range(0, count, 777):
            member = b"m%d" % i
            checks += [[b"ZRANK", b"z", member], [b"ZREVRANK", b"z", member], [b"ZSCORE", b"z", member]]
            checks += [[b"ZRANGE", b"z", b"%d" % i, b"%d" % (i + 30), b"WITHSCORES"]]
            checks += [[b"ZREVRANGE", b"z", b"%d" % i, b"%d" % (i + 150)]]
        for low in range(0, 97, 9):
            ends = [b"(%d" % low, b"%d" % (low + 13)]
            checks += [[b"ZCOUNT", b"z", *ends], [b"ZRANGEBYSCORE", b"z", *ends, b"LIMIT", b"50", b"70"]]
            checks += [[b"ZREVRANGEBYSCORE", b"z", *reversed(ends), b"LIMIT", b"300", b"20"]]
            checks += [[b"ZREMRANGEBYSCORE", b"z", *ends], [b"ZREMRANGEBYRANK", b"z", b"-9", b"-5"]]
            checks += [[b"ZPOPMIN", b"z", b"17"], [b"ZADD", b"z", *pairs(low * 90, 300)], [b"ZCARD", b"z"]]
        self.assertEqual(pair.differences(checks), [])
        pair.ours.forget()
        stores = [b"ZUNIONSTORE d 2 z z WEIGHTS 1 2", b"ZRANGESTORE e d 200 -200", b"ZDIFFSTORE f 2 d e"]
        stores += [b"ZINTERSTORE g 2 e d AGGREGATE MAX", b"ZINTERCARD 2 e f"]
        self.assertEqual(pair.differences([store.split() for store in stores]), [])
        self.assertEqual(
            pair.differences([[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"] for key in (b"z", b"f", b"g")]), []
        )
        assert not stray_nodes(pair.ours)


class OwnTests(SynchronousTestCase):
    """What the real server of that version doesn't have, or leaves to chance."""

    def setUp(self) -> None:
        """Start with a small and a large one."""
        self.embedded = Embedded()
        self.embedded.run(b"ZADD", b"z", b"1", b"a", b"2.5", b"b")
        self.embedded.run(b"ZADD", b"large", *pairs(0, 300))

    def test_rank_with_score(self) -> None:
        """ZRANK and ZREVRANK of Redis 7.2."""
        for arguments, proto, expected in (
            ((b"ZRANK", b"z", b"b", b"WITHSCORE"), 2, b"*2\r\n:1\r\n$3\r\n2.5\r\n"),
            ((b"ZREVRANK", b"z", b"b", b"withscore"), 3, b"*2\r\n:0\r\n,2.5\r\n"),
            ((b"ZRANK", b"z", b"n", b"WITHSCORE"), 2, b"*-1\r\n"),
            ((b"ZRANK", b"none", b"n", b"WITHSCORE"), 2, b"*-1\r\n"),
            ((b"ZRANK", b"none", b"n", b"WITHSCORE"), 3, b"_\r\n"),
            ((b"ZRANK", b"z", b"b", b"WITHSCORES"), 2, b"-ERR syntax error\r\n"),
            ((b"ZRANK", b"z", b"b", b"x", b"y"), 2, b"-ERR wrong number of arguments for 'zrank' command\r\n"),
        ):
            self.assertEqual(self.embedded.run(*arguments, proto=proto), expected, arguments)

    def test_waiting(self) -> None:
        """Blocking commands wait for their keys where they may, and look only at the one that became ready."""
        embedded = self.embedded
        for arguments, keys, timeout in (
            ((b"BZPOPMIN", b"n", b"o", b"1.5"), [b"n", b"o"], 1500),
            ((b"BZPOPMAX", b"n", b"0"), [b"n"], 0),
            ((b"BZMPOP", b"0.0001", b"2", b"n", b"o", b"MIN"), [b"n", b"o"], 1),
        ):
            with self.assertRaises(MustWait) as caught:
                embedded.run(*arguments, may_wait=True)
            wait = caught.exception
            self.assertEqual((wait.keys, wait.timeout_ms, wait.timed_out), (keys, timeout, b"*-1\r\n"))
            self.assertEqual(embedded.run(*arguments), b"*-1\r\n")
            self.assertEqual(embedded.run(*arguments, proto=3), b"_\r\n")
        embedded.context.ready_key = b"z"
        self.assertEqual(
            embedded.run(b"BZPOPMIN", b"large", b"z", b"0", may_wait=True), b"*3\r\n$1\r\nz\r\n$1\r\na\r\n$1\r\n1\r\n"
        )
        self.assertEqual(
            embedded.run(b"BZMPOP", b"0", b"2", b"large", b"z", b"MAX", proto=3, may_wait=True),
            b"*2\r\n$1\r\nz\r\n*1\r\n*2\r\n$1\r\nb\r\n,2.5\r\n",
        )
        self.assertEqual(embedded.run(b"EXISTS", b"z"), b":0\r\n")

    def test_at_random(self) -> None:
        """Each member has its turn; different ones are different; scores are theirs."""
        embedded = self.embedded
        for key, size in ((b"z", 2), (b"large", 300)):
            _, picked = parts_of(embedded.run(b"ZRANDMEMBER", key, b"-6000"))
            self.assertEqual((len(picked), len(set(picked))), (6000, size))
            seen = {embedded.run(b"ZRANDMEMBER", key) for _ in range(40 * size)}
            self.assertEqual(len(seen), size)
        for count in (1, 30, 290):
            _, picked = parts_of(embedded.run(b"ZRANDMEMBER", b"large", b"%d" % count, b"WITHSCORES"))
            self.assertEqual(len(set(picked[::2])), count)
            _, scores = parts_of(embedded.run(b"ZMSCORE", b"large", *picked[::2]))
            self.assertEqual(scores, picked[1::2])
        nested = embedded.run(b"ZRANDMEMBER", b"large", b"2", b"WITHSCORES", proto=3)
        self.assertEqual(nested[:8], b"*2\r\n*2\r\n")
        too_many = embedded.run(b"ZRANDMEMBER", b"z", b"-1000000000000")
        self.assertEqual(too_many, b"-ERR value is out of range\r\n")
