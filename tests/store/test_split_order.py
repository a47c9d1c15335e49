"""What clients send while a region is split is done in the order in which each of them sent it."""

from __future__ import annotations

from tests.store.test_forwarding import Answer
from tests.store.test_forwarding import Asker as Origin
from tests.store.test_gaps import WorldCase
from tests.store.test_splits import HIGH, LOW, MIDDLE, SplitsCase
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
