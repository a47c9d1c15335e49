"""
What clients want, turn by turn, on its way into the log.

What arrives in one turn of the reactor becomes one entry, or several if it's much. Reads that keep their place behind
their client's writes travel along and aren't logged. While another store leads, all of it goes there.

An entry costs some twenty wake-ups of processes on its way, however much is in it, so few full ones are better than
many small ones. While one is under way what comes waits for it; and when its clients have been answered, the first of
them to speak again waits a moment for the others. Both waits are short and bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import chain
from random import Random
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tinykv.raft.refusals import ChangeRefused, NotLeader, Refused
from tinykv.redis.execution import Execution
from tinykv.redis.operations import INTERNAL, LOCAL, LOOK, NOBODY, READ, WAITING, Operation, encode_records
from tinykv.region.entry import ENTRY_BYTES_MAX, encode_header
from tinykv.storage.rowstore import RowStore
from tinykv.store.apply_queue import ApplyQueue
from tinykv.store.batches import Batch, by_size
from tinykv.store.forwarding import Meant
from tinykv.store.letting_go import LetGo
from tinykv.store.reads import FRESH
from tinykv.store.refusals import TOO_LARGE
from tinykv.store.replica import Replica
from tinykv.store.rounds import Rounds

#: How far region time may lie behind the clock, in ms, when a read looks by it.
LAG_MS = 10
#: For so long, in seconds, operations wait for an entry that is under way, so that they become one entry together.
#: Where it takes longer, on a slow disk or between distant stores, several are under way.
HOLD_SECONDS = 0.005
#: So many operations wait no longer: they're worth an entry of their own. It's what a turn reads at most where they're
#: small, so that long pipelines are parsed and applied while what came before is made durable.
HELD_MOST = 400
#: For so long, in seconds, the first of the clients that were answered together wait for the others to speak again.
GATHER_SECONDS = 0.001


#: What has come to a region, with the slots that it had then.
Came = tuple[tuple[int, int], list[Operation]]


class Elsewhere(Protocol):
    """Where operations go that can't be done here, since another peer leads, or none; nothing of them was done."""

    @property
    def holds(self) -> bool:
        """Whether what comes now has to wait behind operations that were taken."""

    @property
    def changes(self) -> bool:
        """Whether something that is more than a read was taken, and not answered."""

    @property
    def behind(self) -> bool:
        """Whether something was done elsewhere that may not be applied here; known where reads are local."""

    @property
    def polls(self) -> bool:
        """Whether clients wait there of whom the region doesn't know."""

    def wakes(self, operation: Operation) -> bool:
        """Wake such a client, if an operation asks for that; say if it did."""

    def take(self, operations: list[Operation]) -> None:
        """Take operations behind all that were taken before."""

    def take_back(self, operations: list[Operation]) -> None:
        """Take operations that were given up here, before all that are new."""

    def undone(self) -> list[Operation]:
        """Give the operations of which certainly nothing was done."""

    def expect_local_reads(self) -> None:
        """Find out from now on when what was done elsewhere is applied here."""

    def leads(self, here: bool) -> None:
        """Learn whether they can be done here now."""

    def narrowed(self, whole: tuple[int, int], operations: list[Operation]) -> None:
        """
        Learn that the region has fewer keys than before.

        @param whole: The slots that it had.
        @param operations: Some more that were meant for these, behind all that were taken.
        """

    def end(
        self,
        operations: list[Operation],
        heir: Callable[[Operation, tuple[int, int] | None], None],
        drained: Callable[[], None],
    ) -> None:
        """
        Learn that the region has ended: hand on what certainly did nothing, and say when nothing is left.

        @param operations: Some more that were meant for it, behind all that were taken.
        @param heir: Takes each, with the slots for which it was meant; None for those that the region had at last.
        """


class Proposals:
    """
    A region's turns.

    @ivar pending: What waits to be proposed.
    @ivar elsewhere: Where it goes when it can't be proposed here; None where no other store could lead.
    @ivar rounds: In which it takes part with the other regions of its store; None if there are none.
    @ivar busy_since: Since when proposals wait for the data writer, by the clock; None if they don't.
    @ivar refused_since: Since when what is pending is too much for what is undecided already; None if it isn't.
    @ivar entries: How many entries were proposed.
    @ivar closed: Whether nothing more is taken.
    @ivar held: What all of it waits for that was sent to other regions before.
    @ivar deciding: The entry that changes which keys the region has, and isn't applied: until then nothing else is
        proposed, so that all that stands in the log was meant for the region as it's then. 0 if there's none.
    @ivar stopped: Whether the region serves nothing, since it's about to be merged into another.
    """

    def __init__(
        self,
        *,
        queue: ApplyQueue,
        replica: Replica,
        execution: Execution,
        rows: RowStore,
        clock: IReactorTime,
        now_ms: Callable[[], int],
        random: Random,
        answered: Callable[[], None],
        command_bytes_max: int,
        hold_seconds: float = HOLD_SECONDS,
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        self.pending: list[Operation] = []
        self.elsewhere: Elsewhere | None = None
        self.rounds: Rounds | None = None
        self.busy_since: float | None = None
        self.refused_since: float | None = None
        self.entries = 0
        self.closed = False
        self.held: list[LetGo] = []
        self.deciding = 0
        self.stopped = False
        #: What came before all that waits, while all of it waits for what was sent to another region; None if it
        #: doesn't. And whether another region gets that in the end, since this one has ended.
        self._moved: list[Operation] | None = None
        self._passes_on = False
        #: What came here meanwhile before the region had the slots that it has.
        self._before: list[Came] = []
        self._queue = queue
        self._replica = replica
        self._group = replica.group
        self._execution = execution
        self._rows = rows
        self._clock = clock
        self._now_ms = now_ms
        self._random = random
        self._answered = answered
        self._command_bytes_max = command_bytes_max
        self._hold_seconds = hold_seconds
        self._gather_seconds = gather_seconds
        self._turn_due = False
        #: Whether something of what is pending has come from another store.
        self._distant = False
        #: Whether a round begins, so that nothing is waited for; and the last entry that there was when it had.
        self._leaves = False
        self._round_end = 0
        self._proposed_time = 0
        #: The last entry that was proposed, of how many operations, and until when what comes waits for it.
        self._last = 0
        self._last_size = 0
        self._held_until = 0.0
        #: How many operations were answered together, and until when as many are waited for.
        self._expected = 0
        self._gathered_until = 0.0
        self._looking: IDelayedCall | None = None
        #: When that is due, and up to when it has been: a clock may be coarser than what it's asked for.
        self._look_at = self._looked_at = 0.0

    def submit(self, operation: Operation) -> None:
        """Take an operation in for this turn's proposal; nothing more after the end."""
        if self.closed:
            return
        self.pending.append(operation)
        if not self._turn_due:
            self.go_on()

    def submit_distant(self, operation: Operation) -> None:
        """Take an operation in for a client of another store, where it has waited for as long as it may."""
        self._distant = True
        self.submit(operation)

    def hold(self, until: LetGo) -> None:
        """
        Propose nothing until this is over, and whatever else is waited for: clients of this store may have sent
        something before, to the region of which this one was cut off, or to one that was merged into it, of which it
        isn't known whether it was done there.
        """
        self.held.append(until)
        if self._moved is None:
            self._moved = []
            if self.pending:
                # What others wait for may be among it.
                self.go_on()

    @property
    def on_hold(self) -> bool:
        """Whether nothing is proposed until L{held} is over."""
        return self._moved is not None

    def submit_moved(self, operation: Operation) -> None:
        """Take in what another region was given, which certainly did nothing of it."""
        if self._moved is None:
            self.submit(operation)
        else:
            self._moved.append(operation)
            if type(operation[5]) is LetGo:
                self.go_on()

    def narrowed(self, whole: tuple[int, int]) -> list[Operation]:
        """
        Learn that the region has fewer keys than before, and give up what waits to be proposed, in its order.

        On hold that is only what was moved here. It goes to the same places as what may yet come from where it came
        from, so it has to be there first; and what came here itself has to be there last, so it stays until L{let_go}.

        @param whole: The slots that it had.
        """
        waiting, self.pending = self.pending, []
        if self._moved is not None:
            self._before.append((whole, waiting))
            waiting, self._moved = self._moved, []
        return waiting

    def let_go(self, until: LetGo, slots: tuple[int, int]) -> list[Meant]:
        """
        Propose again, if nothing else is waited for: first what was moved here, in its order.

        @param slots: Those that the region has.
        @return: All that waited, in its order, if the region was narrowed meanwhile, or has ended: some of it doesn't
            belong here.
        """
        self.held.remove(until)
        if self.held:
            return []
        moved, self._moved = self._moved or [], None
        before, self._before = self._before, []
        if self.closed and not self._passes_on:
            return []
        if before or self._passes_on:
            pending, self.pending = self.pending, []
            return [(slots, moved), *before, (slots, pending)]
        self.pending[:0] = moved
        if self.pending:
            self.go_on()
        return []

    def end(self) -> tuple[list[Operation], list[LetGo]]:
        """
        Take nothing more: another region takes over. On hold what came here itself stays until L{let_go}.

        @return: What is to be done there now, and what others wait for that comes behind all that is under way.
        """
        ends = [operation[5] for operation in self._take_ends()]
        if self._moved is None:
            waiting, self.pending = self.pending, []
        else:
            self._passes_on = True
            waiting, self._moved = self._moved, []
        self.close()
        return waiting, ends

    def submit_before(self, operations: list[Operation]) -> None:
        """Take operations in that came before all those which wait to be proposed."""
        if operations and not self.closed:
            self.pending[:0] = operations
            self.go_on()

    def give_back(self, operations: list[Operation]) -> None:
        """Let operations, of which nothing was done, be done elsewhere; nobody waits for what was given up."""
        operations = [
            operation
            for operation in operations
            if operation[1] is not NOBODY or operation[0] in (INTERNAL, LOCAL)
        ]
        if not operations:
            return
        if self.elsewhere is not None:
            self.elsewhere.take_back(operations)
        else:
            self.pending[:0] = operations
            self.go_on()

    def undone(self) -> list[Operation]:
        """Give the operations that wait to be proposed: certainly nothing of them was done."""
        undone = [] if self.elsewhere is None else self.elsewhere.undone()
        before = [operation for _, operations in self._before for operation in operations]
        return [*undone, *(self._moved or ()), *before, *self.pending]

    def go_on(self) -> None:
        """Propose what came while there was no leader, or too much on its way."""
        if not self._turn_due:
            self._turn_due = True
            rounds = self.rounds
            if rounds is None:
                self._clock.callLater(0, self._end_turn)
            else:
                rounds.come(self)

    # Rounds of all regions

    def end_turn(self) -> bool:
        """Let go what mustn't wait of what has come in this turn; say if the rest waits for a round of all regions."""
        self._turn_due = False
        if self._waits_for_others():
            return True
        self._end_turn()
        return False

    def _waits_for_others(self) -> bool:
        """Say if what is pending had better wait for what clients want of other regions; reads that needn't go."""
        pending = self.pending
        if self._distant or self.closed or self._moved is not None:
            return False
        if not any(operation[0] < READ for operation in pending):
            return False
        if any([operation[6] is FRESH for operation in pending]):
            # Nothing that their clients sent before is under way.
            elsewhere = self.elsewhere
            if self._queue.ready or elsewhere is None:
                return False
            self.pending = [operation for operation in pending if operation[6] is not FRESH]
            elsewhere.take([operation for operation in pending if operation[6] is FRESH])
        return True

    def leave(self) -> None:
        """Let go what waits: its round begins."""
        self._leaves = True
        # What is applied on the way came before it.
        self._round_end = self._group.last + 1
        self._end_turn()
        self._leaves = False
        self._round_end = self._group.last

    def landed(self) -> None:
        """Learn that what was done here or elsewhere was answered: it may be all that its round had of this region."""
        rounds = self.rounds
        if rounds is None or (self._queue.batches and self._queue.applied < self._round_end):
            return
        # Reads come in no rounds, and where there are many some are always under way.
        if self.elsewhere is None or not self.elsewhere.changes:
            rounds.answered(self)

    def applied(self) -> None:
        """Learn that something was applied, and its clients answered: what has waited for it may go."""
        self.landed()
        if self._last_size and self._queue.applied >= self._last:
            self._expected, self._last_size = self._last_size, 0
            self._gathered_until = self._clock.seconds() + self._gather_seconds
            if self.pending:
                self.go_on()

    def close(self) -> None:
        """Take nothing more."""
        self.closed = True
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _waits(self) -> bool:
        """Say if what is pending had better wait for more; if so it's looked at again."""
        pending = self.pending
        if self._last_size and self._queue.batches:
            until = self._held_until
            count = HELD_MOST
        else:
            until = self._gathered_until
            count = self._expected
        if len(pending) >= count or all(operation[0] >= READ for operation in pending):
            return False
        now = self._clock.seconds()
        if now >= until or self._looked_at >= until:
            return False
        if self._looking is None:
            self._look_at = until
            self._looking = self._clock.callLater(until - now, self._look_again)
        elif self._look_at > until:
            self._look_at = until
            self._looking.reset(until - now)
        return True

    def _look_again(self) -> None:
        self._looking = None
        self._looked_at = self._look_at
        if self.pending:
            self.go_on()

    def _end_turn(self) -> None:
        """Make this turn's operations an entry, or several if they are large."""
        self._turn_due = False
        queue = self._queue
        if queue.failed:
            return
        if self._moved is not None:
            self._let_others_go()
            return
        if self._rows.full:
            # They wait here, and their clients with them; the flush that ends it calls again.
            if self.busy_since is None:
                self.busy_since = self._clock.seconds()
            return
        self.busy_since = None
        elsewhere = self.elsewhere
        if not queue.ready or (elsewhere is not None and elsewhere.holds):
            self.refused_since = None
            # Where no one else could lead, it's so soon after the start that this one doesn't yet. And what is there
            # since this one didn't lead goes before what came later (R1).
            if elsewhere is not None and self.pending:
                operations, self.pending = self.pending, []
                self._distant = False
                elsewhere.take(operations)
            return
        if not self.pending:
            return
        if self.deciding or self.stopped:
            if self.refused_since is None:
                self.refused_since = self._clock.seconds()
            return
        if not self._leaves and self._waits():
            return
        operations = self.pending
        if elsewhere is not None and elsewhere.polls:
            operations = [operation for operation in operations if not elsewhere.wakes(operation)]
        self.pending = []
        self._distant = False
        self._expected = 0
        queue.keep_cache()
        parts = deque(by_size(operations))
        try:
            while parts:
                self._propose(parts[0])
                parts.popleft()
        except Refused:
            # Too much is on its way; what could not go waits until some of it is durable.
            self.pending[:0] = chain(*parts)
            if self.refused_since is None:
                self.refused_since = self._clock.seconds()
        else:
            self.refused_since = None
        self._replica.go_on()
        queue.go_on()

    def _let_others_go(self) -> None:
        """
        While nothing is proposed, go on with what other regions wait for, which may be this one by now. What was to
        happen before it does by then, but for what waits here: that isn't done elsewhere any more, where it could be
        overtaken.
        """
        found = self._take_ends()
        if not found:
            return
        queue, elsewhere = self._queue, self.elsewhere
        if elsewhere is not None and (elsewhere.holds or not queue.ready):
            elsewhere.take(found)
        else:
            queue.take(Batch(self._group.last, False, found, 0, 0, self._group.term, self._clock.seconds()))
            queue.go_on()

    def _take_ends(self) -> list[Operation]:
        """Take out of what waits the ends of what other regions wait for."""
        waiting = [self._moved or [], *(some for _, some in self._before), self.pending]
        found = [operation for operation in chain(*waiting) if type(operation[5]) is LetGo]
        if found:
            for some in waiting:
                some[:] = [operation for operation in some if type(operation[5]) is not LetGo]
        return found

    def decide(self, arguments: list[bytes], *, ends_stop: bool = False) -> int:
        """
        Have something decided that changes which keys the region has, in an entry of its own; give its index.

        @param ends_stop: Whether it's for a region that is about to be merged, and for no other one.
        @raise Refused: This peer doesn't lead, or too much is on its way, or another such entry is.
        """
        queue = self._queue
        if not queue.ready:
            raise NotLeader(self._group.leader_id)
        if self.deciding:
            raise ChangeRefused("the change of the region before isn't applied")
        if self.stopped != ends_stop:
            raise ChangeRefused(f"the region is {'' if self.stopped else 'not '}about to be merged")
        last = max(self._execution.time, self._proposed_time)
        time = max(self._now_ms(), last)
        record = encode_records([(INTERNAL, NOBODY, 0, 0, None, arguments, None)], self._execution.start_id)
        (index,) = self._group.propose([b"".join([encode_header(time, self._random.getrandbits(64)), *record])])
        self._group.no_change_before(index)
        self._proposed_time = time
        self.deciding = index
        self._replica.awaited = index
        self._replica.no_lease_before(index)
        self._replica.go_on()
        queue.go_on()
        return index

    def decided(self) -> None:
        """Learn that it was applied, or that another store leads, which sees to it."""
        if self.deciding:
            self.deciding = 0
            self.go_on()

    def _propose(self, operations: list[Operation]) -> None:
        execution = self._execution
        group = self._group
        pieces = encode_records(operations, execution.start_id)
        last = max(execution.time, self._proposed_time)
        time = max(self._now_ms(), last)
        if not pieces and (time - last <= LAG_MS or all(operation[0] in (LOCAL, LOOK) for operation in operations)):
            # Reads that wait for their client's writes; they're run behind the entries before them.
            self._queue.take(Batch(group.last, False, operations, 0, 0, group.term, self._clock.seconds()))
            return
        # Without records it only moves region time, which the reads look by.
        seed = self._random.getrandbits(64)
        data = b"".join([encode_header(time, seed), *pieces])
        size = len(data)
        if size > ENTRY_BYTES_MAX and operations[-1][0] == WAITING:
            # If it has to wait, the row that says so names its keys twice.
            size *= 2
        if size > self._command_bytes_max:
            self._refuse(operations)
            return
        self._proposed_time = time
        (index,) = group.propose([data])
        if self._is_awaited(operations):
            self._replica.awaited = index
        now = self._clock.seconds()
        self._queue.take(Batch(index, True, operations, time, seed, group.term, now))
        self.entries += 1
        self._last = index
        self._last_size += len(operations)
        self._held_until = now + self._hold_seconds

    def _is_awaited(self, operations: list[Operation]) -> bool:
        """Say if an entry may serve a client that is blocked at another store, or is about to be."""
        return (
            self._replica.awaited > self._queue.applied
            or bool(self._execution.waiters.by_origin)
            or any([operation[0] == WAITING for operation in operations])
        )

    def _refuse(self, operations: list[Operation]) -> None:
        """Refuse a command that the log can't hold; it stands alone, but for reads."""
        for kind, client, number, *_ in operations:
            if kind < READ:
                client.answer(number, TOO_LARGE)
        reads = [operation for operation in operations if operation[0] >= READ]
        if reads:
            self._propose(reads)
        self._answered()
