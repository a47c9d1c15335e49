"""
The kinds of values that CONFIG SET takes, each with Redis's checks and words.

A kind turns what a client gave into the form that CONFIG GET shows; ValueError says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable

from tinykv.redis.numbers import parse_float, parse_int64

Kind = Callable[[bytes], bytes]

INT_MAX = (1 << 31) - 1
UINT_MAX = (1 << 32) - 1
LONG_MAX = (1 << 63) - 1

_UNITS = {
    b"": 1,
    b"b": 1,
    b"k": 1000,
    b"kb": 1024,
    b"m": 1000**2,
    b"mb": 1024**2,
    b"g": 1000**3,
    b"gb": 1024**3,
}
#: Letters of event classes, in the order in which Redis shows them, "A" standing for the first of them.
_EVENTS = b"g$lshzxetdn"
_OTHER_EVENTS = b"KEm"
_CLIENT_CLASSES = (b"normal", b"slave", b"pubsub")


def integer(least: int, most: int) -> Kind:
    """Take a whole number within bounds."""

    def check(text: bytes) -> bytes:
        number = parse_int64(text)
        if number is None:
            raise ValueError("argument couldn't be parsed into an integer")
        return _bounded(number, least, most)

    return check


def memory(least: int, most: int) -> Kind:
    """Take a number of bytes, with a unit or without."""

    def check(text: bytes) -> bytes:
        return _bounded(_memory(text), least, most)

    return check


def _bounded(number: int, least: int, most: int) -> bytes:
    if not least <= number <= most:
        raise ValueError(f"argument must be between {least} and {most} inclusive")
    return b"%d" % number


def _memory(text: bytes) -> int:
    digits = text.rstrip(b"bkmgBKMG")
    unit = _UNITS.get(text[len(digits) :].lower())
    if unit is None or not digits.isdigit():
        raise ValueError("argument must be a memory value")
    return int(digits) * unit


def switch(text: bytes) -> bytes:
    """Take yes or no."""
    if text.lower() not in (b"yes", b"no"):
        raise ValueError("argument must be 'yes' or 'no'")
    return text.lower()


def choice(*words: str) -> Kind:
    """Take one of some words."""

    def check(text: bytes) -> bytes:
        if text.decode("latin-1").lower() not in words:
            raise ValueError(f"argument(s) must be one of the following: {', '.join(words)}")
        return text.lower()

    return check


def any_text(text: bytes) -> bytes:
    """Take whatever is given."""
    return text


def only(kind: Kind, allowed: bytes, why: str) -> Kind:
    """Take only one value of a kind, since any other would promise what this store doesn't do."""

    def check(text: bytes) -> bytes:
        value = kind(text)
        if value != allowed:
            raise ValueError(why)
        return value

    return check


def save_points(text: bytes) -> bytes:
    """Take pairs of seconds and changes."""
    words = text.split()
    numbers = [parse_int64(word) for word in words]
    if len(words) % 2 or any(number is None or number < 0 for number in numbers) or b"0" in words[::2]:
        raise ValueError("Invalid save parameters")
    return b" ".join(words)


def percentiles(text: bytes) -> bytes:
    """Take numbers from 0 to 100."""
    for word in text.split():
        number = parse_float(word)
        if number is None or not 0 <= number <= 100:
            raise ValueError("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")
    return b" ".join(b"%.10g" % float(word) for word in text.split())


def events(text: bytes) -> bytes:
    """Take the letters of keyspace events, and give them as Redis does: those of "A" together, then the others."""
    chosen = set(text)
    if not chosen <= set(b"A" + _EVENTS + _OTHER_EVENTS):
        raise ValueError("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
    if ord("A") in chosen:
        chosen |= set(_EVENTS)
    first = b"A" if chosen >= set(_EVENTS) else bytes(letter for letter in _EVENTS if letter in chosen)
    return first + bytes(letter for letter in _OTHER_EVENTS if letter in chosen)


def output_limits(text: bytes) -> bytes:
    """Take limits of client classes, (class, hard, soft, seconds) one after another."""
    words = text.split()
    if not words or len(words) % 4:
        raise ValueError("Wrong number of arguments in buffer limit configuration.")
    shown: list[bytes] = []
    for place in range(0, len(words), 4):
        name = words[place].lower().replace(b"replica", b"slave")
        if name not in _CLIENT_CLASSES:
            raise ValueError("Invalid client class specified in buffer limit configuration.")
        try:
            hard, soft = _memory(words[place + 1]), _memory(words[place + 2])
            seconds = parse_int64(words[place + 3])
            if seconds is None or seconds < 0:
                raise ValueError(words[place + 3])
        except ValueError:
            raise ValueError("Error in hard, soft or soft_seconds setting in buffer limit configuration.") from None
        shown.append(b"%b %d %d %d" % (name, hard, soft, seconds))
    return b" ".join(shown)
