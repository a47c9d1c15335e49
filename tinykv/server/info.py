"""
INFO: the store's figures, by sections, under the names that Redis gives them.

Where this store has nothing of the kind, the figure says what a Redis without it says (no replicas, nothing evicted).
What is about all the data (the section keyspace) is asked of the regions, wherever they are.

@see: U{https://redis.io/commands/info/}
"""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Callable, Iterable, Iterator

import tinykv
from tinykv.config import StoreConfig
from tinykv.resp.splitting import elements_of
from tinykv.server.cluster_nodes import master_of
from tinykv.server.connections import REDIS_VERSION
from tinykv.server.front import Front

Figures = Iterator[tuple[str, object]]


def wanted(sections: Iterable[bytes]) -> set[str]:
    """
    Name the sections that are asked for, unknown ones among them.

    @param sections: Their names; C{default}, C{all} and C{everything} stand for several, and none at all for the first
        of these.
    """
    chosen: set[str] = set()
    names = [name.decode("latin-1").lower() for name in sections] or ["default"]
    for name in names:
        if name in ("all", "everything"):
            chosen.update(SECTIONS)
        elif name == "default":
            chosen.update(name for name in SECTIONS if name not in ("commandstats", "latencystats"))
        else:
            chosen.add(name)
    return chosen


def text(front: Front, sections: set[str], databases: bytes | None = None, *, cluster: bool = False) -> bytes:
    """
    Give the text of some sections.

    @param databases: What the regions say of their keys; None for what is known here, old as that may be.
    @param cluster: Whether a client of the cluster port asks.
    """
    told = _told_in_cluster(front) if cluster else {}
    parts: list[str] = []
    for name, (title, figures) in SECTIONS.items():
        if name in sections:
            found = figures(front) if name != "keyspace" or databases is None else _databases(databases)
            lines = [f"# {title}", *(f"{figure}:{told.get(figure, value)}" for figure, value in found)]
            if name == "replication" and "role" in told:
                lines[2:2] = [f"{figure}:{value}" for figure, value in _replica(front)]
            parts.append("\r\n".join([*lines, ""]))
    return "\r\n".join(parts).encode()


def _told_in_cluster(front: Front) -> dict[str, object]:
    """Give what differs on the port of a cluster's node."""
    told: dict[str, object] = {
        "redis_mode": "cluster", "tcp_port": front.ports.get("cluster", 0), "cluster_enabled": 1
    }
    if front.slots is not None and master_of(front.slots) is not None:
        told["role"] = "slave"
    return told


def resident_bytes() -> int:
    """Give the memory that the process takes."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _server(front: Front) -> Figures:
    uptime = max(0, int(front.now() - front.started))
    system = os.uname()
    yield "redis_version", REDIS_VERSION.decode()
    yield "redis_git_sha1", "00000000"
    yield "redis_git_dirty", 0
    yield "redis_build_id", "0"
    yield "redis_mode", "standalone"
    yield "tinykv_version", tinykv.__version__
    yield "os", f"{system.sysname} {system.release} {system.machine}"
    yield "arch_bits", 64 if sys.maxsize > 1 << 32 else 32
    yield "monotonic_clock", "POSIX clock_gettime"
    yield "multiplexing_api", type(front.clock).__name__.removesuffix("Reactor").lower()
    yield "python_version", platform.python_version()
    yield "process_id", os.getpid()
    yield "process_supervised", "no"
    yield "run_id", front.run_id
    yield "tcp_port", front.ports.get("resp", front.config.port)
    yield "server_time_usec", int(front.now() * 1_000_000)
    yield "uptime_in_seconds", uptime
    yield "uptime_in_days", uptime // 86400
    if isinstance(front.config, StoreConfig):
        yield "hz", front.config.hz
        yield "configured_hz", front.config.hz
    yield "executable", sys.executable
    yield "config_file", ""


def _clients(front: Front) -> Figures:
    sessions = front.sessions.values()
    yield "connected_clients", len(sessions)
    yield "cluster_connections", 0
    yield "maxclients", front.maxclients
    yield "client_recent_max_input_buffer", max((session.query_buffer for session in sessions), default=0)
    yield "client_recent_max_output_buffer", max((session.output_buffer for session in sessions), default=0)
    yield "blocked_clients", len(front.host.execution.waiters)
    yield "tracking_clients", 0
    yield "clients_in_timeout_table", front.timed_waits


def _memory(front: Front) -> Figures:
    keyspace = front.host.execution.keyspace
    used = front.memory
    resident = resident_bytes()
    front.memory_peak = peak = max(front.memory_peak, used)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield "used_memory", used
    yield "used_memory_human", _human(used)
    yield "used_memory_rss", resident
    yield "used_memory_rss_human", _human(resident)
    yield "used_memory_peak", peak
    yield "used_memory_peak_human", _human(peak)
    yield "used_memory_dataset", keyspace.memory
    yield "total_system_memory", total
    yield "total_system_memory_human", _human(total)
    yield "used_memory_lua", 0
    yield "used_memory_scripts", 0
    yield "number_of_cached_scripts", 0
    yield "maxmemory", 0
    yield "maxmemory_human", "0B"
    yield "maxmemory_policy", front.parameters.values["maxmemory-policy"].decode()
    yield "memory_budget", keyspace.budget
    yield "mem_fragmentation_ratio", f"{resident / max(1, used):.2f}"
    yield "mem_not_counted_for_evict", 0
    yield "mem_replication_backlog", 0
    yield "mem_clients_normal", sum(one.query_buffer + one.output_buffer for one in front.sessions.values())
    yield "mem_aof_buffer", front.host.table_bytes
    yield "mem_allocator", "libc"
    yield "active_defrag_running", 0
    yield "lazyfree_pending_objects", 0
    yield "lazyfreed_objects", 0


def _human(size: int) -> str:
    for unit, letter in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")):
        if size >= unit:
            return f"{size / unit:.2f}{letter}"
    return f"{size}B"


def _persistence(front: Front) -> Figures:
    yield "loading", 0
    yield "async_loading", 0
    yield "rdb_changes_since_last_save", front.host.execution.keyspace.changes
    yield "rdb_bgsave_in_progress", 0
    yield "rdb_last_save_time", int(front.started)
    yield "rdb_last_bgsave_status", "ok"
    yield "rdb_last_bgsave_time_sec", -1
    yield "rdb_current_bgsave_time_sec", -1
    yield "rdb_saves", 0
    yield "aof_enabled", 1
    yield "aof_rewrite_in_progress", 0
    yield "aof_rewrite_scheduled", 0
    yield "aof_last_rewrite_time_sec", -1
    yield "aof_current_rewrite_time_sec", -1
    yield "aof_last_bgrewrite_status", "ok"
    yield "aof_last_write_status", "ok"


def _stats(front: Front) -> Figures:
    yield "total_connections_received", front.accepted
    yield "total_commands_processed", front.commands
    yield "instantaneous_ops_per_sec", round(front.operations_per_second)
    yield "total_net_input_bytes", front.bytes_in
    yield "total_net_output_bytes", front.bytes_out
    yield "instantaneous_input_kbps", f"{front.bytes_in_per_second / 1024:.2f}"
    yield "instantaneous_output_kbps", f"{front.bytes_out_per_second / 1024:.2f}"
    yield "rejected_connections", front.rejected
    yield "sync_full", 0
    yield "sync_partial_ok", 0
    yield "sync_partial_err", 0
    yield "expired_keys", front.host.execution.keyspace.expired_keys
    yield "expired_stale_perc", "0.00"
    yield "expired_time_cap_reached_count", 0
    yield "evicted_keys", 0
    yield "evicted_clients", 0
    yield "keyspace_hits", front.hits
    yield "keyspace_misses", front.host.execution.keyspace.misses
    yield "pubsub_channels", 0
    yield "pubsub_patterns", 0
    yield "latest_fork_usec", 0
    yield "total_forks", 0
    yield "tracking_total_keys", 0
    yield "tracking_total_items", 0
    yield "tracking_total_prefixes", 0
    yield "unexpected_error_replies", front.defects
    yield "total_error_replies", front.errors.total


def _replication(front: Front) -> Figures:
    yield "role", "master"
    yield "connected_slaves", 0
    yield "master_failover_state", "no-failover"
    yield "master_replid", front.run_id
    yield "master_replid2", "0" * 40
    yield "master_repl_offset", 0
    yield "second_repl_offset", -1
    yield "repl_backlog_active", 0
    yield "repl_backlog_size", int(front.parameters.values["repl-backlog-size"])
    yield "repl_backlog_first_byte_offset", 0
    yield "repl_backlog_histlen", 0


def _replica(front: Front) -> Figures:
    """Say whose replica this store is, to a client of the cluster port."""
    master = None if front.slots is None else master_of(front.slots)
    if master is not None:
        yield "master_host", master.host.decode()
        yield "master_port", master.port
        yield "master_link_status", "up" if master.up else "down"
        yield "master_last_io_seconds_ago", 0
        yield "master_sync_in_progress", 0
        yield "slave_read_repl_offset", 0
        yield "slave_repl_offset", 0
        yield "slave_priority", int(front.parameters.values["replica-priority"])
        yield "slave_read_only", 1
        yield "replica_announced", 1


def _cpu(front: Front) -> Figures:
    own = resource.getrusage(resource.RUSAGE_SELF)
    thread = resource.getrusage(resource.RUSAGE_THREAD)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    yield "used_cpu_sys", f"{own.ru_stime:.6f}"
    yield "used_cpu_user", f"{own.ru_utime:.6f}"
    yield "used_cpu_sys_children", f"{children.ru_stime:.6f}"
    yield "used_cpu_user_children", f"{children.ru_utime:.6f}"
    yield "used_cpu_sys_main_thread", f"{thread.ru_stime:.6f}"
    yield "used_cpu_user_main_thread", f"{thread.ru_utime:.6f}"


def _nothing(front: Front) -> Figures:
    yield from ()


def _commandstats(front: Front) -> Figures:
    for route in front.routes:
        if route.calls or route.rejected or route.failed:
            # One call in some is timed, and stands for the others.
            each = route.timed_seconds * 1e6 / max(1, route.timed_calls)
            times = f"usec={round(each * route.calls)},usec_per_call={each:.2f}"
            counts = f"calls={route.calls},{times},rejected_calls={route.rejected},failed_calls={route.failed}"
            yield f"cmdstat_{route.name}", counts


def _errorstats(front: Front) -> Figures:
    for code, count in front.errors.by_code.items():
        yield f"errorstat_{code.decode('latin-1')}", f"count={count}"


def _cluster(front: Front) -> Figures:
    yield "cluster_enabled", 0


def _keyspace(front: Front) -> Figures:
    return _counted((db.keys, db.expiring) for db in front.host.execution.keyspace.databases)


def _databases(answer: bytes) -> Figures:
    """Give the figures of what the regions say; if they say none, why."""
    if answer.startswith(b"-"):
        yield "keyspace_error", answer[1:-2].decode("latin-1")
        return
    counts = [int(element[1:]) for element in elements_of(answer)]
    yield from _counted(zip(counts[::2], counts[1::2], strict=True))


def _counted(databases: Iterable[tuple[int, int]]) -> Figures:
    for index, (keys, expiring) in enumerate(databases):
        if keys:
            yield f"db{index}", f"keys={keys},expires={expiring},avg_ttl=0"


#: The sections by name, in Redis's order, each with its title.
SECTIONS: dict[str, tuple[str, Callable[[Front], Figures]]] = {
    "server": ("Server", _server),
    "clients": ("Clients", _clients),
    "memory": ("Memory", _memory),
    "persistence": ("Persistence", _persistence),
    "stats": ("Stats", _stats),
    "replication": ("Replication", _replication),
    "cpu": ("CPU", _cpu),
    "modules": ("Modules", _nothing),
    "commandstats": ("Commandstats", _commandstats),
    "errorstats": ("Errorstats", _errorstats),
    "latencystats": ("Latencystats", _nothing),
    "cluster": ("Cluster", _cluster),
    "keyspace": ("Keyspace", _keyspace),
}
