"""Trees against twins of plain dicts and lists, over a store that forgets nodes at random."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.tree_store import MemoryNodes, check_shape
from tinykv.redis.tree import KeyedTree, SequenceTree
from tinykv.redis.tree_shape import EXPECTED, FILL

SEEDS = st.integers(0, 2**32 - 1)
EXAMPLES = max(20, settings().max_examples // 4)
"""Each is a run of many operations, so there are fewer than the profile says."""


def name(number: int) -> bytes:
    """Make a key: long common prefixes now and then."""
    return b"p" * (number % 3 * 40) + b"%06d" % number


def payload(random: Random, large: bool) -> bytes:
    """Make a value, if C{large} sometimes of more than a leaf takes."""
    size = random.choice((0, 3, 30, 3000, 9000, 20000)) if large else random.randrange(8)
    return random.randbytes(1) * size


class KeyedRun:
    """A sequence of operations drawn from a seed, on a tree and on its twin."""

    def __init__(self, seed: int, forget: int | None, with_values: bool, check: bool = True) -> None:
        self.random = Random(seed)
        self.nodes = MemoryNodes(None if forget is None else Random(forget))
        self.with_values = with_values
        self.check = check
        self.tree = KeyedTree(self.nodes, with_values)
        self.twin: dict[bytes, bytes] = {}
        self.space = self.random.choice((200, 3000, 100000))
        self.large = with_values and self.random.random() < 0.4

    def value(self) -> bytes:
        return payload(self.random, self.large) if self.with_values else b""

    def key(self) -> bytes:
        number = self.random.randrange(self.space)
        if self.twin and self.random.random() < 0.4:
            keys = list(self.twin)
            return keys[number % len(keys)]
        return name(number)

    def step(self) -> None:
        """Do one operation, or a burst of one kind."""
        tree, twin, random = self.tree, self.twin, self.random
        kind = random.randrange(8)
        if kind == 0:
            key, value = self.key(), self.value()
            assert tree.put(key, value) == twin.get(key)
            twin[key] = value
        elif kind == 1:
            key = self.key()
            assert tree.remove(key) == twin.pop(key, None)
        elif kind == 2:
            for _ in range(random.randrange(300)):
                key, value = self.key(), self.value()
                assert tree.put(key, value) == twin.get(key)
                twin[key] = value
        elif kind == 3:
            for _ in range(random.randrange(250)):
                key = self.key()
                assert tree.remove(key) == twin.pop(key, None)
        elif kind == 4:
            low = random.randrange(-2, len(twin) + 3)
            high = low + random.choice((0, 1, 5, 100, 400))
            order = sorted(twin.items())[max(low, 0) : max(high, 0)]
            assert tree.remove_range_by_rank(low, high) == order
            for key, _ in order:
                del twin[key]
        elif kind == 5:
            last = max(twin, default=b"")
            items = [(last + b"+%04d" % i, self.value()) for i in range(random.choice((1, 20, 500)))]
            if len(last) < 500:
                tree.build(items)
                twin.update(items)
        elif kind == 6:
            self.step_and_back()
        else:
            self.ascending(random.randrange(200))
        self.nodes.undo.clear()
        self.nodes.between_commands()

    def ascending(self, n: int) -> None:
        """Insert at one end."""
        first = min(self.twin, default=b"m")
        for i in range(n if len(first) < 100 else 0):
            key = b"!%06d" % (999999 - len(self.twin) - i) if self.random.random() < 0.5 else b"z" + name(i)
            value = self.value()
            assert self.tree.put(key, value) == self.twin.get(key)
            self.twin[key] = value

    def step_and_back(self) -> None:
        """Do several things and undo them."""
        before = dict(self.twin)
        self.nodes.undo.clear()
        self.tree.remove_range_by_rank(3, 3 + self.random.randrange(400))
        for _ in range(self.random.randrange(100)):
            key = self.key()
            if self.random.random() < 0.5:
                self.tree.put(key, self.value())
            else:
                self.tree.remove(key)
        self.tree.build([(b"~~%06d" % i, self.value()) for i in range(200)])
        self.nodes.take_back()
        self.twin = before
        if self.check:
            assert list(self.tree.items()) == sorted(before.items())

    def compare(self) -> None:
        """Read everything back in every way."""
        tree, twin, random = self.tree, self.twin, self.random
        order = sorted(twin.items())
        keys = [key for key, _ in order]
        assert tree.count == len(tree) == len(order)
        assert list(tree.items()) == order
        assert list(tree.items(reverse=True)) == order[::-1]
        for _ in range(20):
            key = self.key()
            place = bisect_left(keys, key)
            assert tree.get(key) == twin.get(key)
            assert tree.rank(key) == (place, key in twin)
            assert list(tree.keys(key)) == keys[place:]
            assert list(tree.items(key, reverse=True)) == order[: bisect_right(keys, key)][::-1]
            rank = random.randrange(-1, len(order) + 2)
            if 0 <= rank < len(order):
                assert tree.at(rank) == order[rank]
                assert list(tree.items_by_rank(rank)) == order[rank:]
                assert list(tree.items_by_rank(rank, reverse=True)) == order[rank::-1]
            else:
                assert not list(tree.items_by_rank(rank))


class SequenceRun:
    """The same for sequences."""

    def __init__(self, seed: int, forget: int | None) -> None:
        self.random = Random(seed)
        self.nodes = MemoryNodes(None if forget is None else Random(forget))
        self.tree = SequenceTree(self.nodes)
        self.twin: list[bytes] = []
        self.large = self.random.random() < 0.4

    def value(self) -> bytes:
        return payload(self.random, self.large)

    def one(self, kind: int) -> None:
        """Do one operation."""
        tree, twin = self.tree, self.twin
        place = self.random.randrange(len(twin) + 1)
        if kind == 0:
            value = self.value()
            tree.insert(place, value)
            twin.insert(place, value)
        elif kind == 1:
            value = self.value()
            tree.append(value)
            twin.append(value)
        elif kind == 2:
            value = self.value()
            tree.push_front(value)
            twin.insert(0, value)
        elif not twin:
            return
        elif kind == 3:
            assert tree.pop_front() == twin.pop(0)
        elif kind == 4:
            assert tree.pop_back() == twin.pop()
        elif place == len(twin):
            return
        elif kind == 5:
            assert tree.delete(place) == twin.pop(place)
        else:
            value = self.value()
            assert tree.set(place, value) == twin[place]
            twin[place] = value

    def step(self) -> None:
        """Do a burst of one kind, a bulk operation, or something that is undone."""
        tree, twin, random = self.tree, self.twin, self.random
        kind = random.randrange(13)
        if kind < 7:
            for _ in range(random.choice((1, 20, 300))):
                self.one(kind)
        elif kind < 9:
            low = random.randrange(-2, len(twin) + 3)
            high = low + random.choice((0, 1, 5, 100, 400))
            assert tree.delete_range(low, high) == twin[max(low, 0) : max(high, 0)]
            del twin[max(low, 0) : max(high, 0)]
        elif kind < 11:
            values = [self.value() for _ in range(random.choice((0, 1, 20, 500)))]
            tree.extend(iter(values))
            twin += values
        elif kind == 11:
            for _ in range(100):
                self.one(random.randrange(7))
        else:
            before = twin[:]
            self.nodes.undo.clear()
            for _ in range(100):
                self.one(random.randrange(7))
            tree.delete_range(20, 300)
            tree.extend([b"e"] * 200)
            self.nodes.take_back()
            self.twin = before
        self.nodes.undo.clear()
        self.nodes.between_commands()

    def compare(self) -> None:
        """Read everything back in every way."""
        tree, twin = self.tree, self.twin
        assert tree.count == len(twin)
        assert list(tree.items()) == twin
        assert list(tree.items(len(twin) - 1, reverse=True)) == twin[::-1]
        for _ in range(20):
            place = self.random.randrange(len(twin) + 1)
            if place < len(twin):
                assert tree.get(place) == twin[place]
                assert list(tree.items(place)) == twin[place:]
                assert list(tree.items(place, reverse=True)) == twin[place::-1]
            else:
                assert not list(tree.items(place))


class TwinTests(SynchronousTestCase):
    """A tree holds what its twin holds, whatever is forgotten meanwhile."""

    @given(SEEDS, st.booleans(), st.integers(1, 30))
    @settings(max_examples=EXAMPLES, deadline=None)
    def test_keyed(self, seed: int, with_values: bool, steps: int) -> None:
        run = KeyedRun(seed, seed + 1, with_values)
        for _ in range(steps):
            run.step()
        run.compare()
        check_shape(run.tree, run.nodes)

    @given(SEEDS, st.integers(1, 30))
    @settings(max_examples=EXAMPLES, deadline=None)
    def test_sequence(self, seed: int, steps: int) -> None:
        run = SequenceRun(seed, seed + 1)
        for _ in range(steps):
            run.step()
        run.compare()
        check_shape(run.tree, run.nodes)

    @given(SEEDS)
    @settings(max_examples=EXAMPLES // 5, deadline=None)
    def test_three_levels(self, seed: int) -> None:
        """Large values make leaves of a few entries, so that branches are cut and joined too."""
        random = Random(seed)
        nodes = MemoryNodes(Random(seed + 1))
        tree = KeyedTree(nodes)
        twin = {}
        value = b"v" * 9000
        for number in random.sample(range(100000), 600):
            tree.put(b"%05d" % number, value)
            twin[b"%05d" % number] = value
        assert tree.height == 2
        check_shape(tree, nodes)
        for key in random.sample(sorted(twin), 590):
            assert tree.remove(key) == twin.pop(key)
            nodes.undo.clear()
        assert list(tree.items()) == sorted(twin.items())
        check_shape(tree, nodes)

    def test_reopened(self) -> None:
        """A tree goes on from its encoded root and rows."""
        nodes = MemoryNodes()
        tree = KeyedTree(nodes)
        tree.build((b"%06d" % i, b"%d" % i) for i in range(20000))
        tree.remove_range_by_rank(100, 9000)
        nodes.flush_all()
        again = KeyedTree.decode(nodes, tree.encode_root())
        assert again.encode_root() == tree.encode_root()
        assert again.count == 11100 and again.get(b"009000") == b"9000"
        again.put(b"new", b"1")
        check_shape(again, nodes)
        sequence = SequenceTree(MemoryNodes())
        sequence.extend(b"%d" % i for i in range(1000))
        again_sequence = SequenceTree.decode(sequence.nodes, sequence.encode_root())
        assert list(again_sequence.items(995)) == [b"995", b"996", b"997", b"998", b"999"]


class DeterminismTests(SynchronousTestCase):
    """What is forgotten never shows in the rows."""

    def both(self, make: Callable[[int | None], KeyedRun | SequenceRun], steps: int) -> None:
        """Run the same operations without and with forgetting, and compare the bytes."""
        results = []
        for forget in (None, 1, 2):
            run = make(forget)
            for _ in range(steps):
                run.step()
            results.append((run.tree.encode_root(), dict(run.nodes.flush_all())))
        assert results[0] == results[1] == results[2]

    @given(SEEDS, st.booleans(), st.integers(1, 25))
    @settings(max_examples=EXAMPLES // 4, deadline=None)
    def test_keyed(self, seed: int, with_values: bool, steps: int) -> None:
        self.both(lambda forget: KeyedRun(seed, forget, with_values, check=False), steps)

    @given(SEEDS, st.integers(1, 25))
    @settings(max_examples=EXAMPLES // 4, deadline=None)
    def test_sequence(self, seed: int, steps: int) -> None:
        self.both(lambda forget: SequenceRun(seed, forget), steps)


class EdgeTests(SynchronousTestCase):
    """Ends, errors, and what an operation costs in nodes."""

    def test_empty(self) -> None:
        tree = KeyedTree(MemoryNodes())
        assert tree and not len(tree)
        assert tree.get(b"a") is tree.remove(b"a") is None
        assert tree.rank(b"a") == (0, False)
        assert not list(tree.items()) and not list(tree.items(b"a", reverse=True))
        assert tree.remove_range_by_rank(0, 10) == []
        self.assertRaises(IndexError, tree.at, 0)

    def test_long_walks_say_what_comes(self) -> None:
        """A walk over some leaves announces nothing; a long one each leaf behind the first ones, once and in order."""
        store = MemoryNodes()
        tree = SequenceTree(store)
        tree.extend(b"%05d" % number for number in range(FILL * 300))
        for reverse in (False, True):
            walk = tree.items(len(tree) - 1 if reverse else 0, reverse)
            for _ in range(FILL * EXPECTED):
                next(walk)
            self.assertEqual(store.expected, [])
            next(walk)
            self.assertEqual(len(store.expected), EXPECTED)
            for _ in walk:
                pass
            self.assertEqual(len(set(store.expected)), len(store.expected))
            self.assertGreater(len(store.expected), 300 - 3 * EXPECTED)
            self.assertLess(len(store.expected), 300)
            store.expected.clear()

    def test_sequence_positions(self) -> None:
        tree = SequenceTree(MemoryNodes())
        self.assertRaises(IndexError, tree.pop_back)
        self.assertRaises(IndexError, tree.pop_front)
        tree.extend([b"a", b"b"])
        for call in (tree.get, tree.delete):
            self.assertRaises(IndexError, call, 2)
            self.assertRaises(IndexError, call, -1)
        self.assertRaises(IndexError, tree.set, 2, b"")
        self.assertRaises(IndexError, tree.insert, 3, b"")
        assert list(tree.items()) == [b"a", b"b"]

    def test_build_wants_order(self) -> None:
        nodes = MemoryNodes()
        tree = KeyedTree(nodes, False)
        tree.put(b"k")
        nodes.undo.clear()
        self.assertRaises(ValueError, tree.build, [(b"k", b"")])
        self.assertRaises(ValueError, tree.build, [(b"m", b""), (b"l", b"")])
        nodes.take_back()
        assert list(tree.keys()) == [b"k"]

    def test_clear(self) -> None:
        nodes = MemoryNodes()
        tree = KeyedTree(nodes, False)
        tree.build((b"%05d" % i, b"") for i in range(5000))
        nodes.undo.clear()
        tree.clear()
        assert tree.encode_root()[5:13] == bytes(8) and not tree.height
        check_shape(tree, nodes)
        nodes.take_back()
        assert len(list(tree.keys())) == 5000
        sequence = SequenceTree(MemoryNodes())
        sequence.extend([b"x"] * 5000)
        sequence.clear()
        assert not sequence.count and not sequence.height

    def test_stack_on_a_border(self) -> None:
        """Pushing and popping around a full leaf doesn't make a node each time."""
        tree = SequenceTree(MemoryNodes())
        for _ in range(129):
            tree.append(b"x")
        made = tree.next_id
        for _ in range(100):
            tree.pop_back()
            tree.append(b"x")
        assert tree.next_id == made and not tree.free_ids

    def test_queue_reuses_ids(self) -> None:
        """A queue that runs for years doesn't run out of ids."""
        tree = SequenceTree(MemoryNodes())
        tree.extend(b"%d" % i for i in range(1000))
        for i in range(1000, 20000):
            tree.append(b"%d" % i)
            assert tree.pop_front() == b"%d" % (i - 1000)
        assert tree.next_id < 40

    def test_loads_few(self) -> None:
        """One element of many costs one node per level, and a range only its leaves."""
        nodes = MemoryNodes()
        tree = KeyedTree(nodes, False)
        tree.build((b"%06d" % i, b"") for i in range(100000))
        nodes.flush_all()
        nodes.loads = 0
        assert tree.get(b"050000") == b""
        assert nodes.loads == tree.height
        nodes.flush_all()
        nodes.loads = 0
        pairs = tree.items_by_rank(50000)
        assert [next(pairs)[0] for _ in range(100)][-1] == b"050099"
        assert nodes.loads <= tree.height + 1

    def test_replaced_value_may_cut(self) -> None:
        nodes = MemoryNodes()
        tree = KeyedTree(nodes)
        tree.build((b"%04d" % i, b"v") for i in range(100))
        nodes.freeze()
        tree.put(b"0050", b"v" * 20000)
        assert tree.height == 1
        check_shape(tree, nodes)
        sequence = SequenceTree(nodes := MemoryNodes())
        sequence.extend([b"v"] * 100)
        nodes.freeze()
        sequence.set(50, b"v" * 20000)
        assert sequence.height == 1
        check_shape(sequence, nodes)
