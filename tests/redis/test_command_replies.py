"""
COMMAND's replies: the shapes on the wire, and the same questions to a real server.
"""

from __future__ import annotations

from typing import Any

import hiredis
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.option_examples import SocketConnection
from tests.real_redis import REDIS_SERVER, RealRedis
from tinykv.errors import CommandError, SyntaxProblem
from tinykv.redis.catalogue import load
from tinykv.redis.command_replies import CommandReplies, select

CATALOGUE = load()
NAMES = (
    "get set sort eval xread zadd lmove migrate ping publish spublish msetnx georadius object object|encoding"
    " object|help memory memory|usage config config|get config|set client|id client command command|getkeys"
).split()
PROSE = {b"summary", b"complexity", b"history", b"replaced_by", b"notes"}


def replies(*names: str) -> CommandReplies:
    """The replies of a server with these commands; its patterns match by what they start with."""
    chosen = select(CATALOGUE, names or NAMES)
    return CommandReplies(chosen, lambda pattern, name: name.startswith(pattern.rstrip(b"*")))


def decoded(reply: bytes) -> Any:
    """Decode one whole reply."""
    reader = hiredis.Reader()
    reader.feed(reply)
    return reader.gets()


class RepliesTests(SynchronousTestCase):
    """Each subcommand by itself."""

    def test_info_on_the_wire(self) -> None:
        head = b"*1\r\n*10\r\n$3\r\nget\r\n:2\r\n"
        reply = replies().info([b"GET"], 2)
        self.assertTrue(reply.startswith(head + b"*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n"), reply)
        reply = replies().info([b"GET"], 3)
        self.assertTrue(reply.startswith(head + b"~2\r\n+readonly\r\n+fast\r\n"), reply)

    def test_info_of_what_is_not_there(self) -> None:
        self.assertEqual(replies().info([b"nosuch"], 2), b"*1\r\n$-1\r\n")
        self.assertEqual(replies().info([b"nosuch"], 3), b"*1\r\n_\r\n")
        self.assertEqual(replies("get").info([b"set"], 2), b"*1\r\n$-1\r\n")

    def test_info_without_names_is_command(self) -> None:
        self.assertEqual(replies().info([], 3), replies().every(3))
        self.assertEqual(len(decoded(replies().every(2))), 18)

    def test_only_the_subcommands_that_are_there(self) -> None:
        (entry,) = decoded(replies().info([b"memory"], 2))
        self.assertEqual([below[0] for below in entry[9]], [b"memory|usage"])
        docs = decoded(replies().docs([b"memory"], 3))
        self.assertEqual(list(docs[b"memory"][b"subcommands"]), [b"memory|usage"])

    def test_count(self) -> None:
        self.assertEqual(replies().count(), b":18\r\n")

    def test_docs_leave_out_what_is_not_there(self) -> None:
        self.assertEqual(replies().docs([b"nosuch"], 3), b"%0\r\n")
        docs = decoded(replies().docs([b"Get", b"nosuch", b"config|GET"], 3))
        self.assertEqual(list(docs), [b"get", b"config|get"])
        self.assertEqual(len(decoded(replies().docs([], 3))), 18)

    def test_descriptions_are_made_once(self) -> None:
        # A pipeline of COMMAND DOCS took 5 ms of all clients' time for each.
        ours = replies()
        self.assertIs(ours.every(2), ours.every(2))
        self.assertNotEqual(ours.every(2), ours.every(3))
        self.assertIs(ours.documented("get", 2), ours.documented("get", 2))
        self.assertNotEqual(ours.docs([], 2), ours.docs([], 3))

    def test_docs_have_our_summary(self) -> None:
        self.assertEqual(decoded(replies().docs([b"get"], 3))[b"get"][b"summary"], b"Reads a string.")

    def test_list(self) -> None:
        self.assertEqual(decoded(replies().list_names([])), [name.encode() for name in sorted(NAMES)])
        cases = {
            (b"filterby", b"aclcat", b"GEO"): [b"georadius"],
            (b"FILTERBY", b"ACLCAT", b"nosuch"): [],
            (b"FILTERBY", b"PATTERN", b"CONFIG*"): [b"config", b"config|get", b"config|set"],
            (b"FILTERBY", b"MODULE", b"any"): [],
        }
        for options, names in cases.items():
            self.assertEqual(decoded(replies().list_names(options)), names)

    def test_list_refuses_other_options(self) -> None:
        for options in ([b"x"], [b"FILTERBY", b"x", b"y"], [b"FILTERBY", b"PATTERN"], [b"FILTERBY"] * 4):
            self.assertRaises(SyntaxProblem, replies().list_names, options)

    def test_getkeys(self) -> None:
        keys = replies().getkeys(b"lmove a b LEFT LEFT".split())
        self.assertEqual(keys, b"*2\r\n$1\r\na\r\n$1\r\nb\r\n")
        keys = replies().getkeysandflags(b"SET a v".split(), 2)
        self.assertEqual(decoded(keys), [[b"a", [b"OW", b"update"]]])
        keys = replies().getkeysandflags(b"get a".split(), 3)
        self.assertEqual(keys, b"*1\r\n*2\r\n$1\r\na\r\n~2\r\n+RO\r\n+access\r\n")

    def test_help_are_simple_strings(self) -> None:
        lines = replies().help().split(b"\r\n")
        self.assertEqual(lines[1], b"+COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
        self.assertEqual(lines[-3], b"+HELP")

    def test_select_wants_known_names(self) -> None:
        self.assertRaises(KeyError, select, CATALOGUE, ["nosuch"])


class RealServerTests(SynchronousTestCase):
    """What a real server says to the same questions, without its prose and its order of sets."""

    def setUp(self) -> None:
        if REDIS_SERVER is None:
            raise SkipTest("redis-server isn't installed")
        server = RealRedis()
        self.addCleanup(server.close)
        self.connection = SocketConnection(server.path)
        self.addCleanup(self.connection.close)
        # With all of a container's subcommands, since the real server has them all.
        self.replies = replies(*(name for name, facts in CATALOGUE.items() if not facts.added_in_7_2))
        self.names = [name for name in NAMES if name not in ("client", "command", "config")]

    def test_info(self) -> None:
        for proto in (2, 3):
            self.connection.call([b"HELLO", b"%d" % proto])
            for name in self.names:
                real = self.connection.call([b"COMMAND", b"INFO", name.encode()])
                ours = decoded(self.replies.info([name.encode()], proto))
                self.assertEqual(_plain(ours), _plain(real), name)

    def test_docs(self) -> None:
        self.connection.call([b"HELLO", b"3"])
        for name in self.names:
            real = self.connection.call([b"COMMAND", b"DOCS", name.encode()])
            self.assertEqual(_plain(decoded(self.replies.docs([name.encode()], 3))), _plain(real), name)

    def test_refusals(self) -> None:
        calls = (
            "get a b", "ping a", "nosuch a", "zunion 3 a b", "config", "config nosuch", "config|get a",
            "eval x 0", "migrate h 1 a 0 1 keys b", "object encoding a", "object encoding", "object nosuch a",
        )  # fmt: skip
        for call in calls:
            args = call.encode().split(b" ")
            real = self.connection.call([b"COMMAND", b"GETKEYS", *args])
            try:
                ours: object = decoded(self.replies.getkeys(args))
            except CommandError as refusal:
                ours = refusal.wire
            wanted = getattr(real, "text", real)
            if len(args) > 1:  # the real server's arity check stands before
                self.assertEqual(ours, wanted, call)


def _plain(reply: Any) -> Any:
    """Leave out the prose of a reply, and its order where it has none."""
    if isinstance(reply, dict):
        return {key: _plain(value) for key, value in reply.items() if key not in PROSE}
    if isinstance(reply, list):
        items = [_plain(item) for item in reply]
        if len(items) % 2 == 0 and items and items[0] == b"notes":
            items = items[2:]  # a map of RESP2
        subcommands = all(isinstance(item, list) and len(item) == 10 for item in items)
        return sorted(items, key=repr) if subcommands else items
    return reply
