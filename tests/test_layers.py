"""
Who may import whom: the layers of docs/architecture.md, read out of the sources.

Imports point down only, the core takes values and returns values, and only composition roots name the
reactor.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.sources import ROOT, Source, sources

#: Each part of the package with its layer. A part may import the parts of lower layers, and itself.
LAYERS = {
    part: layer
    for layer, parts in enumerate(
        (
            "errors keys codec",
            "resp raft mvcc",
            "redis region placement",
            "interfaces config config_checks config_options config_values storage peering",
            "store server schedule client gateway",
            "tap cli",
            "testing",
        )
    )
    for part in parts.split()
}

#: What a part may import of its own layer. Layer 4 has nothing here: its parts meet in the interfaces.
SIDEWAYS = {
    "codec": {"errors", "keys"},
    "keys": {"errors", "codec"},
    "placement": {"region"},
    "interfaces": set(),
    "config": {"config_checks", "config_options", "config_values"},
    "config_checks": {"config_options"},
    "config_options": {"config_values"},
    "storage": {"interfaces"},
    "peering": {"interfaces"},
    "tap": {"cli"},
    "cli": {"tap"},
}

#: The core never waits, and depends on nothing but its arguments.
CORE = {"errors", "keys", "codec", "resp", "raft", "mvcc", "redis", "region", "placement"}
BANNED_IN_CORE = frozenset("twisted sqlite3 sqlite_utils socket threading time os asyncio".split())
#: Of these, the core may use only what is named: a generator that is an argument is no hidden state.
ONLY_IN_CORE = {"random": {"random.Random"}}

#: Parts that may name the global reactor.
ROOTS = {"tap", "cli"}


def part_of(module: str) -> str | None:
    """Return the part that a module belongs to, or None for other packages and for tinykv itself."""
    names = module.split(".")
    return names[1] if names[0] == "tinykv" and len(names) > 1 else None


def wrong_directions(source: Source) -> Iterator[str]:
    """Yield imports that point up or sideways."""
    own = part_of(source.module)
    if own is None:
        return
    if own not in LAYERS:
        yield f"{source.path}: tinykv.{own} has no layer; give it one in tests/test_layers.py"
        return
    for found in source.imports():
        other = part_of(found.name)
        if other is None or other == own or other not in LAYERS:
            continue
        if own == "interfaces" and found.typing_only:  # a contract may name what it hands over
            continue
        allowed = LAYERS[other] < LAYERS[own] or other in SIDEWAYS.get(own, set())
        if not allowed:
            yield (
                f"{source.path}:{found.line}: tinykv.{own} (layer {LAYERS[own]}) imports {found.name}"
                f" (layer {LAYERS[other]}); imports point down only, so pass it in as an argument"
            )


def impure_imports(source: Source) -> Iterator[str]:
    """Yield imports by which the core would wait, or depend on something that isn't an argument."""
    if part_of(source.module) not in CORE:
        return
    for found in source.imports():
        if found.typing_only:
            continue
        place = f"{source.path}:{found.line}: the core imports {found.name}"
        top = found.name.split(".")[0]
        if top in BANNED_IN_CORE:
            yield f"{place}; take what it gives as an argument"
        elif top in ONLY_IN_CORE and found.name != top and found.name not in ONLY_IN_CORE[top]:
            yield f"{place}; of {top} it may use {', '.join(ONLY_IN_CORE[top])}"
    modules = {found.name for found in source.imports()} & ONLY_IN_CORE.keys()
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            continue
        top, name = node.value.id, f"{node.value.id}.{node.attr}"
        if top in modules and name not in ONLY_IN_CORE[top]:
            yield f"{source.path}:{node.lineno}: the core uses {name}; take it as an argument"


def named_reactors(source: Source) -> Iterator[str]:
    """Yield imports of the global reactor outside of the composition roots."""
    if part_of(source.module) in ROOTS:
        return
    for found in source.imports():
        if found.name in ("twisted.internet.reactor", "twisted.internet.reactor.*"):
            yield f"{source.path}:{found.line}: imports the global reactor; take it as an argument"


def bare_excepts(source: Source) -> Iterator[str]:
    """Yield handlers that catch everything, KeyboardInterrupt and SystemExit included."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{source.path}:{node.lineno}: a bare except; name what is expected"


def unexplained_todos(source: Source) -> Iterator[str]:
    """Yield marks of unfinished work that don't say what is missing and why."""
    marks = re.compile(r"#.*\b(TODO|FIXME|XXX)\b(?!\([^)]+\): \S+ \S+)")
    for number, text in enumerate(source.text.splitlines(), 1):
        if marks.search(text):
            yield f"{source.path}:{number}: unfinished work needs its reason, TODO(what): why it waits"


def undocumented_modules(source: Source) -> Iterator[str]:
    """Yield modules without a docstring."""
    if ast.get_docstring(source.tree) is None:
        yield f"{source.path}: no module docstring"


def unpostponed_annotations(source: Source) -> Iterator[str]:
    """Yield modules with code whose annotations are evaluated at import."""
    body = source.tree.body[1:] if ast.get_docstring(source.tree) else source.tree.body
    if body and not any(found.name == "__future__.annotations" for found in source.imports()):
        yield f"{source.path}: lacks `from __future__ import annotations`"


class LayersTests(SynchronousTestCase):
    """The sources keep the rules."""

    def assert_none(self, rule: Callable[[Source], Iterator[str]], *folders: str) -> None:
        """Fail with every breach of a rule in some folders, one a line."""
        found = [breach for source in sources(*folders) for breach in rule(source)]
        if found:
            self.fail("\n" + "\n".join(found))

    def test_imports_point_down(self) -> None:
        self.assert_none(wrong_directions, "tinykv")

    def test_the_core_never_waits(self) -> None:
        self.assert_none(impure_imports, "tinykv")

    def test_only_composition_roots_name_the_reactor(self) -> None:
        self.assert_none(named_reactors, "tinykv", "twisted")

    def test_nothing_is_caught_blindly(self) -> None:
        self.assert_none(bare_excepts, "tinykv", "tests", "twisted")

    def test_unfinished_work_has_a_reason(self) -> None:
        self.assert_none(unexplained_todos, "tinykv", "twisted")

    def test_every_module_says_what_it_is(self) -> None:
        self.assert_none(undocumented_modules, "tinykv", "tests", "twisted")

    def test_annotations_are_postponed(self) -> None:
        self.assert_none(unpostponed_annotations, "tinykv", "twisted")

    def test_layer_four_meets_in_the_interfaces(self) -> None:
        fourth = {part for part, layer in LAYERS.items() if layer == 4}
        self.assertEqual({part: SIDEWAYS[part] for part in fourth & SIDEWAYS.keys()}, {})

    def test_twisted_is_not_shadowed(self) -> None:
        self.assertEqual([str(path) for path in (ROOT / "twisted").rglob("__init__.py")], [])


class RuleTests(SynchronousTestCase):
    """The rules find what they are for."""

    def found(self, rule: Callable[[Source], Iterator[str]], path: str, text: str) -> int:
        """Count the breaches in a made-up file of the package."""
        return len(list(rule(Source(Path("tinykv", path), text))))

    def test_upward_import(self) -> None:
        for line in ("from tinykv.store import host", "from tinykv import store", "from ..store import host"):
            self.assertEqual(self.found(wrong_directions, "redis/x.py", line), 1, line)
        self.assertEqual(self.found(wrong_directions, "redis/x.py", "from . import strings"), 0)

    def test_sideways_import(self) -> None:
        self.assertEqual(self.found(wrong_directions, "server/x.py", "import tinykv.store.host"), 1)
        self.assertEqual(self.found(wrong_directions, "store/x.py", "import tinykv.store.host"), 0)

    def test_part_without_layer(self) -> None:
        self.assertEqual(self.found(wrong_directions, "extras.py", ""), 1)

    def test_waiting_core(self) -> None:
        for text in (
            "def f():\n    from time import sleep",
            "import random\nrandom.random()",
            "import os.path",
        ):
            self.assertEqual(self.found(impure_imports, "raft/x.py", text), 1, text)

    def test_allowed_in_the_core(self) -> None:
        for text in (
            "from random import Random",
            "import random\nrandom.Random(1)",
            "def f(random):\n    return random.random()",
            "if TYPE_CHECKING:\n    from os import PathLike",
        ):
            self.assertEqual(self.found(impure_imports, "raft/x.py", text), 0, text)
        self.assertEqual(self.found(impure_imports, "storage/x.py", "import sqlite3"), 0)

    def test_named_reactor(self) -> None:
        text = "from twisted.internet import reactor"
        self.assertEqual(self.found(named_reactors, "server/x.py", text), 1)
        self.assertEqual(self.found(named_reactors, "tap/x.py", text), 0)

    def test_marks_of_unfinished_work(self) -> None:
        self.assertEqual(self.found(unexplained_todos, "x.py", "# TODO later"), 1)
        self.assertEqual(self.found(unexplained_todos, "x.py", "# TODO(merge): needs an answer first"), 0)

    def test_bare_except(self) -> None:
        self.assertEqual(self.found(bare_excepts, "x.py", "try:\n    pass\nexcept:\n    raise"), 1)
