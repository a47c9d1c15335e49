"""A gateway while regions are split all the time: commands on all keys see each slot once, and all are answered."""

from __future__ import annotations

from random import Random

from tests.gateway.test_gateway import Batch, GatewayCase
from tests.redis.regions import Teller
from tests.server.harness import Client
from tinykv.interfaces import Outcome
from tinykv.keys import SLOTS, slot_of
from tinykv.redis.forwarded import REFUSED, REPLY, encode_results, version_of
from tinykv.redis.operations import COMMANDS, slots_named
from tinykv.region.routes import Route, encode_routes
from tinykv.resp import replies
from tinykv.testing.embedded import TABLE

STORES = (1, 2, 3)


class SplittingStores:
    """
    Stores whose regions have a key in each slot.

    What is refused tells of its region alone; some stores haven't learned of the latest splits yet.

    @ivar values: Of each key that was set: all its values, in their order.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self.routes = {1: Route(1, 0, SLOTS, 1, 1, 1)}
        #: What each store knows.
        self.known = {store: dict(self.routes) for store in STORES}
        self.splits = 0
        #: The generation of which something was refused, by region.
        self._refused: dict[int, int] = {}
        self.values: dict[bytes, list[int]] = {}

    def change(self) -> None:
        """Let there be other regions."""
        self.split()

    def split(self) -> None:
        """Split a region somewhere; who leads knows it at once."""
        route = self._random.choice(list(self.routes.values()))
        if route.end - route.first < 2:
            return
        self.splits += 1
        border = self._random.randrange(route.first + 1, route.end)
        part = Route(1000 + self.splits, border, route.end, route.version + 1, 1, self._random.choice(STORES))
        self.routes[route.region] = route._replace(end=border, version=route.version + 1)
        self.routes[part.region] = part
        for store in {route.leader, part.leader}:
            self.known[store] = dict(self.routes)

    def learn(self) -> None:
        """Let one store learn of all splits."""
        self.known[self._random.choice(STORES)] = dict(self.routes)

    def said(self, store: int) -> bytes:
        """Give what a store says of all regions."""
        return encode_routes(list(self.known[store].values()), {})

    def settle(self, batch: Batch, payload: bytes) -> None:
        """Answer a batch as the region is now."""
        route = self.routes[batch.region]
        if route.leader != batch.store or version_of(payload) != route.version:
            self._refused[batch.region] = batch.generation
            batch.answered(Outcome.REFUSED, encode_routes([self.known[batch.store].get(batch.region, route)], {}))
            return
        results: list[tuple[int, bytes]] = []
        refused = batch.generation <= self._refused.get(batch.region, 0)
        for operation in batch.operations:
            if refused or self._random.randrange(8) == 0:
                # It was taken in, and the region was narrowed before it was its turn; nor was it anything's behind it.
                refused = True
                results.append((REFUSED, b""))
            else:
                results.append((REPLY, self._do(route, operation[5])))
        if refused:
            self._refused[batch.region] = batch.generation
        batch.answered(Outcome.ANSWERED, encode_results(results))

    def _do(self, route: Route, arguments: list[bytes]) -> bytes:
        """Do a command in a region, and give the reply."""
        name = arguments[0].partition(b"|")[0]
        first, end = slots_named(arguments) or (route.first, route.end)
        first, end = max(first, route.first), min(end, route.end)
        if name == b"DBSIZE":
            return replies.integer(max(end - first, 0))
        if name == b"FLUSHALL":
            for key in [key for key in self.values if first <= slot_of(key) < end]:
                del self.values[key]
        else:
            self.values.setdefault(arguments[1], []).append(int(arguments[2]))
        return replies.OK


class SplittingTests(GatewayCase):
    """Clients who count all keys, and delete them, in whichever order."""

    stores_type = SplittingStores

    def test_all_keys(self) -> None:
        for seed in range(12):
            self.setUp()
            self.play(Random(seed))

    def play(self, random: Random) -> None:
        """Let clients ask while regions are split; see that each is answered, and rightly."""
        stores = self.stores_type(random)
        clients = [self.began(), self.connect(), self.connect()]
        #: Of each client: its requests, and the last value of each of its keys, if it has deleted all since.
        asked: dict[Client, list[bytes]] = {one: [] for one in clients}
        last: dict[bytes, int] = {}
        # One alone deletes what there is: what others see of that, nobody knows.
        flushes = random.randrange(2) == 0
        for number in range(120):
            one = random.choice(clients[: 1 if flushes else 3])
            key = b"%d:%d" % (clients.index(one), random.randrange(20))
            setting = b"SET %b %d" % (key, number)
            command = random.choice((b"DBSIZE", b"FLUSHALL" if flushes else b"DBSIZE", setting, setting, setting))
            one.pipeline(command)
            asked[one].append(command)
            if command.startswith(b"SET"):
                last[key] = number
            elif command == b"FLUSHALL":
                last.clear()
            if random.randrange(3) == 0:
                stores.change()
            if random.randrange(3) == 0:
                stores.learn()
            if random.randrange(3) == 0:
                store = random.choice(STORES)
                self.gateway.told(store, stores.said(store))
            self.turn(random.choice((0, 0, 0.05)))
            self.serve(stores, random)
        for store in STORES:
            stores.known[store] = dict(stores.routes)
        for _ in range(200):
            self.turn(0.05)
            self.serve(stores, random)
        wanted = {b"DBSIZE": b":%d\r\n" % SLOTS}
        for one in clients:
            self.assertEqual(one.taken(), b"".join(wanted.get(command, b"+OK\r\n") for command in asked[one]))
        for key, values in stores.values.items():
            self.assertEqual(values, sorted(values), key)
        self.assertEqual({key: values[-1] for key, values in stores.values.items()}, last)

    def serve(self, stores: SplittingStores, random: Random) -> None:
        """Answer some of what was sent, in its order."""
        questions, self.links.questions = self.links.questions, []
        for question in questions:
            question.answered(Outcome.REFUSED, stores.said(question.store))
        for _ in range(random.randrange(1 + 2 * len(self.links.batches))):
            if self.links.batches:
                # One after another from each store, as links deliver it.
                first = random.choice([batch.store for batch in self.links.batches])
                batch = next(batch for batch in self.links.batches if batch.store == first)
                self.links.batches.remove(batch)
                stores.settle(batch, batch.payload)
                self.turn()


class NarrowedTests(GatewayCase):
    """What comes when a region is known to be narrower isn't taken for what came before."""

    def test_counted_behind_something_under_way(self) -> None:
        client = self.began()
        client.pipeline(b"SET a 1")
        self.turn()
        under_way = self.batch()
        after = [Route(1, 0, 100, 2, 1, 1), Route(5, 100, SLOTS, 2, 1, 2)]
        self.gateway.told(3, encode_routes(after, {}))
        client.pipeline(b"DBSIZE")
        self.turn()
        under_way.answered(Outcome.REFUSED, encode_routes(after[:1], {}))
        sizes = {1: b":1\r\n", 5: b":2\r\n"}
        for _ in range(20):
            self.turn(0.05)
            while self.links.batches:
                batch = self.batch()
                batch.answer(*(replies.OK if line.startswith("SET") else sizes[batch.region] for line in batch.lines))
        self.assertEqual(client.taken(), replies.OK + b":3\r\n")

    def test_a_transaction_behind_what_was_moved(self) -> None:
        """It's sent when that is done, though it's for another region now."""
        stays = next(b"%d" % number for number in range(1 << 16) if slot_of(b"%d" % number) < 100)
        client = self.began()
        client.pipeline(b"SET a 1", b"MULTI", b"SET %b 2" % stays, b"EXEC")
        self.turn()
        under_way = self.batch()
        after = [Route(1, 0, 100, 2, 1, 1), Route(5, 100, SLOTS, 2, 1, 2)]
        self.gateway.told(3, encode_routes(after, {}))
        self.turn()
        under_way.answered(Outcome.REFUSED, encode_routes(after[:1], {}))
        for _ in range(5):
            self.turn(0.05)
        self.assertEqual([batch.region for batch in self.links.batches], [5])
        self.batch().answer(replies.OK)
        for _ in range(5):
            self.turn(0.05)
        batch = self.batch()
        self.assertEqual((batch.region, len(batch.operations)), (1, 1))
        batch.answer(replies.array([replies.OK]))
        self.turn()
        self.assertEqual(client.taken(), replies.OK * 2 + b"+QUEUED\r\n" + replies.array([replies.OK]))

    def split_while_it_waits(self, slots: int) -> None:
        """Narrow a region that waits for the outcome of what was sent to another one, and see in which order all is."""
        client = self.began()
        first, second = Route(1, 0, 100, 2, 1, 1), Route(5, 100, SLOTS, 2, 1, 2)
        self.gateway.told(3, encode_routes([first, second], {}))
        whole, part = self.gateway.regions[1], self.gateway.regions[5]
        let_go = part.hold()
        client.pipeline(b"SET a 3")
        self.turn()
        before = [[b"SET", b"a", b"%d" % number] for number in (1, 2)]
        commands = [(COMMANDS, Teller(9), 0, 0, TABLE["set"], one, replies.encode_command(one)) for one in before]
        whole.moved(commands[0], (0, SLOTS), whole)
        after = [second._replace(end=slots, version=3), Route(6, slots, SLOTS, 3, 1, 2)]
        self.gateway.told(3, encode_routes([first, *after], {}))
        client.pipeline(b"SET a 4")
        self.turn()
        whole.moved(commands[1], (0, SLOTS), whole)
        self.turn(0.05)
        # What has waited where it was goes at once.
        lines: list[str] = []
        self.assertEqual([batch.lines for batch in self.links.batches], [[f"SET a {number}"] for number in (1, 2)])
        let_go()
        for _ in range(20):
            self.turn(0.05)
            while self.links.batches:
                batch = self.batch()
                lines += batch.lines
                batch.answer(*[replies.OK] * len(batch.lines))
        self.assertEqual(lines, [f"SET a {number}" for number in (1, 2, 3, 4)])
        self.assertEqual(client.taken(), replies.OK * 2)

    def test_what_is_for_a_part_of_a_part(self) -> None:
        """What waits in a part that is split goes behind what was sent before, and comes back later."""
        self.split_while_it_waits(slot_of(b"a"))

    def test_what_stays_in_a_part(self) -> None:
        """So does what is still for that part."""
        self.split_while_it_waits(slot_of(b"a") + 1)
