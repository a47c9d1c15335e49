"""
C{make proof-sim}: simulated clusters keep their promises over thousands of seeds, and the checks see every mistake.

A cluster of three or five whole stores lives in one process, in a simulated world that a seed determines: clocks,
network, disks and the processes at them are simulated, all else is the real code. For ten seconds clients ask for reads
and writes, expiry, transactions with and without WATCH, and blocking pops, one request after another or in pipelines.
Meanwhile each kind of fault happens at random: messages are lost, late, twice, out of order; links are cut one way or
both, between groups, or break; machines lose their power, with what wasn't synced on either file; stores are killed,
paused for longer than a lease, and started again within one; stores end, either way, right where one of their commits
begins or ends, above all while they install a snapshot; a leader with entries of its own is cut off until the others'
logs begin behind them, and ends while it's brought up; disks are slow, stuck, full and failing; clocks run fast and
slow and are off; leadership is handed over, now and then to a store that the old leader can't hear; stores are added,
removed, exchanged by joint configurations and demoted; logs are cut, so that who was away is sent a snapshot.
Looked at meanwhile and at the end, when nothing has been wrong for a while:

    - at most one leader in a term, one vote of a store in a term, one holder of a lease at a time;
    - equal entries at equal index and term, and the same before them; what is applied lies on the disks of a majority,
      and nobody ever applies anything else there; leaders count entries of their own term only;
    - region time never goes back, and replicas that have applied the same have equal rows, byte by byte;
    - all stores come to the same state, and answer; one that was removed ends, but only when a majority of those who
      stay knows of it on its disks;
    - the clients' whole history is linearizable, pipelines were done in their order and once, and EXEC did nothing
      where something had changed since WATCH.

Then the stores are broken on purpose, in one place at a time: the checks must see each of these mutations, and with its
settings find nothing wrong in stores that aren't broken. Of every twenty seeds one is run in both processes, whose sets
of strings are ordered differently: it must go the same way to the last event.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.proofs.seeds import prove
from tests.testing.mutations import MUTATIONS

SEEDS = 3000
SECONDS = 3600.0


def main(arguments: Sequence[str]) -> int:
    """Run what is left of the proof."""
    return prove(
        "sim",
        "Simulated clusters",
        __doc__,
        arguments,
        scenarios=["cluster"],
        mutations=MUTATIONS,
        seeds=SEEDS,
        seconds=SECONDS,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
