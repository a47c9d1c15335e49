"""Two stores and their links: what is sent arrives, or somebody hears that it didn't."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.peering.stores import PeerStore, append, outcomes, pair, sides
from tests.peering.wires import Network
from tinykv.interfaces import IForwardAnswer, IPeering, Outcome
from tinykv.peering.dialling import BackOff
from tinykv.peering.verbs import FRAME_BYTES
from tinykv.raft.messages import APPEND_REPLY, HEARTBEAT, HEARTBEAT_REPLY, VOTE, Message
from tinykv.raft.wire import encode_message
from tinykv.storage.known_addresses import KnownAddresses

VOTE_MESSAGE = Message(VOTE, 2, 1, 5, index=3, log_term=4)


class LinkCase(SynchronousTestCase):
    """Two stores, the first of which has a link to the second."""

    def linked(self, **changes: Any) -> tuple[Network, PeerStore, PeerStore]:
        """Make them, and forget what was heard so far."""
        network, one, two = pair(Path(self.mktemp()), **changes)
        one.peering.send(2, 9, VOTE_MESSAGE)
        network.settle()
        self.assertTrue(one.peering.is_up(2))
        one.take()
        two.take()
        return network, one, two

    def cut(self, network: Network) -> None:
        """Break the connection that was dialled last."""
        sides(network)[0].abortConnection()
        network.settle()


class SendTests(LinkCase):
    """Raft messages."""

    def test_it_keeps_its_contract(self) -> None:
        _, one, _ = pair(Path(self.mktemp()))
        verifyObject(IPeering, one.peering)

    def test_the_first_message_opens_the_link(self) -> None:
        network, one, two = pair(Path(self.mktemp()))
        one.peering.send(2, 9, VOTE_MESSAGE)
        one.peering.send(2, 9, append(b"x" * 10))
        network.settle()
        self.assertEqual(two.take(), [("received", 1, 9, VOTE_MESSAGE), ("received", 1, 9, append(b"x" * 10))])
        self.assertEqual(one.take(), [("link_up", 2)])
        self.assertTrue(one.peering.is_up(2))
        self.assertFalse(two.peering.is_up(1))
        self.assertEqual((one.figures.links_out, two.figures.links_in, two.figures.unproven_in), (1, 1, 0))

    def test_any_split_of_the_bytes(self) -> None:
        network, one, two = pair(Path(self.mktemp()))
        network.most = 1
        one.peering.send(2, 9, VOTE_MESSAGE)
        one.peering.send(2, 9, append(b"x" * 10))
        network.settle()
        self.assertEqual(two.take(), [("received", 1, 9, VOTE_MESSAGE), ("received", 1, 9, append(b"x" * 10))])

    def test_a_turn_is_one_write_and_its_heartbeats_one_line(self) -> None:
        network, one, two = self.linked()
        near, _ = sides(network)
        near.sent, near.writes = b"", 0
        beats = [(region, Message(HEARTBEAT, 2, 1, 5, round=8)) for region in (3, 4, 5)]
        heard = (6, Message(HEARTBEAT_REPLY, 2, 1, 5, round=8, commit=7))
        for region, message in [(7, append(b"data")), *beats, heard, (8, VOTE_MESSAGE)]:
            one.peering.send(2, region, message)
        self.assertEqual(near.writes, 0)
        network.settle()
        self.assertEqual(near.writes, 1)
        self.assertEqual(near.sent.count(b"HEARTBEAT 3:2:1:5:8 4:2:1:5:8 5:2:1:5:8\r\n"), 1)
        self.assertEqual(near.sent.count(b"HEARD 6:2:1:5:8:7\r\n"), 1)
        expected = [("received", 1, region, message) for region, message in [*beats, heard, (8, VOTE_MESSAGE)]]
        self.assertEqual(two.take(), [*expected, ("received", 1, 7, append(b"data"))])

    def test_flush_doesnt_wait_for_the_end_of_the_turn(self) -> None:
        network, one, _ = self.linked()
        near, _ = sides(network)
        near.writes = 0
        one.peering.send(2, 9, append(b"x"))
        one.peering.flush()
        self.assertEqual(near.writes, 1)
        network.settle()
        self.assertEqual(near.writes, 1)

    def test_a_long_append_arrives_whole(self) -> None:
        network, one, two = self.linked()
        network.most = 60_000
        message = append(bytes(range(256)) * (3 * FRAME_BYTES // 256))
        one.peering.send(2, 9, message)
        one.peering.flush()
        one.peering.send(2, 9, VOTE_MESSAGE)
        network.settle()
        # What was sent later and is urgent passes.
        self.assertEqual([event[3].kind for event in two.take()], [VOTE, message.kind])

    def test_messages_of_a_peer_on_another_store_are_refused(self) -> None:
        network, one, two = self.linked()
        two.recorder.homes = {(9, 1): 1, (9, 3): 4}
        reply = Message(APPEND_REPLY, 2, 3, 5, index=7)
        beat = Message(HEARTBEAT, 2, 3, 5, round=7)
        for message in (VOTE_MESSAGE, reply, beat, Message(VOTE, 2, 8, 5)):
            one.peering.send(2, 9, message)
        network.settle()
        self.assertEqual([event[3].sender for event in two.take()], [1, 8])
        self.assertEqual(two.figures.messages_misplaced, 2)

    def test_too_long_a_message_is_a_loss(self) -> None:
        network, one, two = self.linked(message_bytes_max=2 * FRAME_BYTES)
        whole = 2 * FRAME_BYTES - len(encode_message(append(b"")))
        one.peering.send(2, 9, append(b"x" * whole))
        network.settle()
        self.assertEqual(len(two.take("received")), 1)
        one.peering.send(2, 9, append(b"x" * (whole + 1)))
        network.settle()
        self.assertEqual(one.take(), [("unreachable", 2, 9)])
        self.assertEqual(two.take(), [])


class LossTests(LinkCase):
    """What can't leave."""

    def test_no_address(self) -> None:
        network, one, _ = pair(Path(self.mktemp()))
        one.peering.send(3, 9, VOTE_MESSAGE)
        one.peering.send(3, 9, append(b"x"))
        one.peering.send(3, 8, append(b"x"))
        one.peering.send(3, 7, Message(HEARTBEAT, 2, 1, 5))
        self.assertEqual(one.take(), [])
        network.settle()
        self.assertEqual(one.take(), [("unreachable", 3, 8), ("unreachable", 3, 9)])
        self.assertEqual((one.figures.messages_dropped, one.figures.dials), (4, 0))

    def test_nobody_listens(self) -> None:
        network, one, two = pair(Path(self.mktemp()))
        del network.listeners["host2:1"]
        one.peering.send(2, 9, VOTE_MESSAGE)
        network.settle()
        self.assertEqual(one.take(), [("unreachable", 2, 9)])
        self.assertEqual((one.figures.dials, one.figures.dials_failed), (1, 1))
        two.listen()
        network.run(1)
        self.assertTrue(one.peering.is_up(2))

    def test_nobody_answers(self) -> None:
        network, one, _ = pair(Path(self.mktemp()), connect_timeout=5.0)
        network.silent.add("host2:1")
        one.peering.send(2, 9, VOTE_MESSAGE)
        network.run(4.9)
        self.assertEqual(one.take(), [])
        network.run(0.2)
        self.assertEqual(one.take(), [("unreachable", 2, 9)])

    def test_a_lost_link_loses_what_waits(self) -> None:
        network, one, two = self.linked()
        _, far = sides(network)
        far.deaf = True
        one.peering.send(2, 9, append(b"x" * 100_000))
        network.settle()
        one.peering.send(2, 8, append(b"x"))
        one.peering.send(2, 7, VOTE_MESSAGE)
        network.settle()
        self.cut(network)
        self.assertEqual(one.take(), [("link_down", 2), ("unreachable", 2, 7), ("unreachable", 2, 8)])
        self.assertEqual((one.figures.links_out, two.figures.links_in), (0, 0))
        one.peering.send(2, 9, VOTE_MESSAGE)
        network.settle()
        self.assertEqual(one.take(), [("unreachable", 2, 9)])
        network.run(1)
        self.assertEqual(one.take(), [("link_up", 2)])

    def test_a_full_lane_drops_appends_and_lets_votes_pass(self) -> None:
        network, one, two = self.linked(bulk_bytes_max=300_000)
        _, far = sides(network)
        far.deaf = True
        one.peering.send(2, 1, append(b"x" * 100_000))  # fills the transport
        network.settle()
        for region in (2, 3, 4):
            one.peering.send(2, region, append(b"x" * 140_000))
        one.peering.send(2, 5, VOTE_MESSAGE)
        network.settle()
        self.assertEqual(one.take(), [("unreachable", 2, 4)])
        far.deaf = False
        network.settle()
        self.assertEqual([event[2] for event in two.take()], [1, 5, 2, 3])

    def test_full_of_urgent_messages(self) -> None:
        network, one, _ = self.linked(urgent_bytes_max=150)
        _, far = sides(network)
        far.deaf = True
        one.peering.send(2, 1, append(b"x" * 100_000))
        network.settle()
        for region in (2, 3, 4):
            one.peering.send(2, region, VOTE_MESSAGE)
        network.settle()
        self.assertEqual(one.take(), [("unreachable", 2, 4)])


class ForwardTests(LinkCase):
    """Batches of commands, and their outcomes."""

    def test_answered_refused_unknown(self) -> None:
        network, one, two = self.linked()
        found, answered = outcomes()
        for payload in (b"a", b"b", b"c"):
            one.peering.forward(2, payload, answered)
        self.assertEqual(found, [])
        network.settle()
        self.assertEqual(two.take(), [("forwarded", 1, payload) for payload in (b"a", b"b", b"c")])
        first, second, third = two.recorder.answers
        verifyObject(IForwardAnswer, first)
        third.unknown()
        second.refuse(b"moved")
        first.answer(b"done")
        network.settle()
        self.assertEqual(found, [(Outcome.UNKNOWN, b""), (Outcome.REFUSED, b"moved"), (Outcome.ANSWERED, b"done")])
        self.assertEqual((one.figures.forwards_out, two.figures.forwards_in), (3, 3))
        self.assertEqual(one.figures.forwards_unknown, 1)
        self.assertRaises(AssertionError, first.answer, b"again")

    def test_long_ones(self) -> None:
        network, one, two = self.linked()
        found, answered = outcomes()
        long = bytes(range(256)) * (5 * FRAME_BYTES // 512)
        one.peering.forward(2, long, answered)
        network.settle()
        self.assertEqual(two.take() == [("forwarded", 1, long)], True)
        two.recorder.answers[0].answer(long + b"!")
        network.settle()
        self.assertEqual(found == [(Outcome.ANSWERED, long + b"!")], True)

    def test_without_a_link_nothing_was_done(self) -> None:
        network, one, _ = pair(Path(self.mktemp()))
        found, answered = outcomes()
        one.peering.forward(3, b"a", answered)
        self.assertEqual(found, [])
        network.settle()
        self.assertEqual(found, [(Outcome.REFUSED, b"")])
        self.assertEqual(one.figures.forwards_refused, 1)

    def test_a_link_that_doesnt_come_up_did_nothing(self) -> None:
        network, one, _ = pair(Path(self.mktemp()))
        network.silent.add("host2:1")
        found, answered = outcomes()
        one.peering.forward(2, b"a", answered)
        network.run(4)
        self.assertEqual(found, [])
        network.run(2)
        self.assertEqual(found, [(Outcome.REFUSED, b"")])

    def test_a_link_lost_behind_a_batch_leaves_it_unknown(self) -> None:
        network, one, two = self.linked()
        _, far = sides(network)
        found, answered = outcomes()
        one.peering.forward(2, b"a", answered)
        network.settle()
        far.deaf = True
        one.peering.forward(2, b"x" * 100_000, answered)
        network.settle()
        one.peering.forward(2, b"waits on this side", answered)
        network.settle()
        self.cut(network)
        self.assertEqual(found, [(Outcome.UNKNOWN, b""), (Outcome.UNKNOWN, b""), (Outcome.REFUSED, b"")])
        two.recorder.answers[0].answer(b"too late")
        network.run(2)
        self.assertEqual(two.figures.answers_lost, 1)
        self.assertEqual(len(found), 3)

    def test_a_batch_that_left_in_part_did_nothing(self) -> None:
        network, one, two = self.linked()
        _, far = sides(network)
        far.deaf = True
        found, answered = outcomes()
        one.peering.forward(2, b"x" * (3 * FRAME_BYTES), answered)
        network.settle()
        self.cut(network)
        self.assertEqual(found, [(Outcome.REFUSED, b"")])
        self.assertEqual(two.take("forwarded"), [])

    def test_unanswered_at_the_limit_and_one_past(self) -> None:
        network, one, two = self.linked(forwards_max=2)
        found, answered = outcomes()
        for payload in (b"a", b"b", b"c"):
            one.peering.forward(2, payload, answered)
        network.settle()
        self.assertEqual(found, [(Outcome.REFUSED, b"")])
        two.recorder.answers[0].answer(b"")
        network.settle()
        one.peering.forward(2, b"d", answered)
        network.settle()
        self.assertEqual([event[2] for event in two.take()], [b"a", b"b", b"d"])

    def test_behind_a_refusal_all_are_refused_until_it_was_told(self) -> None:
        network, one, two = self.linked(bulk_bytes_max=100_000)
        _, far = sides(network)
        far.deaf = True
        found: list[tuple[int, Outcome]] = []

        def forward(place: int, size: int) -> None:
            def answered(outcome: Outcome, payload: bytes) -> None:
                found.append((place, outcome))
                if place < 10:
                    forward(place + 10, 1)

            one.peering.forward(2, b"x" * size, answered)

        one.peering.forward(2, b"x" * 90_000, lambda outcome, payload: None)
        network.settle()
        forward(1, 60_000)
        forward(2, 60_000)
        far.deaf = False
        one.peering.flush()
        # There's room for this one, and it would come before the one that was refused.
        forward(3, 1)
        one.peering.flush()
        two.take()
        network.settle()
        self.assertEqual([event[2] == b"x" for event in two.take("forwarded")], [False, False])
        self.assertEqual(found, [(place, Outcome.REFUSED) for place in (2, 3, 12, 13)])
        forward(21, 1)
        network.settle()
        self.assertEqual([event[2] for event in two.take("forwarded")], [b"x"])

    def test_too_long(self) -> None:
        network, one, two = self.linked(message_bytes_max=2 * FRAME_BYTES)
        found, answered = outcomes()
        one.peering.forward(2, b"x" * 2 * FRAME_BYTES, answered)
        one.peering.forward(2, b"x" * (2 * FRAME_BYTES + 1), answered)
        network.settle()
        self.assertEqual(found, [(Outcome.REFUSED, b"")])
        two.recorder.answers[0].answer(b"x" * (2 * FRAME_BYTES + 1))
        network.settle()
        # It was done, so all that can be said is nothing.
        self.assertEqual(found[1:], [(Outcome.UNKNOWN, b"")])
        self.assertTrue(one.peering.is_up(2))

    def test_pushes_keep_their_place_among_answers(self) -> None:
        network, one, two = self.linked()
        events: list[Any] = []
        recorder: Any = one.recorder
        recorder.pushed = lambda store_id, payload: events.append(payload)
        for payload in (b"a", b"b"):
            one.peering.forward(2, payload, lambda outcome, answer: events.append(answer))
        network.settle()
        two.recorder.answers[0].answer(b"1")
        self.assertTrue(two.peering.push(1, b"changed"))
        two.recorder.answers[1].answer(b"2")
        network.settle()
        self.assertEqual(events, [b"1", b"changed", b"2"])
        self.assertFalse(one.peering.push(2, b"nothing listens"))
        self.cut(network)
        self.assertFalse(two.peering.push(1, b"gone"))

    def test_a_push_that_is_too_long_ends_the_link(self) -> None:
        network, one, two = self.linked(message_bytes_max=2 * FRAME_BYTES)
        self.assertTrue(two.peering.push(1, bytes(2 * FRAME_BYTES)))
        network.settle()
        self.assertEqual(len(one.take("pushed")), 1)
        self.assertFalse(two.peering.push(1, bytes(2 * FRAME_BYTES + 1)))
        network.settle()
        self.assertEqual(one.take(), [("link_down", 2)])

    def test_who_doesnt_read_answers_loses_the_link(self) -> None:
        network, one, two = self.linked(bulk_bytes_max=1000)
        near, _ = sides(network)
        near.deaf = True
        self.assertTrue(two.peering.push(1, b"x" * 100_000))
        network.settle()
        self.assertTrue(two.peering.push(1, b"x" * 900))
        self.assertFalse(two.peering.push(1, b"x" * 900))
        self.assertEqual(two.figures.unread, 1)
        network.settle()
        self.assertEqual(one.take(), [("link_down", 2)])

    def test_answers_that_wait_make_it_crowded(self) -> None:
        network, one, two = self.linked(bulk_bytes_max=100_000)
        near, _ = sides(network)
        near.deaf = True
        two.peering.push(1, b"x" * 100_000)
        network.settle()
        one.peering.forward(2, b"a", lambda outcome, payload: None)
        network.settle()
        (answer,) = two.recorder.answers
        two.peering.push(1, b"x" * (50_000 - 64))
        self.assertFalse(answer.crowded)
        two.peering.push(1, b"")
        self.assertTrue(answer.crowded)


class ReconnectTests(LinkCase):
    """Finding a store again."""

    def test_a_new_address_is_learned_from_the_store_itself(self) -> None:
        network, one, two = self.linked()
        self.cut(network)
        del network.listeners["host2:1"]
        network.run(20)
        moved = PeerStore(
            network, 2, {1: "host1:1"}, Path(self.mktemp()), folder_id="folder2", start_id=77, address="elsewhere:9"
        )
        moved.listen("elsewhere:9")
        self.assertFalse(one.peering.is_up(2))
        moved.peering.send(1, 9, VOTE_MESSAGE)
        network.settle()
        self.assertTrue(one.peering.is_up(2))
        self.assertEqual(one.take("received"), [("received", 2, 9, VOTE_MESSAGE)])

    def test_stores_that_have_moved_find_each_other_after_a_restart(self) -> None:
        """One after the other has moved; nobody's configuration was changed."""
        network = Network()
        configured = {store: f"host{store}:1" for store in (1, 2, 3)}
        folders = {store: Path(self.mktemp()) for store in configured}
        stores: dict[int, PeerStore] = {}

        def start(*addresses: str) -> None:
            """Start all of them again, each where it's said to be."""
            for store in stores.values():
                store.peering.close()
            network.settle()
            network.listeners.clear()
            for number, address in enumerate(addresses, 1):
                folders[number].mkdir(exist_ok=True)
                others = {other: where for other, where in configured.items() if other != number}
                known = KnownAddresses(folders[number], others)
                stores[number] = PeerStore(
                    network, number, known.addresses, folders[number], address=address, keep=known.keep
                )
                stores[number].listen(address)
            # The first reaches nobody by itself: what the others find doesn't come from it.
            for number in (2, 3):
                for other in configured:
                    if other != number:
                        stores[number].peering.connect(other)
            network.run(5)
            self.assertTrue(stores[2].peering.is_up(3), addresses)
            self.assertTrue(stores[3].peering.is_up(2), addresses)

        start("host1:1", "host2:1", "host3:1")
        start("host1:1", "elsewhere:1", "host3:1")
        start("host1:1", "elsewhere:1", "far:1")
        start("host1:1", "elsewhere:1", "far:1")

    def test_a_store_that_connects_is_dialled_at_once(self) -> None:
        network, one, two = self.linked()
        acceptor = network.listeners.pop("host2:1")
        self.cut(network)
        network.run(60)
        network.listeners["host2:1"] = acceptor
        two.peering.send(1, 9, VOTE_MESSAGE)
        network.settle()
        self.assertTrue(one.peering.is_up(2))

    def test_an_attempt_that_was_lost_ends_when_the_store_connects(self) -> None:
        """What asks for a connection may have been lost while the store wasn't there, and is repeated seldom."""
        network, one, two = pair(Path(self.mktemp()))
        network.silent.add("host2:1")
        one.peering.connect(2)
        network.run(2)
        self.assertEqual(one.figures.dials, 1)
        network.silent.clear()
        two.peering.send(1, 9, VOTE_MESSAGE)
        network.settle()
        self.assertTrue(one.peering.is_up(2))
        self.assertEqual((one.figures.dials, one.figures.dials_failed), (2, 1))

    def test_a_link_before_there_is_anything_to_send(self) -> None:
        network, one, _ = pair(Path(self.mktemp()))
        one.peering.connect(2)
        one.peering.connect(2)
        network.settle()
        self.assertTrue(one.peering.is_up(2))
        self.assertEqual(one.figures.dials, 1)

    def test_forgotten_stores_are_dialled_no_more(self) -> None:
        network, one, _ = self.linked()
        one.peering.forget(2)
        network.settle()
        self.assertEqual(one.take(), [("link_down", 2)])
        dials = one.figures.dials
        network.run(30)
        self.assertEqual(one.figures.dials, dials)
        one.peering.send(2, 9, VOTE_MESSAGE)
        network.settle()
        self.assertEqual(one.take(), [("unreachable", 2, 9)])

    def test_a_store_to_forget_while_it_isnt_there(self) -> None:
        network, one, _ = pair(Path(self.mktemp()))
        network.silent.add("host2:1")
        one.peering.send(2, 9, VOTE_MESSAGE)
        one.peering.forget(2)
        network.run(30)
        self.assertEqual(one.figures.dials, 1)
        one.peering.forget(5)

    def test_back_off(self) -> None:
        pauses = BackOff(0.1, 5.0, Random(1))
        for longest in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0):
            pause = pauses.seconds()
            self.assertTrue(longest / 2 <= pause <= longest, (longest, pause))
        pauses.reset()
        self.assertLessEqual(pauses.seconds(), 0.1)

    def test_dialling_gets_slower(self) -> None:
        network, one, _ = pair(Path(self.mktemp()))
        del network.listeners["host2:1"]
        one.peering.send(2, 9, VOTE_MESSAGE)
        network.run(100)
        self.assertLess(one.figures.dials, 200)
        self.assertGreater(one.figures.dials, 90)

    def test_a_link_that_breaks_at_once_is_not_dialled_in_a_hurry(self) -> None:
        network, one, _ = self.linked()
        for _ in range(200):
            network.run(0.1)
            if one.peering.is_up(2):
                self.cut(network)
        self.assertLess(one.figures.dials, 40)

    def test_close(self) -> None:
        network, one, two = self.linked()
        two.peering.send(1, 9, VOTE_MESSAGE)
        network.settle()
        closed = one.peering.close()
        self.assertNoResult(closed)
        network.settle()
        self.successResultOf(closed)
        self.assertEqual((one.figures.connections_in, one.figures.links_out), (0, 0))
        self.assertIn(("link_down", 1), two.take())
        one.peering.send(2, 9, VOTE_MESSAGE)
        network.run(1)
        self.assertFalse(one.peering.is_up(2))

    def test_close_of_a_store_that_is_alone(self) -> None:
        network, one, _ = pair(Path(self.mktemp()))
        network.silent.add("host2:1")
        one.peering.send(2, 9, VOTE_MESSAGE)
        self.successResultOf(one.peering.close())
        network.settle()
        self.assertEqual(network.clock.getDelayedCalls(), [])
