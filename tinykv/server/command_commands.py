"""
COMMAND: what this server's commands are.

@see: U{https://redis.io/commands/command/}
"""

from __future__ import annotations

from tinykv.server.routes import connection
from tinykv.server.session import Session


@connection("command")
def command(session: Session, number: int, request: list[bytes]) -> bytes:
    """Describe every command."""
    return session.front.descriptions.every(session.proto)


@connection("command|count")
def command_count(session: Session, number: int, request: list[bytes]) -> bytes:
    """Count the commands."""
    return session.front.descriptions.count()


@connection("command|docs")
def command_docs(session: Session, number: int, request: list[bytes]) -> bytes:
    """Describe commands for a reader."""
    return session.front.descriptions.docs(request[2:], session.proto)


@connection("command|info")
def command_info(session: Session, number: int, request: list[bytes]) -> bytes:
    """Describe commands for a client library."""
    return session.front.descriptions.info(request[2:], session.proto)


@connection("command|list")
def command_list(session: Session, number: int, request: list[bytes]) -> bytes:
    """Name the commands."""
    return session.front.descriptions.list_names(request[2:])


@connection("command|getkeys")
def command_getkeys(session: Session, number: int, request: list[bytes]) -> bytes:
    """Pick the keys out of a whole command."""
    return session.front.descriptions.getkeys(request[2:])


@connection("command|getkeysandflags")
def command_getkeysandflags(session: Session, number: int, request: list[bytes]) -> bytes:
    """Pick the keys out of a whole command, with what it does to each."""
    return session.front.descriptions.getkeysandflags(request[2:], session.proto)


@connection("command|help")
def command_help(session: Session, number: int, request: list[bytes]) -> bytes:
    """Say what there is."""
    return session.front.descriptions.help()
