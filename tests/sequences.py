"""
Random sequences of commands that look like what clients send, mistakes included.

The forms of the commands are written in C{testdata/commands.txt}; what stands in their places comes from small pools,
so that keys and members meet again: numbers of every kind and at every limit, binary strings, long ones. A sequence
favours some families, sometimes spoils a command, and sometimes lets a command grow by hundreds of elements, so that
the large forms of values are reached.

One seed is one sequence, on every machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

FORMS = Path(__file__).parent / "testdata" / "commands.txt"

#: Who sends a command: the main client, another one, or one that may wait in it.
MAIN = "main"
OTHER = "other"
WAITER = "waiter"
#: Not a command: what happens to the memory of our store in between.
DISTURB = "disturb"
DISTURBANCES = (b"freeze", b"flush", b"turn", b"forget", b"restart")

BLOCKING = frozenset({b"BLPOP", b"BRPOP", b"BLMOVE", b"BRPOPLPUSH", b"BLMPOP", b"BZPOPMIN", b"BZPOPMAX", b"BZMPOP"})
#: Commands that pick by themselves; they aren't put into transactions.
RANDOM_PICKS = frozenset({b"SPOP", b"SRANDMEMBER", b"HRANDFIELD", b"ZRANDMEMBER", b"RANDOMKEY"})
SCANS = frozenset({b"SCAN", b"HSCAN", b"SSCAN", b"ZSCAN"})
#: DUMP a key, and RESTORE each side's bytes on the other side under another.
TRANSFER = b"@TRANSFER"

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
        text = " ".join(repr(argument)[1:] if len(argument) < 60 else f"<{len(argument)} bytes>"
                        for argument in self.arguments)  # fmt: skip
        return f"{self.who}: {text}"


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
            forms.append(Form(family, weight, _parse(iter(_TOKEN.findall(text)), "")))
    return forms


def _parse(tokens: Iterator[str], end: str) -> list[Any]:
    """Parse up to C{end} into nodes: (kind, content, ...); alternatives end up in one node of several parts."""
    alternatives: list[list[Any]] = [[]]
    counted = False
    for token in tokens:
        current = alternatives[-1]
        if token == end:
            break
        if token == "[":
            current.append(("maybe", _parse(tokens, "]")))
        elif token == "(":
            current.append(("group", _parse(tokens, ")")))
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
    return alternatives[0] if len(alternatives) == 1 and not end else [("choice", alternatives)]


_ALL_FORMS = load_forms()
FAMILIES = sorted({form.family for form in _ALL_FORMS})


class Generator:
    """Makes one sequence from one seed."""

    def __init__(self, seed: int, *, now_s: int) -> None:
        """
        Prepare.

        @param now_s: The time in seconds since 1970, from which far expiries are counted.
        """
        self.random = random = Random(seed)
        self.proto = random.choice((2, 3))
        self._now_s = now_s
        # Far apart from each other, so that some milliseconds don't change which is the later one.
        self._spans = random.sample(range(1000, 1_000_000, 100), 60)
        favourites = random.sample(FAMILIES, random.choice((1, 2, 2, 3)))
        self._forms = _ALL_FORMS
        self._weights = [form.weight * (12 if form.family in favourites else 1) for form in self._forms]
        self._large = random.random() < 0.25
        self._in_multi = False
        self._last_count = 0
        self._waiting = False
        self._pools: dict[str, Callable[[], bytes]] = {
            "a": lambda: random.choice(ALL_KEYS),
            "v": self._value,
            "m": lambda: self._of([(5, _WORDS), (2, _INTS), (1, _NOT_INTS), (1, _FLOATS)], "m"),
            "f": lambda: self._of([(5, _WORDS), (2, _INTS)], "f"),
            "i": lambda: self._of([(12, _INDEXES), (1, _ODD_INDEXES)]),
            "c": lambda: self._of([(8, _COUNTS), (1, _ODD_COUNTS)]),
            "n": lambda: self._of([(8, [b"1", b"2", b"3", b"10", b"1000"]), (1, [b"0", b"-1", b"abc"])]),
            "int": lambda: self._of([(8, _INTS), (1, _NOT_INTS)], "int"),
            "float": lambda: self._of([(6, _FLOATS), (2, _INTS), (2, _ODD_FLOATS)]),
            "score": lambda: self._of([(12, _SCORES), (1, _ODD_FLOATS)], "score"),
            "weight": lambda: self._of([(8, _WEIGHTS), (1, _ODD_FLOATS)]),
            "offset": lambda: self._of([(8, [b"0", b"1", b"3", b"10", b"2000"]), (1, [b"-1", b"536870912", b"abc"])]),
            "smin": lambda: self._of([(9, _BOUNDS), (1, _ODD_BOUNDS)]),
            "smax": lambda: self._of([(9, _BOUNDS), (1, _ODD_BOUNDS)]),
            "lmin": lambda: self._of([(9, _LEX), (1, _ODD_LEX)]),
            "lmax": lambda: self._of([(9, _LEX), (1, _ODD_LEX)]),
            "glob": lambda: random.choice(_GLOBS),
            "db": lambda: self._of([(12, [b"0", b"0", b"1", b"2"]), (1, [b"15", b"16", b"-1", b"abc"])]),
            "type": lambda: random.choice((b"string", b"list", b"set", b"zset", b"hash", b"stream", b"ZSET", b"foo")),
            "timeout": lambda: self._of([(9, _TIMEOUTS), (1, [b"-1", b"abc", b"inf", b"1e300", b""])]),
            "dump": lambda: random.choice(_DUMPS),
            "by": lambda: random.choice((b"w_*", b"w_*->a", b"nosort", b"missing_*", b"*", b"w_*->")),
            "get": lambda: random.choice((b"#", b"w_*", b"w_*->a", b"w_*->b", b"missing_*", b"*", b"abc")),
            "weightkey": lambda: b"w_" + random.choice([*_INTS[:10], *_WORDS[:5]]),
            "sec": lambda: self._time(1, 0),
            "ms": lambda: self._time(1000, 0),
            "at": lambda: self._time(1, self._now_s),
            "atms": lambda: self._time(1000, self._now_s),
        }  # fmt: skip
        for name, keys in _KEY_POOLS.items():
            self._pools[name] = lambda keys=keys: random.choice(keys if random.random() < 0.9 else ALL_KEYS)  # type: ignore[misc]

    def steps(self, length: int) -> list[Step]:
        """Give that many steps."""
        return [self._step() for _ in range(length)]

    def _step(self) -> Step:
        random = self.random
        chance = random.random()
        if chance < 0.04:
            return Step(DISTURB, (random.choice(DISTURBANCES),))
        if chance < 0.12:
            who = OTHER
        else:
            who = MAIN
        while True:
            arguments = self._command()
            if random.random() < 0.05:
                arguments = self._spoil(arguments)
            name = arguments[0].upper()
            if _endangers(arguments):
                continue
            if who == OTHER and (name in BLOCKING or self._about_connection(name)):
                continue
            if self._in_multi and who == MAIN and (name in RANDOM_PICKS or name in SCANS or name == TRANSFER):
                continue
            break
        if who == MAIN:
            if name == b"MULTI":
                self._in_multi = True
            elif name in (b"EXEC", b"DISCARD", b"RESET"):
                self._in_multi = False
            elif name in BLOCKING and not self._in_multi:
                who = WAITER
        return Step(who, tuple(arguments))

    @staticmethod
    def _about_connection(name: bytes) -> bool:
        return name in (b"SELECT", b"MULTI", b"EXEC", b"DISCARD", b"WATCH", b"UNWATCH", b"HELLO", b"RESET", b"CLIENT")

    def _command(self) -> list[bytes]:
        form = self.random.choices(self._forms, self._weights)[0]
        arguments: list[bytes] = []
        self._fill(form.parts, arguments)
        return arguments

    def _fill(self, parts: list[Any], into: list[bytes]) -> None:
        random = self.random
        for kind, content, *more in parts:
            if kind == "word":
                into.append(content)
            elif kind == "pool":
                into.append(self._pools[content]())
            elif kind == "choice":
                self._fill(random.choice(content), into)
            elif kind == "group":
                self._fill(content, into)
            elif kind == "maybe":
                if random.random() < 0.4:
                    self._fill(content, into)
            elif kind == "same":
                for _ in range(self._last_count):
                    self._fill([content], into)
            else:
                counted = more[0]
                count = random.choice((1, 1, 1, 2, 2, 3, 4))
                if self._large and not counted and random.random() < 0.15:
                    count = random.choice((40, 130, 300, 600))
                self._last_count = count
                if counted:
                    into.append(b"%d" % count)
                for _ in range(count):
                    self._fill([content], into)

    def _of(self, pools: list[tuple[int, list[bytes]]], grows: str = "") -> bytes:
        """Pick from one of the weighted pools; where sequences may be large, sometimes something new."""
        random = self.random
        if grows and self._large and random.random() < 0.6:
            number = random.randrange(2000)
            if grows == "m" or grows == "f":
                return b"m%d" % number if random.random() < 0.9 else b"%d" % number
            return b"%d" % number
        weights = [weight for weight, _ in pools]
        return random.choice(random.choices(pools, weights)[0][1])

    def _value(self) -> bytes:
        random = self.random
        chance = random.random()
        if self._large and chance < 0.1:
            return random.choice((b"v", b"vw", b"0123456789")) * random.choice((100, 1000, 4100, 9000))
        if chance < 0.5:
            return random.choice(_WORDS)
        return self._of([(4, _INTS), (1, _FLOATS), (1, _NOT_INTS)], "int")

    def _time(self, unit: int, base: int) -> bytes:
        random = self.random
        chance = random.random()
        if chance < 0.05:
            return random.choice(_ODD_TIMES)
        if chance < 0.15:
            return random.choice((b"0", b"-1", b"-1000", b"1" if base else b"0"))
        return b"%d" % ((base + random.choice(self._spans)) * unit)

    def _spoil(self, arguments: list[bytes]) -> list[bytes]:
        """Make a mistake: an argument too many, too few, in the wrong place, or of the wrong kind."""
        random = self.random
        spoiled = list(arguments)
        place = random.randrange(1, len(spoiled)) if len(spoiled) > 1 else 0
        how = random.randrange(5)
        if how == 0 and len(spoiled) > 1:
            del spoiled[place]
        elif how == 1 or place == 0:
            spoiled.insert(place + 1, random.choice(_SPOILERS))
        elif how == 2:
            spoiled[place] = random.choice(_SPOILERS)
        elif how == 3:
            spoiled.append(random.choice(spoiled))
        else:
            other = random.randrange(1, len(spoiled))
            spoiled[place], spoiled[other] = spoiled[other], spoiled[place]
        if random.random() < 0.2:
            spoiled[0] = spoiled[0].lower()
        return spoiled


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


def shrink(steps: list[Step], fails: Callable[[list[Step]], bool]) -> list[Step]:
    """Leave out whatever isn't needed for the failure: steps first, then arguments of the steps that stay."""
    size = len(steps) // 2
    while size:
        at = 0
        while at < len(steps):
            fewer = steps[:at] + steps[at + size :]
            if fails(fewer):
                steps = fewer
            else:
                at += size
        size //= 2
    for place, step in enumerate(steps):
        step = steps[place]
        at, size = 1, max(1, len(step.arguments) // 2)
        while size:
            while at < len(step.arguments):
                shorter = Step(step.who, step.arguments[:at] + step.arguments[at + size :])
                fewer = [*steps[:place], shorter, *steps[place + 1 :]]
                if fails(fewer):
                    steps, step = fewer, shorter
                else:
                    at += size
            at, size = 1, size // 2
    return steps
