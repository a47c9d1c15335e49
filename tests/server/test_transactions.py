"""MULTI, EXEC, DISCARD, WATCH: what is queued, refused, run as one, or not at all."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.server.harness import Store
from tinykv.resp.replies import encode_command

OK = b"+OK\r\n"
QUEUED = b"+QUEUED\r\n"
ABORTED = b"-EXECABORT Transaction discarded because of previous errors.\r\n"


class TransactionTests(SynchronousTestCase):
    """One client's transactions, and another one in between."""

    def setUp(self) -> None:
        self.store = Store()
        self.client = self.store.connect()
        self.other = self.store.connect()

    def test_a_transaction_in_one_piece(self) -> None:
        said = self.client.says(b"SET k 1", b"MULTI", b"INCR k", b"GET k", b"PING", b"EXEC", b"GET k")
        self.assertEqual(said, OK + OK + QUEUED * 3 + b"*3\r\n:2\r\n$1\r\n2\r\n+PONG\r\n$1\r\n2\r\n")

    def test_several_in_a_row(self) -> None:
        said = self.client.says(*[b"MULTI", b"INCR k", b"EXEC"] * 3)
        self.assertEqual(said, b"".join(OK + QUEUED + b"*1\r\n:%d\r\n" % i for i in (1, 2, 3)))

    def test_reads_alone(self) -> None:
        self.assertEqual(
            self.client.says(b"SET k 1", b"MULTI", b"GET k", b"LLEN k", b"EXEC"),
            OK
            + OK
            + QUEUED * 2
            + (b"*2\r\n$1\r\n1\r\n-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        )

    def test_an_empty_one(self) -> None:
        self.assertEqual(self.client.says(b"MULTI", b"EXEC"), OK + b"*0\r\n")

    def test_it_is_one_entry(self) -> None:
        before = self.store.host.entries
        self.client.says(b"MULTI", b"SET a 1", b"SET b 2", b"EXEC")
        self.assertEqual(self.store.host.entries, before + 1)

    def test_a_failing_command_does_not_undo_the_others(self) -> None:
        said = self.client.says(b"MULTI", b"SET k x", b"INCR k", b"SET l y", b"EXEC", b"MGET k l")
        self.assertEqual(
            said,
            OK + QUEUED * 3 + b"*3\r\n+OK\r\n-ERR value is not an integer or out of range\r\n+OK\r\n"
            b"*2\r\n$1\r\nx\r\n$1\r\ny\r\n",
        )

    def test_a_refused_command_spoils_it(self) -> None:
        for refused in (b"NOSUCH", b"GET", b"CONFIG nosuch", b"CLIENT REPLY OFF", b"SHUTDOWN"):
            said = self.client.says(b"MULTI", b"SET k v", refused, b"EXEC", b"EXISTS k")
            self.assertTrue(said.startswith(OK + QUEUED + b"-ERR "), said)
            self.assertTrue(said.endswith(ABORTED + b":0\r\n"), said)
        self.assertFalse(self.store.stopped)

    def test_what_is_an_error_but_does_not_spoil_it(self) -> None:
        said = self.client.says(b"MULTI", b"MULTI", b"WATCH a", b"EXEC")
        self.assertEqual(
            said, OK + b"-ERR MULTI calls can not be nested\r\n-ERR WATCH inside MULTI is not allowed\r\n*0\r\n"
        )

    def test_discard(self) -> None:
        self.assertEqual(self.client.says(b"MULTI", b"SET k v", b"DISCARD", b"EXISTS k"), OK + QUEUED + OK + b":0\r\n")
        self.assertEqual(
            self.client.says(b"DISCARD", b"EXEC"), b"-ERR DISCARD without MULTI\r\n-ERR EXEC without MULTI\r\n"
        )

    def test_select_within(self) -> None:
        said = self.client.says(b"MULTI", b"SELECT 1", b"SET k v", b"SELECT 99", b"SELECT 01", b"EXISTS k", b"EXEC")
        self.assertTrue(said.endswith(b"-ERR value is not an integer or out of range\r\n:1\r\n"), said)
        self.assertEqual(self.client.says(b"EXISTS k", b"SELECT 0", b"EXISTS k"), b":1\r\n+OK\r\n:0\r\n")

    def test_what_is_chosen_within_holds_for_what_follows(self) -> None:
        said = self.client.says(b"MULTI", b"SELECT 1", b"SET k v", b"HELLO 3", b"EXEC", b"GET k", b"GET nosuch")
        self.assertTrue(said.endswith(b"$1\r\nv\r\n_\r\n"), said)
        said = self.client.says(b"MULTI", b"SELECT 0", b"EXEC", b"SET l v", b"SELECT 0", b"EXISTS l")
        self.assertTrue(said.endswith(b"+OK\r\n+OK\r\n:1\r\n"), said)

    def test_a_client_that_kills_itself_within(self) -> None:
        """As in Redis it gets the transaction's reply; what it sent behind is not run."""
        number = self.client.session.client_id
        said = self.client.says(
            b"MULTI", b"CLIENT KILL ID %d SKIPME no" % number, b"SET k v", b"EXEC", b"SET l v", b"PING"
        )
        self.assertEqual(said, OK + QUEUED * 2 + b"*2\r\n:1\r\n+OK\r\n")
        self.assertTrue(self.client.closed)
        self.assertEqual(self.other.says(b"EXISTS k l"), b":1\r\n")

    def test_a_setting_within(self) -> None:
        """It's in force for what follows in the transaction, on this store and when the log is replayed."""
        said = self.client.says(
            b"MULTI",
            b"HSET h a 1 b 2 c 3",
            b"OBJECT ENCODING h",
            b"CONFIG SET hash-max-listpack-entries 2 timeout 7 proto-max-bulk-len 2mb",
            b"CONFIG GET hash-max-listpack-entries",
            b"HSET g a 1 b 2 c 3",
            b"OBJECT ENCODING g",
            b"EXEC",
        )
        shown = b"*2\r\n$25\r\nhash-max-listpack-entries\r\n$1\r\n2\r\n"
        self.assertEqual(
            said, OK + QUEUED * 6 + b"*6\r\n:3\r\n$8\r\nlistpack\r\n+OK\r\n" + shown + b":3\r\n$9\r\nhashtable\r\n"
        )
        front = self.store.front
        self.assertEqual((front.timeout, front.limits.bulk_bytes), (7, 2 << 20))

    def test_a_setting_within_that_is_not_run(self) -> None:
        self.client.says(b"WATCH k")
        self.other.says(b"SET k v")
        self.client.says(b"MULTI", b"CONFIG SET hash-max-listpack-entries 2 timeout 7", b"EXEC")
        self.assertEqual(self.store.execution.keyspace.settings.hash_entries, 512)
        self.assertEqual(self.store.front.timeout, 0)

    def test_a_setting_within_that_is_refused(self) -> None:
        said = self.client.says(b"MULTI", b"CONFIG SET hash-max-listpack-entries x", b"PING", b"EXEC")
        self.assertIn(b"*2\r\n-ERR CONFIG SET failed (possibly related to argument 'hash-max-listpack-entries')", said)

    def test_blocking_commands_do_not_wait_within(self) -> None:
        self.assertEqual(self.client.says(b"MULTI", b"BLPOP l 0", b"EXEC"), OK + QUEUED + b"*1\r\n*-1\r\n")

    def test_watch(self) -> None:
        self.assertEqual(
            self.client.says(b"WATCH k", b"MULTI", b"SET k mine", b"EXEC"), OK + OK + QUEUED + b"*1\r\n+OK\r\n"
        )
        self.assertEqual(self.client.says(b"WATCH k l"), OK)
        self.other.says(b"SET l v")
        self.assertEqual(self.client.says(b"MULTI", b"SET k again", b"EXEC"), OK + QUEUED + b"*-1\r\n")
        self.assertEqual(self.client.says(b"MULTI", b"GET k", b"EXEC"), OK + QUEUED + b"*1\r\n$4\r\nmine\r\n")

    def test_watch_sees_the_own_writes_before_it(self) -> None:
        said = self.client.says(b"SET k 1", b"WATCH k", b"MULTI", b"INCR k", b"EXEC", b"GET k")
        self.assertEqual(said, OK + OK + OK + QUEUED + b"*1\r\n:2\r\n$1\r\n2\r\n")

    def test_unwatch(self) -> None:
        self.client.says(b"WATCH k", b"UNWATCH")
        self.other.says(b"SET k v")
        self.assertEqual(self.client.says(b"MULTI", b"GET k", b"EXEC"), OK + QUEUED + b"*1\r\n$1\r\nv\r\n")

    def test_a_watched_key_that_expires(self) -> None:
        self.client.says(b"SET k v PX 100", b"WATCH k")
        self.store.turn(0.3)
        self.assertEqual(self.client.says(b"MULTI", b"SET l 1", b"EXEC"), OK + QUEUED + b"*-1\r\n")

    def test_a_key_that_had_expired_when_it_was_watched(self) -> None:
        """Redis's own tests of stale keys: that such a key goes is no change, whoever deletes it, but what comes is."""
        gone: dict[bytes, bytes] = {
            b"PING": b"*1\r\n+PONG\r\n",
            b"EXISTS k": b"*1\r\n+PONG\r\n",
            b"DEL k": b"*1\r\n+PONG\r\n",
            b"FLUSHDB": b"*1\r\n+PONG\r\n",
            b"SWAPDB 0 1": b"*1\r\n+PONG\r\n",
            b"SET k v": b"*-1\r\n",
            b"RPUSH k v": b"*-1\r\n",
        }
        for command, reply in gone.items():
            self.other.says(b"FLUSHALL", b"SET k v PX 1")
            # Nothing has deleted it: that happens some times a second, and nothing was applied since.
            self.store.clock.advance(0.005)
            self.assertEqual(self.store.execution.keyspace.databases[0].keys, 1)
            self.client.feed(encode_command([b"WATCH", b"k"]))
            self.store.clock.advance(0)
            self.assertEqual(self.client.taken(), OK)
            self.other.says(command)
            self.assertEqual(self.client.says(b"MULTI", b"PING", b"EXEC"), OK + QUEUED + reply, command)

    def test_a_stale_key_in_the_other_database(self) -> None:
        self.other.says(b"SELECT 1", b"SET k v PX 1")
        self.store.clock.advance(0.005)
        self.client.says(b"WATCH k")
        self.other.says(b"SWAPDB 0 1")
        self.assertEqual(self.client.says(b"MULTI", b"PING", b"EXEC"), OK + QUEUED + b"*1\r\n+PONG\r\n")

    def test_what_watch_saw_expired_is_no_matter_of_a_read(self) -> None:
        self.other.says(b"SET k v PX 1")
        self.store.clock.advance(0.005)
        self.client.says(b"WATCH k")
        self.store.log.held = True
        self.other.feed(encode_command([b"GET", b"l"]))
        self.assertEqual(self.other.taken(), b"$-1\r\n")

    def test_after_exec_nothing_is_watched(self) -> None:
        for wait in (b"PING", b"SET k x"):
            self.client.says(b"SET k 30", b"WATCH k")
            self.other.says(wait)
            self.client.says(b"MULTI", b"PING", b"EXEC", b"SET k 40")
            self.assertEqual(self.client.says(b"MULTI", b"PING", b"EXEC"), OK + QUEUED + b"*1\r\n+PONG\r\n")

    def test_no_value_in_resp3(self) -> None:
        self.client.says(b"HELLO 3", b"WATCH k")
        self.other.says(b"SET k v")
        self.assertEqual(self.client.says(b"MULTI", b"GET k", b"EXEC"), OK + QUEUED + b"_\r\n")

    def test_a_client_that_leaves_runs_nothing(self) -> None:
        self.client.says(b"MULTI", b"SET k v")
        self.client.lose()
        self.assertEqual(self.other.says(b"EXISTS k"), b":0\r\n")

    def test_reset_and_quit_are_not_queued(self) -> None:
        self.assertEqual(
            self.client.says(b"MULTI", b"SET k v", b"RESET", b"EXISTS k"), OK + QUEUED + b"+RESET\r\n:0\r\n"
        )
        self.assertEqual(self.client.says(b"MULTI", b"QUIT"), OK + OK)
        self.assertTrue(self.client.closed)
