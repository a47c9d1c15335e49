"""
A real gateway, for tests.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.redis_server import BlockingClient, free_port
from tests.system.processes import Process

_TWISTD: Final = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile=")
#: What stores of tests know.
SECRET: Final = "no one knows it but these stores"


class GatewayDaemon:
    """
    The daemon.

    @ivar port: Of its clients.
    """

    def __init__(self, folder: Path, **options: str) -> None:
        """Start it; it isn't ready yet."""
        self.port, self._http_port = free_port(), free_port()
        chosen = {"port": str(self.port), "http_port": str(self._http_port), "cluster_secret": SECRET, **options}
        words = [word for name, value in chosen.items() for word in ("--set", f"{name}={value}")]
        self._process = Process([*_TWISTD, "tinykv-gateway", *words], folder / f"gateway-{self.port}.txt")

    @property
    def output(self) -> str:
        """What it has printed."""
        return self._process.output

    def wait_for(self) -> None:
        """Wait until it listens."""
        self._process.wait_for(lambda: "is ready" in self.output, "the gateway was ready")

    def connect(self, timeout: float = 10.0) -> BlockingClient:
        """Connect a client."""
        return BlockingClient.tcp("127.0.0.1", self.port, timeout)

    def page(self, name: str) -> tuple[int, str]:
        """Read one of its pages: status and text."""
        try:
            with urlopen(f"http://127.0.0.1:{self._http_port}/{name}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as answer:
            return answer.code, answer.read().decode()

    def status(self) -> dict[str, Any]:
        """Read what it says of itself."""
        found: dict[str, Any] = json.loads(self.page("status")[1])
        return found

    def stop(self) -> int:
        """Ask it to end, and give its exit status."""
        return self._process.stop()

    def kill(self) -> None:
        """End it without giving it a chance."""
        self._process.destroy()
