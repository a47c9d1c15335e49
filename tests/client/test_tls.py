"""TLS towards the scheduler: files that can't be used, and those whom it believes."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface.verify import verifyObject

from tests.peering.certificates import Authority
from tinykv.client.tls import ScheduleTls, TlsProblem


class FileTests(SynchronousTestCase):
    """Files."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.authority = Authority(self.folder, "authority")
        self.certificate, self.key = self.authority.issue("store")

    def refused(self, *files: Path) -> TlsProblem:
        """Check that files are refused."""
        return self.assertRaises(TlsProblem, ScheduleTls, *files)

    def test_usable(self) -> None:
        policy = ScheduleTls(self.authority.path, self.certificate, self.key)
        self.assertTrue(verifyObject(IPolicyForHTTPS, policy))
        policy.creatorForNetloc(b"scheduler.example", 2379)
        ScheduleTls(self.authority.path).creatorForNetloc(b"127.0.0.1", 2379)

    def test_a_chain(self) -> None:
        chain = self.folder / "chain"
        chain.write_bytes(self.certificate.read_bytes() + self.authority.path.read_bytes())
        ScheduleTls(self.authority.path, chain, self.key).creatorForNetloc(b"scheduler.example", 2379)

    def test_unusable(self) -> None:
        empty = self.folder / "empty"
        empty.write_text("nothing\n")
        broken = self.folder / "broken"
        broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        absent = self.folder / "absent"
        _, other = self.authority.issue("other")
        for files, named, why in (
            ((absent,), absent, "can't be read"),
            ((empty,), empty, "no certificate"),
            ((broken,), broken, "can't be read"),
            ((self.authority.path, absent, self.key), absent, "can't be read"),
            ((self.authority.path, self.certificate, absent), absent, "can't be read"),
            ((self.authority.path, self.certificate, empty), empty, "no private key"),
            ((self.authority.path, self.certificate, other), other, "isn't the key"),
        ):
            problem = self.refused(*files)
            self.assertEqual(problem.path, named)
            self.assertIn(why, str(problem))
