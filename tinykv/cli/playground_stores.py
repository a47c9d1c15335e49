"""
A store of the playground: its process, its files, and what is told about it.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from shutil import which
from typing import Any

from tinykv.config import StoreConfig, render

#: Bytes at the end of a log that are looked at.
_TAIL_BYTES = 8192
#: Lines of a log that are shown.
TAIL_LINES = 15

#: How long to wait for an answer to PING, in seconds.
_PING_SECONDS = 1.0

#: Runs twistd with the Python that runs this, wherever its script lies.
_TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")


class LocalStore:
    """
    One store as a child process.

    Beside its data folder C{DIR/NAME} lie C{NAME.ini}, written anew at every start, and C{NAME.log}, of which the one
    of the start before is kept as C{NAME.log.old}.

    @ivar name: Its name in playground.json.
    @ivar config: Its options.
    @ivar log: Where its log goes.
    """

    def __init__(self, name: str, folder: Path, config: StoreConfig) -> None:
        """
        Write its configuration.

        @raise OSError: The folder can't be written.
        """
        self.name = name
        self.config = config
        self.log = folder / f"{name}.log"
        self._ini = folder / f"{name}.ini"
        self._ini.write_text(f"# Written by `tinykv playground` at each start.\n{render(config)}", "utf-8")
        self._process: subprocess.Popen[bytes] | None = None

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
        return ["--nodaemon", "--pidfile=", "tinykv", "--config", str(self._ini)]

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

    def answers(self) -> bool:
        """Say if it answers PING."""
        try:
            with socket.create_connection((self.config.bind[0], self.config.port), _PING_SECONDS) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16) == b"+PONG\r\n"
        except OSError:
            return False

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
            return f"{self.name} has stopped; its data is in {self.config.data_dir}"
        return f"{self.name} has stopped, but not in order ({self.ended()}); see {self.log}"

    def tail(self) -> list[str]:
        """Give the last lines of its log."""
        return tail(self.log)

    def described(self) -> dict[str, Any]:
        """Describe it as playground.json does."""
        peer = self.config.peer_port if self.config.initial_stores else None
        ports = {"resp": self.config.port, "http": self.config.http_port, "peer": peer}
        return {"name": self.name, "pid": self.process.pid, "ports": ports, "log": str(self.log)}


def welcome(stores: Sequence[LocalStore]) -> list[str]:
    """Say what was started, how to connect, and how to stop."""
    first = stores[0].config
    ping = f"    python3 -c 'import redis; print(redis.Redis(port={first.port}).ping())'"
    if len(stores) == 1:
        return [
            f"TinyKV is running on {first.bind[0]}:{first.port} (process {stores[0].process.pid}).",
            "",
            f"    redis-cli -p {first.port}",
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
        ping,
        f"    {_program()} ctl --url http://{first.http_bind}:{first.http_port} members",
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


def tail(log: Path) -> list[str]:
    """Give the last lines of a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "backslashreplace")
    except OSError as problem:
        return [f"({log} can't be read: {problem.strerror})"]
    return text.splitlines()[-TAIL_LINES:]


def last_words(log: Path) -> str:
    """Say in one line why a store didn't start: its own word for it, or where to look."""
    said = [why for _, mark, why in (line.partition("tinykv: ") for line in tail(log)) if mark]
    return said[-1] if said else f"see {log}"
