"""The sources of the project as syntax trees, for the tests that read them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

#: The root of the checkout.
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Import:
    """
    One name that a module imports, wherever in it.

    @ivar name: Module and name joined, such as `os.path.join` for `from os.path import join`.
    @ivar typing_only: Whether it stands under `if TYPE_CHECKING`.
    """

    name: str
    line: int
    typing_only: bool


@dataclass(frozen=True)
class Source:
    """
    One Python file.

    @ivar path: Relative to the root.
    """

    path: Path
    text: str

    @property
    def module(self) -> str:
        """The dotted name of the module."""
        parts = self.path.with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def tree(self) -> ast.Module:
        """The file, parsed."""
        return ast.parse(self.text, str(self.path))

    def imports(self) -> Iterator[Import]:
        """Yield what the file imports, also inside of functions."""
        typing_only = {
            id(inner)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.If) and _is_type_checking(node.test)
            for statement in node.body
            for inner in ast.walk(statement)
        }
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{self._origin(node)}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                yield Import(name, node.lineno, id(node) in typing_only)

    def _origin(self, node: ast.ImportFrom) -> str:
        if node.level == 0:
            return node.module or ""
        package = self.module.split(".") if self.path.name == "__init__.py" else self.module.split(".")[:-1]
        kept = package[: len(package) - node.level + 1]
        return ".".join([*kept, node.module] if node.module else kept)


def sources(*folders: str) -> list[Source]:
    """Read the Python files below some folders of the root, in order of their paths."""
    found = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [Source(path.relative_to(ROOT), path.read_text(encoding="utf-8")) for path in found]


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )
