"""
The timeout that blocking commands take.
"""

from __future__ import annotations

from tinykv.errors import CommandError
from tinykv.redis.numbers import INT64_MAX, add_long_doubles, is_infinite, parse_long_double


def timeout_ms(argument: bytes) -> int:
    """
    Read a timeout in seconds, with a fraction if need be; 0 is for ever.

    As in Redis it's a long double, and what's left of a millisecond counts as a whole one.

    @return: Milliseconds.
    @raise CommandError: It's no number, negative, or too large.
    """
    seconds = parse_long_double(argument)
    if seconds is None:
        raise CommandError(b"ERR timeout is not a float or out of range")
    mantissa, exponent = seconds
    # The sum with zero rounds the product to what a long double can hold; there is none beyond its range.
    product = None if is_infinite(seconds) else add_long_doubles((mantissa * 1000, exponent), (0, exponent))
    if product is not None:
        mantissa, exponent = product
        waited = mantissa << exponent if exponent >= 0 else -(-mantissa >> -exponent)
        if 0 <= waited <= INT64_MAX:
            return waited
    # What is too large turns negative in Redis.
    raise CommandError(b"ERR timeout is negative")
