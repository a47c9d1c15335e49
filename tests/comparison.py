"""
The same sequence of commands for our store and for a real redis-server, reply by reply, and what differs.

Replies are compared as bytes. What Redis leaves open is brought into one form first: the order of sets, hashes and
scans, what is picked at random, and some milliseconds of clocks. When a sequence is through, all that both sides hold
is compared too. L{compare_sequences} lets Hypothesis make the sequences.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.sequences import (
    ALL_KEYS,
    BLOCKING,
    DISTURB,
    LENGTH,
    MAIN,
    OTHER,
    RANDOM_PICKS,
    SCANS,
    TRANSFER,
    WAITER,
    CommandSequence,
    Step,
    sequences,
)
from tests.sides import Side

#: Commands whose replies have no order, and of how many elements an entry consists in RESP2.
_UNORDERED = {
    b"HGETALL": 2, b"HKEYS": 1, b"HVALS": 1, b"SMEMBERS": 1, b"SINTER": 1, b"SUNION": 1, b"SDIFF": 1, b"KEYS": 1,
}  # fmt: skip
#: Clocks: seconds or milliseconds.
_CLOCKS = {b"TTL": 3, b"PTTL": 3000, b"EXPIRETIME": 3, b"PEXPIRETIME": 3000}
#: Only the kind of the reply says something.
_KIND_ONLY = frozenset({b"HELLO", b"DUMP", b"RANDOMKEY"})
_STRING_ENCODINGS = {b"int", b"embstr", b"raw"}
_NIL = (b"*-1\r\n", b"_\r\n")
_BY_LEX = frozenset({b"ZLEXCOUNT", b"ZRANGEBYLEX", b"ZREVRANGEBYLEX", b"ZREMRANGEBYLEX"})
#: Not a difference, but the end of what can be compared.
_OVER = "over"
_NOT_NUMBERS = b"-ERR One or more scores can't be converted into double\r\n"
_QUEUED = b"+QUEUED\r\n"
#: Hypothesis begins with a sequence of no steps and one of few, and after ten longer ones it mostly varies those it has
#: made: that many give ten that have nothing to do with each other.
_EXAMPLES_OF_A_SEED = 12


class Differs(Exception):
    """The two servers differ, or ours failed; the text has the sequence and what happened."""


class Comparison:
    """
    Runs sequences on both sides.

    @ivar sequences: How many it ran so far; those of less than half the usual length don't count.
    @ivar commands: How many these had.
    """

    def __init__(self, ours: Side, theirs: Side) -> None:
        self.ours = ours
        self.theirs = theirs
        self.sequences = 0
        self.commands = 0

    def check(self, sequence: CommandSequence) -> None:
        """
        Run a sequence.

        @raise Differs: If the sides differ, or if a command of ours failed unexpectedly.
        """
        found = self.difference(sequence)
        if found is None and self.ours.defects:
            name, defect = self.ours.defects[0]
            found = f"{name} failed with {defect!r}"
        if found is not None:
            raise Differs(f"{sequence}\n{found}")
        if len(sequence.steps) >= LENGTH // 2:
            self.sequences += 1
            self.commands += sum(step.who != DISTURB for step in sequence.steps)

    def difference(self, sequence: CommandSequence) -> str | None:
        """Run a sequence; describe the first difference, or give None."""
        ours, theirs = self.ours, self.theirs
        ours.begin(sequence.proto, sequence.budget)
        theirs.begin(sequence.proto, sequence.budget)
        self._proto = sequence.proto
        self._queue: list[tuple[bytes, ...]] | None = None
        self._encodings_open = False
        self._db = b"0"
        self._absent: list[tuple[bytes, bytes]] = []
        self._sides = (ours, theirs)
        waiting: Step | None = None
        found: str | None = None
        for place, step in enumerate(sequence.steps):
            if step.who == DISTURB:
                ours.disturb(step.arguments[0])
                continue
            if step.who == WAITER or (step.arguments[0].upper() in BLOCKING and self._queue is None):
                if waiting is not None:
                    found = self._end_wait(waiting)
                    if found is not None:
                        return found
                waiting = step
                ours.wait(step.arguments)
                theirs.wait(step.arguments)
                continue
            found = self._compare(step)
            if found == _OVER:
                # From here on they may hold different data.
                return None if waiting is None else self._end_wait(waiting) and None
            if found is not None:
                found = f"step {place}, {step}: {found}"
                break
        if waiting is not None:
            # The waiting ends in any case, so that the next sequence can begin.
            unequal = self._end_wait(waiting)
            found = found if found is not None else unequal
        return found if found is not None else self._compare_content()

    def _end_wait(self, step: Step) -> str | None:
        mine, theirs = self.ours.waited(), self.theirs.waited()
        return None if mine == theirs else f"{step} answered {_short(mine)} instead of {_short(theirs)}"

    def _exists(self, db: bytes, key: bytes) -> bool:
        self.theirs.send(OTHER, (b"SELECT", db))
        reply = self.theirs.send(OTHER, (b"EXISTS", key))
        self.theirs.send(OTHER, (b"SELECT", b"0"))
        return reply == b":1\r\n"

    def _blinked(self) -> bool:
        """Say if a watched key was absent and is so again: Redis remembers that it existed in between."""
        return any(not self._exists(db, key) for db, key in self._absent)

    def _mixed(self, key: bytes) -> bool:
        """Say if a sorted set has several scores, so that a lexicographical range of it is anything."""
        self.theirs.send(OTHER, (b"SELECT", self._db))
        reply = self.theirs.send(OTHER, (b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"))
        self.theirs.send(OTHER, (b"SELECT", b"0"))
        if reply[:1] != b"*":
            return False
        elements = _elements(reply)
        scores = [_elements(pair)[1] for pair in elements] if elements and elements[0][:1] == b"*" else elements[1::2]
        return len(set(scores)) > 1

    def _is_open(self, name: bytes, arguments: tuple[bytes, ...], queued: bool) -> bool:
        """Say if what a command does isn't specified."""
        if name in _BY_LEX or any(argument.upper() == b"BYLEX" for argument in arguments):
            return queued or self._mixed(arguments[2 if name == b"ZRANGESTORE" and len(arguments) > 2 else 1])
        return False

    def _both(self, who: str, *arguments: bytes) -> tuple[bytes, bytes]:
        return self.ours.send(who, arguments), self.theirs.send(who, arguments)

    def _compare(self, step: Step) -> str | None:
        who, arguments = step.who, step.arguments
        name = arguments[0].upper()
        if name == TRANSFER:
            return self._transfer(arguments)
        # A SORT makes Redis give a small sorted set its large form.
        self._encodings_open = self._encodings_open or name in (b"SORT", b"SORT_RO")
        queued = self._queue is not None and who == MAIN
        if len(arguments) > 1 and self._is_open(name, arguments, queued):
            return None
        if not queued and name in RANDOM_PICKS and name != b"RANDOMKEY":
            return self._compare_picks(who, name, arguments)
        if self._encodings_open and name == b"OBJECT" and not queued:
            return None
        mine, theirs = self._both(who, *arguments)
        if not queued and name in SCANS:
            if mine[:1] == theirs[:1] == b"*" and arguments[1 if name == b"SCAN" else 2] != b"0":
                # What a cursor means that was never given is open.
                return None
            mine, theirs = self._walk(self.ours, who, arguments, mine), self._walk(self.theirs, who, arguments, theirs)
        if who == MAIN:
            if name == b"HELLO" and mine[:1] in b"*%" and len(arguments) > 1 and not queued:
                self._proto = int(arguments[1])
            if name == b"SELECT" and mine == b"+OK\r\n":
                self._db = arguments[1]
            if name == b"WATCH" and mine == b"+OK\r\n":
                self._absent += [(self._db, key) for key in arguments[1:] if not self._exists(self._db, key)]
            if name == b"MULTI" and mine == b"+OK\r\n":
                self._queue = []
            elif self._queue is not None and mine == theirs == _QUEUED:
                self._queue.append(arguments)
            elif name == b"RESET":
                self._queue = None
                self._proto = 2
                self._db = b"0"
            elif self._queue is not None and (
                mine.startswith(b"-EXECABORT") or (name in (b"EXEC", b"DISCARD") and len(arguments) == 1)
            ):
                commands, self._queue = self._queue, None
                if mine == theirs:
                    return None
                if theirs in _NIL and mine.startswith(b"*%d\r\n" % len(commands)) and self._blinked():
                    return _OVER
                return self._compare_exec(commands, mine, theirs)
        if mine == theirs:
            return None
        if name == b"DBSIZE" and mine < theirs:
            # Redis counts what has expired until somebody looks at it.
            self.theirs.send(who, (b"EXISTS", *ALL_KEYS))
            theirs = self.theirs.send(who, arguments)
        if name in (b"SORT", b"SORT_RO") and theirs == _NOT_NUMBERS:
            # Redis takes an error number that an earlier command left behind for one of its own.
            return _OVER
        return self._differ(name, arguments, mine, theirs)

    def _differ(self, name: bytes, arguments: tuple[bytes, ...], mine: bytes, theirs: bytes) -> str | None:
        """Say how two replies differ; None if they don't, or if they may."""
        if mine == theirs:
            return None
        if self._encodings_open:
            # Only the large form of a sorted set knows a zero below zero, and scans show numbers otherwise.
            if name == b"ZSCAN" and mine[:1] == theirs[:1]:
                return None
            mine, theirs = (text.replace(b"$2\r\n-0\r\n", b"$1\r\n0\r\n") for text in (mine, theirs))
            mine, theirs = (text.replace(b",-0\r\n", b",0\r\n") for text in (mine, theirs))
        return None if mine == theirs else _unequal(name, arguments, mine, theirs)

    def _compare_exec(self, commands: list[tuple[bytes, ...]], mine: bytes, theirs: bytes) -> str | None:
        if mine[:1] != b"*" or mine.partition(b"\r\n")[0] != theirs.partition(b"\r\n")[0]:
            return f"{_short(mine)} instead of {_short(theirs)}"
        if theirs.count(_NOT_NUMBERS) != mine.count(_NOT_NUMBERS):
            return _OVER
        pairs = zip(commands, _elements(mine), _elements(theirs), strict=True)
        for place, (arguments, one, other) in enumerate(pairs):
            found = self._differ(arguments[0].upper(), arguments, one, other)
            if found is not None:
                return f"its command {place}, {Step(MAIN, arguments)}: {found}"
        return None

    def _walk(self, side: Side, who: str, arguments: tuple[bytes, ...], first: bytes) -> bytes:
        """Scan to the end; give all that came as one reply without order."""
        seen: set[bytes] = set()
        reply = first
        place = 1 if arguments[0].upper() == b"SCAN" else 2
        width = 2 if arguments[0].upper() in (b"HSCAN", b"ZSCAN") else 1
        while True:
            if reply[:1] != b"*":
                return reply
            cursor, batch = _elements(reply)
            elements = _elements(batch)
            seen.update(b"".join(elements[at : at + width]) for at in range(0, len(elements), width))
            text = cursor.split(b"\r\n")[1]
            if text == b"0":
                return b"".join(sorted(seen))
            reply = side.send(who, (*arguments[:place], text, *arguments[place + 1 :]))

    def _compare_picks(self, who: str, name: bytes, arguments: tuple[bytes, ...]) -> str | None:
        """Compare the form of what was picked; what is popped on our side is taken out on the other."""
        mine = self.ours.send(who, arguments)
        if name != b"SPOP":
            theirs = self.theirs.send(who, arguments)
            return self._compare_samples(who, name, arguments, mine, theirs)
        if mine[:1] == b"$" and mine != b"$-1\r\n":
            picked = [mine]
        else:
            picked = _elements(mine) if mine[:1] in b"*~" and mine != b"*-1\r\n" else []
        if not picked:
            theirs = self.theirs.send(who, arguments)
            return None if mine == theirs else f"{_short(mine)} instead of {_short(theirs)}"
        self._encodings_open = True
        likely = self.theirs.send(who, (b"SRANDMEMBER", *arguments[1:]))
        count = len(_elements(likely)) if likely[:1] in b"*~" else 1
        kind = b"$" if len(arguments) == 2 else b"~" if self._proto == 3 and who == MAIN else mine[:1]
        if count != len(picked) or mine[:1] != kind:
            return f"{_short(mine)} where SRANDMEMBER gives {_short(likely)}"
        removed = self.theirs.send(who, (b"SREM", arguments[1], *[_payload(one) for one in picked]))
        if removed != b":%d\r\n" % len(picked):
            return f"{_short(mine)}, of which only {_short(removed)} were members"
        return None

    def _compare_samples(
        self, who: str, name: bytes, arguments: tuple[bytes, ...], mine: bytes, theirs: bytes
    ) -> str | None:
        wrong = f"{_short(mine)} instead of something like {_short(theirs)}"
        if mine[:1] != theirs[:1]:
            return wrong
        if mine[:1] in b"-:_" or mine[:2] == b"$-":
            return None if mine == theirs else wrong
        if mine[:1] == b"$":
            elements = [mine]
        else:
            elements, others = _elements(mine), _elements(theirs)
            if len(elements) != len(others):
                return wrong
            if elements and elements[0][:1] == b"*":
                elements = [_elements(pair)[0] for pair in elements]
            elif len(arguments) == 4:
                elements = elements[::2]
            if not arguments[2].startswith(b"-") and len(set(elements)) != len(elements):
                return f"{_short(mine)} holds something twice"
        check = {b"HRANDFIELD": b"HEXISTS", b"SRANDMEMBER": b"SISMEMBER", b"ZRANDMEMBER": b"ZSCORE"}[name]
        for element in set(elements):
            if self.theirs.send(who, (check, arguments[1], _payload(element))) in (b":0\r\n", b"$-1\r\n", b"_\r\n"):
                return f"{_short(mine)}, and {element!r} isn't there"
        return None

    def _transfer(self, arguments: tuple[bytes, ...]) -> str | None:
        """DUMP on each side, and RESTORE it on the other."""
        _, source, target, *ttl = (*arguments, b"", b"")[:4]
        mine, theirs = self._both(OTHER, b"DUMP", source)
        if mine[:2] == b"$-" or theirs[:2] == b"$-" or mine == b"_\r\n" or theirs == b"_\r\n":
            return None if mine == theirs else f"DUMP: {_short(mine)} instead of {_short(theirs)}"
        tail = (ttl[0] or b"0", b"REPLACE")
        self._encodings_open = True
        time, replace = tail
        one = self.ours.send(OTHER, (b"RESTORE", target, time, _payload(theirs), replace))
        other = self.theirs.send(OTHER, (b"RESTORE", target, time, _payload(mine), replace))
        return None if one == other else f"RESTORE: {_short(one)} instead of {_short(other)}"

    def _compare_content(self) -> str | None:
        """Compare all that is there, as the other client sees it."""
        for db in (b"0", b"1", b"2"):
            self._both(OTHER, b"SELECT", db)
            mine, theirs = self._both(OTHER, b"KEYS", b"*")
            keys = sorted(_payload(key) for key in _elements(theirs))
            if keys != sorted(_payload(key) for key in _elements(mine)):
                return f"at the end database {db!r} has {_short(mine)} instead of {_short(theirs)}"
            self.theirs.send(OTHER, (b"EXISTS", *ALL_KEYS))
            questions: list[tuple[bytes, ...]] = [(b"DBSIZE",)]
            for key in keys:
                kind = self.theirs.send(OTHER, (b"TYPE", key))
                questions += [(b"TYPE", key), (b"PEXPIRETIME", key), _CONTENT[kind](key)]
                if not self._encodings_open:
                    questions.append((b"OBJECT", b"ENCODING", key))
            for question in questions:
                mine, theirs = self._both(OTHER, *question)
                found = self._differ(question[0], question, mine, theirs)
                if found is not None:
                    return f"at the end, {Step(OTHER, question)}: {found}"
        return None


def compare_sequences(comparison: Comparison, number: int, now_s: int) -> None:
    """
    Compare some ten sequences that Hypothesis makes.

    @param number: The seed they're made from.
    @param now_s: The time in seconds since 1970, from which far expiries are counted.
    @raise Differs: With a sequence that Hypothesis has made as small as it can be.
    """

    @seed(number)
    @settings(
        max_examples=_EXAMPLES_OF_A_SEED,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(sequences(now_s))
    def check(sequence: CommandSequence) -> None:
        comparison.check(sequence)

    check()


_CONTENT: dict[bytes, Callable[[bytes], tuple[bytes, ...]]] = {
    b"+string\r\n": lambda key: (b"GET", key),
    b"+list\r\n": lambda key: (b"LRANGE", key, b"0", b"-1"),
    b"+set\r\n": lambda key: (b"SMEMBERS", key),
    b"+zset\r\n": lambda key: (b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"),
    b"+hash\r\n": lambda key: (b"HGETALL", key),
}


def _unequal(name: bytes, arguments: tuple[bytes, ...], mine: bytes, theirs: bytes) -> str | None:
    """Say how two replies that aren't the same bytes differ; None if they may."""
    wrong = f"{_short(mine)} instead of {_short(theirs)}"
    if mine[:1] != theirs[:1] or mine[:1] == b"-":
        return wrong
    if name in _KIND_ONLY:
        return None
    if name == b"DBSIZE" and mine[:1] == b":":
        # Within a transaction; see above.
        return None if int(mine[1:-2]) < int(theirs[1:-2]) else wrong
    if name in SCANS:
        return None if mine[:1] == b"*" else wrong
    if name in _CLOCKS:
        one, other = int(mine[1:-2]), int(theirs[1:-2])
        return None if one > 0 and other > 0 and abs(one - other) <= _CLOCKS[name] else wrong
    if name == b"OBJECT" and arguments[1].upper() in (b"REFCOUNT", b"IDLETIME") and mine[:1] == b":":
        # In Redis small numbers are one object for all keys, with one count and one time of use.
        return None
    if name == b"OBJECT" and arguments[1].upper() == b"ENCODING":
        # Redis tells both by a string's history, ours by what it holds.
        return None if {_payload(mine), _payload(theirs)} <= _STRING_ENCODINGS else wrong
    if name in _UNORDERED:
        width = _UNORDERED[name] if mine[:1] != b"%" else 2
        return None if _entries(mine, width) == _entries(theirs, width) else wrong
    if name in (b"SORT", b"SORT_RO"):
        return None if _may_differ_in_order(arguments, mine, theirs) else wrong
    return wrong


def _may_differ_in_order(arguments: tuple[bytes, ...], mine: bytes, theirs: bytes) -> bool:
    """Say if a SORT left the order open: of what isn't sorted at all, or of equal strings."""
    words = [argument.upper() for argument in arguments]
    if mine[:1] != b"*":
        return False
    one, other = _elements(mine), _elements(theirs)
    equal = sorted(one) == sorted(other) or (b"LIMIT" in words and len(one) == len(other))
    if b"ALPHA" in words and any(b"\0" in element for element in (*one, *other)):
        # For Redis a string ends where a NUL is.
        return equal
    if b"BY" not in words:
        return False
    pattern = arguments[words.index(b"BY") + 1] if words.index(b"BY") + 1 < len(words) else b""
    if b"*" in pattern and b"ALPHA" not in words:
        return False
    return equal


def _entries(reply: bytes, width: int) -> list[bytes]:
    elements = _elements(reply)
    return sorted(b"".join(elements[at : at + width]) for at in range(0, len(elements), width))


def _elements(reply: bytes) -> list[bytes]:
    """Cut an aggregate into its elements, each as bytes."""
    end = reply.index(b"\r\n")
    count = int(reply[1:end]) * (2 if reply[:1] == b"%" else 1)
    elements: list[bytes] = []
    at = end + 2
    for _ in range(count):
        after = _end_of(reply, at)
        elements.append(reply[at:after])
        at = after
    return elements


def _end_of(reply: bytes, at: int) -> int:
    """Give the end of the reply that begins at a place."""
    line = reply.index(b"\r\n", at)
    kind = reply[at : at + 1]
    after = line + 2
    if kind in b"$=!":
        length = int(reply[at + 1 : line])
        return after if length < 0 else after + length + 2
    if kind in b"*~>%":
        for _ in range(max(0, int(reply[at + 1 : line])) * (2 if kind == b"%" else 1)):
            after = _end_of(reply, after)
    return after


def _payload(reply: bytes) -> bytes:
    """Give what a bulk string holds."""
    return reply[reply.index(b"\r\n") + 2 : -2]


def _short(reply: bytes) -> str:
    return repr(reply if len(reply) <= 300 else reply[:200] + b"..." + reply[-60:])
