"""
The command C{tinykv}: a group whose commands are loaded only when they're asked for.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

import tinykv as package

#: The least Python that this runs on.
NEEDED = (3, 11)

#: Where each command is defined.
COMMANDS = {
    "check": "tinykv.cli.check:check",
    "ctl": "tinykv.cli.ctl:ctl",
    "dump": "tinykv.cli.dump:dump",
    "import": "tinykv.cli.importing:import_",
    "playground": "tinykv.cli.playground:playground",
    "unsafe-recover": "tinykv.cli.unsafe_recover:unsafe_recover",
}


class LazyGroup(click.Group):
    """A group that finds the commands of L{COMMANDS}, beside those that were added to it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands."""
        return sorted([*super().list_commands(ctx), *COMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command; None if there is none of that name."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package.__version__, message="tinykv %(version)s")
def tinykv() -> None:
    """
    A Redis-compatible key-value store that keeps every acknowledged write on the disks of a majority.

    `tinykv playground` starts one to try it. A store in earnest runs as `twistd tinykv --config FILE`; see
    docs/operations.md.
    """


@tinykv.command()
def version() -> None:
    """Say which TinyKV this is, and on which Python it runs."""
    click.echo(f"tinykv {package.__version__} (Python {sys.version.split()[0]})")


def refusal(running: tuple[int, ...]) -> str | None:
    """Say why this can't run on a Python of that version; None if it can."""
    if running >= NEEDED:
        return None
    needed, found = (".".join(map(str, numbers[:3])) for numbers in (NEEDED, running))
    return f"tinykv: Python {needed} or newer is needed, and this is Python {found}"


def main() -> None:
    """Run the command line; the entry point of the script C{tinykv}."""
    why = refusal(tuple(sys.version_info[:3]))
    if why is not None:
        sys.exit(why)
    tinykv(prog_name="tinykv")
