"""
The options of a gateway: INI text becomes one frozen value that was checked once.

L{GatewayConfig} is the table; what L{tinykv.config_options} makes of it are the parser, the checks and
`etc/tinykv-gateway.ini`, which a test holds equal to the code. What a store has as well has the same name here, and
means the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tinykv import config_values as kinds
from tinykv.config import StoreConfig, check_exposure
from tinykv.config_checks import check_ports, check_secret, check_tls_port, check_together
from tinykv.config_options import ConfigError, OptionTable, option
from tinykv.config_values import InitialStore

SECTIONS = {
    "gateway": "The gateway itself.",
    "resp": "The port that Redis clients use.",
    "tls": "A second port for Redis clients, encrypted. Certificate and key are read again on SIGHUP.",
    "http": "Status, health and metrics over HTTP.",
    "cluster": "The stores that have the data.",
    "schedule": "The scheduler, which knows all stores of a cluster.",
    "limits": "What one client may ask for. Past a limit there is an error, or the client is closed.",
}

_OF_STORES = {item.name: item for item in fields(StoreConfig)}


def _as_stores(name: str, meaning: str = "", section: str = "") -> Any:
    """
    Declare an option that stores have as well.

    @param meaning: What it means, where that isn't worded as for stores; C{section} likewise.
    """
    item = _OF_STORES[name]
    metadata = dict(item.metadata)
    if meaning:
        metadata["meaning"] = " ".join(meaning.split())
    metadata["section"] = section or metadata["section"]
    return field(default=item.default, repr=item.repr, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class GatewayConfig:
    """Everything that may be told to a gateway. Times are in seconds, sizes in bytes."""

    cluster_name: str = _as_stores(
        "cluster_name", "Name of the installation, shown in logs, /status and the label of metrics.", "gateway"
    )
    log_level: str = _as_stores("log_level", "Least level of the log lines that are written.", "gateway")
    log_format: str = _as_stores("log_format", section="gateway")
    databases: int = _as_stores("databases", "Number of databases that SELECT reaches.", "gateway")

    bind: tuple[str, ...] = _as_stores(
        "bind",
        """Addresses of this host on which clients are served, by the plain and the TLS port. 0.0.0.0 is every IPv4
        address. Not used for a socket that systemd passes.""",
    )
    port: int = _as_stores("port")
    requirepass: str = _as_stores("requirepass")
    protected_mode: bool = _as_stores("protected_mode")
    maxclients: int = _as_stores("maxclients")
    timeout: float = _as_stores("timeout")
    tcp_keepalive: float = _as_stores(
        "tcp_keepalive",
        """Time between the probes by which a client that vanished is found; 0 turns them off, and such clients stay
        until the gateway is restarted.""",
    )
    backlog: int = _as_stores("backlog")

    tls_port: int | None = _as_stores("tls_port")
    tls_cert: Path | None = _as_stores("tls_cert")
    tls_key: Path | None = _as_stores("tls_key")
    tls_ca: Path | None = _as_stores("tls_ca")
    tls_auth_clients: str = _as_stores("tls_auth_clients")

    http_bind: str = _as_stores("http_bind")
    http_port: int | None = _as_stores("http_port")

    stores: tuple[InitialStore, ...] = option(
        "cluster", kinds.STORES, (),
        """Stores of the cluster, each with its address for other stores: 1@a.example:20160, 2@b.example:20160. One that
        is reached is enough to find the others. Needed without schedulers.""",
    )
    cluster_secret: str = _as_stores(
        "cluster_secret",
        """What all stores of the cluster know and nobody else, at least 16 bytes: by it gateways and stores prove to
        each other who they are. Needed here or in cluster_secret_file.""",
    )
    cluster_secret_file: Path | None = _as_stores("cluster_secret_file")
    peer_tls_cert: Path | None = _as_stores(
        "peer_tls_cert",
        """File with this gateway's certificate for stores and its chain, PEM. Needed where the stores' links are
        encrypted.""",
    )
    peer_tls_key: Path | None = _as_stores("peer_tls_key")
    peer_tls_ca: Path | None = _as_stores("peer_tls_ca")

    schedulers: tuple[str, ...] = _as_stores(
        "schedulers",
        """The members of the scheduler, each with the address of its API: a.example:2379, b.example:2379. They say
        where all stores are, now and when that changes. Needed without stores.""",
    )
    schedule_token: str = _as_stores("schedule_token")
    schedule_token_file: Path | None = _as_stores("schedule_token_file")
    schedule_tls_ca: Path | None = _as_stores("schedule_tls_ca")
    schedule_tls_cert: Path | None = _as_stores("schedule_tls_cert")
    schedule_tls_key: Path | None = _as_stores("schedule_tls_key")

    inline_limit: int = _as_stores("inline_limit")
    argument_limit: int = _as_stores("argument_limit")
    bulk_limit: int = _as_stores("bulk_limit")
    query_buffer_limit: int = _as_stores("query_buffer_limit")
    output_buffer_limit: int = _as_stores("output_buffer_limit")
    unauthenticated_argument_limit: int = _as_stores("unauthenticated_argument_limit")
    unauthenticated_bulk_limit: int = _as_stores("unauthenticated_bulk_limit")
    pipeline_depth: int = _as_stores(
        "pipeline_depth",
        """Commands of one client that may await their replies. Past it the gateway reads nothing more from that client
        until some are answered; nothing is refused.""",
    )
    request_timeout: float = _as_stores("request_timeout")


def checked(config: GatewayConfig, source: str) -> GatewayConfig:
    """
    Return the configuration if its values fit together.

    @raise ConfigError: Naming the option that is to be changed.
    """
    if config.port == 0 and len(config.bind) > 1:
        raise ConfigError(source, "resp", "port", "can't be 0 with several addresses in bind")
    check_tls_port(config, source)
    ports = [("resp", "port", config.port), ("tls", "tls_port", config.tls_port)]
    if config.http_bind in config.bind:
        ports.append(("http", "http_port", config.http_port))
    check_ports(ports, source)
    _check_cluster(config, source)
    if config.bulk_limit > config.query_buffer_limit:
        raise ConfigError(source, "limits", "query_buffer_limit", "is less than bulk_limit")
    for address in config.bind:
        check_exposure(config, address, source)
    return config


def _check_cluster(config: GatewayConfig, source: str) -> None:
    """
    Check the options that concern stores and the scheduler.

    @raise ConfigError: They don't fit together.
    """
    if not config.stores and not config.schedulers:
        why = "or schedulers is needed: a gateway has no data itself, so say where the stores are"
        raise ConfigError(source, "cluster", "stores", why)
    if not config.cluster_secret and config.cluster_secret_file is None:
        why = "is needed, or cluster_secret_file: what the stores have there"
        raise ConfigError(source, "cluster", "cluster_secret", why)
    for secret, section in (("cluster_secret", "cluster"), ("schedule_token", "schedule")):
        check_secret(config, source, section, secret)
    why = "is needed too: certificate, key and ca go together"
    check_together(config, source, "cluster", ("peer_tls_cert", "peer_tls_key", "peer_tls_ca"), why)
    names = ("schedule_tls_cert", "schedule_tls_key", "schedule_tls_ca")
    check_together(config, source, "schedule", names, why, implied=("schedule_tls_ca",))


TABLE = OptionTable(
    GatewayConfig,
    SECTIONS,
    checked,
    (
        "# Options of a TinyKV gateway, each with its default: take away the '#' before a name to change it.",
        "# Sizes: 65536, 64kb, 256mb, 1gb. Times: 5s, 250ms, 10m, 1h, 1d. A comment takes a line of its own.",
        "# Made by `python -m tinykv.gateway.config`; a test holds it equal to the code.",
    ),
)

if __name__ == "__main__":
    print(TABLE.reference(), end="")
