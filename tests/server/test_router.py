"""A store with several regions looks like one to its clients, as far as that's possible."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.server.harness import Client, Store
from tinykv.keys import slot_of

REGIONS = 3
#: Keys of each region.
KEYS = [
    [key for key in (b"key%d" % number for number in range(60)) if slot_of(key) * REGIONS // 16384 == region]
    for region in range(REGIONS)
]
A, B, C = (keys[0] for keys in KEYS)
CROSS = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"


class RouterCase(SynchronousTestCase):
    """A store and a client."""

    def setUp(self) -> None:
        self.store = Store(regions=REGIONS)
        self.client = self.connect()

    def connect(self) -> Client:
        """Connect another one."""
        return self.store.connect()

    def says(self, *commands: bytes) -> bytes:
        """Send commands in one piece, and give what comes."""
        return self.client.says(*commands)

    def fill(self) -> list[bytes]:
        """Write all keys."""
        keys = sorted(key for keys in KEYS for key in keys)
        self.says(*(b"SET %b of-%b" % (key, key) for key in keys))
        return keys


class SpreadTests(RouterCase):
    """Commands go where their keys lie."""

    def test_keys_lie_where_they_should(self) -> None:
        self.fill()
        for host, keys in zip(self.store.regions.hosts.values(), KEYS, strict=True):
            self.assertEqual(sorted(host.keyspace.databases[0].live), sorted(keys))

    def test_in_order(self) -> None:
        """Replies come in the order of the requests, whichever region answers first."""
        commands = []
        expected = b""
        for count in range(5):
            for key in (C, A, B):
                commands += [b"INCR %b" % key, b"GET %b" % key]
                expected += b":%d\r\n$1\r\n%d\r\n" % (count + 1, count + 1)
        self.assertEqual(self.says(*commands), expected)

    def test_by_key(self) -> None:
        self.says(b"SET %b 1" % A, b"SET %b 3" % C)
        self.assertEqual(self.client.call([b"MGET", C, B, A, C]), [b"3", None, b"1", b"3"])
        self.assertEqual(self.says(b"EXISTS %b %b %b %b" % (A, B, C, A)), b":3\r\n")
        self.assertEqual(self.says(b"TOUCH %b %b" % (A, B)), b":1\r\n")
        self.assertEqual(self.says(b"DEL %b %b %b" % (A, B, C), b"EXISTS %b %b" % (A, C)), b":2\r\n:0\r\n")
        # Behind the client's own writes.
        self.assertEqual(
            self.says(b"SET %b x" % A, b"SET %b y" % B, b"MGET %b %b" % (B, A), b"UNLINK %b %b" % (B, A)),
            b"+OK\r\n+OK\r\n*2\r\n$1\r\ny\r\n$1\r\nx\r\n:2\r\n",
        )

    def test_what_cannot_be_cut(self) -> None:
        self.assertEqual(self.says(b"MSET %b 1 %b 2" % (A, B)), CROSS)
        self.assertEqual(self.says(b"RENAME %b %b" % (A, B), b"SINTER %b %b" % (A, C)), 2 * CROSS)
        self.assertEqual(self.says(b"BLPOP %b %b 0" % (A, B), b"PING"), CROSS + b"+PONG\r\n")
        self.assertEqual(self.says(b"SWAPDB 0 1"), CROSS)
        self.assertEqual(self.says(b"EXISTS %b %b" % (A, B)), b":0\r\n")

    def test_everywhere(self) -> None:
        keys = self.fill()
        self.assertEqual(self.says(b"DBSIZE"), b":%d\r\n" % len(keys))
        found = self.client.call([b"KEYS", b"*"])
        assert isinstance(found, list)
        self.assertEqual(sorted(found), keys)
        self.assertEqual(
            self.says(b"SELECT 1", b"SET %b x" % C, b"FLUSHDB", b"DBSIZE", b"SELECT 0", b"DBSIZE"),
            b"+OK\r\n+OK\r\n+OK\r\n:0\r\n+OK\r\n:%d\r\n" % len(keys),
        )
        self.assertEqual(self.says(b"FLUSHALL", b"DBSIZE", b"RANDOMKEY"), b"+OK\r\n:0\r\n$-1\r\n")
        self.assertEqual(self.client.call([b"KEYS", b"*"]), [])

    def test_scan(self) -> None:
        keys = self.fill()
        for count in (b"1", b"7", b"1000"):
            cursor, found = b"0", []
            while True:
                reply = self.client.call([b"SCAN", cursor, b"COUNT", count])
                assert isinstance(reply, list)
                cursor = reply[0]
                found += reply[1]
                if cursor == b"0":
                    break
            self.assertEqual(sorted(found), keys)
        self.assertEqual(
            self.says(b"SCAN x", b"SCAN 99999999999999999"), b"-ERR invalid cursor\r\n*2\r\n$1\r\n0\r\n*0\r\n"
        )

    def test_random_key(self) -> None:
        self.says(b"SET %b x" % C)
        self.assertEqual(self.client.call([b"RANDOMKEY"]), C)
        self.assertEqual(self.says(b"SET %b x" % C, b"RANDOMKEY"), b"+OK\r\n$%d\r\n%b\r\n" % (len(C), C))
        self.fill()
        found = {slot_of(self.client.call([b"RANDOMKEY"])) * REGIONS // 16384 for _ in range(60)}  # type: ignore[arg-type]
        self.assertEqual(found, {0, 1, 2})

    def test_settings_are_everywhere(self) -> None:
        self.assertEqual(self.says(b"CONFIG SET hash-max-listpack-entries 2"), b"+OK\r\n")
        for key in (A, B, C):
            self.says(b"HSET %b a 1 b 2 c 3" % key)
            self.assertEqual(self.client.call([b"OBJECT", b"ENCODING", key]), b"hashtable")
        name = b"hash-max-listpack-entries"
        shown = b"*2\r\n$%d\r\n%b\r\n$1\r\n%%d\r\n" % (len(name), name)
        self.assertEqual(self.says(b"CONFIG GET " + name), shown % 2)
        changed = self.says(b"SET %b x" % C, b"CONFIG SET %b 3" % name, b"CONFIG GET " + name)
        self.assertEqual(changed, 2 * b"+OK\r\n" + shown % 3)
        in_multi = self.says(b"MULTI", b"CONFIG GET " + name, b"EXEC")
        self.assertEqual(in_multi, b"+OK\r\n+QUEUED\r\n*1\r\n" + shown % 3)

    def test_raw_keys(self) -> None:
        self.says(b"RAW.PUT default %b x" % A)
        self.assertEqual(self.client.call([b"RAW.GET", b"default", A]), b"x")

    def test_figures(self) -> None:
        """They're those of all regions; at once, and behind the client's own writes."""
        keys = self.fill()
        self.says(b"SELECT 9", *(b"SET %b x PX 100000" % key for key in (A, C)))
        counted = b"db0:keys=%d,expires=0,avg_ttl=0\r\ndb9:keys=2,expires=2,avg_ttl=0\r\n" % len(keys)
        self.assertIn(counted, self.says(b"INFO keyspace"))
        said = self.says(b"SET %b x" % B, b"INFO", b"DEL %b" % B)
        self.assertIn(counted.replace(b"2,expires", b"3,expires"), said)
        self.assertTrue(said.endswith(b"\r\n:1\r\n"))
        self.assertEqual(self.says(b"DBSIZE"), b":2\r\n")

    def test_expired_keys(self) -> None:
        self.says(*(b"SET %b x PX 100" % key for key in (A, B, C)))
        self.assertEqual(self.says(b"DBSIZE"), b":3\r\n")
        self.store.turn(2)
        self.assertEqual(self.says(b"DBSIZE", b"MGET %b %b" % (A, B)), b":0\r\n*2\r\n$-1\r\n$-1\r\n")


class TransactionTests(RouterCase):
    """MULTI and WATCH hold within a region."""

    def test_one_region(self) -> None:
        self.assertEqual(
            self.says(b"MULTI", b"SET %b 1" % B, b"INCR %b" % B, b"EXEC"),
            b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:2\r\n",
        )

    def test_several(self) -> None:
        self.assertEqual(
            self.says(b"MULTI", b"SET %b 1" % A, b"SET %b 1" % B, b"EXEC", b"EXISTS %b" % A),
            b"+OK\r\n+QUEUED\r\n+QUEUED\r\n" + CROSS + b":0\r\n",
        )

    def test_behind_what_was_sent_before(self) -> None:
        """It waits for the client's writes to other regions, and what comes behind it waits for it."""
        self.assertEqual(
            self.says(b"SET %b x" % A, b"MULTI", b"GET %b" % B, b"EXEC", b"GET %b" % A, b"SET %b y" % C),
            b"+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n$1\r\nx\r\n+OK\r\n",
        )

    def test_watch(self) -> None:
        other = self.connect()
        self.says(b"WATCH %b" % C)
        other.says(b"SET %b 1" % C)
        self.assertEqual(self.says(b"MULTI", b"SET %b 2" % C, b"EXEC"), b"+OK\r\n+QUEUED\r\n*-1\r\n")
        self.assertEqual(
            self.says(b"WATCH %b %b" % (A, C), b"MULTI", b"GET %b" % C, b"EXEC"), b"+OK\r\n+OK\r\n+QUEUED\r\n" + CROSS
        )


    def test_watch_disturbs_no_command_that_rests(self) -> None:
        """Versions are looked at where it's their region's turn, never while it rests in the midst of a command."""
        self.says(*(b"SET %b %d" % (key, number) for number, key in enumerate((A, B, C))))
        hosts = list(self.store.regions.hosts.values())
        keyspace = hosts[2].keyspace
        begun = (keyspace.writing, keyspace.now) = (True, 12345)
        hosts[2].pacer.running = True
        # It rests, and so nobody is to look.
        self.client.pipeline(b"WATCH %b %b" % (A, C))
        self.store.turn()
        self.assertEqual((keyspace.writing, keyspace.now), begun)
        self.assertEqual(self.client.taken(), b"")
        hosts[2].pacer.running = False
        hosts[2].queue.go_on()
        self.store.turn()
        self.assertEqual(self.client.taken(), b"+OK\r\n")
        versions = [self.client.session.watched[0, key] for key in (A, C)]
        expected = [host.keyspace.databases[0].version(key) for host, key in ((hosts[0], A), (hosts[2], C))]
        self.assertEqual(versions, expected)


class BlockingTests(RouterCase):
    """Clients wait in the region of their keys."""

    def test_served(self) -> None:
        other = self.connect()
        self.assertEqual(self.says(b"SET %b x" % A, b"BLPOP %b 0" % C), b"+OK\r\n")
        self.assertEqual(len(self.store.host.execution.waiters), 1)
        other.says(b"RPUSH %b e" % C)
        self.assertEqual(self.client.taken(), b"*2\r\n$%d\r\n%b\r\n$1\r\ne\r\n" % (len(C), C))

    def test_time_is_over(self) -> None:
        self.says(b"BLPOP %b 0.5" % B)
        self.store.turn(2)
        self.assertEqual(self.client.taken(), b"*-1\r\n")

    def test_the_client_leaves(self) -> None:
        self.client.pipeline(b"SET %b x" % A, b"BLPOP %b 0" % C)
        self.client.lose()
        self.store.turn(1)
        self.assertEqual(len(self.store.host.execution.waiters), 0)

    def test_unblocked(self) -> None:
        other = self.connect()
        self.says(b"BLPOP %b 0" % B)
        other.says(b"CLIENT UNBLOCK %d" % self.client.session.client_id)
        self.store.turn(1)
        self.assertEqual(self.client.taken(), b"*-1\r\n")

    def test_unblocked_before_it_waits(self) -> None:
        """While it waits for what its client sent before, its region hasn't heard of it."""
        other = self.connect()
        self.store.log.held = True
        self.client.pipeline(b"SET %b x" % A, b"BLPOP %b 0" % C, b"PING")
        self.store.turn()
        self.assertEqual(other.says(b"CLIENT UNBLOCK %d" % self.client.session.client_id), b":1\r\n")
        self.store.log.let_go()
        self.store.turn(1)
        self.assertEqual(self.client.taken(), b"+OK\r\n*-1\r\n+PONG\r\n")
        self.assertEqual(len(self.store.host.execution.waiters), 0)

    def test_another_region_is_replaced(self) -> None:
        """By a snapshot: whoever waits elsewhere, or isn't there yet, waits on."""
        other = self.connect()
        self.says(b"BLPOP %b 0" % B)
        hosts = list(self.store.regions.hosts.values())
        self.store.log.held = True
        other.pipeline(b"SET %b x" % A, b"BLPOP %b 0" % C)
        self.store.turn()
        for host in hosts:
            host.replaced(host.owns)
        self.store.log.let_go()
        self.store.turn(1)
        self.assertEqual((self.client.taken(), other.taken()), (b"", b"+OK\r\n"))
        hosts[1].execution.waiters.remove(next(iter(hosts[1].execution.waiters)))
        hosts[2].replaced(hosts[2].owns)
        self.assertEqual(self.client.taken(), b"")
        hosts[1].replaced(hosts[1].owns)
        self.store.turn()
        self.assertIn(b"outcome unknown", self.client.taken())
        self.assertEqual(other.taken(), b"")


class RefusalTests(RouterCase):
    """A region that can't take a command says so, and the others go on."""

    def test_one_has_no_room(self) -> None:
        hosts = list(self.store.regions.hosts.values())
        self.says(b"SET %b x" % A, b"SET %b x" % B)
        hosts[1].growing_refused = True
        self.assertEqual(self.says(b"SET %b 1" % A), b"+OK\r\n")
        full = self.says(b"SET %b 1" % B)
        self.assertTrue(full.startswith(b"-"), full)
        self.assertEqual(self.says(b"MULTI", b"SET %b 1" % B, b"EXEC"), b"+OK\r\n+QUEUED\r\n" + full)
        self.assertEqual(self.says(b"BLMOVE %b %b LEFT LEFT 1" % (B, B)), full)
        # What makes nothing grow is done.
        self.assertEqual(self.says(b"DEL %b %b" % (A, B)), b":2\r\n")


class ReadOnlyTests(RouterCase):
    """READONLY holds for all regions."""

    def test_from_what_is_here(self) -> None:
        self.fill()
        self.assertEqual(self.says(b"READONLY", b"GET %b" % A), b"+OK\r\n$%d\r\nof-%b\r\n" % (len(A) + 3, A))
        self.assertEqual(self.client.call([b"MGET", A, B]), [b"of-" + A, b"of-" + B])
        self.assertEqual(self.says(b"READWRITE", b"EXISTS %b %b" % (A, C)), b"+OK\r\n:2\r\n")
