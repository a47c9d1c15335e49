"""
What options become for the parts that deal with other stores.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.peering.certificates import Authority
from tinykv.config import ConfigError, StoreConfig, parse
from tinykv.config_values import SECRET_BYTES_LEAST, SECRET_BYTES_MOST
from tinykv.peering.settings import SECRET_BYTES_LEAST as NEEDED
from tinykv.peering.settings import PeerLimits
from tinykv.peering.tls import PeerTls
from tinykv.raft.config import RaftConfig
from tinykv.tap.peers import (
    cluster_address,
    known_hosts,
    peer_address,
    peer_addresses,
    peer_identity,
    peer_limits,
    peer_tls,
    raft_config,
    read_secret,
    reload_tls,
)

THREE = """\
[cluster]
store_id = 2
initial_stores = 1@a:20160, 2@b:20160, 3@c:20160
cluster_secret = sixteen bytes it
"""


class SettingsTests(SynchronousTestCase):
    """Defaults agree, and what is chosen arrives."""

    def test_defaults(self) -> None:
        self.assertEqual(raft_config(StoreConfig()), RaftConfig())
        self.assertEqual(peer_limits(StoreConfig()), PeerLimits())
        self.assertEqual(SECRET_BYTES_LEAST, NEEDED)

    def test_choices(self) -> None:
        config = StoreConfig(
            tick=0.05, election_ticks=20, heartbeat_ticks=3, lease_drift_bound=0.2, snapshot_rate=1 << 20
        )
        self.assertEqual(
            raft_config(config), RaftConfig(tick=0.05, election_ticks=20, heartbeat_ticks=3, drift_bound=0.2)
        )
        self.assertEqual(peer_limits(config), PeerLimits(snapshot_rate=1 << 20))

    def test_extreme_times_that_are_taken_make_a_group(self) -> None:
        for times in (
            "election_ticks = 2\nheartbeat_ticks = 1\n",
            "tick = 10ms\nelection_ticks = 3\nheartbeat_ticks = 2\nlease_drift_bound = 19ms\n",
            "tick = 10s\nelection_ticks = 1000\nheartbeat_ticks = 999\nlease_drift_bound = 1000s\n",
        ):
            self.assertGreater(raft_config(parse(f"[replication]\n{times}", "x.ini")).lease, 0)

    def test_identity(self) -> None:
        identity = peer_identity(parse(THREE, "x.ini"), "cluster", "folder", 7)
        self.assertEqual((identity.store_id, identity.address, identity.start_id), (2, "b:20160", 7))
        self.assertEqual(identity.secret, b"sixteen bytes it")

    def test_addresses(self) -> None:
        config = parse(THREE, "x.ini")
        self.assertEqual(peer_addresses(config), {1: "a:20160", 3: "c:20160"})
        self.assertEqual(peer_address(replace(config, peer_advertise="x:1")), "x:1")
        joins = replace(config, store_id=4, join=True)
        self.assertEqual(peer_address(joins), "127.0.0.1:20160")
        self.assertEqual(peer_address(replace(joins, peer_bind="::1")), "[::1]:20160")
        self.assertEqual(peer_addresses(joins), {1: "a:20160", 2: "b:20160", 3: "c:20160"})

    def test_addresses_for_clients_of_a_redis_cluster(self) -> None:
        config = parse(THREE, "x.ini")
        self.assertEqual(cluster_address(config, 6380), ("127.0.0.1", 6380))
        self.assertIsNone(cluster_address(config, None))
        everywhere = replace(config, bind=("0.0.0.0",))
        self.assertEqual(cluster_address(everywhere, 6380), ("b", 6380))
        self.assertEqual(cluster_address(replace(everywhere, peer_advertise="[::2]:1"), 6380), ("::2", 6380))
        alone = StoreConfig(bind=("::",), protected_mode=False)
        self.assertEqual(cluster_address(alone, 6380), ("::", 6380))
        said = replace(everywhere, cluster_advertise=("x", 7))
        self.assertEqual(cluster_address(said, 6380), ("x", 7))
        self.assertIsNone(cluster_address(replace(said, cluster_port=None), None))

    def test_names_for_operators(self) -> None:
        self.assertEqual(known_hosts(StoreConfig()), set())
        config = replace(parse(THREE, "x.ini"), advertise=("Kv.example", 6379), peer_advertise="x:1")
        self.assertEqual(known_hosts(config), {"a", "b", "c", "kv.example", "x"})


class SecretFileTests(SynchronousTestCase):
    """The secret in a file."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.config = StoreConfig(cluster_secret_file=self.path)

    def write(self, text: bytes, mode: int = 0o600) -> None:
        """Write the file."""
        self.path.write_bytes(text)
        self.path.chmod(mode)

    def refused(self) -> str:
        """Return why it's refused."""
        error = self.assertRaises(ConfigError, read_secret, self.config)
        self.assertEqual((error.section, error.name), ("cluster", "cluster_secret_file"))
        return error.problem

    def test_blanks_around_it_do_not_count(self) -> None:
        self.write(b"  a secret of some length\n\n", 0o640)
        self.assertEqual(read_secret(self.config), b"a secret of some length")

    def test_its_length(self) -> None:
        for length, fits in (
            (0, False),
            (SECRET_BYTES_LEAST - 1, False),
            (SECRET_BYTES_LEAST, True),
            (SECRET_BYTES_MOST, True),
            (SECRET_BYTES_MOST + 1, False),
            (100 * SECRET_BYTES_MOST, False),
        ):
            self.write(b"s" * length + b"\n")
            if fits:
                self.assertEqual(len(read_secret(self.config)), length)
            else:
                self.assertIn("16 to 1024", self.refused())

    def test_not_for_everybody(self) -> None:
        for mode in (0o604, 0o602, 0o646):
            self.write(b"a secret of some length", mode)
            self.assertIn(f"mode 0{mode:o}", self.refused())

    def test_missing(self) -> None:
        self.assertIn("can't be read: No such file", self.refused())
        self.path.mkdir()
        self.assertIn("can't be read: Is a directory", self.refused())


class TlsTests(SynchronousTestCase):
    """The files of TLS between stores."""

    def test_none(self) -> None:
        self.assertIsNone(peer_tls(StoreConfig()))

    def test_they_are_read_again(self) -> None:
        """The log says so, and why if they aren't."""
        folder = Path(self.mktemp())
        folder.mkdir()
        authority = Authority(folder, "authority")
        certificate, key = authority.issue("one")
        tls = PeerTls(certificate, key, authority.path)
        logged: list[LogEvent] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        reload_tls(tls)
        key.write_bytes(b"junk")
        reload_tls(tls)
        said = [formatEvent(event) for event in logged if event.get("log_namespace") == "tinykv.tap.peers"]
        self.assertEqual(len(said), 2)
        self.assertIn("was read again", said[0])
        self.assertIn(f"was not reloaded: {key} can't be used", said[1])

    def test_the_option_is_named(self) -> None:
        nowhere = Path(self.mktemp())
        config = StoreConfig(peer_tls_cert=nowhere / "c", peer_tls_key=nowhere / "k", peer_tls_ca=nowhere / "a")
        error = self.assertRaises(ConfigError, peer_tls, config)
        self.assertEqual((error.section, error.name), ("cluster", "peer_tls_cert"))
