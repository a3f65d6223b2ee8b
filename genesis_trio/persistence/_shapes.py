"""What a type looks like when it is saved: a small tree of shapes, or the reasons why it cannot be.

Everything else works on shapes: the hooks that write and read, the search for the path of a bad
value, the description and its fingerprint.  So they cannot disagree about a type.
"""

import enum
import types
import typing
from typing import Any, Literal, TypeAlias, Union

import attrs

from genesis_trio.persistence._scalars import KEYS

__all__ = [
    "Array",
    "Deque",
    "Enumeration",
    "Field",
    "FixedTuple",
    "Literals",
    "Mapping",
    "Record",
    "Scalar",
    "Shape",
    "UnionOf",
    "cut_by_subclasses",
    "is_key",
    "records_in",
    "same_scalar",
    "shape_text",
    "subclasses_of",
    "type_text",
    "unhashable",
]


Shape: TypeAlias = "Scalar | Enumeration | Literals | Array | FixedTuple | Deque | Mapping | Record | UnionOf"


@attrs.frozen(eq=False)
class Scalar:
    """A value of one of the types in `genesis_trio.persistence._scalars`."""

    cls: type


@attrs.frozen(eq=False)
class Enumeration:
    """Members of one enum, saved by value where all values are str or all are int, else by name."""

    cls: type[enum.Enum]
    by_name: bool
    texts: dict[enum.Enum, str | int]


@attrs.frozen(eq=False)
class Literals:
    """One of a few values, each with what is written for it."""

    values: tuple[tuple[Any, Any], ...]


@attrs.frozen(eq=False)
class Array:
    """A list, a tuple of any length, a set or a frozenset."""

    cls: type
    item: Shape


@attrs.frozen(eq=False)
class FixedTuple:
    items: tuple[Shape, ...]


@attrs.frozen(eq=False)
class Deque:
    """A deque with its ``maxlen``, without which it would grow for ever after a restore."""

    item: Shape


@attrs.frozen(eq=False)
class Mapping:
    key: Shape
    value: Shape


@attrs.frozen(eq=False)
class Field:
    name: str
    alias: str
    shape: Shape
    has_default: bool
    in_init: bool
    shown: bool  # False: its values stay out of error messages, as they stay out of the repr


@attrs.define(eq=False)
class Record:
    """An attrs class.  *fields* is filled in after the record is known, because it may contain itself."""

    declared: Any
    cls: type
    tag: str
    fields: tuple[Field, ...] = ()
    recursive: bool = False


@attrs.frozen(eq=False)
class UnionOf:
    """Alternatives that JSON keeps apart; two or more records carry a tag."""

    members: tuple[Shape, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        return tuple(member for member in self.members if isinstance(member, Record))


def type_text(tp: Any) -> str:
    """The name of a type as it would be written, without modules."""
    if tp is None or tp is type(None):
        return "None"
    origin = typing.get_origin(tp)
    if origin is Union or origin is types.UnionType:
        return " | ".join(type_text(arg) for arg in typing.get_args(tp))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, typing.get_args(tp)))}]"
    if origin is not None and (args := typing.get_args(tp)):
        return f"{type_text(origin)}[{', '.join('...' if arg is ... else type_text(arg) for arg in args)}]"
    if isinstance(tp, type):
        return tp.__qualname__.rpartition("<locals>.")[2]
    return str(getattr(tp, "__name__", tp))


def is_key(shape: Shape) -> bool:
    if isinstance(shape, Scalar):
        return shape.cls in KEYS
    if isinstance(shape, Literals):
        return all(type(text) is str for _, text in shape.values)
    return isinstance(shape, Enumeration) and not issubclass(shape.cls, enum.Flag)


def unhashable(shape: Shape) -> str | None:
    """The part of *shape* that has no hash, or None."""
    if isinstance(shape, Record):
        return type_text(shape.cls) if shape.cls.__hash__ is None else None
    if isinstance(shape, Mapping | Deque) or (isinstance(shape, Array) and shape.cls in (list, set)):
        return shape_text(shape)
    return next((culprit for each in _parts(shape) if (culprit := unhashable(each)) is not None), None)


def same_scalar(one: Shape, other: Shape) -> bool:
    return isinstance(one, Scalar) and isinstance(other, Scalar) and one.cls is other.cls


def shape_text(shape: Shape) -> str:
    if isinstance(shape, Scalar | Enumeration):
        return type_text(shape.cls)
    if isinstance(shape, Literals):
        return f"Literal[{', '.join(repr(value) for value, _ in shape.values)}]"
    if isinstance(shape, Array):
        return type_text(shape.cls)
    if isinstance(shape, Record):
        return type_text(shape.declared)
    return {FixedTuple: "tuple", Deque: "deque", Mapping: "dict", UnionOf: "union"}[type(shape)]


def _parts(shape: Shape) -> tuple[Shape, ...]:
    if isinstance(shape, UnionOf):
        return shape.members
    if isinstance(shape, FixedTuple):
        return shape.items
    if isinstance(shape, Mapping):
        return (shape.value,)
    if isinstance(shape, Array | Deque):
        return (shape.item,)
    return ()


def _nearest_records(shape: Shape) -> list[Record]:
    """The records in *shape*, not those in their fields."""
    if isinstance(shape, Record):
        return [shape]
    return [record for part in _parts(shape) for record in _nearest_records(part)]


def records_in(shape: Shape) -> list[Record]:
    """Every record in *shape*, however deep, each once."""
    found = dict.fromkeys(_nearest_records(shape))
    todo = list(found)
    while todo:
        for field in todo.pop().fields:
            for record in _nearest_records(field.shape):
                if record not in found:
                    found[record] = None
                    todo.append(record)
    return list(found)


def subclasses_of(cls: type) -> list[type]:
    """The attrs classes below *cls* that are defined now.

    attrs makes a class with slots anew and leaves the first one to the garbage collector; that one is no attrs class.
    """
    found: dict[type, None] = {}
    below: list[type] = cls.__subclasses__()
    for sub in below:
        if "__attrs_attrs__" in sub.__dict__:
            found[sub] = None
        found.update(dict.fromkeys(subclasses_of(sub)))
    return list(found)


def cut_by_subclasses(shape: Shape) -> list[str]:
    """The fields whose class has subclasses, which would be refused when they are met."""
    problems: list[str] = []
    for record in records_in(shape):
        for field in record.fields:
            declared = [each.cls for each in _nearest_records(field.shape)]
            for cls in dict.fromkeys(declared):
                more = [sub for sub in subclasses_of(cls) if sub not in declared]
                if more:
                    members = " | ".join(map(type_text, (cls, *more)))
                    problems.append(
                        f"{type_text(record.cls)}.{field.name}: {type_text(cls)} has subclasses, whose fields would be cut; "
                        f"use the union {members}"
                    )
    return problems
