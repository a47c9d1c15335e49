"""
What a person sees while a command works: progress bars on standard error, and only where someone looks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table


def printer() -> Console:
    """Make the console for results: long lines aren't broken, and nothing in them is taken for markup."""
    return Console(soft_wrap=True, markup=False, highlight=False, emoji=False)


def print_answer(answer: object, shown: Sequence[Table | str], *, as_json: bool) -> None:
    """Print what a daemon has answered: as JSON, or what is shown of it."""
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    out = printer()
    for item in shown:
        out.print(item, soft_wrap=isinstance(item, str))


def progress(*, quiet: bool = False) -> Progress:
    """
    Make a set of progress bars, to be entered as a context.

    @param quiet: Show none, as when standard output goes to the same terminal.
    """
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
        transient=True,
    )


def quoted(data: bytes) -> str:
    r"""Write bytes as redis-cli does: in double quotes, with C{\xHH} for what isn't printable ASCII."""
    return '"' + "".join(map(_QUOTED.__getitem__, data)) + '"'


def _quoted_byte(byte: int) -> str:
    named = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 13: "\\r", 34: '\\"', 92: "\\\\"}
    return named.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}")


_QUOTED = [_quoted_byte(byte) for byte in range(256)]


def stdout_is_terminal() -> bool:
    """Say if results go to a terminal."""
    return sys.stdout.isatty()
