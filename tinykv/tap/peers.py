"""
What a store's options say to the parts that deal with other stores.
"""

from __future__ import annotations

import os
import stat
from ipaddress import ip_address
from pathlib import Path

from twisted.logger import Logger

from tinykv.config import ConfigError, StoreConfig, is_clustered, own_address
from tinykv.config_values import SECRET_BYTES_LEAST, SECRET_BYTES_MOST
from tinykv.gateway.config import GatewayConfig
from tinykv.peering.clocks import FEATURE
from tinykv.peering.settings import PeerIdentity, PeerLimits
from tinykv.peering.tls import PeerTls, TlsProblem
from tinykv.peering.verbs import MERGE_FEATURE, SERVES_FEATURE
from tinykv.raft.config import RaftConfig
from tinykv.schedule.config import ScheduleConfig

_SOURCE = "configuration"


def raft_config(config: StoreConfig | ScheduleConfig) -> RaftConfig:
    """Give the choices of every group on the store."""
    return RaftConfig(
        tick=config.tick,
        election_ticks=config.election_ticks,
        heartbeat_ticks=config.heartbeat_ticks,
        drift_bound=config.lease_drift_bound,
    )


def peer_limits(config: StoreConfig) -> PeerLimits:
    """Give what other stores may cost."""
    return PeerLimits(snapshot_rate=config.snapshot_rate)


def peer_address(config: StoreConfig) -> str:
    """Give the address that other stores are told, C{host:port}."""
    if config.peer_advertise:
        return config.peer_advertise
    host = f"[{config.peer_bind}]" if ":" in config.peer_bind else config.peer_bind
    return own_address(config) or f"{host}:{config.peer_port}"


def cluster_address(config: StoreConfig, port: int | None) -> tuple[str, int] | None:
    """
    Give the address that clients of a cluster are told of this store.

    @param port: The port that is open for them; None if there's none, and neither is the address then.
    """
    if port is None:
        return None
    if config.cluster_advertise is not None:
        return config.cluster_advertise
    host = config.bind[0]
    everywhere: bool = ip_address(host).is_unspecified
    if everywhere and is_clustered(config):
        host = peer_address(config).rpartition(":")[0].strip("[]")
    return host, port


def peer_addresses(config: StoreConfig) -> dict[int, str]:
    """Give the addresses of the other stores that are known at first, by id."""
    return {store: address for store, address in config.initial_stores if store != config.store_id}


def known_hosts(config: StoreConfig) -> frozenset[str]:
    """Name the hosts, in lower case, by which operators may ask for the pages of L{tinykv.server.http_control}."""
    addresses = [config.peer_advertise, *(store.address for store in config.initial_stores)]
    named = {address.rpartition(":")[0] for address in addresses}
    if config.advertise is not None:
        named.add(config.advertise[0])
    return frozenset(name.lower() for name in named if name)


def peer_identity(config: StoreConfig, cluster_id: str, folder_id: str, start_id: int) -> PeerIdentity:
    """
    Say who this store is to others.

    @param start_id: Names this run of the store.
    @raise ConfigError: The secret can't be read, or is none.
    """
    return PeerIdentity(
        cluster_id=cluster_id,
        store_id=config.store_id,
        folder_id=folder_id,
        start_id=start_id,
        address=peer_address(config),
        secret=read_secret(config),
        features=frozenset((FEATURE, SERVES_FEATURE, *([MERGE_FEATURE] if config.durability == "fsync" else []))),
    )


def read_secret(config: StoreConfig | ScheduleConfig | GatewayConfig) -> bytes:
    """
    Give the secret of the cluster.

    @raise ConfigError: As L{secret_of} does.
    """
    return secret_of(config.cluster_secret, config.cluster_secret_file, "cluster", "cluster_secret_file")


def secret_of(text: str, path: Path | None, section: str, option: str) -> bytes:
    """
    Give a secret that stands in the configuration, or in a file that it names.

    @param option: The option that names the file.
    @raise ConfigError: Its file can't be read, or everybody could, or it's too short or too long. No part of it is
        told.
    """
    if path is None:
        return text.encode()

    def bad(why: str) -> ConfigError:
        return ConfigError(_SOURCE, section, option, f"{path} {why}")

    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            found = file.read(2 * SECRET_BYTES_MOST)
    except OSError as problem:
        raise bad(f"can't be read: {problem.strerror}") from problem
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise bad(f"is open to everybody on this host (mode {mode:04o}); chmod o= it")
    secret = found.strip()
    if not SECRET_BYTES_LEAST <= len(secret) <= SECRET_BYTES_MOST:
        why = f"has {'too few' if len(secret) < SECRET_BYTES_LEAST else 'too many'} bytes for a secret"
        raise bad(f"{why}, which has {SECRET_BYTES_LEAST} to {SECRET_BYTES_MOST}")
    return secret


def peer_tls(config: StoreConfig | ScheduleConfig | GatewayConfig) -> PeerTls | None:
    """
    Give what puts TLS under the links between stores; None if they have none.

    @raise ConfigError: A file can't be used.
    """
    certificate, key, authority = config.peer_tls_cert, config.peer_tls_key, config.peer_tls_ca
    if certificate is None or key is None or authority is None:
        return None
    try:
        return PeerTls(certificate, key, authority)
    except TlsProblem as problem:
        options = {certificate: "peer_tls_cert", key: "peer_tls_key", authority: "peer_tls_ca"}
        raise ConfigError(_SOURCE, "cluster", options[problem.path], str(problem)) from problem


def reload_tls(tls: PeerTls) -> None:
    """Read the files again; if they can't be used the old ones stay in use, and the log says why."""
    log = Logger()
    try:
        tls.reload()
    except TlsProblem as problem:
        log.error("the TLS certificate of the links between stores was not reloaded: {problem}", problem=str(problem))
    else:
        log.info("the TLS certificate of the links between stores was read again")
