"""
How the interpreter is set up for a daemon.
"""

from __future__ import annotations

import gc


def tune_collector() -> None:
    """
    Let the cycle collector run seldom, and not over what was there at the start.

    The values of the cache are no cycles: they go when the last reference does. A full collection walks over all of
    them for nothing, some 50 ms a million objects, which would be in every tail latency.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1000)
