"""CLIENT, and what a connection is told of itself."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.option_examples import ErrorReply, Reply
from tests.server.harness import SocketTransport, Store

OK = b"+OK\r\n"


def fields(line: Reply) -> dict[str, str]:
    """Read a line of CLIENT LIST."""
    assert isinstance(line, bytes)
    return dict(field.split("=", 1) for field in line.decode().split())


class ClientTests(SynchronousTestCase):
    """Several clients of one store."""

    def setUp(self) -> None:
        self.store = Store()
        self.client = self.store.connect()
        self.other = self.store.connect()

    def test_info(self) -> None:
        self.client.says(
            b"HELLO 3", b"CLIENT SETNAME me", b"CLIENT SETINFO lib-name snake", b"CLIENT SETINFO lib-ver 1.2"
        )
        self.client.says(b"SELECT 3", b"CLIENT NO-EVICT on", b"CLIENT NO-TOUCH on")
        self.store.turn(3.5)
        found = fields(self.client.call([b"CLIENT", b"INFO"]))
        self.assertEqual(found["addr"], "127.0.0.1:40001")
        self.assertEqual(found["laddr"], "127.0.0.1:6379")
        wanted = {
            "name": "me",
            "db": "3",
            "flags": "eT",
            "resp": "3",
            "lib-name": "snake",
            "lib-ver": "1.2",
            "age": "3",
        }
        self.assertEqual({name: found[name] for name in wanted}, wanted)
        self.assertEqual((found["cmd"], found["multi"], found["idle"]), ("client|info", "-1", "0"))

    def test_the_query_buffer(self) -> None:
        """It shows what isn't run yet; the request that asks counts, as in Redis."""
        self.other.feed(b"*2\r\n$3\r\nGE")
        lines = self.client.call([b"CLIENT", b"LIST"])
        assert isinstance(lines, bytes)
        self.assertEqual([fields(line)["qbuf"] for line in lines.splitlines()], ["26", "2"])
        self.assertEqual(fields(self.client.call([b"client", b"info"]))["qbuf"], "26")

    def test_kill_of_one_that_waits(self) -> None:
        """What is pushed right behind isn't for it any more."""
        self.other.says(b"BLPOP l 0")
        number = self.other.session.client_id
        said = self.client.says(b"CLIENT KILL ID %d" % number, b"RPUSH l x", b"LLEN l")
        self.assertEqual(said, b":1\r\n:1\r\n:1\r\n")
        self.other.lose()
        self.store.turn()
        self.assertEqual((len(self.store.execution.waiters), self.store.front.timed_waits), (0, 0))

    def test_unblock_twice(self) -> None:
        number = self.other.session.client_id
        for _ in range(2):
            self.other.says(b"BLPOP l 0")
            said = self.client.says(b"CLIENT UNBLOCK %d ERROR" % number, b"CLIENT UNBLOCK %d" % number)
            self.assertEqual(said, b":1\r\n:0\r\n")
            self.assertEqual(self.other.taken(), b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n")

    def test_list(self) -> None:
        self.other.says(b"MULTI", b"GET k", b"GET l")
        lines = self.client.call([b"CLIENT", b"LIST"])
        assert isinstance(lines, bytes)
        first, second = lines.splitlines()
        self.assertEqual(fields(second)["flags"], "x")
        self.assertEqual((fields(second)["multi"], fields(second)["cmd"]), ("2", "get"))
        mine = self.client.session.client_id
        self.assertEqual(fields(first)["id"], str(mine))
        self.assertEqual(self.client.call([b"CLIENT", b"LIST", b"TYPE", b"pubsub"]), b"")
        ids = [b"CLIENT", b"LIST", b"ID", b"%d" % self.other.session.client_id, b"9999"]
        self.assertEqual(self.client.call(ids), second + b"\n")

    def test_refusals(self) -> None:
        cases = {
            b"CLIENT LIST TYPE": b"ERR syntax error",
            b"CLIENT LIST ID x": b"ERR Invalid client ID",
            b"CLIENT LIST FOO a": b"ERR syntax error",
            b"CLIENT KILL": b"ERR wrong number of arguments for 'client|kill' command",
            b"CLIENT KILL a b": b"ERR syntax error",
            b"CLIENT KILL ID 1 SKIPME": b"ERR syntax error",
            b"CLIENT KILL ID x": b"ERR client-id should be greater than 0",
            b"CLIENT KILL SKIPME maybe": b"ERR syntax error",
            b"CLIENT KILL 1.2.3.4:5": b"ERR No such client",
            b"CLIENT REPLY maybe": b"ERR syntax error",
            b"CLIENT NO-EVICT maybe": b"ERR syntax error",
            b"CLIENT NO-TOUCH maybe": b"ERR syntax error",
            b"CLIENT UNBLOCK x": b"ERR value is not an integer or out of range",
            b"CLIENT UNBLOCK x foo": b"ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
            b"CLIENT GETREDIR": b"ERR unknown subcommand 'GETREDIR'. Try CLIENT HELP.",
            b"HELLO 4": b"NOPROTO unsupported protocol version",
            b"HELLO x": b"ERR Protocol version is not an integer or out of range",
            b"HELLO 3 FOO": b"ERR Syntax error in HELLO option 'FOO'",
        }
        for request, text in cases.items():
            self.assertEqual(self.client.call(request.split()), ErrorReply(text), request)

    def test_kill_by_address(self) -> None:
        self.assertEqual(self.client.says(b"CLIENT KILL " + self.other.session.peer_text), OK)
        self.assertTrue(self.other.closed)

    def test_kill_by_filters(self) -> None:
        third = self.store.connect()
        third.says(b"BLPOP l 0")
        self.assertEqual(self.client.says(b"CLIENT KILL USER default LADDR 127.0.0.1:6379 TYPE normal"), b":2\r\n")
        self.assertEqual((self.client.closed, self.other.closed, third.closed), (False, True, True))
        for gone in (self.other, third):
            gone.lose()
        self.store.turn()
        self.assertEqual(len(self.store.execution.waiters), 0)

    def test_kill_one_that_does_not_read(self) -> None:
        for room in (0, 2):
            victim = self.store.connect(room=room)
            victim.pipeline(b"PING")
            self.assertEqual(self.client.says(b"CLIENT KILL ID %d" % victim.session.client_id), b":1\r\n")
            assert isinstance(victim.transport, SocketTransport)
            self.assertTrue(victim.transport.aborted)

    def test_kill_one_that_reads(self) -> None:
        victim = self.store.connect(room=100)
        victim.says(b"PING")
        self.assertEqual(self.client.says(b"CLIENT KILL ID %d" % victim.session.client_id), b":1\r\n")
        assert isinstance(victim.transport, SocketTransport)
        self.assertEqual([victim.transport.aborted, victim.closed], [False, True])

    def test_kill_oneself(self) -> None:
        me = b"%d" % self.client.session.client_id
        self.assertEqual(self.client.says(b"CLIENT KILL ID " + me), b":0\r\n")
        self.assertEqual(self.client.says(b"CLIENT KILL SKIPME no ID " + me, b"PING"), b":1\r\n")
        self.assertTrue(self.client.closed)

    def test_unblock(self) -> None:
        target = b"%d" % self.other.session.client_id
        self.assertEqual(self.client.says(b"CLIENT UNBLOCK " + target), b":0\r\n")
        for how, reply in ((b"", b"*-1\r\n"), (b" ERROR", b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n")):
            self.assertEqual(self.other.says(b"BLPOP l 0", b"PING"), b"")
            self.assertEqual(self.client.says(b"CLIENT UNBLOCK " + target + how), b":1\r\n")
            self.assertEqual(self.other.taken(), reply + b"+PONG\r\n")

    def test_reply_off_and_on(self) -> None:
        self.store.log.held = True
        self.client.pipeline(
            b"SET k 1", b"CLIENT REPLY OFF", b"GET k", b"INCR k", b"NOSUCH", b"CLIENT REPLY ON", b"GET k"
        )
        self.store.log.let_go()
        self.store.turn()
        self.assertEqual(self.client.taken(), OK + OK + b"$1\r\n2\r\n")

    def test_reply_skip(self) -> None:
        said = self.client.says(
            b"SET k 1", b"CLIENT REPLY SKIP", b"INCR k", b"INCR k", b"CLIENT REPLY SKIP", b"PING", b"PING"
        )
        self.assertEqual(said, OK + b":3\r\n+PONG\r\n")

    def test_skip_while_off(self) -> None:
        said = self.client.says(
            b"CLIENT REPLY OFF", b"CLIENT REPLY SKIP", b"PING", b"PING", b"CLIENT REPLY ON", b"PING"
        )
        self.assertEqual(said, OK + b"+PONG\r\n")

    def test_readonly(self) -> None:
        """This connection's reads may be old, and no other's."""
        self.client.says(b"SET k v")
        self.assertEqual(self.client.says(b"READONLY", b"GET k"), OK + b"$1\r\nv\r\n")
        self.assertIn(b" flags=r ", self.client.says(b"CLIENT INFO"))
        self.assertEqual((self.client.session.stale, self.other.session.stale), (True, False))
        self.assertEqual(self.client.says(b"READWRITE", b"GET k"), OK + b"$1\r\nv\r\n")
        self.assertFalse(self.client.session.stale)
        self.client.says(b"READONLY", b"RESET")
        self.assertFalse(self.client.session.stale)

    def test_reset(self) -> None:
        self.client.says(b"HELLO 3", b"CLIENT SETNAME me", b"SELECT 2", b"CLIENT REPLY OFF")
        self.assertEqual(self.client.says(b"RESET", b"CLIENT GETNAME"), b"+RESET\r\n$-1\r\n")
        self.assertEqual(self.client.session.db, 0)
