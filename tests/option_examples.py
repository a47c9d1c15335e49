"""
Example calls: at least one for every command, and one for every option of every command of the families we
serve.

They're written in C{testdata/options/*.txt}, one example a line, under the name of the command::

    [set]
    NX, GET : SET k old > SET k new NX GET ; GET k

that is: the options that the line exercises (C{-} for none; names as L{tests.completeness.options_of} makes
them), the setup, the call and what is asked afterwards. Only the answers from the call on are compared, so a
call whose option changes nothing that a client sees needs a question behind it. Arguments are split like a
shell's; C{@last} stands for the answer to the command before (C{@-2} for the one before that), and
C{@hex:00ff} for bytes.

A command may begin with a mark that says how its answer is compared:
  - C{~} in any order (sets, scans),
  - C{?} only its kind (clocks, identities, sizes),
  - C{-} there's none (CLIENT REPLY),
  - C{!} there's none because the server ends; such lines need a server of their own.

The expected answers are those of a real redis-server 7.0.15, recorded in C{testdata/option_replies.json}. A
line that begins with C{7.2} exercises what 7.0.15 lacks, and ends with C{=>} and the expected answers as a
JSON list.

Each example begins on a new connection (RESP2, database 0) to a server without keys.
"""

from __future__ import annotations

import json
import shlex
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import hiredis

from tests.real_redis import RealRedis

TESTDATA = Path(__file__).parent / "testdata"
RECORDED = TESTDATA / "option_replies.json"
MARKS = "~?-!"


@dataclass(frozen=True)
class ErrorReply:
    """A RESP error, such as C{b"ERR syntax error"}."""

    text: bytes


Reply = bytes | int | float | None | ErrorReply | list[Any] | dict[Any, Any]
"""A decoded reply: simple and bulk strings are bytes, arrays lists, RESP3 maps dicts."""


class Connection(Protocol):
    """What the runner needs of a client's connection."""

    def call(self, args: list[bytes]) -> Reply:
        """Send a command and return its decoded reply."""

    def send(self, args: list[bytes]) -> None:
        """Send a command that gets no reply."""


@dataclass(frozen=True)
class Step:
    """One command of an example: C{mark} is empty or one of L{MARKS}."""

    mark: str
    args: tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """
    One line of the tables.

    @ivar line: The line as written: the key under which its answers are recorded.
    @ivar command: The full name of the command, in lower case.
    @ivar options: The names of the options it exercises.
    @ivar steps: The setup, then, from C{first} on, the commands whose answers count.
    @ivar expected: The answers of Redis 7.2, for what 7.0.15 lacks; else L{None}.
    """

    line: str
    command: str
    options: tuple[str, ...]
    steps: tuple[Step, ...]
    first: int
    expected: tuple[Any, ...] | None

    @property
    def ends_server(self) -> bool:
        """Tell whether it needs a server of its own."""
        return any(step.mark == "!" for step in self.steps)

    @property
    def id(self) -> str:
        """The example's name in reports and in the recorded answers."""
        return f"{self.command}: {self.line}"


def load_examples() -> list[Example]:
    """Read all tables, in the order of their files' names."""
    return [
        example
        for path in sorted((TESTDATA / "options").glob("*.txt"))
        for example in examples(path.read_text("utf-8"))
    ]


def examples(text: str) -> Iterator[Example]:
    """Read the examples of one table."""
    command = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            command = line[1:-1]
        elif line and not line.startswith("#"):
            yield _example(command, line)


def _example(command: str, line: str) -> Example:
    """Read one line."""
    rest, expected = line, None
    if line.startswith("7.2 "):
        rest, _, answers = line[4:].partition(" => ")
        expected = tuple(json.loads(answers))
    options, _, calls = rest.partition(" : ")
    setup, _, compared = calls.rpartition("> ")
    before = _steps(setup)
    return Example(
        line=line,
        command=command,
        options=tuple(option.strip() for option in options.split(",") if option.strip() != "-"),
        steps=(*before, *_steps(compared)),
        first=len(before),
        expected=expected,
    )


def _steps(text: str) -> list[Step]:
    """Read commands with C{;} between them."""
    steps: list[Step] = []
    words: list[str] = []
    for word in [*shlex.split(text), ";"]:
        if word != ";":
            words.append(word)
        elif words:
            marked = words[0] in MARKS
            steps.append(Step(words[0] if marked else "", tuple(words[1:] if marked else words)))
            words = []
    return steps


def probe(example: Example, connection: Connection) -> list[Any]:
    """
    Run an example and bring its answers into the form in which they're compared and recorded.

    @param connection: New, to a server without keys.
    @return: The answers from the call on, as JSON values: see L{plain}.
    """
    replies: list[Reply] = []
    answers: list[Any] = []
    for number, step in enumerate(example.steps):
        args = [_argument(word, replies) for word in step.args]
        if step.mark and step.mark in "-!":
            connection.send(args)
            continue
        reply = connection.call(args)
        replies.append(reply)
        if number >= example.first:
            answers.append(plain(reply, step.mark))
        elif isinstance(reply, ErrorReply):
            raise AssertionError(f"{example.id}: the setup {step.args} was refused: {reply.text!r}")
    return answers


def _argument(word: str, replies: Sequence[Reply]) -> bytes:
    """Turn a word of an example into the argument that is sent."""
    if word.startswith("@hex:"):
        return bytes.fromhex(word[5:])
    if word == "@last" or word.startswith("@-"):
        reply = replies[-1 if word == "@last" else int(word[1:])]
        return reply if isinstance(reply, bytes) else str(reply).encode()
    return word.encode()


def plain(reply: Reply, mark: str = "") -> Any:
    """
    Turn a reply into a JSON value: strings byte by byte as Latin-1, errors as C{{"error": text}}.

    With C{~} every list is sorted, and with C{?} there's only the name of the reply's kind.
    """
    if isinstance(reply, ErrorReply):
        return {"error": reply.text.decode("latin-1")}
    if mark == "?":
        return {"kind": type(reply).__name__}
    if isinstance(reply, bytes):
        return reply.decode("latin-1")
    if isinstance(reply, list):
        items = [plain(item, mark) for item in reply]
        return sorted(items, key=json.dumps) if mark == "~" else items
    if isinstance(reply, dict):
        return [[plain(key, mark), plain(value, mark)] for key, value in reply.items()]
    return reply


def recorded() -> Mapping[str, list[Any]]:
    """Read the answers of the real server, by L{Example.id}."""
    answers: dict[str, list[Any]] = json.loads(RECORDED.read_text("utf-8"))
    return answers


def wanted(example: Example, answers: Mapping[str, list[Any]]) -> list[Any]:
    """The answers that an example must get; a line that was never recorded is a KeyError."""
    return list(example.expected) if example.expected is not None else answers[example.id]


def failures(
    cases: Sequence[Example], connect: Callable[[], Connection], flush: Callable[[], object]
) -> list[str]:
    """
    Run examples and tell which answers differ from the real server's.

    @param connect: Opens a new connection to the server under test.
    @param flush: Removes all its keys; called before each example.
    @return: One line for each difference, empty if there's none.
    """
    answers = recorded()
    problems = []
    for example in cases:
        flush()
        got, expected = probe(example, connect()), wanted(example, answers)
        if got != expected:
            shown = (json.dumps(answer, ensure_ascii=False) for answer in (expected, got))
            problems.append("{}\n    expected {}\n    got      {}".format(example.id, *shown))
    return problems


class SocketConnection:
    """A blocking connection to a real server, for recording and comparing."""

    def __init__(self, path: str, timeout: float = 10.0) -> None:
        """Connect to the Unix socket at C{path}; C{timeout} in seconds bounds every wait for a reply."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(path)
        self._reader = hiredis.Reader()

    def call(self, args: list[bytes]) -> Reply:
        """Send a command and wait for its reply."""
        self.send(args)
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError(f"closed before the reply to {args!r}")
            self._reader.feed(data)
        return _decoded(reply)

    def send(self, args: list[bytes]) -> None:
        """Send a command and don't wait."""
        parts = [b"*%d\r\n" % len(args), *(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args)]
        self._socket.sendall(b"".join(parts))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _decoded(reply: Any) -> Reply:
    """Replace hiredis's errors, at any depth, by ours."""
    if isinstance(reply, hiredis.ReplyError):
        return ErrorReply(str(reply).encode("latin-1"))
    if isinstance(reply, list):
        return [_decoded(item) for item in reply]
    plain: Reply = reply
    return plain


def ask_real(path: str) -> dict[str, list[Any]]:
    """Ask a real redis-server every example that 7.0.15 can answer, on its Unix socket."""
    answers = {}
    for example in load_examples():
        if example.expected is not None or example.ends_server:
            continue
        connection = SocketConnection(path)
        connection.call([b"FLUSHALL"])
        answers[example.id] = probe(example, connection)
        connection.close()
    return answers


def record() -> tuple[int, list[str]]:
    """
    Start the installed redis-server, which is to be 7.0.15, and keep its answers in L{RECORDED}.

    @return: How many were recorded, and the lines whose call it refused as malformed: mistakes of the table.
    """
    with RealRedis() as server:
        answers = ask_real(server.path)
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(answers.items()))
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
    return len(answers), [key for key, value in answers.items() if malformed(value[:1])]


def malformed(answers: Sequence[Any]) -> bool:
    """Tell whether an answer says that the server doesn't know the command or one of its options."""
    words = ("syntax error", "wrong number of arguments", "unknown command", "unknown subcommand")
    errors = [answer["error"].lower() for answer in answers if isinstance(answer, dict) and "error" in answer]
    return any(word in error for error in errors for word in words)
