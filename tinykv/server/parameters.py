"""
The parameters of one store, under Redis's names: what CONFIG GET shows and CONFIG SET changes.

They come in three sorts:

    - I{live}: a change has its effect at once, until the store is started again (the file is the operator's);
    - I{kept}: they're shown as they were set and have no effect, because what they steer works another way here or
      isn't there yet. A value that would promise something which isn't so is refused instead;
    - I{fixed}: they follow from the configuration file.

A front without data, a gateway, has none of those that are about it, as L{STORES_OWN} says.

The settings that commands on data go by aren't here: they're the same on every replica and change through the log
(L{tinykv.redis.settings}).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tinykv.config import StoreConfig
from tinykv.server import parameter_kinds as kinds
from tinykv.server.parameter_kinds import INT_MAX, LONG_MAX, UINT_MAX, Kind

if TYPE_CHECKING:
    from tinykv.server.front import Front

Change = Callable[["Front", bytes], None]


@dataclass(frozen=True, slots=True)
class Parameter:
    """
    One parameter.

    @ivar default: Its value as CONFIG GET shows it; where it follows from the configuration, L{Parameters} sets it.
    @ivar kind: Checks what it's set to; None where it can't be set.
    @ivar change: Gives a change its effect; None where it has none.
    """

    default: bytes
    kind: Kind | None = None
    change: Change | None = None


#: Older names for the same parameter.
ALIASES = {
    "busy-reply-threshold": "lua-time-limit",
    "min-slaves-max-lag": "min-replicas-max-lag",
    "min-slaves-to-write": "min-replicas-to-write",
    "slave-priority": "replica-priority",
    "slave-read-only": "replica-read-only",
    "slave-serve-stale-data": "replica-serve-stale-data",
    "slaveof": "replicaof",
}

_POLICIES = (
    "volatile-lru volatile-lfu volatile-random volatile-ttl allkeys-lru allkeys-lfu allkeys-random noeviction"
).split()

_NO_EVICTION = "nothing is evicted here: data that memory_budget has no room for is read from disk"
_CLIENT_LIMITS = "what a client may hold is bounded one by one: client-output-buffer-limit"
_NO_REPLICAS = "stores replicate by majority, not as replicas of a master"
_ALWAYS_LOGGED = "every write is on disk before its reply"


def _set_maxclients(front: Front, value: bytes) -> None:
    front.maxclients = int(value)


def _set_timeout(front: Front, value: bytes) -> None:
    front.timeout = float(value)


def _set_keepalive(front: Front, value: bytes) -> None:
    front.tcp_keepalive = float(value)


def _set_password(front: Front, value: bytes) -> None:
    front.password = value


def _set_query_limit(front: Front, value: bytes) -> None:
    front.set_limits(replace(front.limits, query_buffer_bytes=int(value)))


def _set_output_limit(front: Front, value: bytes) -> None:
    words = value.split()
    if b"normal" in words:
        # 0 is "no limit" for Redis.
        front.output_buffer_limit = int(words[words.index(b"normal") + 1]) or sys.maxsize


_SWITCH = kinds.switch
_COUNT = kinds.integer(0, INT_MAX)
_LONG = kinds.integer(0, LONG_MAX)

TABLE: dict[str, Parameter] = {
    # Live.
    "client-output-buffer-limit": Parameter(b"", kinds.output_limits, _set_output_limit),
    "client-query-buffer-limit": Parameter(b"", kinds.memory(1 << 20, LONG_MAX), _set_query_limit),
    "maxclients": Parameter(b"", kinds.integer(1, UINT_MAX), _set_maxclients),
    "requirepass": Parameter(b"", kinds.any_text, _set_password),
    "tcp-keepalive": Parameter(b"", _COUNT, _set_keepalive),
    "timeout": Parameter(b"", _COUNT, _set_timeout),
    # Kept.
    "acllog-max-len": Parameter(b"128", _LONG),
    "active-expire-effort": Parameter(b"", kinds.integer(1, 10)),
    "activedefrag": Parameter(b"no", kinds.only(_SWITCH, b"no", "there's no memory of that kind to defragment")),
    "activerehashing": Parameter(b"yes", _SWITCH),
    "auto-aof-rewrite-min-size": Parameter(b"67108864", kinds.memory(0, LONG_MAX)),
    "auto-aof-rewrite-percentage": Parameter(b"100", _COUNT),
    "dynamic-hz": Parameter(b"yes", _SWITCH),
    "hll-sparse-max-bytes": Parameter(b"3000", kinds.memory(0, LONG_MAX)),
    "hz": Parameter(b"", kinds.integer(0, INT_MAX)),
    "latency-monitor-threshold": Parameter(b"0", _LONG),
    "latency-tracking": Parameter(b"yes", _SWITCH),
    "latency-tracking-info-percentiles": Parameter(b"50 99 99.9", kinds.percentiles),
    "lazyfree-lazy-eviction": Parameter(b"no", _SWITCH),
    "lazyfree-lazy-expire": Parameter(b"no", _SWITCH),
    "lazyfree-lazy-server-del": Parameter(b"no", _SWITCH),
    "lazyfree-lazy-user-del": Parameter(b"no", _SWITCH),
    "lazyfree-lazy-user-flush": Parameter(b"no", _SWITCH),
    "lfu-decay-time": Parameter(b"1", _COUNT),
    "lfu-log-factor": Parameter(b"10", _COUNT),
    "loglevel": Parameter(b"notice", kinds.choice("debug", "verbose", "notice", "warning")),
    "lua-time-limit": Parameter(b"5000", _LONG),
    "maxmemory": Parameter(b"0", kinds.only(kinds.memory(0, LONG_MAX), b"0", _NO_EVICTION)),
    "maxmemory-clients": Parameter(b"0", kinds.only(kinds.memory(0, LONG_MAX), b"0", _CLIENT_LIMITS)),
    "maxmemory-policy": Parameter(b"noeviction", kinds.choice(*_POLICIES)),
    "maxmemory-samples": Parameter(b"5", kinds.integer(1, INT_MAX)),
    "min-replicas-max-lag": Parameter(b"10", _COUNT),
    "min-replicas-to-write": Parameter(b"0", kinds.only(_COUNT, b"0", _NO_REPLICAS)),
    "no-appendfsync-on-rewrite": Parameter(b"no", _SWITCH),
    "notify-keyspace-events": Parameter(b"", kinds.events),
    "rdbchecksum": Parameter(b"yes"),
    "rdbcompression": Parameter(b"yes", _SWITCH),
    "repl-backlog-size": Parameter(b"1048576", kinds.memory(1, LONG_MAX)),
    "repl-timeout": Parameter(b"60", kinds.integer(1, INT_MAX)),
    "replica-priority": Parameter(b"100", _COUNT),
    "replica-read-only": Parameter(b"yes", _SWITCH),
    "replica-serve-stale-data": Parameter(b"yes", _SWITCH),
    "sanitize-dump-payload": Parameter(b"no", kinds.choice("no", "yes", "clients")),
    "save": Parameter(b"", kinds.save_points),
    "slowlog-log-slower-than": Parameter(b"10000", kinds.integer(-1, LONG_MAX)),
    "slowlog-max-len": Parameter(b"128", _LONG),
    "stop-writes-on-bgsave-error": Parameter(b"yes", _SWITCH),
    "stream-node-max-bytes": Parameter(b"4096", kinds.memory(0, LONG_MAX)),
    "stream-node-max-entries": Parameter(b"100", _LONG),
    "tracking-table-max-keys": Parameter(b"1000000", _LONG),
    # Fixed.
    "appendfsync": Parameter(b""),
    "appendonly": Parameter(b"yes", kinds.only(_SWITCH, b"yes", _ALWAYS_LOGGED)),
    "bind": Parameter(b""),
    "cluster-enabled": Parameter(b"no"),
    "daemonize": Parameter(b"no"),
    "databases": Parameter(b""),
    "dir": Parameter(b""),
    "enable-debug-command": Parameter(b"no"),
    "io-threads": Parameter(b"1"),
    "logfile": Parameter(b""),
    "pidfile": Parameter(b""),
    "port": Parameter(b""),
    "protected-mode": Parameter(b""),
    "replicaof": Parameter(b""),
    "supervised": Parameter(b"no"),
    "tcp-backlog": Parameter(b""),
    "tls-auth-clients": Parameter(b""),
    "tls-ca-cert-file": Parameter(b""),
    "tls-cert-file": Parameter(b""),
    "tls-key-file": Parameter(b""),
    "tls-port": Parameter(b""),
    "unixsocket": Parameter(b""),
}


#: What only a store has a value for.
STORES_OWN = frozenset(("active-expire-effort", "appendfsync", "dir", "hz"))


class Parameters:
    """
    The values in force.

    @ivar values: By name; L{ALIASES} are not among them.
    """

    def __init__(self, front: Front) -> None:
        config = front.config
        self._front = front
        self.values = {name: parameter.default for name, parameter in TABLE.items() if name not in STORES_OWN}
        derived: dict[str, object] = {
            "bind": " ".join(config.bind),
            "client-output-buffer-limit": (
                f"normal {config.output_buffer_limit} 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"
            ),
            "client-query-buffer-limit": config.query_buffer_limit,
            "databases": config.databases,
            "maxclients": config.maxclients,
            "port": config.port,
            "protected-mode": "yes" if config.protected_mode else "no",
            "requirepass": config.requirepass,
            "tcp-backlog": config.backlog,
            "tcp-keepalive": round(config.tcp_keepalive),
            "timeout": round(config.timeout),
            "tls-auth-clients": config.tls_auth_clients,
            "tls-ca-cert-file": config.tls_ca or "",
            "tls-cert-file": config.tls_cert or "",
            "tls-key-file": config.tls_key or "",
            "tls-port": config.tls_port or 0,
        }
        if isinstance(config, StoreConfig):
            derived |= {
                "active-expire-effort": config.active_expire_effort,
                "appendfsync": "always" if config.durability == "fsync" else "everysec",
                "dir": config.data_dir.absolute(),
                "hz": config.hz,
            }
        self.values.update({name: str(value).encode() for name, value in derived.items()})

    def change(self, name: str, value: bytes) -> None:
        """Set one to a value that its kind has checked."""
        change = TABLE[name].change
        if name == "client-output-buffer-limit":
            value = _merged_limits(self.values[name], value)
        self.values[name] = value
        if change is not None:
            change(self._front, value)


def _merged_limits(old: bytes, new: bytes) -> bytes:
    """Change the limits of the client classes that are named, and keep the others'."""
    words = old.split()
    limits = {words[place]: words[place : place + 4] for place in range(0, len(words), 4)}
    words = new.split()
    limits.update({words[place]: words[place : place + 4] for place in range(0, len(words), 4)})
    return b" ".join(word for limit in limits.values() for word in limit)
