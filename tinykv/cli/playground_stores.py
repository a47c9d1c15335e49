"""
A store of the playground, and what is told about it.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import which

from tinykv.cli.playground_process import LocalProcess
from tinykv.config import StoreConfig, render

#: How long to wait for an answer to PING, in seconds.
_PING_SECONDS = 1.0


class LocalStore(LocalProcess):
    """
    One store.

    @ivar config: Its options.
    """

    PLUGIN = "tinykv"

    def __init__(self, name: str, folder: Path, config: StoreConfig) -> None:
        """
        Write its configuration.

        @raise OSError: The folder can't be written.
        """
        super().__init__(name, folder, config.data_dir, render(config))
        self.config = config

    def answers(self) -> bool:
        """Say if it answers PING."""
        try:
            with socket.create_connection((self.config.bind[0], self.config.port), _PING_SECONDS) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16) == b"+PONG\r\n"
        except OSError:
            return False

    def ports(self) -> dict[str, int | None]:
        """Give its ports."""
        config = self.config
        peer = config.peer_port if config.initial_stores else None
        return {"resp": config.port, "cluster": config.cluster_port, "http": config.http_port, "peer": peer}


def welcome(stores: Sequence[LocalStore], schedulers: Sequence[str], gateways: Sequence[int]) -> list[str]:
    """
    Say what was started, how to connect, and how to stop.

    @param schedulers: The URLs of the scheduler's members.
    @param gateways: The ports of gateways.
    """
    first = stores[0].config
    ping = f"    python3 -c 'import redis; print(redis.Redis(port={first.port}).ping())'"
    if len(stores) == 1:
        return [
            f"TinyKV is running on {first.bind[0]}:{first.port} (process {stores[0].process.pid}).",
            "",
            f"    redis-cli -p {first.port}             (as a Redis Cluster: redis-cli -c -p {first.cluster_port})",
            ping,
            f"    curl http://{first.http_bind}:{first.http_port}/status     (also /healthz and /metrics)",
            "",
            f"Data: {first.data_dir}    log: {stores[0].log}",
            "Ctrl-C stops it.",
        ]
    return [
        f"TinyKV is running: {len(stores)} stores with the same data. Any of them serves any client.",
        "",
        *(
            f"    {store.name}   redis-cli -p {store.config.port}   "
            f"curl http://{store.config.http_bind}:{store.config.http_port}/status   (process {store.process.pid})"
            for store in stores
        ),
        "",
        f"    redis-cli -c -p {first.cluster_port}     (as a Redis Cluster, whose other nodes are found by themselves)",
        *(f"    redis-cli -p {port}     (at the gateway, which has no data itself)" for port in gateways),
        ping,
        f"    {_program()} ctl --url http://{first.http_bind}:{first.http_port} members",
        *([f"    {_program()} ctl schedule --url {schedulers[0]} status"] if schedulers else []),
        f"    kill -9 {stores[0].process.pid}     (any {(len(stores) - 1) // 2} may fail, and the others carry on)",
        "",
        f"Data and logs: {first.data_dir.parent}",
        "Ctrl-C stops them.",
    ]


def _program() -> str:
    """Name this program as a person can call it, whether its environment is active or not."""
    script = Path(sys.executable).with_name("tinykv")
    return "tinykv" if which("tinykv") or not script.exists() else str(script)


def what_is_left(ended: LocalStore, running: int, count: int) -> list[str]:
    """Say what becomes of the others when a store has ended, and how it's started again."""
    if running > count // 2:
        first = f"The others carry on ({running} of {count})."
    else:
        first = f"{running} of {count} are no majority: reads and writes are refused until there's one again."
    return [
        f"{first} {ended.name} comes back when the playground is started again, or by hand, on another terminal, with",
        f"    {ended.by_hand}",
    ]
