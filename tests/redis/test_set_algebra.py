"""Intersection, union and difference as streams of places."""

from __future__ import annotations

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.test_keyed_value import set_of
from tinykv.redis.keyed_value import place
from tinykv.redis.set_algebra import copies_first, difference, intersection, listed, union, was_intset
from tinykv.testing.embedded import Embedded

RANGES = st.builds(range, st.integers(0, 300), st.integers(301, 600), st.sampled_from([1, 2, 3, 50, 500]))


class SetAlgebraTests(SynchronousTestCase):
    """Each against Python's own sets."""

    def test_streams(self) -> None:
        """Sets of all sizes give what Python's sets give, in ascending order of the places."""

        @given(st.lists(RANGES, min_size=1, max_size=4))
        def check(ranges: list[range]) -> None:
            embedded = Embedded()
            plain = [{b"%d" % i for i in numbers} for numbers in ranges]
            sets = [set_of(embedded, sorted(held), b"s%d" % at) for at, held in enumerate(plain)]
            for stream, expected in (
                (intersection(sets), reduce(set.intersection, plain)),
                (union(sets), set[bytes]().union(*plain)),
                (difference(sets[0], sets[1:]), plain[0].difference(*plain[1:])),
            ):
                assert list(stream) == sorted(map(place, expected))

        check()

    def test_difference_either_way(self) -> None:
        """A few members are looked up in many; many are merged with few."""
        embedded = Embedded()
        few = set_of(embedded, [b"1", b"x", b"999"], b"few")
        many = set_of(embedded, [b"%d" % i for i in range(1000)], b"many")
        assert [name[4:] for name in difference(few, [many])] == [b"x"]
        rest = list(difference(many, [few]))
        assert len(rest) == 998
        assert rest == sorted(rest)
        assert list(difference(many, [many])) == []
        assert list(union([])) == []

    def test_listed(self) -> None:
        """What could be an intset ascends by value; anything else is in the order of the stream."""
        numbers = [place(b"%d" % i) for i in (5, -3, 20)]
        assert listed(iter(numbers), 3) == [b"-3", b"5", b"20"]
        assert listed(iter(numbers), 2) == [b"5", b"-3", b"20"]
        assert listed(iter([*numbers, place(b"x")]), 9) == [b"5", b"-3", b"20", b"x"]

    def test_copy_of_first(self) -> None:
        """Whose encoding a difference has: Redis's choice of its way, and the copy's members."""
        embedded = Embedded()
        large = set_of(embedded, [b"%d" % i for i in range(100)], b"large")
        small = set_of(embedded, [b"1"], b"small")
        assert not copies_first(large, [])
        assert not copies_first(large, [small])
        assert copies_first(large, [small, small])
        assert not copies_first(small, [large, large])
        assert was_intset(large, 100)
        assert not was_intset(large, 99)
        large.unpack()
        assert was_intset(large, 100)
        large.add(b"x")
        assert not was_intset(large, 512)
