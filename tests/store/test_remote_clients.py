"""
Tests for L{tinykv.store.remote_clients}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tinykv.interfaces import IForwardAnswer
from tinykv.redis.forwarded import PUT_OFF, REFUSED, REPLY, UNKNOWN, WAITS, decode_results, encode_timeout
from tinykv.redis.operations import COMMANDS, READ
from tinykv.store.remote_clients import ANSWER_BYTES, ANSWER_BYTES_MOST, RemoteBatch


@implementer(IForwardAnswer)
class Answer:
    """Where the answer goes."""

    crowded = False

    def __init__(self) -> None:
        self.told: list[bytes] = []

    def answer(self, payload: bytes) -> None:
        self.told.append(payload)

    def refuse(self, payload: bytes) -> None:
        raise AssertionError("a batch that was taken in is answered")

    def unknown(self) -> None:
        raise AssertionError("its operations say it")


class RemoteBatchTests(SynchronousTestCase):
    """L{RemoteBatch} and its clients."""

    def setUp(self) -> None:
        self.answer = Answer()
        verifyObject(IForwardAnswer, self.answer)
        self.refusals = 0
        self.late: set[int] = set()
        self.batch = RemoteBatch(self.answer, self._refused, self.late)

    def _refused(self) -> None:
        # The answer must not leave before it's known that what comes behind is refused, too.
        self.assertEqual(self.answer.told, [])
        self.refusals += 1

    def test_one_answer_for_all(self) -> None:
        clients = [self.batch.client(place, 3, 10 + place) for place in range(3)]
        self.assertEqual([(client.proto, client.client_id) for client in clients], [(3, 10), (3, 11), (3, 12)])
        clients[2].refuse()
        clients[0].waits(99, 1500)
        self.assertEqual((self.answer.told, self.refusals), ([], 1))
        clients[1].answer(99, b"+OK\r\n")
        (told,) = self.answer.told
        self.assertEqual(
            decode_results(told, 3), [(WAITS, encode_timeout(1500)), (REPLY, b"+OK\r\n"), (REFUSED, b"")]
        )

    def test_the_first_word_counts(self) -> None:
        first, second = self.batch.client(0, 2, 1), self.batch.client(1, 2, 1)
        first.waits(0, 0)
        first.answer(0, b"*0\r\n")
        first.refuse()
        self.assertEqual(self.refusals, 0)
        second.answer(0, b"+OK\r\n")
        second.answer(0, b"-ERR\r\n")
        (told,) = self.answer.told
        self.assertEqual(decode_results(told, 2), [(WAITS, encode_timeout(0)), (REPLY, b"+OK\r\n")])

    def test_reads_are_put_off_behind_large_replies(self) -> None:
        clients = [self.batch.client(place, 2, place) for place in range(3)]
        clients[0].answer(0, bytes(ANSWER_BYTES))
        self.assertFalse(clients[1].put_off())
        clients[1].answer(0, b"x")
        self.assertTrue(clients[2].put_off())
        (told,) = self.answer.told
        self.assertEqual(
            [status for status, _ in decode_results(told, 3)], [REPLY, REPLY, PUT_OFF]
        )
        # Those of other batches that came with it would overtake it.
        self.assertEqual(self.refusals, 1)

    def test_reads_are_put_off_behind_those_of_the_same_client(self) -> None:
        """Though they're in another batch, or they'd see something older than what is read later."""
        self.late.add(7)
        self.assertTrue(self.batch.client(0, 2, 7).put_off())
        self.assertFalse(self.batch.client(1, 2, 8).put_off())

    def test_reads_before_a_write_of_their_client_have_more_room(self) -> None:
        clients = [self.batch.client(place, 2, place % 2) for place in range(6)]
        kinds = [READ, READ, READ, READ, COMMANDS, READ]
        self.batch.holds([(kind, clients[place], 0, 0, None, [], None) for place, kind in enumerate(kinds)])
        clients[0].answer(0, bytes(ANSWER_BYTES + 1))
        self.assertEqual([clients[place].put_off() for place in (1, 2)], [True, False])
        clients[2].answer(0, bytes(ANSWER_BYTES_MOST - ANSWER_BYTES))
        self.assertEqual([clients[place].put_off() for place in (3, 5)], [True, True])
        self.assertEqual(self.late, {1})

    def test_replies_to_writes_have_an_end(self) -> None:
        clients = [self.batch.client(place, 2, place) for place in range(3)]
        large = bytes(ANSWER_BYTES_MOST)
        clients[0].answer(0, large)
        clients[1].answer(0, b"x")
        clients[2].waits(0, 7)
        (told,) = self.answer.told
        first, second, third = decode_results(told, 3)
        self.assertTrue(first == (REPLY, large))
        self.assertEqual(second[0], REPLY)
        self.assertIn(b"too large to be passed on", second[1])
        self.assertEqual(third, (WAITS, encode_timeout(7)))

    def test_nobody_knows(self) -> None:
        self.batch.client(0, 2, 1).lose(b"-TIMEOUT\r\n")
        (told,) = self.answer.told
        self.assertEqual(decode_results(told, 1), [(UNKNOWN, b"-TIMEOUT\r\n")])
