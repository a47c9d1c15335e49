"""What must hold in a replicated log, told rightly and wrongly."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tinykv.testing.simulation.replication import PROBLEMS_MAX, ReplicationChecker


class CheckerTests(SynchronousTestCase):
    """Each rule: what is allowed, and what isn't."""

    def setUp(self) -> None:
        """Begin."""
        self.checker = ReplicationChecker(lambda: 1_500_000)

    def says(self, *parts: str) -> None:
        """Expect one problem, with these words."""
        (problem,) = self.checker.problems
        for part in ("1.500000 s", *parts):
            self.assertIn(part, problem)

    def test_one_leader_in_a_term(self) -> None:
        self.checker.leads("a", 1)
        self.checker.leads("a", 1)
        self.checker.leads("b", 2)
        self.assertEqual(self.checker.problems, [])
        self.checker.leads("b", 1)
        self.says("b leads in term 1, as a does or did")

    def test_one_vote_in_a_term(self) -> None:
        self.checker.votes("a", 1, 2)
        self.checker.votes("a", 1, 2)
        self.checker.votes("b", 1, 3)
        self.checker.votes("a", 2, 3)
        self.assertEqual(self.checker.problems, [])
        self.checker.votes("a", 1, 1)
        self.says("a votes for peer 1 in term 1", "voted for peer 2")

    def test_logs_that_match(self) -> None:
        self.checker.writes("a", 0, 1, [(1, b"x"), (1, b"y"), (2, b"z")])
        self.checker.writes("b", 1, 2, [(1, b"y"), (3, b"other")])
        self.checker.writes("b", 0, 1, [(1, b"x")])
        self.assertEqual(self.checker.problems, [])

    def test_an_entry_with_other_data(self) -> None:
        self.checker.writes("a", 0, 1, [(1, b"x")])
        self.checker.writes("b", 0, 1, [(1, b"y")])
        self.says("b writes entry 1 of term 1, which is another than with a")

    def test_an_entry_behind_another_one(self) -> None:
        self.checker.writes("a", 1, 5, [(3, b"x")])
        self.checker.writes("b", 2, 5, [(3, b"x")])
        self.says("b writes entry 5 of term 3, which follows an entry of another term than with a")

    def test_terms_never_fall_along_a_log(self) -> None:
        self.checker.writes("a", 0, 1, [(2, b"x"), (1, b"y")])
        self.says("a writes entry 2 of term 1 behind one of term 2")

    def test_the_same_is_applied_everywhere(self) -> None:
        self.assertTrue(self.checker.applies("a", 1, 1, b"x"))
        self.assertFalse(self.checker.applies("b", 1, 1, b"x"))
        self.assertTrue(self.checker.applies("b", 2, 1, b"y"))
        self.assertEqual((self.checker.problems, self.checker.applied_to), ([], 2))
        self.checker.applies("a", 2, 2, b"y")
        self.says("a applies an entry of term 2 at 2, where b has applied one of term 1")

    def test_other_data_is_another_entry(self) -> None:
        self.checker.applies("a", 1, 1, b"x")
        self.checker.applies("b", 1, 1, b"y")
        self.says("b applies an entry of term 1", "with other data")

    def test_nothing_is_left_out(self) -> None:
        self.checker.applies("a", 1, 1, b"x")
        self.checker.applies("a", 3, 1, b"x")
        self.says("a applies entry 3 before anyone has applied 2")

    def test_a_majority_has_what_is_applied(self) -> None:
        self.checker.decided("a", 1, 2, 3)
        self.checker.decided("a", 1, 3, 5)
        self.assertEqual(self.checker.problems, [])
        self.checker.decided("a", 1, 2, 4)
        self.says("a applies entry 1, which is on 2 of 4 disks")

    def test_a_leader_that_counts_what_is_old(self) -> None:
        self.checker.commits("a", 7, 2, 4)
        self.says("a leads in term 4 and takes entry 7 of term 2 for committed by itself")

    def test_one_lease_at_a_time(self) -> None:
        self.checker.leases(["a"])
        self.checker.leases([])
        self.assertEqual(self.checker.problems, [])
        self.checker.leases(["a", "c"])
        self.says("a and c each hold a lease")

    def test_rows_at_the_same_index(self) -> None:
        self.checker.rows("a", 8, b"1")
        self.checker.rows("b", 8, b"1")
        self.checker.rows("b", 16, b"2")
        self.assertEqual((self.checker.problems, self.checker.rows_compared), ([], 1))
        self.checker.rows("a", 16, b"3")
        self.says("the rows of a as of entry 16 differ from those of b")

    def test_everyone_has_everything_in_the_end(self) -> None:
        self.checker.applies("a", 1, 1, b"x")
        self.checker.converged({"a": 1, "b": 2})
        self.assertEqual(self.checker.problems, [])
        self.checker.converged({"a": 1, "b": 0})
        self.says("b has applied up to 0 at the end, though 1 was applied")

    def test_the_first_problems_are_enough(self) -> None:
        for term in range(100):
            self.checker.leads("a", term)
            self.checker.leads("b", term)
        self.assertEqual(len(self.checker.problems), PROBLEMS_MAX)
