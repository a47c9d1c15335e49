"""
What all daemons have alike: their command line, how they refuse to start, and their clocks.
"""

from __future__ import annotations

import sys
import time
from typing import Final, NoReturn

from twisted.python import usage

#: Exit status after a failure while serving (EX_SOFTWARE of sysexits).
EXIT_FAILED: Final = 70

#: Where there's no clock that counts while the system sleeps (macOS has it under another name), the monotonic one.
_UPTIME: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Options(usage.Options):
    """The command line of a daemon."""

    optParameters = [
        ["config", "c", None, "The INI file; the one in etc/ shows every option with its default."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self.overrides: dict[str, str] = {}

    def opt_set(self, assignment: str) -> None:
        """Set one option of the file from here: --set name=value; may be given several times."""
        name, equals, value = assignment.partition("=")
        if not equals:
            raise usage.UsageError(f"--set {assignment}: name=value is needed")
        self.overrides[name] = value


def refuse(why: str) -> NoReturn:
    """
    End before anything is served: one line and exit status 1.

    A usage error, which twistd offers for this, would be a page of help and, at this point, a traceback.
    """
    print(f"tinykv: {why}", file=sys.stderr, flush=True)
    raise SystemExit(1)


def now_ms() -> int:
    """Tell the time of day, in ms since 1970."""
    return int(time.time() * 1000)


def uptime() -> float:
    """Tell the seconds since the system's start, sleep included: what leases are counted by (R18)."""
    return time.clock_gettime(_UPTIME)
