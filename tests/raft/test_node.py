"""The consensus of a group of one."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tinykv.raft.node import Entry, HardState, Node


class NodeTests(SynchronousTestCase):
    """Terms, entries, and what is decided."""

    def test_a_term_begins(self) -> None:
        """A term is written down together with its first entry, and nothing of it is decided before that's durable."""
        node = Node(3, HardState(0, 0, 0), 0)
        self.assertIsNone(node.ready())
        self.assertEqual(node.campaign(), 1)
        ready = node.ready()
        assert ready is not None
        self.assertEqual(ready.hard_state, HardState(1, 3, 0))
        self.assertEqual(ready.entries, [Entry(1, 1, b"")])
        self.assertEqual((node.last, node.stable, node.committed), (1, 0, 0))
        node.persisted(1, 1)
        self.assertEqual((node.last, node.stable, node.committed), (1, 1, 1))
        self.assertIsNone(node.ready())

    def test_after_a_restart(self) -> None:
        """What is on disk is decided; the next term is greater than any before."""
        node = Node(3, HardState(4, 3, 5), 9)
        self.assertEqual((node.last, node.stable, node.committed), (9, 9, 9))
        node.campaign()
        ready = node.ready()
        assert ready is not None
        self.assertEqual(ready.hard_state, HardState(5, 3, 9))
        self.assertEqual(ready.entries, [Entry(10, 5, b"")])

    def test_entries_overlap(self) -> None:
        """Entries are handed out once, in order, and decided as far as they're durable."""
        node = Node(1, HardState(0, 0, 0), 0)
        node.campaign()
        node.ready()
        self.assertEqual([node.propose(b"a"), node.propose(b"b")], [2, 3])
        first = node.ready()
        self.assertEqual(node.propose(b"c"), 4)
        second = node.ready()
        assert first is not None and second is not None
        self.assertEqual([entry.index for entry in first.entries + second.entries], [2, 3, 4])
        self.assertEqual((first.hard_state, second.hard_state), (None, None))
        node.persisted(1, 1)
        node.persisted(3, 1)
        self.assertEqual((node.committed, node.last), (3, 4))
        self.assertRaises(AssertionError, node.persisted, 2, 1)
        self.assertRaises(AssertionError, node.persisted, 5, 1)
        self.assertRaises(AssertionError, node.persisted, 4, 2)
        node.persisted(4, 1)
        self.assertEqual(node.committed, 4)

    def test_only_a_leader_appends(self) -> None:
        """Nothing is appended before a term has begun."""
        self.assertRaises(AssertionError, Node(1, HardState(0, 0, 0), 0).propose, b"a")

    def test_an_impossible_state(self) -> None:
        """No more is decided than there is."""
        self.assertRaises(AssertionError, Node, 1, HardState(1, 1, 5), 4)
