"""
The options of a store: INI text becomes one frozen value that was checked once.

L{StoreConfig} is the table; what L{tinykv.config_options} makes of it are the parser, the checks and `etc/tinykv.ini`,
which a test holds equal to L{reference}.

Parts of the store receive the few values that they need, never the whole value; nothing reads configuration
from the environment or from a global.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

from tinykv import config_values as kinds
from tinykv.config_checks import check_ports, check_secret, check_tls_port, check_together
from tinykv.config_options import ConfigError as ConfigError
from tinykv.config_options import OptionTable
from tinykv.config_options import option as _option
from tinykv.config_values import InitialStore
from tinykv.raft.config import RaftConfig

KB, MB, GB = 1 << 10, 1 << 20, 1 << 30

#: A group behaves by default as its own defaults say.
_RAFT = RaftConfig()

#: How many stores a cluster may begin with.
INITIAL_STORES = (1, 3, 5, 7)

#: The sections of the file in their order, each with what it's about.
SECTIONS = {
    "store": "The store itself: its folder and its log.",
    "resp": "The port that Redis clients use.",
    "tls": "A second port for Redis clients, encrypted. Certificate and key are read again on SIGHUP.",
    "http": "Status, health and metrics over HTTP.",
    "cluster": "Several stores that hold the same data: who they are, and the port where they meet.",
    "schedule": "The scheduler, which knows all stores of a cluster and decides what each of them holds.",
    "replication": "How stores keep up with each other. All stores of a cluster need the same times.",
    "storage": "Memory, disk and durability.",
    "limits": "What one client may ask for. Past a limit there is an error, or the client is closed.",
}


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """Everything that may be told to a store. Times are in seconds, sizes in bytes."""

    data_dir: Path = _option(
        "store", kinds.PATH, Path("data"),
        """Folder that holds everything the store keeps. Made if it's missing. One store uses it at a time.
        A relative path starts at the folder of this file.""",
    )
    cluster_name: str = _option(
        "store", kinds.text("name", r"[A-Za-z0-9._-]{1,64}", "1 to 64 letters, digits, . - or _"), "tinykv",
        """Name of the installation, shown in logs, /status and the label of metrics. Stores of one cluster have the
        same: they refuse others.""",
    )
    log_level: str = _option(
        "store", kinds.choice("debug", "info", "warn", "error", "critical"), "info",
        """Least level of the log lines that are written. At debug a busy store writes more log than data.""",
    )
    log_format: str = _option(
        "store", kinds.choice("text", "json"), "text",
        """Form of the log on standard error: lines for people, or one JSON object a line for a collector.""",
    )
    databases: int = _option(
        "store", kinds.integer(1, 16), 16,
        """Number of databases that SELECT reaches. Data of a database past it stays on disk and can't be
        reached.""",
    )
    hz: int = _option(
        "store", kinds.integer(1, 100), 10,
        """Times a second that the store looks for expired keys and idle clients. More frees memory sooner
        and costs processor time while idle.""",
    )
    active_expire_effort: int = _option(
        "store", kinds.integer(1, 10), 1,
        """How many expired keys one such look may delete: 100 times this. Too few, and keys that expire
        faster than that stay on disk, though no client sees them.""",
    )

    bind: tuple[str, ...] = _option(
        "resp", kinds.ADDRESSES, ("127.0.0.1",),
        """Addresses of this host on which clients are served, by the plain, the cluster and the TLS port.
        0.0.0.0 is every IPv4 address. Not used for a socket that systemd passes.""",
    )
    port: int = _option(
        "resp", kinds.PORT, 6379,
        """Port for Redis clients. Not used for a socket that systemd passes.""",
    )
    advertise: tuple[str, int] | None = _option(
        "resp", kinds.ADVERTISED, None,
        """Address that others are told to reach this store by. Needed behind address translation; empty
        means the first address of bind with the port.""",
    )
    cluster_port: int | None = _option(
        "resp", kinds.OPTIONAL_PORT, 6380,
        """Port for clients that speak Redis Cluster: they learn there which store leads which slots, and go to it by
        themselves. It's on the addresses of bind. Several stores on one host need different ones.""",
    )
    cluster_advertise: tuple[str, int] | None = _option(
        "resp", kinds.ADVERTISED, None,
        """Address that such clients are told to find this store by, also by the other stores. Needed behind address
        translation; empty means the first address of bind, or where that is every address of this host the one that
        other stores dial, with cluster_port.""",
    )
    requirepass: str = _option(
        "resp", kinds.text("text"), "",
        """Password of the default user; empty means none. Whoever can read this file can read it: keep the
        file at mode 0640.""",
        secret=True,
    )
    protected_mode: bool = _option(
        "resp", kinds.SWITCH, True,
        """Refuse to start when bind has an address that other hosts can reach and requirepass is empty.
        With no, all data is open to whoever reaches the port.""",
    )
    maxclients: int = _option(
        "resp", kinds.integer(1, 1_000_000), 10_000,
        """Most clients at a time; a further one gets an error and is closed. The process needs as many open
        files and some hundred more.""",
    )
    timeout: float = _option(
        "resp", kinds.duration(0, 10 * 365 * 86400), 0.0,
        """Close a client that has sent nothing for this long; 0 means never. Subscribers and blocked
        clients stay.""",
    )
    tcp_keepalive: float = _option(
        "resp", kinds.duration(0, 86400), 300.0,
        """Time between the probes by which a client that vanished is found; 0 turns them off, and such
        clients stay until the store is restarted.""",
    )
    backlog: int = _option(
        "resp", kinds.integer(1, 65535), 511,
        """Connections that may wait to be accepted. The system may lower it (net.core.somaxconn).""",
    )

    tls_port: int | None = _option(
        "tls", kinds.OPTIONAL_PORT, None,
        """Port for Redis clients over TLS. Needs tls_cert and tls_key.""",
    )
    tls_cert: Path | None = _option(
        "tls", kinds.OPTIONAL_PATH, None,
        """File with the certificate and its chain, PEM.""",
    )
    tls_key: Path | None = _option(
        "tls", kinds.OPTIONAL_PATH, None,
        """File with the private key, PEM, without a passphrase.""",
    )
    tls_ca: Path | None = _option(
        "tls", kinds.OPTIONAL_PATH, None,
        """File with the certificates that vouch for clients, PEM. Needed unless tls_auth_clients is no.""",
    )
    tls_auth_clients: str = _option(
        "tls", kinds.choice("no", "optional", "yes"), "no",
        """Whether a client must show a certificate of tls_ca: never asked, checked if shown, or demanded.""",
    )

    http_bind: str = _option(
        "http", kinds.ADDRESS, "127.0.0.1",
        """Address of the HTTP port. It asks for no password: whoever reaches it reads figures and names,
        but no data.""",
    )
    http_port: int | None = _option(
        "http", kinds.OPTIONAL_PORT, 20180,
        """Port of /status, /healthz and /metrics.""",
    )

    store_id: int = _option(
        "cluster", kinds.integer(1, kinds.STORE_ID_MAX), 1,
        """Number of this store, which no other store of its cluster has or ever had. The folder remembers it. A
        store that lost its folder comes back under a new number, or the others refuse it.""",
    )
    initial_stores: tuple[InitialStore, ...] = _option(
        "cluster", kinds.STORES, (),
        """The stores that the cluster begins with, this one among them, each with its address for other stores:
        1@a.example:20160, 2@b.example:20160, 3@c.example:20160. It must be the same on all of them. 1, 3, 5 or 7
        stores: half of them, rounded down, may fail. Empty means a store on its own, without a port for others, or,
        with schedulers, one that these tell what it belongs to. Who belongs to the cluster later is changed by
        `tinykv ctl`; the numbers here stay, also on stores that join, for the cluster is known by them.""",
    )
    initial_regions: int = _option(
        "cluster", kinds.integer(1, 1024), 1,
        """Into how many regions the 16384 slots are cut when the cluster begins, each with a leader and a log of
        its own, so that several stores lead at once. It must be the same on all of them, and stays. With more than one,
        commands on keys of several regions are refused unless they may be cut by key; docs/compatibility.md says
        which. With schedulers and no initial_stores it's the scheduler's option of this name that counts.""",
    )
    split_by_size: str = _option(
        "cluster", kinds.choice("auto", "yes", "no"), "auto",
        """Whether this store splits regions that it leads and that have grown larger than region_max_size. auto: where
        the cluster began with several (initial_regions), since commands on keys of several regions are refused;
        yes: always. `tinykv ctl split` does it whatever this says.""",
    )
    region_max_size: int = _option(
        "cluster", kinds.size(MB, 1 << 50), 144 * MB,
        """How many bytes of data a region may hold, as they are on disk, before it's split. Slots aren't cut, so one
        slot's data stays together however large it is.""",
    )
    region_split_size: int = _option(
        "cluster", kinds.size(64 * KB, 1 << 50), 96 * MB,
        """How many bytes the parts have that it's split in, at most if no slot has more. Less than region_max_size.""",
    )
    split_check_interval: float = _option(
        "cluster", kinds.duration(0.1, 3600), 10.0,
        """How often is looked whether a region has grown too large. Its load is looked at five times as often.""",
    )
    split_by_load: str = _option(
        "cluster", kinds.choice("auto", "yes", "no"), "auto",
        """Whether this store splits regions that it leads and that do more than split_load_threshold, so that other
        stores can lead the parts. auto: where the cluster began with several regions (initial_regions) and has several
        stores; yes: always.""",
    )
    split_load_threshold: int = _option(
        "cluster", kinds.integer(10, 10_000_000), 20_000,
        """How much a region may do a second before it's split: each command that reads counts as one, each that writes
        as two. It should be a good part of what a store can do, some 40000 to 60000. Less spreads the load more evenly,
        more keeps regions few, whose writes are made durable together. Slots aren't cut, so what keys of one slot are
        asked for stays together. Where the scheduler has chosen one (`tinykv ctl schedule config`), that counts.""",
    )
    join: bool = _option(
        "cluster", kinds.SWITCH, False,
        """yes: this store isn't one of initial_stores, with which the cluster began; with an empty folder it waits
        until `tinykv ctl add-store` adds it. It stays so afterwards.""",
    )
    cluster_secret: str = _option(
        "cluster", kinds.SECRET, "",
        """What all stores of the cluster know and nobody else, at least 16 bytes: by it they prove to each other who
        they are. Needed with initial_stores or schedulers, here or in cluster_secret_file. Whoever has it, and
        reaches a peer port, can read and change all data.""",
        secret=True,
    )
    cluster_secret_file: Path | None = _option(
        "cluster", kinds.OPTIONAL_PATH, None,
        """File with that secret instead, as of `openssl rand -hex 32`; blanks and line ends around it don't count.
        It's refused if everybody on this host can read it.""",
    )
    peer_bind: str = _option(
        "cluster", kinds.ADDRESS, "127.0.0.1",
        """Address of this host on which other stores are served. On several hosts it's one that the others
        reach; 0.0.0.0 is every IPv4 address. Without peer_tls_cert all data crosses that network readable.""",
    )
    peer_port: int = _option(
        "cluster", kinds.PEER_PORT, 20160,
        """Port for other stores. It's open only if there's initial_stores or schedulers.""",
    )
    peer_advertise: str = _option(
        "cluster", kinds.PEER_ADDRESS, "",
        """Address that other stores are told to reach this one by. Needed behind address translation, and
        after a move; empty means what initial_stores says of this store, else peer_bind with peer_port.""",
    )
    peer_tls_cert: Path | None = _option(
        "cluster", kinds.OPTIONAL_PATH, None,
        """File with this store's certificate for other stores and its chain, PEM. With it the stores' links are
        encrypted, and each side demands a certificate; all stores have one or none has.""",
    )
    peer_tls_key: Path | None = _option(
        "cluster", kinds.OPTIONAL_PATH, None,
        """File with its private key, PEM, without a passphrase.""",
    )
    peer_tls_ca: Path | None = _option(
        "cluster", kinds.OPTIONAL_PATH, None,
        """File with the certificates that vouch for all stores, PEM: the cluster's own authority, never a
        public one, since host names aren't compared.""",
    )

    schedulers: tuple[str, ...] = _option(
        "schedule", kinds.PEER_ADDRESSES, (),
        """The members of the scheduler, each with the address of its API: a.example:2379, b.example:2379. One that
        answers is enough to find the others. Empty means that no scheduler is told of this store. A store that has
        this and no initial_stores needs nothing else to become part of the cluster.""",
    )
    schedule_token: str = _option(
        "schedule", kinds.SECRET, "",
        """What the scheduler demands (its option token), at least 16 bytes; empty means nothing.""",
        secret=True,
    )
    schedule_token_file: Path | None = _option(
        "schedule", kinds.OPTIONAL_PATH, None,
        """File with that instead; blanks and line ends around it don't count. It's refused if everybody on this host
        can read it.""",
    )
    schedule_tls_ca: Path | None = _option(
        "schedule", kinds.OPTIONAL_PATH, None,
        """File with the certificates that vouch for the scheduler, PEM. With it the scheduler is asked by https, and
        its certificate must name the host that schedulers says.""",
    )
    schedule_tls_cert: Path | None = _option(
        "schedule", kinds.OPTIONAL_PATH, None,
        """File with the certificate that is shown to the scheduler and its chain, PEM; needed where that demands one
        (its option tls_auth_clients).""",
    )
    schedule_tls_key: Path | None = _option(
        "schedule", kinds.OPTIONAL_PATH, None,
        """File with its private key, PEM, without a passphrase.""",
    )
    schedule_heartbeat: float = _option(
        "schedule", kinds.duration(0.1, 15), 10.0,
        """How often the scheduler hears how this store is; of the regions that it leads twice as often, and at once
        when something has changed. Longer than the scheduler's disconnected_after, and it gives the store nothing.""",
    )
    labels: tuple[tuple[str, str], ...] = _option(
        "schedule", kinds.LABELS, (),
        """Where this store is: zone=a, host=h1. The scheduler puts no two replicas into one place where it can be
        avoided; its choice labels says which names count. Stores of one host need the same value of host.""",
    )
    capacity: int = _option(
        "schedule", kinds.size(0, 1 << 50), 0,
        """How much of the disk the scheduler may count on; what several stores of a disk share is said here, one part
        each. 0 means all of it.""",
    )

    tick: float = _option(
        "replication", kinds.duration(0.01, 10), _RAFT.tick,
        """Unit of the times below. Longer ones find a dead leader later; a store that is often late by more
        than one has its leader replaced for nothing.""",
    )
    election_ticks: int = _option(
        "replication", kinds.integer(2, 1000), _RAFT.election_ticks,
        """A store that hasn't heard of a leader for this many ticks, up to twice as many by chance, calls an
        election. Fewer shorten the time without a leader after one died; too few replace leaders that were only
        slow.""",
    )
    heartbeat_ticks: int = _option(
        "replication", kinds.integer(1, 999), _RAFT.heartbeat_ticks,
        """A leader speaks at least this often. Less than election_ticks, best by several times, so that one
        lost message starts no election.""",
    )
    lease_drift_bound: float = _option(
        "replication", kinds.duration(0, 1000), _RAFT.drift_bound,
        """By how much two hosts' clocks may differ in how long they take a lease to be, some election_ticks
        long. If they run apart faster, a read under read_mode = lease can miss the newest write.""",
    )
    max_clock_offset: float = _option(
        "replication", kinds.duration(0.01, 3600), 0.5,
        """How far the clock of the store that leads may be from the median of the stores' clocks: expiries go by
        it. One that is further off says so in its log, and hands over to a store that isn't.""",
    )
    read_mode: str = _option(
        "replication", kinds.choice("lease", "readindex", "local"), "lease",
        """How reads know that they see every write answered before. lease: the leader answers by itself while its
        lease lasts. readindex: it asks a majority first, once for all reads of a moment; no clock is trusted.
        local: each store answers from what it has, also when no store leads. That may be old, but a client sees
        what it wrote at the same store, and nothing whose time is over by that store's clock.""",
    )
    log_entries_max: int = _option(
        "replication", kinds.integer(1000, 1_000_000_000), 100_000,
        """Log entries that are kept for a store that is slow or away. One that is further behind is sent a copy
        of all data instead, which costs more.""",
    )
    log_bytes_max: int = _option(
        "replication", kinds.size(16 * MB), 256 * MB,
        """Size of the log that is kept for such a store, likewise. It takes up that much of the disk.""",
    )
    snapshot_rate: int = _option(
        "replication", kinds.size(64 * KB), 64 * MB,
        """Bytes a second at which copies of the data leave for other stores, all together. Faster ones are done
        sooner, and leave less of disk and network to clients.""",
    )

    memory_budget: int = _option(
        "storage", kinds.size(1 * MB), 512 * MB,
        """Memory for values that are held live; colder ones are read from disk. It doesn't limit the data.
        Too little makes reads wait for the disk; the process needs more than this (docs/operations.md).""",
    )
    memtable_bytes: int = _option(
        "storage", kinds.size(64 * KB, 4 * GB), 64 * MB,
        """Changes that are gathered before they are written to the data file at once. Smaller ones write
        more often and more in sum; larger ones need memory and a longer replay at the start.""",
    )
    frozen_tables: int = _option(
        "storage", kinds.integer(1, 64), 4,
        """Tables of changes that may wait for the data file. When that many wait, writes are refused with
        TRYAGAIN until one is written. Memory grows by memtable_bytes for each.""",
    )
    durability: str = _option(
        "storage", kinds.choice("fsync", "os"), "fsync",
        """fsync: a write is answered when the disk has confirmed it. os: when the operating system has it.
        With os a power loss or a crash of the system may take acknowledged writes of the last seconds; the
        end of the process alone takes none.""",
    )
    ballast_bytes: int = _option(
        "storage", kinds.size(0), 64 * MB,
        """Size of a file that only takes up room. It's given up when the disk is full, so that what is in
        memory can still be written. 0 keeps none.""",
    )
    disk_low_mark: int = _option(
        "storage", kinds.size(0), 256 * MB,
        """Free space of the disk below which commands that make data grow are refused; deleting goes on. 0
        never refuses, until the disk itself does.""",
    )

    inline_limit: int = _option(
        "limits", kinds.size(64, 64 * MB), 64 * KB,
        """Longest line of an inline command, and longest header line of any request.""",
    )
    argument_limit: int = _option(
        "limits", kinds.integer(16, (1 << 31) - 1), 1_048_576,
        """Most arguments of one command; more are a protocol error, and the client is closed.""",
    )
    bulk_limit: int = _option(
        "limits", kinds.size(1 * MB, 4 * GB), 512 * MB,
        """Longest argument (proto-max-bulk-len of Redis); a longer one is a protocol error, and the client is
        closed.""",
    )
    query_buffer_limit: int = _option(
        "limits", kinds.size(1 * MB), 1 * GB,
        """Most bytes of one client that wait to be a whole command, or behind a command that waits (BLPOP); past it
        the client is closed.""",
    )
    output_buffer_limit: int = _option(
        "limits", kinds.size(1 * MB), 256 * MB,
        """Most bytes of replies that wait for one client to read them; past it the client is closed.""",
    )
    unauthenticated_argument_limit: int = _option(
        "limits", kinds.integer(2, 1_048_576), 10,
        """Most arguments of a command before AUTH, while a password is set.""",
    )
    unauthenticated_bulk_limit: int = _option(
        "limits", kinds.size(64, 512 * MB), 16 * KB,
        """Longest argument before AUTH, while a password is set.""",
    )
    pipeline_depth: int = _option(
        "limits", kinds.integer(1, 10_000_000), 10_000,
        """Commands of one client that may await their replies. Past it the store reads nothing more from
        that client until some are answered; nothing is refused.""",
    )
    request_timeout: float = _option(
        "limits", kinds.duration(0.01, 3600), 5.0,
        """How long a command is tried again inside when it did nothing, and how long a reply is awaited.
        After it the client is told TRYAGAIN, or that the outcome is unknown.""",
    )


def checked(config: StoreConfig, source: str) -> StoreConfig:
    """
    Return the configuration if its values fit together.

    @raise ConfigError: Naming the option that is to be changed.
    """
    if config.port == 0 and len(config.bind) > 1:
        raise ConfigError(source, "resp", "port", "can't be 0 with several addresses in bind")
    check_tls_port(config, source)
    if config.cluster_port == 0 and len(config.bind) > 1:
        raise ConfigError(source, "resp", "cluster_port", "can't be 0 with several addresses in bind")
    ports = [
        ("resp", "port", config.port),
        ("resp", "cluster_port", config.cluster_port),
        ("tls", "tls_port", config.tls_port),
    ]
    if config.http_bind in config.bind:
        ports.append(("http", "http_port", config.http_port))
    if is_clustered(config) and config.peer_bind in (*config.bind, config.http_bind):
        ports.append(("cluster", "peer_port", config.peer_port))
    check_ports(ports, source)
    _check_cluster(config, source)
    if config.bulk_limit > config.query_buffer_limit:
        raise ConfigError(source, "limits", "query_buffer_limit", "is less than bulk_limit")
    for address in config.bind:
        check_exposure(config, address, source)
    return config


def _check_cluster(config: StoreConfig, source: str) -> None:
    """
    Check the options that concern other stores.

    @raise ConfigError: They don't fit together.
    """
    longest = (config.election_ticks - 1) * config.tick
    if config.region_split_size >= config.region_max_size:
        raise ConfigError(source, "cluster", "region_split_size", "must be less than region_max_size")
    if config.heartbeat_ticks >= config.election_ticks:
        raise ConfigError(source, "replication", "heartbeat_ticks", "must be less than election_ticks")
    if config.lease_drift_bound >= longest:
        why = f"must be less than election_ticks - 1 ticks ({kinds.render_duration(longest)})"
        raise ConfigError(source, "replication", "lease_drift_bound", why)
    names = ("peer_tls_cert", "peer_tls_key", "peer_tls_ca")
    check_together(config, source, "cluster", names, "is needed too: certificate, key and ca go together")
    check_secret(config, source, "cluster", "cluster_secret")
    _check_schedule(config, source)
    if not config.initial_stores and config.join:
        why = "is needed for join = yes: the stores with which the cluster began"
        if config.schedulers:
            why = "is needed for join = yes; with schedulers alone a store joins by itself, so say join = no"
        raise ConfigError(source, "cluster", "initial_stores", why)
    if not is_clustered(config):
        return
    if not config.cluster_secret and config.cluster_secret_file is None:
        which = "initial_stores" if config.initial_stores else "schedulers"
        why = f"is needed for {which}, or cluster_secret_file: `openssl rand -hex 32` makes a good one"
        raise ConfigError(source, "cluster", "cluster_secret", why)
    if config.initial_stores:
        _check_stores(config, source)
    else:
        _check_reachable(config, source)


def is_clustered(config: StoreConfig) -> bool:
    """Tell whether there are other stores, or will be: then this one has a port for them."""
    return bool(config.initial_stores or config.schedulers)


def _check_schedule(config: StoreConfig, source: str) -> None:
    """
    Check the options that concern the scheduler.

    @raise ConfigError: They don't fit together.
    """
    check_secret(config, source, "schedule", "schedule_token")
    names = ("schedule_tls_cert", "schedule_tls_key", "schedule_tls_ca")
    why = "is needed too: certificate and key go together, and need a ca"
    check_together(config, source, "schedule", names, why, implied=("schedule_tls_ca",))


def _check_reachable(config: StoreConfig, source: str) -> None:
    """
    Refuse an address that no other store could dial.

    @raise ConfigError: It's one.
    """
    if not config.peer_advertise and ip_address(config.peer_bind).is_unspecified:
        why = f"is needed: no other store could reach this one at peer_bind = {config.peer_bind}"
        raise ConfigError(source, "cluster", "peer_advertise", why)


def _check_stores(config: StoreConfig, source: str) -> None:
    """
    Check the list of stores, and what it says of this one.

    @raise ConfigError: It can't be right.
    """
    count = len(config.initial_stores)
    if count % 2 == 0:
        why = (
            f"names {count} stores, of which no more may fail than of {count - 1}, and each one more can;"
            f" begin with {count - 1} or {count + 1}"
        )
        raise ConfigError(source, "cluster", "initial_stores", why)
    if count not in INITIAL_STORES:
        why = f"names {count} stores, all of which every write would go to; begin with at most {INITIAL_STORES[-1]}"
        raise ConfigError(source, "cluster", "initial_stores", why)
    own = own_address(config)
    if config.join:
        if own is not None:
            why = f"names store {config.store_id}, which is this one; a store that joins isn't among them"
            raise ConfigError(source, "cluster", "initial_stores", why)
        _check_reachable(config, source)
        return
    if own is None:
        why = f"doesn't name this store, {config.store_id}; see store_id, and join for a store that is added later"
        raise ConfigError(source, "cluster", "initial_stores", why)
    port = own.rpartition(":")[2]
    if not config.peer_advertise and int(port) != config.peer_port:
        why = (
            f"is {config.peer_port}, but initial_stores has this store at {own}; if that's meant, because ports are"
            f" translated, say peer_advertise = {own}"
        )
        raise ConfigError(source, "cluster", "peer_port", why)


def own_address(config: StoreConfig) -> str | None:
    """Give the address that initial_stores has of this store; None if it doesn't name it."""
    return dict(config.initial_stores).get(config.store_id)


class Exposed(Protocol):
    """What decides whether clients may be served on an address."""

    @property
    def protected_mode(self) -> bool:
        """Whether to refuse what is open to everybody."""

    @property
    def requirepass(self) -> str:
        """The password; empty for none."""


def check_exposure(config: Exposed, address: str, source: str) -> None:
    """
    Refuse to serve clients on an address that other hosts reach, without a password, in protected mode.

    It's called for every address of bind, and for sockets that systemd passes, whose address is known late.

    @raise ConfigError: If it's refused, saying what the choices are.
    """
    if config.protected_mode and not config.requirepass and not ip_address(address).is_loopback:
        raise ConfigError(
            source,
            "resp",
            "bind",
            f"{address} can be reached by other hosts, and requirepass is empty. Set requirepass, or bind to"
            " 127.0.0.1, or say protected_mode = no to serve everybody",
        )


TABLE = OptionTable(
    StoreConfig,
    SECTIONS,
    checked,
    (
        "# Options of a TinyKV store, each with its default: take away the '#' before a name to change it.",
        "# Sizes: 65536, 64kb, 256mb, 1gb. Times: 5s, 250ms, 10m, 1h, 1d. A comment takes a line of its own.",
        "# Made by `python -m tinykv.config`; a test holds it equal to the code.",
    ),
)
options = TABLE.options
load = TABLE.load
parse = TABLE.parse
override = TABLE.override
render = TABLE.render
reference = TABLE.reference


if __name__ == "__main__":
    print(reference(), end="")
