"""
The way of clients' commands to the regions of a store that has several, and of the replies back.

For the front it's a region like any other: it takes operations, and answers them. What is for one region goes there as
it came. What is spread over several (L{tinykv.redis.spreading}) goes to each as a command of its own, whose clients are
L{_Part}s; when all have been answered, their client is. Replies find their order by the requests' numbers, as ever.

A client's commands to one region are done in their order, those to different regions needn't be; but a transaction or
a blocking command first waits for all that its client sent before (R3), and so does a step of the front's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from zope.interface import implementer

from tinykv.errors import Damaged
from tinykv.interfaces import IRegionHost
from tinykv.keys import SLOTS, slot_of
from tinykv.redis.operations import (
    COMMANDS,
    EXEC,
    INTERNAL,
    LOCAL,
    LOOK,
    READ,
    READ_EXEC,
    WAITING,
    Client,
    Operation,
    slots_named,
    within_slots,
)
from tinykv.redis.ownership import NOT_HERE
from tinykv.redis.scanning import cursor_at, slot_at
from tinykv.redis.spec import CommandSpec
from tinykv.redis.spreading import (
    EVERYWHERE,
    IN_STEPS,
    Part,
    Spread,
    alike,
    by_key,
    has_keys,
    merged,
    region_of_transaction,
    scanned,
    spread,
)
from tinykv.resp import replies
from tinykv.resp.replies import encode_command
from tinykv.server.region_figures import AllExecutions

_STRANGE = replies.error(b"ERR the replies of the store's regions don't fit together; see the log of the store")


class _Part:
    """
    The client of one part of a command.

    It's told what becomes of that part, and isn't the client itself, whose request has one answer.
    """

    __slots__ = ("_done", "client_id", "proto")

    def __init__(self, client: Client, done: Callable[[bytes], None]) -> None:
        self.proto = client.proto
        self.client_id = client.client_id
        self._done = done

    def answer(self, number: int, reply: bytes) -> None:
        """Take the reply to the part."""
        self._done(reply)

    def waits(self, number: int, timeout_ms: int) -> None:
        """Nothing that waits is cut."""
        raise AssertionError("a blocking command has no parts")


class _Outcome:
    """The reply to a read, which is there at once or comes later."""

    __slots__ = ("_client", "_late", "_number", "_reply")

    def __init__(self, client: Client, number: int) -> None:
        self._client = client
        self._number = number
        self._reply: bytes | None = None
        self._late = False

    def take(self, reply: bytes) -> None:
        """Take it."""
        if self._late:
            self._client.answer(self._number, reply)
        else:
            self._reply = reply

    def now(self) -> bytes | None:
        """Give it, if it's there; if not, its client is answered later."""
        self._late = self._reply is None
        return self._reply


class _Held:
    """
    A blocking command that isn't given to its region yet.

    @ivar wakes: What is to follow it, since its client is to be woken.
    """

    __slots__ = ("operation", "wakes")

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.wakes: list[Operation] = []


class _Gathering:
    """The replies to the parts of one command, until all are there."""

    __slots__ = ("_answers", "_answered", "_left", "_spread")

    def __init__(self, spread: Spread, answered: Callable[[bytes], None]) -> None:
        self._spread = spread
        self._answered = answered
        self._answers: list[bytes | None] = [None] * len(spread.parts)
        self._left = len(spread.parts)

    def take(self, place: int, reply: bytes) -> None:
        """Take the reply to a part; the first counts."""
        if self._answers[place] is not None:
            return
        self._answers[place] = reply
        self._left -= 1
        if self._left:
            return
        try:
            reply = merged(self._spread, [answer for answer in self._answers if answer is not None])
        except Damaged:
            reply = _STRANGE
        self._answered(reply)


@implementer(IRegionHost)
class Router:
    """All regions of a store as one."""

    def __init__(self, regions: Sequence[tuple[tuple[int, int], IRegionHost]], chance: Callable[[int], int]) -> None:
        """
        @param regions: Of each the first of its slots and the one behind the last, in their order; none is missing.
        @param chance: Gives a number by chance, from 0 to before another one.
        """
        self._chance = chance
        self._hosts: list[IRegionHost] = []
        self._executions: list[Any] = []
        #: Blocking commands that wait for what their clients sent before, by client and number.
        self._held: dict[tuple[int, int], _Held] = {}
        self.route(regions)
        self.start_id = self._hosts[0].start_id
        self.execution: Any = AllExecutions(self._executions)

    def route(self, regions: Sequence[tuple[tuple[int, int], IRegionHost]]) -> None:
        """
        Learn that there are other regions, or that their ranges are others.

        @param regions: As at the beginning. One that is new tells the same of its clients as the others do.
        """
        assert [first for (first, _), _ in regions] == [0, *(end for (_, end), _ in regions[:-1])], regions
        assert regions[-1][0][1] == SLOTS, regions
        known = self._hosts
        self._hosts = [host for _, host in regions]
        for host in self._hosts:
            if known and host not in known:
                host.replaced = known[0].replaced
                if host.execution is not None:
                    host.execution.refused = self.execution.refused
                    host.execution.waiting_client = self.execution.waiting_client
        self._executions[:] = [host.execution for host in self._hosts if host.execution is not None]
        self._firsts = [first for (first, _), _ in regions]
        self._region_of_slot = [place for place, ((first, end), _) in enumerate(regions) for _ in range(first, end)]

    def region_of(self, key: bytes) -> int:
        """Give the place of the region in which a key lies."""
        return self._region_of_slot[slot_of(key)]

    @property
    def table_bytes(self) -> int:
        """Count the memory of changes that aren't in data.db yet; the regions share it."""
        return self._hosts[0].table_bytes

    @property
    def replaced(self) -> Callable[[Callable[[Operation], bool]], None]:
        """What is called when a snapshot has taken the place of a region's data."""
        return self._hosts[0].replaced

    @replaced.setter
    def replaced(self, replaced: Callable[[Callable[[Operation], bool]], None]) -> None:
        for host in self._hosts:
            host.replaced = replaced

    def refusal(self, spec: CommandSpec) -> bytes | None:
        """Say nothing yet: each region says for itself why it can't take a command now, when it's given one."""
        return None

    def submit_moved(self, operation: Operation) -> None:
        """Take in what another region was given; all are here, so there's none."""
        raise AssertionError("the router has all regions")

    def undone(self) -> list[Operation]:
        """Give the operations of which certainly nothing was done."""
        waiting = [held.operation for held in self._held.values()]
        return [*waiting, *(operation for host in self._hosts for operation in host.undone())]

    def _spread(self, spec: CommandSpec, arguments: list[bytes]) -> int | Spread | bytes:
        """Say where a command goes."""
        return spread(spec, arguments, self.region_of, len(self._hosts))

    def _shown(self) -> Sequence[int]:
        """Say in which regions SCAN looks for keys; there's at least one."""
        return range(len(self._hosts))

    # What was moved

    def moved(self, operation: Operation, whole: tuple[int, int], host: IRegionHost | None) -> None:
        """
        Take an operation to where it belongs by now: a region did nothing of it, since it was narrowed meanwhile.

        @param whole: The slots for which it was meant.
        @param host: That region; None if it was in none.
        """
        kind, client, number, db, spec, arguments, extra = operation
        if kind == INTERNAL:
            for one in self._hosts:
                one.submit_moved(operation)
            return
        if kind == LOOK:
            self._look(client, number, db, arguments, moved=True)
            return
        if kind == LOCAL:
            places = self._places(whole)
            self._behind([self._hosts[place].submit_moved for place in places], client, number, arguments)
            return
        about_all = kind in (COMMANDS, READ) and _is_about_all(spec, arguments)
        if about_all and not self._has_exactly(whole):
            self._after_merge(operation, whole)
            return
        if kind in (EXEC, READ_EXEC):
            to: int | Spread | bytes = region_of_transaction(arguments, extra or (), self.region_of, len(self._hosts))
        else:
            to = spread(spec, arguments, self.region_of, len(self._hosts))
            if about_all:
                to = self._within(to, whole, arguments)
        if isinstance(to, bytes):
            client.answer(number, to)
        elif isinstance(to, int) and spec is not None and spec.name in IN_STEPS or kind == READ and type(to) is Spread:
            answered = partial(client.answer, number)
            self._read_parts(_InPlace(moved=True), client, number, db, spec, arguments, to, answered)
        elif isinstance(to, int):
            if self._hosts[to] is host:
                # It's meant for a region that isn't here.
                client.answer(number, NOT_HERE)
            else:
                self._hosts[to].submit_moved(operation)
        elif not to.parts:
            client.answer(number, NOT_HERE)
        else:
            self._submit_parts(client, number, db, spec, to)

    def _after_merge(self, operation: Operation, whole: tuple[int, int]) -> None:
        """
        Do what was meant for all keys of a region that was merged into another one, and wasn't done there.

        The other one has a part of the same command, which may have been done before it had these keys; so may what
        the same client sent behind it. So it's done for these keys alone, where that isn't the same for all of them.
        """
        kind, client, number, db, spec, arguments, _ = operation
        if spec.name == "config|set":
            # What the other one is told counts for all of its keys.
            inside = [place for place in self._places(whole) if self._inside(place, whole)]
            to = Spread([Part(place, arguments, ()) for place in inside], alike, spec.writes)
            if to.parts:
                self._submit_parts(client, number, db, spec, to)
            else:
                client.answer(number, replies.OK)
            return
        limited = within_slots(arguments, whole)
        places = self._having(self._places(whole), limited)
        to = Spread([Part(place, limited, ()) for place in places], EVERYWHERE[spec.name], spec.writes)
        if kind == READ:
            answered = partial(client.answer, number)
            self._read_parts(_InPlace(moved=True), client, number, db, spec, limited, to, answered)
        else:
            self._submit_parts(client, number, db, spec, to)

    def _places(self, slots: tuple[int, int]) -> list[int]:
        """Name the regions that have some of these slots."""
        first, end = slots
        ends = [*self._firsts[1:], SLOTS]
        return [place for place, one in enumerate(self._firsts) if one < end and first < ends[place]]

    def _inside(self, place: int, slots: tuple[int, int]) -> bool:
        """Say whether a region has no other slots than these."""
        return slots[0] <= self._firsts[place] and [*self._firsts[1:], SLOTS][place] <= slots[1]

    def _has_exactly(self, slots: tuple[int, int]) -> bool:
        """Say whether the regions that have some of these slots have no others."""
        return all(self._inside(place, slots) for place in self._places(slots))

    def _submit_parts(self, client: Client, number: int, db: int, spec: CommandSpec, to: Spread) -> None:
        """Take in the parts of what other regions were given."""
        gathering = _Gathering(to, partial(client.answer, number))
        for place, part in enumerate(to.parts):
            raw = encode_command(part.arguments)
            one = _Part(client, partial(gathering.take, place))
            self._hosts[part.region].submit_moved((COMMANDS, one, number, db, spec, part.arguments, raw))

    def _having(self, places: list[int], arguments: list[bytes]) -> list[int]:
        """
        Choose of some regions those in which a command that is about all keys finds some to which it's limited: one if
        there's none. Of parts that are about nothing there'd be ever more, where regions are merged and split again.
        """
        limits = slots_named(arguments)
        if limits is None:
            return places
        having = self._places(limits)
        return [place for place in places if place in having] or places[:1]

    def _within(self, to: int | Spread | bytes, whole: tuple[int, int], arguments: list[bytes]) -> int | Spread | bytes:
        """Leave out what isn't about slots that an operation was meant for: the others have a part of their own."""
        if not isinstance(to, Spread):
            return to
        first, end = whole
        inside = [part.region for part in to.parts if first <= self._firsts[part.region] < end]
        having = self._having(inside, arguments)
        return to._replace(parts=[part for part in to.parts if part.region in having])

    # What comes

    def submit(self, operation: Operation) -> None:
        """Take an operation in for this turn's proposals."""
        kind, client, number, db, spec, arguments, extra = operation
        if kind == COMMANDS and (facts := spec.facts) is not None and (place := facts.single_key) and not facts.module:
            # Nearly all of them: there's nothing to be spread.
            _submit(self._hosts[self._region_of_slot[slot_of(arguments[place])]], operation)
        elif kind in (COMMANDS, READ):
            self._take(kind, client, number, db, spec, arguments, extra)
        elif kind == WAITING:
            self._submit_whole(operation, self._spread(spec, arguments))
        elif kind in (EXEC, READ_EXEC):
            region = region_of_transaction(arguments, extra or (), self.region_of, len(self._hosts))
            self._submit_whole(operation, region)
        elif kind == LOCAL:
            self._behind_all(client, number, arguments)
        elif kind == LOOK:
            self._look(client, number, db, arguments)
        else:
            assert kind == INTERNAL and arguments[0] == b"wake", "all else is decided within a region"
            held = self._held.get((int(arguments[2]), int(arguments[3])))
            if held is not None:
                held.wakes.append(operation)
                return
            # Only one of them knows whom; it isn't worth while to find out which.
            for host in self._hosts:
                host.submit(operation)

    def read(self, client: Client, number: int, db: int, spec: CommandSpec, arguments: list[bytes]) -> bytes | None:
        """Run a read now; None if the client is answered later."""
        return self._read(client, number, db, spec, arguments, False)

    def read_local(
        self, client: Client, number: int, db: int, spec: CommandSpec, arguments: list[bytes]
    ) -> bytes | None:
        """Run a read on what is applied here, old as it may be; None if the client is answered later."""
        return self._read(client, number, db, spec, arguments, True)

    def expect_local_reads(self) -> None:
        """Learn that some client reads what is applied here."""
        for host in self._hosts:
            host.expect_local_reads()

    def _read(
        self, client: Client, number: int, db: int, spec: CommandSpec, arguments: list[bytes], local: bool
    ) -> bytes | None:
        to = self._spread(spec, arguments)
        if isinstance(to, bytes):
            return to
        if isinstance(to, int) and spec.name not in IN_STEPS:
            host = self._hosts[to]
            return (host.read_local if local else host.read)(client, number, db, spec, arguments)
        outcome = _Outcome(client, number)
        self._read_parts(_Fresh(local), client, number, db, spec, arguments, to, outcome.take)
        return outcome.now()

    def _take(
        self, kind: int, client: Client, number: int, db: int, spec: CommandSpec, arguments: list[bytes], extra: Any
    ) -> None:
        to = self._spread(spec, arguments)
        if isinstance(to, bytes):
            client.answer(number, to)
        elif isinstance(to, int) and spec.name not in IN_STEPS:
            _submit(self._hosts[to], (kind, client, number, db, spec, arguments, extra))
        elif kind == READ:
            answered = partial(client.answer, number)
            self._read_parts(_InPlace(moved=False), client, number, db, spec, arguments, to, answered)
        else:
            assert isinstance(to, Spread)
            gathering = _Gathering(to, partial(client.answer, number))
            for place, part in enumerate(to.parts):
                raw = encode_command(part.arguments)
                one = _Part(client, partial(gathering.take, place))
                _submit(self._hosts[part.region], (COMMANDS, one, number, db, spec, part.arguments, raw))

    def _submit_whole(self, operation: Operation, to: int | Spread | bytes) -> None:
        """Take in what is for one region, and has to wait for all that its client sent before."""
        kind, client, number, *_ = operation
        if not isinstance(to, int):
            client.answer(number, to if isinstance(to, bytes) else _STRANGE)
            return
        host = self._hosts[to]
        if client.answered == number:
            _submit(host, operation)
            return

        client.hold(number)
        if kind != WAITING:
            self._behind_all(client, number, partial(_submit, host, operation))
            return
        held = self._held[client.client_id, number] = _Held(operation)

        def step() -> None:
            del self._held[client.client_id, number]
            # Of a blocking command whose client has left meanwhile nobody would ever wake the waiter.
            if client.waiting == number:
                _submit(host, operation)
                for wake in held.wakes:
                    host.submit(wake)

        self._behind_all(client, number, step)

    def _look(self, client: Client, number: int, db: int, arguments: list[bytes], moved: bool = False) -> None:
        """Ask about keys each in its own region, where it's its turn: others may be in the midst of a command."""
        question = by_key([arguments[0]], arguments[1:], self.region_of)
        gathering = _Gathering(question, partial(client.answer, number))
        for place, part in enumerate(question.parts):
            one = _Part(client, partial(gathering.take, place))
            host = self._hosts[part.region]
            (host.submit_moved if moved else host.submit)((LOOK, one, number, db, None, part.arguments, None))

    def _behind_all(self, client: Client, number: int, step: Callable[[], None]) -> None:
        """
        Run a step when what its client sent before has been applied in all regions.

        It's run in whichever region's turn it is then, so it mustn't look at data.
        """
        self._behind([host.submit for host in self._hosts], client, number, step)

    def _behind(
        self, submits: list[Callable[[Operation], None]], client: Client, number: int, step: Callable[[], None]
    ) -> None:
        """Run a step when it's its turn in all of some regions."""
        left = len(submits)

        def passed() -> None:
            nonlocal left
            left -= 1
            if not left:
                step()

        for submit in submits:
            submit((LOCAL, client, number, 0, None, passed, None))

    # Reads in parts

    def _read_parts(
        self,
        how: _Fresh | _InPlace,
        client: Client,
        number: int,
        db: int,
        spec: CommandSpec,
        arguments: list[bytes],
        to: int | Spread | bytes,
        answered: Callable[[bytes], None],
    ) -> None:
        """Run a read in all regions that it's about, and answer when all have."""
        if spec.name == "scan":
            region = self._region_of_slot[slot_at(arguments[1])]
            shown = self._shown()
            # For a region behind the cursor that's before its beginning, and for one before the cursor behind its end.
            region, *later = [place for place in shown if place >= region] or shown[-1:]
            following = cursor_at(self._firsts[later[0]]) if later else 0
            host = self._hosts[region]
            how.read(host, client, number, db, spec, arguments, lambda reply: answered(_scanned(reply, following)))
        elif spec.name == "randomkey":
            self._pick(how, client, number, db, spec, arguments, self._by_chance(db), answered)
        else:
            assert isinstance(to, Spread)
            gathering = _Gathering(to, answered)
            for place, part in enumerate(to.parts):
                host, told = self._hosts[part.region], partial(gathering.take, place)
                how.read(host, client, number, db, spec, part.arguments, told)

    def _by_chance(self, db: int) -> Iterator[IRegionHost]:
        """Give the regions by chance, those with many keys more likely first, as far as this store knows."""
        hosts = self._hosts
        # One that has none, as far as is known here, may have got some. Where the region isn't known it would be waited
        # for, so that comes last.
        known = {place: host.execution for place, host in enumerate(hosts) if host.execution is not None}
        left = {place: max(execution.keyspace.databases[db].keys, 1) for place, execution in known.items()}
        while left:
            rank = self._chance(sum(left.values()))
            place = -1
            for place, keys in left.items():  # noqa: B007 - the one where it ends is wanted
                rank -= keys
                if rank < 0:
                    break
            del left[place]
            yield hosts[place]
        yield from (host for host in hosts if host.execution is None)

    def _pick(
        self,
        how: _Fresh | _InPlace,
        client: Client,
        number: int,
        db: int,
        spec: CommandSpec,
        arguments: list[bytes],
        regions: Iterator[IRegionHost],
        answered: Callable[[bytes], None],
    ) -> None:
        """Ask one region after another until one has a key."""
        region = next(regions)

        def told(reply: bytes) -> None:
            if reply in _NOTHING:
                following = next(regions, None)
                if following is not None:
                    how.read(following, client, number, db, spec, arguments, told)
                    return
            answered(reply)

        how.read(region, client, number, db, spec, arguments, told)


class NodeRouter(Router):
    """
    All regions of a store as one, for clients that take it for a node of a cluster.

    They ask all masters for what is about all keys, and put it together themselves: so a store that leads some regions
    counts and shows the keys of these alone. One that leads none is a replica, and shows all.
    """

    def __init__(
        self,
        regions: Sequence[tuple[tuple[int, int], IRegionHost]],
        chance: Callable[[int], int],
        shows: Callable[[int], bool],
    ) -> None:
        """
        @param shows: Says whether this store tells of a slot's keys.
        """
        super().__init__(regions, chance)
        self._shows = shows

    def _shown(self) -> Sequence[int]:
        places = range(len(self._hosts))
        return [place for place in places if self._shows(self._firsts[place])] or places

    def _spread(self, spec: CommandSpec, arguments: list[bytes]) -> int | Spread | bytes:
        to = super()._spread(spec, arguments)
        if isinstance(to, Spread) and spec.name in _SHOWN:
            shown = self._shown()
            return to._replace(parts=[part for part in to.parts if part.region in shown])
        return to


def _submit(host: IRegionHost, operation: Operation) -> None:
    """Give a region an operation, unless it can't take it now: then nothing of it is done."""
    kind, client, number, _, spec, arguments, _ = operation
    refusal: bytes | None = None
    if kind in (COMMANDS, WAITING):
        refusal = host.refusal(spec)
    elif kind == EXEC:
        specs = [command for _, command, _, _ in arguments if command is not None and command.writes]
        refusal = next((why for command in specs if (why := host.refusal(command)) is not None), None)
    if refusal is None:
        host.submit(operation)
    else:
        client.answer(number, refusal)


#: Reads of all keys that there are.
_SHOWN = frozenset(("dbsize", "info", "keys"))
#: What a region without keys answers to RANDOMKEY.
_NOTHING = frozenset((b"$-1\r\n", b"_\r\n"))


class _Fresh:
    """Reads of clients that have nothing else under way: at once, where that can be."""

    __slots__ = ("_local",)

    def __init__(self, local: bool) -> None:
        """
        @param local: Whether what is applied here is enough, old as it may be.
        """
        self._local = local

    def read(
        self,
        host: IRegionHost,
        client: Client,
        number: int,
        db: int,
        spec: CommandSpec,
        arguments: list[bytes],
        answered: Callable[[bytes], None],
    ) -> None:
        """Read in one region."""
        read = host.read_local if self._local else host.read
        reply = read(_Part(client, answered), number, db, spec, arguments)
        if reply is not None:
            answered(reply)


class _InPlace:
    """Reads that keep their places behind their clients' writes."""

    __slots__ = ("_moved",)

    def __init__(self, moved: bool) -> None:
        """
        @param moved: Whether they were meant for a region that was narrowed.
        """
        self._moved = moved

    def read(
        self,
        host: IRegionHost,
        client: Client,
        number: int,
        db: int,
        spec: CommandSpec,
        arguments: list[bytes],
        answered: Callable[[bytes], None],
    ) -> None:
        """Read in one region."""
        submit = host.submit_moved if self._moved else host.submit
        submit((READ, _Part(client, answered), number, db, spec, arguments, None))


def _is_about_all(spec: CommandSpec, arguments: list[bytes]) -> bool:
    """Say whether a command is about all keys, or about what all regions have alike."""
    return spec.name in EVERYWHERE and not has_keys(spec, arguments)


def _scanned(reply: bytes, following: int) -> bytes:
    try:
        return scanned(reply, following)
    except (Damaged, ValueError):
        return _STRANGE
