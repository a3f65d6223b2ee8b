"""Writers and readers of what has no parts, and of the keys of JSON objects."""

import enum
from typing import Any

from genesis_trio.persistence._scalars import (
    KEYS,
    SCALARS,
    Reader,
    RefusedError,
    Writer,
    check_str,
    int_of,
    int_text,
    read_int,
    refusal,
)
from genesis_trio.persistence._shapes import Enumeration, Literals, Scalar, Shape, type_text

__all__ = ["enum_reader", "key_reader", "key_writer", "leaf_reader", "leaf_writer", "literal_reader"]


def leaf_writer(shape: Scalar | Enumeration | Literals, *, thorough: bool = False) -> Writer:
    """The writer of a value without parts; a *thorough* one also finds what only the encoder would refuse."""
    if isinstance(shape, Scalar):
        return check_str if thorough and shape.cls is str else SCALARS[shape.cls][1]
    if isinstance(shape, Literals):
        return _literal_writer(shape)
    cls, name = shape.cls, type_text(shape.cls)
    if shape.by_name:

        def write_name(value: Any) -> Any:
            if value.__class__ is cls:
                return value._name_
            raise refusal(name, value)

        return write_name
    if issubclass(cls, enum.Flag):
        return _flag_writer(cls)

    def write_value(value: Any) -> Any:
        if value.__class__ is cls:
            return value._value_
        raise refusal(name, value)

    return write_value


def leaf_reader(shape: Scalar | Enumeration | Literals) -> Reader:
    if isinstance(shape, Scalar):
        return SCALARS[shape.cls][2]
    return enum_reader(shape) if isinstance(shape, Enumeration) else literal_reader(shape)


def _flag_writer(cls: type[enum.Flag]) -> Writer:
    known = _all_bits(cls)

    def write(value: Any) -> Any:
        if value.__class__ is not cls:
            raise refusal(type_text(cls), value)
        if value._value_ & ~known:
            raise RefusedError(f"expected flags of {type_text(cls)}", value)
        return value._value_

    return write


def _all_bits(cls: type[enum.Flag]) -> int:
    bits = 0
    for member in cls.__members__.values():
        bits |= member.value
    return bits


def enum_reader(shape: Enumeration) -> Reader:
    cls, name = shape.cls, type_text(shape.cls)
    if issubclass(cls, enum.Flag):
        known = _all_bits(cls)

        def read_flag(value: Any, _: Any = None) -> Any:
            bits = read_int(value)
            if bits >= 0 and not bits & ~known:
                return cls(bits)
            raise refusal(f"flags of {name}", value)

        return read_flag
    members = {text: member for member, text in shape.texts.items()}
    kind = type(next(iter(members)))
    listed = ", ".join(map(repr, members))

    def read_enum(value: Any, _: Any = None) -> Any:
        if value.__class__ is kind and (member := members.get(value)) is not None:
            return member
        raise RefusedError(f"expected {name} (one of {listed})", value)

    return read_enum


def _literal_writer(shape: Literals) -> Writer:
    table = {(type(value), value): text for value, text in shape.values}
    listed = ", ".join(repr(value) for value, _ in shape.values)

    def write(value: Any) -> Any:
        try:
            return table[value.__class__, value]
        except (KeyError, TypeError):
            raise RefusedError(f"expected one of {listed}", value) from None

    return write


def literal_reader(shape: Literals) -> Reader:
    table = {(type(text), text): value for value, text in shape.values}
    listed = ", ".join(repr(text) for _, text in shape.values)

    def read(value: Any, _: Any = None) -> Any:
        try:
            return table[value.__class__, value]
        except (KeyError, TypeError):
            raise RefusedError(f"expected one of {listed}", value) from None

    return read


# ---------------------------------------------------------------- keys of a JSON object


def key_writer(shape: Shape, *, thorough: bool = False) -> Writer:
    if isinstance(shape, Scalar):
        return check_str if thorough and shape.cls is str else KEYS[shape.cls][0]
    assert isinstance(shape, Enumeration | Literals)
    write = leaf_writer(shape)
    if isinstance(shape, Literals) or shape.by_name or str in set(map(type, shape.texts.values())):
        return write
    return lambda value: int_text(write(value))


def key_reader(shape: Shape) -> Reader:
    if isinstance(shape, Scalar):
        return KEYS[shape.cls][1]
    if isinstance(shape, Literals):
        return literal_reader(shape)
    assert isinstance(shape, Enumeration)
    read = enum_reader(shape)
    if shape.by_name or str in set(map(type, shape.texts.values())):
        return read

    def read_int_enum(value: Any, _: Any = None) -> Any:
        number = int_of(value)
        return read(value if number is None else number, None)

    return read_int_enum
