"""A keyspace of ours beside a real redis-server: the same commands to both, and their replies as bytes."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.redis_server import BlockingClient, RedisServer
from tinykv.testing.embedded import Embedded

SCRIPTS = Path(__file__).parent.parent / "testdata" / "scripts"


class Pair:
    """
    Sends commands to both.

    @ivar ours: The keyspace. Its clock stands still, at the server's time of the last clear.
    @ivar theirs: A connection to the server.
    """

    def __init__(self, server: RedisServer, proto: int = 2) -> None:
        self.theirs: BlockingClient = server.connect()
        self.theirs.call("HELLO", proto)
        self.proto = proto
        self.clear()

    def clear(self) -> None:
        """Begin again without any key."""
        self.theirs.call("FLUSHALL")
        self.theirs.call("SELECT", 0)
        self.db = 0
        self.ours = Embedded()
        seconds, micros = self.theirs.call("TIME")
        self.ours.now = int(seconds) * 1000 + int(micros) // 1000

    def run(self, *arguments: bytes) -> tuple[bytes, bytes]:
        """Give our reply, then theirs."""
        if arguments[0].upper() == b"SELECT":
            self.db = int(arguments[1])
            reply = self.theirs.raw(*arguments)
            return reply, reply
        return self.ours.run(*arguments, db=self.db, proto=self.proto), self.theirs.raw(*arguments)

    def differences(
        self, commands: Iterable[Sequence[bytes]], unordered: frozenset[bytes] = frozenset()
    ) -> list[str]:
        """Run commands, and describe those whose replies differ; that of C{unordered} ones may in order."""
        found: list[str] = []
        for arguments in commands:
            ours, theirs = self.run(*arguments)
            if arguments[0].lower() in unordered:
                ours, theirs = _sorted(ours), _sorted(theirs)
            if ours != theirs:
                found.append(f"{arguments!r}: ours {ours!r}, theirs {theirs!r}")
        return found


def _sorted(reply: bytes) -> bytes:
    """Give the lines of a reply in one order."""
    return b"\r\n".join(sorted(reply.split(b"\r\n")))


def script(line: str) -> list[list[bytes]]:
    """Read commands separated by semicolons, their arguments split and quoted as a shell does."""
    commands: list[list[bytes]] = [[]]
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";")
    lexer.whitespace_split = True
    lexer.commenters = ""
    for word in lexer:
        if word == ";":
            commands.append([])
        else:
            commands[-1].append(word.encode("latin-1").decode("unicode_escape").encode("latin-1"))
    return [command for command in commands if command]


def check_scripts(server: RedisServer, name: str, unordered: frozenset[bytes] = frozenset()) -> list[str]:
    """
    Run each line of a file in testdata/scripts on both, with no keys at first, in RESP2 and RESP3.

    @return: All differences.
    """
    lines = (SCRIPTS / f"{name}.txt").read_text("ascii").splitlines()
    assert lines
    found: list[str] = []
    for proto in (2, 3):
        pair = Pair(server, proto)
        for line in lines:
            pair.clear()
            differences = pair.differences(script(line), unordered)
            if differences:
                # A machine that stalls for long makes a TTL differ, but not twice.
                pair.clear()
                differences = pair.differences(script(line), unordered)
            found += [f"RESP{proto} {line}: {one}" for one in differences]
    return found
