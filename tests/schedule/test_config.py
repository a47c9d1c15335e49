"""The options of a member: what is refused, and that the file in etc/ tells the truth."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.sources import ROOT
from tinykv.config_options import ConfigError
from tinykv.schedule.config import TABLE, ScheduleConfig

SECRET = "0123456789abcdef"
THREE = f"""
[cluster]
member_id = 2
initial_members = 1@a:2380, 2@b:2380, 3@c:2380
cluster_secret = {SECRET}
"""


class ConfigTests(SynchronousTestCase):
    """Values that fit together."""

    def refused(self, text: str, option: str) -> str:
        """Read what is wrong because of an option."""
        error = self.assertRaises(ConfigError, TABLE.parse, text, "x.ini")
        self.assertEqual(error.name, option)
        return str(error)

    def test_defaults(self) -> None:
        self.assertEqual(TABLE.parse("", "x.ini"), ScheduleConfig())

    def test_reference(self) -> None:
        self.assertEqual((ROOT / "etc" / "tinyschedule.ini").read_text("utf-8"), TABLE.reference())
        self.assertEqual(TABLE.parse(TABLE.reference(), "x.ini"), ScheduleConfig(data_dir=Path("schedule")))

    def test_three_members(self) -> None:
        self.assertEqual(len(TABLE.parse(THREE, "x.ini").initial_members), 3)

    def test_secrets_stay_out_of_the_repr(self) -> None:
        config = TABLE.parse(THREE + f"[http]\ntoken = {SECRET}\n", "x.ini")
        self.assertNotIn(SECRET, repr(config))

    def test_members_that_cannot_be(self) -> None:
        self.refused(THREE.replace(", 3@c:2380", ""), "initial_members")
        self.refused(THREE.replace("member_id = 2", "member_id = 4"), "initial_members")
        self.refused(THREE.replace(f"cluster_secret = {SECRET}", ""), "cluster_secret")
        self.refused(THREE + "cluster_secret_file = x\n", "cluster_secret_file")
        self.refused(THREE.replace("2@b:2380", "2@b:2399"), "peer_port")
        self.refused(THREE + "[http]\nhttp_port = 2380\n", "peer_port")
        self.refused(THREE + "[http]\nhttp_port = 0\n", "http_port")

    def test_exposure(self) -> None:
        why = self.refused("[http]\nhttp_bind = 0.0.0.0\n", "http_bind")
        self.assertIn("token", why)
        TABLE.parse(f"[http]\nhttp_bind = 0.0.0.0\ntoken = {SECRET}\n", "x.ini")
        TABLE.parse("[http]\nhttp_bind = 0.0.0.0\nprotected_mode = no\n", "x.ini")
        certificates = "[tls]\ntls_cert = a\ntls_key = b\ntls_ca = c\ntls_auth_clients = yes\n"
        TABLE.parse("[http]\nhttp_bind = 0.0.0.0\n" + certificates, "x.ini")
        self.refused(THREE + f"[http]\nhttp_bind = 0.0.0.0\ntoken = {SECRET}\n", "http_advertise")

    def test_certificates_go_together(self) -> None:
        self.refused("[tls]\ntls_cert = a\n", "tls_key")
        self.refused("[tls]\ntls_auth_clients = yes\n", "tls_ca")
        self.refused("[tls]\ntls_ca = a\ntls_auth_clients = yes\n", "tls_cert")
        self.refused("[cluster]\npeer_tls_cert = a\npeer_tls_key = b\n", "peer_tls_ca")

    def test_tokens(self) -> None:
        self.refused(f"[http]\ntoken = {SECRET[1:]}\n", "token")
        self.refused(f"[http]\ntoken = {SECRET}\ntoken_file = x\n", "token_file")

    def test_times(self) -> None:
        self.refused("[replication]\nheartbeat_ticks = 10\n", "heartbeat_ticks")
        self.refused("[replication]\nlease_drift_bound = 900ms\n", "lease_drift_bound")
