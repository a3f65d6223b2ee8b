"""Where in a state the values are that cannot be saved.

Runs only when writing has failed.  It asks the same writers as `genesis_trio.persistence._hooks`
about each part, so the two cannot disagree about a value; here every part is asked, and its path
is known.
"""

import collections
import reprlib
from collections.abc import Iterator
from typing import Any

from genesis_trio.persistence._leaves import key_writer, leaf_writer
from genesis_trio.persistence._scalars import RefusedError, refusal
from genesis_trio.persistence._shapes import (
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
from genesis_trio.persistence._unions import class_refusal, union_refusal, union_table

__all__ = ["MAX_DEPTH", "problems_in"]

# Levels of JSON: room for any state that is not a chain of nodes, and for a stack of Python frames (at most four a
# level) on top of what the caller has used of the usual thousand.
MAX_DEPTH = 128

_short = reprlib.Repr()


def problems_in(shape: Shape, value: Any) -> Iterator[str]:
    """Each part of *value* that cannot be saved as *shape*, as ``reason @ path``."""
    for reason, path in _walk(shape, value, "$", 0, True):
        yield f"{reason} @ {path}"


def _walk(shape: Shape, value: Any, path: str, depth: int, shown: bool) -> Iterator[tuple[str, str]]:
    try:
        parts = _parts(shape, value, path)
    except RefusedError as exc:
        exc.hidden = not shown
        yield str(exc), path
        return
    if parts and depth >= MAX_DEPTH:
        yield (
            f"nested deeper than {MAX_DEPTH} levels, or in itself; keep the nodes in a dict and refer to them by key",
            path,
        )
        return
    for part, item, at, visible in parts:
        if isinstance(part, str):
            yield part, at
        else:
            yield from _walk(part, item, at, depth + 1, shown and visible)


Part = tuple["Shape | str", Any, str, bool]


def _parts(shape: Shape, value: Any, path: str) -> list[Part]:
    """What *value* consists of; raises `RefusedError` for its own sake."""
    if isinstance(shape, Scalar | Enumeration | Literals):
        leaf_writer(shape, thorough=True)(value)
        return []
    if isinstance(shape, UnionOf):
        member = union_table(shape).get(type(value))
        if member is None:
            raise union_refusal(shape, value)
        return _parts(member, value, path)
    if isinstance(shape, Record):
        return _fields(shape, value, path)
    if isinstance(shape, Mapping):
        return _entries(shape, value, path)
    if isinstance(shape, FixedTuple):
        if type(value) is not tuple:
            raise refusal("tuple", value)
        if len(value) != len(shape.items):
            raise RefusedError(f"expected a tuple of {len(shape.items)}", value)
        return [
            (item, each, f"{path}[{i}]", True) for i, (item, each) in enumerate(zip(shape.items, value, strict=True))
        ]
    cls: Any = collections.deque if isinstance(shape, Deque) else shape.cls
    if type(value) is not cls:
        raise refusal(cls.__name__, value)
    if cls is set or cls is frozenset:  # they have no order to count by
        return [(shape.item, each, f"{path}[{_short.repr(each)}]", True) for each in value]
    return [(shape.item, each, f"{path}[{index}]", True) for index, each in enumerate(value)]


def _fields(record: Record, value: Any, path: str) -> list[Part]:
    if type(value) is not record.cls:
        raise class_refusal(record, value)
    parts: list[Part] = []
    for field in record.fields:
        at = f"{path}.{field.name}"
        try:
            parts.append((field.shape, getattr(value, field.name), at, field.shown))
        except AttributeError:
            parts.append(
                (f"{type_text(record.cls)} has no value for this field; set it before it is saved", None, at, True)
            )
    return parts


def _entries(mapping: Mapping, value: Any, path: str) -> list[Part]:
    if type(value) is not dict:
        raise refusal("dict", value)
    write_key = key_writer(mapping.key, thorough=True)
    parts: list[Part] = []
    for key, item in value.items():
        try:
            text = write_key(key)
        except RefusedError as exc:
            parts.append((f"as a key: {exc}", None, f"{path}[{key!r}]", True))
        else:
            parts.append((mapping.value, item, f"{path}[{text!r}]", True))
    return parts
