"""
Ways to break stores with several regions, or their scheduler, are seen; unbroken all is well. The proof tries them all.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.testing.region_mutations import REGION_MUTATIONS, RegionMutation


class RegionMutationTests(SynchronousTestCase):
    """Within some seeds, by a check that says what is wrong."""

    def look(self, mutation: RegionMutation) -> None:
        """Break them, and don't."""
        found = mutation.caught()
        # A store that fails at what it finds says so in its log.
        self.flushLoggedErrors()
        assert found is not None, "no seed showed it"
        seed, _ = found
        self.assertEqual(mutation.run(seed, broken=False).problems, [], f"unbroken, seed {seed}")


def _test_of(mutation: RegionMutation) -> Callable[[RegionMutationTests], None]:
    return lambda case: case.look(mutation)


for _mutation in (mutation for mutation in REGION_MUTATIONS if mutation.short):
    setattr(RegionMutationTests, "test_" + _mutation.name.replace(" ", "_"), _test_of(_mutation))
