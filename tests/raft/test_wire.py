"""Messages as bytes: what is written is read again, and nothing else is believed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.raft.strategies import changes, memberships, messages
from tinykv.errors import Damaged
from tinykv.raft.membership import ADD_VOTER, MAX_MEMBERS, REMOVE, Change, Membership, Step
from tinykv.raft.messages import (
    APPEND,
    CHANGE,
    HEARTBEAT,
    KIND_NAMES,
    NORMAL,
    SNAPSHOT,
    VOTE,
    Entry,
    Message,
    SnapshotMeta,
)
from tinykv.raft.wire import (
    MAX_NUMBER,
    Malformed,
    decode_change,
    decode_membership,
    decode_message,
    encode_change,
    encode_entries,
    encode_head,
    encode_membership,
    encode_message,
)


class MessageTests(SynchronousTestCase):
    """Messages of all kinds."""

    @given(messages)
    def test_what_is_written_is_read(self, message: Message) -> None:
        self.assertEqual(decode_message(encode_message(message)), message)

    @given(messages)
    def test_head_and_entries_make_a_message(self, message: Message) -> None:
        """The entries' bytes can be shared: they say nothing of the receiver."""
        tail = encode_entries(message.entries) if message.kind == APPEND else b""
        self.assertEqual(encode_head(message) + tail, encode_message(message))

    @given(messages, st.integers(0, 200))
    def test_cut_off(self, message: Message, length: int) -> None:
        data = encode_message(message)
        self.assertRaises(Malformed, decode_message, data[: min(length, len(data) - 1)])

    @given(messages)
    def test_too_long(self, message: Message) -> None:
        self.assertRaises(Malformed, decode_message, encode_message(message) + b"\0")

    @given(messages, st.integers(0, 200), st.integers(1, 255))
    def test_any_other_byte(self, message: Message, place: int, change: int) -> None:
        """A changed byte makes another message, which is written as it was read, or none."""
        data = bytearray(encode_message(message))
        data[place % len(data)] ^= change
        self.assert_read_or_refused(bytes(data))

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        self.assert_read_or_refused(data)

    @given(st.sampled_from(sorted(KIND_NAMES)), st.binary(max_size=200))
    def test_any_bytes_of_a_kind(self, kind: int, data: bytes) -> None:
        self.assert_read_or_refused(bytes((kind, 0)) + data)

    def assert_read_or_refused(self, data: bytes) -> None:
        """Check that there is one way to write each message."""
        try:
            message = decode_message(data)
        except Malformed:
            return
        self.assertEqual(encode_message(message), data)

    def test_no_message(self) -> None:
        for data in (b"", b"\0", b"\xff" * 60):
            self.assertRaises(Malformed, decode_message, data)

    def test_someone_sends_to_someone(self) -> None:
        for to, sender in ((0, 1), (1, 0)):
            self.assertRaises(Malformed, decode_message, encode_message(Message(HEARTBEAT, to, sender, 1)))

    def test_numbers_have_a_limit(self) -> None:
        greatest = Message(HEARTBEAT, 1, 2, MAX_NUMBER - 1)
        self.assertEqual(decode_message(encode_message(greatest)), greatest)
        self.assertRaises(Malformed, decode_message, encode_message(greatest._replace(term=MAX_NUMBER)))

    def test_flags_belong_to_kinds(self) -> None:
        forced = Message(VOTE, 1, 2, 3, force=True)
        self.assertEqual(decode_message(encode_message(forced)), forced)
        self.assertRaises(Malformed, decode_message, encode_message(forced._replace(reject=True)))

    def test_a_count_is_no_promise(self) -> None:
        """A count of four thousand millions allocates nothing."""
        data = encode_head(Message(APPEND, 1, 2, 3))
        self.assertRaises(Malformed, decode_message, data + b"\xff" * 4)
        self.assertRaises(Malformed, decode_message, data + b"\xff" * 100)

    def test_terms_of_entries(self) -> None:
        """Along a log terms never fall, and none is beyond the leader's."""

        def refused(*terms: int) -> bool:
            entries = tuple(Entry(8 + place, term, NORMAL, b"") for place, term in enumerate(terms))
            data = encode_message(Message(APPEND, 1, 2, 5, index=7, log_term=3, entries=entries))
            try:
                decode_message(data)
            except Malformed:
                return True
            return False

        self.assertFalse(refused(3, 4, 4, 5))
        self.assertTrue(refused(2))
        self.assertTrue(refused(6))
        self.assertTrue(refused(4, 3))

    def test_entries_are_of_a_known_kind(self) -> None:
        data = encode_message(Message(APPEND, 1, 2, 1, entries=(Entry(1, 1, 7, b""),)))
        self.assertRaises(Malformed, decode_message, data)

    def test_a_change_is_readable(self) -> None:
        data = encode_message(Message(APPEND, 1, 2, 1, entries=(Entry(1, 1, CHANGE, b"?"),)))
        self.assertRaises(Malformed, decode_message, data)

    def test_a_snapshot_stands_for_something(self) -> None:
        for index, term in ((0, 1), (1, 0), (MAX_NUMBER, 1)):
            message = Message(SNAPSHOT, 1, 2, 3, snapshot=SnapshotMeta(index, term, Membership((1,))))
            self.assertRaises(Malformed, decode_message, encode_message(message))


class MembershipTests(SynchronousTestCase):
    """Memberships, as rows keep them."""

    @given(memberships())
    def test_what_is_written_is_read(self, membership: Membership) -> None:
        self.assertEqual(decode_membership(encode_membership(membership)), membership)

    @given(st.binary(max_size=60))
    def test_any_bytes(self, data: bytes) -> None:
        try:
            membership = decode_membership(data)
        except Damaged:
            return
        self.assertEqual(encode_membership(membership), data)

    def test_impossible(self) -> None:
        for membership in (
            Membership(()),
            Membership((2, 1)),
            Membership((1, 1)),
            Membership((0,)),
            Membership((MAX_NUMBER,)),
            Membership((1,), (1,)),
            Membership((1,), (2,), (2,)),
            Membership((1,), (), (2,), (3,)),
            Membership((1,), (), (1,), (1,)),
            Membership((1,), auto_leave=True),
            Membership(tuple(range(1, MAX_MEMBERS + 2))),
        ):
            self.assertRaises(Damaged, decode_membership, encode_membership(membership))

    def test_the_largest(self) -> None:
        largest = Membership(tuple(range(1, MAX_MEMBERS)), (MAX_MEMBERS,))
        self.assertEqual(decode_membership(encode_membership(largest)), largest)


class ChangeTests(SynchronousTestCase):
    """Changes, as entries carry them."""

    @given(changes)
    def test_what_is_written_is_read(self, change: Change) -> None:
        self.assertEqual(decode_change(encode_change(change)), change)

    @given(st.binary(max_size=60))
    def test_any_bytes(self, data: bytes) -> None:
        try:
            change = decode_change(data)
        except Damaged:
            return
        self.assertEqual(encode_change(change), data)

    def test_impossible(self) -> None:
        for change in (
            Change((Step(9, 1),)),
            Change((Step(ADD_VOTER, 0),)),
            Change((Step(ADD_VOTER, 1), Step(REMOVE, 1))),
        ):
            self.assertRaises(Damaged, decode_change, encode_change(change))
