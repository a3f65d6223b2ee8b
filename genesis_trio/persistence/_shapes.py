"""What a type looks like when it is saved: a small tree of shapes, or the reasons why it cannot be.

Everything else works on shapes: the hooks that write and read, the search for the path of a bad
value, the description and its fingerprint.  So they cannot disagree about a type.
"""

import collections
import enum
import inspect
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal, NewType, TypeVar, Union

import attrs

from genesis_trio.errors import SchemaError
from genesis_trio.persistence._scalars import KEYS, SCALARS
from genesis_trio.persistence.schema import name_and_version

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
    "records_in",
    "shape_of",
    "subclasses_of",
    "type_text",
]


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
    item: "Shape"


@attrs.frozen(eq=False)
class FixedTuple:
    items: tuple["Shape", ...]


@attrs.frozen(eq=False)
class Deque:
    """A deque with its ``maxlen``, without which it would grow for ever after a restore."""

    item: "Shape"


@attrs.frozen(eq=False)
class Mapping:
    key: "Shape"
    value: "Shape"


@attrs.frozen(eq=False)
class Field:
    name: str
    alias: str
    shape: "Shape"
    has_default: bool
    in_init: bool
    shown: bool  # False: its values stay out of error messages, as they stay out of the repr


@attrs.define(eq=False)
class Record:
    """An attrs class.  *fields* is filled in after the record is known, because it may contain itself."""

    type: Any
    cls: type
    tag: str
    fields: tuple[Field, ...] = ()
    recursive: bool = False


@attrs.frozen(eq=False)
class UnionOf:
    """Alternatives that JSON keeps apart; two or more records carry a tag."""

    members: tuple["Shape", ...]

    @property
    def records(self) -> tuple[Record, ...]:
        return tuple(member for member in self.members if isinstance(member, Record))


Shape = Scalar | Enumeration | Literals | Array | FixedTuple | Deque | Mapping | Record | UnionOf

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
                tp = self.open[-1].type
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
            key, value = self.build(args[0], f"{where} (key)"), self.build(args[1], where)
            if not _is_key(key):
                self.refuse(
                    f"{where} (key)",
                    f"{type_text(args[0])} cannot be the key of a JSON object; use str, int, an enum, UUID, Decimal, date or datetime",
                )
            return Mapping(key, value)
        if origin is collections.deque:
            return Deque(self.build(args[0], where))
        if origin is tuple and not (len(args) == 2 and args[1] is ...):
            return FixedTuple(tuple(self.build(arg, where) for arg in args))
        item = self.build(args[0], where)
        if origin in (set, frozenset) and (culprit := _unhashable(item)) is not None:
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
        by_name = kinds not in ({str}, {int}) and not issubclass(cls, enum.Flag)
        return Enumeration(cls, by_name, {member: member.name if by_name else member.value for member in members})

    def literals(self, args: tuple[Any, ...], where: str) -> Shape:
        values: dict[tuple[type, Any], Any] = {}
        for arg in args:
            text = arg
            if isinstance(arg, enum.Enum):
                shape = self.enumeration(type(arg), where)
                text = shape.texts.get(arg) if isinstance(shape, Enumeration) else None
            if type(text) not in (str, int, bool, type(None)) or (text is None and arg is not None):
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
            if any(member is other or _same_scalar(member, other) for other in apart):
                continue
            for other in apart:
                if _clash(member, other):
                    self.refuse(
                        where,
                        f"{_shape_text(other)} and {_shape_text(member)} cannot be told apart once they are JSON; "
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


def _is_key(shape: Shape) -> bool:
    if isinstance(shape, Scalar):
        return shape.cls in KEYS or shape.cls is type(None)  # None stands in for what has been refused already
    if isinstance(shape, Literals):
        return all(type(text) is str for _, text in shape.values)
    return isinstance(shape, Enumeration) and not issubclass(shape.cls, enum.Flag)


def _unhashable(shape: Shape) -> str | None:
    """The part of *shape* that has no hash, or None."""
    if isinstance(shape, Record):
        return type_text(shape.cls) if shape.cls.__hash__ is None else None
    if isinstance(shape, Mapping | Deque) or (isinstance(shape, Array) and shape.cls in (list, set)):
        return _shape_text(shape)
    return next((culprit for each in _parts(shape) if (culprit := _unhashable(each)) is not None), None)


def _same_scalar(one: Shape, other: Shape) -> bool:
    return isinstance(one, Scalar) and isinstance(other, Scalar) and one.cls is other.cls


def _clash(one: Shape, other: Shape) -> bool:
    """Whether values of the two shapes could look the same in JSON."""
    if isinstance(one, Record) and isinstance(other, Record):
        return one.tag == other.tag
    if isinstance(one, Scalar) and isinstance(other, Scalar) and {one.cls, other.cls} == {int, float}:
        return False  # 1 and 1.0
    return bool(_kinds(one) & _kinds(other))


def _kinds(shape: Shape) -> set[str]:
    if isinstance(shape, Scalar):
        if shape.cls is int or shape.cls is float:
            return {shape.cls.__name__, "object with any key"}  # the form of an int beyond 64 bits
        return {{type(None): "NoneType", bool: "bool"}.get(shape.cls, "str")}
    if isinstance(shape, Enumeration):
        return {type(text).__name__ for text in shape.texts.values()} or {"int"}
    if isinstance(shape, Literals):
        return {type(text).__name__ for _, text in shape.values}
    if isinstance(shape, Mapping):
        return {"object", "object with any key"}
    return {"object"} if isinstance(shape, Record | Deque) else {"array"}


def _shape_text(shape: Shape) -> str:
    if isinstance(shape, Scalar | Enumeration):
        return type_text(shape.cls)
    if isinstance(shape, Literals):
        return f"Literal[{', '.join(repr(value) for value, _ in shape.values)}]"
    if isinstance(shape, Array):
        return type_text(shape.cls)
    if isinstance(shape, Record):
        return type_text(shape.type)
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
    found = {record: None for record in _nearest_records(shape)}
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
    for sub in cls.__subclasses__():
        if "__attrs_attrs__" in sub.__dict__:
            found[sub] = None
        found.update(dict.fromkeys(subclasses_of(sub)))
    return list(found)


def cut_by_subclasses(shape: Shape) -> list[str]:
    """The fields whose class has subclasses, which would be refused when they are met."""
    problems = []
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
