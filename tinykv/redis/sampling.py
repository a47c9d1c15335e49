"""
Picking by rank, alike on every replica and with every version of Python.

An entry carries a seed, and every command in it draws from a generator of its own that starts from the seed and the
command's place. It's SplitMix64: some lines of integer arithmetic that no version of Python can change, ready without
any set-up (seeding C{random.Random} costs more than most commands).
"""

from __future__ import annotations

from typing import Final, Protocol

_MASK: Final = 0xFFFFFFFFFFFFFFFF
_GOLDEN: Final = 0x9E3779B97F4A7C15


class Chance(Protocol):
    """A source of randomness; C{random.Random} is one, too."""

    def random(self) -> float:
        """Give the next number, 0 <= number < 1."""
        ...


class SplitMix:
    """
    SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).

    @param seed: Any number; its low 64 bits count.
    @param place: Chooses one of many independent sequences of the same seed.
    """

    __slots__ = ("_state",)

    def __init__(self, seed: int, place: int = 0) -> None:
        # The place goes through one step of the generator itself, so that neighbours don't overlap.
        self._state = (seed ^ _mix((place * _GOLDEN) & _MASK)) & _MASK

    def random(self) -> float:
        """Give the next number, 0 <= number < 1, with 53 random bits."""
        self._state = (self._state + _GOLDEN) & _MASK
        return (_mix(self._state) >> 11) * 2.0**-53


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def pick(random: Chance, population: int) -> int:
    """Give one rank, C{0 <= rank < population}."""
    return int(random.random() * population)


def sample(random: Chance, population: int, count: int) -> list[int]:
    """
    Give C{count} different ranks, C{0 <= rank < population}, in ascending order.

    All selections are equally likely. It costs time and memory for the smaller of C{count} and what is left
    over, apart from the list itself.
    """
    if count * 2 > population:
        left = set(_floyd(random, population, population - count))
        return [rank for rank in range(population) if rank not in left]
    return sorted(_floyd(random, population, count))


def _floyd(random: Chance, population: int, count: int) -> set[int]:
    """Choose by Floyd's method: one number a choice, whatever the population (Bentley, CACM 30(9), 1987)."""
    chosen: set[int] = set()
    for last in range(population - count, population):
        rank = int(random.random() * (last + 1))
        chosen.add(last if rank in chosen else rank)
    return chosen
