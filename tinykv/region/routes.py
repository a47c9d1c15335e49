"""
Which regions there are and who leads them, as a store tells a gateway: lines of text.

C{region ID FIRST END VERSION TERM LEADER}: a region with its range of slots (the end isn't in it), the version of that
range, the group's term, and the store that leads it (0 for none that is known). C{store ID ADDRESS}: where gateways
reach a store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tinykv.errors import Damaged
from tinykv.keys import SLOTS

#: The largest number that may stand for anything here.
_MOST = 1 << 63
#: How many lines are read: more regions and stores than a cluster has.
LINES_MAX = 1 << 18


class Route(NamedTuple):
    """
    A region as one store knows it.

    @ivar first: The first slot of its range; C{end} the one behind the last.
    @ivar version: Rises with each change of the range.
    @ivar term: The term of its group.
    @ivar leader: The store that leads it; 0 for none that is known.
    """

    region: int
    first: int
    end: int
    version: int
    term: int
    leader: int


def encode_routes(routes: Iterable[Route], addresses: Mapping[int, str]) -> bytes:
    """Write them."""
    lines = [" ".join(("region", *map(str, route))) for route in routes]
    lines += [f"store {store} {address}" for store, address in sorted(addresses.items())]
    return "\n".join(lines).encode()


def decode_routes(text: bytes) -> tuple[list[Route], dict[int, str]]:
    """
    Read what L{encode_routes} wrote.

    @raise Damaged: It isn't that.
    """
    routes: list[Route] = []
    addresses: dict[int, str] = {}
    lines = text.split(b"\n", LINES_MAX) if text else []
    if len(lines) > LINES_MAX:
        raise Damaged("there are more routes than regions can be")
    for line in lines:
        verb, *words = line.split(b" ")
        if verb == b"region" and len(words) == 6:
            route = Route(*map(_number, words))
            if not 0 <= route.first < route.end <= SLOTS or not route.region:
                raise Damaged("a route has a range that can't be")
            routes.append(route)
        elif verb == b"store" and len(words) == 2 and words[1].isascii():
            addresses[_number(words[0])] = words[1].decode("ascii")
        else:
            raise Damaged("a line is no route")
    return routes, addresses


def _number(word: bytes) -> int:
    if not word.isdigit() or len(word) > 19 or int(word) >= _MOST:
        raise Damaged("a route has a number that is none")
    return int(word)
