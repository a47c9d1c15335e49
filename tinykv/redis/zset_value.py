"""
Sorted sets: members with scores, in the order of (score, member).

A small one is a dict of the scores and a sorted list of (score, member), which is also what its row holds. Past
L{SMALL_ENTRIES} members or L{SMALL_BYTES} bytes it becomes two trees, for good: C{members} finds a score by
(crc32(member), member), the order in which ZSCAN goes, and C{index} holds (ordered score, member) without values and
gives ranks. Every range of scores, members or ranks is a range of ranks here, found in logarithmic time.

0 and -0 are equal scores. Redis's compact encoding has no -0 and the other one keeps it, which clients see; so
C{packed}, which says what Redis would use, decides what becomes of the sign. In a tree of L{order_of} the sign is
lost, so C{_signed} says that there may be a -0 whose sign only C{members} knows.

The body of the row is a byte of flags, then either a pack of the scores (big-endian doubles) each with its member, in
order, or for each of the trees its generation (8 bytes), the length of its root (4 bytes), and the root.
"""

from __future__ import annotations

from binascii import crc32
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from itertools import chain, islice, pairwise
from math import isnan
from operator import itemgetter
from struct import Struct

from tinykv.codec import pack_strings, unpack_strings
from tinykv.errors import Damaged
from tinykv.keys import after
from tinykv.redis.keyed_value import SCAN_WHOLE, SMALL_BYTES, SMALL_ENTRIES, place
from tinykv.redis.keyspace import Database, TreeNodes
from tinykv.redis.score_order import order_after, order_of, score_at
from tinykv.redis.tree import KeyedTree
from tinykv.redis.value import ZSET, Value

_TREES = 1
_PACKED = 2
_SIGNED = 4

_double = Struct(">d").pack
_as_double = Struct(">d").unpack
_TREE_HEAD = Struct(">QI")

_SCORE_BYTES = 8
_NEGATIVE_ZERO = _double(-0.0)
_ZERO = _double(0.0)
_ZERO_ORDER = order_of(0.0)

_LAST_POSITION = 0xFFFFFFFF
#: When more than one member in this many is wanted by its rank, walking over all costs less than finding each.
_WALK = 16
#: So many new entries are sorted before they're put into the index, which then meets each leaf less often.
_BATCH = 4096

_score_of_pair = itemgetter(0)
_member_of_pair = itemgetter(1)


class SortedSet(Value):
    """
    A sorted set. Ranks count from 0 at the lowest (score, member).

    @ivar packed: Whether Redis would still keep it as a listpack.
    """

    __slots__ = ("_bytes", "_index", "_members", "_ranked", "_scores", "_signed", "packed")

    TYPE = ZSET
    NAME = b"zset"

    def __init__(self, db: Database, key: bytes, row_key: bytes) -> None:
        super().__init__(db, key, row_key)
        self.packed = True
        self._signed = False
        #: The members while there are no trees, and how many bytes they are with their scores.
        self._scores: dict[bytes, float] = {}
        self._ranked: list[tuple[float, bytes]] = []
        self._bytes = 0
        self._members: KeyedTree | None = None
        self._index: KeyedTree | None = None

    def __len__(self) -> int:
        """Count the members."""
        members = self._members
        return len(self._scores) if members is None else members.count

    def encoding(self) -> bytes:
        """Give what OBJECT ENCODING says."""
        return b"listpack" if self.packed else b"skiplist"

    # Reading

    def score(self, member: bytes) -> float | None:
        """Give a member's score, or None if it isn't there."""
        members = self._members
        if members is None:
            return self._scores.get(member)
        raw = members.get(crc32(member).to_bytes(4, "big") + member)
        return None if raw is None else _as_double(raw)[0]

    def items(self) -> Iterator[tuple[bytes, float]]:
        """Give all (member, score), ascending."""
        return self.by_rank(0, len(self))

    def by_rank(self, start: int, stop: int, reverse: bool = False) -> Iterator[tuple[bytes, float]]:
        """
        Give the (member, score) of the ranks C{0 <= start <= rank < stop <= len}, ascending or from the last to the
        first.
        """
        index = self._index
        if index is None:
            part = self._ranked[start:stop]
            return ((member, score) for score, member in (reversed(part) if reverse else part))
        if start >= stop:
            return iter(())
        entries = islice(index.items_by_rank(stop - 1 if reverse else start, reverse), stop - start)
        if self._signed:
            return ((name[8:], self._score_in_index(name)) for name, _ in entries)
        return ((name[8:], score_at(name)) for name, _ in entries)

    def at(self, rank: int) -> tuple[bytes, float]:
        """Give the (member, score) with this rank."""
        index = self._index
        if index is None:
            score, member = self._ranked[rank]
            return member, score
        name, _ = index.at(rank)
        return name[8:], self._score_in_index(name)

    def pairs_at(self, ranks: list[int]) -> Iterator[tuple[bytes, float]]:
        """Give the (member, score) of each of these ranks, which ascend strictly."""
        if self._index is None or len(ranks) * _WALK < len(self):
            yield from map(self.at, ranks)
            return
        walk = self.items()
        passed = 0
        for rank in ranks:
            yield next(islice(walk, rank - passed, None))
            passed = rank + 1

    def places(self) -> Iterator[tuple[bytes, float]]:
        """Give (L{place} of the member, score) for every member, by ascending places."""
        if self._members is None:
            return iter(sorted((place(member), score) for member, score in self._scores.items()))
        return ((name, _as_double(raw)[0]) for name, raw in self._members.items())

    def scan(self, position: int, count: int) -> tuple[int, list[tuple[bytes, float]]]:
        """
        Give about C{count} members from a position (a crc32) on, equal hashes together; a small set whole.

        @return: (the next position, or 0 at the end; the members with their scores).
        """
        if self._members is None or (self.packed and len(self) <= SCAN_WHOLE):
            return 0, list(self.items())
        found: list[tuple[bytes, float]] = []
        if position > _LAST_POSITION:
            return 0, found
        last = -1
        for name, raw in self._members.items(position.to_bytes(4, "big")):
            crc = int.from_bytes(name[:4], "big")
            if len(found) >= count and crc != last:
                return crc, found
            found.append((name[4:], _as_double(raw)[0]))
            last = crc
        return 0, found

    # Ranks

    def rank(self, member: bytes) -> int | None:
        """Give a member's rank, or None if it isn't there."""
        score = self.score(member)
        if score is None:
            return None
        if self._index is None:
            return bisect_left(self._ranked, (score, member))
        return self._index.rank(order_of(score) + member)[0]

    def ranks_below(self, score: float, inclusive: bool) -> int:
        """Count the members with a lower score; the same one counts too if C{inclusive}."""
        if self._index is None:
            if inclusive:
                return bisect_right(self._ranked, score, key=_score_of_pair)
            return bisect_left(self._ranked, score, key=_score_of_pair)
        return self._index.rank(order_after(score) if inclusive else order_of(score))[0]

    def ranks_before(self, member: bytes, inclusive: bool) -> int:
        """
        Count the members that come before this one as bytes; itself counts too if C{inclusive}.

        It has a meaning only where all scores are equal. Otherwise it's the place that a binary search finds.
        """
        index = self._index
        if index is None:
            if inclusive:
                return bisect_right(self._ranked, member, key=_member_of_pair)
            return bisect_left(self._ranked, member, key=_member_of_pair)
        if not index.count:
            return 0
        order = index.at(0)[0][:_SCORE_BYTES]
        if index.at(index.count - 1)[0].startswith(order):
            return index.rank(order + (after(member) if inclusive else member))[0]
        ranks = range(index.count)
        if inclusive:
            return bisect_right(ranks, member, key=self._member_at)
        return bisect_left(ranks, member, key=self._member_at)

    def _member_at(self, rank: int) -> bytes:
        assert self._index is not None
        return self._index.at(rank)[0][_SCORE_BYTES:]

    def _score_in_index(self, name: bytes) -> float:
        """Give the score of an entry of the index, with its sign."""
        if self._signed and name.startswith(_ZERO_ORDER):
            score = self.score(name[_SCORE_BYTES:])
            assert score is not None
            return score
        return score_at(name)

    # Changing

    def add(self, member: bytes, score: float) -> float | None:
        """
        Set a member's score, which isn't NaN; nothing changes if it has it already.

        @return: The score that it had, or None if it's new.
        """
        members = self._members
        if members is None:
            return self._add_small(member, score)
        name = crc32(member).to_bytes(4, "big") + member
        raw = _double(score)
        held = members.get(name)
        old: float | None = None
        if held is None:
            self.touch()
            if self.packed:
                self._review(member, members.count + 1)
        else:
            if held == raw:
                return score
            old = _as_double(held)[0]
            if old == score:
                return old
            self.touch()
        assert self._index is not None
        if raw == _NEGATIVE_ZERO:
            if self.packed:
                raw = _ZERO
            elif not self._signed:
                self._set_flags(False, True)
        members.put(name, raw)
        if old is not None:
            self._index.remove(order_of(old) + member)
        self._index.put(order_of(score) + member)
        return old

    def remove(self, member: bytes) -> bool:
        """Remove a member; say if it was there."""
        members = self._members
        if members is None:
            score = self._scores.get(member)
            if score is None:
                return False
            self.touch()
            self._replace(member, score, None)
            return True
        raw = members.remove(crc32(member).to_bytes(4, "big") + member)
        if raw is None:
            return False
        # The tree itself registered this object before it changed; what's left is the version.
        self.touch()
        assert self._index is not None
        self._index.remove(order_of(_as_double(raw)[0]) + member)
        return True

    def remove_ranks(self, start: int, stop: int) -> None:
        """Remove the members of the ranks C{0 <= start <= rank < stop <= len}."""
        self.touch()
        if self._index is None:
            for score, member in self._ranked[start:stop]:
                self._replace(member, score, None)
            return
        assert self._members is not None
        for name, _ in self._index.remove_range_by_rank(start, stop):
            self._members.remove(place(name[_SCORE_BYTES:]))

    def copy_from(self, other: SortedSet) -> None:
        """Take over all members of another, and its encoding; this one is new and empty."""
        self.touch()
        self._set_flags(other.packed, other._signed)
        if other._members is None:
            self._take_over(other._scores)
        else:
            assert other._index is not None
            members, index = self._plant()
            members.build(other._members.items())
            index.build(other._index.items())

    def build(self, scored: Iterable[tuple[bytes, float]]) -> None:
        """
        Take in (L{place}, score), by ascending places; this one is new and empty.

        It becomes compact if Redis would pack such a result: by what is there in the end, not on the way.
        """
        self.touch()
        items = iter(scored)
        first: list[tuple[bytes, float]] = []
        size = 0
        for name, score in items:
            first.append((name, score))
            size += len(name) - 4 + _SCORE_BYTES
            if size > SMALL_BYTES or len(first) > SMALL_ENTRIES:
                self._build_trees(chain(first, items))
                return
        settings = self.db.keyspace.settings
        packed = len(first) <= settings.zset_entries and all(len(name) - 4 <= settings.zset_value for name, _ in first)
        if not packed:
            self._set_flags(False, False)
        self._take_over({name[4:]: score + 0.0 if packed else score for name, score in first})

    def _build_trees(self, scored: Iterable[tuple[bytes, float]]) -> None:
        """Do what L{build} does for many."""
        settings = self.db.keyspace.settings
        members, index = self._plant()
        # One step takes all of it back, so that a long result needs no long list of steps.
        self.db.keyspace.undo.append((index.clear, (False,)))
        waiting: list[bytes] = []
        negative: list[bytes] = []
        signed, longest = False, 0

        def rows() -> Iterator[tuple[bytes, bytes]]:
            nonlocal signed, longest
            for name, score in scored:
                raw = _double(score)
                if raw == _NEGATIVE_ZERO:
                    signed = True
                    if len(negative) < settings.zset_entries:
                        negative.append(name)
                longest = max(longest, len(name) - 4)
                waiting.append(order_of(score) + name[4:])
                if len(waiting) == _BATCH:
                    settle()
                yield name, raw

        def settle() -> None:
            for entry in sorted(waiting):
                index.put(entry, b"", False)
            waiting.clear()

        members.build(rows())
        settle()
        if members.count > settings.zset_entries or longest > settings.zset_value:
            self._set_flags(False, signed)
        else:
            for name in negative:
                members.put(name, _ZERO)

    # The inline form

    def _add_small(self, member: bytes, score: float) -> float | None:
        """Do what L{add} does while there are no trees."""
        old = self._scores.get(member)
        if old is not None and old == score:
            return old
        self.touch()
        if old is None and self.packed:
            self._review(member, len(self._scores) + 1)
        self._replace(member, old, score + 0.0 if self.packed else score)
        if self._bytes > SMALL_BYTES or len(self._scores) > SMALL_ENTRIES:
            self._grow()
        return old

    def _replace(self, member: bytes, old: float | None, new: float | None) -> None:
        """Give a member of the dict another score; None where it isn't there."""
        self.db.keyspace.undo.append((self._exchange, (member, new, old)))
        self._exchange(member, old, new)

    def _exchange(self, member: bytes, old: float | None, new: float | None) -> None:
        if old is not None:
            del self._ranked[bisect_left(self._ranked, (old, member))]
            if new is None:
                del self._scores[member]
                self._bytes -= len(member) + _SCORE_BYTES
        elif new is not None:
            self._bytes += len(member) + _SCORE_BYTES
        if new is not None:
            self._scores[member] = new
            insort(self._ranked, (new, member))

    def _take_over(self, scores: dict[bytes, float]) -> None:
        """Take a copy of these as content; there is none yet."""
        self.db.keyspace.undo.append((self._set_small, ({}, [], 0)))
        self._scores = scores.copy()
        self._ranked = sorted((score, member) for member, score in scores.items())
        self._bytes = sum(map(len, scores)) + _SCORE_BYTES * len(scores)

    def _grow(self) -> None:
        """Turn from a dict into trees."""
        ranked = self._ranked
        if not self.packed and any(_double(score) == _NEGATIVE_ZERO for score, _ in ranked):
            self._set_flags(False, True)
        members, index = self._plant()
        members.build(sorted((place(member), _double(score)) for score, member in ranked))
        index.build((order_of(score) + member, b"") for score, member in ranked)

    def _plant(self) -> tuple[KeyedTree, KeyedTree]:
        """Let empty trees take the dict's place."""
        keyspace = self.db.keyspace
        # Steps are undone in reverse order: the trees lose their entries, and so their rows, before they're let go.
        keyspace.undo.append((self._set_small, (self._scores, self._ranked, self._bytes)))
        members = self._members = KeyedTree(TreeNodes(self, keyspace.next_generation()))
        index = self._index = KeyedTree(TreeNodes(self, keyspace.next_generation()), False)
        self._scores = {}
        self._ranked = []
        self._bytes = 0
        return members, index

    def _set_small(self, scores: dict[bytes, float], ranked: list[tuple[float, bytes]], size: int) -> None:
        self._scores = scores
        self._ranked = ranked
        self._bytes = size
        self._members = self._index = None

    # Flags

    def _review(self, member: bytes, count: int) -> None:
        """Leave the compact encoding if Redis would before it adds this member as the last of so many."""
        settings = self.db.keyspace.settings
        if count > settings.zset_entries or len(member) > settings.zset_value:
            self._set_flags(False, self._signed)

    def _set_flags(self, packed: bool, signed: bool) -> None:
        self.db.keyspace.undo.append((self._restore_flags, (self.packed, self._signed)))
        self._restore_flags(packed, signed)

    def _restore_flags(self, packed: bool, signed: bool) -> None:
        self.packed = packed
        self._signed = signed

    # The row

    def encode_body(self) -> bytes:
        """Encode what follows the head of the meta row."""
        flags = (_PACKED if self.packed else 0) | (_SIGNED if self._signed else 0)
        if self._members is None:
            return bytes((flags,)) + pack_strings([_double(score) + member for score, member in self._ranked])
        parts = [bytes((_TREES | flags,))]
        for tree, generation in zip(self._trees(), self.generations(), strict=True):
            root = tree.encode_root()
            parts += (_TREE_HEAD.pack(generation, len(root)), root)
        return b"".join(parts)

    def decode_body(self, body: bytes) -> None:
        """
        Take over what a meta row's body says.

        @raise Damaged: It's no such body.
        """
        if not body or body[0] > _TREES | _PACKED | _SIGNED:
            raise Damaged(f"the sorted set {self.key!r} has unknown flags")
        self.packed = bool(body[0] & _PACKED)
        self._signed = bool(body[0] & _SIGNED)
        if body[0] & _TREES:
            self._members, at = self._decode_tree(body, 1, True)
            self._index, at = self._decode_tree(body, at, False)
            if at != len(body) or self._members.count != self._index.count:
                raise Damaged(f"the trees of the sorted set {self.key!r} don't agree")
            return
        parts, end = unpack_strings(body, 1)
        if end != len(body) or any(len(part) < _SCORE_BYTES for part in parts):
            raise Damaged(f"the sorted set {self.key!r} has a part too many or too short")
        ranked = [(_as_double(part[:_SCORE_BYTES])[0], part[_SCORE_BYTES:]) for part in parts]
        if any(isnan(score) for score, _ in ranked) or not all(a < b for a, b in pairwise(ranked)):
            raise Damaged(f"the members of the sorted set {self.key!r} don't ascend")
        self._ranked = ranked
        self._scores = {member: score for score, member in ranked}
        if len(self._scores) != len(ranked):
            raise Damaged(f"the sorted set {self.key!r} has a member twice")
        self._bytes = sum(map(len, parts))

    def _decode_tree(self, body: bytes, at: int, with_values: bool) -> tuple[KeyedTree, int]:
        """Read a tree and where it ends."""
        if len(body) < at + _TREE_HEAD.size:
            raise Damaged(f"the sorted set {self.key!r} is cut off before a tree")
        generation, size = _TREE_HEAD.unpack_from(body, at)
        at += _TREE_HEAD.size
        tree = KeyedTree.decode(TreeNodes(self, generation), body[at : at + size], with_values)
        return tree, at + size

    def _trees(self) -> list[KeyedTree]:
        return [tree for tree in (self._members, self._index) if tree is not None]

    def generations(self) -> list[int]:
        """Name the generations under which this value has node rows."""
        return [tree.nodes.generation for tree in self._trees()]

    def size(self) -> int:
        """Estimate the bytes of memory of the inline form, or of the roots."""
        if self._members is None or self._index is None:
            return 300 + self._bytes + 230 * len(self._scores)
        members, index = self._members.root, self._index.root
        entries = len(members.entries) + len(index.entries)
        return 2000 + members.payload + index.payload + 60 * entries
