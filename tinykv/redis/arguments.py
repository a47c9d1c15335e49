"""
How commands read their arguments, with the refusals that Redis has for them.
"""

from __future__ import annotations

from tinykv.errors import CommandError, NotAnInteger
from tinykv.keys import DATABASES
from tinykv.redis.numbers import INT64_MAX, parse_int64

_INT_MIN = -(1 << 31)
_INT_MAX = (1 << 31) - 1


def integer(text: bytes) -> int:
    """
    Read a signed 64-bit integer.

    @raise NotAnInteger: It's none.
    """
    number = parse_int64(text)
    if number is None:
        raise NotAnInteger()
    return number


def database_number(text: bytes) -> int:
    """
    Read the number of a database, as COPY and MOVE take it.

    @raise CommandError: It isn't a number, or there's no such database.
    """
    number = integer(text)
    if not _INT_MIN <= number <= _INT_MAX:
        raise CommandError(b"ERR value is out of range, value must between %d and %d" % (_INT_MIN, _INT_MAX))
    if not 0 <= number < DATABASES:
        raise CommandError(b"ERR DB index is out of range")
    return number


def invalid_expire_time(command: bytes) -> CommandError:
    """Give the refusal of an expiry that can't be."""
    return CommandError(b"ERR invalid expire time in '%b' command" % command.lower())


def future(text: bytes, command: bytes, now: int, unit: int) -> int:
    """
    Read the expiry that SET and GETEX take: a positive number.

    @param unit: 1000 if it's in seconds, 1 if it's in milliseconds.
    @param now: What it's relative to, in ms since 1970; 0 if it's absolute.
    @return: Milliseconds since 1970.
    @raise CommandError: It isn't a number, or not one that can be.
    """
    amount = integer(text)
    if amount <= 0 or amount > INT64_MAX // unit or amount * unit > INT64_MAX - now:
        raise invalid_expire_time(command)
    return amount * unit + now
