"""
Tests for L{tinykv.tap.beginning}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tinykv.config import StoreConfig, parse
from tinykv.tap.beginning import cluster_id_of


def config(stores: str, name: str = "tinykv") -> StoreConfig:
    text = f"""
[store]
cluster_name = {name}
[cluster]
initial_stores = {stores}
cluster_secret = 0123456789abcdef
peer_advertise = 127.0.0.1:9001
"""
    return parse(text, "test")


class ClusterIdTests(SynchronousTestCase):
    """L{cluster_id_of}."""

    def test_the_same_for_the_same_list(self) -> None:
        one = cluster_id_of(config("1@127.0.0.1:7001, 2@127.0.0.1:7002, 3@127.0.0.1:7003"))
        # Addresses may change, and the order says nothing.
        other = cluster_id_of(config("3@127.0.0.1:8003, 1@127.0.0.1:8001, 2@127.0.0.1:8002"))
        self.assertEqual(one, other)
        self.assertRegex(one, "^[0-9a-f]{32}$")

    def test_another_for_other_stores_or_another_name(self) -> None:
        lists = ("1@127.0.0.1:7001", "1@127.0.0.1:7001, 2@127.0.0.1:7002, 3@127.0.0.1:7003")
        ids = {cluster_id_of(config(stores, name)) for stores in lists for name in ("a", "b")}
        self.assertEqual(len(ids), 4)

    def test_a_store_of_its_own_has_none(self) -> None:
        self.assertEqual(cluster_id_of(StoreConfig()), "")
