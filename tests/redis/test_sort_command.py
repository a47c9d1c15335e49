"""SORT and SORT_RO, against a real server."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.scripted import Pair, check_scripts
from tests.redis_server import RedisServer
from tinykv.testing.embedded import Embedded

_NUMBERS = st.lists(
    st.sampled_from([b"1", b"2", b"10", b"-1", b"1.5", b"0", b"-0", b"3"]), min_size=1, max_size=8
)
_OPTIONS = st.lists(
    st.sampled_from(
        [
            [b"ASC"],
            [b"DESC"],
            [b"ALPHA"],
            [b"LIMIT", b"1", b"3"],
            [b"LIMIT", b"0", b"-1"],
            [b"BY", b"w*"],
            [b"BY", b"h*->f"],
            [b"BY", b"nosort"],
            [b"GET", b"#"],
            [b"GET", b"w*"],
            [b"GET", b"h*->f"],
            [b"STORE", b"d"],
        ]
    ),
    max_size=4,
)


class SortTests(SynchronousTestCase):
    """SORT with all its options."""

    def test_replies_as_from_redis(self) -> None:
        with RedisServer() as server:
            self.assertEqual(check_scripts(server, "sort_command"), [])

    def test_random_options(self) -> None:
        with RedisServer() as server:
            pair = Pair(server)

            @given(_NUMBERS, _OPTIONS, st.sampled_from([b"l", b"z"]))
            def run(numbers: list[bytes], options: list[list[bytes]], key: bytes) -> None:
                pair.clear()
                words = [word for option in options for word in option]
                # Equal weights: the order is only said where the elements themselves decide.
                numbers = list(dict.fromkeys(numbers)) if b"w*" in words or b"h*->f" in words else numbers
                pair.run(b"rpush", b"l", *numbers)
                pair.run(
                    b"zadd",
                    b"z",
                    *[word for number in dict.fromkeys(numbers) for word in (number, b"m" + number)],
                )
                for number in dict.fromkeys(numbers):
                    pair.run(b"set", b"w" + number, b"%d" % (len(number) * 7 % 5))
                    pair.run(b"hset", b"h" + number, b"f", number[::-1] + b"5")
                if b"ALPHA" in words and b"BY" in words:
                    # The order of equal texts is open.
                    return
                self.assertEqual(
                    pair.differences([[b"sort", key, *words], [b"lrange", b"d", b"0", b"-1"]]), []
                )

            run()

    def test_a_refused_command_changes_nothing(self) -> None:
        embedded = Embedded()
        embedded.run(b"rpush", b"l", b"a", b"b")
        embedded.run(b"set", b"d", b"1")
        before = embedded.rows.image()
        for line in (b"sort l STORE d", b"sort d STORE l", b"sort l ALPHA STORE d bad"):
            self.assertEqual(embedded.run(*line.split())[:1], b"-")
            self.assertEqual(embedded.rows.image(), before, line)

    def test_a_number_too_large(self) -> None:
        # Not in the table: Redis doesn't reset errno, and refuses every number that comes after.
        embedded = Embedded()
        embedded.run(b"rpush", b"l", b"1", b"1e400")
        refusal = b"-ERR One or more scores can't be converted into double\r\n"
        self.assertEqual(embedded.run(b"sort", b"l"), refusal)

    def test_a_large_set(self) -> None:
        embedded = Embedded()
        embedded.run(b"sadd", b"s", *[b"%d" % number for number in range(3000)])
        embedded.forget()
        self.assertEqual(embedded.run(b"sort", b"s", b"LIMIT", b"1500", b"1"), b"*1\r\n$4\r\n1500\r\n")
        self.assertEqual(embedded.run(b"sort", b"s", b"DESC", b"STORE", b"d"), b":3000\r\n")
        self.assertEqual(embedded.run(b"lrange", b"d", b"0", b"0"), b"*1\r\n$4\r\n2999\r\n")
