"""
How replies show members of sorted sets.
"""

from __future__ import annotations

from collections.abc import Iterable

from tinykv.resp import replies


def members_reply(pairs: Iterable[tuple[bytes, float]], with_scores: bool, proto: int) -> bytes:
    """Give an array of members; with their scores it's one of pairs in RESP3, and flat in RESP2."""
    if not with_scores:
        return replies.bulks([member for member, _ in pairs])
    if proto == 3:
        return pairs_reply(pairs, proto)
    return flat_reply(pairs, proto)


def pairs_reply(pairs: Iterable[tuple[bytes, float]], proto: int) -> bytes:
    """Give an array of pairs."""
    return replies.array(
        [replies.array([replies.bulk(member), replies.double(score, proto)]) for member, score in pairs]
    )


def flat_reply(pairs: Iterable[tuple[bytes, float]], proto: int, first: tuple[bytes, ...] = ()) -> bytes:
    """Give an array of these encoded replies and then members and scores in turn."""
    items = list(first)
    if proto == 3:
        for member, score in pairs:
            items += (replies.bulk(member), replies.double(score, proto))
        return replies.array(items)
    # Ranges may be long, so this is written out.
    for member, score in pairs:
        text = b"%.17g" % score
        items.append(b"$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(member), member, len(text), text))
    return b"*%d\r\n%b" % (2 * len(items) - len(first), b"".join(items))
