"""Commands of the log: all of them or nothing, waiting clients, and that a replay ends alike."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.redis.regions import START_ID, START_TIME, Region, Teller
from tinykv.errors import CommandError, Damaged, Fault
from tinykv.redis.context import Context
from tinykv.redis.spec import CommandSpec
from tinykv.resp import replies
from tinykv.testing.embedded import TABLE

NIL_ARRAY = [b"*-1\r\n"]


def popped(key: bytes, *elements: bytes) -> list[bytes]:
    """Give what BLPOP or BRPOP tells."""
    return [replies.bulks([key, *elements])]


def bulk(element: bytes) -> list[bytes]:
    """Give what BLMOVE tells."""
    return [replies.bulk(element)]


class ServingTests(SynchronousTestCase):
    """Who is served by what, as Redis's own tests of blocking lists have it."""

    def setUp(self) -> None:
        """Make a region with some clients."""
        self.region = Region()
        self.do = self.region.do
        self.writer, *self.waiters = (Teller(number) for number in range(1, 6))
        self.first, self.second, self.third, _ = self.waiters

    def wait(self, client: Teller, line: str, db: int = 0) -> None:
        """Let a client wait."""
        self.assertEqual(self.do(client, line, db), [])
        self.assertTrue(client.blocked)

    def transact(self, *lines: str) -> list[bytes]:
        """Run a transaction."""
        self.region.apply(self.region.transaction(self.writer, *lines))
        return self.writer.heard()

    def lrange(self, key: str) -> bytes:
        """Give a whole list, as from a read."""
        arguments = [b"LRANGE", key.encode(), b"0", b"-1"]
        reply = self.region.execution.read(self.writer, 0, TABLE["lrange"], arguments, self.region.time)
        assert isinstance(reply, bytes)
        return reply

    def test_at_once(self) -> None:
        """Nobody waits where there's something."""
        self.do(self.writer, "RPUSH l a b c d")
        self.assertEqual(self.do(self.first, "BLPOP none l 0"), popped(b"l", b"a"))
        self.assertEqual(self.do(self.first, "BRPOP l 0"), popped(b"l", b"d"))
        self.assertEqual(self.do(self.first, "BLMOVE l m LEFT LEFT 0"), bulk(b"b"))
        reply = replies.array([replies.bulk(b"l"), replies.bulks([b"c"])])
        self.assertEqual(self.do(self.first, "BLMPOP 0 1 l LEFT COUNT 5"), [reply])
        self.assertEqual(len(self.region.execution.waiters), 0)

    def test_oldest_first(self) -> None:
        """Clients are served in the order in which they came, one element each."""
        for client in self.waiters[:3]:
            self.wait(client, "BLPOP l 0")
        self.assertEqual(self.do(self.writer, "RPUSH l a"), [b":1\r\n"])
        self.assertEqual(self.first.heard(), popped(b"l", b"a"))
        self.assertTrue(self.second.blocked)
        self.assertEqual(self.do(self.writer, "RPUSH l b c d"), [b":3\r\n"])
        self.assertEqual(self.second.heard(), popped(b"l", b"b"))
        self.assertEqual(self.third.heard(), popped(b"l", b"c"))
        self.assertEqual(self.lrange("l"), replies.bulks([b"d"]))

    def test_variadic_push(self) -> None:
        """All elements of a command are there before anyone is served."""
        self.wait(self.first, "BLPOP l 0")
        self.wait(self.second, "BRPOP l 0")
        self.do(self.writer, "LPUSH l a b c")
        self.assertEqual(self.first.heard(), popped(b"l", b"c"))
        self.assertEqual(self.second.heard(), popped(b"l", b"a"))

    def test_order_among_keys(self) -> None:
        """A client that waits for several keys gets from the one that became ready, whatever their order."""
        self.wait(self.first, "BLPOP a b 0")
        self.do(self.writer, "LPUSH b x")
        self.assertEqual(self.first.heard(), popped(b"b", b"x"))
        self.wait(self.first, "BLPOP a b 0")
        self.transact("LPUSH b x", "LPUSH a y")
        self.assertEqual(self.first.heard(), popped(b"b", b"x"))
        self.assertEqual(self.lrange("a"), replies.bulks([b"y"]))

    def test_the_same_key_twice(self) -> None:
        """Naming a key twice is naming it once."""
        self.wait(self.first, "BLPOP l m m l 0")
        self.do(self.writer, "LPUSH m a b")
        self.assertEqual(self.first.heard(), popped(b"m", b"b"))
        self.do(self.writer, "LPUSH m c")
        self.assertEqual(self.first.heard(), [])

    def test_blmpop(self) -> None:
        """A count is served as far as it goes."""
        self.wait(self.first, "BLMPOP 0 2 l m RIGHT COUNT 2")
        self.wait(self.second, "BLMPOP 0 1 l LEFT COUNT 10")
        self.do(self.writer, "RPUSH l a b c")
        self.assertEqual(self.first.heard(), [replies.array([replies.bulk(b"l"), replies.bulks([b"c", b"b"])])])
        self.assertEqual(self.second.heard(), [replies.array([replies.bulk(b"l"), replies.bulks([b"a"])])])

    def test_a_cascade(self) -> None:
        """What one waiter moves is what the next one waits for."""
        self.wait(self.first, "BLMOVE a b LEFT LEFT 0")
        self.wait(self.second, "BLMOVE b c LEFT LEFT 0")
        self.wait(self.third, "BLPOP c 0")
        self.do(self.writer, "RPUSH a x")
        self.assertEqual(self.first.heard(), bulk(b"x"))
        self.assertEqual(self.second.heard(), bulk(b"x"))
        self.assertEqual(self.third.heard(), popped(b"c", b"x"))
        self.assertEqual(self.region.keyspace.databases[0].keys, 0)

    def test_circles(self) -> None:
        """Moves in a circle, and from a list to itself, come to an end."""
        self.wait(self.first, "BLMOVE a b RIGHT LEFT 0")
        self.wait(self.second, "BRPOPLPUSH b a 0")
        self.do(self.writer, "RPUSH a x")
        self.assertEqual(self.lrange("a"), replies.bulks([b"x"]))
        self.assertEqual(self.first.heard() + self.second.heard(), bulk(b"x") * 2)
        self.wait(self.first, "BRPOPLPUSH s s 0")
        self.wait(self.second, "BLPOP s 0")
        self.do(self.writer, "RPUSH s y")
        self.assertEqual(self.first.heard(), bulk(b"y"))
        self.assertEqual(self.second.heard(), popped(b"s", b"y"))

    def test_order_after_a_failure(self) -> None:
        """A waiter whose destination is of another type is told so and takes nothing; the next one is served."""
        self.do(self.writer, "SET text x")
        self.wait(self.first, "BRPOPLPUSH l text 0")
        self.wait(self.second, "BRPOPLPUSH l m 0")
        self.wait(self.third, "BLPOP l 0")
        self.do(self.writer, "RPUSH l a b c")
        self.assertEqual(self.first.heard()[0][:10], b"-WRONGTYPE")
        self.assertEqual(self.second.heard(), bulk(b"c"))
        self.assertEqual(self.third.heard(), popped(b"l", b"a"))
        self.assertEqual(self.lrange("l"), replies.bulks([b"b"]))

    def test_the_type_of_the_source(self) -> None:
        """A blocking command on a key of another type is refused at once."""
        self.do(self.writer, "SET text x")
        for line in ("BLPOP text 0", "BLMOVE text l LEFT LEFT 0", "BLMPOP 0 2 none text LEFT", "BLPOP none text 0"):
            self.assertEqual(self.do(self.first, line)[0][:10], b"-WRONGTYPE", line)
        self.assertEqual(len(self.region.execution.waiters), 0)

    def test_other_types_do_not_wake(self) -> None:
        """Only what a client waits for wakes it."""
        self.wait(self.first, "BLPOP k 0")
        self.wait(self.second, "BZPOPMIN k 0")
        for line in ("SET k x", "DEL k", "SADD k x", "DEL k", "HSET k f v", "DEL k"):
            self.do(self.writer, line)
            self.assertEqual(self.first.heard() + self.second.heard(), [], line)
        self.do(self.writer, "ZADD k 1 m")
        self.assertEqual(self.first.heard(), [])
        self.assertEqual(self.second.heard(), popped(b"k", b"m", b"1"))
        self.wait(self.second, "BZPOPMIN k 0")
        self.do(self.writer, "RPUSH k a")
        self.assertEqual(self.first.heard(), popped(b"k", b"a"))
        self.assertTrue(self.second.blocked)

    # Transactions

    def test_exec_is_isolated(self) -> None:
        """Waiters see the end of a transaction, not its middle; its client is answered before they are."""
        self.wait(self.first, "BLPOP l 0")
        self.transact("LPUSH l a", "LPUSH l b", "LPUSH l c")
        self.assertEqual(self.first.heard(), popped(b"l", b"c"))

    def test_deleted_in_the_same_exec(self) -> None:
        """What isn't there any more at the end wakes nobody."""
        self.wait(self.first, "BLPOP l 0")
        for lines in (
            ("LPUSH l a", "DEL l"),
            ("LPUSH l a", "LPOP l"),
            ("LPUSH l a", "RENAME l m"),
            ("LPUSH l a", "DEL l", "SET l text"),
            ("DEL l", "LPUSH l a", "EXPIRE l 0"),
            ("LPUSH l a", "FLUSHALL"),
            ("LPUSH l a", "MOVE l 1"),
        ):
            self.transact(*lines)
            self.assertEqual(self.first.heard(), [], lines)
        self.do(self.writer, "LPUSH l b")
        self.assertEqual(self.first.heard(), popped(b"l", b"b"))

    def test_replaced_in_the_same_exec(self) -> None:
        """What counts is what's there at the end."""
        self.wait(self.first, "BLPOP l 0")
        self.transact("LPUSH l a", "DEL l", "SADD l x", "DEL l", "LPUSH l b c")
        self.assertEqual(self.first.heard(), popped(b"l", b"c"))

    def test_blocking_commands_within_exec(self) -> None:
        """They never wait, and what they push wakes others."""
        self.wait(self.first, "BLPOP m 0")
        reply = self.transact(
            "BLPOP l 0", "BLMOVE l m LEFT LEFT 0", "RPUSH l a b", "BLMOVE l m LEFT LEFT 0", "BLPOP l 0"
        )
        parts = [b"*-1\r\n", b"$-1\r\n", b":2\r\n", replies.bulk(b"a"), *popped(b"l", b"b")]
        self.assertEqual(reply, [replies.array(parts)])
        self.assertEqual(self.first.heard(), popped(b"m", b"a"))

    def test_a_command_that_fails_within_exec(self) -> None:
        """It's undone and told in its place, and the others run."""
        reply = self.transact("SET s x", "LPUSH s a", "LPUSH l a", "LSET l 5 x", "LLEN l")
        wrong = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
        parts = [b"+OK\r\n", wrong, b":1\r\n", b"-ERR index out of range\r\n", b":1\r\n"]
        self.assertEqual(reply, [replies.array(parts)])

    def test_databases_within_exec(self) -> None:
        """A transaction may go from one database to another."""
        self.wait(self.first, "BLPOP l 0", db=1)
        self.transact("RPUSH l a", "SELECT 1", "RPUSH l b")
        self.assertEqual(self.first.heard(), popped(b"l", b"b"))
        self.assertEqual(self.lrange("l"), replies.bulks([b"a"]))

    # How keys become ready

    def test_all_that_makes_lists(self) -> None:
        """However a list appears, who waits for it is served."""
        self.do(self.writer, "RPUSH source x")
        dump = self.region.execution.read(self.writer, 0, TABLE["dump"], [b"DUMP", b"source"], self.region.time)
        assert isinstance(dump, bytes)
        payload = dump.partition(b"\r\n")[2][:-2]
        self.do(self.writer, "DEL source")
        ways: list[str | list[bytes]] = [
            "RENAME source l",
            "RENAMENX source l",
            "COPY source l",
            "SORT source BY nosort STORE l",
            [b"RESTORE", b"l", b"0", payload],
            "LMOVE source l LEFT LEFT",
            "RPOPLPUSH source l",
        ]
        for way in ways:
            self.wait(self.first, "BLPOP l 0")
            self.do(self.writer, "RPUSH source x")
            self.do(self.writer, way)
            self.assertEqual(self.first.heard(), popped(b"l", b"x"), way)
            self.do(self.writer, "DEL source")

    def test_other_databases(self) -> None:
        """COPY, MOVE and SWAPDB reach who waits in another database, and only there."""
        for way in ("COPY l l DB 3", "MOVE l 3", "SWAPDB 0 3", "SWAPDB 3 0"):
            self.wait(self.first, "BLPOP l 0", db=3)
            self.wait(self.second, "BLPOP l 0", db=4)
            self.do(self.writer, "RPUSH l x")
            self.assertEqual(self.first.heard(), [])
            self.do(self.writer, way)
            self.assertEqual(self.first.heard(), popped(b"l", b"x"), way)
            self.assertTrue(self.second.blocked)
            self.region.wake(self.second, b"gone")
            self.do(self.writer, "FLUSHALL")

    def test_swapped_before(self) -> None:
        """Clients wait in a database by its number, whatever is behind it by now."""
        self.wait(self.first, "BLPOP l 0", db=3)
        self.do(self.writer, "SWAPDB 0 3")
        self.do(self.writer, "RPUSH l x", db=0)
        self.assertEqual(self.first.heard(), [])
        self.do(self.writer, "RPUSH l y", db=3)
        self.assertEqual(self.first.heard(), popped(b"l", b"y"))

    def test_swapped_in_but_expired(self) -> None:
        """A key that has expired wakes nobody, and its going is no part of the next command."""
        self.do(self.writer, "RPUSH l x", db=3)
        self.do(self.writer, "PEXPIRE l 50", db=3)
        self.wait(self.first, "BLPOP l 0")
        self.region.apply(self.region.make(self.writer, "SWAPDB 0 3"), after_ms=100)
        self.assertTrue(self.first.blocked)
        self.assertEqual(self.region.keyspace.databases[0].keys, 0)
        self.assertEqual(self.region.keyspace.undo, [])
        self.do(self.writer, "LSET none 0 x")
        self.assertEqual(self.region.keyspace.databases[0].keys, 0)

    def test_read_only_looks(self) -> None:
        """What leaves a list as it is wakes nobody a second time."""
        self.do(self.writer, "RPUSH z 1")
        self.wait(self.first, "BLPOP l 0")
        for line in (
            "LPUSHX l a",
            "LTRIM l 0 1",
            "LREM l 0 a",
            "LPOP l",
            "RPOPLPUSH l l",
            "SORT none STORE l",
            "RENAME z zz",
        ):
            self.do(self.writer, line)
            self.assertTrue(self.first.blocked, line)

    # The end of waiting

    def test_timeouts(self) -> None:
        """A client is told what its command says when its time is over, and gets nothing later."""
        self.wait(self.first, "BLPOP l 1.5")
        self.assertEqual(self.first.waiting, [(1, 1500)])
        self.wait(self.second, "BLMOVE l m LEFT LEFT 0")
        self.assertEqual(self.second.waiting, [(1, 0)])
        self.region.wake(self.first)
        self.assertEqual(self.first.heard(), NIL_ARRAY)
        self.region.wake(self.second)
        self.assertEqual(self.second.heard(), NIL_ARRAY)
        self.do(self.writer, "RPUSH l a")
        self.assertEqual(self.first.heard() + self.second.heard(), [])
        self.assertEqual(self.lrange("l"), replies.bulks([b"a"]))
        self.assertEqual(self.region.rows.image()["region"], {})

    def test_resp3(self) -> None:
        """Replies are in the client's protocol."""
        client = Teller(9, proto=3)
        self.wait(client, "BLPOP l 0")
        self.region.wake(client)
        self.assertEqual(client.heard(), [b"_\r\n"])
        self.wait(client, "BZPOPMIN z 0")
        self.do(self.writer, "ZADD z 1 m")
        self.assertEqual(client.heard(), [b"*3\r\n$1\r\nz\r\n$1\r\nm\r\n,1\r\n"])

    def test_unblocked(self) -> None:
        """CLIENT UNBLOCK ends waiting with a timeout or an error."""
        self.wait(self.first, "BLPOP l 0")
        self.region.wake(self.first, b"error")
        self.assertEqual(self.first.heard(), [b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"])

    def test_too_late(self) -> None:
        """What comes after the client was served, or from before its present request, does nothing."""
        self.wait(self.first, "BLPOP l 0")
        self.do(self.writer, "RPUSH l a")
        self.region.wake(self.first)
        self.assertEqual(self.first.heard(), popped(b"l", b"a"))
        self.wait(self.first, "BLPOP l 0")
        self.region.apply(self.region.internal(b"wake", b"%d" % START_ID, b"2", b"1", b"timeout"))
        self.assertTrue(self.first.blocked)

    def test_waiting_changes_nothing(self) -> None:
        """What a command did before it found that it must wait is undone; an expired key, too, goes in its own time."""
        for line in ("RPUSH l a", "PEXPIRE l 50", "SET other x"):
            self.do(self.writer, line)
        before = self.region.image()["data"]
        self.region.apply(self.region.make(self.first, "BLPOP l 0"), after_ms=100)
        self.assertTrue(self.first.blocked)
        self.assertEqual(self.region.image()["data"], before)
        self.assertEqual(self.region.keyspace.databases[0].keys, 2)
        self.assertEqual(self.region.keyspace.expired_keys, 0)

    def test_gone(self) -> None:
        """Who has gone isn't served, and isn't answered."""
        self.wait(self.first, "BLPOP l 0")
        self.wait(self.second, "BLPOP l m 0")
        self.region.wake(self.first, b"gone")
        self.do(self.writer, "RPUSH l a")
        self.assertEqual(self.first.heard(), [])
        self.assertEqual(self.second.heard(), popped(b"l", b"a"))

    def test_a_lost_store(self) -> None:
        """All clients of a run of a store go at once, and hear of it if they're there; those of another stay."""
        self.wait(self.first, "BLPOP l 0")
        self.wait(self.second, "BLPOP l 0")
        self.region.apply(self.region.internal(b"gone", b"12345"))
        self.assertEqual(len(self.region.execution.waiters), 2)
        self.region.apply(self.region.internal(b"gone", b"%d" % START_ID))
        self.assertEqual(len(self.region.execution.waiters), 0)
        told = [reply for client in (self.first, self.second) for reply in client.heard()]
        self.assertEqual([reply[:13] for reply in told], [b"-CLUSTERDOWN "] * 2)
        self.do(self.writer, "RPUSH l a")
        self.assertEqual(self.lrange("l"), replies.bulks([b"a"]))

    def test_after_a_restart(self) -> None:
        """Waiters outlive the process as rows, and keep their turn."""
        self.wait(self.first, "BLPOP l 0")
        self.wait(self.second, "BLMOVE l m LEFT LEFT 0")
        self.region.forget()
        self.assertEqual(
            [waiter.origin for waiter in self.region.execution.waiters], [(START_ID, 2, 1), (START_ID, 3, 1)]
        )
        self.wait(self.third, "BLPOP m 0")
        self.do(self.writer, "RPUSH l a b")
        self.assertEqual(self.third.heard(), popped(b"m", b"b"))
        self.assertEqual(self.region.keyspace.databases[0].keys, 0)
        self.assertEqual(self.region.rows.image()["region"], {})

    def test_damaged_rows(self) -> None:
        """A row that no waiter wrote is noticed."""
        self.wait(self.first, "BLPOP l 0")
        rows = self.region.rows.rows["region"]
        (key,) = rows
        row = rows[key]
        assert isinstance(row, bytes)
        for bad in (b"", row[:-1], row[:20]):
            rows[key] = bad
            self.assertRaises(Damaged, self.region.forget)


class WatchTests(SynchronousTestCase):
    """EXEC with watched keys."""

    def setUp(self) -> None:
        """Make a region with two clients."""
        self.region = Region()
        self.me, self.other, self.waiter = Teller(1), Teller(2), Teller(3)

    def execute(self, *watched: tuple[int, bytes, int]) -> bool:
        """Run a transaction, and say if it ran."""
        self.region.apply(self.region.transaction(self.me, "SET result done", watched=watched))
        (reply,) = self.me.heard()
        if reply == b"*1\r\n+OK\r\n":
            self.region.do(self.me, "DEL result")
            return True
        self.assertEqual(reply, b"*-1\r\n")
        self.assertEqual(self.region.keyspace.databases[0].get(b"result"), None)
        return False

    def test_changes(self) -> None:
        """Any change of a watched key, and nothing else, keeps a transaction from running."""
        do, watch = self.region.do, self.region.watch
        do(self.other, "RPUSH l a")
        do(self.other, "SET s x")
        do(self.other, "SET s y", 1)
        for line, changes in (
            ("LLEN l", False),
            ("RPUSH other x", False),
            ("SET s z", True),
            ("SET s z", True),
            ("RPUSH l b", True),
            ("LPUSH s b", False),
            ("LSET l 9 b", False),
            ("EXPIRE l 100", True),
            ("PERSIST l", True),
            ("SWAPDB 0 1", True),
            ("SWAPDB 0 1", True),
            ("DEL s l", True),
            ("RPUSH l a", True),
            ("FLUSHALL", True),
        ):
            watched = (watch(b"l"), watch(b"s"), watch(b"none"))
            do(self.other, line)
            self.assertEqual(self.execute(*watched), not changes, line)

    def test_expiry(self) -> None:
        """A key that has expired since counts as changed; one that had before doesn't."""
        self.region.do(self.other, "SET s x PX 50")
        watched = self.region.watch(b"s")
        self.region.apply(after_ms=100)
        self.assertFalse(self.execute(watched))
        self.region.do(self.other, "SET s x PX 50")
        self.region.time += 100
        watched = self.region.watch(b"s")
        self.assertTrue(self.execute(watched))

    def test_a_waiter_changes_it(self) -> None:
        """What a waiter pushes when it's served is a change too."""
        self.region.do(self.waiter, "BRPOPLPUSH l m 0")
        watched = self.region.watch(b"m")
        self.region.do(self.other, "RPUSH l a")
        self.assertFalse(self.execute(watched))

    def test_another_database(self) -> None:
        """A watched key is one of its database."""
        watched = self.region.watch(b"s", 1)
        self.region.do(self.other, "SET s x")
        self.assertTrue(self.execute(watched))
        self.region.do(self.other, "SET s x", 1)
        self.assertFalse(self.execute(watched))


def broken(problem: BaseException) -> CommandSpec:
    """Make a command that changes much and then fails."""

    def run(ctx: Context, args: list[bytes]) -> bytes:
        for line in (
            "SET new x",
            "SET text y",
            "RPUSH l b",
            "LREM large 0 e7",
            "RPUSH large x",
            "DEL set",
            "RENAME large hash",
            "EXPIRE l 100",
            "SWAPDB 0 1",
        ):
            arguments = line.encode().split()
            TABLE[arguments[0].decode().lower()].run(ctx, arguments)
        raise problem

    return CommandSpec("broken", run, True, 1, grows=True)


class RandomnessTests(SynchronousTestCase):
    """Picks at random: alike on all replicas, and independent of each other."""

    def test_commands_of_one_entry(self) -> None:
        """Each draws for itself, though they share the entry's seed; at replay all draw the same again."""
        region, client, again = Region(), Teller(1), Region()
        keys = [b"s%d" % number for number in range(20)]
        for key in keys:
            region.do(client, [b"SADD", key, *[b"%d" % member for member in range(100)]])
        region.apply(*[region.make(client, [b"SPOP", key]) for key in keys])
        popped = client.heard()
        self.assertGreater(len(set(popped)), 10)
        region.apply(region.transaction(client, *[f"SPOP {key.decode()}" for key in keys]))
        (reply,) = client.heard()
        self.assertGreater(len(set(reply.split(b"\r\n")[2::2])), 10)
        for entry in region.log:
            again.replay(entry)
        self.assertEqual(again.image(), region.image())

    def test_a_waiter_that_is_served(self) -> None:
        """It doesn't draw what the command that served it drew."""
        drawn: list[float] = []

        def run(ctx: Context, args: list[bytes]) -> bytes:
            drawn.append(ctx.random.random())
            return replies.ZERO if ctx.db.get(b"l") is not None else ctx.wait([b"l"], 0, b"")

        spec = CommandSpec("draws", run, True, 1, blocks=True, waits_for=b"list")
        region = Region(table={**TABLE, "draws": spec})
        region.do(Teller(1), "DRAWS")
        writer = Teller(2)
        region.apply(region.make(writer, "RPUSH l a"), region.make(writer, "DRAWS"))
        self.assertEqual(len(set(drawn)), 3)


class FailureTests(SynchronousTestCase):
    """Commands that fail."""

    def region_with(self, problem: BaseException) -> tuple[Region, Teller]:
        """Make a region with a broken command and some content."""
        region, client = Region(table={**TABLE, "broken": broken(problem)}), Teller(1)
        for line in ("SET text x", "RPUSH l a", "SADD set a b", "HSET hash f v", "SET other x"):
            region.do(client, line)
        region.do(client, [b"RPUSH", b"large", *[b"e%d" % (i % 50) for i in range(1000)]])
        return region, client

    def contents(self, region: Region) -> dict[bytes, object]:
        """Give the rows, but of large values what can be seen."""
        large: Any = region.keyspace.databases[0].get(b"large")
        held: dict[bytes, object] = {
            key: row for key, row in region.image()["data"].items() if b"large" not in key and key[4] == 1
        }
        held[b"large"] = list(large.items())
        held[b"keys"] = region.keyspace.databases[0].keys
        held[b"expiring"] = region.keyspace.databases[0].expiring
        return held

    def test_undone(self) -> None:
        """A defect in a command leaves no trace but the answer and what the store is told."""
        problem = ZeroDivisionError("a defect")
        region, client = self.region_with(problem)
        before = self.contents(region)
        (reply,) = region.do(client, "BROKEN")
        self.assertEqual(reply[:20], b"-ERR internal error:")
        self.assertEqual(region.defects, [("broken", problem)])
        self.assertEqual(self.contents(region), before)
        region.forget()
        self.assertEqual(self.contents(region), before)
        self.assertEqual(region.do(client, "RPUSH l b"), [b":2\r\n"])

    def test_refused(self) -> None:
        """So does a refusal, of which the store isn't told."""
        region, client = self.region_with(CommandError(b"ERR no"))
        before = self.contents(region)
        self.assertEqual(region.do(client, "BROKEN"), [b"-ERR no\r\n"])
        self.assertEqual(region.defects, [])
        self.assertEqual(self.contents(region), before)

    def test_within_exec(self) -> None:
        """The other commands of a transaction stay done."""
        region, client = self.region_with(KeyError("a defect"))
        region.apply(region.transaction(client, "RPUSH l b", "BROKEN", "LLEN l"))
        (reply,) = client.heard()
        self.assertEqual(reply[:29], b"*3\r\n:2\r\n-ERR internal error: ")
        self.assertEqual(reply[-4:], b":2\r\n")

    def test_wakes_nobody(self) -> None:
        """What was undone was never there."""
        region, client = self.region_with(KeyError("a defect"))
        waiter = Teller(2)
        region.do(waiter, "BLPOP hash2 0")
        region.do(waiter, "BROKEN")
        self.assertTrue(len(region.execution.waiters) == 1)

    def test_what_lies_below(self) -> None:
        """Failures of memory, disk and rows stop the store: they go up."""
        for problem in (MemoryError(), OSError(), Fault(), Damaged()):
            region, client = self.region_with(problem)
            self.assertRaises(type(problem), region.do, client, "BROKEN")
            self.assertEqual(client.heard(), [])
            self.assertEqual(region.defects, [])

    def test_a_waiter_that_fails(self) -> None:
        """A defect that a waiter meets when it's served ends its waiting, and the next one has its turn."""
        problem = ZeroDivisionError()

        def run(ctx: Context, args: list[bytes]) -> bytes:
            if ctx.db.get(args[1]) is not None:
                raise problem
            return ctx.wait([args[1]], 0, b"")

        spec = CommandSpec("fails", run, True, 2, blocks=True, waits_for=b"list")
        region = Region(table={**TABLE, "fails": spec})
        first, second, writer = Teller(1), Teller(2), Teller(3)
        region.do(first, "FAILS l")
        region.do(second, "BLPOP l 0")
        region.do(writer, "RPUSH l a")
        self.assertEqual(first.heard()[0][:20], b"-ERR internal error:")
        self.assertEqual(second.heard(), popped(b"l", b"a"))
        self.assertEqual(region.defects, [("fails", problem)])


class ReadTests(SynchronousTestCase):
    """Reads beside the log."""

    def setUp(self) -> None:
        """Make a region with a client."""
        self.region, self.client = Region(), Teller(1)

    def read(self, line: str, now: int, db: int = 0) -> object:
        """Run a read at a time."""
        arguments = line.encode().split()
        return self.region.execution.read(self.client, db, TABLE[arguments[0].decode().lower()], arguments, now)

    def test_replies(self) -> None:
        """A read gives a reply, also when it's refused."""
        self.region.do(self.client, "RPUSH l a", 2)
        self.assertEqual(self.read("LLEN l", 0, 2), b":1\r\n")
        self.assertEqual(self.read("LLEN l", 0), b":0\r\n")
        self.assertEqual(
            self.read("GET l", 0, 2), b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
        )

    def test_what_is_counted(self) -> None:
        """Bytes are those of replies, errors too; what is to be read again is no reply yet."""
        self.region.do(self.client, "SET s x PX 50")
        replies = [self.read("GET s", 0), self.read("LLEN s", 0), self.read("MGET s none", 0)]
        self.assertIsInstance(self.read("GET s", self.region.time + 50), list)
        execution = self.region.execution
        self.assertEqual((execution.reads, execution.read_bytes), (4, sum(map(len, replies))))  # type: ignore[arg-type]

    def test_expired_by_the_clock(self) -> None:
        """Keys that only the clock says have expired are given instead, until their expiry is applied."""
        self.region.do(self.client, "SET s x PX 50")
        db = self.region.keyspace.databases[0]
        then = self.region.time + 50
        self.assertEqual(self.read("GET s", then - 1), b"$1\r\nx\r\n")
        self.assertEqual(self.read("GET s", then), [(db, b"s")])
        self.assertEqual(self.read("GET s", then), [(db, b"s")])
        self.region.apply(self.region.internal(b"expire", b"0", b"s", b"none"), after_ms=49)
        self.assertEqual(db.keys, 1)
        self.region.apply(self.region.internal(b"expire", b"0", b"s", b"none"), after_ms=1)
        self.assertEqual(self.read("GET s", then), b"$-1\r\n")
        self.assertEqual(db.keys, 0)

    def test_never_before_the_region(self) -> None:
        """A clock that lags doesn't bring back what has expired in the log."""
        self.region.do(self.client, "SET s x PX 50")
        self.region.apply(after_ms=100)
        self.assertEqual(self.read("GET s", START_TIME), b"$-1\r\n")

    def test_transactions_that_read(self) -> None:
        """They're run as one, with what the session itself answers in between."""
        self.region.do(self.client, "RPUSH l a")
        self.region.do(self.client, "RPUSH l a b", 1)
        lines = [(0, b"LLEN l"), (1, b"LLEN l"), (0, b"GET l")]
        commands: list[Any] = [(db, TABLE[line.split()[0].decode().lower()], line.split(), None) for db, line in lines]
        commands.insert(1, (0, None, [b"PING"], lambda: b"+PONG\r\n"))
        reply = self.region.execution.read(self.client, 0, None, commands, 0)
        self.assertEqual(
            reply,
            b"*4\r\n:1\r\n+PONG\r\n:2\r\n-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        )

    def test_a_broken_read(self) -> None:
        """A defect is answered and told to the store."""
        problem = ZeroDivisionError()

        def run(ctx: Context, args: list[bytes]) -> bytes:
            raise problem

        spec = CommandSpec("broken", run, False, 1)
        reply = self.region.execution.read(self.client, 0, spec, [b"BROKEN"], 0)
        assert isinstance(reply, bytes)
        self.assertEqual(reply[:20], b"-ERR internal error:")
        self.assertEqual(self.region.defects, [("broken", problem)])


class InternalTests(SynchronousTestCase):
    """What goes through the log beside commands on data."""

    def test_settings(self) -> None:
        """Settings are rows, in force from their entry on."""
        region, client = Region(), Teller(1)
        region.do(client, "HSET h a 1 b 2 c 3")
        region.do(client, "CONFIG SET hash-max-listpack-entries 2")
        region.do(client, "HSET g a 1 b 2 c 3")
        region.forget()
        self.assertEqual(region.keyspace.settings.hash_entries, 2)
        encodings = [
            region.execution.read(client, 0, TABLE["object|encoding"], [b"OBJECT", b"ENCODING", key], 0)
            for key in (b"h", b"g")
        ]
        self.assertEqual(encodings, [b"$8\r\nlistpack\r\n", b"$9\r\nhashtable\r\n"])

    def test_settings_in_a_transaction(self) -> None:
        """They hold for what follows in it, when it's replayed too."""
        region, client, again = Region(), Teller(1), Region()
        region.apply(
            region.transaction(client, "HSET h a 1 b 2", "CONFIG SET hash-max-listpack-entries 1", "HSET g a 1 b 2")
        )
        again.replay(region.log[0])
        for side in (region, again):
            encodings = [
                side.execution.read(client, 0, TABLE["object|encoding"], [b"OBJECT", b"ENCODING", key], 0)
                for key in (b"h", b"g")
            ]
            self.assertEqual(encodings, [b"$8\r\nlistpack\r\n", b"$9\r\nhashtable\r\n"])
        self.assertEqual(region.image(), again.image())

    def test_time_never_falls_back(self) -> None:
        """That's what whoever makes entries promises."""
        region = Region()
        self.assertRaises(AssertionError, region.execution.begin_entry, region.time - 1, 0)

    def test_nothing_is_left_behind(self) -> None:
        """Large lists that waiters empty take their nodes along."""
        region, client, waiter = Region(), Teller(1), Teller(2)
        region.do(waiter, "BLMPOP 0 1 l LEFT COUNT 5000")
        region.do(client, [b"RPUSH", b"l", *[b"x"] * 1000])
        self.assertEqual(len(waiter.heard()), 1)
        self.assertEqual([key for key in region.rows.rows["data"] if key[4] == 2], [])
