"""
What JSON values must look like: the part of JSON Schema that the API uses, made and checked here.

The same schemas stand in the OpenAPI document, so that what is described is what is checked.
"""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any, Final

from tinykv.schedule.errors import Invalid

Schema = dict[str, Any]

#: Numbers that every reader of JSON has whole: a client in JavaScript has no others.
SAFE_MAX: Final = (1 << 53) - 1
#: How deep values may be nested.
DEPTH_MAX: Final = 16
#: Bytes of a key: those that split regions are short.
KEY_BYTES_MAX: Final = 4096

BOOLEAN: Final[Schema] = {"type": "boolean"}


def integer(least: int = 0, most: int = SAFE_MAX, **more: Any) -> Schema:
    """Make the schema of a whole number within bounds, both included."""
    return {"type": "integer", "minimum": least, "maximum": most, **more}


def number(least: float = 0, most: float = SAFE_MAX, **more: Any) -> Schema:
    """Make the schema of a number within bounds, both included."""
    return {"type": "number", "minimum": least, "maximum": most, **more}


def text(most: int, least: int = 0, pattern: str | None = None, **more: Any) -> Schema:
    """Make the schema of a text of so many characters, which matches a pattern as a whole."""
    schema = {"type": "string", "minLength": least, "maxLength": most, **more}
    return schema if pattern is None else {**schema, "pattern": f"^{pattern}$"}


def one_of(*words: str, **more: Any) -> Schema:
    """Make the schema of one text out of a few."""
    return {"type": "string", "enum": list(words), **more}


def array(items: Schema, most: int, least: int = 0, **more: Any) -> Schema:
    """Make the schema of a list of so many items."""
    return {"type": "array", "items": items, "minItems": least, "maxItems": most, **more}


def record(properties: dict[str, Schema], optional: tuple[str, ...] = (), **more: Any) -> Schema:
    """Make the schema of an object that has these fields, and no others."""
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False, **more}
    required = [name for name in properties if name not in optional]
    return {**schema, "required": required} if required else schema


def mapping(values: Schema, most: int, **more: Any) -> Schema:
    """Make the schema of an object with any fields, up to so many, whose values are alike."""
    return {"type": "object", "additionalProperties": values, "maxProperties": most, **more}


def nullable(schema: Schema) -> Schema:
    """Make the schema of what may also be null."""
    return {**schema, "type": [schema["type"], "null"]}


#: A key, in hexadecimal.
KEY: Final = text(2 * KEY_BYTES_MAX, pattern="([0-9a-f]{2})*", description="a key, in hexadecimal")
#: What has a name: a scheduler, a service, a label.
NAME: Final = text(64, 1, "[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def read_json(body: bytes) -> Any:
    """
    Read JSON text.

    @raise Invalid: It isn't JSON as RFC 8259 has it, or an object has a field twice.
    """
    try:
        return json.loads(
            body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_number
        )
    except UnicodeDecodeError as problem:
        raise Invalid(f"the body isn't UTF-8 text (byte {problem.start})") from problem
    except (ValueError, RecursionError) as problem:
        raise Invalid(f"the body isn't JSON: {problem}") from problem


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a field twice")
    return found


def _number(digits: str) -> float | int:
    """Read a number with a point or an exponent: 1.0 is a whole one as well."""
    value = float(digits)
    return int(value) if value.is_integer() else value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def check(schema: Schema, value: Any, place: str = "the body", depth: int = 0) -> None:
    """
    Hold a value to a schema.

    @param place: What to call the value in messages.
    @raise Invalid: It isn't so; says where, and what was expected.
    """
    if depth > DEPTH_MAX:
        raise Invalid(f"{place} is nested too deeply")
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(kind, value) for kind in kinds):
        raise Invalid(f"{place} must be {' or '.join(map(_named, kinds))}")
    if "enum" in schema and value not in schema["enum"] and value is not None:
        raise Invalid(f"{place} must be one of {', '.join(schema['enum'])}")
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        _check_number(schema, value, place)
    elif isinstance(value, str):
        _check_text(schema, value, place)
    elif isinstance(value, list):
        _check_size(schema, value, place, "Items")
        for index, item in enumerate(value):
            check(schema.get("items", {}), item, f"{place}[{index}]", depth + 1)
    elif isinstance(value, dict):
        _check_object(schema, value, place, depth)


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool) and kind != "boolean":
        return False
    return isinstance(value, _KINDS[kind])


def _named(kind: str) -> str:
    return {"integer": "a whole number", "object": "an object", "array": "a list", "string": "a text"}.get(
        kind, kind if kind == "null" else f"a {kind}"
    )


def _check_number(schema: Schema, value: float, place: str) -> None:
    if not isfinite(value):
        raise Invalid(f"{place} must be a finite number")
    if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        raise Invalid(f"{place} must be from {schema['minimum']} to {schema['maximum']}")


def _check_text(schema: Schema, value: str, place: str) -> None:
    _check_size(schema, value, place, "Length")
    if "pattern" in schema and re.fullmatch(schema["pattern"][1:-1], value) is None:
        raise Invalid(f"{place} must match {schema['pattern']}")
    try:
        value.encode()
    except UnicodeEncodeError as problem:
        raise Invalid(f"{place} has half a surrogate pair") from problem


def _check_size(schema: Schema, value: str | list[Any] | dict[str, Any], place: str, what: str) -> None:
    least, most = schema.get(f"min{what}", 0), schema.get(f"max{what}", len(value))
    if not least <= len(value) <= most:
        unit = {"Items": "items", "Length": "characters", "Properties": "fields"}[what]
        raise Invalid(f"{place} must have {least} to {most} {unit}")


def _check_object(schema: Schema, value: dict[str, Any], place: str, depth: int) -> None:
    properties: dict[str, Schema] = schema.get("properties", {})
    others = schema.get("additionalProperties", {})
    for name in schema.get("required", ()):
        if name not in value:
            raise Invalid(f"{place} lacks the field {name}")
    _check_size(schema, value, place, "Properties")
    for name, item in value.items():
        if name in properties:
            check(properties[name], item, f"{place}.{name}", depth + 1)
        elif others is False:
            raise Invalid(f"{place} has a field that isn't known: {name[:64]!r}")
        else:
            if "propertyNames" in schema:
                check(schema["propertyNames"], name, f"a field's name in {place}", depth + 1)
            check(others, item, f"{place}.{name[:64]}", depth + 1)
