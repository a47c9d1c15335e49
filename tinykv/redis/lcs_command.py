"""
LCS: what two strings have in common.

@see: U{https://redis.io/commands/lcs/}
"""

from __future__ import annotations

from tinykv.errors import CommandError, SyntaxProblem
from tinykv.redis.arguments import integer
from tinykv.redis.context import Context
from tinykv.redis.lcs import LcsTooLarge, Match, lcs, lcs_length, lcs_matches
from tinykv.redis.spec import READ, command
from tinykv.redis.value import string_body
from tinykv.resp import replies


@command("lcs", READ)
def lcs_(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give the longest common subsequence of two strings, its length, or where it lies in them.

    @see: U{https://redis.io/commands/lcs/}
    """
    strings: list[bytes] = []
    for key in args[1:3]:
        row = ctx.db.get(key)
        if row is not None and type(row) is not bytes:
            raise CommandError(b"ERR The specified keys must contain string values")
        strings.append(b"" if row is None else string_body(row))
    options: set[bytes] = set()
    least = 0
    place = 3
    while place < len(args):
        option = args[place].upper()
        place += 1
        if option in (b"LEN", b"IDX", b"WITHMATCHLEN"):
            options.add(option)
        elif option == b"MINMATCHLEN" and place < len(args):
            least = integer(args[place])
            place += 1
        else:
            raise SyntaxProblem()
    if b"LEN" in options and b"IDX" in options:
        raise CommandError(b"ERR If you want both the length and indexes, please just use IDX.")
    first, second = strings
    limit = ctx.keyspace.settings.string_max
    try:
        if b"IDX" in options:
            matches, length = lcs_matches(first, second, least, max_table_bytes=limit)
            return _matches_reply(matches, length, b"WITHMATCHLEN" in options, ctx.proto)
        if b"LEN" in options:
            return replies.integer(lcs_length(first, second, max_table_bytes=limit))
        return replies.bulk(lcs(first, second, max_table_bytes=limit))
    except LcsTooLarge as problem:
        raise CommandError(b"ERR " + str(problem).encode()) from problem


def _matches_reply(matches: list[Match], length: int, with_lengths: bool, proto: int) -> bytes:
    """Give where a subsequence lies: the runs of equal bytes, last first, and its length."""
    items: list[bytes] = []
    for match in matches:
        item = [replies.array(list(map(replies.integer, span))) for span in (match.first, match.second)]
        if with_lengths:
            item.append(replies.integer(match.length))
        items.append(replies.array(item))
    return replies.map_(
        [replies.bulk(b"matches"), replies.array(items), replies.bulk(b"len"), replies.integer(length)], proto
    )
