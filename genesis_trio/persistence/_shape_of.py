"""From a type to its shape, or to the reasons why its values would not survive."""

import collections
import collections.abc
import enum
import inspect
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal, NewType, TypeVar, Union

import attrs

from genesis_trio.errors import SchemaError
from genesis_trio.persistence._scalars import SCALARS, fits
from genesis_trio.persistence._shapes import (
    Array,
    Deque,
    Enumeration,
    Field,
    FixedTuple,
    Literals,
    Mapping,
    Record,
    Scalar,
    Shape,
    UnionOf,
    is_key,
    same_scalar,
    shape_text,
    type_text,
    unhashable,
)
from genesis_trio.persistence._unions import clash
from genesis_trio.persistence.schema import name_and_version

__all__ = ["shape_of"]

_BARE: dict[Any, str] = {
    list: "list[T]",
    tuple: "tuple[T, ...]",
    set: "set[T]",
    frozenset: "frozenset[T]",
    dict: "dict[K, V]",
    collections.deque: "deque[T]",
}
# What people reach for, and what to use instead.
_INSTEAD: dict[Any, str] = {
    bytearray: "bytes",
    memoryview: "bytes",
    complex: "two floats",
    range: "its bounds as ints",
    collections.defaultdict: "dict[K, V] (the factory of a defaultdict would be lost)",
    collections.OrderedDict: "dict[K, V]",
    collections.Counter: "dict[K, int]",
    collections.ChainMap: "dict[K, V]",
    collections.abc.Mapping: "dict[K, V]",
    collections.abc.MutableMapping: "dict[K, V]",
    collections.abc.Sequence: "list[T] or tuple[T, ...]",
    collections.abc.MutableSequence: "list[T]",
    collections.abc.Iterable: "list[T] or tuple[T, ...]",
    collections.abc.Collection: "list[T], tuple[T, ...] or frozenset[T]",
    collections.abc.Set: "set[T] or frozenset[T]",
    collections.abc.MutableSet: "set[T]",
    collections.abc.Callable: "the data that the function works on; code is not state",
}


def shape_of(as_type: Any) -> Shape:
    """The shape of *as_type*.

    Raises:
        SchemaError: with every field that could not survive, why, and what to use instead.
    """
    builder = _Builder()
    shape = builder.build(as_type, type_text(as_type))
    if builder.problems:
        raise SchemaError(f"{type_text(as_type)} cannot be saved: " + "; ".join(builder.problems))
    return shape


class _Builder:
    def __init__(self) -> None:
        self.problems: list[str] = []
        self.records: dict[Any, Record] = {}
        self.open: list[Record] = []  # the records whose fields are being looked at, outermost first

    def refuse(self, where: str, why: str) -> Shape:
        problem = f"{where}: {why}"
        if problem not in self.problems:
            self.problems.append(problem)
        return Scalar(type(None))  # stands in; shape_of() raises

    def build(self, tp: Any, where: str) -> Shape:
        tp = self.unwrapped(tp)
        origin, args = typing.get_origin(tp), typing.get_args(tp)
        if tp is None:
            return Scalar(type(None))
        if isinstance(tp, type) and tp in SCALARS:
            return Scalar(tp)
        if origin is Union or origin is types.UnionType:
            return self.union(args, where)
        if origin is Literal:
            return self.literals(args, where)
        if origin in _BARE:
            return self.container(origin, args, where)
        if isinstance(tp, type) and issubclass(tp, enum.Enum):
            return self.enumeration(tp, where)
        if isinstance(cls := origin or tp, type) and attrs.has(cls):
            return self.record(tp, cls, where)
        return self.unknown(tp, origin, where)

    def unwrapped(self, tp: Any) -> Any:
        """*tp* without the wrappers that change nothing about its values."""
        while True:
            if isinstance(tp, NewType):
                tp = tp.__supertype__
            elif typing.get_origin(tp) in (typing.Annotated, typing.Final):
                tp = typing.get_args(tp)[0]
            elif type(tp).__name__ == "TypeAliasType":  # the `type` statement of Python 3.12
                tp = tp.__value__
            elif tp is typing.Tuple:  # noqa: UP006  # bare, it has the origin and the arguments of tuple[()]
                tp = tuple
            elif tp is typing.Self and self.open:
                tp = self.open[-1].declared
            else:
                return tp

    # ------------------------------------------------------------ refusals

    def unknown(self, tp: Any, origin: Any, where: str) -> Shape:
        name = type_text(tp)
        if tp is Any or tp is object:
            return self.refuse(
                where, f"{name} does not say what to restore; name the type, or a union of attrs classes"
            )
        if isinstance(tp, TypeVar):
            return self.refuse(
                where, f"type variable {name} is not bound; write the class with its argument, as Box[int]"
            )
        if isinstance(tp, str | typing.ForwardRef):
            return self.refuse(where, f"the annotation {tp!r} cannot be resolved; define the class at module level")
        for known in (tp, origin):
            if not isinstance(known, type):
                continue
            if known in _BARE:
                return self.refuse(where, f"{name} does not say what is in it; use {_BARE[known]}")
            if known in _INSTEAD:
                return self.refuse(where, f"{name} would not come back as it was; use {_INSTEAD[known]}")
        return self.refuse(
            where,
            f"{name} is not an attrs class and no known value; decorate it with @attrs.define, or keep it out of the state",
        )

    # ------------------------------------------------------------ containers

    def container(self, origin: Any, args: tuple[Any, ...], where: str) -> Shape:
        if not args and origin is not tuple:
            return self.refuse(where, f"{type_text(origin)} does not say what is in it; use {_BARE[origin]}")
        if origin is dict:
            known = len(self.problems)
            key = self.build(args[0], f"{where} (key)")
            if not is_key(key) and len(self.problems) == known:
                self.refuse(
                    f"{where} (key)",
                    f"{type_text(args[0])} cannot be the key of a JSON object; use str, int, an enum, UUID, Decimal, date or datetime",
                )
            return Mapping(key, self.build(args[1], where))
        if origin is collections.deque:
            return Deque(self.build(args[0], where))
        if origin is tuple and not (len(args) == 2 and args[1] is ...):
            return FixedTuple(tuple(self.build(arg, where) for arg in args))
        item = self.build(args[0], where)
        if origin in (set, frozenset) and (culprit := unhashable(item)) is not None:
            self.refuse(
                where, f"{culprit} is not hashable, so no {type_text(origin)} holds it; use @attrs.frozen or a list"
            )
        return Array(origin, item)

    # ------------------------------------------------------------ enums, literals

    def enumeration(self, cls: type[enum.Enum], where: str) -> Shape:
        members = list(cls)
        if not members and not issubclass(cls, enum.Flag):
            return self.refuse(where, f"{type_text(cls)} has no members; name the enum itself")
        kinds = {type(member.value) for member in members}
        plain = kinds == {str} or (kinds == {int} and all(fits(member.value) for member in members))
        by_name = not plain and not issubclass(cls, enum.Flag)
        return Enumeration(cls, by_name, {member: member.name if by_name else member.value for member in members})

    def literals(self, args: tuple[Any, ...], where: str) -> Shape:
        values: dict[tuple[type, Any], Any] = {}
        for arg in args:
            text = arg
            if isinstance(arg, enum.Enum):
                shape = self.enumeration(type(arg), where)
                text = shape.texts.get(arg) if isinstance(shape, Enumeration) else None
            if not (type(text) in (str, bool) or arg is None or (type(text) is int and fits(text))):
                return self.refuse(where, f"Literal[{arg!r}] cannot be saved; use str, int, bool, None or enum members")
            if (type(text), text) in values:
                return self.refuse(
                    where, f"Literal[{arg!r}] and another value would both be saved as {text!r}; use one enum"
                )
            values[type(text), text] = arg
        return Literals(tuple((arg, text) for (_, text), arg in values.items()))

    # ------------------------------------------------------------ unions

    def union(self, args: Sequence[Any], where: str) -> Shape:
        members: list[Shape] = []
        for arg in args:
            member = self.build(arg, where)
            members.extend(member.members if isinstance(member, UnionOf) else [member])
        apart: list[Shape] = []
        for member in members:
            if any(member is other or same_scalar(member, other) for other in apart):
                continue
            for other in apart:
                if clash(member, other):
                    self.refuse(
                        where,
                        f"{shape_text(other)} and {shape_text(member)} cannot be told apart once they are JSON; "
                        f"use attrs classes, which are saved with the name of their @schema",
                    )
            apart.append(member)
        return UnionOf(tuple(apart)) if len(apart) > 1 else apart[0]

    # ------------------------------------------------------------ attrs classes

    def record(self, tp: Any, cls: type, where: str) -> Shape:
        if (known := self.records.get(tp)) is not None:
            if known in self.open:
                # Everything on the way round is as deep as the values are.
                for each in self.open[self.open.index(known) :]:
                    each.recursive = True
            return known
        if "__attrs_attrs__" not in cls.__dict__:
            return self.refuse(
                where, f"{type_text(cls)} inherits from an attrs class and is none itself; add @attrs.define"
            )
        if inspect.isabstract(cls):
            return self.refuse(where, f"{type_text(cls)} is abstract; use the union of the classes that stand for it")
        tag = name_and_version(cls)[0]
        args = typing.get_args(tp)
        record = Record(tp, cls, f"{tag}[{', '.join(map(type_text, args))}]" if args else tag)
        self.records[tp] = record
        self.open.append(record)
        name = type_text(cls)
        try:
            # A class defined in a function is not in its module's namespace, yet may name itself.
            hints = typing.get_type_hints(cls, localns={cls.__name__: cls})
        except Exception as exc:
            self.refuse(name, f"its annotations cannot be resolved ({exc}); define what they name at module level")
            self.open.pop()
            return record
        bound = _bound_variables(cls, tp)
        fields = []
        for attribute in attrs.fields(cls):
            here = f"{name}.{attribute.name}"
            declared = hints.get(attribute.name, attribute.type)
            if declared is None:
                self.refuse(here, "has no type; annotate it")
                continue
            fields.append(
                Field(
                    attribute.name,
                    attribute.alias or attribute.name,
                    self.build(_substituted(declared, bound), here),
                    attribute.default is not attrs.NOTHING,
                    attribute.init,
                    attribute.repr is not False,
                )
            )
        record.fields = tuple(fields)
        self.open.pop()
        return record


def _bound_variables(cls: type, tp: Any) -> dict[Any, Any]:
    bound = dict(zip(getattr(cls, "__parameters__", ()), typing.get_args(tp), strict=False))
    for base in cls.__mro__:
        for generic in base.__dict__.get("__orig_bases__", ()):
            parameters = getattr(typing.get_origin(generic), "__parameters__", ())
            for variable, argument in zip(parameters, typing.get_args(generic), strict=False):
                if argument is not variable:
                    bound.setdefault(variable, _substituted(argument, bound))
    return bound


def _substituted(tp: Any, bound: dict[Any, Any]) -> Any:
    if isinstance(tp, TypeVar):
        return bound.get(tp, tp)
    parameters = getattr(tp, "__parameters__", ())
    if not bound or not parameters or isinstance(tp, type):
        return tp
    return tp[tuple(bound.get(each, each) for each in parameters)]
