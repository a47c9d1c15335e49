"""The options of a gateway, its unit and its plugin."""

from __future__ import annotations

from configparser import ConfigParser
from dataclasses import fields
from typing import Any

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

from tests.sources import ROOT
from tinykv.config import StoreConfig
from tinykv.config_options import ConfigError
from tinykv.gateway.config import TABLE, GatewayConfig

SECRET = "0123456789abcdef"
LEAST = f"""
[cluster]
stores = 1@a:20160, 2@b:20160
cluster_secret = {SECRET}
"""


class ConfigTests(SynchronousTestCase):
    """Values that fit together."""

    def refused(self, text: str, option: str) -> str:
        """Read what is wrong because of an option."""
        error = self.assertRaises(ConfigError, TABLE.parse, text, "x.ini")
        self.assertEqual(error.name, option)
        return str(error)

    def test_least(self) -> None:
        config = TABLE.parse(LEAST, "x.ini")
        self.assertEqual(dict(config.stores), {1: "a:20160", 2: "b:20160"})
        self.assertNotIn(SECRET, repr(config))
        TABLE.parse(f"[cluster]\ncluster_secret = {SECRET}\n[schedule]\nschedulers = a:2379\n", "x.ini")

    def test_reference(self) -> None:
        self.assertEqual((ROOT / "etc" / "tinykv-gateway.ini").read_text("utf-8"), TABLE.reference())
        self.assertIn("where the stores are", self.refused(TABLE.reference(), "stores"))

    def test_what_stores_have_is_the_same(self) -> None:
        of_stores = {item.name: item for item in fields(StoreConfig)}
        for item in fields(GatewayConfig):
            if item.name in of_stores:
                other = of_stores[item.name]
                self.assertEqual((item.default, item.repr), (other.default, other.repr), item.name)
                self.assertIs(item.metadata["kind"], other.metadata["kind"], item.name)

    def test_what_does_not_fit(self) -> None:
        self.refused("", "stores")
        self.refused("[cluster]\nstores = 1@a:20160\n", "cluster_secret")
        self.refused(LEAST + "cluster_secret_file = x\n", "cluster_secret_file")
        self.refused(LEAST + "peer_tls_cert = x\n", "peer_tls_key")
        self.refused(LEAST + "[schedule]\nschedule_tls_cert = x\n", "schedule_tls_key")
        self.refused(LEAST + f"[schedule]\nschedule_token = {SECRET}\nschedule_token_file = x\n", "schedule_token_file")
        self.refused(LEAST + "[tls]\ntls_port = 1\n", "tls_cert")
        self.refused(LEAST + "[tls]\ntls_auth_clients = yes\n", "tls_ca")
        self.refused(LEAST + "[resp]\nport = 20180\n", "http_port")
        self.refused(LEAST + "[resp]\nport = 0\nbind = 127.0.0.1 ::1\n", "port")
        self.refused(LEAST + "[resp]\nbind = 0.0.0.0\n", "bind")
        self.refused(LEAST + "[limits]\nquery_buffer_limit = 1mb\n", "query_buffer_limit")


class PackagingTests(SynchronousTestCase):
    """What is installed."""

    def test_twistd_finds_the_plugin(self) -> None:
        makers: dict[str, Any] = {maker.tapname: maker for maker in getPlugins(IServiceMaker)}
        self.assertEqual(makers["tinykv-gateway"].module, "tinykv.tap.gateway")

    def test_unit(self) -> None:
        unit = ConfigParser(interpolation=None, strict=False, delimiters=("=",), comment_prefixes=("#",))
        unit.optionxform = str  # type: ignore[assignment, method-assign]  # documented: keeps names as written
        unit.read(ROOT / "systemd" / "tinykv-gateway@.service", encoding="utf-8")
        service = unit["Service"]
        self.assertEqual(
            service["ExecStart"],
            "/opt/tinykv/bin/twistd --nodaemon --pidfile= tinykv-gateway --config /etc/tinykv/%i.ini",
        )
        self.assertEqual((service["Restart"], service["NoNewPrivileges"]), ("always", "yes"))
        self.assertNotIn("StateDirectory", service)
        self.assertGreater(int(service["LimitNOFILE"]), GatewayConfig().maxclients + 1000)
