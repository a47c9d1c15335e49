"""
What a store says of itself on /status: for people, and for tools that want JSON.
"""

from __future__ import annotations

from typing import Any, Protocol

import tinykv
from tinykv.server.front import Front


class Identity(Protocol):
    """Whose data folder it is."""

    @property
    def store_id(self) -> int:
        """The store's id in the cluster."""

    @property
    def cluster_id(self) -> str:
        """The cluster's id; empty until it's known."""

    @property
    def folder_id(self) -> str:
        """The folder's own id."""


def describe(front: Front, identity: Identity, problem: str | None) -> dict[str, Any]:
    """
    Describe a store.

    @param problem: Why it doesn't serve as it should; None if it does.
    """
    execution = front.host.execution
    keyspace = execution.keyspace
    return {
        "name": front.config.cluster_name,
        "version": tinykv.__version__,
        "store": identity.store_id,
        "cluster": identity.cluster_id,
        "folder": identity.folder_id,
        "healthy": problem is None,
        "problem": problem,
        "started": front.started,
        "uptime_seconds": round(front.now() - front.started, 3),
        "ports": dict(front.ports),
        "clients": len(front.sessions),
        "blocked_clients": len(execution.waiters),
        "commands": front.commands,
        "operations_per_second": round(front.operations_per_second, 1),
        "keys": {
            str(index): {"keys": db.keys, "expiring": db.expiring}
            for index, db in enumerate(keyspace.databases)
            if db.keys
        },
        "cache_bytes": keyspace.memory,
        "memory_budget": keyspace.budget,
        "table_bytes": front.host.table_bytes,
        "region_time_ms": execution.time,
    }
