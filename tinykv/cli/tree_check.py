"""
Is a counted B+tree as it must be? Walks it from the root, node by node, without the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tinykv.errors import Damaged
from tinykv.redis.tree_nodes import BRANCH_CHILDREN, LEAF_ENTRIES, Node, decode_node
from tinykv.redis.tree_shape import Tree
from tinykv.redis.value import Value


def trees_of(value: Value) -> list[Tree]:
    """Find the trees that hang on a value, whatever its type."""
    names = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
    held = [getattr(value, name, None) for name in names]
    return [item for item in held if isinstance(item, Tree)]


def check_tree(
    tree: Tree,
    read: Callable[[int], bytes | None],
    ids: set[int],
    check_key: Callable[[bytes], str | None] | None = None,
) -> Iterator[str]:
    """
    Yield what is wrong with a tree: kinds, counts, order, separators, numbers of nodes.

    @param read: Gives the row of a node by its number, or None if there's none.
    @param ids: Filled with the numbers of the nodes that the tree refers to, the root aside.
    @param check_key: Says what is wrong with a key in a leaf, or None.
    """
    free = set(tree.free_ids)
    last: bytes | None = None
    #: (node, levels below it, least key, first key past it), the next on top.
    stack: list[tuple[Node, int, bytes | None, bytes | None]] = [(tree.root, tree.height, None, None)]
    while stack:
        node, height, low, high = stack.pop()
        name = f"node {node.node_id}" if node.node_id else "the root"
        keys = node.entries if tree.keyed else []
        if keys and ((low is not None and keys[0] < low) or (high is not None and keys[-1] >= high)):
            yield f"{name} has a key outside of its bounds"
        if not height:
            if len(node.entries) > LEAF_ENTRIES:
                yield f"{name} has {len(node.entries)} entries, which are too many"
            if keys:
                if last is not None and keys[0] <= last:
                    yield f"{name} doesn't follow the one before it"
                last = keys[-1]
            if check_key is not None:
                wrong = next(filter(None, map(check_key, node.entries)), None)
                if wrong is not None:
                    yield f"{name}: {wrong}"
            continue
        if len(node.ids) > BRANCH_CHILDREN:
            yield f"{name} has {len(node.ids)} children, which are too many"
        bounds: list[bytes | None] = [low, *node.entries, high] if tree.keyed else [None] * (len(node.ids) + 1)
        for slot in range(len(node.ids) - 1, -1, -1):
            child_id = node.ids[slot]
            if child_id in ids or child_id in free or child_id >= tree.next_id:
                yield f"{name} refers to node {child_id}, whose number is free or taken by another"
                continue
            ids.add(child_id)
            row = read(child_id)
            if row is None:
                yield f"node {child_id} is missing"
                continue
            try:
                child = decode_node(row)
            except Damaged as problem:
                yield f"node {child_id}: {problem}"
                continue
            child.node_id = child_id
            if child.kind != (tree.branch_kind if height > 1 else tree.leaf_kind):
                yield f"node {child_id} is of kind {child.kind}, which can't stand there"
                continue
            if child.total() != node.counts[slot]:
                yield f"node {child_id} has {child.total()} entries, and {node.counts[slot]} are counted above it"
            stack.append((child, height - 1, bounds[slot], bounds[slot + 1]))
