"""Picking ranks."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.redis.sampling import pick, sample


class SamplingTests(SynchronousTestCase):
    """Ranks are in range, different, and equally likely."""

    def test_sample(self) -> None:
        """Any number out of any number."""

        @given(st.integers(0, 300), st.floats(0, 1), st.integers())
        def check(population: int, part: float, seed: int) -> None:
            count = int(population * part)
            ranks = sample(Random(seed), population, count)
            assert len(ranks) == count
            assert ranks == sorted(set(ranks))
            assert all(0 <= rank < population for rank in ranks)

        check()

    def test_equally_likely(self) -> None:
        """Each selection comes about as often as any other."""
        random = Random(1)
        for count in (1, 2, 3, 4):
            seen = Counter(tuple(sample(random, 5, count)) for _ in range(5000))
            expected = 5000 / len(seen)
            assert len(seen) == {1: 5, 2: 10, 3: 10, 4: 5}[count]
            assert all(abs(times - expected) < 0.2 * expected for times in seen.values()), seen

    def test_known(self) -> None:
        """The same for ever: these picks are part of what entries in logs mean."""
        assert sample(Random("1/2"), 1000, 5) == [88, 430, 518, 551, 820]
        assert sample(Random("1/2"), 6, 4) == [1, 2, 3, 5]
        assert pick(Random("1/2"), 10) == 0
