"""Clients that wait at a store without a replica of the region of their keys."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.store.test_forwarding import Asker
from tests.store.test_gaps import WorldCase
from tests.store.test_splits import HIGH, MIDDLE
from tinykv.keys import slot_of
from tinykv.redis.operations import EXEC, READ, Operation
from tinykv.region.splitting import Split, own_cuts
from tinykv.resp import replies
from tinykv.store.host import RegionHost
from tinykv.store.polls import POLL_SECONDS, Polls
from tinykv.testing.embedded import TABLE
from tinykv.testing.redis_space import Failed
from tinykv.testing.simulation.endpoints import address_of

NIL = b"*-1\r\n"
POPPED = b"*2\r\n$1\r\na\r\n$1\r\nx\r\n"
#: Keys of the later half.
LIST, OTHER = b"{%b}list" % HIGH.encode(), b"{%b}other" % HIGH.encode()
DOWN = b"-CLUSTERDOWN no store leads; nothing was done\r\n"


class PollTests(SynchronousTestCase):
    """A client, and a region that says what a test does."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.client = Asker()
        self.sent: list[Operation] = []
        self.answered = 0
        self.polls = Polls(
            table=TABLE, start_id=5, submit=self.sent.append, clock=self.clock, answered=self.count
        )

    def count(self) -> None:
        """Count how often there was something to be sent to clients."""
        self.answered += 1

    def begin(self, line: str) -> None:
        """Let the client send a blocking command."""
        self.polls.begin(self.client(line))

    def wake(self, how: bytes) -> bool:
        """Wake the client."""
        return self.polls.wake([b"wake", b"5", b"%d" % self.client.client_id, b"0", how])

    def reply(self, reply: bytes) -> str:
        """Answer what was sent, and give that in words."""
        kind, client, number, _, _, arguments, _ = self.sent.pop(0)
        words = arguments[0][2] if kind == EXEC else arguments
        client.answer(number, replies.array([reply]) if kind == EXEC and not reply.startswith(b"-") else reply)
        return b" ".join(words).decode()

    def later(self, reply: bytes) -> str:
        """Answer what is sent after a while."""
        self.assertEqual(self.sent, [])
        self.clock.advance(POLL_SECONDS)
        return self.reply(reply)

    def test_there_is_something_already(self) -> None:
        self.begin("BLPOP a 0")
        self.assertEqual(self.sent[0][0], EXEC)
        self.assertEqual(self.reply(POPPED), "BLPOP a 0")
        self.assertEqual((self.client.told, self.client.waiting), ([(0, POPPED)], []))
        self.assertEqual((len(self.polls), self.answered), (0, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_comes(self) -> None:
        """It's looked for by reads; that it may be gone when it's asked for is as if it hadn't come."""
        self.begin("BLPOP a b 0")
        self.reply(NIL)
        self.assertEqual(self.client.waiting, [(0, 0)])
        self.assertEqual(self.later(b":0\r\n"), "EXISTS a b")
        self.assertEqual(self.later(b":1\r\n"), "EXISTS a b")
        self.assertEqual(self.reply(NIL), "BLPOP a b 0")
        self.clock.advance(POLL_SECONDS)
        self.assertEqual(self.sent[0][0], READ)
        self.reply(b":1\r\n")
        self.reply(POPPED)
        self.assertEqual((self.client.told, self.client.waiting), ([(0, POPPED)], [(0, 0)]))

    def test_its_time_is_over(self) -> None:
        """It's tried a last time, and told what such a command is."""
        nil = b"$-1\r\n"
        for line, nothing in (("BLPOP a 0.25", NIL), ("BLMPOP 0.25 1 a LEFT", NIL), ("BLMOVE a b LEFT LEFT 0.25", nil)):
            self.setUp()
            self.begin(line)
            self.reply(nothing)
            self.assertEqual(self.client.waiting, [(0, 250)])
            for _ in range(2):
                self.assertEqual(self.later(b":0\r\n").split()[:2], ["EXISTS", "a"])
            self.assertEqual(self.later(nothing), line)
            self.assertEqual(self.client.told, [(0, nothing)])
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_destination_is_not_looked_at(self) -> None:
        self.begin("BRPOPLPUSH a b 0")
        self.reply(b"$-1\r\n")
        self.assertEqual(self.later(b":0\r\n"), "EXISTS a")

    def test_errors(self) -> None:
        """What says that nothing was done is tried again once it waits; all else is for the client to know."""
        wrong = b"-WRONGTYPE x\r\n"
        self.begin("BLPOP a 0")
        self.reply(NIL)
        self.later(DOWN)
        self.later(b":1\r\n")
        self.reply(DOWN)
        self.later(wrong)
        self.reply(wrong)
        self.assertEqual(self.client.told, [(0, wrong)])
        for error in (DOWN, b"-ERR timeout is negative\r\n", b"-CROSSSLOT x\r\n"):
            self.setUp()
            self.begin("BLPOP a 0")
            self.reply(error)
            self.assertEqual((self.client.told, self.client.waiting), ([(0, error)], []))

    def test_it_is_woken(self) -> None:
        self.begin("BLPOP a 0")
        self.reply(NIL)
        self.assertTrue(self.wake(b"timeout"))
        self.reply(NIL)
        self.assertEqual(self.client.told, [(0, NIL)])
        self.assertFalse(self.wake(b"timeout"))

    def test_it_is_woken_while_something_is_under_way(self) -> None:
        """By an error, unless it gets something after all."""
        for reply in (NIL, POPPED):
            self.setUp()
            self.begin("BLPOP a 0")
            self.reply(NIL)
            self.clock.advance(POLL_SECONDS)
            self.wake(b"error")
            self.reply(b":0\r\n")
            self.reply(reply)
            unblocked = b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"
            self.assertEqual(self.client.told, [(0, unblocked if reply == NIL else POPPED)])

    def test_one_of_another_store(self) -> None:
        """Its clients have the same numbers."""
        self.begin("BLPOP a 0")
        self.reply(NIL)
        self.assertFalse(self.polls.wake([b"wake", b"6", b"%d" % self.client.client_id, b"0", b"gone"]))
        self.assertEqual(len(self.polls), 1)

    def test_it_leaves(self) -> None:
        for waits in (0, 1):
            self.setUp()
            self.begin("BLPOP a 0")
            self.reply(NIL)
            self.clock.advance(waits * POLL_SECONDS)
            self.assertTrue(self.wake(b"gone"))
            if waits:
                self.reply(b":1\r\n")
            self.clock.advance(1)
            self.assertEqual((self.sent, self.client.told, len(self.polls)), ([], [], 0))


class StoreTests(WorldCase):
    """A simulated store that has a region, and no peer of another one."""

    def setUp(self) -> None:
        """Take the peer from a store, and connect to it."""
        super().setUp()
        (_, self.part) = self.split(MIDDLE)
        busy = (self.leader, self.leads(self.part))
        self.store = next(store for store, _ in self.world.parts_of(1) if store not in busy and store.id != 4)
        self.remove(self.part, self.store)
        self.assertTrue(self.store.parts[self.part].host.vacant)
        self.at_store = self.port(self.store)
        self.told: list[Any] = []
        # It hears who leads.
        self.rest(2)
        self.assertEqual(self.ask(self.at_store, b"GET", HIGH.encode()), b"1")

    def wait(self, *words: bytes) -> None:
        """Send a command that isn't answered soon."""
        self.at_store.send(words, self.told.append)
        self.rest(2)
        self.assertEqual(self.told, [])

    def served(self) -> None:
        """See that it's served when something comes."""
        self.assertEqual(self.ask(self.at_leader, b"RPUSH", LIST, b"x"), 1)
        self.until(lambda: self.told)
        self.assertEqual(self.told.pop(), (LIST, b"x"))

    def test_it_comes(self) -> None:
        self.wait(b"BLPOP", LIST, OTHER, b"0")
        self.served()
        self.assertEqual(self.ask(self.at_leader, b"RPUSH", OTHER, b"y"), 1)
        self.assertEqual(self.ask(self.at_store, b"BLPOP", LIST, OTHER, b"0"), (OTHER, b"y"))

    def test_its_time_is_over(self) -> None:
        self.assertIsNone(self.ask(self.at_store, b"BLPOP", LIST, b"0.3"))
        self.assertEqual(self.ask(self.at_leader, b"RPUSH", LIST, b"x"), 1)

    def test_it_is_unblocked(self) -> None:
        name = self.ask(self.at_store, b"CLIENT", b"ID")
        other = self.port(self.store)
        for how, told in ((b"TIMEOUT", None), (b"ERROR", Failed(b"UNBLOCKED"))):
            self.wait(b"BLPOP", LIST, b"0")
            self.assertEqual(self.ask(other, b"CLIENT", b"UNBLOCK", b"%d" % name, how), 1)
            self.until(lambda: self.told)
            self.assertEqual(self.told.pop(), told)

    def test_its_region_is_split(self) -> None:
        self.wait(b"BLPOP", LIST, b"0")
        host = self.leads(self.part).parts[self.part].host
        split = Split(
            host.descriptor.version, host.descriptor.conf_ver, own_cuts(host.descriptor, [slot_of(HIGH.encode())])
        )
        self.leads(self.part).process.soon("splits", lambda: host.propose_split(split))
        self.until(lambda: host.descriptor.version > split.version)
        self.served()

    def replica(self) -> RegionHost:
        """Give the store a replica."""
        self.change(
            self.part, lambda descriptor: descriptor.adding(self.store.id, address_of(self.store.name))
        )
        host: RegionHost = self.store.parts[self.part].host
        self.until(lambda: host.applied)
        self.rest(1)
        self.assertFalse(host.vacant)
        return host

    def lead(self, host: RegionHost) -> None:
        """Have the store lead."""
        group = self.leads(self.part).parts[self.part].group
        self.leads(self.part).process.soon("hands over", lambda: group.transfer_leader(host.group.peer))
        self.until(lambda: host.ready)

    def test_it_gets_a_replica(self) -> None:
        self.wait(b"BLPOP", LIST, b"0")
        self.replica()
        self.served()

    def test_it_leaves_then(self) -> None:
        """Nothing is popped for it."""
        for leads in (False, True):
            self.setUp()
            self.wait(b"BLPOP", LIST, b"0")
            host = self.replica()
            if leads:
                self.lead(host)
            self.at_store.renew()
            self.rest(2)
            self.assertEqual(self.ask(self.at_leader, b"RPUSH", LIST, b"x"), 1)
            self.rest(3)
            self.assertEqual(self.ask(self.at_leader, b"LLEN", LIST), 1, leads)

    def test_it_is_unblocked_then(self) -> None:
        name = self.ask(self.at_store, b"CLIENT", b"ID")
        other = self.port(self.store)
        self.wait(b"BLPOP", LIST, b"0")
        self.replica()
        self.assertEqual(self.ask(other, b"CLIENT", b"UNBLOCK", b"%d" % name, b"ERROR"), 1)
        self.until(lambda: self.told)
        self.assertEqual(self.told, [Failed(b"UNBLOCKED")])
