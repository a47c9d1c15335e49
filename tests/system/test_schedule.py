"""Real daemons over real sockets: killed, started again, ended in good order; and their API held to its description."""

from __future__ import annotations

import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from ssl import create_default_context
from time import monotonic

from twisted.trial.unittest import SynchronousTestCase

from tests.peering.certificates import Authority
from tests.system.processes import PATIENCE, run
from tests.system.schedulers import Daemons

#: How long the placement may stand still after its leader was killed, in seconds; the host of a test may be slow.
FAILOVER_SECONDS = 3.0

#: Whether that is installed: only this test wants it.
SCHEMATHESIS = find_spec("schemathesis") is not None


class Case(SynchronousTestCase):
    """Daemons in a folder of the test's own."""

    def daemons(self, count: int, **options: str) -> Daemons:
        """Make some."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        return Daemons(folder, count, **options)


class ThreeTests(Case):
    """Three members."""

    def test_leaders_that_are_killed(self) -> None:
        with self.daemons(3, bootstrap_stores="3") as daemons:
            last = 0
            ids: set[int] = set()
            for number in (1, 2, 3):
                given = daemons.ask("POST", "/timestamps", {"count": 10})
                first = given["physical"] << 18 | given["logical"]
                self.assertGreater(first, last)
                last = first + 9
                got = daemons.ask("POST", "/ids", {"count": 5})["first"]
                self.assertFalse(ids & set(range(got, got + 5)))
                ids |= set(range(got, got + 5))
                daemons.ask("PUT", f"/stores/{number}", {"address": f"h:{number}", "folder": f"f{number}"})
                daemons.settle()
                leader = daemons.leader()
                leader.kill()
                begun = monotonic()
                successor = daemons.leader()
                took = monotonic() - begun
                self.assertNotEqual(successor.number, leader.number)
                self.assertLess(took, 2 * FAILOVER_SECONDS)
                stores = daemons.ask("GET", "/stores")["stores"]
                self.assertEqual([store["store"] for store in stores], list(range(1, number + 1)))
                leader.start()
            self.assertTrue(daemons.ask("GET", "/bootstrap")["bootstrapped"])

    def test_end_in_good_order(self) -> None:
        with self.daemons(3) as daemons:
            daemons.ask("PUT", "/stores/1", {"address": "h:1", "folder": "f"})
            leader = daemons.leader()
            assert leader.process is not None
            self.assertIn(leader.process.stop(), (0, -signal.SIGTERM))
            self.assertIn("TinySchedule has stopped", leader.output)
            self.assertNotIn("Traceback", leader.output)
            self.assertEqual(len(daemons.ask("GET", "/stores")["stores"]), 1)


class OneTests(Case):
    """One member on its own."""

    def test_kill_and_restart(self) -> None:
        with self.daemons(1) as daemons:
            daemons.ask("PUT", "/stores/1", {"address": "h:1", "folder": "f"})
            (member,) = daemons.members.values()
            given = daemons.ask("POST", "/timestamps", {"count": 1})
            member.kill()
            member.start()
            self.assertEqual(daemons.ask("GET", "/stores/1")["folder"], "f")
            later = daemons.ask("POST", "/timestamps", {"count": 1})
            self.assertGreater((later["physical"], later["logical"]), (given["physical"], given["logical"]))

    def test_wrong_options(self) -> None:
        with self.daemons(1) as daemons:
            (member,) = daemons.members.values()
            # The folder and the port are in use.
            for more, named in (("http_bind=0.0.0.0", "http_bind"), ("log_level=info", "has this folder open")):
                ended = run([*member.command, "--set", more])
                self.assertEqual(ended.returncode, 1, ended.stderr)
                self.assertIn(named, ended.stderr)
                self.assertNotIn("Traceback", ended.stderr)


class ProofTests(Case):
    """Who asks has to prove who it is."""

    def test_certificates(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        authority, other = Authority(folder, "authority"), Authority(folder, "other")
        certificate, key = authority.issue("member")
        daemons = self.daemons(
            1, tls_cert=str(certificate), tls_key=str(key), tls_ca=str(authority.path), tls_auth_clients="yes"
        )
        (member,) = daemons.members.values()
        member.tls = context = create_default_context(cafile=authority.path)
        context.check_hostname = False
        context.load_cert_chain(*authority.issue("client"))
        with daemons:
            self.assertEqual(member.ask("GET", "/healthz"), (200, "ok\n"))
            for chain in (None, other.issue("stranger")):
                member.tls = context = create_default_context(cafile=authority.path)
                context.check_hostname = False
                if chain is not None:
                    context.load_cert_chain(*chain)
                self.assertEqual(member.ask("GET", "/healthz"), (0, None))
            member.tls = None
            self.assertEqual(member.ask("GET", "/healthz"), (0, None))
            self.assertNotIn("Traceback", member.output)

    def test_token(self) -> None:
        path = Path(self.mktemp()).absolute()
        path.write_text("the token of the test\n")
        path.chmod(0o600)
        daemons = self.daemons(1, token_file=str(path))
        (member,) = daemons.members.values()
        member.headers = {"Authorization": "Bearer the token of the test"}
        with daemons:
            member.headers = {}
            self.assertEqual(member.ask("GET", "/api/v1/stores")[0], 401)


class DescriptionTests(Case):
    """The API is what its document says."""

    if not SCHEMATHESIS:
        skip = "schemathesis isn't installed"

    def test_schemathesis(self) -> None:
        with self.daemons(1) as daemons:
            (member,) = daemons.members.values()
            ended = run(
                [
                    *(sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{member.port}/openapi.json"),
                    *("--phases", "fuzzing", "--max-examples", "2", "--seed", "1", "--no-color"),
                    *("--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off"),
                    # What fits a schema may still be refused with 400: two fields of it may not fit each other.
                    *("--exclude-checks", "positive_data_acceptance"),
                ],
                patience=4 * PATIENCE,
            )
            self.assertEqual(ended.returncode, 0, f"{ended.stdout}\n{ended.stderr}\n{member.output}")
            self.assertNotIn("Traceback", member.output)
            paths = member.ask("GET", "/openapi.json")[1]["paths"]
            self.assertIn(f"Tested: {sum(map(len, paths.values()))}", ended.stdout)
