"""Who gets in at the peer port, and what a connection may do there: spoken by hand, as with nc."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.peering.stores import SECRET, PeerStore, append, pair, sides
from tests.peering.wires import Network
from tinykv.peering.address_book import STORES_MAX
from tinykv.peering.grammar import Line, LineReader, Verb, framed
from tinykv.peering.handshake import LINK, Handshake
from tinykv.peering.incoming import ORIGINS_MAX, Repeats
from tinykv.peering.lanes import FRAME_BYTES
from tinykv.peering.notices import NOTICE_SECONDS, NOTICES_MAX
from tinykv.peering.settings import PeerIdentity
from tinykv.peering.verbs import BEFORE, FORWARDS_MAX, LINK_TO_DIALLER, SNAPSHOT_TO_DIALLER
from tinykv.raft.messages import VOTE, Message
from tinykv.raft.wire import encode_message

VOTE_BYTES = encode_message(Message(VOTE, 2, 1, 5))
ANY: dict[bytes, Verb] = {**BEFORE, **SNAPSHOT_TO_DIALLER, **LINK_TO_DIALLER}


class Hand(Protocol):
    """A connection spoken by hand."""

    def __init__(self) -> None:
        self.came = b""
        self.gone = False

    def dataReceived(self, data: bytes) -> None:
        """Keep what comes."""
        self.came += data

    def connectionLost(self, reason: Any = None) -> None:
        """Note the end."""
        self.gone = True

    def lines(self) -> list[Line]:
        """Read what came, and forget it."""
        reader = LineReader(ANY)
        reader.feed(self.came)
        self.came = b""
        found = []
        while (one := reader.next()) is not None:
            found.append(one)
        return found


class PortCase(SynchronousTestCase):
    """One store with its port, dialled by hand."""

    def store(self, **changes: Any) -> None:
        """Make the store."""
        self.network = Network()
        folder = Path(self.mktemp())
        folder.mkdir()
        self.one = PeerStore(self.network, 1, {}, folder, **changes)
        self.logged: list[LogEvent] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def dial(self, host: str = "host2") -> Hand:
        """Connect."""
        found = self.network.connect(Factory.forProtocol(Hand), self.one.peering.acceptor, host, "host1")
        assert isinstance(found, Hand)
        return found

    def say(self, hand: Hand, data: bytes) -> list[Line]:
        """Send bytes, and give the lines that come back."""
        transport: Any = hand.transport
        transport.write(data)
        self.network.settle()
        return hand.lines()

    def greet(self, hand: Hand, store_id: int = 2, purpose: str = LINK, **changes: Any) -> list[Line]:
        """Go through the handshake; give the lines behind the store's HELLO."""
        words = {"cluster_id": "c1", "folder_id": f"folder{store_id}", "secret": SECRET, "address": "host2:1"}
        identity = PeerIdentity(store_id=store_id, start_id=1, **{**words, **changes})
        handshake = Handshake(identity, bytes(16), purpose=purpose, expected=1)
        came = self.say(hand, handshake.begin())
        if came[0][0] != b"HELLO":
            return came
        return self.say(hand, handshake.hello_received(came[0][1]))

    def link(self, **changes: Any) -> Hand:
        """Make the store, and a link to it."""
        self.store(**changes)
        hand = self.dial()
        self.assertEqual([verb for verb, _, _ in self.greet(hand)], [b"PROOF"])
        return hand

    def warnings(self) -> list[str]:
        """Give the reasons of the warnings that were logged."""
        return [str(event["reason"]) for event in self.logged if "reason" in event]


class EntryTests(PortCase):
    """Getting in."""

    def refused(self, code: str, lines: list[Line], hand: Hand) -> None:
        """Check that a connection was refused with a code."""
        self.assertEqual([(verb, fields[0]) for verb, fields, _ in lines], [(b"ERROR", code.encode())])
        self.network.settle()
        self.assertTrue(hand.gone)
        self.assertEqual(self.one.figures.refused_in, {code: 1})
        self.assertEqual(self.warnings(), [code])
        self.assertEqual((self.one.figures.connections_in, self.one.figures.links_in), (0, 0))

    def test_a_link(self) -> None:
        hand = self.link()
        self.assertEqual(self.say(hand, framed(b"RAFT 9", VOTE_BYTES)), [])
        self.assertEqual(self.one.take(), [("received", 2, 9, Message(VOTE, 2, 1, 5))])
        self.assertEqual(self.say(hand, b"PING\r\n"), [(b"PONG", [], b"")])

    def test_refusals(self) -> None:
        for code, changes in (
            ("cluster", {"cluster_id": "c2"}),
            ("secret", {"secret": b"another sixteen bytes"}),
            ("own-id", {"store_id": 1}),
        ):
            self.store()
            hand = self.dial()
            self.refused(code, self.greet(hand, **changes), hand)

    def test_another_version(self) -> None:
        self.store()
        hand = self.dial()
        self.refused("version", self.say(hand, b"HELLO 1 and who knows what\r\n"), hand)

    def test_another_folder(self) -> None:
        self.store()
        self.one.folder_ids.known[2] = "folder2"
        hand = self.dial()
        self.refused("folder", self.greet(hand, folder_id="empty"), hand)
        self.assertEqual(self.one.folder_ids.known, {2: "folder2"})

    def test_nobody_is_in_before_its_folder_is_durable(self) -> None:
        self.store()
        self.one.folder_ids.holds = True
        hand = self.dial()
        self.assertEqual(self.greet(hand), [])
        self.assertEqual(self.say(hand, framed(b"RAFT 9", VOTE_BYTES)), [])
        self.assertEqual(self.one.take(), [])
        self.one.folder_ids.held[0].callback(None)
        self.network.settle()
        self.assertEqual([verb for verb, _, _ in hand.lines()], [b"PROOF"])
        self.assertEqual(len(self.one.take("received")), 1)

    def test_of_two_folders_the_first_stays(self) -> None:
        self.store()
        self.one.folder_ids.holds = True
        first, second = self.dial(), self.dial()
        self.greet(first)
        self.greet(second, folder_id="other")
        for durable in self.one.folder_ids.held:
            durable.callback(None)
        self.network.settle()
        self.assertEqual([verb for verb, _, _ in first.lines()], [b"PROOF"])
        self.assertEqual([(verb, fields[0]) for verb, fields, _ in second.lines()], [(b"ERROR", b"folder")])

    def test_a_folder_that_cant_be_remembered(self) -> None:
        self.store()
        self.one.folder_ids.holds = True
        hand = self.dial()
        self.greet(hand)
        self.one.folder_ids.held[0].errback(Failure(OSError("disk")))
        self.network.settle()
        self.assertEqual([(verb, fields[0]) for verb, fields, _ in hand.lines()], [(b"ERROR", b"failed")])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_a_peer_that_leaves_meanwhile(self) -> None:
        self.store()
        self.one.folder_ids.holds = True
        hand = self.dial()
        self.greet(hand)
        sides(self.network)[0].abortConnection()
        self.network.settle()
        self.one.folder_ids.held[0].callback(None)
        self.network.settle()
        self.assertEqual(self.one.figures.links_in, 0)

    def test_who_says_much_meanwhile(self) -> None:
        self.store()
        self.one.folder_ids.holds = True
        hand = self.dial()
        self.greet(hand)
        _, far = sides(self.network)
        far.paused = False  # as TLS does, which may deliver what it has already
        self.say(hand, b"x" * 256 * 1024)
        self.assertFalse(hand.gone)
        far.paused = False
        self.say(hand, b"x")
        self.network.settle()
        self.assertTrue(hand.gone)
        self.assertEqual(self.one.figures.breaches, 1)

    def test_no_more_stores_than_can_be_kept(self) -> None:
        self.store()
        for store_id in range(3, STORES_MAX + 3):
            self.one.peering._common.addresses.note(store_id, "host3:1")
        hand = self.dial()
        self.refused("stores", self.greet(hand), hand)
        # One that is known stays known, though there's no room to note where it is.
        self.one.folder_ids.known[2] = "folder2"
        self.assertEqual([verb for verb, _, _ in self.greet(self.dial())], [b"PROOF"])

    def test_no_handshake_in_time(self) -> None:
        self.store(handshake_timeout=5.0)
        hand = self.dial()
        self.network.run(4.9)
        self.assertFalse(hand.gone)
        self.network.run(0.2)
        self.assertTrue(hand.gone)
        self.assertEqual([(verb, fields[0]) for verb, fields, _ in hand.lines()], [(b"ERROR", b"timeout")])
        self.assertEqual((self.one.figures.timeouts, self.one.figures.unproven_in), (1, 0))

    def test_who_doesnt_read_the_refusal_isnt_waited_for(self) -> None:
        self.store(handshake_timeout=5.0)
        hand = self.dial()
        near, _ = sides(self.network)
        near.deaf = True
        self.say(hand, b"GET / HTTP/1.1\r\n")
        self.network.run(4.9)
        self.assertFalse(hand.gone)
        self.network.run(0.2)
        self.assertTrue(hand.gone)

    def test_connections_at_the_limit_and_one_past(self) -> None:
        self.store(connections_max=2)
        hands = [self.dial() for _ in range(3)]
        self.network.settle()
        self.assertEqual([hand.gone for hand in hands], [False, False, True])
        self.assertEqual([fields[0] for _, fields, _ in hands[2].lines()], [b"busy"])
        self.assertEqual((self.one.figures.connections_in, self.one.figures.connections_over_limit), (2, 1))

    def test_unproven_connections_at_the_limit_and_one_past(self) -> None:
        self.store(unproven_max=2)
        self.greet(self.dial())
        hands = [self.dial() for _ in range(3)]
        self.network.settle()
        self.assertEqual([hand.gone for hand in hands], [True, False, False])
        self.assertEqual([fields[0] for _, fields, _ in hands[0].lines()], [b"busy"])
        self.assertEqual((self.one.figures.unproven_in, self.one.figures.connections_over_limit), (2, 1))

    def test_who_only_connects_keeps_no_store_out(self) -> None:
        self.store(unproven_max=2)
        for _ in range(5):
            self.dial("host3")
        hand = self.dial()
        self.dial("host3")
        self.assertEqual([verb for verb, _, _ in self.greet(hand)], [b"PROOF"])
        self.assertEqual(self.one.figures.links_in, 1)

    def test_a_newer_link_of_the_same_store_replaces_the_older(self) -> None:
        older = self.link()
        newer = self.dial()
        self.greet(newer)
        self.assertEqual([fields[0] for _, fields, _ in older.lines()], [b"replaced"])
        self.assertTrue(older.gone)
        self.assertFalse(newer.gone)
        self.assertEqual((self.one.figures.links_in, self.one.figures.replaced), (1, 1))
        self.say(newer, framed(b"RAFT 9", VOTE_BYTES))
        self.assertEqual(len(self.one.take("received")), 1)

    def test_a_store_that_stops_takes_nobody(self) -> None:
        self.link()
        closed = self.one.peering.close()
        late = self.dial()
        self.network.settle()
        self.assertTrue(late.gone)
        self.successResultOf(closed)

    def test_what_a_refused_dialler_logs(self) -> None:
        network, one, two = pair(Path(self.mktemp()), secret=SECRET)
        folder_ids: Any = two.peering._common.folder_ids
        folder_ids.known[1] = "other"
        one.peering.send(2, 9, Message(VOTE, 2, 1, 5))
        network.run(3)
        self.assertEqual(list(one.figures.refused_out), ["folder"])
        self.assertGreater(one.figures.refused_out["folder"], 2)
        self.assertFalse(one.peering.is_up(2))

    def test_codes_that_nobody_knows_are_counted_together(self) -> None:
        self.store()
        for code in (b"a", b"b"):
            self.say(self.dial(), b"ERROR %b x\r\n" % code)
        self.assertEqual(self.one.figures.refused_out, {"other": 2})


class IdleTests(PortCase):
    """Being there."""

    def test_who_says_nothing_is_closed(self) -> None:
        hand = self.link(ping_interval=3.0, idle_timeout=10.0)
        self.network.run(11.9)
        self.assertFalse(hand.gone)
        self.network.run(1)
        self.assertTrue(hand.gone)
        self.assertEqual(self.one.figures.timeouts, 1)

    def test_who_pings_is_not(self) -> None:
        hand = self.link(ping_interval=3.0, idle_timeout=10.0)
        for _ in range(5):
            self.network.run(9)
            self.say(hand, b"PING\r\n")
        self.assertFalse(hand.gone)

    def test_an_idle_link_stays(self) -> None:
        network, one, two = pair(Path(self.mktemp()))
        one.peering.send(2, 9, Message(VOTE, 2, 1, 5))
        network.run(100)
        self.assertEqual(one.figures.dials, 1)
        self.assertTrue(one.peering.is_up(2))

    def test_the_dialler_notices_a_host_that_vanished(self) -> None:
        network, one, two = pair(Path(self.mktemp()))
        one.peering.send(2, 9, Message(VOTE, 2, 1, 5))
        network.settle()
        near, far = sides(network)
        near.deaf = far.deaf = True
        network.silent.add("host2:1")
        network.run(9)
        self.assertTrue(one.peering.is_up(2))
        network.run(4)
        self.assertFalse(one.peering.is_up(2))


class BreachTests(PortCase):
    """Links that say what isn't in the grammar."""

    def breach(self, data: bytes, **changes: Any) -> str:
        """Say something on a link that closes it; give the reason."""
        hand = self.link(**changes)
        came = self.say(hand, data)
        self.assertEqual([(verb, fields[0]) for verb, fields, _ in came], [(b"ERROR", b"grammar")])
        self.assertTrue(hand.gone)
        self.assertEqual((self.one.figures.breaches, self.warnings()), (1, ["grammar"]))
        self.assertEqual(self.one.take(), [])
        return b" ".join(came[0][1][1:]).decode()

    def test_breaches(self) -> None:
        self.assertIn("no verb", self.breach(b"HELLO 1\r\n"))
        self.assertIn("no verb", self.breach(b"PONG\r\n"))
        self.assertIn("no verb", self.breach(b"CHUNK 1 2\r\n"))
        self.assertIn("malformed", self.breach(framed(b"RAFT 9", b"?")))
        self.assertIn("malformed", self.breach(framed(b"RAFT 9", VOTE_BYTES + b"x")))
        self.assertIn("is no id", self.breach(framed(b"RAFT 0", VOTE_BYTES)))
        self.assertIn("no heartbeat", self.breach(b"HEARTBEAT 1:2:3:4:5 0:2:3:4:5\r\n"))
        self.assertIn("no number", self.breach(framed(b"FORWARD x 1", b"")))
        self.assertIn("nothing that comes in pieces", self.breach(b"BEGIN PUSH 2000000 2000000\r\n"))
        self.assertIn("without a BEGIN", self.breach(framed(b"PART", b"x")))

    def test_a_long_message_at_the_limit_and_one_past(self) -> None:
        most = FRAME_BYTES + 100
        self.assertIn("isn't within", self.breach(b"BEGIN RAFT 9 %d\r\n" % (most + 1), message_bytes_max=most))
        hand = self.link(message_bytes_max=most)
        self.assertEqual(self.say(hand, b"BEGIN RAFT 9 %d\r\n" % most), [])

    def test_unanswered_batches_at_the_limit_and_one_past(self) -> None:
        hand = self.link()
        self.say(hand, b"".join(framed(b"FORWARD 7 %d" % count, b"") for count in range(FORWARDS_MAX)))
        self.assertEqual(len(self.one.take("forwarded")), FORWARDS_MAX)
        self.assertFalse(hand.gone)
        self.say(hand, framed(b"FORWARD 7 %d" % FORWARDS_MAX, b""))
        self.assertTrue(hand.gone)
        self.assertEqual(self.one.figures.breaches, 1)

    def test_lines_before_a_breach_count(self) -> None:
        hand = self.link()
        self.say(hand, framed(b"RAFT 9", VOTE_BYTES) + b"x\r\n" + framed(b"RAFT 9", VOTE_BYTES))
        self.assertEqual(len(self.one.take("received")), 1)

    def test_nothing_is_taken_before_the_proof(self) -> None:
        self.store()
        hand = self.dial()
        came = self.say(hand, framed(b"RAFT 9", VOTE_BYTES))
        self.assertEqual([(verb, fields[0]) for verb, fields, _ in came], [(b"ERROR", b"grammar")])
        self.assertEqual(self.one.take(), [])

    @given(st.binary(min_size=1, max_size=200))
    def test_random_bytes_never_do_more_than_close(self, data: bytes) -> None:
        hand = self.link()
        self.say(hand, data)
        self.say(hand, b"\r\n")
        self.assertEqual(self.one.take("received"), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    @given(st.integers(0, 80), st.binary(max_size=3), st.integers(0, 3))
    def test_messages_with_changed_bytes_never_do_more_than_close(self, place: int, other: bytes, cut: int) -> None:
        hand = self.link()
        data = encode_message(append(b"data"))
        data = data[:place] + other + data[place + cut :]
        self.say(hand, framed(b"RAFT 9", data))
        self.assertEqual(len(self.one.take("received")) + hand.gone, 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    @given(st.binary(min_size=1, max_size=200))
    def test_random_bytes_instead_of_a_handshake(self, data: bytes) -> None:
        self.store()
        hand = self.dial()
        self.say(hand, data)
        self.say(hand, b"\r\n")
        self.assertTrue(hand.gone)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_answers_that_nobody_asked_for(self) -> None:
        network, one, two = pair(Path(self.mktemp()))
        one.peering.send(2, 9, Message(VOTE, 2, 1, 5))
        network.settle()
        _, far = sides(network)
        far.write(framed(b"ANSWER 1", b"x"))
        network.settle()
        self.assertEqual((one.figures.breaches, one.peering.is_up(2)), (1, False))


class RepeatTests(PortCase):
    """Batches that come twice."""

    def test_a_repeat_is_dropped(self) -> None:
        hand = self.link()
        self.say(hand, framed(b"FORWARD 7 1", b"a") + framed(b"FORWARD 7 2", b"b") + framed(b"FORWARD 7 2", b"b"))
        newer = self.dial()
        self.greet(newer)
        self.say(newer, framed(b"FORWARD 7 2", b"b") + framed(b"FORWARD 7 1", b"a") + framed(b"FORWARD 8 1", b"c"))
        self.assertEqual([event[2] for event in self.one.take("forwarded")], [b"a", b"b", b"c"])
        self.assertEqual((self.one.figures.forwards_in, self.one.figures.forwards_repeated), (3, 3))

    def test_origins_at_the_limit_and_one_past(self) -> None:
        repeats = Repeats()
        for origin in range(ORIGINS_MAX):
            self.assertTrue(repeats.is_new(origin, 5))
        self.assertFalse(repeats.is_new(0, 5))
        self.assertTrue(repeats.is_new(0, 6))
        self.assertTrue(repeats.is_new(ORIGINS_MAX, 5))
        self.assertFalse(repeats.is_new(0, 6))
        self.assertTrue(repeats.is_new(1, 5))  # the one that was used longest ago


class NoticeTests(PortCase):
    """What the log says, and how often."""

    def test_once_a_minute_for_each_peer_and_reason(self) -> None:
        self.store()
        for _ in range(3):
            self.say(self.dial(), b"x\r\n")
            self.say(self.dial("host3"), b"x\r\n")
            self.say(self.dial(), b"HELLO 1\r\n")
        self.assertEqual(self.warnings(), ["grammar", "grammar", "version"])
        self.assertEqual(self.one.figures.log_lines_held, 6)
        self.network.clock.advance(NOTICE_SECONDS)
        self.say(self.dial(), b"x\r\n")
        self.assertEqual(self.warnings(), ["grammar", "grammar", "version", "grammar"])

    def test_what_is_remembered_at_the_limit_and_one_past(self) -> None:
        self.store()
        notices = self.one.peering._common.notices
        for place in range(NOTICES_MAX + 1):
            notices.warn(f"peer {place}", "x", "y")
        self.assertEqual(len(self.warnings()), NOTICES_MAX)
        self.assertEqual(self.one.figures.log_lines_held, 1)
