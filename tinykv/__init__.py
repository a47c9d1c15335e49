"""
A Redis-compatible key-value store that keeps every acknowledged write on the disks of a majority.

`docs/architecture.md` shows how the packages fit together; imports between them point down only.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
