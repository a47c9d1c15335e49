"""Waiting clients beside those of a real Redis."""

from __future__ import annotations

import socket

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.regions import Region, Teller, lines
from tests.redis_server import BlockingClient, RedisServer, encode_command

CLIENTS = 5
KEYS = st.sampled_from(["a", "b", "c"])
END = st.sampled_from(["LEFT", "RIGHT"])
ELEMENT = st.integers(0, 99).map(str)

WRITES = st.one_of(
    lines("RPUSH {} {}", KEYS, ELEMENT),
    lines("LPUSH {} {} {}", KEYS, ELEMENT, ELEMENT),
    lines("RPUSH {} {} {} {}", KEYS, ELEMENT, ELEMENT, ELEMENT),
    lines("LPOP {}", KEYS),
    lines("DEL {}", KEYS),
    lines("SET {} text", KEYS),
    lines("ZADD {} 1 {} 2 {}", KEYS, ELEMENT, ELEMENT),
    lines("RENAME {} {}", KEYS, KEYS),
    lines("COPY {} {} REPLACE", KEYS, KEYS),
    lines("COPY {} {} DB 1", KEYS, KEYS),
    lines("MOVE {} 1", KEYS),
    lines("LMOVE {} {} {} {}", KEYS, KEYS, END, END),
    # To a key of its own: Redis 7.0 wakes nobody where SORT puts a list in the place of a value of another type.
    lines("SORT {} BY nosort STORE d", KEYS),
    lines("LRANGE {} 0 -1", KEYS),
)
WAITS = st.one_of(
    lines("BLPOP {} {} 0", KEYS, KEYS),
    lines("BRPOP {} 0", KEYS),
    lines("BLMOVE d {} LEFT RIGHT 0", KEYS),
    lines("BLMOVE {} {} {} {} 0", KEYS, KEYS, END, END),
    lines("BLMOVE {} {} {} {} 0", KEYS, KEYS, END, END),
    lines("BRPOPLPUSH {} {} 0", KEYS, KEYS),
    lines("BLMPOP 0 2 {} {} {} COUNT 2", KEYS, KEYS, END),
    lines("BZPOPMIN {} {} 0", KEYS, KEYS),
)
CLIENT = st.integers(0, CLIENTS - 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(CLIENT, st.one_of(WRITES, WAITS, WAITS)),
        st.tuples(CLIENT, st.lists(st.one_of(WRITES, WRITES, WAITS), min_size=1, max_size=4)),
    ),
    max_size=25,
)


class Link:
    """A connection to the real server that is asked what has arrived."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)

    def send(self, requests: list[list[bytes]]) -> None:
        """Send requests at once."""
        self._socket.sendall(b"".join(map(encode_command, requests)))

    def arrived(self) -> bytes:
        """Give what has arrived since the last time."""
        try:
            return self._socket.recv(1 << 20, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


class WaitingTests(SynchronousTestCase):
    """Who is told what, and when."""

    def test_like_redis(self) -> None:
        """Any clients that wait, write and run transactions are told what Redis tells them, after each step."""
        with RedisServer() as server:
            control = server.connect()

            @given(STEPS)
            def check(steps: list[tuple[int, str | list[str]]]) -> None:
                control.call("FLUSHALL")
                links = [Link(server.path) for _ in range(CLIENTS)]
                try:
                    self._compare(control, links, steps)
                finally:
                    for link in links:
                        link.close()
                    # Those who still wait have to be gone before the next round.
                    while control.call("CLIENT", "LIST").count(b"\n") > 2:
                        pass

            check()

    def _compare(self, control: BlockingClient, links: list[Link], steps: list[tuple[int, str | list[str]]]) -> None:
        region = Region()
        tellers = [Teller(number) for number in range(CLIENTS)]
        for who, step in steps:
            teller, link = tellers[who], links[who]
            if teller.blocked:
                continue
            if isinstance(step, str):
                link.send([step.encode().split()])
                region.apply(region.make(teller, step))
                queued = b""
            else:
                link.send([[b"MULTI"], *(line.encode().split() for line in step), [b"EXEC"]])
                region.apply(region.transaction(teller, *step))
                queued = b"+OK\r\n" + b"+QUEUED\r\n" * len(step)
            # What came before the first of these is done, and answered, before the second.
            control.call("PING")
            control.call("PING")
            for number, (told, heard) in enumerate(zip(tellers, links, strict=True)):
                expected = (queued if number == who else b"") + b"".join(told.heard())
                assert heard.arrived() == expected, (number, who, step)
        for key in ("a", "b", "c"):
            for db in (0, 1):
                mine = region.keyspace.databases[db].get(key.encode())
                control.call("SELECT", db)
                kind = control.call("TYPE", key)
                control.call("SELECT", 0)
                assert (kind == b"none") == (mine is None), key
