"""
A real redis-server for comparisons: on a Unix socket in a temporary folder, so that no port can be taken.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO

REDIS_SERVER = shutil.which("redis-server")
"""Where it's installed, or L{None}."""


class RealRedis:
    """
    A running redis-server without any saved data; a context manager that ends it.

    @ivar path: Its Unix socket.
    """

    def __init__(self, *options: str) -> None:
        """
        Start it and wait until it takes connections.

        @param options: More of its command line, such as C{"--requirepass", "secret"}.
        """
        assert REDIS_SERVER is not None, "redis-server isn't installed"
        self._folder = tempfile.TemporaryDirectory()
        self.path = str(Path(self._folder.name) / "redis.sock")
        own = ["--port", "0", "--unixsocket", self.path, "--dir", self._folder.name, "--save", ""]
        command = [REDIS_SERVER, *own, *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert self.process.stdout is not None
        self._output: IO[bytes] = self.process.stdout
        told = []
        for line in self._output:
            told.append(line)
            if b"ready to accept connections" in line.lower():
                return
        raise RuntimeError(f"redis-server didn't start: {b''.join(told).decode('latin-1')}")

    def close(self) -> None:
        """End it and remove its folder."""
        self.process.kill()
        self.process.wait()
        self._output.close()
        self._folder.cleanup()

    def __enter__(self) -> RealRedis:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
