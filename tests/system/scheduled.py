"""
Real stores that know nothing but where their scheduler is.
"""

from __future__ import annotations

from pathlib import Path

from tests.redis_server import BlockingClient, free_port
from tests.system.processes import TWISTD, Process
from tests.system.schedulers import Daemons

_SECRET = "no one knows it but these stores"


class ScheduledStore:
    """
    One of them.

    @ivar number: Its id; C{port} is where clients connect.
    """

    def __init__(self, folder: Path, daemons: Daemons, number: int, **options: str) -> None:
        self.number = number
        self._folder = folder
        self.port = free_port()
        schedulers = ", ".join(f"127.0.0.1:{member.port}" for member in daemons.members.values())
        self._chosen = {
            "data_dir": str(folder / f"store{number}"),
            "port": str(self.port),
            "cluster_port": "off",
            "http_port": "off",
            "ballast_bytes": "0",
            "disk_low_mark": "0",
            # However full the disk of this machine is, these have room.
            "capacity": "1gb",
            "store_id": str(number),
            "schedulers": schedulers,
            "schedule_heartbeat": "200ms",
            "cluster_secret": _SECRET,
            "peer_port": str(free_port()),
            **options,
        }
        self._process: Process | None = None
        self._starts = 0

    def start(self) -> None:
        """Start it, again perhaps; it isn't ready yet."""
        self._starts += 1
        words = [*TWISTD, *(word for name, text in self._chosen.items() for word in ("--set", f"{name}={text}"))]
        self._process = Process(words, self._folder / f"output-{self.number}-{self._starts}.txt")

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None, "it was started"
        return self._process.pid

    @property
    def output(self) -> str:
        """What it has printed since it was started."""
        assert self._process is not None, "it was started"
        return self._process.output

    def wait_for(self, words: str = "is ready") -> None:
        """Wait until it has printed some words."""
        assert self._process is not None, "it was started"
        self._process.wait_for(lambda: words in self.output, f"store {self.number} had said: {words}")

    def connect(self, timeout: float = 10.0) -> BlockingClient:
        """
        Connect a client.

        @param timeout: How long anything may take, in seconds.
        """
        return BlockingClient.tcp("127.0.0.1", self.port, timeout)

    def kill(self) -> None:
        """End it without giving it a chance."""
        if self._process is not None:
            self._process.destroy()
            self._process = None

    def stop(self) -> int:
        """Ask it to end, and give its exit status."""
        assert self._process is not None, "it was started"
        return self._process.stop()
