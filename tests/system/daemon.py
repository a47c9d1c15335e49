"""
A daemon of its own for a test or a proof: started in a folder, killed, started again.
"""

from __future__ import annotations

import signal
from pathlib import Path
from types import TracebackType

from tests.redis_server import BlockingClient, free_port
from tests.system.processes import TWISTD, Process, children_of, runs, wait_until


class Daemon:
    """
    A store daemon on a free port of 127.0.0.1; a context manager that ends it.

    @ivar port: Its RESP port, the same after each start.
    """

    def __init__(self, folder: Path, **options: str) -> None:
        """
        Start it, and wait until it answers.

        @param folder: Where its data, configuration and output are; an existing folder.
        @param options: More of its configuration.
        """
        self._folder = folder
        self.port = free_port()
        chosen = {
            "data_dir": str(folder / "data"),
            "port": str(self.port),
            "cluster_port": "off",
            "http_port": "off",
            "ballast_bytes": "0",
            "disk_low_mark": "0",
            **options,
        }
        self._command = [*TWISTD, *(word for name, value in chosen.items() for word in ("--set", f"{name}={value}"))]
        self._process: Process | None = None
        try:
            self.start()
        except BaseException:
            self.kill()
            raise

    def start(self) -> None:
        """Start it, again perhaps, and wait until it answers."""
        self._process = Process(self._command, self._folder / "output.txt")
        self._process.wait_for(self._answers, "it answers")

    def _answers(self) -> bool:
        try:
            client = self.connect()
        except ConnectionRefusedError:
            return False
        try:
            return bool(client.attempt("PING") == b"PONG")
        finally:
            client.close()

    @property
    def process(self) -> Process:
        """The running daemon."""
        assert self._process is not None
        return self._process

    def connect(self) -> BlockingClient:
        """Connect a client."""
        return BlockingClient.tcp("127.0.0.1", self.port)

    def stop(self) -> None:
        """End it in good order."""
        status = self.process.stop()
        assert status in (0, -signal.SIGTERM), f"ended with {status}:\n{self.process.output}"

    def kill(self) -> None:
        """End it without giving it a chance; its children notice and end, which is waited for."""
        if self._process is None:
            return
        children = self.pids()[1:]
        self._process.destroy()
        wait_until(lambda: not any(map(runs, children)), "the writers to end")

    def pids(self) -> list[int]:
        """Name its processes: the store, the log writer, the data writer."""
        pid = self.process.pid
        return [pid, *children_of(pid)]

    def memory(self) -> int:
        """Give the resident bytes of all its processes; what they share counts once."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total

    def __enter__(self) -> Daemon:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
