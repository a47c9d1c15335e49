"""
Is there an order that explains what clients saw?

A history is linearizable (Herlihy and Wing, 1990) if its operations can be put into one order that a single copy of
the data, doing one operation after another, could have gone through with the same replies, and in which no operation
comes before one that had returned when it was called. An operation whose outcome is unknown may stand anywhere after
its call, or be left out.

The search is Wing and Gong's, with Lowe's memory of configurations ("Testing for linearizability", 2017): depth first,
take any operation that may come next, go back when none fits; and never look twice at the same (operations taken,
state), whatever order led there. It's iterative, so that long histories don't exhaust the stack, and it counts its
steps: a search that doesn't end within its bound says L{Verdict.UNDECIDED}, which is no success.

What keeps it tractable:

- A history falls apart into parts that share no keys, and is linearizable exactly if each of them is (locality).
- An operation of unknown outcome is tried after all others, and only where it changes the state: where it doesn't,
  leaving it out comes to the same.
- It's placed only where it matters. If a known operation shares no keys with those of unknown outcome right before it,
  not even by way of one another, they may as well come right after it. So an order is made of known operations, each
  with a block of unknown ones before it that are connected with it by keys: for a block the known operation is chosen
  first. Without this, each unknown write to one key would double the work for all others.
- Of what may come next, only those operations are tried that are connected by keys with the one that has to return
  first. It has to come before all that was called after its return; so until it comes nothing joins the others, and
  whatever isn't connected with them may as well come later (Godefroid's persistent sets).
- A dead end is remembered with the keys of all operations that were tried on the way to it. If the last operation
  taken has none of these keys, no other choice in its place can help, and the search goes back further at once
  (conflict-directed backjumping): an element popped too often isn't explained by another order of some counter.
- States are numbered as they are met, and what an operation does in a state is asked once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol

from tinykv.testing.history import Operation

#: Steps after which a search of one part gives up: some seconds.
STEPS_MAX: Final = 1_000_000


class Model(Protocol):
    """
    What a single copy of the data would do.

    A state is hashable. An expected output is a value to be compared, or a predicate of the output.
    """

    def initial(self) -> Hashable:
        """Give the state before the first operation."""
        ...

    def step(self, state: Any, operation: Operation) -> Iterable[tuple[Any, Hashable]]:
        """Give all that an operation may do in a state: (expected output, next state)."""
        ...

    def keys(self, operation: Operation) -> Iterable[Hashable]:
        """Give all keys that an operation's effect or output may depend on."""
        ...

    def reads(self, operation: Operation) -> bool:
        """Say whether an operation changes nothing, whatever the state."""
        ...

    def describe(self, operation: Operation) -> str:
        """Word an operation's input."""
        ...

    def describe_output(self, output: Any) -> str:
        """Word an output, or an expected output."""
        ...

    def describe_state(self, state: Any) -> str:
        """Word a state."""
        ...


class Verdict(Enum):
    """What a check found."""

    LINEARIZABLE = "linearizable"
    VIOLATED = "not linearizable"
    UNDECIDED = "undecided: the search was too long"


@dataclass(frozen=True)
class Outcome:
    """
    The end of a check.

    @ivar steps: How many configurations were looked at.
    @ivar part: The operations that can't be explained, or couldn't be within the bound; empty on success.
    @ivar order: The longest order found for them, and C{state} its end; for messages.
    """

    verdict: Verdict
    steps: int
    part: tuple[Operation, ...] = ()
    order: tuple[Operation, ...] = ()
    state: Hashable = None


def check(operations: Iterable[Operation], model: Model, *, steps_max: int = STEPS_MAX) -> Outcome:
    """
    Check a history.

    @param steps_max: The bound of the search in each part.
    @return: C{VIOLATED} if a part is, whatever the others are; else C{UNDECIDED} if one is.
    """
    steps = 0
    undecided: Outcome | None = None
    for part in parts(operations, model):
        outcome = check_part(part, model, steps_max=steps_max)
        steps += outcome.steps
        if outcome.verdict is Verdict.VIOLATED:
            return outcome
        if outcome.verdict is Verdict.UNDECIDED and undecided is None:
            undecided = outcome
    return undecided if undecided is not None else Outcome(Verdict.LINEARIZABLE, steps)


def check_part(operations: Iterable[Operation], model: Model, *, steps_max: int = STEPS_MAX) -> Outcome:
    """Check a history as a whole."""
    return _Search(list(operations), model, steps_max).run()


def accepts(expected: Any, output: Any) -> bool:
    """Say whether an output is as expected."""
    return bool(expected(output)) if callable(expected) else bool(expected == output)


def parts(operations: Iterable[Operation], model: Model) -> list[list[Operation]]:
    """
    Cut a history into parts that have no keys in common: the connected components of the keys that operations touch
    together. Operations without keys are one part.
    """
    operations = list(operations)
    parent: dict[Hashable, Hashable] = {}

    def root(key: Hashable) -> Hashable:
        while (above := parent.setdefault(key, key)) != key:
            parent[key] = parent[above]
            key = above
        return key

    firsts: list[Hashable] = []
    for operation in operations:
        keys = [root(key) for key in model.keys(operation)] or [root(None)]
        for key in keys[1:]:
            parent[root(key)] = root(keys[0])
        firsts.append(keys[0])
    found: dict[Hashable, list[Operation]] = {}
    for operation, key in zip(operations, firsts, strict=True):
        found.setdefault(root(key), []).append(operation)
    return list(found.values())


class _Entry:
    """
    A call or a return in the list of what is left to be explained.

    @ivar place: In the order of all calls and returns.
    @ivar bit: Names the operation in sets of operations.
    @ivar keys: The operation's keys, a bit each.
    @ivar back: The return of this call; None in returns.
    """

    __slots__ = ("back", "bit", "keys", "next", "operation", "place", "previous")

    def __init__(self, operation: Operation, place: int, bit: int, keys: int) -> None:
        self.operation = operation
        self.place = place
        self.bit = bit
        self.keys = keys
        self.back: _Entry | None = None
        self.next: _Entry = self
        self.previous: _Entry = self

    def put_before(self, other: _Entry) -> None:
        self.next = other
        self.previous = other.previous
        other.previous.next = self
        other.previous = self

    def lift(self) -> None:
        self.previous.next = self.next
        self.next.previous = self.previous

    def unlift(self) -> None:
        self.previous.next = self
        self.next.previous = self


#: (operations taken, number of the state, the known operation of the block that was begun or None).
_Configuration = tuple[int, int, "_Entry | None"]


class _Frame:
    """
    A configuration on the path that was taken, and what is left to be tried behind it.

    @ivar keys: Those of all operations tried so far, here and further on: if this is a dead end, it's because of them.
    """

    __slots__ = ("choices", "configuration", "keys")

    def __init__(
        self, configuration: _Configuration, keys: int, choices: Iterator[tuple[_Entry, _Configuration]]
    ) -> None:
        self.configuration = configuration
        self.keys = keys
        self.choices = choices

    def fails(self, entry: _Entry, behind: _Configuration, keys: int) -> None:
        """
        Learn that taking an operation leads to a dead end because of some keys.

        If they aren't the operation's, this is a dead end for the same reason. But a block that can't be completed
        says nothing of what may come next instead of it.
        """
        if not entry.keys & keys and (behind[2] is None or self.configuration[2] is not None):
            self.keys = keys
            self.choices = iter(())
        else:
            self.keys |= keys


class _Search:
    """
    One search.
    """

    def __init__(self, operations: list[Operation], model: Model, steps_max: int) -> None:
        self._operations = operations
        self._model = model
        self._steps_max = steps_max
        #: Circular, through this head; holds the calls and returns of the known operations that aren't taken.
        self._head = _Entry(Operation(-1, -1, 0, None, None), -1, 0, 0)
        #: Those of unknown outcome, by their calls.
        self._unknown: list[_Entry] = []
        self._left = 0
        self._numbers: dict[Hashable, int] = {}
        self._states: list[Hashable] = []
        #: (operation's bit, state) -> next states.
        self._known_steps: dict[tuple[int, int], list[int]] = {}
        self._build()

    def _build(self) -> None:
        events: list[tuple[int, int, int]] = []
        key_bits: dict[Hashable, int] = {}
        masks: list[int] = []
        for index, operation in enumerate(self._operations):
            # At the same time calls come before returns: such operations overlap.
            events.append((operation.called, 0, index))
            if operation.returned is not None:
                events.append((operation.returned, 1, index))
                self._left += 1
            mask = 0
            for key in list(self._model.keys(operation)) or [None]:
                mask |= key_bits.setdefault(key, 1 << len(key_bits))
            masks.append(mask)
        events.sort()
        calls: dict[int, _Entry] = {}
        for place, (_, returns, index) in enumerate(events):
            entry = _Entry(self._operations[index], place, 1 << index, masks[index])
            if returns:
                calls[index].back = entry
            elif not entry.operation.known:
                if not self._model.reads(entry.operation):
                    self._unknown.append(entry)
                continue
            else:
                calls[index] = entry
            entry.put_before(self._head)

    def _number(self, state: Hashable) -> int:
        number = self._numbers.get(state)
        if number is None:
            number = self._numbers[state] = len(self._states)
            self._states.append(state)
        return number

    def _next_states(self, entry: _Entry, state: int) -> list[int]:
        key = (entry.bit, state)
        found = self._known_steps.get(key)
        if found is None:
            operation = entry.operation
            outcomes = self._model.step(self._states[state], operation)
            if operation.known:
                fitting = [after for expected, after in outcomes if accepts(expected, operation.output)]
            else:
                fitting = [after for _, after in outcomes]
            found = list(dict.fromkeys(map(self._number, fitting)))
            if not operation.known and state in found:
                found.remove(state)
            self._known_steps[key] = found
        return found

    def _look(self, configuration: _Configuration) -> _Frame:
        """Find what may come next: an operation, the state behind it, and the block that it's in."""
        taken, _, block = configuration
        # Operations called before the first return that isn't explained.
        candidates: list[_Entry] = []
        entry = self._head.next
        while entry.back is not None:
            candidates.append(entry)
            entry = entry.next
        unknown = [other for other in self._unknown if other.place < entry.place and not taken & other.bit]
        if block is None:
            first = next(candidate for candidate in candidates if candidate.back is entry)
            keys = _connected(first, [*candidates, *unknown])
            targets = [candidate for candidate in candidates if candidate.keys & keys]
        else:
            keys = _connected(block, unknown)
            targets = [block]
        return _Frame(configuration, keys, self._choices(configuration, targets, unknown))

    def _choices(
        self, configuration: _Configuration, targets: list[_Entry], unknown: list[_Entry]
    ) -> Iterator[tuple[_Entry, _Configuration]]:
        taken, state, _ = configuration
        for target in targets:
            for after in self._next_states(target, state):
                yield target, (taken | target.bit, after, None)
        if unknown:
            # What has to be explained first is most likely what can't be without them.
            targets.sort(key=_return_place)
            for target in targets:
                keys = _connected(target, unknown)
                for other in unknown:
                    if other.keys & keys:
                        for after in self._next_states(other, state):
                            yield other, (taken | other.bit, after, target)

    def run(self) -> Outcome:
        """Search."""
        start: _Configuration = (0, self._number(self._model.initial()), None)
        steps = 0
        #: Dead ends with their keys, and the configurations on the path that was taken.
        seen: dict[_Configuration, int] = {start: 0}
        path: list[_Entry] = []
        best: list[_Entry] = []
        best_left, best_state = self._left + 1, start[1]
        if not self._left:
            return Outcome(Verdict.LINEARIZABLE, steps)
        frames = [self._look(start)]
        while True:
            frame = frames[-1]
            if self._left < best_left:
                best_left, best, best_state = self._left, list(path), frame.configuration[1]
            for entry, found in frame.choices:
                steps += 1
                if found in seen:
                    frame.fails(entry, found, seen[found])
                    continue
                seen[found] = 0
                path.append(entry)
                if entry.back is not None:
                    entry.lift()
                    entry.back.lift()
                    self._left -= 1
                    if not self._left:
                        return Outcome(Verdict.LINEARIZABLE, steps)
                frames.append(self._look(found))
                break
            else:
                frames.pop()
                seen[frame.configuration] = frame.keys
                if not frames:
                    return self._failed(Verdict.VIOLATED, steps, best, best_state)
                entry = path.pop()
                if entry.back is not None:
                    entry.back.unlift()
                    entry.unlift()
                    self._left += 1
                frames[-1].fails(entry, frame.configuration, frame.keys)
            if steps > self._steps_max:
                return self._failed(Verdict.UNDECIDED, steps, best, best_state)

    def _failed(self, verdict: Verdict, steps: int, best: list[_Entry], state: int) -> Outcome:
        order = tuple(entry.operation for entry in best)
        return Outcome(verdict, steps, tuple(self._operations), order, self._states[state])


def _connected(entry: _Entry, others: list[_Entry]) -> int:
    """Give the keys that an operation is connected with by way of some others, its own included."""
    keys, before = entry.keys, -1
    while before != keys:
        before = keys
        for other in others:
            if other.keys & keys:
                keys |= other.keys
    return keys


def _return_place(entry: _Entry) -> int:
    assert entry.back is not None, "only calls return"
    return entry.back.place
