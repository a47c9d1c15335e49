"""
Where the store tells how long its slow steps took.
"""

from __future__ import annotations

from typing import Protocol

from tinykv.interfaces import ApplyDurations, Histogram


class Durations(ApplyDurations, Protocol):
    """Where the host tells how long its slow steps took; see L{tinykv.server.metrics.Metrics}."""

    @property
    def log_commit_seconds(self) -> Histogram:
        """From handing a turn's entries to the log writer until they're durable."""

    @property
    def log_commit_bytes(self) -> Histogram:
        """The bytes of such entries."""
