"""
Where the store tells how long its slow steps took.
"""

from __future__ import annotations

from typing import Protocol


class Histogram(Protocol):
    """Takes observations, as C{prometheus_client.Histogram} does."""

    def observe(self, amount: float) -> None:
        """Take one."""


class Durations(Protocol):
    """Where the host tells how long its slow steps took; see L{tinykv.server.metrics.Metrics}."""

    @property
    def log_commit_seconds(self) -> Histogram:
        """From handing a turn's entries to the log writer until they're durable."""

    @property
    def log_commit_bytes(self) -> Histogram:
        """The bytes of such entries."""

    @property
    def flush_seconds(self) -> Histogram:
        """From handing a table to the data writer until it's in data.db."""

    @property
    def flush_bytes(self) -> Histogram:
        """The memory of such a table."""

    @property
    def turn_seconds(self) -> Histogram:
        """How long applying what was decided held the reactor at a time."""
