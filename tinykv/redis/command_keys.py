"""
Which arguments of a call are keys.

Key specs answer for nearly every command. Four kinds of call need code: where only the options tell what
happens to the key (SET with GET, BITFIELD), where a key may stand anywhere (SORT ... STORE), and where an
option replaces the key at the fixed place (MIGRATE ... KEYS).

A call whose keys can't be told, such as one with a wrong count of keys, has none: its handler refuses it with
the right words. Arity is taken as checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from tinykv.redis.command_facts import CommandFacts, KeySpec

Found = list[tuple[int, tuple[str, ...]]]
"""Positions of keys, each with the flags that say what the call does to it."""

READ = ("RO", "access")
WRITE = ("OW", "update")
CHANGE = ("RW", "access", "update")


def keys_of(facts: CommandFacts, args: Sequence[bytes]) -> list[int]:
    """
    Find the keys of a call.

    @param args: The whole call, the command's name first (of a subcommand: the container's, then its own).
    @return: Positions in C{args}, in the order in which COMMAND GETKEYS names them.
    """
    if facts.single_key:
        return [facts.single_key]
    if not facts.key_specs:
        return []
    return [position for position, _ in keys_and_flags_of(facts, args)]


def keys_and_flags_of(facts: CommandFacts, args: Sequence[bytes]) -> Found:
    """Find the keys of a call and what it does to each: the form of COMMAND GETKEYSANDFLAGS."""
    special = SPECIAL.get(facts.name)
    if special is not None:
        return special(args)
    found: Found = []
    for spec in facts.key_specs:
        if "not_key" in spec.flags:
            continue
        start = _start_of(spec, args)
        if start == 0:
            continue
        positions = _positions_of(spec, start, args)
        if positions is None:
            return []
        found.extend((position, spec.flags) for position in positions)
    return found


def _start_of(spec: KeySpec, args: Sequence[bytes]) -> int:
    """Find where a spec's keys start; 0 if its keyword isn't there."""
    if spec.begin == "index":
        return spec.position
    # A negative position searches backwards from there. The last argument has nothing behind it, and the
    # first isn't looked at from behind.
    count = len(args)
    places = range(spec.position, count - 1) if spec.position > 0 else range(count + spec.position, 1, -1)
    keyword = spec.keyword.encode()
    for place in places:
        if args[place].upper() == keyword:
            return place + 1
    return 0


def _positions_of(spec: KeySpec, start: int, args: Sequence[bytes]) -> range | None:
    """List the positions of a spec's keys; L{None} if the call doesn't have what the spec promises."""
    count = len(args)
    if spec.find == "keynum":
        count_at, first_at, step = spec.numbers
        number = _small_count(args[start + count_at]) if start + count_at < count else 0
        first = start + first_at
        last = first + number - 1
    else:
        last_key, step, limit = spec.numbers
        first = start
        if last_key >= 0:
            last = first + last_key
        elif limit:
            last = first + (count - first) // limit + last_key
        else:
            last = count + last_key
    if last >= count or last < first:
        return None
    return range(first, last + 1, step)


def _small_count(text: bytes) -> int:
    """Read a count of keys; 0 for what isn't one, so that such a call has no keys."""
    return int(text) if text.isdigit() and not text.startswith(b"0") and len(text) < 10 else 0


def _keys_of_set(args: Sequence[bytes]) -> Found:
    """SET reads its key only with GET."""
    return [(1, CHANGE if any(option.upper() == b"GET" for option in args[3:]) else WRITE)]


def _keys_of_bitfield(args: Sequence[bytes]) -> Found:
    """BITFIELD leaves its key alone if all it does is GET; a wrong option counts as a change."""
    place = 2
    while place < len(args):
        option, left = args[place].upper(), len(args) - place - 1
        if option == b"GET" and left >= 2:
            place += 3
        elif option == b"OVERFLOW" and left >= 1:
            place += 2
        else:
            return [(1, CHANGE)]
    return [(1, READ)]


def _keys_of_sort(args: Sequence[bytes]) -> Found:
    """SORT stores under the last STORE of its options; the keys that BY and GET make up aren't arguments."""
    found: Found = [(1, READ)]
    operands = {b"LIMIT": 2, b"GET": 1, b"BY": 1}
    place = 2
    while place < len(args):
        option = args[place].upper()
        if option == b"STORE" and place + 1 < len(args):
            # STORE's own operand is looked at again as an option, as Redis does: the last STORE counts.
            found[1:] = [(place + 1, WRITE)]
        place += 1 + operands.get(option, 0)
    return found


def _keys_of_sort_ro(args: Sequence[bytes]) -> Found:
    """SORT_RO has the key it sorts and no other that is an argument."""
    return [(1, READ)]


def _keys_of_migrate(args: Sequence[bytes]) -> Found:
    """MIGRATE takes one key in third place, or an empty string there and keys behind KEYS; not both."""
    flags = ("RW", "access", "delete")
    operands = {b"AUTH": 1, b"AUTH2": 2}
    place = 6
    while place < len(args):
        option = args[place].upper()
        if option == b"KEYS":
            return [] if args[3] else [(position, flags) for position in range(place + 1, len(args))]
        place += 1 + operands.get(option, 0)
    return [(3, flags)]


SPECIAL: Mapping[str, Callable[[Sequence[bytes]], Found]] = MappingProxyType(
    {
        "set": _keys_of_set,
        "bitfield": _keys_of_bitfield,
        "sort": _keys_of_sort,
        "sort_ro": _keys_of_sort_ro,
        "migrate": _keys_of_migrate,
    }
)
