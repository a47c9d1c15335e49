"""
How a command of the command line refuses: one line that says what is wrong and what to do, and exit status 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from tinykv.errors import Fault


class Problem(click.ClickException):
    """The command can't do what it was asked to. Its text is for the person who asked."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"tinykv: {self.format_message()}", file=file, err=file is None)


@contextmanager
def problems_of(what: str) -> Iterator[None]:
    """
    Turn what the files of a store and the system refuse inside into a L{Problem}.

    @param what: The file or address concerned, for errors that don't name one.
    """
    try:
        yield
    except Fault as problem:
        raise Problem(str(problem)) from problem
    except OSError as problem:
        raise Problem(f"{problem.filename or what}: {problem.strerror or problem}") from problem
