"""Numbers as Redis reads and writes them: 64-bit integers, doubles, and 80-bit long doubles.

Integers follow Redis's ``string2ll``, doubles glibc's ``strtod`` with Redis's refusals. ``INCRBYFLOAT`` and
``HINCRBYFLOAT`` compute in the x87 extended format (64-bit mantissa, exponents -16445..16383); the same
results come here from exact integers with one rounding to nearest, ties to even, per step.
"""

from __future__ import annotations

import re

LongDouble = tuple[int, int]
"""A long double: (mantissa, exponent), worth mantissa * 2**exponent; an infinity has exponent INFINITE."""

INFINITE = 1 << 20
"""The exponent that marks an infinity, whose mantissa is then 1 or -1."""

INT64_MIN = -(1 << 63)
INT64_MAX = (1 << 63) - 1

_MANTISSA_BITS = 64
_LOWEST_EXPONENT = -16445
_OVERFLOW_BITS = 16384
# A value of d digits scaled by 10**k lies in [10**(d+k-1), 10**(d+k)): outside of these it cannot be finite
# and not 0.
_HIGHEST_MAGNITUDE = 4933
_LOWEST_MAGNITUDE = -4950
# Redis copies the text into a buffer of 5 KiB with its terminator, and refuses what does not fit.
_LONG_DOUBLE_TEXT = 5119
# Past this an exponent only says "too large" or "too small", for any mantissa that fits the buffer.
_EXPONENT_CAP = 1_000_000
# Python refuses to convert more than 4300 digits at once, so longer numbers go in two parts.
_DIGITS_AT_ONCE = 4000
_FRACTION_DIGITS = 17
_FRACTION_SCALE = 10**_FRACTION_DIGITS

_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}").fullmatch
# Possessive repeats: a long text that fails must not be tried again from every digit.
_DECIMAL = re.compile(rb"([+-]?)(?:([0-9]++)(?:\.([0-9]*+))?|\.([0-9]++))(?:[eE]([+-]?[0-9]++))?").fullmatch
_HEXADECIMAL = re.compile(
    rb"([+-]?)0[xX](?:([0-9a-fA-F]++)(?:\.([0-9a-fA-F]*+))?|\.([0-9a-fA-F]++))(?:[pP]([+-]?[0-9]++))?"
).fullmatch
_INFINITY = re.compile(rb"([+-]?)inf(?:inity)?", re.IGNORECASE).fullmatch


def parse_int64(text: bytes) -> int | None:
    """Return the signed 64-bit integer that ``text`` is the one canonical spelling of, or None.

    Refused: a plus sign, leading zeros, ``-0``, white space, anything out of range.
    """
    if _INTEGER(text) is None:
        return None
    value = int(text)
    return value if INT64_MIN <= value <= INT64_MAX else None


def parse_float(text: bytes) -> float | None:
    """Return the double that ``text`` spells by the rules of ``ZADD``, or None.

    Decimal and hexadecimal floats and infinities are accepted; refused are NaN, white space, and a number
    that only becomes infinite or zero because a double cannot hold it.
    """
    decimal = _DECIMAL(text)
    if decimal is not None:
        value = float(text)
        if value == 0.0 and _has_digit(decimal):
            return None
        return None if value in (float("inf"), float("-inf")) else value
    hexadecimal = _HEXADECIMAL(text)
    if hexadecimal is not None:
        try:
            value = float.fromhex(text.decode("ascii"))
        except OverflowError:
            return None
        return None if value == 0.0 and _has_digit(hexadecimal) else value
    infinity = _INFINITY(text)
    if infinity is not None:
        return float("-inf") if infinity[1] == b"-" else float("inf")
    return None


def _has_digit(match: re.Match[bytes]) -> bool:
    """Return whether the mantissa that ``match`` found has a digit other than zero."""
    whole, fraction, bare = match.group(2, 3, 4)
    return any(part is not None and part.strip(b"0") != b"" for part in (whole, fraction, bare))


def parse_long_double(text: bytes) -> LongDouble | None:
    """Return the long double nearest to ``text`` by the rules of ``INCRBYFLOAT``, or None.

    As `parse_float`, with the range of a long double and at most 5119 bytes of text.
    """
    if len(text) > _LONG_DOUBLE_TEXT:
        return None
    match = _DECIMAL(text)
    if match is not None:
        sign, digits, exponent = _split(match, 1)
        result = _from_decimal(digits, exponent)
    else:
        match = _HEXADECIMAL(text)
        if match is not None:
            sign, digits, exponent = _split(match, 4)
            mantissa = int(digits, 16)
            result = _round(mantissa, exponent)
            if mantissa and (not result[0] or result[1] == INFINITE):
                return None
        else:
            match = _INFINITY(text)
            if match is None:
                return None
            sign, result = match[1], (1, INFINITE)
    if result is None:
        return None
    return (-result[0], result[1]) if sign == b"-" else result


def add_long_doubles(left: LongDouble, right: LongDouble) -> LongDouble | None:
    """Return the rounded sum, or None where it is NaN or infinite, which Redis refuses to store."""
    left_mantissa, left_exponent = left
    right_mantissa, right_exponent = right
    if left_exponent == INFINITE or right_exponent == INFINITE:
        return None
    exponent = min(left_exponent, right_exponent)
    total = (left_mantissa << (left_exponent - exponent)) + (right_mantissa << (right_exponent - exponent))
    mantissa, exponent = _round(abs(total), exponent)
    if exponent == INFINITE:
        return None
    return (-mantissa if total < 0 else mantissa), exponent


def format_long_double(value: LongDouble) -> bytes:
    """Return a finite ``value`` with up to 17 decimals and no trailing zeros, as Redis stores it.

    What rounds to zero is written ``0``, never ``-0``.
    """
    mantissa, exponent = value
    magnitude = abs(mantissa)
    if exponent >= 0:
        text = _decimal_text(magnitude << exponent)
    else:
        text = _fixed_text(magnitude, -exponent)
    return b"-" + text if mantissa < 0 and text != b"0" else text


def is_infinite(value: LongDouble) -> bool:
    """Return whether ``value`` is one of the two infinities."""
    return value[1] == INFINITE


def _split(match: re.Match[bytes], digit_exponent: int) -> tuple[bytes, bytes, int]:
    """Return sign, all digits without a point, and the exponent that puts the point back.

    ``digit_exponent`` is what one digit behind the point takes from the exponent: 1 for tens, 4 for bits of
    hex.
    """
    sign, whole, fraction, bare, exponent_text = match.groups()
    behind = bare if bare is not None else fraction or b""
    exponent = 0
    if exponent_text is not None:
        significant = exponent_text.lstrip(b"+-").lstrip(b"0")
        exponent = min(int(significant[:7] or b"0"), _EXPONENT_CAP)
        if exponent_text.startswith(b"-"):
            exponent = -exponent
    return sign, (whole or b"") + behind, exponent - digit_exponent * len(behind)


def _from_decimal(digits: bytes, exponent: int) -> LongDouble | None:
    """Return the long double nearest to digits * 10**exponent, or None where that is out of range."""
    digits = digits.lstrip(b"0")
    if not digits:
        return 0, 0
    if not _LOWEST_MAGNITUDE <= len(digits) + exponent <= _HIGHEST_MAGNITUDE:
        return None
    number = _decimal_value(digits)
    if exponent >= 0:
        result = _round(number * 10**exponent, 0)
    else:
        divisor = 10**-exponent
        # Two bits more than a mantissa has, so that the remainder only matters as "there is more".
        shift = max(_MANTISSA_BITS + 2 + divisor.bit_length() - number.bit_length(), 0)
        quotient, remainder = divmod(number << shift, divisor)
        result = _round(quotient, -shift, more=remainder != 0)
    return None if not result[0] or result[1] == INFINITE else result


def _round(mantissa: int, exponent: int, *, more: bool = False) -> LongDouble:
    """Round a non-negative mantissa * 2**exponent to a long double, ties to even.

    ``more`` says that the true value lies a little above (the mantissa then has spare bits).
    """
    excess = max(mantissa.bit_length() - _MANTISSA_BITS, _LOWEST_EXPONENT - exponent)
    if excess > 0:
        half = 1 << (excess - 1)
        rest = mantissa & ((half << 1) - 1)
        mantissa >>= excess
        exponent += excess
        if rest > half or (rest == half and (more or mantissa & 1)):
            mantissa += 1
    if mantissa and mantissa.bit_length() + exponent > _OVERFLOW_BITS:
        return 1, INFINITE
    return mantissa, exponent


def _fixed_text(mantissa: int, shift: int) -> bytes:
    """Return mantissa / 2**shift rounded to 17 decimals, ties to even, without trailing zeros."""
    scaled = mantissa * _FRACTION_SCALE
    quotient = scaled >> shift
    rest = scaled & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    if rest > half or (rest == half and quotient & 1):
        quotient += 1
    whole, fraction = divmod(quotient, _FRACTION_SCALE)
    if not fraction:
        return b"%d" % whole
    return b"%d.%s" % (whole, (b"%017d" % fraction).rstrip(b"0"))


def _decimal_value(digits: bytes) -> int:
    """Return int(digits) for up to twice as many digits as Python converts at once."""
    if len(digits) <= _DIGITS_AT_ONCE:
        return int(digits)
    split = len(digits) - _DIGITS_AT_ONCE
    high: int = int(digits[:split]) * 10**_DIGITS_AT_ONCE
    return high + int(digits[split:])


def _decimal_text(value: int) -> bytes:
    """Return the digits of an integer of up to twice as many digits as Python converts at once."""
    if value.bit_length() < 3 * _DIGITS_AT_ONCE:
        return b"%d" % value
    high, low = divmod(value, 10**_DIGITS_AT_ONCE)
    low_text = (b"%d" % low).rjust(_DIGITS_AT_ONCE, b"0")
    return b"%d%s" % (high, low_text) if high else b"%d" % low
