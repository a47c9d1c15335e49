"""
All scenarios of simulated stores, for `make sim`: a seed is a run, and every failing one can be seen again.
"""

from __future__ import annotations

import sys
from typing import Final

from twisted.logger import globalLogBeginner

from tests.proofs.report import digest_of_sources
from tests.sources import ROOT
from tests.testing.cluster import Cluster
from tests.testing.gateway_cluster import (
    GatewayCluster,
    GatewayMovingCluster,
    GatewayRegionCluster,
    GatewaySplitCluster,
)
from tests.testing.merge_cluster import MergeCluster, MergeMovingCluster, StraddledMergeCluster
from tests.testing.one_store import OneStore
from tests.testing.region_cluster import MovingCluster, RegionCluster
from tests.testing.scheduled_cluster import ScheduledCluster
from tests.testing.split_cluster import SplitCluster, SplitMovingCluster, StraddledCluster
from tinykv.testing.simulation.runner import main
from tinykv.testing.simulation.scenario import Scenario

SCENARIOS: Final[list[Scenario]] = [
    OneStore(), Cluster(), RegionCluster(), MovingCluster(), GatewayCluster(), GatewayRegionCluster(),
    GatewayMovingCluster(), SplitCluster(), StraddledCluster(), SplitMovingCluster(), GatewaySplitCluster(),
    ScheduledCluster(), MergeCluster(), StraddledMergeCluster(), MergeMovingCluster(),
]  # fmt: skip


def be_quiet() -> None:
    """Let nothing be logged: what simulated stores have to say of their faults is of no interest."""
    globalLogBeginner.beginLoggingTo((), discardBuffer=True, redirectStandardIO=False)


if __name__ == "__main__":
    be_quiet()
    sys.exit(
        main(
            SCENARIOS,
            sys.argv[1:],
            program="python -m tests.testing.simulate",
            folder=ROOT / "build" / "simulation",
            sources=digest_of_sources(ROOT),
        )
    )
