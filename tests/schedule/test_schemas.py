"""What JSON values must look like: limits with what is just within and just beyond."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tinykv.schedule import schemas
from tinykv.schedule.errors import Invalid
from tinykv.schedule.routes import read_parameter
from tinykv.schedule.schemas import DEPTH_MAX, check, read_json


class CheckTests(SynchronousTestCase):
    """Values are held to schemas."""

    def holds(self, schema: schemas.Schema, *values: Any) -> None:
        """Check values that are right."""
        for value in values:
            check(schema, value)

    def fails(self, schema: schemas.Schema, *values: Any) -> None:
        """Check values that aren't."""
        for value in values:
            self.assertRaises(Invalid, check, schema, value)

    def test_numbers(self) -> None:
        self.holds(schemas.integer(1, 3), 1, 3)
        self.fails(schemas.integer(1, 3), 0, 4, 1.5, True, None, "1", [])
        self.holds(schemas.number(0, 1), 0, 0.5, 1)
        self.fails(schemas.number(0, 1), -0.1, 1.1, float("nan"), float("inf"), False)

    def test_texts(self) -> None:
        self.holds(schemas.text(2, 1), "a", "ab")
        self.fails(schemas.text(2, 1), "", "abc", 1, "\ud800")
        self.holds(schemas.KEY, "", "0aff", "00" * schemas.KEY_BYTES_MAX)
        self.fails(schemas.KEY, "0", "0A", "0a\n", "00" * (schemas.KEY_BYTES_MAX + 1))
        self.holds(schemas.one_of("a", "b"), "a")
        self.fails(schemas.one_of("a", "b"), "c", None)

    def test_lists(self) -> None:
        self.holds(schemas.array(schemas.BOOLEAN, 2, 1), [True], [True, False])
        self.fails(schemas.array(schemas.BOOLEAN, 2, 1), [], [True] * 3, [1], {})

    def test_objects(self) -> None:
        schema = schemas.record({"a": schemas.BOOLEAN, "b": schemas.BOOLEAN}, optional=("b",))
        self.holds(schema, {"a": True}, {"a": True, "b": False})
        self.fails(schema, {}, {"b": True}, {"a": True, "c": 1}, [], None)
        schema = schemas.mapping(schemas.BOOLEAN, 1, propertyNames=schemas.text(1, 1))
        self.holds(schema, {}, {"a": True})
        self.fails(schema, {"ab": True}, {"": True}, {"a": 1}, {"a": True, "b": True})

    def test_null(self) -> None:
        self.holds(schemas.nullable(schemas.integer(1)), None, 1)
        self.fails(schemas.nullable(schemas.integer(1)), 0, "")

    def test_depth(self) -> None:
        def nested(depth: int, leaf: Any, wrap: Any) -> Any:
            for _ in range(depth):
                leaf = wrap(leaf)
            return leaf

        for depth, problem in ((DEPTH_MAX, None), (DEPTH_MAX + 1, Invalid)):
            schema = nested(depth, schemas.BOOLEAN, lambda inner: schemas.array(inner, 1))
            value = nested(depth, True, lambda inner: [inner])
            if problem is None:
                check(schema, value)
            else:
                self.assertRaises(problem, check, schema, value)


class ReadingTests(SynchronousTestCase):
    """JSON text, and parameters."""

    def test_whole_numbers_with_a_point(self) -> None:
        self.assertEqual(read_json(b"[1.0, 1e3, 1.5]"), [1, 1000, 1.5])

    def test_no_json(self) -> None:
        bad = (b"", b"{", b"\xff", b"NaN", b"[Infinity]", b'{"a":1,"a":2}', b"[" * 100_000, b"1" * 5_000)
        for body in bad:
            self.assertRaises(Invalid, read_json, body)

    def test_parameters(self) -> None:
        self.assertEqual(read_parameter(schemas.integer(1, 9), b"9", "x"), 9)
        self.assertIs(read_parameter(schemas.BOOLEAN, b"true", "x"), True)
        self.assertEqual(read_parameter(schemas.text(3), b"abc", "x"), "abc")
        for schema, raw in (
            (schemas.integer(1, 9), b"10"),
            (schemas.integer(1, 9), b""),
            (schemas.integer(1, 9), "\u0661".encode()),
            (schemas.integer(1, 9), b"1" * 30),
            (schemas.BOOLEAN, b"1"),
            (schemas.text(3), b"\xff"),
            (schemas.text(3), b"abcd"),
        ):
            self.assertRaises(Invalid, read_parameter, schema, raw, "x")
