"""
C{make proof-regions}: stores with many regions keep their promises while these are split and move, and so does their
scheduler, over thousands of seeds; and the checks see every mistake.

As in C{make proof-sim} whole stores live in one process, in a simulated world that a seed determines, and all that
happens there to machines, disks, clocks and the network happens here too. Beside that all stores end at once, and only
some are started before the others. There are several regions, in some scenarios one at first:

    - C{regions}: they stay as they are, each a group with a leader of its own;
    - C{moves}: replicas are given, taken and moved at any time, a store without any among them;
    - C{splits}: regions are split at any time, C{splits-moves}: while replicas come and go as well;
    - C{merges}: neighbours are merged at any time, and split; C{merges-moves}: while replicas come and go as well, and
      stores are away until they need a snapshot of the region that has taken theirs in;
    - C{gateway-splits}: clients come through gateways, which end and begin anew, and ask for what is about all keys;
    - C{scheduled}: whole clusters. A scheduler of three members places the replicas of five stores, two of which come
      as new ones. Its members are killed, one by one and all at once, cut off, stand still, and have their clocks set
      by up to an hour. Stores are drained until they're tombstones, may stay after all, or are lost for good.

Looked at beside what C{make proof-sim} looks at, region by region:

    - all keys lie in exactly one region in each state of the cluster that was ever decided, and no store serves a
      region but as it was decided; nobody holds a lease on a region as it was before a split;
    - a peer that was destroyed leaves no rows and no promises, and never comes back;
    - DBSIZE, KEYS, SCAN and RANDOMKEY know of every key that was acknowledged, once, and of none that was deleted;
      what deletes all keys does so in each region at one moment, which the clients' histories leave room for;
    - the scheduler gives no id twice, and timestamps that rise, whichever member gives them; it believes nothing of a
      region that wasn't decided, nor anything older than what it believed; gives no replica to a store that is being
      drained; and a tombstone stays one;
    - when nothing is wrong any more all regions have three replicas, on stores that are up, the scheduler knows them as
      they are, and what was to be drained is drained.

Then stores and schedulers are broken on purpose, in one place at a time: the checks must see each of these mutations,
and with its settings find nothing wrong in what isn't broken. Of every twenty seeds one is run in both processes, whose
sets of strings are ordered differently: it must go the same way to the last event.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from tests.proofs.seeds import prove
from tests.testing.region_mutations import REGION_MUTATIONS

#: Of all scenarios together.
SEEDS: Final = 3000
SECONDS: Final = 5400.0
SCENARIO_NAMES: Final = (
    "regions", "moves", "splits", "splits-moves", "merges", "merges-moves", "gateway-splits", "scheduled",
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Run what is left of the proof."""
    return prove(
        "regions",
        "Simulated regions",
        __doc__,
        arguments,
        scenarios=SCENARIO_NAMES,
        mutations=REGION_MUTATIONS,
        seeds=SEEDS,
        seconds=SECONDS,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
