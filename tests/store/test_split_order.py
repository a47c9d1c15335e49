"""What clients send while a region is split is done in the order in which each of them sent it."""

from __future__ import annotations

from tests.store.test_forwarding import Answer
from tests.store.test_forwarding import Asker as Origin
from tests.store.test_gaps import WorldCase
from tests.store.test_splits import HIGH, LOW, MIDDLE, OK, SplitsCase
from tests.testing.region_cluster import RegionStore
from tinykv.peering.figures import PeerFigures
from tinykv.peering.notices import Notices
from tinykv.redis.forwarded import REFUSED, decode_results, encode_batch
from tinykv.region.splitting import Split, own_cuts
from tinykv.store.forwarding import Receiver
from tinykv.testing.embedded import TABLE
from tinykv.testing.simulation.ports import Together


class DistantTests(SplitsCase):
    """Commands of another store's clients that wait at the leader of what is split."""

    def nothing_is_done(self, *lines: str, batches: int = 1) -> None:
        """Refuse the first, which isn't wholly here any more, and so all that came behind it."""
        receiver = Receiver(here=self.whole, table=TABLE, notices=Notices(self.hosted.clock, PeerFigures()))
        one = Origin(9)
        operations = [one(line) for line in lines]
        self.propose()
        answers = []
        each = len(operations) // batches
        for start in range(0, len(operations), each):
            answer = Answer()
            receiver.forwarded(2, encode_batch(1, 1, 7, 1, operations[start : start + each]), answer)
            answers.append(answer)
        self.hosted.settle()
        results = [result for answer in answers for told in answer.told for result in decode_results(told, each)]
        self.assertEqual([status for status, _ in results], [REFUSED] * len(lines))
        self.assertEqual(self.ask(f"GET {LOW}"), [b"$-1\r\n"])

    def test_behind_what_has_a_part_elsewhere(self) -> None:
        self.nothing_is_done(f"DEL {LOW} {HIGH}", f"SET {LOW} 2")

    def test_behind_what_is_about_all_keys(self) -> None:
        self.nothing_is_done("FLUSHALL", f"SET {LOW} 2")

    def test_in_a_later_batch(self) -> None:
        self.nothing_is_done(f"DEL {LOW} {HIGH}", f"SET {LOW} 2", batches=2)


class StepTests(SplitsCase):
    """
    Steps of the front's (EXEC, PUBLISH, WAIT), which come behind all that their client has sent.

    They were sent to the region that is split when it was the only one.
    """

    def comes_behind(self, line: str) -> None:
        """See what the client has been told when the step is run."""
        self.route()
        self.propose()
        seen: list[list[tuple[int, bytes]]] = []
        self.client.send(line)
        self.client.local(lambda: seen.append(list(self.client.told)))
        self.rest()
        self.assertEqual(seen, [[(0, OK)]])

    def test_what_stays(self) -> None:
        self.comes_behind(f"SET {LOW} 1")

    def test_what_was_moved(self) -> None:
        self.comes_behind(f"SET {HIGH} 1")

    def test_what_has_parts_in_both(self) -> None:
        self.comes_behind("FLUSHALL")


class PipelineTests(WorldCase):
    """Pipelines, while the region is split."""

    moves = False

    def begin(self, offset: int) -> None:
        """Have the region split, and let some microseconds pass."""
        host = self.leader.parts[1].host
        split = Split(host.descriptor.version, host.descriptor.conf_ver, own_cuts(host.descriptor, (MIDDLE,)))
        self.leader.process.soon("splits", lambda: host.propose_split(split))
        self.world.run_until(self.world.events.now + offset)

    def test_at_a_store_that_does_not_lead(self) -> None:
        low, high = LOW.encode(), HIGH.encode()
        for offset in range(0, 4000, 1000):
            self.setUp()
            store = next(s for s, _ in self.world.parts_of(1) if s is not self.leader and s.id != 4)
            port = self.port(store)
            self.ask(port, b"GET", low)
            self.begin(offset)
            replies: list[object] = []
            port.send(Together(((b"DEL", low, high), (b"SET", low, b"v"))), replies.append)
            self.until(lambda told=replies: told)
            self.rest(2)
            self.assertEqual((replies, self.ask(port, b"GET", low)), ([(2, b"OK")], b"v"), offset)

    def test_a_transaction_behind_what_was_moved(self) -> None:
        """Nobody sees what it wrote before what its client had written before it."""
        low, high = LOW.encode(), HIGH.encode()
        for offset in range(0, 1500, 500):
            self.setUp()
            port, other = self.port(self.leader), self.port(self.leader)
            self.begin(offset)
            replies: list[object] = []
            transaction = ((b"MULTI",), (b"SET", low, b"2"), (b"EXEC",))
            port.send(Together(((b"SET", high, b"2"), *transaction)), replies.append)
            while not replies:
                if self.ask(other, b"GET", low) == b"2":
                    # Where nobody leads the part the earlier write can't have been done.
                    self.assertEqual(len(self.led()), 2, offset)
                    break
            self.until(lambda told=replies: told)

    def led(self) -> set[int]:
        """Name the regions that have a leader."""
        stores = [store for store in self.world.stores.values() if isinstance(store, RegionStore)]
        parts = [part for store in stores for part in store.parts.values()]
        return {part.host.descriptor.region for part in parts if part.host.ready}
