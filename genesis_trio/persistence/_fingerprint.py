"""What a saved form looks like, in words: to compare two of them when the code of one is gone."""

import enum
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import attrs

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
from genesis_trio.persistence.schema import name_and_version

__all__ = ["SchemaInfo", "changes", "info_of"]

_DEFAULT = " = default"


@attrs.frozen
class SchemaInfo:
    """The saved form of a type.

    Attributes:
        name: The name given to ``@schema``, or the qualified name of the class.
        version: The version given to ``@schema``, or 1.
        fingerprint: A digest of *text*: field names, their types, whether they have a default,
            the values of enums; all the way down.  Neither the order of the fields nor the
            names of classes are in it, except where those are written as the tag in a union.
        text: One line a field, sorted: ``orders[].price: Decimal``.
    """

    name: str
    version: int
    fingerprint: str
    text: str


def info_of(as_type: Any, shape: Shape) -> SchemaInfo:
    """Describe *as_type*, whose shape is *shape*."""
    text = "\n".join(sorted(_lines(shape)))
    if isinstance(shape, Record):
        name, version = shape.tag, name_and_version(shape.cls)[1]
    else:
        name, version = type_text(as_type), 1
    return SchemaInfo(name, version, hashlib.blake2b(text.encode(), digest_size=8).hexdigest(), text)


def changes(before: str, after: str) -> list[str]:
    """What is different in the text *after*: the fields added, removed, and changed."""
    old, new = _parsed(before), _parsed(after)
    # What is inside of a field that came or went is not told again.
    tops = [path for path in {**old, **new} if (path in old) != (path in new)]
    told = []
    for path in sorted({**old, **new}):
        if any(path != top and path.startswith(top) and path[len(top)] in ".[{<" for top in tops):
            continue
        if path not in old:
            told.append(f"{path} added ({new[path]})")
        elif path not in new:
            told.append(f"{path} removed ({old[path]})")
        elif old[path] != new[path]:
            told.append(f"{path} changed from {old[path]} to {new[path]}")
    return told


def _parsed(text: str) -> dict[str, str]:
    parts = (line.partition(": ") for line in text.splitlines())
    return {path: words for path, _, words in parts}


def _lines(root: Shape) -> Iterator[str]:
    if not isinstance(root, Record):
        yield f"$: {_type(root, ())}"
    yield from _inside(root, "", ())


# The records around a place, each with the path at which it stands.
Around = tuple[tuple[Record, str], ...]


def _inside(shape: Shape, path: str, around: Around) -> Iterator[str]:
    """The lines of all fields below *path*."""
    if isinstance(shape, Record):
        if any(record is shape for record, _ in around):
            return
        around = (*around, (shape, path or "$"))
        for field in shape.fields:
            at = f"{path}.{field.name}" if path else field.name
            yield f"{at}: {_type(field.shape, around)}{_DEFAULT if field.has_default else ''}"
            yield from _inside(field.shape, at, around)
    elif isinstance(shape, UnionOf):
        tagged = len(shape.records) > 1
        for member in shape.members:
            at = f"{path}<{member.tag}>" if tagged and isinstance(member, Record) else path
            yield from _inside(member, at, around)
    elif isinstance(shape, Array | Deque):
        yield from _inside(shape.item, f"{path}[]", around)
    elif isinstance(shape, FixedTuple):
        for index, item in enumerate(shape.items):
            yield from _inside(item, f"{path}[{index}]", around)
    elif isinstance(shape, Mapping):
        yield from _inside(shape.value, f"{path}{{}}", around)


def _type(shape: Shape, around: Around) -> str:
    """The type in words that do not depend on names of classes."""
    if isinstance(shape, Scalar):
        return type_text(shape.cls)
    if isinstance(shape, Enumeration):
        kind = "flag" if issubclass(shape.cls, enum.Flag) else "enum"
        return f"{kind}{json.dumps(sorted(shape.texts.values(), key=repr))}"
    if isinstance(shape, Literals):
        return f"one of {json.dumps(sorted((text for _, text in shape.values), key=repr))}"
    if isinstance(shape, Record):
        return next((f"{{as {at}}}" for record, at in around if record is shape), "{}")
    if isinstance(shape, UnionOf):
        tagged = len(shape.records) > 1
        members = [
            f"{member.tag if tagged and isinstance(member, Record) else ''}{_type(member, around)}"
            for member in shape.members
        ]
        return " | ".join(sorted(members))
    if isinstance(shape, FixedTuple):
        return f"tuple[{', '.join(_type(item, around) for item in shape.items)}]"
    if isinstance(shape, Mapping):
        return f"dict[{_type(shape.key, around)}, {_type(shape.value, around)}]"
    if isinstance(shape, Deque):
        return f"deque[{_type(shape.item, around)}]"
    ends = ", ..." if shape.cls is tuple else ""
    return f"{shape.cls.__name__}[{_type(shape.item, around)}{ends}]"
