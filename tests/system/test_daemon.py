"""
The daemon as an operator runs it: `twistd -n tinykv --config FILE`.
"""

from __future__ import annotations

import json
import signal
import socket
import ssl
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from tests.redis_server import BlockingClient, free_port
from tests.system.processes import TWISTD, Process, run

#: Puts a socket where systemd puts it, says so as systemd does, and becomes the command.
_PASS_SOCKET = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


def write_certificate(folder: Path, name: str) -> None:
    """Write cert.pem and key.pem of a self-made certificate for 127.0.0.1 with this common name."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*form))


def common_name(port: int) -> str:
    """Give the common name of the certificate that a port shows."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 60) as plain, context.wrap_socket(plain) as secured:
        shown = secured.getpeercert(binary_form=True)
        assert shown is not None
    names = x509.load_der_x509_certificate(shown).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value)


#: Daemons of other tests couldn't have that port at the same time.
_ALONE = ("--set", "cluster_port=off")


class DaemonTests(SynchronousTestCase):
    """The daemon, started by its configuration."""

    def setUp(self) -> None:
        self.base = Path(self.mktemp()).absolute()
        self.base.mkdir()
        self.ini = self.base / "tinykv.ini"

    def configure(self, text: str) -> None:
        """Write the configuration; ballast is left out, so that tests don't fill the disk."""
        self.ini.write_text(f"[storage]\nballast_bytes = 0\ndisk_low_mark = 0\n[store]\ndata_dir = data\n{text}")

    def start(self, *prefix: str, extra: dict[str, str] | None = None, pass_fds: tuple[int, ...] = ()) -> Process:
        """Start it, and wait until it says that it's ready."""
        command = [*prefix, *TWISTD, *_ALONE, "--config", str(self.ini)]
        daemon = Process(command, self.base / "output", extra=extra or {}, pass_fds=pass_fds)
        self.addCleanup(daemon.destroy)
        daemon.wait_for(lambda: "is ready" in daemon.output, "the daemon to be ready")
        return daemon

    def refused(self) -> str:
        """Start it in vain; give the one line that it says."""
        done = run([*TWISTD, *_ALONE, "--config", str(self.ini)])
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertNotIn("Traceback", done.stdout + done.stderr)
        self.assertNotIn("TinyKV stops", done.stdout + done.stderr)
        # Once the log is open the line is one of the log's.
        said = [why for _, mark, why in (line.partition("tinykv: ") for line in done.stderr.splitlines()) if mark]
        self.assertEqual(len(said), 1, done.stdout + done.stderr)
        return said[0]

    def stopped(self, daemon: Process) -> None:
        """Stop it, in order; twistd then ends by the very signal that asked it to."""
        self.assertEqual(daemon.stop(), -signal.SIGTERM, daemon.output)
        self.assertIn("TinyKV has stopped", daemon.output)

    def test_an_unknown_option(self) -> None:
        self.configure("[resp]\nprot = 7000\n")
        self.assertEqual(self.refused(), f"{self.ini}: [resp] prot: no such option")

    def test_protected_mode(self) -> None:
        self.configure("[resp]\nbind = 0.0.0.0\n")
        self.assertIn("[resp] bind: 0.0.0.0 can be reached by other hosts, and requirepass is empty", self.refused())

    def test_a_taken_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.configure(f"[resp]\nport = {port}\n[http]\nhttp_port = off\n")
            self.assertIn(f"can't listen: Couldn't listen on 127.0.0.1:{port}", self.refused())
            self.configure(f"[resp]\nport = 0\n[http]\nhttp_port = {port}\n")
            self.assertIn("Choose another (option http_port).", self.refused())

    def test_a_certificate_that_is_missing(self) -> None:
        self.configure("[tls]\ntls_port = 7000\ntls_cert = nosuch.pem\ntls_key = key.pem\n")
        self.assertIn("nosuch.pem can't be read: No such file or directory", self.refused())

    def test_password_tls_and_http(self) -> None:
        port, tls_port, http_port = free_port(), free_port(), free_port()
        write_certificate(self.base, "first")
        self.configure(
            f"[resp]\nport = {port}\nrequirepass = secret\n"
            f"[tls]\ntls_port = {tls_port}\ntls_cert = cert.pem\ntls_key = key.pem\n"
            f"[http]\nhttp_port = {http_port}\n"
        )
        daemon = self.start()

        stranger = BlockingClient.tcp("127.0.0.1", port)
        self.addCleanup(stranger.close)
        self.assertTrue(stranger.attempt("PING").wire.startswith(b"NOAUTH "))
        self.assertTrue(stranger.attempt("AUTH", "wrong").wire.startswith(b"WRONGPASS "))
        self.assertTrue(stranger.attempt("PING").wire.startswith(b"NOAUTH "))
        with redis.Redis(port=port, password="secret", socket_timeout=10) as client:
            client.set("key", "value")
        with redis.Redis(
            port=tls_port, password="secret", ssl=True, ssl_cert_reqs="none", socket_timeout=10
        ) as client:
            self.assertEqual(client.get("key"), b"value")

            self.assertEqual(common_name(tls_port), "first")
            write_certificate(self.base, "second")
            daemon.signal(signal.SIGHUP)
            daemon.wait_for(lambda: "certificate was read again" in daemon.output, "the reload")
            self.assertEqual(common_name(tls_port), "second")
            (self.base / "cert.pem").write_text("nonsense")
            daemon.signal(signal.SIGHUP)
            daemon.wait_for(lambda: "certificate was not reloaded" in daemon.output, "the refusal")
            self.assertEqual(common_name(tls_port), "second")
            self.assertEqual(client.get("key"), b"value")

        def page(name: str) -> str:
            with urlopen(f"http://127.0.0.1:{http_port}/{name}", timeout=60) as answer:
                return str(answer.read(), "utf-8")

        self.assertEqual(page("healthz"), "ok\n")
        self.assertIsInstance(json.loads(page("status")), dict)
        self.assertRegex(page("metrics"), r"(?m)^tinykv_keys(\{[^}]*\})? 1\.0$")
        self.assertRegex(page("metrics"), r"(?m)^tinykv_auth_failures_total(\{[^}]*\})? 1\.0$")
        with self.assertRaises(HTTPError):
            page("nothing")
        self.assertNotIn("secret", page("status"))

        self.stopped(daemon)
        self.assertNotIn("secret", daemon.output)
        self.assertNotIn("Traceback", daemon.output)

    def test_a_socket_of_systemd(self) -> None:
        self.configure("[http]\nhttp_port = off\n")
        with socket.create_server(("127.0.0.1", 0)) as passed:
            port = passed.getsockname()[1]
            daemon = self.start(
                sys.executable, "-c", _PASS_SOCKET, str(passed.fileno()),
                extra={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "resp"},
                pass_fds=(passed.fileno(),),
            )  # fmt: skip
            client = BlockingClient.tcp("127.0.0.1", port)
            self.addCleanup(client.close)
            self.assertEqual(client.call("SET", "key", "value"), b"OK")
            self.assertEqual(client.call("GET", "key"), b"value")
            self.stopped(daemon)
