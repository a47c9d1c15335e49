"""
What the API can be asked: a table of routes, of which the pages and the OpenAPI document are both made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from tinykv.schedule.errors import Invalid
from tinykv.schedule.schemas import Schema, check

#: Below which all questions are.
PREFIX: Final = "/api/v1"

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """
    A question, held to its route's schemas.

    @ivar parameters: Of path and query, by name; only those that were given.
    @ivar body: What was sent, None if nothing is to be.
    """

    parameters: Mapping[str, Any]
    body: Any


@dataclass(frozen=True, kw_only=True)
class Route:
    """
    One question.

    @ivar path: Below L{PREFIX}, with C{{name}} where a parameter stands.
    @ivar name: Names the question in the OpenAPI document.
    @ivar about: What it does, for people.
    @ivar tag: Which questions it belongs to.
    @ivar answer: Answers it, at once or later; raises a L{Refusal<tinykv.schedule.errors.Refusal>}.
    @ivar result: What a good answer looks like.
    @ivar path_parameters: The schemas of those in the path; C{query} of those behind it, all of which may lack.
    @ivar body: What is to be sent, None for nothing.
    @ivar anywhere: Whether any member answers it, rather than only the leader.
    @ivar refusals: What it may be refused with, beside what any question may.
    """

    method: str
    path: str
    name: str
    about: str
    tag: str
    answer: Callable[[Call], Answer | Awaitable[Answer]]
    result: Schema
    path_parameters: Mapping[str, Schema] = field(default_factory=dict)
    query: Mapping[str, Schema] = field(default_factory=dict)
    required_query: tuple[str, ...] = ()
    body: Schema | None = None
    anywhere: bool = False
    refusals: tuple[int, ...] = ()

    @property
    def template(self) -> str:
        """The whole path."""
        return PREFIX + self.path


def read_parameter(schema: Schema, raw: bytes, place: str) -> Any:
    """
    Read a parameter of a path or a query.

    @param raw: As it was sent, but for percent signs, which have been resolved.
    @raise Invalid: It isn't as the schema has it.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as problem:
        raise Invalid(f"{place} isn't UTF-8 text") from problem
    value: Any = text
    if schema["type"] == "integer":
        digits = text.removeprefix("-")
        if not digits.isascii() or not digits.isdigit() or len(digits) > 20:
            raise Invalid(f"{place} must be a whole number")
        value = int(text)
    elif schema["type"] == "boolean":
        if text not in ("true", "false"):
            raise Invalid(f"{place} must be true or false")
        value = text == "true"
    check(schema, value, place)
    return value


class RouteTable:
    """The routes, to be found by their paths."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        #: By path, split: fixed ones come before those with a parameter at the same place.
        self._paths: dict[tuple[str, ...], dict[str, Route]] = {}
        for route in routes:
            methods = self._paths.setdefault(tuple(route.template.split("/")[1:]), {})
            assert route.method not in methods, f"{route.method} {route.template} is there twice"
            methods[route.method] = route

    def find(self, path: bytes) -> tuple[dict[str, Route], list[bytes]] | None:
        """
        Find what may be asked at a path.

        @return: The routes by method, and the parts of the path as they were sent, percent signs resolved. None if
            there's nothing.
        """
        parts = [unquote_to_bytes(part) for part in path.split(b"/")[1:]]
        best: tuple[int, dict[str, Route]] | None = None
        for template, methods in self._paths.items():
            if len(template) != len(parts):
                continue
            pairs = list(zip(template, parts, strict=True))
            if all(_is_parameter(wanted) or wanted.encode() == part for wanted, part in pairs):
                fixed = sum(not _is_parameter(wanted) for wanted in template)
                if best is None or fixed > best[0]:
                    best = (fixed, methods)
        return None if best is None else (best[1], parts)


def _is_parameter(part: str) -> bool:
    return part.startswith("{")


def read_call(route: Route, parts: Sequence[bytes], query: Mapping[bytes, list[bytes]], body: Any) -> Call:
    """
    Hold a question to its route.

    @raise Invalid: It isn't as the route has it.
    """
    parameters: dict[str, Any] = {}
    for wanted, part in zip(route.template.split("/")[1:], parts, strict=True):
        if _is_parameter(wanted):
            name = wanted[1:-1]
            parameters[name] = read_parameter(route.path_parameters[name], part, f"the path's {name}")
    for raw, values in query.items():
        name = raw.decode("utf-8", "backslashreplace")
        if name not in route.query:
            raise Invalid(f"the query has a parameter that isn't known: {name[:64]!r}")
        if len(values) != 1:
            raise Invalid(f"the query has {name} more than once")
        parameters[name] = read_parameter(route.query[name], values[0], f"the query's {name}")
    for name in route.required_query:
        if name not in parameters:
            raise Invalid(f"the query lacks {name}")
    if route.body is None:
        if body is not None:
            raise Invalid("nothing is to be sent with this question")
    else:
        check(route.body, body)
    return Call(parameters, body)
