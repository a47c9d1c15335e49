"""The rows of trees: golden bytes, and what happens to damaged ones."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.tree_store import MemoryNodes
from tinykv.errors import Damaged
from tinykv.redis.tree import KeyedTree, Node, SequenceTree, decode_node
from tinykv.redis.tree_nodes import (
    BRANCH_KEYED,
    BRANCH_SEQUENCE,
    LEAF_KEYS,
    LEAF_PAIRS,
    LEAF_SEQUENCE,
    shortest_bound,
)

GOLDEN = {
    "01 02000000 01000000 02000000 61 6262": Node(0, LEAF_KEYS, [b"a", b"bb"], None, [], []),
    "02 02000000 01000000 01000000 02000000 00000000 61 62 7878": Node(
        0, LEAF_PAIRS, [b"a", b"b"], [b"xx", b""], [], []
    ),
    "03 03000000 01000000 00000000 01000000 7a 61": Node(0, LEAF_SEQUENCE, [b"z", b"", b"a"], None, [], []),
    "04 02000000 05000000 01020000 8000000000000000 0100000000000080 01000000 6d": Node(
        0, BRANCH_KEYED, [b"m"], None, [5, 513], [128, 2**63 + 1]
    ),
    "05 01000000 05000000 0200000000000000": Node(0, BRANCH_SEQUENCE, [], None, [5], [2]),
}


class FormatTests(SynchronousTestCase):
    """Rows that older versions wrote stay readable."""

    def test_golden(self) -> None:
        for text, node in GOLDEN.items():
            row = bytes.fromhex(text)
            assert node.encode() == row
            again = decode_node(row)
            for part in ("kind", "entries", "values", "ids", "counts", "payload"):
                assert getattr(again, part) == getattr(node, part)
            assert again.size == node.size > len(row)

    def test_golden_roots(self) -> None:
        nodes = MemoryNodes()
        tree = KeyedTree(nodes)
        assert tree.encode_root().hex(" ", 1) == "00 01 00 00 00" + " 00" * 9 + " 02 00 00 00 00"
        for i in range(300):
            tree.put(b"%03d" % i, b"v")
        tree.remove_range_by_rank(0, 120)
        assert tree.encode_root() == bytes.fromhex(
            "01 04000000 b400000000000000 01 02000000"
            "04 02000000 01000000 03000000 6a00000000000000 4a00000000000000 03000000 323236"
        )
        assert sorted(nodes.flush_all()) == [b"n00000001", b"n00000003"]

    @given(st.binary(max_size=6), st.binary(max_size=6))
    @settings(deadline=None)
    def test_shortest_bound(self, left: bytes, right: bytes) -> None:
        if left == right:
            return
        left, right = sorted((left, right))
        bound = shortest_bound(left, right)
        assert left < bound <= right and right.startswith(bound)
        assert not left < bound[:-1]


class DamageTests(SynchronousTestCase):
    """Damaged rows are named, never believed."""

    def test_cut_or_longer(self) -> None:
        for text in GOLDEN:
            row = bytes.fromhex(text)
            for end in range(len(row)):
                self.assertRaises(Damaged, decode_node, row[:end])
            self.assertRaises(Damaged, decode_node, row + b"x")

    def test_impossible(self) -> None:
        for node in (
            Node(0, 9, [b"a"], None, [], []),
            Node(0, LEAF_KEYS, [b"b", b"a"], None, [], []),
            Node(0, LEAF_PAIRS, [b"a", b"a"], [b"", b""], [], []),
            Node(0, BRANCH_KEYED, [b"b", b"a"], None, [1, 2, 3], [1, 1, 1]),
            Node(0, BRANCH_KEYED, [b"a"], None, [1, 1], [1, 1]),
            Node(0, BRANCH_SEQUENCE, [], None, [1, 0], [1, 1]),
            Node(0, BRANCH_SEQUENCE, [], None, [1, 2], [1, 0]),
            Node(0, BRANCH_SEQUENCE, [], None, [], []),
        ):
            self.assertRaises(Damaged, decode_node, node.encode())

    @given(st.sampled_from(sorted(GOLDEN)), st.data())
    @settings(deadline=None)
    def test_any_byte(self, text: str, data: st.DataObject) -> None:
        """A changed byte gives another node or Damaged, no other error."""
        row = bytearray.fromhex(text)
        row[data.draw(st.integers(0, len(row) - 1))] = data.draw(st.integers(0, 255))
        try:
            node = decode_node(bytes(row))
        except Damaged:
            return
        assert node.encode() == bytes(row)

    def test_root(self) -> None:
        tree = SequenceTree(nodes := MemoryNodes())
        tree.extend(b"%d" % i for i in range(300))
        root = tree.encode_root()
        for end in range(len(root)):
            self.assertRaises(Damaged, SequenceTree.decode, nodes, root[:end])
        for at in (0, 5, 13):
            wrong = bytearray(root)
            wrong[at] = 200
            self.assertRaises(Damaged, SequenceTree.decode, nodes, bytes(wrong))
        self.assertRaises(Damaged, KeyedTree.decode, nodes, root)

    def test_wrong_child(self) -> None:
        """A child of another kind, or with another count than its parent says, isn't used."""
        tree = SequenceTree(nodes := MemoryNodes())
        tree.extend(b"%d" % i for i in range(300))
        rows = nodes.flush_all()
        row_key = nodes.row_key(tree.root.ids[0])
        for wrong in (
            Node(0, LEAF_SEQUENCE, [b"a"], None, [], []),
            Node(0, LEAF_KEYS, decode_node(rows[row_key]).entries[:1], None, [], []),
        ):
            nodes.cache.young.clear()
            rows[row_key] = wrong.encode()
            self.assertRaises(Damaged, tree.get, 0)
