"""Writers and readers of lists, tuples, sets, deques and dicts.

A reader looks at every part before it raises, so that all problems of a document are told at once.
"""

import collections
from collections.abc import Callable, Iterable
from typing import Any

from cattrs.errors import IterableValidationError, IterableValidationNote

from genesis_trio.persistence._scalars import Reader, RefusedError, Writer, refusal
from genesis_trio.persistence._shapes import Array, Scalar

__all__ = [
    "array_reader",
    "array_writer",
    "deque_reader",
    "deque_writer",
    "fixed_reader",
    "fixed_writer",
    "mapping_reader",
    "mapping_writer",
]


def array_writer(shape: Array, write: Writer) -> Writer:
    cls: Any = shape.cls
    name = cls.__name__
    if cls in (set, frozenset):
        # Sorted, because the order of a set of strings is another one in each process.
        natural = isinstance(shape.item, Scalar) and shape.item.cls in (int, str)
        order: Callable[[Any], Any] | None = None if natural else repr

        def write_set(value: Any) -> Any:
            if value.__class__ is cls:
                return sorted([write(item) for item in value], key=order)
            raise refusal(name, value)

        return write_set

    def write_array(value: Any) -> Any:
        if value.__class__ is cls:
            return [write(item) for item in value]
        raise refusal(name, value)

    return write_array


def fixed_writer(writers: list[Writer]) -> Writer:
    expected = f"a tuple of {len(writers)}"

    def write(value: Any) -> Any:
        if value.__class__ is not tuple:
            raise refusal("tuple", value)
        if len(value) != len(writers):
            raise RefusedError(f"expected {expected}", value)
        return [write(item) for write, item in zip(writers, value, strict=True)]

    return write


def deque_writer(write: Writer) -> Writer:
    def write_deque(value: Any) -> Any:
        if value.__class__ is collections.deque:
            return {"items": [write(item) for item in value], "maxlen": value.maxlen}
        raise refusal("deque", value)

    return write_deque


def _items(values: Iterable[Any], read: Reader, what: str) -> list[Any]:
    """Each item through its reader, with every problem collected."""
    items: list[Any] = []
    errors: list[Exception] = []
    for index, value in enumerate(values):
        try:
            items.append(read(value, None))
        except Exception as exc:
            exc.add_note(IterableValidationNote(f"{what} @ index {index}", index, None))
            errors.append(exc)
    if errors:
        raise IterableValidationError(f"while reading {what}", errors, list)  # pyright: ignore[reportCallIssue]
    return items


def array_reader(shape: Array, read: Reader) -> Reader:
    cls: Any = shape.cls
    name = f"a {cls.__name__}"

    def read_array(value: Any, _: Any) -> Any:
        if value.__class__ is not list:
            raise RefusedError(f"expected {name} as an array", value)
        items = _items(value, read, name)
        if cls is list:
            return items
        whole = cls(items)
        if len(whole) != len(items):
            raise RefusedError(f"expected {name} of different values", value)
        return whole

    return read_array


def _read_pair(pair: tuple[Reader, Any], _: Any) -> Any:
    read, value = pair
    return read(value, None)


def fixed_reader(readers: list[Reader]) -> Reader:
    count = len(readers)

    def read(value: Any, _: Any) -> Any:
        if value.__class__ is not list or len(value) != count:
            raise RefusedError(f"expected a tuple of {count} as an array", value)
        return tuple(_items(zip(readers, value, strict=True), _read_pair, "a tuple"))

    return read


def deque_reader(read: Reader) -> Reader:
    def read_deque(value: Any, _: Any) -> Any:
        if value.__class__ is not dict or value.keys() != {"items", "maxlen"}:
            raise RefusedError("expected a deque as an object with items and maxlen", value)
        items, maxlen = value["items"], value["maxlen"]
        if items.__class__ is not list:
            raise RefusedError("expected a deque with an array of items", value)
        if maxlen is not None and (maxlen.__class__ is not int or maxlen < len(items)):
            raise RefusedError(f"expected a deque with room for its {len(items)} items", value)
        return collections.deque(_items(items, read, "a deque"), maxlen)

    return read_deque


def mapping_writer(write_key: Writer, write: Writer) -> Writer:
    def write_mapping(value: Any) -> Any:
        if value.__class__ is dict:
            return {write_key(key): write(item) for key, item in value.items()}
        raise refusal("dict", value)

    return write_mapping


def mapping_reader(read_key: Reader, read: Reader) -> Reader:
    def read_mapping(value: Any, _: Any) -> Any:
        if value.__class__ is not dict:
            raise RefusedError("expected a dict as an object", value)
        whole: dict[Any, Any] = {}
        errors: list[Exception] = []
        for key, item in value.items():
            try:
                whole[read_key(key, None)] = read(item, None)
            except Exception as exc:
                exc.add_note(IterableValidationNote(f"a dict @ key {key!r}", key, None))
                errors.append(exc)
        if not errors and len(whole) != len(value):
            errors.append(RefusedError("expected different keys; two of them mean the same", value, named=False))
        if errors:
            raise IterableValidationError("while reading a dict", errors, dict)  # pyright: ignore[reportCallIssue]
        return whole

    return read_mapping
