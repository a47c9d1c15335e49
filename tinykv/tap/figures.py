"""
The figures of a store: what /metrics shows, and where each is read.

Everything is read at the scrape, from plain numbers that the parts keep anyhow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tinykv

if TYPE_CHECKING:
    from tinykv.tap.store import StoreService


def measure(store: StoreService) -> None:
    """Name a store's figures to its registry; called when all parts but the ports are there."""
    metrics = store.metrics
    front, rows, control = store.front, store.rows, store.control
    execution = front.host.execution
    keyspace = execution.keyspace
    hosts = store.regions.ordered
    counter, gauge = metrics.counter, metrics.gauge
    metrics.info(tinykv.__version__, store.config.cluster_name)

    gauge("connected_clients", "Clients connected.", lambda: len(front.sessions))
    gauge("blocked_clients", "Clients that wait in a blocking command.", lambda: len(execution.waiters))
    counter("connections_total", "Connections accepted.", lambda: front.accepted)
    counter("connections_refused_total", "Connections refused over maxclients.", lambda: front.rejected)
    counter("protocol_errors_total", "Clients closed for breaking the protocol.", lambda: front.protocol_errors)
    counter("auth_failures_total", "Wrong passwords.", lambda: front.failed_auths)
    counter("output_limit_closes_total", "Clients closed for not reading.", lambda: front.output_limit_closes)
    counter("defects_total", "Commands that failed unexpectedly and were undone.", lambda: front.defects)
    metrics.counters("commands_total", "Calls of commands.", "command", front.calls)

    gauge("keys", "Keys in all databases.", lambda: sum(db.keys for db in keyspace.databases))
    counter("expired_keys_total", "Keys deleted because their time was over.", lambda: keyspace.expired_keys)
    gauge("cache_bytes", "Estimated memory of live values.", lambda: keyspace.memory)

    counter("entries_total", "Log entries proposed.", lambda: sum(host.entries for host in hosts))
    gauge("applied_index", "Index of the last entry applied.", lambda: sum(host.applied for host in hosts))
    gauge("log_entries_unapplied", "Entries on their way.", lambda: sum(one.group.last - one.applied for one in hosts))
    gauge("memtable_bytes", "Memory of changes that are not frozen yet.", lambda: rows.active_bytes)
    gauge("frozen_bytes", "Memory of changes on their way to disk.", lambda: rows.frozen_bytes)
    gauge("frozen_tables", "Tables of changes on their way to disk.", lambda: len(rows.frozen))
    counter("flushes_total", "Tables written to data.db.", lambda: store.regions.flushes.count)
    counter("checksum_mismatches_total", "Comparisons that found replicas to differ.", lambda: control.mismatches)
    counter("splits_total", "Regions split at this store's request.", lambda: control.splitter.done)
    counter("merges_total", "Regions merged at this store's request.", lambda: control.merger.done)
    gauge("growing_refused", "1 while the disk is nearly full.", lambda: int(store.regions.growing_refused))

    scheduling = store.scheduling
    if scheduling is not None:
        gauge(
            "scheduler_heard",
            "1 while the scheduler takes what this store tells it.",
            lambda: int(scheduling.complaints.problem is None),
        )
        orders = scheduling.orders
        assert orders is not None, "it's put together"
        counter("orders_done_total", "Steps that the scheduler ordered and this store began.", lambda: orders.done)
        counter("orders_undone_total", "Steps that it ordered and this store refused.", lambda: orders.undone)

    if store.cluster is not None:
        watch = store.cluster.clock_watch
        gauge(
            "clock_offset_seconds",
            "How far this store's clock is ahead of the median of the stores'; 0 while that isn't known.",
            lambda: (watch.offset_ms or 0) / 1000,
        )
        counter("clock_hand_overs_total", "Times this leader handed over for its clock.", lambda: watch.hand_overs)
        links = store.cluster.peering.figures
        gauge("gateways", "Gateways that are connected.", lambda: links.gateways_in)
        counter("snapshots_sent_total", "Copies of the data that another store took.", lambda: links.snapshots_out)
        counter("snapshots_received_total", "Copies of the data that came whole.", lambda: links.snapshots_in)
        counter("snapshots_failed_total", "Copies given up on their way out.", lambda: links.snapshots_failed)
