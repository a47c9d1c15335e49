"""The links between simulated stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tinykv.interfaces import IForwardAnswer, IPeerHandler, IPeering, Outcome
from tinykv.peering.address_book import AddressBook
from tinykv.peering.errors import SnapshotFailed
from tinykv.peering.settings import PeerLimits
from tinykv.raft.messages import APPEND, HEARTBEAT, NORMAL, Entry, Message
from tinykv.storage.folder_ids import FolderIds
from tinykv.testing.simulation.clock import NodeClock, Process
from tinykv.testing.simulation.disk import Disk
from tinykv.testing.simulation.endpoints import address_of, dialling, real_peering
from tinykv.testing.simulation.events import SECOND, Events
from tinykv.testing.simulation.folder import RealFolder
from tinykv.testing.simulation.network import Network, Quality
from tinykv.testing.simulation.peering import SimulatedPeering
from tinykv.testing.simulation.streams import Streams


@implementer(IPeerHandler)
class Ears:
    """
    Hears, and notes it.

    @ivar heard: What came, a tuple each.
    @ivar answers: Where the answers to the batches that came go.
    @ivar refusal: Why no snapshot is taken.
    """

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []
        self.answers: list[IForwardAnswer] = []
        self.refusal: str | None = None

    def sender_store(self, region_id: int, peer_id: int) -> int | None:
        """Peers have the numbers of their stores."""
        return peer_id

    def received(self, store_id: int, region_id: int, message: Message) -> None:
        """Note it."""
        self.heard.append(("message", store_id, region_id, message))

    def unreachable(self, store_id: int, region_id: int) -> None:
        """Note it."""
        self.heard.append(("unreachable", store_id, region_id))

    def forwarded(self, store_id: int, payload: bytes, answer: IForwardAnswer) -> None:
        """Note it."""
        self.heard.append(("batch", store_id, payload))
        self.answers.append(answer)

    def pushed(self, store_id: int, payload: bytes) -> None:
        """Note it."""
        self.heard.append(("pushed", store_id, payload))

    def link_up(self, store_id: int) -> None:
        """Note it."""
        self.heard.append(("up", store_id))

    def link_down(self, store_id: int) -> None:
        """Note it."""
        self.heard.append(("down", store_id))

    def snapshot_offered(self, store_id: int, region_id: int, size: int, meta: bytes) -> str | None:
        """Note it."""
        self.heard.append(("offered", store_id, region_id, size, meta))
        return self.refusal

    def snapshot_received(self, store_id: int, region_id: int, path: str, meta: bytes) -> None:
        """Note it."""
        self.heard.append(("snapshot", store_id, region_id, path, meta))


def heartbeat(round_: int) -> Message:
    """Make one from store 1 to store 2."""
    return Message(HEARTBEAT, 2, 1, 1, round=round_)


class PeeringTests(SynchronousTestCase):
    """Two stores."""

    def setUp(self) -> None:
        """Start them."""
        self.events = Events(1)
        self.network = Network(self.events, Quality(jitter_us=0))
        self.streams = Streams(self.events, self.network)
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.disks = {
            store: Disk(self.events, f"s{store}", folder=RealFolder(self.folder / str(store))) for store in (1, 2)
        }
        self.ears: dict[int, Ears] = {}
        self.processes: dict[int, Process] = {}
        self.peerings = {store: self.start(store) for store in (1, 2)}
        self.outcomes: list[tuple[Outcome, bytes]] = []

    def start(self, store: int) -> SimulatedPeering:
        """Start a store."""
        process = self.processes[store] = Process(self.events, NodeClock(self.events), f"s{store}")
        book = AddressBook(dialling(self.streams, process), {1: address_of("s1"), 2: address_of("s2")})
        peering = SimulatedPeering(
            store_id=store,
            process=process,
            network=self.network,
            streams=self.streams,
            addresses={1: "s1", 2: "s2"},
            random=Random(store),
            snapshots=real_peering(
                store_id=store,
                start_id=store,
                process=process,
                streams=self.streams,
                addresses=book,
                folder_ids=FolderIds(self.folder / str(store)),
                files=self.disks[store].snapshot_folder(process),
                limits=PeerLimits(snapshot_rate=50_000, snapshot_stall=5.0, snapshot_give_up=20.0),
                random=Random(store),
            ),
        )
        self.ears[store] = Ears()
        peering.handle(self.ears[store])
        self.streams.listen(f"s{store}", process, peering.accept)
        return peering

    def kill(self, store: int) -> None:
        """End one."""
        self.processes[store].kill()
        self.streams.killed(self.processes[store])

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        self.events.run_until(self.events.now + int(seconds * SECOND))

    def heard(self, store: int, kind: str) -> list[tuple[object, ...]]:
        """Give what a store has heard of one kind."""
        return [one for one in self.ears[store].heard if one[0] == kind]

    def told(self) -> Callable[[Outcome, bytes], None]:
        """Note an outcome."""
        return lambda outcome, payload: self.outcomes.append((outcome, payload))

    def forward(self, payload: bytes) -> None:
        """Send a batch from store 1 to store 2."""
        self.peerings[1].forward(2, payload, self.told())

    def test_it_is_one(self) -> None:
        """It provides what it says."""
        verifyObject(IPeering, self.peerings[1])
        verifyObject(IPeerHandler, self.ears[1])

    def test_messages_pass_through_their_wire_form(self) -> None:
        """What arrives is equal, and another object; only the latest heartbeat leaves."""
        sent = Message(APPEND, 2, 1, 3, log_term=2, index=4, entries=(Entry(5, 3, NORMAL, b"data"),))
        for message in (heartbeat(1), sent, heartbeat(2)):
            self.peerings[1].send(2, 7, message)
        self.run_for(1)
        self.assertEqual(self.heard(2, "message"), [("message", 1, 7, sent), ("message", 1, 7, heartbeat(2))])
        self.assertTrue(all(one[3] is not sent for one in self.heard(2, "message")))

    def test_messages_of_a_peer_that_is_elsewhere_are_refused(self) -> None:
        """A store speaks for its own peers only."""
        self.peerings[1].send(2, 7, Message(HEARTBEAT, 2, 9, 1, round=1))
        self.run_for(1)
        self.assertEqual(self.heard(2, "message"), [])

    def test_what_cannot_leave_is_reported(self) -> None:
        """Once a turn, and not for heartbeats."""
        self.kill(2)
        self.peerings[1].send(2, 7, heartbeat(1))
        self.run_for(0.001)
        self.ears[1].heard.clear()
        self.peerings[1].send(2, 7, heartbeat(2))
        self.peerings[1].send(2, 8, Message(APPEND, 2, 1, 3))
        self.peerings[1].send(2, 8, Message(APPEND, 2, 1, 3))
        self.run_for(0.001)
        self.assertEqual(self.ears[1].heard, [("unreachable", 2, 8)])

    def test_batches_arrive_in_order_and_are_answered_as_they_are(self) -> None:
        """Answers may come in any order."""
        for payload in (b"a", b"b", b"c"):
            self.forward(payload)
        self.run_for(1)
        self.assertEqual(self.heard(2, "batch"), [("batch", 1, b"a"), ("batch", 1, b"b"), ("batch", 1, b"c")])
        first, second, third = self.ears[2].answers
        third.unknown()
        first.answer(b"A")
        second.refuse(b"B")
        self.run_for(1)
        self.assertEqual(
            self.outcomes, [(Outcome.UNKNOWN, b""), (Outcome.ANSWERED, b"A"), (Outcome.REFUSED, b"B")]
        )
        self.assertTrue(self.peerings[1].is_up(2))

    def test_a_broken_link_leaves_what_had_left_unknown(self) -> None:
        """It may have been done; the answer that comes too late goes nowhere. Then the link comes up again."""
        self.forward(b"a")
        self.run_for(1)
        self.assertTrue(self.peerings[1].break_link(2))
        self.run_for(0.01)
        self.assertEqual(self.outcomes, [(Outcome.UNKNOWN, b"")])
        self.assertEqual(self.heard(1, "down"), [("down", 2)])
        self.ears[2].answers[0].answer(b"A")
        self.run_for(1)
        self.assertEqual(len(self.outcomes), 1)
        self.assertEqual(len(self.heard(1, "up")), 2)

    def test_without_a_link_batches_are_refused(self) -> None:
        """Nothing waits between two attempts, and nothing overtakes what was refused."""
        self.kill(2)
        self.forward(b"waits for the first attempt")
        self.run_for(0.002)
        self.assertEqual(self.outcomes, [(Outcome.REFUSED, b"")])
        self.forward(b"a")
        self.assertEqual(len(self.outcomes), 1)
        self.run_for(0.001)
        self.assertEqual(self.outcomes, 2 * [(Outcome.REFUSED, b"")])
        self.peerings[2] = self.start(2)
        self.run_for(2)
        self.forward(b"b")
        self.run_for(1)
        self.assertEqual(self.heard(2, "batch"), [("batch", 1, b"b")])

    def test_behind_a_refusal_all_are_refused_until_it_is_told(self) -> None:
        """Even if the link comes up meanwhile."""
        self.peerings[1].forget(2)
        self.kill(2)
        self.forward(b"a")
        self.run_for(0.002)
        told: list[bytes] = []

        def refused(outcome: Outcome, payload: bytes) -> None:
            told.append(b"first")
            self.forward(b"from within")

        self.peerings[1].forward(2, b"b", refused)
        self.run_for(0.001)
        self.assertEqual((told, len(self.outcomes)), ([b"first"], 2))

    def test_pushes_go_by_the_link_that_the_other_opened(self) -> None:
        """In one order with answers; there's none before it's opened."""
        self.assertFalse(self.peerings[2].push(1, b"x"))
        self.forward(b"a")
        self.run_for(1)
        self.assertTrue(self.peerings[2].push(1, b"y"))
        self.run_for(1)
        self.assertEqual(self.heard(1, "pushed"), [("pushed", 2, b"y")])

    def send_file(self, data: bytes) -> Deferred[None]:
        """Send a snapshot."""
        path = self.folder / "file"
        path.write_bytes(data)
        return self.peerings[1].send_snapshot(2, 7, str(path), b"meta")

    def arrived(self) -> list[bytes]:
        """Give the snapshots that have arrived, of which the listener was told."""
        found: list[bytes] = []
        for _, store, region, path, meta in self.heard(2, "snapshot"):
            self.assertEqual((store, region, meta), (1, 7, b"meta"))
            found.append(Path(str(path)).read_bytes())
        return found

    def test_a_snapshot_arrives_whole(self) -> None:
        """And lies on the other machine."""
        data = Random(1).randbytes(100_000)
        sent = self.send_file(data)
        self.run_for(5)
        self.successResultOf(sent)
        self.assertEqual(self.arrived(), [data])

    def test_a_snapshot_goes_on_behind_a_break(self) -> None:
        """When the store that takes it is cut off for a while."""
        data = Random(1).randbytes(100_000)
        sent = self.send_file(data)
        self.run_for(1)
        self.network.cut("s1", "s2")
        self.run_for(15)
        self.assertNoResult(sent)
        self.network.heal("s1", "s2")
        self.run_for(15)
        self.successResultOf(sent)
        self.assertEqual(self.arrived(), [data])

    def test_a_snapshot_for_a_machine_that_loses_its_power(self) -> None:
        """What it has kept may be less than it had, or spoilt: then all of it is sent again."""
        for seed in range(8):
            data = Random(seed).randbytes(60_000)
            before = len(self.arrived())
            sent = self.send_file(data)
            self.run_for(0.7)
            self.processes[2].kill()
            self.streams.lost_power(self.processes[2])
            self.disks[2].lost_power()
            heard = self.ears[2].heard
            self.peerings[2] = self.start(2)
            self.ears[2].heard += heard
            self.run_for(30)
            self.successResultOf(sent)
            self.assertEqual(self.arrived()[before:], [data])

    def test_a_snapshot_that_finds_no_room(self) -> None:
        """It's sent again when there is some."""
        self.disks[2].full = True
        sent = self.send_file(b"x" * 10_000)
        self.run_for(5)
        self.disks[2].full = False
        self.assertNoResult(sent)
        self.run_for(10)
        self.successResultOf(sent)
        self.assertEqual(self.arrived(), [b"x" * 10_000])

    def test_a_snapshot_that_waits_for_a_disk(self) -> None:
        """It has arrived when it's on disk."""
        self.disks[2].stuck = True
        self.send_file(b"x" * 10_000)
        self.run_for(5)
        self.assertEqual(self.arrived(), [])
        self.disks[2].stuck = False
        self.run_for(1)
        self.assertEqual(len(self.arrived()), 1)

    def test_a_snapshot_that_is_declined(self) -> None:
        """The reason is told."""
        self.ears[2].refusal = "no room"
        sent = self.send_file(b"x")
        self.run_for(1)
        self.assertIn("no room", str(self.failureResultOf(sent, SnapshotFailed).value))

    def test_a_snapshot_for_nobody_is_given_up(self) -> None:
        """After some attempts."""
        self.kill(2)
        sent = self.send_file(b"x")
        self.run_for(60)
        self.failureResultOf(sent, SnapshotFailed)

    def test_files_are_let_go_of(self) -> None:
        """By a process that ends."""
        self.send_file(Random(1).randbytes(100_000))
        self.run_for(0.5)
        self.assertEqual([len(disk.real.open_files) for disk in self.disks.values()], [1, 1])
        for disk in self.disks.values():
            disk.killed()
        self.assertEqual([len(disk.real.open_files) for disk in self.disks.values()], [0, 0])

    def test_the_end(self) -> None:
        """Connections end, and none are dialled."""
        self.forward(b"a")
        self.run_for(1)
        self.successResultOf(self.peerings[1].close())
        self.run_for(5)
        self.assertEqual(self.outcomes, [(Outcome.UNKNOWN, b"")])
        self.assertFalse(self.peerings[1].is_up(2))
        self.assertFalse(self.peerings[2].push(1, b"x"))
