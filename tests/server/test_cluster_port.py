"""
The port on which a store is a node of a Redis Cluster: what it answers, and where it sends clients.
"""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.option_examples import ErrorReply
from tests.server.harness import Client, Store
from tinykv.interfaces import ISlots, SlotRange
from tinykv.keys import SLOTS, slot_of
from tinykv.redis.execution import Execution
from tinykv.redis.scanning import cursor_at
from tinykv.server.cluster_commands import KEYS_MAX
from tinykv.server.cluster_nodes import node_name, nodes_of
from tinykv.server.connections import REDIS_VERSION
from tinykv.server.router import NodeRouter

A, B = b"a", b"b"
CROSS = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
DISABLED = b"-ERR This instance has cluster support disabled\r\n"
NAMES = {store: node_name("c", store) for store in (1, 2, 3)}


def moved(key: bytes, to: bytes) -> bytes:
    """Word the reply to a command on a key that another store leads."""
    return b"-MOVED %d %b\r\n" % (slot_of(key), to)


@implementer(ISlots)
class ToldSlots:
    """
    Slots as a test says.

    @ivar owners: Who leads how many of the slots, in their order; None for slots that nobody leads, as far as is known.
    @ivar unknown: Whether the regions aren't known, so that there's no data.
    @ivar down: The stores that can't be reached.
    """

    store_id = 1
    cluster_id = "c"

    def __init__(self, store: Store) -> None:
        self.owners: list[tuple[int, int | None]] = [(SLOTS, 1)]
        self.addresses = {1: ("127.0.0.1", 7001), 2: ("127.0.0.1", 7002), 3: ("::1", 7003)}
        self.down: set[int] = set()
        self.unknown = False
        self._store = store

    def owner(self, slot: int) -> int | None:
        """Look it up."""
        return next(one.owner if one.led else None for one in self.ranges() if slot <= one.last)

    def shows(self, slot: int) -> bool:
        """Show what it leads."""
        return self.owner(slot) == self.store_id

    def ranges(self) -> list[SlotRange]:
        """List them."""
        ranges: list[SlotRange] = []
        for count, owner in self.owners:
            first = ranges[-1].last + 1 if ranges else 0
            led = owner is not None
            ranges.append(SlotRange(first, first + count - 1, owner or 1, led, 5 + len(ranges), (1, 2, 3)))
        return ranges

    def address(self, store_id: int) -> tuple[str, int] | None:
        """Look it up."""
        return self.addresses.get(store_id)

    def is_up(self, store_id: int) -> bool:
        """Look it up."""
        return store_id not in self.down

    def execution(self, slot: int) -> Execution | None:
        """Give that of the only region."""
        execution: Execution = self._store.execution
        return None if self.unknown else execution


class ClusterPortCase(SynchronousTestCase):
    """A store, and a client of its cluster port."""

    def setUp(self) -> None:
        self.store = Store()
        self.slots = ToldSlots(self.store)
        verifyObject(ISlots, self.slots)
        self.store.front.slots = self.slots
        self.store.front.ports["cluster"] = 7001
        self.client = self.connect()

    def connect(self) -> Client:
        """Connect another one."""
        return self.store.connect(cluster=True)

    def says(self, *commands: bytes) -> bytes:
        """Send commands in one piece, and give what comes."""
        return self.client.says(*commands)

    def text(self, *words: bytes) -> str:
        """Give a reply that is text."""
        reply = self.client.call(list(words))
        assert isinstance(reply, bytes)
        return reply.decode()


class PlaceTests(ClusterPortCase):
    """Commands are run here, or sent away."""

    def test_own_slots(self) -> None:
        self.assertEqual(self.says(b"SET a 1", b"GET a", b"DBSIZE", b"PING"), b"+OK\r\n$1\r\n1\r\n:1\r\n+PONG\r\n")

    def test_slots_of_others(self) -> None:
        self.slots.owners = [(SLOTS, 2)]
        away = moved(A, b"127.0.0.1:7002")
        self.assertEqual(self.says(b"SET a 1", b"get a", b"Get a", b"BLPOP a 0", b"WATCH a"), 5 * away)
        self.assertEqual(self.says(b"OBJECT ENCODING a", b"PING", b"DBSIZE"), away + b"+PONG\r\n:0\r\n")
        self.slots.owners = [(SLOTS, 3)]
        self.assertEqual(self.says(b"GET a"), moved(A, b"::1:7003"))
        self.assertIn("errorstat_MOVED:count=7", self.text(b"INFO", b"errorstats"))
        self.assertIn("rejected_calls=3,failed_calls=0", self.text(b"INFO", b"commandstats"))

    def test_each_slot_by_itself(self) -> None:
        slot = slot_of(A)
        self.slots.owners = [(slot, 2), (1, 1), (SLOTS - slot - 1, 3)]
        self.assertEqual(self.says(b"SET a 1"), b"+OK\r\n")
        self.assertEqual(self.says(b"SET b 1"), moved(B, b"127.0.0.1:7002"))
        self.assertEqual(self.says(b"SET c 1", b"SET {a}c 1"), moved(b"c", b"127.0.0.1:7002") + b"+OK\r\n")

    def test_nobody_leads(self) -> None:
        """What comes is taken, as on the other ports; no slot is missing, and which are meant is told all the same."""
        slot = slot_of(A)
        self.slots.owners = [(slot, 2), (1, None), (SLOTS - slot - 1, 2)]
        done = b"+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n$1\r\n1\r\n"
        self.assertEqual(self.says(b"SET a 1", b"MULTI", b"GET a", b"EXEC"), done)
        info = "cluster_state:fail\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16383\r\n"
        self.assertIn(info, self.text(b"CLUSTER", b"INFO"))
        told = self.client.call([b"CLUSTER", b"SLOTS"])
        assert isinstance(told, list)
        self.assertEqual([held[:2] for held in told], [[0, slot - 1], [slot, slot], [slot + 1, SLOTS - 1]])
        self.assertEqual([held[2][1] for held in told], [7002, 7001, 7002])
        self.assertIn("cluster_my_epoch:0\r\n", self.text(b"CLUSTER", b"INFO"))

    def test_slots_whose_region_is_not_known(self) -> None:
        self.slots.owners, self.slots.unknown = [(SLOTS, None)], True
        slot = b"%d" % slot_of(A)
        self.assertEqual(self.says(b"CLUSTER COUNTKEYSINSLOT " + slot), b":0\r\n")
        self.assertEqual(self.says(b"CLUSTER GETKEYSINSLOT " + slot + b" 1"), b"*0\r\n")

    def test_several_slots(self) -> None:
        self.assertEqual(self.says(b"MGET a b", b"MSET a 1 b 2", b"DEL a b", b"RENAME a b"), 4 * CROSS)
        self.assertEqual(self.says(b"MSET {x}a 1 {x}b 2", b"MGET {x}a {x}b"), b"+OK\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n")

    def test_reading_what_is_here(self) -> None:
        self.assertEqual(self.says(b"SET a 1"), b"+OK\r\n")
        self.slots.owners = [(SLOTS, 2)]
        away = moved(A, b"127.0.0.1:7002")
        self.assertEqual(self.says(b"READONLY", b"GET a", b"SET a 2"), b"+OK\r\n$1\r\n1\r\n" + away)
        self.assertEqual(self.says(b"MULTI", b"GET a", b"EXEC"), b"+OK\r\n+QUEUED\r\n*1\r\n$1\r\n1\r\n")
        self.assertEqual(self.says(b"READWRITE", b"GET a"), b"+OK\r\n" + away)

    def test_raw_keys_go_with_no_slot(self) -> None:
        self.slots.owners = [(SLOTS, 2)]
        self.assertEqual(self.client.call([b"RAW.GET", b"default", b"a"]), None)

    def test_what_is_refused_anyway(self) -> None:
        self.slots.owners = [(SLOTS, 2)]
        self.assertEqual(self.says(b"GET"), b"-ERR wrong number of arguments for 'get' command\r\n")
        self.assertTrue(self.says(b"NOSUCH a").startswith(b"-ERR unknown command 'NOSUCH'"))
        self.assertEqual(self.says(b"CLUSTER"), b"-ERR wrong number of arguments for 'cluster' command\r\n")
        self.assertEqual(self.says(b"CLUSTER MEET a 1"), b"-ERR unknown subcommand 'MEET'. Try CLUSTER HELP.\r\n")

    def test_the_password_comes_first(self) -> None:
        self.store.front.password = b"secret"
        self.slots.owners = [(SLOTS, 2)]
        self.client = self.connect()
        self.assertEqual(self.says(b"GET a"), b"-NOAUTH Authentication required.\r\n")
        self.assertEqual(self.says(b"AUTH secret", b"GET a"), b"+OK\r\n" + moved(A, b"127.0.0.1:7002"))


class TransactionTests(ClusterPortCase):
    """MULTI and EXEC on one slot."""

    def test_a_slot_of_another(self) -> None:
        slot = slot_of(A)
        self.slots.owners = [(slot, 2), (1, 1), (SLOTS - slot - 1, 2)]
        self.assertEqual(self.says(b"MULTI", b"SET a 1", b"EXEC"), b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n")
        aborted = b"-EXECABORT Transaction discarded because of previous errors.\r\n"
        self.assertEqual(self.says(b"MULTI", b"SET b 1", b"EXEC"), b"+OK\r\n" + moved(B, b"127.0.0.1:7002") + aborted)

    def test_several_slots(self) -> None:
        self.assertEqual(
            self.says(b"MULTI", b"SET a 1", b"SET b 1", b"EXEC", b"EXEC", b"GET a"),
            b"+OK\r\n+QUEUED\r\n+QUEUED\r\n" + CROSS + b"-ERR EXEC without MULTI\r\n$-1\r\n",
        )

    def test_a_slot_that_moves_before_exec(self) -> None:
        self.assertEqual(self.says(b"WATCH a", b"MULTI", b"SET a 1"), b"+OK\r\n+OK\r\n+QUEUED\r\n")
        self.slots.owners = [(SLOTS, 2)]
        self.assertEqual(self.says(b"EXEC", b"PING"), moved(A, b"127.0.0.1:7002") + b"+PONG\r\n")
        self.assertEqual(self.client.session.watched, {})
        self.assertEqual(self.says(b"MULTI", b"PING", b"EXEC"), b"+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n")


class OneDatabaseTests(ClusterPortCase):
    """There is database 0 and no other."""

    def test_select(self) -> None:
        refused = b"-ERR SELECT is not allowed in cluster mode\r\n"
        self.assertEqual(self.says(b"SELECT 0", b"SELECT 1", b"SELECT 99"), b"+OK\r\n" + 2 * refused)
        self.assertEqual(self.says(b"SELECT x"), b"-ERR value is not an integer or out of range\r\n")
        self.assertEqual(
            self.says(b"MULTI", b"SELECT 1", b"SET a 1", b"EXEC", b"GET a"),
            b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n" + refused + b"+OK\r\n$1\r\n1\r\n",
        )

    def test_what_needs_two(self) -> None:
        refused = b"-ERR %b is not allowed in cluster mode\r\n"
        self.assertEqual(self.says(b"MOVE a 1", b"SWAPDB 0 1"), refused % b"MOVE" + refused % b"SWAPDB")
        copy = b"-ERR Copying to another database is not allowed in cluster mode\r\n"
        self.assertEqual(self.says(b"COPY {x}a {x}b DB 1", b"COPY {x}a {x}b DB 0"), copy + b":0\r\n")
        self.assertEqual(
            self.says(b"SORT a BY x*", b"SORT a GET #"), b"-ERR BY option of SORT denied in Cluster mode.\r\n*0\r\n"
        )


class AnswerTests(ClusterPortCase):
    """CLUSTER in all its forms."""

    def setUp(self) -> None:
        super().setUp()
        self.slots.owners = [(5000, 2), (5000, 1), (SLOTS - 10000, 2)]

    def test_node_names_stay(self) -> None:
        self.assertEqual(node_name("c", 1), b"f342b2a32ae3343e2a07b704ef75df86eff1380e")
        self.assertEqual(len(set(NAMES.values())), 3)
        self.assertNotEqual(node_name("d", 1), NAMES[1])
        self.assertEqual(self.text(b"CLUSTER", b"MYID"), NAMES[1].decode())

    def test_slots(self) -> None:
        one = [b"127.0.0.1", 7001, NAMES[1], []]
        two = [b"127.0.0.1", 7002, NAMES[2], []]
        three = [b"::1", 7003, NAMES[3], []]
        # A client that knew of a replica, which then leads one of several regions, would ask its master no more.
        self.assertEqual(
            self.client.call([b"CLUSTER", b"SLOTS"]),
            [[0, 4999, two], [5000, 9999, one], [10000, 16383, two]],
        )
        self.slots.owners = [(SLOTS, 2)]
        self.assertEqual(self.client.call([b"CLUSTER", b"SLOTS"]), [[0, 16383, two, one, three]])
        self.slots.down = {2, 3}
        self.assertEqual(self.client.call([b"CLUSTER", b"SLOTS"]), [[0, 16383, two, one]])

    def test_role(self) -> None:
        """A store that leads nothing is a replica, and says so; on the other ports there's nothing but masters."""
        self.assertIn("role:master\r\nconnected_slaves:0", self.text(b"INFO", b"replication"))
        self.slots.owners = [(SLOTS, 2)]
        told = "role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:7002\r\nmaster_link_status:up\r\n"
        self.assertIn(told, self.text(b"INFO", b"replication"))
        self.assertIn("slave_read_only:1\r\nreplica_announced:1\r\nconnected_slaves:0\r\n", self.text(b"INFO"))
        hello = self.client.call([b"HELLO"])
        assert isinstance(hello, list)
        self.assertEqual(hello[hello.index(b"role") + 1], b"replica")
        self.slots.down = {2}
        self.assertIn("master_link_status:down", self.text(b"INFO", b"replication"))
        self.client = self.store.connect()
        self.assertIn("role:master\r\nconnected_slaves:0", self.text(b"INFO", b"replication"))
        hello = self.client.call([b"HELLO"])
        assert isinstance(hello, list)
        self.assertEqual(hello[hello.index(b"role") + 1], b"master")

    def test_many_keys_of_a_slot(self) -> None:
        self.slots.owners = [(SLOTS, 1)]
        slot = slot_of(b"{foo}")
        for start in range(0, KEYS_MAX, 1000):
            self.says(b"MSET " + b" ".join(b"{foo}%d x" % count for count in range(start, start + 1000)))
        for count in (KEYS_MAX, KEYS_MAX + 1, 1 << 62):
            found = self.client.call([b"CLUSTER", b"GETKEYSINSLOT", b"%d" % slot, b"%d" % count])
            assert isinstance(found, list)
            self.assertEqual(len(found), KEYS_MAX)
            self.says(b"SET {foo}more x")

    def test_nodes(self) -> None:
        self.slots.down = {3}
        self.assertEqual(
            self.text(b"CLUSTER", b"NODES").splitlines(),
            [
                f"{NAMES[1].decode()} 127.0.0.1:7001@0 myself,master - 0 0 6 connected 5000-9999",
                f"{NAMES[2].decode()} 127.0.0.1:7002@0 master - 0 0 7 connected 0-4999 10000-16383",
                f"{NAMES[3].decode()} ::1:7003@0 slave,fail {NAMES[2].decode()} 0 0 7 disconnected",
            ],
        )
        self.slots.owners = [(1, 1), (SLOTS - 1, 2)]
        self.assertIn(" connected 0\n", self.text(b"CLUSTER", b"NODES"))

    def test_a_store_without_the_port_is_no_node(self) -> None:
        del self.slots.addresses[3]
        self.assertEqual([node.store for node in nodes_of(self.slots)], [1, 2])

    def test_neighbouring_regions_are_one_range(self) -> None:
        self.slots.owners = [(8192, 1), (8192, 1)]
        self.assertEqual([node.slots for node in nodes_of(self.slots)], [((0, 16383),), (), ()])

    def test_shards(self) -> None:
        def member(store: int, port: int, host: bytes, role: bytes) -> list[object]:
            return [
                b"id", NAMES[store], b"port", port, b"ip", host, b"endpoint", host,
                b"role", role, b"replication-offset", 0, b"health", b"online",
            ]  # fmt: skip

        self.assertEqual(
            self.client.call([b"CLUSTER", b"SHARDS"]),
            [
                [b"slots", [5000, 9999], b"nodes", [member(1, 7001, b"127.0.0.1", b"master")]],
                [
                    b"slots", [0, 4999, 10000, 16383],
                    b"nodes", [member(2, 7002, b"127.0.0.1", b"master"), member(3, 7003, b"::1", b"replica")],
                ],
            ],
        )  # fmt: skip
        self.says(b"HELLO 3")
        shards = self.client.call([b"CLUSTER", b"SHARDS"])
        assert isinstance(shards, list)
        self.assertEqual(shards[0][b"slots"], [5000, 9999])
        slots = self.client.call([b"CLUSTER", b"SLOTS"])
        assert isinstance(slots, list)
        self.assertEqual(slots[1][2][3], {})

    def test_info(self) -> None:
        lines = self.text(b"CLUSTER", b"INFO").split("\r\n")
        self.assertEqual(lines[:3], ["cluster_state:ok", "cluster_slots_assigned:16384", "cluster_slots_ok:16384"])
        for line in ("cluster_known_nodes:3", "cluster_size:2", "cluster_current_epoch:7", "cluster_my_epoch:6"):
            self.assertIn(line, lines)

    def test_replicas(self) -> None:
        line = b"%b ::1:7003@0 slave %b 0 0 7 connected" % (NAMES[3], NAMES[2])
        for name in (b"REPLICAS", b"SLAVES"):
            self.assertEqual(self.client.call([b"CLUSTER", name, NAMES[2]]), [line])
        self.assertEqual(self.client.call([b"CLUSTER", b"REPLICAS", NAMES[1]]), [])
        self.assertEqual(self.says(b"CLUSTER REPLICAS x"), b"-ERR Unknown node x\r\n")
        self.assertEqual(self.says(b"CLUSTER REPLICAS %b" % NAMES[3]), b"-ERR The specified node is not a master\r\n")
        self.assertEqual(self.says(b"CLUSTER COUNT-FAILURE-REPORTS %b" % NAMES[3]), b":0\r\n")
        self.assertEqual(self.says(b"CLUSTER COUNT-FAILURE-REPORTS x"), b"-ERR Unknown node x\r\n")

    def test_keys_of_a_slot(self) -> None:
        self.slots.owners = [(SLOTS, 1)]
        keys = [b"{foo}%d" % count for count in range(5)]
        self.says(*(b"SET %b x" % key for key in keys))
        self.assertEqual(self.says(b"CLUSTER KEYSLOT foo", b"CLUSTER KEYSLOT {foo}1"), 2 * b":12182\r\n")
        self.assertEqual(self.says(b"CLUSTER COUNTKEYSINSLOT 12182", b"CLUSTER COUNTKEYSINSLOT 12181"), b":5\r\n:0\r\n")
        found = self.client.call([b"CLUSTER", b"GETKEYSINSLOT", b"12182", b"99"])
        assert isinstance(found, list)
        self.assertEqual(sorted(found), keys)
        found = self.client.call([b"CLUSTER", b"GETKEYSINSLOT", b"12182", b"2"])
        assert isinstance(found, list)
        self.assertEqual(len(found), 2)
        self.assertEqual(self.client.call([b"CLUSTER", b"GETKEYSINSLOT", b"12181", b"2"]), [])
        self.assertEqual(self.says(b"CLUSTER COUNTKEYSINSLOT 16383"), b":0\r\n")
        self.assertEqual(self.says(b"CLUSTER COUNTKEYSINSLOT 16384"), b"-ERR Invalid slot\r\n")
        wrong = b"-ERR Invalid slot or number of keys\r\n"
        self.assertEqual(
            self.says(b"CLUSTER GETKEYSINSLOT -1 1", b"CLUSTER GETKEYSINSLOT 16384 1", b"CLUSTER GETKEYSINSLOT 1 -1"),
            3 * wrong,
        )
        number = b"-ERR value is not an integer or out of range\r\n"
        self.assertEqual(self.says(b"CLUSTER COUNTKEYSINSLOT x", b"CLUSTER GETKEYSINSLOT 1 x"), 2 * number)

    def test_the_rest(self) -> None:
        self.assertEqual(self.says(b"CLUSTER LINKS", b"ASKING"), b"*0\r\n+OK\r\n")
        found = self.client.call([b"CLUSTER", b"HELP"])
        assert isinstance(found, list)
        self.assertIn(b"KEYSLOT <key>", found)

    def test_the_server_says_what_it_is(self) -> None:
        info = self.text(b"INFO")
        for line in ("redis_mode:cluster", "cluster_enabled:1", "tcp_port:7001"):
            self.assertIn(line + "\r\n", info)
        hello = self.client.call([b"HELLO"])
        assert isinstance(hello, list)
        self.assertEqual(hello[hello.index(b"mode") + 1], b"cluster")
        self.assertIn(REDIS_VERSION, hello)


class AllKeysTests(SynchronousTestCase):
    """What is about all keys is about those of the regions that a store leads, of three."""

    def setUp(self) -> None:
        self.store = Store(regions=3)
        regions = [(host.descriptor.slots, host) for host in self.store.regions.hosts.values()]
        self.slots = ToldSlots(self.store)
        self.store.front.slots = self.slots
        self.store.front.node_host = NodeRouter(regions, Random(1).randrange, self.slots.shows)
        self.client = self.store.connect(cluster=True)
        self.plain = self.store.connect()
        self.keys = [b"key:%d" % number for number in range(60)]
        self.plain.says(*(b"SET %b x" % key for key in self.keys))
        self.borders = [first for (first, _), _ in regions]

    def leads(self, *places: int) -> list[bytes]:
        """Let this store lead some regions; give the keys there."""
        ends = [*self.borders[1:], SLOTS]
        self.slots.owners = [
            (end - first, 1 if place in places else 2)
            for place, (first, end) in enumerate(zip(self.borders, ends, strict=True))
        ]
        return sorted(key for key in self.keys if self.slots.owner(slot_of(key)) == 1)

    def scanned(self, client: Client, count: bytes) -> list[bytes]:
        """Give all keys that SCAN gives."""
        cursor, found = b"0", []
        while True:
            reply = client.call([b"SCAN", cursor, b"COUNT", count])
            assert isinstance(reply, list)
            cursor = reply[0]
            found += reply[1]
            if cursor == b"0":
                return sorted(found)

    def test_the_regions_that_it_leads(self) -> None:
        for places in ((0,), (1,), (2,), (0, 2), (0, 1, 2)):
            keys = self.leads(*places)
            self.assertGreater(len(keys), 10)
            self.assertEqual(self.client.says(b"DBSIZE"), b":%d\r\n" % len(keys))
            self.assertIn(b"db0:keys=%d," % len(keys), self.client.says(b"INFO keyspace"))
            found = self.client.call([b"KEYS", b"*"])
            assert isinstance(found, list)
            self.assertEqual(sorted(found), keys)
            for count in (b"1", b"7", b"1000"):
                self.assertEqual(self.scanned(self.client, count), keys)
            # Behind its own writes, too.
            self.assertEqual(self.client.says(b"FLUSHDB", b"DBSIZE"), b"+OK\r\n:0\r\n")
            self.plain.says(*(b"SET %b x" % key for key in self.keys))

    def test_a_cursor_behind_them(self) -> None:
        self.leads(0)
        self.assertEqual(self.client.call([b"SCAN", b"%d" % cursor_at(16000)]), [b"0", []])
        self.leads(2)
        self.assertEqual(self.client.says(b"SCAN x"), b"-ERR invalid cursor\r\n")

    def test_none(self) -> None:
        """It's a replica then, and has all keys."""
        self.leads()
        self.assertEqual(self.client.says(b"DBSIZE"), b":60\r\n")
        self.assertEqual(self.scanned(self.client, b"7"), sorted(self.keys))

    def test_other_ports(self) -> None:
        self.leads(1)
        self.assertEqual(self.plain.says(b"DBSIZE"), b":60\r\n")
        self.assertEqual(self.scanned(self.plain, b"7"), sorted(self.keys))


class OtherPortTests(ClusterPortCase):
    """On the other ports it's a Redis on its own."""

    def test_cluster_is_refused(self) -> None:
        self.client = self.store.connect()
        self.slots.owners = [(SLOTS, 2)]
        self.assertEqual(self.says(b"CLUSTER INFO", b"CLUSTER SLOTS", b"ASKING"), 3 * DISABLED)
        self.assertEqual(self.client.call([b"CLUSTER", b"KEYSLOT", b"a"]), ErrorReply(DISABLED[1:-2]))
        self.assertEqual(self.says(b"SET a 1", b"SELECT 1"), 2 * b"+OK\r\n")
        self.assertIn("cluster_enabled:0", self.text(b"INFO"))
