"""
Child processes of tests: started with this checkout on their path, waited for with a deadline, never left behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.redis_server import Argument, BlockingClient, ReplyError
from tests.sources import ROOT

#: How long anything may take that a test waits for, in seconds; a busy machine takes its time.
PATIENCE = 30.0
_POLL = 0.02

#: The command line of a store, without its arguments.
TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile=", "tinykv")
#: The command line `tinykv`, without its arguments.
TINYKV = (sys.executable, "-c", "from tinykv.cli.main import main; main()")


def wait_until(true: Callable[[], bool], what: str) -> None:
    """
    Wait until something is so.

    @param what: Named when it isn't within L{PATIENCE}.
    """
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(_POLL)


def ask_again(client: BlockingClient, *arguments: Argument) -> Any:
    """
    Return the reply to a command that may be done twice: it's asked again while a store waits in vain for a disk or
    for the others, which a busy machine can hold up for longer than a test has stores wait.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        reply = client.attempt(*arguments)
        refused = isinstance(reply, ReplyError) and str(reply).startswith(("TRYAGAIN", "TIMEOUT", "CLUSTERDOWN"))
        if not refused or time.monotonic() > deadline:
            return reply
        time.sleep(_POLL)


def environment(extra: Mapping[str, str] = {}) -> dict[str, str]:
    """Give the environment of a child that finds this checkout."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH", "")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200", **extra}


class Process:
    """
    A running child with its output in a file.

    @ivar pid: Its process id.
    """

    def __init__(
        self, command: Sequence[str], output: Path, *, extra: Mapping[str, str] = {}, pass_fds: Sequence[int] = ()
    ) -> None:
        self._output = output
        with output.open("wb") as file:
            self._popen = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment(extra),
                cwd=output.parent,
                pass_fds=tuple(pass_fds),
            )
        self.pid = self._popen.pid

    @property
    def output(self) -> str:
        """What it printed so far."""
        return self._output.read_text("utf-8")

    @property
    def ended(self) -> bool:
        """Whether it has come to its end."""
        return self._popen.poll() is not None

    def wait_for(self, true: Callable[[], bool], what: str) -> None:
        """Wait until something is so, but not if the process has ended."""

        def looked() -> bool:
            if true():
                return True
            if self.ended:
                raise AssertionError(f"ended with {self._popen.returncode} before {what}:\n{self.output}")
            return False

        wait_until(looked, what)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def wait(self) -> int:
        """Wait for its end, and give its exit status."""
        try:
            return self._popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it didn't end:\n{self.output}") from None

    def stop(self) -> int:
        """Ask it to end, and give its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def destroy(self) -> None:
        """End it whatever it does, if it still runs."""
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()


def children_of(pid: int) -> list[int]:
    """Name the child processes of a process; none if it has ended."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(word) for word in text.split()]


def runs(pid: int) -> bool:
    """Say if a process runs; one that has ended and that nobody has waited for doesn't."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text("latin-1")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def run(
    command: Sequence[str], *, extra: Mapping[str, str] = {}, patience: float = PATIENCE
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, which has to come within so many seconds."""
    return subprocess.run(
        list(command),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(extra),
        timeout=patience,
        check=False,
    )
