"""
What a front asks of the data here and now, where there's none: a gateway has clients, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tinykv.keys import DATABASES
from tinykv.redis.operations import NOBODY, Client

if TYPE_CHECKING:
    from tinykv.gateway.waiters import GatewayWaiters


class NoDatabase:
    """A database of which nothing is known here."""

    keys: Final = 0
    expiring: Final = 0


class NoSettings:
    """The logged settings, of which nothing is known here: the stores go by them."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}


class NoKeyspace:
    """The data, which is elsewhere."""

    memory: Final = 0
    budget: Final = 0
    changes: Final = 0

    def __init__(self) -> None:
        self.settings = NoSettings()
        self.databases = [NoDatabase()] * DATABASES
        self.misses = 0
        self.expired_keys = 0


class NoExecution:
    """
    The commands, which are at work elsewhere.

    @ivar waiters: The clients of this gateway that wait in the region.
    """

    time: Final = 0

    def __init__(self, waiters: GatewayWaiters) -> None:
        self.keyspace = NoKeyspace()
        self.waiters = waiters
        self.refused: Callable[[Client, str, bytes], None] = lambda client, name, text: None
        self.waiting_client: Callable[[int, int], Client] = lambda client_id, number: NOBODY
