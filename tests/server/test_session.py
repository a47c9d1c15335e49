"""One connection: order of replies, back-pressure both ways, limits, and its end."""

from __future__ import annotations

from socket import SO_KEEPALIVE, SOL_SOCKET
from sys import getrefcount

from twisted.trial.unittest import SynchronousTestCase

from tests.server.harness import Client, SocketTransport, Store
from tinykv.resp.replies import encode_command
from tinykv.server.outbound import SEND_BYTES
from tinykv.server.session import CHUNK_BYTES

OK = b"+OK\r\n"


def transport_of(client: Client) -> SocketTransport:
    """Give the transport of a client that was connected with room."""
    assert isinstance(client.transport, SocketTransport)
    return client.transport


class OrderTests(SynchronousTestCase):
    """Replies leave in the order of their requests."""

    def setUp(self) -> None:
        self.store = Store()
        self.client = self.store.connect()

    def test_what_comes_behind_a_write_waits_for_it(self) -> None:
        self.store.log.held = True
        self.client.pipeline(b"SET k 1", b"PING", b"GET k", b"NOSUCH", b"INCR k", b"ECHO end")
        self.store.turn()
        self.assertEqual(self.client.taken(), b"")
        self.store.log.let_go()
        self.store.turn()
        self.assertEqual(
            self.client.taken(),
            b"+OK\r\n+PONG\r\n$1\r\n1\r\n"
            b"-ERR unknown command 'NOSUCH', with args beginning with: \r\n:2\r\n$3\r\nend\r\n",
        )

    def test_a_read_with_nothing_before_it_is_answered_at_once(self) -> None:
        self.store.log.held = True
        other = self.store.connect()
        other.pipeline(b"SET k 1")
        self.store.turn()
        self.client.feed(encode_command([b"GET", b"k"]))
        self.assertEqual(self.client.taken(), b"$-1\r\n")
        self.assertEqual(other.taken(), b"")

    def test_a_request_in_pieces(self) -> None:
        for byte in encode_command([b"ECHO", b"a\r\nb"]):
            self.assertEqual(self.client.taken(), b"")
            self.client.feed(bytes([byte]))
        self.assertEqual(self.client.taken(), b"$4\r\na\r\nb\r\n")

    def test_inline(self) -> None:
        self.client.feed(b"PING\r\nECHO 'a b'\r\n")
        self.assertEqual(self.client.taken(), b"+PONG\r\n$3\r\na b\r\n")

    def test_a_long_pipeline_of_mixed_commands(self) -> None:
        depth = self.store.front.pipeline_depth
        self.client.pipeline(*[b"INCR k", b"GET k"] * depth)
        self.store.turn()
        wanted = b"".join(b":%d\r\n$%d\r\n%d\r\n" % (i, len(str(i)), i) for i in range(1, depth + 1))
        self.assertEqual(self.client.taken(), wanted)
        self.assertEqual(self.client.transport.producerState, "producing")

    def test_words_of_refusals(self) -> None:
        cases = {
            b"NOSUCH a b": b"ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' ",
            b"CONFIG|GET a": b"ERR unknown command 'CONFIG|GET', with args beginning with: 'a' ",
            b"GET": b"ERR wrong number of arguments for 'get' command",
            b"CONFIG": b"ERR wrong number of arguments for 'config' command",
            b"config get": b"ERR wrong number of arguments for 'config|get' command",
            b"Config nosuch": b"ERR unknown subcommand 'nosuch'. Try CONFIG HELP.",
            b"OBJECT": b"ERR wrong number of arguments for 'object' command",
            b"SELECT x": b"ERR value is not an integer or out of range",
            b"PING a b": b"ERR wrong number of arguments for 'ping' command",
        }
        for request, text in cases.items():
            self.assertEqual(self.client.says(request), b"-%b\r\n" % text)

    def test_a_change_of_protocol_keeps_its_place(self) -> None:
        self.store.log.held = True
        self.client.pipeline(b"HSET h f v", b"HGETALL h", b"HELLO 3", b"HGETALL h")
        self.client.pipeline(b"HSET h g w", b"RESET", b"HGETALL h")
        self.store.turn()
        self.store.log.let_go()
        self.store.turn()
        said = self.client.taken()
        array, rest = said.split(b"%7\r\n", 1)
        self.assertEqual(array, b":1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n")
        self.assertIn(b"%1\r\n$1\r\nf\r\n$1\r\nv\r\n:1\r\n+RESET\r\n*4\r\n", rest)

    def test_what_is_shown_of_the_data_keeps_its_place(self) -> None:
        self.store.log.held = True
        name = b"hash-max-listpack-entries"
        self.client.pipeline(b"SET a 1", b"INFO keyspace", b"CONFIG SET %b 7" % name, b"CONFIG GET %b" % name)
        self.store.turn()
        self.store.log.let_go()
        self.store.turn()
        said = self.client.taken()
        self.assertIn(b"db0:keys=1,expires=0", said)
        self.assertTrue(said.endswith(b"+OK\r\n*2\r\n$25\r\n%b\r\n$1\r\n7\r\n" % name))

    def test_a_broken_command_is_told_and_the_connection_stays(self) -> None:
        def fail(*_: object) -> bytes:
            raise ZeroDivisionError

        self.store.front.routes.by_name["echo"].serve = fail
        said = self.client.says(b"ECHO a", b"PING")
        self.assertEqual(said, b"-ERR internal error: the log of the store has the details\r\n+PONG\r\n")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.store.front.defects, 1)


class PressureTests(SynchronousTestCase):
    """Neither side has to hold more than it wants."""

    def setUp(self) -> None:
        self.store = Store(output_buffer_limit=2 << 20, pipeline_depth=4)

    def test_small_replies_go_to_the_socket(self) -> None:
        client = self.store.connect(room=100)
        self.assertEqual(client.says(b"PING"), b"+PONG\r\n")
        self.assertEqual(transport_of(client).waiting, b"")
        self.assertIsNone(client.transport.producer)

    def test_a_client_that_does_not_read_is_not_read_from(self) -> None:
        client = self.store.connect(room=10)
        client.pipeline(b"ECHO 0123456789", b"SET k v")
        client.pipeline(b"GET k")
        self.store.turn()
        self.assertEqual(client.taken(), b"$10\r\n01234")
        self.assertEqual(client.transport.producerState, "paused")
        transport_of(client).drain(1000)
        self.store.turn()
        self.assertEqual(client.taken(), b"56789\r\n+OK\r\n$1\r\nv\r\n")
        self.assertEqual(client.transport.producerState, "producing")
        self.assertIsNone(client.transport.producer)

    def test_a_full_socket(self) -> None:
        client = self.store.connect(room=0)
        client.pipeline(b"PING")
        self.assertEqual(transport_of(client).waiting, b"+PONG\r\n")
        transport_of(client).drain(3)
        self.assertEqual(client.transport.producerState, "paused")
        transport_of(client).drain(100)
        self.assertEqual(client.taken(), b"+PONG\r\n")
        self.assertEqual(client.says(b"PING"), b"+PONG\r\n")

    def test_a_transport_without_a_socket_says_when_it_is_full(self) -> None:
        client = self.store.connect()
        assert client.transport.producer is not None
        client.transport.producer.pauseProducing()
        client.pipeline(b"PING", b"SET k v")
        self.store.turn()
        self.assertEqual(client.taken(), b"")
        client.transport.producer.resumeProducing()
        self.store.turn()
        self.assertEqual(client.taken(), b"+PONG\r\n+OK\r\n")

    def test_many_large_replies_stop_the_pipeline(self) -> None:
        client = self.store.connect(room=1 << 30)
        client.call([b"SET", b"k", b"x" * (SEND_BYTES + 1)])
        transport_of(client).socket.room = 0
        client.pipeline(*[b"GET k"] * 100)
        self.assertEqual(client.session.issued, 2)
        self.assertFalse(transport_of(client).aborted)
        for _ in range(99):
            transport_of(client).drain(SEND_BYTES + 100)
        self.store.turn()
        self.assertEqual(client.session.issued, 101)

    def test_replies_that_wait_for_a_write_stop_the_pipeline(self) -> None:
        store = Store()
        store.log.held = True
        client = store.connect()
        text = b"x" * (SEND_BYTES // 8)
        echo = encode_command([b"ECHO", text])
        client.feed(encode_command([b"SET", b"k", b"v"]) + echo * 30)
        store.turn()
        self.assertLessEqual(client.session.issued, 10)
        self.assertEqual(client.transport.producerState, "paused")
        store.log.let_go()
        store.turn()
        self.assertEqual(client.taken(), OK + b"$%d\r\n%b\r\n" % (len(text), text) * 30)
        self.assertEqual(client.transport.producerState, "producing")
        self.assertEqual(client.call([b"PING"]), b"PONG")

    def test_past_the_output_limit_the_client_is_closed(self) -> None:
        client = self.store.connect(room=1 << 30)
        limit = self.store.front.output_buffer_limit
        for size, closed in ((limit - 100, False), (limit + 1, True)):
            transport_of(client).drain(1 << 30)
            client.call([b"SET", b"k", b"x" * size])
            transport_of(client).socket.room = 0
            client.pipeline(b"GET k")
            self.assertEqual(transport_of(client).aborted, closed)
        self.assertEqual(self.store.front.output_limit_closes, 1)

    def test_as_many_commands_under_way_as_may_be(self) -> None:
        self.store.log.held = True
        client = self.store.connect()
        client.pipeline(*[b"INCR k"] * 6)
        self.store.turn()
        self.assertEqual(client.session.issued, 4)
        self.assertEqual(client.transport.producerState, "paused")
        self.store.log.let_go()
        self.store.turn()
        self.assertEqual(client.taken(), b":1\r\n:2\r\n:3\r\n:4\r\n:5\r\n:6\r\n")
        self.assertEqual(client.transport.producerState, "producing")

    def test_a_client_that_broke_away_is_no_trouble(self) -> None:
        self.store.log.held = True
        client = self.store.connect(room=100)
        client.pipeline(b"SET k v", b"GET k")
        self.store.turn()
        client.lose()
        self.store.log.let_go()
        self.store.turn()
        self.assertEqual(client.taken(), b"")
        self.assertEqual(self.store.connect().call([b"GET", b"k"]), b"v")

    def test_keep_alive(self) -> None:
        client = self.store.connect(room=1)
        self.assertIn((SOL_SOCKET, SO_KEEPALIVE, 1), transport_of(client).socket.options)
        off = Store(tcp_keepalive=0).connect(room=1)
        self.assertEqual(transport_of(off).socket.options, [])


class LimitTests(SynchronousTestCase):
    """What one client may ask for."""

    def test_protocol_errors_come_behind_everything_else(self) -> None:
        store = Store()
        client = store.connect()
        store.log.held = True
        client.feed(encode_command([b"SET", b"k", b"v"]) + b"*1\r\nx\r\n" + encode_command([b"PING"]))
        store.turn()
        self.assertFalse(client.closed)
        store.log.let_go()
        store.turn()
        self.assertEqual(client.taken(), b"+OK\r\n-ERR Protocol error: expected '$', got 'x'\r\n")
        self.assertTrue(client.closed)
        client.feed(encode_command([b"SET", b"k", b"w"]))
        self.assertEqual(store.connect().call([b"GET", b"k"]), b"v")
        self.assertEqual(store.front.protocol_errors, 1)

    def test_a_protocol_error_behind_a_full_pipeline(self) -> None:
        store = Store(pipeline_depth=1)
        client = store.connect()
        client.feed(encode_command([b"INCR", b"k"]) * 3 + b"*x\r\n")
        store.turn()
        self.assertEqual(client.taken(), b":1\r\n:2\r\n:3\r\n-ERR Protocol error: invalid multibulk length\r\n")

    def test_limits_of_requests(self) -> None:
        cases: list[tuple[dict[str, int], bytes, bytes, bytes]] = [
            (
                {"argument_limit": 16},
                encode_command([b"DEL", *[b"k"] * 15]),
                encode_command([b"DEL", *[b"k"] * 16]),
                b"invalid multibulk length",
            ),
            (
                {"bulk_limit": 1 << 20},
                encode_command([b"SET", b"k", b"x" * (1 << 20)]),
                encode_command([b"SET", b"k", b"x" * ((1 << 20) + 1)]),
                b"invalid bulk length",
            ),
            ({"inline_limit": 64}, b"ECHO " + b"x" * 58 + b"\r\n", b"x" * 66, b"too big inline request"),
        ]
        for options, at, past, text in cases:
            client = Store(**options).connect()
            client.feed(at)
            client.store.turn()
            self.assertNotIn(b"-", client.taken())
            client.feed(past)
            client.store.turn()
            self.assertEqual(client.taken(), b"-ERR Protocol error: %b\r\n" % text)
            self.assertTrue(client.closed)

    def test_a_web_browser_is_cut_off(self) -> None:
        # https://redis.io/docs/management/security: a foreign page may let it POST to a port of this host.
        store = Store()
        for line in (b"POST / HTTP/1.1", b"host: localhost:6379"):
            for before in (b"", b"MULTI\r\n"):
                client = store.connect()
                client.feed(before + line + b"\r\n\r\nSET stolen 1\r\n")
                client.feed(b"SET stolen 1\r\n")
                store.turn()
                self.assertTrue(client.closed)
        self.assertEqual(store.connect().call([b"EXISTS", b"stolen"]), 0)
        self.assertEqual(store.front.protocol_errors, 4)

    def test_the_query_buffer(self) -> None:
        store = Store(query_buffer_limit=1 << 20, bulk_limit=1 << 20)
        for size, closed in (((1 << 20) - 200, False), ((1 << 20) + 1, True)):
            client = store.connect(room=100)
            client.feed(b"*9\r\n$3\r\nSET\r\n$1000000\r\n" + b"x" * 1_000_000 + b"\r\n$1000000\r\n")
            client.feed(b"x" * (size - 1_000_000))
            self.assertEqual(transport_of(client).aborted, closed)
        self.assertEqual(store.front.query_limit_closes, 1)

    def test_maxclients(self) -> None:
        store = Store(maxclients=2)
        first, second, third = store.connect(), store.connect(), store.connect()
        store.turn()
        self.assertEqual(third.taken(), b"-ERR max number of clients reached\r\n")
        self.assertTrue(third.closed)
        third.lose()
        self.assertEqual(second.call([b"PING"]), b"PONG")
        first.lose()
        self.assertEqual(store.connect().call([b"PING"]), b"PONG")
        self.assertEqual((store.front.accepted, store.front.rejected), (4, 1))

    def test_idle_clients_are_closed_but_blocked_ones_stay(self) -> None:
        store = Store(timeout=10)
        idle, busy, blocked = store.connect(), store.connect(), store.connect()
        blocked.pipeline(b"BLPOP nosuch 0")
        store.turn(6)
        busy.says(b"PING")
        store.turn(6)
        self.assertEqual([idle.closed, busy.closed, blocked.closed], [True, False, False])

    def test_an_idle_client_that_does_not_read_is_closed_too(self) -> None:
        store = Store(timeout=10)
        client = store.connect(room=2)
        client.pipeline(b"PING")
        store.turn(12)
        self.assertTrue(transport_of(client).aborted)


class HoldTests(SynchronousTestCase):
    """A client that waits in a blocking command."""

    def setUp(self) -> None:
        self.store = Store()
        self.client = self.store.connect()
        self.other = self.store.connect()

    def test_what_comes_behind_waits_too(self) -> None:
        self.assertEqual(self.client.says(b"BLPOP l 0", b"PING", b"SET k v"), b"")
        self.client.pipeline(b"GET k")
        self.assertEqual(len(self.store.execution.waiters), 1)
        self.assertEqual(self.other.says(b"GET k", b"RPUSH l x"), b"$-1\r\n:1\r\n")
        self.assertEqual(self.client.taken(), b"*2\r\n$1\r\nl\r\n$1\r\nx\r\n+PONG\r\n+OK\r\n$1\r\nv\r\n")

    def test_timeout(self) -> None:
        self.client.pipeline(b"BLPOP l 1.5", b"PING")
        self.store.turn(1.4)
        self.assertEqual(self.client.taken(), b"")
        self.store.turn(0.2)
        self.assertEqual(self.client.taken(), b"*-1\r\n+PONG\r\n")
        self.assertEqual(len(self.store.execution.waiters), 0)

    def test_a_snapshot_takes_the_place_of_the_data(self) -> None:
        """Who waits in data that is gone is told; not so who waits in the new one, or whose command wasn't begun."""
        self.client.pipeline(b"BLPOP l 0")
        self.store.host.replaced(lambda operation: True)
        self.store.turn()
        self.store.host.replaced(lambda operation: True)
        self.assertEqual(self.other.says(b"RPUSH l x"), b":1\r\n")
        self.assertEqual(self.client.taken(), b"*2\r\n$1\r\nl\r\n$1\r\nx\r\n")
        self.client.says(b"BLPOP l 0")
        self.store.execution.forget()
        self.store.host.replaced(lambda operation: True)
        self.store.turn()
        self.assertEqual(
            self.client.taken(), b"-TIMEOUT the store was behind and took over a snapshot; outcome unknown\r\n"
        )
        # What was under way to the store that leads may be answered after all.
        self.client.session.answer(1, b"+late\r\n" + bytes(2 * SEND_BYTES))
        self.assertEqual(self.client.says(b"PING", b"PING"), b"+PONG\r\n+PONG\r\n")

    def test_who_has_left_keeps_no_replies(self) -> None:
        """Of what was under way there may be much, and it may take long."""
        session = self.client.session
        self.client.lose()
        reply = bytes(100)
        count = getrefcount(reply)
        for number in range(3):
            session.answer(number, reply)
        self.assertEqual(getrefcount(reply), count)

    def test_a_waiting_client_that_leaves_takes_nothing(self) -> None:
        self.client.says(b"BLPOP l 0")
        self.client.lose()
        self.store.turn()
        self.assertEqual(len(self.store.execution.waiters), 0)
        self.assertEqual(self.other.says(b"RPUSH l x", b"LLEN l"), b":1\r\n:1\r\n")

    def test_a_client_that_leaves_before_it_waits(self) -> None:
        for turns in (0, 1):
            self.store.log.held = True
            client = self.store.connect()
            client.pipeline(b"BLPOP l 5")
            for _ in range(turns):
                self.store.turn()
            client.lose()
            self.store.turn()
            self.store.log.let_go()
            self.store.turn()
            self.assertEqual(len(self.store.execution.waiters), 0)
            self.assertEqual(self.store.front.timed_waits, 0)

    def test_it_is_read_from_so_that_it_is_noticed_when_it_leaves(self) -> None:
        self.client.says(b"BLPOP l 0", b"PING")
        echo = encode_command([b"ECHO", b"x" * CHUNK_BYTES])
        for part in (echo[:100], echo[100:], echo * 39 + b"PI", b"NG\r\n"):
            self.client.feed(part)
            self.assertEqual(self.client.transport.producerState, "producing")
        self.assertGreater(self.client.session.query_buffer, 40 * CHUNK_BYTES)
        self.other.says(b"RPUSH l x")
        text = b"$%d\r\n%b\r\n" % (CHUNK_BYTES, b"x" * CHUNK_BYTES)
        self.assertEqual(
            self.client.taken(), b"*2\r\n$1\r\nl\r\n$1\r\nx\r\n+PONG\r\n" + text * 40 + b"+PONG\r\n"
        )
        self.assertEqual(self.client.session.query_buffer, 0)
        self.assertEqual(self.client.transport.producerState, "producing")

    def test_it_is_read_from_up_to_the_limit_of_the_query_buffer(self) -> None:
        store = Store(query_buffer_limit=1 << 20, bulk_limit=1 << 20)
        for size, closed in ((1 << 20, False), ((1 << 20) + 1, True)):
            client = store.connect(room=100)
            client.says(b"BLPOP l 0")
            client.feed(b"\n" * (size - 10))
            client.feed(b"\n" * 10)
            self.assertEqual(transport_of(client).aborted, closed)
            client.lose()
            store.turn()
            self.assertEqual(len(store.execution.waiters), 0)
        self.assertEqual(store.front.query_limit_closes, 1)

    def test_it_is_read_from_whatever_stopped_the_reading_before(self) -> None:
        self.store = Store(pipeline_depth=2)
        for words in ([b"PING", b"BLPOP l 0", b"PING"], [b"SET k v", b"SET k w", b"BLPOP l 0", b"PING"]):
            client = self.store.connect(room=4)
            client.pipeline(*words)
            self.store.turn()
            self.assertEqual(client.transport.producerState, "paused")
            transport_of(client).drain(1000)
            self.store.turn()
            self.assertEqual(len(self.store.execution.waiters), 1)
            self.assertEqual(client.transport.producerState, "producing")
            client.lose()
            self.store.turn()

    def test_bytes_that_are_no_request_behind_it(self) -> None:
        self.client.says(b"BLPOP l 0")
        self.client.feed(encode_command([b"PING"]) + b"*x\r\n")
        self.client.feed(encode_command([b"PING"]))
        self.assertFalse(self.client.session.closing)
        self.other.says(b"RPUSH l x")
        self.assertTrue(
            self.client.taken().endswith(b"x\r\n+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n")
        )
        self.assertTrue(self.client.closed)

    def test_bytes_that_are_no_request_of_one_that_wants_no_replies(self) -> None:
        self.client.feed(encode_command([b"CLIENT", b"REPLY", b"OFF"]) + b"*x\r\n")
        self.store.turn()
        self.assertEqual(self.client.taken(), b"")
        self.assertTrue(self.client.closed)

    def test_bytes_that_are_no_request_in_one_piece_with_it(self) -> None:
        self.client.feed(encode_command([b"BLPOP", b"l", b"0"]) + encode_command([b"PING"]) + b"*x\r\n")
        self.store.turn()
        self.client.feed(encode_command([b"PING"]))
        self.other.says(b"RPUSH l x")
        self.assertTrue(
            self.client.taken().endswith(b"x\r\n+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n")
        )
        self.assertTrue(self.client.closed)

    def test_an_element_that_is_there_is_taken_at_once(self) -> None:
        self.other.says(b"RPUSH l x")
        self.assertEqual(self.client.says(b"BLPOP l 0", b"PING"), b"*2\r\n$1\r\nl\r\n$1\r\nx\r\n+PONG\r\n")


class EndTests(SynchronousTestCase):
    """How a connection ends."""

    def setUp(self) -> None:
        self.store = Store()
        self.client = self.store.connect()

    def test_quit_behind_pending_writes(self) -> None:
        self.store.log.held = True
        self.client.pipeline(b"SET k v", b"QUIT", b"SET k w")
        self.store.turn()
        self.assertFalse(self.client.closed)
        self.store.log.let_go()
        self.store.turn()
        self.assertEqual(self.client.taken(), OK + OK)
        self.assertTrue(self.client.closed)
        self.assertEqual(self.store.connect().call([b"GET", b"k"]), b"v")

    def test_quit_waits_for_a_client_that_reads_slowly(self) -> None:
        client = self.store.connect(room=2)
        client.pipeline(b"QUIT")
        self.assertFalse(client.closed)
        transport_of(client).drain(100)
        self.assertEqual(client.taken(), OK)
        self.assertTrue(client.closed)

    def test_shutdown_answers_what_is_under_way(self) -> None:
        self.store.log.held = True
        blocked = self.store.connect()
        blocked.pipeline(b"BLPOP l 0")
        self.client.pipeline(b"SET k v")
        self.store.turn()
        self.store.front.quiesce()
        self.client.pipeline(b"SET k w")
        self.store.turn()
        self.assertFalse(self.client.closed)
        self.store.log.let_go()
        self.store.turn()
        self.assertEqual(self.client.taken(), OK)
        self.assertTrue(self.client.closed)
        self.assertFalse(blocked.closed)
        self.store.front.close()
        self.assertTrue(blocked.closed)


class HalfClosedTests(SynchronousTestCase):
    """A client that has sent all it wants to send, and reads on."""

    def setUp(self) -> None:
        self.store = Store(pipeline_depth=2)
        self.client = self.store.connect(room=1 << 20)

    def end(self, client: Client) -> None:
        """Let a client end its side."""
        client.session.readConnectionLost()

    def test_it_gets_its_replies(self) -> None:
        self.store.log.held = True
        self.client.pipeline(b"SET k 1", b"INCR k", b"INCR k", b"GET k")
        self.end(self.client)
        self.store.turn()
        self.assertFalse(self.client.closed)
        self.store.log.let_go()
        self.store.turn()
        self.assertEqual(self.client.taken(), b"+OK\r\n:2\r\n:3\r\n$1\r\n3\r\n")
        self.assertTrue(self.client.closed)

    def test_with_nothing_under_way_it_is_closed(self) -> None:
        self.client.says(b"PING")
        self.client.feed(b"*2\r\n$4\r\nEC")
        self.end(self.client)
        self.store.turn()
        self.assertTrue(self.client.closed)

    def test_one_that_reads_slowly(self) -> None:
        client = self.store.connect(room=3)
        client.pipeline(b"PING")
        self.end(client)
        self.store.turn()
        self.assertFalse(client.closed)
        transport_of(client).drain(100)
        self.store.turn()
        self.assertEqual(client.taken(), b"+PONG\r\n")
        self.assertTrue(client.closed)

    def test_one_that_waits_is_taken_to_have_left(self) -> None:
        self.client.says(b"BLPOP l 0")
        self.end(self.client)
        self.assertTrue(self.client.closed)

    def test_one_that_waits_only_after_that(self) -> None:
        self.client.pipeline(b"RPUSH l a", b"BLPOP l 0", b"BLPOP l 0", b"PING")
        self.end(self.client)
        self.store.turn()
        self.assertEqual(self.client.taken(), b":1\r\n*2\r\n$1\r\nl\r\n$1\r\na\r\n")
        self.assertTrue(self.client.closed)
        self.client.lose()
        self.store.turn()
        self.assertEqual(len(self.store.execution.waiters), 0)

    def test_what_is_pushed_behind_its_end_is_for_others(self) -> None:
        """Also if its command was still under way when it left, or was kept until then."""
        other = self.store.connect()
        for words in ([b"BLPOP l 0"], [b"BLPOP m 0", b"BLPOP l 0"]):
            other.says(b"RPUSH m a")
            client = self.store.connect(room=1 << 20)
            self.store.log.held = True
            client.pipeline(*words)
            self.store.turn()
            self.end(client)
            if len(words) > 1:
                # The first of them is served now, and the second one is under way.
                self.store.log.let_go()
                self.store.log.held = True
                self.store.turn()
            other.pipeline(b"RPUSH l a", b"LPOP l")
            self.store.turn()
            self.store.log.let_go()
            self.store.turn()
            self.assertEqual(other.taken(), b":1\r\n$1\r\na\r\n", words)
            self.assertTrue(client.closed)
            client.lose()


class PasswordTests(SynchronousTestCase):
    """What a client may do before it has shown the password."""

    def setUp(self) -> None:
        self.store = Store(requirepass="secret")
        self.client = self.store.connect()

    def test_nothing_but_a_few_commands(self) -> None:
        cases = {
            b"GET k": b"-NOAUTH Authentication required.\r\n",
            b"MULTI": b"-NOAUTH Authentication required.\r\n",
            b"EXEC": b"-EXECABORT Transaction discarded because of: NOAUTH Authentication required.\r\n",
            b"NOSUCH": b"-ERR unknown command 'NOSUCH', with args beginning with: \r\n",
            b"GET": b"-ERR wrong number of arguments for 'get' command\r\n",
            b"RESET": b"+RESET\r\n",
            b"AUTH wrong": b"-WRONGPASS invalid username-password pair or user is disabled.\r\n",
            b"AUTH default wrong": b"-WRONGPASS invalid username-password pair or user is disabled.\r\n",
            b"AUTH a b c": b"-ERR syntax error\r\n",
        }
        for request, reply in cases.items():
            self.assertEqual(self.client.says(request), reply)
        self.assertEqual(self.store.front.failed_auths, 2)

    def test_auth_within_a_pipeline_opens_what_follows(self) -> None:
        large = b"x" * 20_000
        self.client.feed(
            encode_command([b"AUTH", b"secret"])
            + encode_command([b"SET", b"k", large])
            + encode_command([b"STRLEN", b"k"])
        )
        self.store.turn()
        self.assertEqual(self.client.taken(), b"+OK\r\n+OK\r\n:20000\r\n")
        self.assertEqual(self.client.says(b"RESET", b"GET k"), b"+RESET\r\n-NOAUTH Authentication required.\r\n")

    def test_one_that_does_not_read_its_replies(self) -> None:
        client = self.store.connect(room=3)
        client.feed(b"PING\r\nAUTH secret\r\nPING\r\n")
        client.feed(b"SET k v\r\n")
        transport_of(client).drain(1000)
        self.store.turn()
        self.assertEqual(client.taken(), b"-NOAUTH Authentication required.\r\n+OK\r\n+PONG\r\n+OK\r\n")

    def test_tighter_limits(self) -> None:
        cases = {
            encode_command([b"DEL", *[b"k"] * 10]): b"-ERR Protocol error: unauthenticated multibulk length\r\n",
            encode_command([b"AUTH", b"x" * 16385]): b"-ERR Protocol error: unauthenticated bulk length\r\n",
        }
        for data, reply in cases.items():
            client = self.store.connect()
            client.feed(data)
            self.store.turn()
            self.assertEqual(client.taken(), reply)
            self.assertTrue(client.closed)

    def test_hello(self) -> None:
        self.assertTrue(self.client.says(b"HELLO 3").startswith(b"-NOAUTH HELLO must be called"))
        self.assertTrue(self.client.says(b"HELLO 3 AUTH default secret SETNAME me").startswith(b"%7\r\n"))
        self.assertEqual(self.client.says(b"CLIENT GETNAME", b"GET nosuch"), b"$2\r\nme\r\n_\r\n")
