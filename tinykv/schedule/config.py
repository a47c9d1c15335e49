"""
The options of a scheduler's member: INI text becomes one frozen value that was checked once.

L{ScheduleConfig} is the table; what L{tinykv.config_options} makes of it are the parser, the checks and
`etc/tinyschedule.ini`, which a test holds equal to the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from tinykv import config_values as kinds
from tinykv.config_checks import check_secret, check_together
from tinykv.config_options import ConfigError, OptionTable, option
from tinykv.config_values import InitialStore
from tinykv.raft.config import RaftConfig
from tinykv.schedule.state import INITIAL_REGIONS_MAX

MB = 1 << 20

_RAFT = RaftConfig()

#: How many members a scheduler may have.
MEMBERS = (1, 3)

SECTIONS = {
    "schedule": "The member itself: its folder and its log.",
    "http": "The port of the API.",
    "tls": "The same port, encrypted. Certificate and key are read again on SIGHUP.",
    "cluster": "The other members of the scheduler, and the port where they meet.",
    "replication": "How members keep up with each other. All of them need the same times.",
    "bootstrap": "How a cluster of stores begins. It's the same for all members, and only looked at once.",
}


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Everything that may be told to a member. Times are in seconds, sizes in bytes."""

    data_dir: Path = option(
        "schedule", kinds.PATH, Path("schedule"),
        """Folder that holds everything the member keeps. Made if it's missing. One member uses it at a time.
        A relative path starts at the folder of this file.""",
    )
    cluster_name: str = option(
        "schedule", kinds.text("name", r"[A-Za-z0-9._-]{1,64}", "1 to 64 letters, digits, . - or _"), "tinykv",
        """Name of the installation. Members of one scheduler have the same: they refuse others.""",
    )
    log_level: str = option(
        "schedule", kinds.choice("debug", "info", "warn", "error", "critical"), "info",
        """Least level of the log lines that are written.""",
    )
    log_format: str = option(
        "schedule", kinds.choice("text", "json"), "text",
        """Form of the log on standard error: lines for people, or one JSON object a line for a collector.""",
    )
    ballast_bytes: int = option(
        "schedule", kinds.size(0), 16 * MB,
        """Size of a file that only takes up room. It's given up at the start when the disk is full, so that what was
        written can be brought in order. 0 keeps none.""",
    )

    http_bind: str = option(
        "http", kinds.ADDRESS, "127.0.0.1",
        """Address of this host on which the API is served. 0.0.0.0 is every IPv4 address.""",
    )
    http_port: int = option(
        "http", kinds.PORT, 2379,
        """Port of the API.""",
    )
    http_advertise: str = option(
        "http", kinds.text("URL, or empty", r"|https?://[A-Za-z0-9._:\[\]-]{1,260}", "http(s)://host:port"), "",
        """URL that others are told to reach this member by, http://host:port. Needed where http_bind is every address,
        and behind address translation; empty means http_bind with the port.""",
    )
    token: str = option(
        "http", kinds.SECRET, "",
        """What a client has to show, at least 16 bytes (Authorization: Bearer TOKEN); empty means nothing. Whoever has
        it can take stores out of the cluster.""",
        secret=True,
    )
    token_file: Path | None = option(
        "http", kinds.OPTIONAL_PATH, None,
        """File with the token instead; blanks and line ends around it don't count. It's refused if everybody on this
        host can read it.""",
    )
    protected_mode: bool = option(
        "http", kinds.SWITCH, True,
        """Refuse to start when http_bind is an address that other hosts can reach, and neither a token nor a client's
        certificate is demanded.""",
    )
    request_rate: int = option(
        "http", kinds.integer(0, 1_000_000), 2_000,
        """Questions a second that one address may ask, and in a burst twice as many; more are answered with 429. 0
        means no limit.""",
    )
    connections_max: int = option(
        "http", kinds.integer(1, 100_000), 1_000,
        """Most connections at a time; a further one is closed.""",
    )

    tls_cert: Path | None = option(
        "tls", kinds.OPTIONAL_PATH, None,
        """File with the certificate of the API's port and its chain, PEM. With it only https is served.""",
    )
    tls_key: Path | None = option(
        "tls", kinds.OPTIONAL_PATH, None,
        """File with the private key, PEM, without a passphrase.""",
    )
    tls_ca: Path | None = option(
        "tls", kinds.OPTIONAL_PATH, None,
        """File with the certificates that vouch for clients, PEM. Needed unless tls_auth_clients is no.""",
    )
    tls_auth_clients: str = option(
        "tls", kinds.choice("no", "optional", "yes"), "no",
        """Whether a client must show a certificate of tls_ca: never asked, checked if shown, or demanded.""",
    )

    member_id: int = option(
        "cluster", kinds.integer(1, kinds.STORE_ID_MAX), 1,
        """Number of this member, which no other one has or ever had. The folder remembers it.""",
    )
    initial_members: tuple[InitialStore, ...] = option(
        "cluster", kinds.STORES, (),
        """The members of the scheduler, this one among them, each with its address for the others:
        1@a.example:2380, 2@b.example:2380, 3@c.example:2380. It must be the same on all of them. 1 or 3 members; of 3
        one may fail. Empty means a member on its own, without a port for others.""",
    )
    cluster_secret: str = option(
        "cluster", kinds.SECRET, "",
        """What all members know and nobody else, at least 16 bytes: by it they prove to each other who they are. Needed
        with initial_members, here or in cluster_secret_file.""",
        secret=True,
    )
    cluster_secret_file: Path | None = option(
        "cluster", kinds.OPTIONAL_PATH, None,
        """File with that secret instead, as of `openssl rand -hex 32`; blanks and line ends around it don't count.
        It's refused if everybody on this host can read it.""",
    )
    peer_bind: str = option(
        "cluster", kinds.ADDRESS, "127.0.0.1",
        """Address of this host on which other members are served.""",
    )
    peer_port: int = option(
        "cluster", kinds.PEER_PORT, 2380,
        """Port for other members. It's open only if initial_members names any.""",
    )
    peer_advertise: str = option(
        "cluster", kinds.PEER_ADDRESS, "",
        """Address that other members are told to reach this one by; empty means what initial_members says of it.""",
    )
    peer_tls_cert: Path | None = option(
        "cluster", kinds.OPTIONAL_PATH, None,
        """File with this member's certificate for the others and its chain, PEM. With it the members' links are
        encrypted, and each side demands a certificate; all members have one or none has.""",
    )
    peer_tls_key: Path | None = option(
        "cluster", kinds.OPTIONAL_PATH, None,
        """File with its private key, PEM, without a passphrase.""",
    )
    peer_tls_ca: Path | None = option(
        "cluster", kinds.OPTIONAL_PATH, None,
        """File with the certificates that vouch for all members, PEM: the cluster's own authority, never a public
        one, since host names aren't compared.""",
    )

    tick: float = option(
        "replication", kinds.duration(0.01, 10), _RAFT.tick,
        """Unit of the times below.""",
    )
    election_ticks: int = option(
        "replication", kinds.integer(2, 1000), _RAFT.election_ticks,
        """A member that hasn't heard of a leader for this many ticks, up to twice as many by chance, calls an
        election. Fewer shorten the time without a leader after one died; too few replace leaders that were only
        slow.""",
    )
    heartbeat_ticks: int = option(
        "replication", kinds.integer(1, 999), _RAFT.heartbeat_ticks,
        """A leader speaks at least this often. Less than election_ticks, best by several times.""",
    )
    lease_drift_bound: float = option(
        "replication", kinds.duration(0, 1000), _RAFT.drift_bound,
        """By how much two hosts' clocks may differ in how long they take a lease to be, some election_ticks long. If
        they run apart faster, a timestamp can be less than one that another member gave before.""",
    )

    bootstrap_stores: int = option(
        "bootstrap", kinds.integer(1, 64), 1,
        """With how many stores the cluster begins: when that many have come, its regions are made on them, with as many
        voters as the choice replicas says.""",
    )
    initial_regions: int = option(
        "bootstrap", kinds.integer(1, INITIAL_REGIONS_MAX), 1,
        """Into how many regions the keys are cut at the beginning, at borders of slots, each with a leader and a log of
        its own, so that several stores lead at once.""",
    )


def checked(config: ScheduleConfig, source: str) -> ScheduleConfig:
    """
    Return the configuration if its values fit together.

    @raise ConfigError: Naming the option that is to be changed.
    """
    for group, section in (("tls", "tls"), ("peer_tls", "cluster")):
        names = [f"{group}_cert", f"{group}_key"] + (["peer_tls_ca"] if section == "cluster" else [])
        check_together(config, source, section, names, f"is needed too: {', '.join(names)} go together")
    if config.tls_auth_clients != "no" and (config.tls_ca is None or config.tls_cert is None):
        name = "tls_ca" if config.tls_ca is None else "tls_cert"
        raise ConfigError(source, "tls", name, f"is needed for tls_auth_clients = {config.tls_auth_clients}")
    for secret, section in (("token", "http"), ("cluster_secret", "cluster")):
        check_secret(config, source, section, secret)
    if config.http_port == 0 and config.initial_members and not config.http_advertise:
        why = "can't be any free one: other members tell clients where this is"
        raise ConfigError(source, "http", "http_port", why)
    _check_members(config, source)
    _check_exposure(config, source)
    return config


def _check_members(config: ScheduleConfig, source: str) -> None:
    """
    Check what concerns other members.

    @raise ConfigError: It can't be right.
    """
    if config.heartbeat_ticks >= config.election_ticks:
        raise ConfigError(source, "replication", "heartbeat_ticks", "must be less than election_ticks")
    longest = (config.election_ticks - 1) * config.tick
    if config.lease_drift_bound >= longest:
        why = f"must be less than election_ticks - 1 ticks ({kinds.render_duration(longest)})"
        raise ConfigError(source, "replication", "lease_drift_bound", why)
    if not config.initial_members:
        return
    if not config.cluster_secret and config.cluster_secret_file is None:
        why = "is needed for initial_members, or cluster_secret_file: `openssl rand -hex 32` makes a good one"
        raise ConfigError(source, "cluster", "cluster_secret", why)
    if len(config.initial_members) not in MEMBERS:
        why = f"names {len(config.initial_members)} members; a scheduler has 1 or 3"
        raise ConfigError(source, "cluster", "initial_members", why)
    own = dict(config.initial_members).get(config.member_id)
    if own is None:
        raise ConfigError(source, "cluster", "initial_members", f"doesn't name this member, {config.member_id}")
    if not config.peer_advertise and int(own.rpartition(":")[2]) != config.peer_port:
        why = f"is {config.peer_port}, but initial_members has this member at {own}"
        raise ConfigError(source, "cluster", "peer_port", why)
    if config.peer_bind == config.http_bind and config.peer_port == config.http_port:
        raise ConfigError(source, "cluster", "peer_port", f"is the same as http_port ({config.http_port})")


def _check_exposure(config: ScheduleConfig, source: str) -> None:
    """
    Refuse to serve other hosts that prove nothing, in protected mode.

    @raise ConfigError: It's refused.
    """
    proven = bool(config.token) or config.token_file is not None or config.tls_auth_clients == "yes"
    address = ip_address(config.http_bind)
    if config.protected_mode and not proven and not address.is_loopback:
        why = (
            f"{address} can be reached by other hosts, which needn't prove anything. Set token or token_file, or"
            " tls_auth_clients = yes, or bind to 127.0.0.1, or say protected_mode = no to serve everybody"
        )
        raise ConfigError(source, "http", "http_bind", why)
    if address.is_unspecified and config.initial_members and not config.http_advertise:
        why = f"is needed: nobody can be told to come to http_bind = {address}"
        raise ConfigError(source, "http", "http_advertise", why)


TABLE = OptionTable(
    ScheduleConfig,
    SECTIONS,
    checked,
    (
        "# Options of a member of TinySchedule, each with its default: take away the '#' before a name to change it.",
        "# Sizes: 65536, 64kb, 256mb, 1gb. Times: 5s, 250ms, 10m, 1h, 1d. A comment takes a line of its own.",
        "# Made by `python -m tinykv.schedule.config`; a test holds it equal to the code.",
    ),
)

if __name__ == "__main__":
    print(TABLE.reference(), end="")
