"""TLS between stores: who shows no certificate of the cluster's authority gets no word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.peering.certificates import Authority
from tests.peering.stores import PeerStore, append, pair, sides
from tests.peering.wires import Network
from tinykv.peering.address_book import AddressBook
from tinykv.peering.tls import PeerTls, TlsProblem
from tinykv.peering.verbs import FRAME_BYTES
from tinykv.raft.messages import VOTE, Message

NAMESPACE = "tinykv.peering.notices.Notices"


class TlsTests(SynchronousTestCase):
    """Two stores whose links are encrypted."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.authority = Authority(self.folder, "authority")
        self.logged: list[LogEvent] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def said(self) -> list[str]:
        """Give what was said of the links, in order."""
        return [formatEvent(event) for event in self.logged if event.get("log_namespace") == NAMESPACE]

    def tls(self, name: str, authority: Authority | None = None) -> PeerTls:
        """Make a store's certificate, and what it makes of it."""
        certificate, key = (authority or self.authority).issue(name)
        return PeerTls(certificate, key, self.authority.path)

    def stores(self, dialling: PeerTls | None, listening: PeerTls) -> tuple[Network, PeerStore, PeerStore]:
        """Make two stores; the second listens with TLS, and the first dials with it or without."""
        network, one, two = pair(Path(self.mktemp()))
        network.listeners["host2:1"] = listening.listening(two.peering.acceptor, network.clock)
        plain = network.endpoint("host1")
        if dialling is not None:
            book = AddressBook(lambda address: dialling.dialling(plain(address), network.clock), {2: "host2:1"})
            one.peering._common.addresses = book
        return network, one, two

    def test_a_link(self) -> None:
        network, one, two = self.stores(self.tls("one"), self.tls("two"))
        one.peering.send(2, 9, append(b"a secret"))
        network.settle()
        self.assertEqual(two.take(), [("received", 1, 9, append(b"a secret"))])
        near, far = sides(network)
        for said in (near.sent, far.sent):
            self.assertNotIn(b"HELLO", said)
            self.assertNotIn(b"secret", said)

    def test_much(self) -> None:
        network, one, two = self.stores(self.tls("one"), self.tls("two"))
        message = append(bytes(range(256)) * (3 * FRAME_BYTES // 256))
        one.peering.send(2, 9, message)
        network.settle()
        self.assertEqual(two.take() == [("received", 1, 9, message)], True)
        closed = one.peering.close()
        network.settle()
        self.successResultOf(closed)

    def test_a_snapshot(self) -> None:
        network, one, two = self.stores(self.tls("one"), self.tls("two"))
        (self.folder / "source").write_bytes(b"x" * 1_000_000)
        sent = one.peering.send_snapshot(2, 9, str(self.folder / "source"), b"")
        network.run(1)
        self.successResultOf(sent)

    def refused(self, dialling: PeerTls | None, listening: PeerTls, *why: str) -> None:
        """Check that no word gets through, and that the log says why, once a minute, here and there."""
        network, one, two = self.stores(dialling, listening)
        one.peering.send(2, 9, Message(VOTE, 2, 1, 5))
        network.run(1)
        self.assertFalse(one.peering.is_up(2))
        self.assertEqual((two.take(), two.figures.links_in, one.folder_ids.known), ([], 0, {}))
        said = self.said()
        self.assertEqual(len(said), 2, said)
        for part in why:
            self.assertTrue(any(part in line for line in said), said)

    def test_without_tls(self) -> None:
        self.refused(None, self.tls("two"), "peer host1: TLS with it failed: ", "store 2 at host2: it closed")

    def test_with_tls_only_here(self) -> None:
        network, one, two = pair(Path(self.mktemp()))
        tls, plain = self.tls("one"), network.endpoint("host1")
        book = AddressBook(lambda address: tls.dialling(plain(address), network.clock), {2: "host2:1"})
        one.peering._common.addresses = book
        one.peering.send(2, 9, Message(VOTE, 2, 1, 5))
        network.run(1)
        said = self.said()
        self.assertTrue(any("store 2 at host2: TLS with it failed: " in line for line in said), said)

    def test_a_link_that_ends_is_nothing_to_be_said(self) -> None:
        network, one, _ = self.stores(self.tls("one"), self.tls("two"))
        one.peering.send(2, 9, Message(VOTE, 2, 1, 5))
        network.settle()
        closed = one.peering.close()
        network.settle()
        self.successResultOf(closed)
        self.assertEqual(len(self.said()), 1)
        self.assertIn("(closing)", self.said()[0])

    def test_a_dialler_of_another_authority(self) -> None:
        self.refused(self.tls("one", Authority(self.folder, "other")), self.tls("two"), "certificate")

    def test_a_listener_of_another_authority(self) -> None:
        self.refused(self.tls("one"), self.tls("two", Authority(self.folder, "other")), "certificate verify failed")

    def test_a_dialler_without_a_certificate(self) -> None:
        one = self.tls("one")
        bare = SSL.Context(SSL.TLS_CLIENT_METHOD)
        bare.load_verify_locations(str(self.authority.path))
        one._client = bare
        self.refused(one, self.tls("two"), "certificate")

    def test_new_connections_have_the_certificate_that_was_read_last(self) -> None:
        certificate, key = self.authority.issue("two")
        listening = PeerTls(certificate, key, self.authority.path)
        other = Authority(self.folder, "other")
        for path, found in zip((certificate, key), other.issue("fake"), strict=True):
            path.write_bytes(found.read_bytes())
        network, one, _ = self.stores(self.tls("one"), listening)
        one.peering.send(2, 9, Message(VOTE, 2, 1, 5))
        network.settle()
        self.assertTrue(one.peering.is_up(2))
        listening.reload()
        network, one, _ = self.stores(self.tls("one"), listening)
        one.peering.send(2, 9, Message(VOTE, 2, 1, 5))
        network.settle()
        self.assertFalse(one.peering.is_up(2))

    def test_files_that_cant_be_used(self) -> None:
        certificate, key = self.authority.issue("one")
        other, _ = self.authority.issue("two")
        nothing = self.folder / "nothing"
        junk = self.folder / "junk"
        junk.write_bytes(b"junk")
        cases: list[tuple[Path, Path, Path, Path, str]] = [
            (nothing, key, self.authority.path, nothing, "can't be read"),
            (certificate, nothing, self.authority.path, nothing, "can't be read"),
            (certificate, key, nothing, nothing, "can't be read"),
            (junk, key, self.authority.path, junk, "can't be used"),
            (certificate, junk, self.authority.path, junk, "can't be used"),
            (certificate, key, junk, junk, "can't be used"),
            (other, key, self.authority.path, key, "can't be used"),
        ]
        for *files, blamed, why in cases:
            error: Any = self.assertRaises(TlsProblem, PeerTls, *files)
            self.assertEqual(error.path, blamed)
            self.assertIn(why, str(error))

    def test_a_reload_that_fails_changes_nothing(self) -> None:
        certificate, key = self.authority.issue("two")
        listening = PeerTls(certificate, key, self.authority.path)
        key.write_bytes(b"junk")
        self.assertRaises(TlsProblem, listening.reload)
        network, one, _ = self.stores(self.tls("one"), listening)
        one.peering.send(2, 9, Message(VOTE, 2, 1, 5))
        network.settle()
        self.assertTrue(one.peering.is_up(2))
