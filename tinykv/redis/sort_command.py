"""
SORT and SORT_RO.

@see: U{https://redis.io/commands/sort/}
"""

from __future__ import annotations

from tinykv.errors import CommandError, SyntaxProblem, WrongType
from tinykv.redis.arguments import integer
from tinykv.redis.context import Context
from tinykv.redis.hash_value import Hash
from tinykv.redis.keyspace import Live
from tinykv.redis.list_value import List
from tinykv.redis.set_value import Set
from tinykv.redis.sorting import NotNumeric, limited, sort_order
from tinykv.redis.spec import READ, WRITE, command
from tinykv.redis.value import string_body
from tinykv.redis.zset_value import SortedSet
from tinykv.resp import replies


class _Options:
    """
    What a SORT is told.

    @ivar alpha: Whether to compare as text.
    @ivar by: The pattern of the keys to sort by; L{None} for the elements themselves.
    @ivar count: How many elements to give; negative for all.
    @ivar descending: Whether the greatest comes first.
    @ivar gets: The patterns of what to give in place of each element.
    @ivar start: How many elements to leave out.
    @ivar store: The key that shall hold the result.
    @ivar unsorted: Whether a BY without a star asked for the order in which the value is kept.
    """

    __slots__ = ("alpha", "by", "count", "descending", "gets", "start", "store", "unsorted")

    def __init__(self, args: list[bytes], may_store: bool) -> None:
        """
        Read them from the arguments of a command.

        @raise CommandError: They're none.
        """
        self.alpha = self.descending = self.unsorted = False
        self.by: bytes | None = None
        self.store: bytes | None = None
        self.gets: list[bytes] = []
        self.start, self.count = 0, -1
        place, last = 2, len(args) - 1
        while place <= last:
            option = args[place].upper()
            if option in (b"ASC", b"DESC"):
                self.descending = option == b"DESC"
            elif option == b"ALPHA":
                self.alpha = True
            elif option == b"LIMIT" and place + 2 <= last:
                self.start, self.count = integer(args[place + 1]), integer(args[place + 2])
                place += 2
            elif place == last:
                raise SyntaxProblem()
            elif option == b"STORE" and may_store:
                place += 1
                self.store = args[place]
            elif option == b"BY":
                place += 1
                self.by = args[place]
                # As in Redis this sticks, even if another BY follows.
                self.unsorted = self.unsorted or b"*" not in self.by
            elif option == b"GET":
                place += 1
                self.gets.append(args[place])
            else:
                raise SyntaxProblem()
            place += 1


@command("sort", WRITE)
def sort(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give the elements of a list, set or sorted set in order, or store them as a list.

    @see: U{https://redis.io/commands/sort/}
    """
    return _sort(ctx, args[1], _Options(args, True))


@command("sort_ro", READ)
def sort_ro(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give the elements of a list, set or sorted set in order.

    @see: U{https://redis.io/commands/sort_ro/}
    """
    return _sort(ctx, args[1], _Options(args, False))


def _sort(ctx: Context, key: bytes, options: _Options) -> bytes:
    """Run either of the two."""
    value = ctx.db.get(key)
    if value is not None and not isinstance(value, (List, Set, SortedSet)):
        raise WrongType()
    elements = _ordered(ctx, value, options)
    results: list[bytes | None] = []
    for element in ctx.paced(elements):
        if options.gets:
            results += [_looked_up(ctx, pattern, element) for pattern in options.gets]
        else:
            results.append(element)
    if options.store is None:
        nil = replies.nil(ctx.proto)
        return replies.array([nil if item is None else replies.bulk(item) for item in ctx.paced(results)])
    ctx.db.delete(options.store)
    if results:
        stored = ctx.db.create(options.store, List)
        stored.extend(b"" if item is None else item for item in ctx.paced(results))
    return replies.integer(len(results))


def _ordered(ctx: Context, value: Live | None, options: _Options) -> list[bytes]:
    """Give the elements that LIMIT leaves of a value, in the order asked for."""
    if value is None:
        return []
    by, alpha = options.by, options.alpha
    sorts = not options.unsorted
    if isinstance(value, Set):
        elements = value.listed()
        if not sorts and options.store is not None:
            # What is stored mustn't hang on the order in which a set happens to be kept.
            sorts = alpha = True
            by = None
    elif isinstance(value, List):
        elements = list(value.items())
    else:
        assert isinstance(value, SortedSet)
        elements = [member for member, _ in value.items()]
    if sorts:
        keys = elements if by is None else [_looked_up(ctx, by, element) for element in ctx.paced(elements)]
        try:
            pause = ctx.keyspace.rows.pause
            order = sort_order(elements, keys, alpha=alpha, descending=options.descending, pause=pause)
        except NotNumeric as problem:
            raise CommandError(b"ERR " + str(problem).encode()) from problem
        elements = [elements[place] for place in ctx.paced(order)]
    elif options.descending and not isinstance(value, Set):
        elements.reverse()
    start, stop = limited(len(elements), options.start, options.count)
    return elements[start:stop]


def _looked_up(ctx: Context, pattern: bytes, element: bytes) -> bytes | None:
    """
    Look up what a pattern of BY or GET names for an element.

    C{#} is the element itself. Otherwise the first C{*} is replaced by it, which gives the key of a string
    or, with C{->field} behind the star, of a hash.
    """
    if pattern == b"#":
        return element
    before, star, behind = pattern.partition(b"*")
    if not star:
        return None
    middle, arrow, field = behind.partition(b"->")
    if not field:
        middle += arrow
    value = ctx.db.get(before + element + middle)
    if field:
        return value.get(field) if isinstance(value, Hash) else None
    return string_body(value) if type(value) is bytes else None
