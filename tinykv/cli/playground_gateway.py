"""
The playground's gateway: a front without data before its stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tinykv.cli.playground_cluster import HOST, HTTP_PORT, Ports
from tinykv.cli.playground_process import LocalProcess, is_healthy
from tinykv.cli.problems import Problem
from tinykv.config import StoreConfig
from tinykv.gateway.config import TABLE, GatewayConfig

#: How far its port for clients is above the first store's, and its port for HTTP above the usual one, if they're free.
GATEWAY_PORTS: Final = 10


def plan_gateway(folder: Path, stores: Sequence[StoreConfig], schedulers: Sequence[str], ports: Ports) -> GatewayConfig:
    """
    Choose its options.

    @param schedulers: The addresses of the scheduler's members; there may be none.
    @param ports: Those that are free.
    @raise Problem: There's one store, which knows of no others.
    """
    if len(stores) == 1:
        raise Problem("one store on its own has no use for a gateway; say --stores 3, or start none")
    return GatewayConfig(
        cluster_name="playground",
        port=ports.first(stores[0].port + GATEWAY_PORTS),
        http_port=ports.first(HTTP_PORT + GATEWAY_PORTS),
        stores=stores[0].initial_stores,
        cluster_secret_file=folder / "cluster.secret",
        schedulers=tuple(schedulers),
    )


class LocalGateway(LocalProcess):
    """
    The gateway.

    @ivar config: Its options.
    """

    PLUGIN = "tinykv-gateway"

    def __init__(self, folder: Path, config: GatewayConfig) -> None:
        """
        Write its configuration.

        @raise OSError: The folder can't be written.
        """
        super().__init__("gateway-1", folder, None, TABLE.render(config))
        self.config = config

    def answers(self) -> bool:
        """Say if it serves clients, and can do something for them."""
        port = self.config.http_port
        return port is not None and is_healthy(HOST, port)

    def ports(self) -> dict[str, int | None]:
        """Give its ports."""
        return {"resp": self.config.port, "http": self.config.http_port}
