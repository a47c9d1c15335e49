"""
Rests within commands that take long.

What works on many items calls a L{Pause} every now and then. It may come back at once or let the whole command rest
for a while (L{tinykv.store.pacing}); the one who calls it can't tell, and nobody touches the region's data meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Pause = Callable[[], None]

#: Items between two pauses: some hundred microseconds of work.
PACE: Final = 256


def go_on() -> None:
    """Never rest."""
