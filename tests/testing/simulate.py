"""
All scenarios of simulated stores, for `make sim`: a seed is a run, and every failing one can be seen again.
"""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

from tests.proofs.report import digest_of_sources
from tests.sources import ROOT
from tests.testing.cluster import Cluster
from tests.testing.one_store import OneStore
from tinykv.testing.simulation.runner import main
from tinykv.testing.simulation.scenario import Scenario

SCENARIOS: Final[list[Scenario]] = [OneStore(), Cluster()]


def sources() -> str:
    """Sum up the sources that a run depends on."""
    own = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return f"{digest_of_sources(ROOT)} {sha256(own).hexdigest()}"


if __name__ == "__main__":
    sys.exit(
        main(
            SCENARIOS,
            sys.argv[1:],
            program="python -m tests.testing.simulate",
            folder=ROOT / "build" / "simulation",
            sources=sources(),
        )
    )
