"""What must always hold, holds whatever happens (the Raft paper, figure 3)."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.raft.cluster import Cluster
from tinykv.raft.config import RaftConfig

#: Small limits, so that windows fill, appends are cut and election follows election.
SMALL = {"tick": 1.0, "drift_bound": 0.5, "election_ticks": 5, "heartbeat_ticks": 1}
SMALL |= {"max_append_bytes": 8, "max_inflight_messages": 3, "max_inflight_bytes": 20, "max_uncommitted_bytes": 60}


class ClusterTests(SynchronousTestCase):
    """Clusters that meet with everything at once."""

    @given(st.integers(0, 2**32), st.booleans(), st.booleans())
    def test_anything(self, seed: int, pre_vote: bool, check_quorum: bool) -> None:
        """No term has two leaders, no index two entries, nothing committed is lost, and in the end all agree."""
        config = RaftConfig(**SMALL, pre_vote=pre_vote, check_quorum=check_quorum)
        cluster = Cluster(Random(seed), config)
        cluster.run(2500)
        cluster.calm_down()

    @given(st.integers(0, 2**32))
    def test_many_elections(self, seed: int) -> None:
        """Where anyone may campaign at any time, leaders follow each other."""
        cluster = Cluster(Random(seed), RaftConfig(**SMALL, pre_vote=False, check_quorum=False))
        cluster.run(2500)
        cluster.calm_down()
