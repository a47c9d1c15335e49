"""
Frozen values as JSON has them, and back, by their type hints.

One pair of functions for store records, heartbeats, operators and steps, so that what is persisted and what is on the
wire can't drift from the classes. Bytes are hexadecimal, enumerations their values, and a class of a union (the steps)
is named by its C{KIND} under C{"kind"}. Fields that a reader doesn't know are passed over, so that a newer store can
talk to an older scheduler; fields that lack and have a default have that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from math import isfinite
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


class BadRecord(ValueError):
    """What was read isn't the value that it should be; the text says where, and why."""


def to_plain(value: object) -> Any:
    """Give a value as dicts, lists, strings, numbers, booleans and None."""
    if is_dataclass(value) and not isinstance(value, type):
        plain: dict[str, Any] = {"kind": value.KIND} if hasattr(value, "KIND") else {}
        plain.update((each.name, to_plain(getattr(value, each.name))) for each in fields(value))
        return plain
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    assert value is None or isinstance(value, str | int | float), f"{type(value)} has no plain form"
    return value


def from_plain(kind: type[T], value: object) -> T:
    """
    Read a dataclass.

    @raise BadRecord: It has a wrong type somewhere, lacks what has no default, or the class refuses it.
    """
    return cast(T, _read(kind, value, kind.__name__))


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Give the types of a dataclass's fields."""
    return get_type_hints(kind)


def _read(kind: Any, value: object, place: str) -> Any:
    """Read a value of a type; C{place} is where it stands, for messages."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return _read_union(get_args(kind), value, place)
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            raise BadRecord(f"{place} must be a list")
        (inner, _) = get_args(kind)
        return tuple(_read(inner, item, f"{place}[{number}]") for number, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise BadRecord(f"{place} must be an object")
        key_kind, inner = get_args(kind)
        return {_key(key_kind, key, place): _read(inner, item, f"{place}.{key}") for key, item in value.items()}
    if is_dataclass(kind):
        return _read_fields(cast(type, kind), value, place)
    if issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError as problem:
            allowed = ", ".join(str(member.value) for member in kind)
            raise BadRecord(f"{place} must be one of {allowed}") from problem
    return _read_scalar(kind, value, place)


def _read_union(kinds: tuple[Any, ...], value: object, place: str) -> Any:
    """Read None where that's allowed, one of several classes by its kind, or the only type that's left."""
    if value is None and type(None) in kinds:
        return None
    others = [kind for kind in kinds if kind is not type(None)]
    if len(others) == 1:
        return _read(others[0], value, place)
    name = value.get("kind") if isinstance(value, Mapping) else None
    for kind in others:
        if kind.KIND == name:
            return _read(kind, value, place)
    raise BadRecord(f"{place}.kind must be one of {', '.join(kind.KIND for kind in others)}")


def _read_fields(kind: type, value: object, place: str) -> Any:
    """Read a dataclass."""
    if not isinstance(value, Mapping):
        raise BadRecord(f"{place} must be an object")
    given = {}
    for each in fields(kind):
        if each.name in value:
            given[each.name] = _read(_hints(kind)[each.name], value[each.name], f"{place}.{each.name}")
        elif each.default is MISSING and each.default_factory is MISSING:
            raise BadRecord(f"{place}.{each.name} is missing")
    return kind(**given)


def _read_scalar(kind: Any, value: object, place: str) -> Any:
    """Read a boolean, a number, a text or bytes."""
    if kind is bytes:
        try:
            return bytes.fromhex(cast(str, value))
        except (TypeError, ValueError) as problem:
            raise BadRecord(f"{place} must be hexadecimal") from problem
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 64:
        return float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise BadRecord(f"{place} must be of type {kind.__name__}")
    if isinstance(value, float) and not isfinite(value):
        raise BadRecord(f"{place} must be a finite number")
    return value


def _key(kind: Any, key: object, place: str) -> Any:
    """Read the key of an object, which JSON has as text."""
    if kind is not int:
        return _read_scalar(kind, key, f"a key of {place}")
    try:
        return int(cast(str, key))
    except (TypeError, ValueError) as problem:
        raise BadRecord(f"a key of {place} must be a whole number") from problem
