"""
A process of the playground: its files, how it's started and ended, and what it says.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

#: Bytes at the end of a log that are looked at.
_TAIL_BYTES = 1 << 16
#: Lines of a log that are shown.
TAIL_LINES = 15
#: How long a daemon may take to say how it is, in seconds.
_ASK_SECONDS = 1.0

#: Runs twistd with the Python that runs this, wherever its script lies.
_TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")


class LocalProcess(ABC):
    """
    A daemon as a child process.

    Beside its data folder C{DIR/NAME} lie C{NAME.ini}, written anew at every start, and C{NAME.log}, of which the one
    of the start before is kept as C{NAME.log.old}.

    @cvar PLUGIN: What twistd runs.
    @ivar name: Its name in playground.json.
    @ivar data: Its data folder; None if it has no data.
    @ivar log: Where its log goes.
    """

    PLUGIN = ""

    def __init__(self, name: str, folder: Path, data: Path | None, options: str) -> None:
        """
        Write its configuration.

        @raise OSError: The folder can't be written.
        """
        self.name = name
        self.data = data
        self.log = folder / f"{name}.log"
        self._ini = folder / f"{name}.ini"
        self._ini.write_text(f"# Written by `tinykv playground` at each start.\n{options}", "utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def answers(self) -> bool:
        """Say if it's ready."""

    @abstractmethod
    def ports(self) -> dict[str, int | None]:
        """Give its ports, by what they're for."""

    def start(self, unblock: Iterable[signal.Signals]) -> None:
        """
        Start the process.

        @param unblock: The signals that are blocked here and must reach it.
        @raise OSError: It can't be started.
        """
        if self.log.exists():
            os.replace(self.log, self.log.with_name(self.log.name + ".old"))
        command = [*_TWISTD, *self._arguments]
        signals = list(unblock)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, signals),  # noqa: PLW1509 - no threads yet
            )

    @property
    def _arguments(self) -> list[str]:
        return ["--nodaemon", "--pidfile=", self.PLUGIN, "--config", str(self._ini)]

    @property
    def by_hand(self) -> str:
        """Give the command that starts it on a terminal of its own."""
        script = Path(sys.executable).with_name("twistd")
        return shlex.join([*([str(script)] if script.exists() else _TWISTD), *self._arguments])

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process, once started."""
        assert self._process is not None
        return self._process

    def ended(self) -> str | None:
        """Say how the process ended; None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        return f"status {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"

    def ask_to_stop(self) -> None:
        """Tell the process to end in order."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self, seconds: float) -> str:
        """Wait for the end that was asked for, kill the process if it doesn't come in time, and say how it went."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            # The whole group: the writers would go on otherwise.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return (
                f"{self.name} didn't stop within {seconds:.0f} s and was killed; nothing acknowledged is lost, the next"
                " start replays its log"
            )
        # When all is done twistd ends by the very signal that asked it to.
        if code in (0, -signal.SIGTERM):
            where = "" if self.data is None else f"; its data is in {self.data}"
            return f"{self.name} has stopped{where}"
        return f"{self.name} has stopped, but not in order ({self.ended()}); see {self.log}"

    def tail(self) -> list[str]:
        """Give the last lines of its log."""
        return tail(self.log)

    def described(self) -> dict[str, Any]:
        """Describe it as playground.json does."""
        return {"name": self.name, "pid": self.process.pid, "ports": self.ports(), "log": str(self.log)}


def tail(log: Path) -> list[str]:
    """Give the last lines of a log."""
    return _end(log)[-TAIL_LINES:]


def _end(log: Path) -> list[str]:
    """Give the lines in the last bytes of a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "backslashreplace")
    except OSError as problem:
        return [f"({log} can't be read: {problem.strerror})"]
    return text.splitlines()


def last_words(log: Path) -> str:
    """Say in one line why a store didn't start: its own word for it, or where to look."""
    said = [why for _, mark, why in (line.partition("tinykv: ") for line in tail(log)) if mark]
    return said[-1] if said else f"see {log}"


def last_error(log: Path) -> str | None:
    """Give the last line near the end of a log that tells of an error; None if there's none."""
    errors = [line for line in _end(log) if line.split(" ", 2)[1:2] == ["error"]]
    return errors[-1] if errors else None


def is_healthy(host: str, port: int) -> bool:
    """Ask a daemon's HTTP port whether it serves."""
    connection = HTTPConnection(host, port, timeout=_ASK_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
