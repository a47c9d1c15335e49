"""
What can go wrong with something that was given to the links between stores.
"""

from __future__ import annotations


class SnapshotFailed(Exception):
    """A snapshot didn't get to the other store; the text says why. It may be sent again."""
