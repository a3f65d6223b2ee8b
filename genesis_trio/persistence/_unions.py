"""Unions: which member a value belongs to, before it is written and after."""

import collections
from typing import Any

from genesis_trio.persistence._scalars import WIDE, Reader, RefusedError, Writer
from genesis_trio.persistence._shapes import (
    Array,
    Deque,
    Enumeration,
    FixedTuple,
    Literals,
    Mapping,
    Record,
    Scalar,
    Shape,
    UnionOf,
    type_text,
)

__all__ = [
    "TAG",
    "class_refusal",
    "clash",
    "json_kinds",
    "tagged_reader",
    "tagged_writer",
    "union_refusal",
    "union_table",
    "union_text",
    "wide_or",
]

TAG = "$type"  # no attrs field can have this name


def clash(one: Shape, other: Shape) -> bool:
    """Whether values of the two shapes could look the same in JSON."""
    if isinstance(one, Record) and isinstance(other, Record):
        return one.tag == other.tag
    # An int beyond 64 bits is an object with one key, which any dict could have.
    wide = any(isinstance(each, Scalar) and each.cls in (int, float) for each in (one, other))
    return bool(json_kinds(one) & json_kinds(other)) or (
        wide and any(isinstance(each, Mapping) for each in (one, other))
    )


def union_text(union: UnionOf) -> list[str]:
    names: list[str] = []
    for member in union.members:
        if isinstance(member, Literals):
            names.extend(repr(value) for value, _ in member.values)
        else:
            names.extend(type_text(cls) for cls in union_classes(member))
    return names


def class_refusal(record: Record, value: Any) -> RefusedError:
    name, got = type_text(record.cls), type_text(value.__class__)
    if isinstance(value, record.cls):
        raise RefusedError(
            f"expected exactly {name}: what {got} adds to it would be cut; declare the field as {name} | {got}",
            value,
            named=False,
        )
    raise RefusedError(f"expected {name}, got {got}", value, named=False)


def union_refusal(union: UnionOf, value: object) -> RefusedError:
    """Why *value* belongs to no member of *union*."""
    for record in union.records:
        if isinstance(value, record.cls):
            return class_refusal(record, value)
    return RefusedError(f"expected {' or '.join(union_text(union))}", value)


def union_classes(member: Shape) -> set[type]:
    """The exact classes of the values of *member*."""
    if isinstance(member, Literals):
        return {type(value) for value, _ in member.values}
    if isinstance(member, FixedTuple):
        return {tuple}
    if isinstance(member, Deque):
        return {collections.deque}
    if isinstance(member, Mapping):
        return {dict}
    assert not isinstance(member, UnionOf)
    return {member.cls}


def union_table(union: UnionOf) -> dict[type, Shape]:
    """Which member writes a value of which class."""
    table = {cls: member for member in union.members for cls in union_classes(member)}
    if float in table:
        table.setdefault(int, table[float])
    return table


def json_kinds(member: Shape) -> set[type]:
    """The classes of the JSON values that *member* is saved as."""
    if isinstance(member, Scalar):
        return {member.cls} if member.cls in (type(None), bool, int, float) else {str}
    if isinstance(member, Enumeration):
        return {type(text) for text in member.texts.values()} or {int}
    if isinstance(member, Literals):
        return {type(text) for _, text in member.values}
    return {list} if isinstance(member, Array | FixedTuple) else {dict}


def tagged_writer(tag: str, write: Writer) -> Writer:
    return lambda value: {TAG: tag, **write(value)}


def tagged_reader(readers: dict[str, Reader]) -> Reader:
    listed = ", ".join(map(repr, readers))

    def read(value: Any, tp: Any) -> Any:
        if TAG not in value:
            raise RefusedError(f"expected an object with {TAG!r} (one of {listed})", value)
        tag = value[TAG]
        reader = readers.get(tag) if tag.__class__ is str else None
        if reader is None:
            raise RefusedError(f"unknown {TAG} {tag!r}, expected one of {listed}", value, named=False)
        return reader({key: item for key, item in value.items() if key != TAG}, tp)

    return read


def wide_or(number: Reader, other: Reader | None) -> Reader:
    """An int beyond 64 bits is an object too, with a key that no other member of a union can have."""

    def read(value: Any, tp: Any) -> Any:
        if other is None or WIDE in value:
            return number(value, tp)
        return other(value, tp)

    return read
