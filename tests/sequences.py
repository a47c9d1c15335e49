"""
Sequences of commands that look like what clients send, mistakes included, as a strategy of Hypothesis.

The forms of the commands are written in C{testdata/commands.txt}; what stands in their places comes from small pools,
so that keys and members meet again: numbers of every kind and at every limit, binary strings, long ones. A sequence
favours some families, sometimes spoils a command, and sometimes lets a command grow by hundreds of elements, so that
the large forms of values are reached.

Hypothesis chooses each part by itself, so that it can make a failing sequence smaller step by step and argument by
argument. Only the elements of a command that grows come from one choice, the seed of a generator of numbers: they would
soon use up the choices that Hypothesis allows in one example.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import strategies as st

FORMS = Path(__file__).parent / "testdata" / "commands.txt"

#: Who sends a command: the main client, another one, or one that may wait in it.
MAIN = "main"
OTHER = "other"
WAITER = "waiter"
#: Not a command: what happens to the memory of our store in between.
DISTURB = "disturb"
DISTURBANCES = (b"freeze", b"flush", b"turn", b"forget", b"restart")

#: Bytes of memory for live values: plenty, none, a little.
BUDGETS = (1 << 30, 0, 20_000)
#: Steps of a sequence at most; nearly all have about as many.
LENGTH = 40

BLOCKING = frozenset({b"BLPOP", b"BRPOP", b"BLMOVE", b"BRPOPLPUSH", b"BLMPOP", b"BZPOPMIN", b"BZPOPMAX", b"BZMPOP"})
#: Commands that pick by themselves; they aren't put into transactions.
RANDOM_PICKS = frozenset({b"SPOP", b"SRANDMEMBER", b"HRANDFIELD", b"ZRANDMEMBER", b"RANDOMKEY"})
SCANS = frozenset({b"SCAN", b"HSCAN", b"SSCAN", b"ZSCAN"})
#: DUMP a key, and RESTORE each side's bytes on the other side under another.
TRANSFER = b"@TRANSFER"
#: They concern the connection, which only the main client's is compared for.
_ABOUT_CONNECTION = frozenset(
    {b"SELECT", b"MULTI", b"EXEC", b"DISCARD", b"WATCH", b"UNWATCH", b"HELLO", b"RESET", b"CLIENT"}
)

_TOKEN = re.compile(r"[\[\]()|+#=]|\{[a-z]+\}|[^\s\[\]()|+#={}]+")

_KEYS = {
    "s": [b"s1", b"s2", b"s3"],
    "h": [b"h1", b"h2"],
    "l": [b"l1", b"l2", b"l3"],
    "e": [b"e1", b"e2", b"e3"],
    "z": [b"z1", b"z2", b"z3"],
    "y": [b"y1", b"y2"],
}
_ODD_KEYS = [b"", b"\x00\xffk\r\n", b"{s1}x"]
ALL_KEYS = [key for keys in _KEYS.values() for key in keys] + _ODD_KEYS
_KEY_POOLS = {**_KEYS, "ze": _KEYS["z"] + _KEYS["e"], "le": _KEYS["l"] + _KEYS["e"]}
_KEY_POOLS["lez"] = _KEY_POOLS["le"] + _KEYS["z"]

_WORDS = [b"a", b"b", b"c", b"d", b"e", b"A", b"ab", b"abc", b"", b"\x00\xff", b"x" * 64, b"y" * 65, b"[a", b"(a"]
_INTS = [b"%d" % n for n in (*range(-3, 12), 100, 127, 128, 4095, 4096, 32767, 32768, 65536, 2**31 - 1, 2**31)] + [
    b"%d" % n for n in (-(2**31) - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**62)
]
_NOT_INTS = [b"9223372036854775808", b"-9223372036854775809", b"007", b" 1", b"1 ", b"+1", b"-0", b"1e3", b"abc", b""]
_FLOATS = [
    b"0", b"-0", b"-0.0", b"0.1", b"0.2", b"-0.1", b"1.5", b"3.0", b"3", b"-2", b"1e3", b"3.0e3", b"1e20", b"1e-7",
    b"123456789.123456789", b"0.1234567890123456789", b"1e17", b"1e-5", b"5e-324", b"1.7976931348623157e308",
    b"9007199254740993", b"1e100", b"-1e100", b"0.3333333333333333", b"1e21", b"1.0000000000000002",
]  # fmt: skip
_ODD_FLOATS = [
    b"inf", b"-inf", b"+inf", b"Infinity", b"nan", b"1e400", b"-1e400", b"1e5000", b"0x10", b"0x1p3", b"", b" 1",
    b"1 ", b"1,5", b"abc", b"1e", b".5", b"5.", b"1e-400", b"1e4932",
]  # fmt: skip
_SCORES = [b"0", b"1", b"1", b"2", b"2", b"3", b"-1", b"1.5", b"10", b"100", b"-0"] + _FLOATS
_WEIGHTS = [b"1", b"2", b"0", b"-1", b"0.5", b"1e308", b"inf", b"-inf"]
_TIMEOUTS = [b"0", b"0", b"1000", b"0.0"]
#: Seconds, so far apart that some milliseconds don't change which is the later one.
_SPANS = range(1000, 1_000_000, 17_000)
_ODD_TIMES = [b"abc", b"9223372036854775807", b"-9223372036854775808", b"9223372036854775", b"1.5", b""]
_SOON_MS = 10_000
_GLOBS = [b"*", b"?", b"a*", b"[a-c]", b"[^a]*", b"*b*", b"s?", b"h*", b"\\*", b"[", b"", b"*1", b"{s1}*", b"zz"]
_INDEXES = [b"0", b"-1", b"1", b"2", b"3", b"-2", b"-3", b"5", b"10", b"-10", b"100", b"-100", b"400", b"-300"]
_ODD_INDEXES = [b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808", b"1.5", b"abc", b"", b"(1"]
_COUNTS = [b"1", b"2", b"3", b"10", b"0", b"-1", b"-3", b"100", b"300"]
_ODD_COUNTS = [b"9223372036854775807", b"-300", b"4611686018427387904", b"abc", b"1.0", b""]
_BOUNDS = [b"-inf", b"+inf", b"0", b"1", b"(1", b"2", b"(2", b"3", b"10", b"(100", b"-1", b"1.5", b"inf", b"(inf"]
_ODD_BOUNDS = [b"(-inf", b"nan", b"abc", b"(", b"", b"[1", b"(abc", b"1e400", b"-1e400"]
_LEX = [b"-", b"+", b"[a", b"(a", b"[b", b"(c", b"[", b"(", b"[abc", b"[1", b"(x"]
_ODD_LEX = [b"a", b"", b"++", b"-inf", b"1"]
_SPOILERS = [
    b"", b"abc", b"-1", b"0", b"99999999999999999999", b"1.5", b"nan", b"inf", b" 1", b"+1", b"\xff\x00", b"NX", b"xx",
    b"GET", b"COUNT", b"limit", b"WITHSCORES", b"STORE", b"REPLACE", b"EX", b"2", b"MATCH", b"BYLEX", b"ABSTTL",
]  # fmt: skip
#: Payloads of DUMP of Redis 7.0: strings, a list, sets, a sorted set, a hash; damaged ones.
_DUMPS = [
    b"\x00\x03abc\n\x00\xd9\xac0=Ar\xa2\xe2",
    b"\x00\xc0{\n\x00H\xe2S\xe1\x00zg\xb9",
    b"\x12\x01\x02\x11\x11\x00\x00\x00\x03\x00\x81a\x02\x01\x01\x83xyz\x04\xff\n\x00\xf3\x89\x1e\xc3\xea\xf8\x16q",
    b"\x0b\x0c\x02\x00\x00\x00\x02\x00\x00\x00\x01\x00\x02\x00\n\x00oy8\xb14\xeb .",
    b"\x11\x14\x14\x00\x00\x00\x04\x00\x81a\x02\x831.5\x04\x81b\x02\x02\x01\xff\n\x00\xfa\x02\xb4%\xaf\x18\x87c",
    b"\x10\r\r\x00\x00\x00\x02\x00\x81f\x02\x81v\x02\xff\n\x00 \xf1=D#T\x08\x9d",
    b"\x00\x03abd\n\x00\xd9\xac0=Ar\xa2\xe2",
    b"",
    b"abc",
]


@dataclass(frozen=True)
class Step:
    """C{who} sends a command; for L{DISTURB}, C{arguments} say what happens to our store."""

    who: str
    arguments: tuple[bytes, ...]

    def __str__(self) -> str:
        return f"{self.who}: " + " ".join(_shown(argument) for argument in self.arguments)


@dataclass(frozen=True, repr=False)
class CommandSequence:
    """
    What the servers of a comparison are asked, one after another.

    @ivar proto: The protocol that all clients begin with, 2 or 3.
    @ivar budget: Bytes of memory for live values, for the side that lets it be chosen.
    """

    proto: int
    budget: int
    steps: tuple[Step, ...]

    def __repr__(self) -> str:
        return "\n".join([f"RESP{self.proto}, {self.budget} bytes for values", *(f"    {step}" for step in self.steps)])


def _shown(argument: bytes) -> str:
    """Write an argument, a long one in short."""
    if len(argument) > 60 and len(set(argument)) == 1:
        return f"{argument[:1]!r}*{len(argument)}"
    return repr(argument)[1:] if len(argument) <= 200 else f"<{len(argument)} bytes, {argument[:20]!r}...>"


class Pool:
    """
    Values to pick from: the first is the simplest, and one that is there several times is picked more often.

    Hypothesis picks evenly as long as there are no more than 256.
    """

    def __init__(self, *parts: tuple[float, Sequence[Any]]) -> None:
        """
        @param parts: How often to pick from each part, relative to the others, and its values.
        """
        shares = [weight / len(values) for weight, values in parts]
        self.values: list[Any] = []
        for (_, values), share in zip(parts, shares, strict=True):
            for value in values:
                self.values += [value] * round(share / min(shares))
        count = len(self.values)
        # Integers are quicker; but where there are more of them, the bounds come more often than the others.
        self.places = st.integers(0, count - 1) if count <= 128 else st.sampled_from(range(count))


#: Picks from a pool.
Pick = Callable[[Pool], Any]


@dataclass(frozen=True)
class Form:
    """One line of the table: a family, a weight and the parsed parts."""

    family: str
    weight: int
    parts: list[Any]


def load_forms() -> list[Form]:
    """Read the table."""
    forms: list[Form] = []
    family = ""
    for line in FORMS.read_text("ascii").splitlines():
        if line.startswith("[") and line.endswith("]") and " " not in line:
            family = line[1:-1]
        elif line and not line.startswith("#"):
            head, _, rest = line.partition(" ")
            weight, text = (int(head), rest) if head.isdigit() else (1, line)
            forms.append(Form(family, weight, _parse(iter(_TOKEN.findall(text)), "")[0]))
    return forms


def _parse(tokens: Iterator[str], end: str) -> list[list[Any]]:
    """Parse up to C{end} into alternatives, each of nodes: (kind, content, ...)."""
    alternatives: list[list[Any]] = [[]]
    counted = False
    for token in tokens:
        current = alternatives[-1]
        if token == end:
            break
        if token == "[":
            there = _parse(tokens, "]")
            current.append(("choice", Pool((1, [[]] * 3 * len(there) + there * 2))))
        elif token == "(":
            current.append(("choice", Pool((1, _parse(tokens, ")")))))
        elif token == "|":
            alternatives.append([])
        elif token == "#":
            counted = True
        elif token == "+":
            current.append(("many", current.pop(), counted))
            counted = False
        elif token == "=":
            current.append(("same", current.pop()))
        elif token.startswith("{"):
            current.append(("pool", token[1:-1]))
        else:
            current.append(("word", token.encode()))
    return alternatives


def words_of(parts: list[Any]) -> Iterator[bytes]:
    """Give the words of a form, in all its alternatives; the first is the command's name."""
    for kind, content, *_ in parts:
        if kind == "word":
            yield content
        elif kind == "choice":
            for alternative in content.values:
                yield from words_of(alternative)
        elif kind != "pool":
            yield from words_of([content])


_ALL_FORMS = load_forms()
FAMILIES = sorted({form.family for form in _ALL_FORMS})
_FORMS_OF = {
    family: Pool(*[(form.weight, [form]) for form in _ALL_FORMS if form.family == family]) for family in FAMILIES
}


def _favouring(favourites: Sequence[str]) -> Pool:
    """Give the families, the favourites more often; L{None} is no command, and L{DISTURB} none either."""
    weights = {family: 0 for family in FAMILIES}
    for form in _ALL_FORMS:
        weights[form.family] += form.weight * (12 if form.family in favourites else 1)
    total = sum(weights.values())
    shares = [(max(1, round(118 * weight / total)), [family]) for family, weight in weights.items()]
    return Pool((1, [None]), (5, [DISTURB]), *shares)


_FAVOURITES = Pool(
    *[(share, [_favouring(some) for some in combinations(FAMILIES, size)]) for size, share in ((1, 3), (2, 9), (3, 12))]
)
_PROTOCOLS = Pool((1, [2, 3]))
_BUDGETS = Pool((1, BUDGETS))
_DISTURBANCES = Pool((1, DISTURBANCES))
#: Who sends a command, and whether it's spoiled.
_MANNERS = Pool((87, [(MAIN, False)]), (8, [(OTHER, False)]), (4, [(MAIN, True)]), (1, [(OTHER, True)]))
_MISTAKES = Pool((1, ["append", "replace", "insert", "leave out", "swap"]))
_LETTERS = Pool((4, [bytes.upper]), (1, [bytes.lower]))

#: How many elements a command has, and whether they come from one choice; likewise where a sequence has large values.
_FEW = [(count, False) for count in (1, 1, 1, 2, 2, 3, 4)]
_COUNTS_OF_ELEMENTS = Pool((1, _FEW))
# The first ones are there so that what doesn't need more can be made smaller.
_MANY = [(count, True) for count in (1, 3, 9, 20, 40, 80, 130, 300, 450, 600)]
_LARGE_COUNTS_OF_ELEMENTS = Pool((17, _FEW), (4, _MANY))
_SEEDS = Pool((1, range(2000)))

_IS_LARGE = Pool((3, [False]), (1, [True]))
_NUMBERS = [b"%d" % number for number in range(2000)]
_NEW_NUMBERS = Pool((1, _NUMBERS))
_NEW_MEMBERS = Pool((1, [b"m" + text if number % 10 else text for number, text in enumerate(_NUMBERS)]))
#: What large values grow by, and how often.
_NEW = {
    "m": (Pool((2, [False]), (3, [True])), _NEW_MEMBERS),
    "f": (Pool((2, [False]), (3, [True])), _NEW_MEMBERS),
    "int": (Pool((2, [False]), (3, [True])), _NEW_NUMBERS),
    "score": (Pool((2, [False]), (3, [True])), _NEW_NUMBERS),
    "v": (Pool((3, [False]), (1, [True])), _NEW_NUMBERS),
}
_HUGE_VALUES = [part * times for part in (b"v", b"vw", b"0123456789") for times in (100, 1000, 4100, 9000)]
_VALUES = [(6, _WORDS), (4, _INTS), (2, _FLOATS + _NOT_INTS)]

_POOLS = {
    "a": Pool((1, ALL_KEYS)),
    **{name: Pool((6, keys), (1, ALL_KEYS)) for name, keys in _KEY_POOLS.items()},
    "v": Pool(*_VALUES),
    "m": Pool((5, _WORDS), (2, _INTS), (1, _NOT_INTS), (1, _FLOATS)),
    "f": Pool((5, _WORDS), (2, _INTS)),
    "i": Pool((12, _INDEXES), (1, _ODD_INDEXES)),
    "c": Pool((8, _COUNTS), (1, _ODD_COUNTS)),
    "n": Pool((8, [b"1", b"2", b"3", b"10", b"1000"]), (1, [b"0", b"-1", b"abc"])),
    "int": Pool((8, _INTS), (1, _NOT_INTS)),
    "float": Pool((6, _FLOATS), (2, _INTS), (2, _ODD_FLOATS)),
    "score": Pool((12, _SCORES), (1, _ODD_FLOATS)),
    "weight": Pool((8, _WEIGHTS), (1, _ODD_FLOATS)),
    "offset": Pool((8, [b"0", b"1", b"3", b"10", b"2000"]), (1, [b"-1", b"536870912", b"abc"])),
    "smin": Pool((9, _BOUNDS), (1, _ODD_BOUNDS)),
    "smax": Pool((9, _BOUNDS), (1, _ODD_BOUNDS)),
    "lmin": Pool((9, _LEX), (1, _ODD_LEX)),
    "lmax": Pool((9, _LEX), (1, _ODD_LEX)),
    "glob": Pool((1, _GLOBS)),
    "db": Pool((12, [b"0", b"0", b"1", b"2"]), (1, [b"15", b"16", b"-1", b"abc"])),
    "type": Pool((1, [b"string", b"list", b"set", b"zset", b"hash", b"stream", b"ZSET", b"foo"])),
    "timeout": Pool((9, _TIMEOUTS), (1, [b"-1", b"abc", b"inf", b"1e300", b""])),
    "dump": Pool((1, _DUMPS)),
    "by": Pool((1, [b"w_*", b"w_*->a", b"nosort", b"missing_*", b"*", b"w_*->"])),
    "get": Pool((1, [b"#", b"w_*", b"w_*->a", b"w_*->b", b"missing_*", b"*", b"abc"])),
    "weightkey": Pool((1, [b"w_" + text for text in _INTS[:10] + _WORDS[:5]])),
}  # fmt: skip
_LARGE_POOLS = {**_POOLS, "v": Pool(*_VALUES, (1.2, _HUGE_VALUES))}
_SPOILING = Pool((1, _SPOILERS))


@cache
def _times(now_s: int) -> dict[str, Pool]:
    """Give the pools of durations and of moments."""

    def pool(unit: int, base: int) -> Pool:
        moments = [b"%d" % ((base + span) * unit) for span in _SPANS]
        return Pool((17, moments), (2, [b"0", b"-1", b"-1000", b"1" if base else b"0"]), (1, _ODD_TIMES))

    return {"sec": pool(1, 0), "ms": pool(1000, 0), "at": pool(1, now_s), "atms": pool(1000, now_s)}


@cache
def _places(count: int) -> Pool:
    """Give the places of a command's arguments behind its name, of which there are C{count - 1}."""
    return Pool((1, range(1, count)))


@st.composite
def sequences(draw: st.DrawFn, now_s: int, length: int = LENGTH) -> CommandSequence:
    """
    Make sequences.

    @param now_s: The time in seconds since 1970, from which far expiries are counted.
    @param length: How many steps there are at most; few have fewer.
    """
    pick = _picking(draw)
    proto, budget, writer = pick(_PROTOCOLS), pick(_BUDGETS), _writer(pick, now_s)
    step = _steps(writer)
    return CommandSequence(proto, budget, _without_none(draw(step) for _ in range(length)))


def steps_of_seed(seed: int, now_s: int, length: int) -> tuple[Step, ...]:
    """Make the steps of one sequence without Hypothesis, for a load that needn't become smaller."""
    pick = _picking_by_seed(seed)
    writer = _writer(pick, now_s)
    return _without_none(writer.step(pick) for _ in range(length))


def _without_none(steps: Iterable[Step | None]) -> tuple[Step, ...]:
    return tuple(step for step in steps if step is not None)


def _writer(pick: Pick, now_s: int) -> _Writer:
    return _Writer(pick(_FAVOURITES), pick(_IS_LARGE), now_s)


@st.composite
def _steps(draw: st.DrawFn, writer: _Writer) -> Step | None:
    # A strategy of its own, so that Hypothesis tries to do without the whole step.
    return writer.step(_picking(draw))


def _picking(draw: st.DrawFn) -> Pick:
    """Let Hypothesis pick."""

    def pick(pool: Pool) -> Any:
        return pool.values[draw(pool.places)] if len(pool.values) > 1 else pool.values[0]

    return pick


def _picking_by_seed(seed: int) -> Pick:
    """Pick without asking Hypothesis any further."""
    random = Random(seed)

    def pick(pool: Pool) -> Any:
        return random.choice(pool.values)

    return pick


class _Writer:
    """Writes the steps of one sequence, given what picks."""

    def __init__(self, families: Pool, large: bool, now_s: int) -> None:
        self._families = families
        self._large = large
        self._pools = {**(_LARGE_POOLS if large else _POOLS), **_times(now_s)}
        self._in_multi = False
        self._last_count = 0

    def step(self, pick: Pick) -> Step | None:
        """Write the next step; L{None} where it's none."""
        family = pick(self._families)
        if family is None:
            return None
        if family == DISTURB:
            return Step(DISTURB, (pick(_DISTURBANCES),))
        who, spoiled = pick(_MANNERS)
        arguments: list[bytes] = []
        self._fill(pick(_FORMS_OF[family]).parts, arguments, pick)
        if spoiled:
            _spoil(arguments, pick)
        name = arguments[0].upper()
        if _endangers(arguments):
            return None
        if name in BLOCKING or name in _ABOUT_CONNECTION:
            who = MAIN
        if who == MAIN:
            if self._in_multi and (name in RANDOM_PICKS or name in SCANS or name == TRANSFER):
                return None
            if name == b"MULTI":
                self._in_multi = True
            elif name in (b"EXEC", b"DISCARD", b"RESET"):
                self._in_multi = False
            elif name in BLOCKING and not self._in_multi:
                who = WAITER
        return Step(who, tuple(arguments))

    def _fill(self, parts: list[Any], into: list[bytes], pick: Pick) -> None:
        for kind, content, *more in parts:
            if kind == "word":
                into.append(content)
            elif kind == "pool":
                into.append(self._value(content, pick))
            elif kind == "choice":
                self._fill(pick(content), into, pick)
            elif kind == "same":
                for _ in range(self._last_count):
                    self._fill([content], into, pick)
            else:
                self._repeat(content, more[0], into, pick)

    def _repeat(self, part: Any, counted: bool, into: list[bytes], pick: Pick) -> None:
        counts = _LARGE_COUNTS_OF_ELEMENTS if self._large and not counted else _COUNTS_OF_ELEMENTS
        count, by_seed = pick(counts)
        self._last_count = count
        if counted:
            into.append(b"%d" % count)
        if by_seed:
            pick = _picking_by_seed(pick(_SEEDS))
        for _ in range(count):
            self._fill([part], into, pick)

    def _value(self, name: str, pick: Pick) -> bytes:
        if self._large and name in _NEW:
            often, new = _NEW[name]
            if pick(often):
                return bytes(pick(new))
        return bytes(pick(self._pools[name]))


def _spoil(arguments: list[bytes], pick: Pick) -> None:
    """Make a mistake: an argument too many, too few, in the wrong place, or of the wrong kind."""
    mistake = pick(_MISTAKES)
    arguments[0] = pick(_LETTERS)(arguments[0])
    if len(arguments) == 1:
        arguments.append(pick(_SPOILING))
        return
    place = pick(_places(len(arguments)))
    if mistake == "append":
        arguments.append(arguments[place])
    elif mistake == "replace":
        arguments[place] = pick(_SPOILING)
    elif mistake == "insert":
        arguments.insert(place + 1, pick(_SPOILING))
    elif mistake == "leave out":
        del arguments[place]
    else:
        other = pick(_places(len(arguments)))
        arguments[place], arguments[other] = arguments[other], arguments[place]


def _endangers(arguments: list[bytes]) -> bool:
    """Keep out what would take a server minutes or gigabytes, and what can't be compared."""
    name = arguments[0].upper()
    if name in RANDOM_PICKS:
        return any(_number(argument) < -1000 for argument in arguments[2:])
    if name == b"SETRANGE":
        return any(100_000 < _number(argument) < 536_870_912 for argument in arguments[1:])
    if name == b"HELLO":
        return len(arguments) > 2
    if any(0 < _number(arguments[place]) < _SOON_MS for place in _milliseconds(name, arguments)):
        # It might expire sooner on one side than on the other.
        return True
    return name in (b"ZRANK", b"ZREVRANK") and len(arguments) == 4


def _milliseconds(name: bytes, arguments: list[bytes]) -> list[int]:
    """Give the places of relative times in ms."""
    if name in (b"SET", b"GETEX"):
        return [place for place in range(1, len(arguments)) if arguments[place - 1].upper() == b"PX"]
    place = {b"PEXPIRE": 2, b"PSETEX": 2, b"RESTORE": 2, TRANSFER: 3}.get(name, len(arguments))
    return [place] if place < len(arguments) else []


def _number(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        return 0
