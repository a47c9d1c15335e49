"""Who is believed: both sides of the handshake, and what each refuses."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.peering.grammar import GrammarError, Line, LineReader
from tinykv.peering.handshake import LINK, SNAPSHOT, Handshake, Hello, Refused, read_hello
from tinykv.peering.settings import PeerIdentity, PeerLimits, is_address
from tinykv.peering.verbs import BEFORE, FORWARDS_MAX

ONE = PeerIdentity(
    cluster_id="c1", store_id=1, folder_id="f1", start_id=7, address="one:1", secret=b"s" * 16, features=frozenset("ab")
)
TWO = replace(ONE, store_id=2, folder_id="f2", address="[::1]:2", features=frozenset())
HELLO = b"3 c1 2 f2 link - 00000000000000000000000000000000 two:1".split()


def parse(data: bytes) -> Line:
    """Read one line."""
    reader = LineReader(BEFORE)
    reader.feed(data)
    found = reader.next()
    assert found is not None and not reader.buffered
    return found


def dialler(identity: PeerIdentity = ONE, expected: int = 2, nonce: bytes = b"d" * 16) -> Handshake:
    """Make the side that dials."""
    return Handshake(identity, nonce, purpose=LINK, expected=expected)


def acceptor(identity: PeerIdentity = TWO, nonce: bytes = b"a" * 16) -> Handshake:
    """Make the other side."""
    return Handshake(identity, nonce, purpose=None, expected=None)


def converse(one: Handshake, two: Handshake) -> None:
    """Let both sides prove themselves."""
    hello = two.hello_received(parse(one.begin())[1])
    proof = one.hello_received(parse(hello)[1])
    two.proof_received(parse(proof)[1])
    one.proof_received(parse(two.proof())[1])


class AgreementTests(SynchronousTestCase):
    """Two of one cluster."""

    def test_both_are_proven(self) -> None:
        one, two = dialler(), acceptor()
        self.assertEqual(two.begin(), b"")
        converse(one, two)
        self.assertTrue(one.proven and two.proven)
        self.assertEqual(two.peer, Hello("c1", 1, "f1", LINK, frozenset("ab"), (b"d" * 16).hex().encode(), "one:1"))
        assert one.peer is not None
        self.assertEqual((one.peer.store_id, one.peer.folder_id, one.peer.address), (2, "f2", "[::1]:2"))

    def test_the_acceptor_says_the_purpose_back(self) -> None:
        one, two = Handshake(ONE, b"d" * 16, purpose=SNAPSHOT, expected=2), acceptor()
        converse(one, two)
        assert one.peer is not None
        self.assertEqual(one.peer.purpose, SNAPSHOT)


class RefusalTests(SynchronousTestCase):
    """Two that don't belong together."""

    def refusal(self, one: Handshake, two: Handshake) -> str:
        """Give the code by which the conversation ends."""
        return self.assertRaises(Refused, converse, one, two).code

    def test_another_cluster(self) -> None:
        self.assertEqual(self.refusal(dialler(), acceptor(replace(TWO, cluster_id="c2"))), "cluster")

    def test_own_id(self) -> None:
        self.assertEqual(self.refusal(dialler(), acceptor(replace(TWO, store_id=1))), "own-id")

    def test_another_store_at_the_address(self) -> None:
        self.assertEqual(self.refusal(dialler(expected=3), acceptor()), "other-store")

    def test_another_secret(self) -> None:
        two = acceptor(replace(TWO, secret=b"t" * 16))
        self.assertEqual(self.refusal(dialler(), two), "secret")
        self.assertFalse(two.proven)

    def test_another_version(self) -> None:
        error = self.assertRaises(Refused, acceptor().hello_received, [b"1"])
        self.assertEqual(error.code, "version")
        self.assertIn("version 3", error.text)
        self.assertIn("speak 1", error.text)

    def test_a_proof_sent_back_proves_nothing(self) -> None:
        """An impostor without the secret echoes what the dialler proves; even of the same lines it's another proof."""
        one = dialler()
        impostor = acceptor(replace(TWO, secret=b"unknown to them!"))
        hello = impostor.hello_received(parse(one.begin())[1])
        proof = one.hello_received(parse(hello)[1])
        self.assertEqual(self.assertRaises(Refused, one.proof_received, parse(proof)[1]).code, "secret")
        self.assertFalse(one.proven)

    def test_a_conversation_played_again_proves_nothing(self) -> None:
        one, two = dialler(), acceptor()
        hello = parse(one.begin())[1]
        proof = one.hello_received(parse(two.hello_received(hello))[1])
        later = acceptor(nonce=b"b" * 16)
        later.hello_received(hello)
        self.assertEqual(self.assertRaises(Refused, later.proof_received, parse(proof)[1]).code, "secret")

    @given(st.integers(0, 7), st.sampled_from([b"1", b"x", b"c1,x", b"snapshot", b"ff" * 16, b"other:9"]))
    def test_nothing_that_was_said_can_be_exchanged(self, place: int, other: bytes) -> None:
        one, two = dialler(), acceptor()
        said = parse(one.begin())[1]
        changed = [*said[:place], other, *said[place + 1 :]]
        if changed == said:
            return
        try:
            proof = one.hello_received(parse(two.hello_received(changed))[1])
            two.proof_received(parse(proof)[1])
        except (Refused, GrammarError):
            pass
        self.assertFalse(two.proven)

    def test_order(self) -> None:
        two = acceptor()
        self.assertRaises(GrammarError, two.proof_received, [b"0" * 64])
        two.hello_received(HELLO[:2] + [b"1"] + HELLO[3:])
        self.assertRaises(GrammarError, two.hello_received, HELLO)
        one, other = dialler(), acceptor()
        converse(one, other)
        self.assertRaises(GrammarError, one.proof_received, [b"0" * 64])

    def test_the_acceptor_cant_change_the_purpose(self) -> None:
        one = dialler()
        one.begin()
        self.assertRaises(GrammarError, one.hello_received, [*HELLO[:4], b"snapshot", *HELLO[5:]])


class HelloTests(SynchronousTestCase):
    """The form of a HELLO line."""

    def test_it_reads_as_written(self) -> None:
        self.assertEqual(read_hello(parse(read_hello(HELLO).to_line())[1]), read_hello(HELLO))

    def test_malformed(self) -> None:
        for place, field in (
            (0, b"x"),
            (1, b"a/b"),
            (1, b"-"),
            (1, b"c" * 65),
            (2, b"0"),
            (2, b"%d" % 2**62),
            (2, b"x"),
            (3, b"f?"),
            (4, b"chat"),
            (5, b"a,,b"),
            (6, b"0" * 31),
            (6, b"0" * 33),
            (6, b"G" + b"0" * 31),
            (7, b"two"),
            (7, b"two:0"),
            (7, b"two:65536"),
            (7, b"two:1:1"),
        ):
            fields = [*HELLO[:place], field, *HELLO[place + 1 :]]
            self.assertRaises(GrammarError, read_hello, fields)
        self.assertRaises(GrammarError, read_hello, HELLO[:-1])
        self.assertRaises(GrammarError, read_hello, [*HELLO, b"more"])

    @given(st.lists(st.binary(min_size=1, max_size=20).map(lambda raw: bytes(33 + b % 94 for b in raw)), min_size=1))
    def test_any_words(self, fields: list[bytes]) -> None:
        for given_fields in (fields, [b"2", *fields], [*HELLO[:4], *fields, *HELLO[5:]][:8]):
            try:
                read_hello(given_fields)
            except (GrammarError, Refused):
                pass

    def test_the_longest_one_is_within_the_limit(self) -> None:
        features = frozenset(f"{'f' * 63}{place}" for place in range(4))
        longest = Hello("c" * 64, 2**62 - 1, "f" * 64, SNAPSHOT, features, b"0" * 32, "h" * 253 + ":65535")
        self.assertEqual(read_hello(parse(longest.to_line())[1]), longest)


class IdentityTests(SynchronousTestCase):
    """What a store can't be."""

    def test_refused(self) -> None:
        for change in (
            {"cluster_id": ""},
            {"cluster_id": "a b"},
            {"folder_id": "-"},
            {"store_id": 0},
            {"store_id": 2**62},
            {"start_id": 2**64},
            {"address": "nowhere"},
            {"secret": b"s" * 15},
            {"features": frozenset("abcde")},
            {"features": frozenset(["a,b"])},
        ):
            self.assertRaises(ValueError, replace, ONE, **change)

    def test_limits(self) -> None:
        PeerLimits(forwards_max=FORWARDS_MAX, ping_interval=1, idle_timeout=2.1)
        self.assertRaises(ValueError, PeerLimits, forwards_max=FORWARDS_MAX + 1)
        self.assertRaises(ValueError, PeerLimits, ping_interval=1, idle_timeout=2)

    def test_the_secret_is_in_no_log(self) -> None:
        self.assertNotIn("ssss", repr(ONE))

    def test_addresses(self) -> None:
        for text in ("a:1", "10.0.0.1:65535", "[fe80::1]:20160", "a-b.c_d:20160"):
            self.assertTrue(is_address(text), text)
        for text in ("", "a", "a:", ":1", "a:b", "a:01", "fe80::1:1", "[x]:1", "a b:1", "a:1\n"):
            self.assertFalse(is_address(text), text)
