"""From a shape to the two functions that turn its values into plain JSON values and back.

The hooks are made once for a type.  cattrs generates the functions of the attrs classes; what is
inside of them is strict from the start, so nothing is looked at twice.  A writer raises `Refused`
at the first bad value, without its path (`genesis_trio.persistence._explain` finds all of them,
when there are some); a reader collects every problem in the exception groups of cattrs, whose
notes hold the path.
"""

import collections
import enum
from collections.abc import Callable
from typing import Any

import attrs
from cattrs import Converter
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn_from_attrs, make_dict_unstructure_fn_from_attrs, override

from genesis_trio.persistence._scalars import KEYS, SCALARS, Reader, Refused, Writer, check_str, int_of, int_text, refuse
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
    type_text,
)

__all__ = ["TAG", "Hooks", "key_writer", "leaf_writer", "refuse_class", "union_table"]

TAG = "$type"  # no attrs field can have this name

# Only its settings are used: each field gets its hook by hand, by the declared type.  A converter's own
# dispatch goes by the class of the value, and lets subclasses through.
_converter = Converter(forbid_extra_keys=True, detailed_validation=True, unstruct_collection_overrides={})


class Hooks:
    """The writers and readers of one type and of everything in it."""

    def __init__(self) -> None:
        self._writers: dict[Record, Writer] = {}
        self._readers: dict[Record, Reader] = {}

    # ------------------------------------------------------------ writing

    def writer(self, shape: Shape) -> Writer:
        if isinstance(shape, Scalar | Enumeration | Literals):
            return leaf_writer(shape)
        if isinstance(shape, Record):
            return self._record_writer(shape)
        if isinstance(shape, UnionOf):
            return self._union_writer(shape)
        if isinstance(shape, Mapping):
            return _mapping_writer(key_writer(shape.key), self.writer(shape.value))
        if isinstance(shape, FixedTuple):
            return _fixed_writer([self.writer(item) for item in shape.items])
        if isinstance(shape, Deque):
            return _deque_writer(self.writer(shape.item))
        return _array_writer(shape, self.writer(shape.item))

    def _record_writer(self, record: Record) -> Writer:
        if record in self._writers:
            # Its function is being made, or was; looked up at the call, it may contain itself.
            writers = self._writers
            return lambda value: writers[record](value)
        cls = record.cls

        def unfinished(value: Any) -> Any:
            raise AssertionError(f"the writer of {type_text(cls)} is not finished")

        self._writers[record] = unfinished
        fields = make_dict_unstructure_fn_from_attrs(
            [each for each in attrs.fields(cls)],
            cls,
            _converter,
            _cattrs_use_linecache=False,
            _cattrs_include_init_false=True,
            **{field.name: override(unstruct_hook=self.writer(field.shape), omit=False) for field in record.fields},
        )

        def write(value: Any) -> Any:
            if value.__class__ is cls:
                return fields(value)
            refuse_class(record, value)

        self._writers[record] = write
        return write

    def _union_writer(self, union: UnionOf) -> Writer:
        tagged = len(union.records) > 1
        writers: dict[int, Writer] = {}
        for member in union.members:
            write = self.writer(member)
            writers[id(member)] = _tagged_writer(member.tag, write) if tagged and isinstance(member, Record) else write
        table = {cls: writers[id(member)] for cls, member in union_table(union).items()}
        expected = " or ".join(union_text(union))

        def write_union(value: Any) -> Any:
            write = table.get(value.__class__)
            if write is None:
                raise Refused(f"expected {expected}", value)
            return write(value)

        return write_union

    # ------------------------------------------------------------ reading

    def reader(self, shape: Shape) -> Reader:
        if isinstance(shape, Scalar):
            return SCALARS[shape.cls][2]
        if isinstance(shape, Enumeration):
            return _enum_reader(shape)
        if isinstance(shape, Literals):
            return _literal_reader(shape)
        if isinstance(shape, Record):
            return self._record_reader(shape)
        if isinstance(shape, UnionOf):
            return self._union_reader(shape)
        if isinstance(shape, Mapping):
            return _mapping_reader(_key_reader(shape.key), self.reader(shape.value))
        if isinstance(shape, FixedTuple):
            return _fixed_reader([self.reader(item) for item in shape.items])
        if isinstance(shape, Deque):
            return _deque_reader(self.reader(shape.item))
        return _array_reader(shape, self.reader(shape.item))

    def _field_reader(self, field: Field) -> Reader:
        read = self.reader(field.shape)
        return read if field.shown else _hiding_reader(read)

    def _record_reader(self, record: Record) -> Reader:
        if record in self._readers:
            readers = self._readers
            return lambda value, tp: readers[record](value, tp)
        cls = record.cls

        def unfinished(value: Any, _: Any) -> Any:
            raise AssertionError(f"the reader of {type_text(cls)} is not finished")

        self._readers[record] = unfinished
        hooks = {field.name: self._field_reader(field) for field in record.fields}
        fields = make_dict_structure_fn_from_attrs(
            [each.evolve(type=Any) for each in attrs.fields(cls) if each.init],
            cls,
            _converter,
            {parameter.__name__: Any for parameter in getattr(cls, "__parameters__", ())},
            _cattrs_forbid_extra_keys=True,
            _cattrs_detailed_validation=True,
            _cattrs_use_linecache=False,
            **{field.name: override(struct_hook=hooks[field.name], omit=False) for field in record.fields if field.in_init},
        )
        expected = f"expected an object with the fields of {type_text(cls)}"

        def read(value: Any, _: Any) -> Any:
            if value.__class__ is not dict:
                raise Refused(expected, value)
            return fields(value, cls)

        late = [(field, hooks[field.name]) for field in record.fields if not field.in_init]
        if late:
            read = _late_reader(record, read, late)
        self._readers[record] = read
        return read

    def _union_reader(self, union: UnionOf) -> Reader:
        table: dict[type, Reader] = {}
        tagged = len(union.records) > 1
        for member in union.members:
            if not (tagged and isinstance(member, Record)):
                for kind in _json_kinds(member):
                    table[kind] = self.reader(member)
        if tagged:
            table[dict] = _tagged_reader({record.tag: self.reader(record) for record in union.records})
        number = table.get(int) or table.get(float)
        if float in table:
            table.setdefault(int, table[float])
        if number is not None:
            table[dict] = _wide_or(number, table.get(dict))
        expected = " or ".join(union_text(union))

        def read_union(value: Any, tp: Any) -> Any:
            read = table.get(value.__class__)
            if read is None:
                raise Refused(f"expected {expected}", value)
            return read(value, tp)

        return read_union


# ---------------------------------------------------------------- leaves


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
            refuse(name, value)

        return write_name
    if issubclass(cls, enum.Flag):
        return _flag_writer(cls)

    def write_value(value: Any) -> Any:
        if value.__class__ is cls:
            return value._value_
        refuse(name, value)

    return write_value


def _flag_writer(cls: type[enum.Flag]) -> Writer:
    known = _all_bits(cls)

    def write(value: Any) -> Any:
        if value.__class__ is not cls:
            refuse(type_text(cls), value)
        if value._value_ & ~known:
            raise Refused(f"expected flags of {type_text(cls)}", value)
        return value._value_

    return write


def _all_bits(cls: type[enum.Flag]) -> int:
    bits = 0
    for member in cls.__members__.values():
        bits |= member.value
    return bits


def _enum_reader(shape: Enumeration) -> Reader:
    cls, name = shape.cls, type_text(shape.cls)
    if issubclass(cls, enum.Flag):
        known = _all_bits(cls)

        def read_flag(value: Any, _: Any = None) -> Any:
            if value.__class__ is int and value >= 0 and not value & ~known:
                return cls(value)
            refuse(f"flags of {name}", value)

        return read_flag
    members = {text: member for member, text in shape.texts.items()}
    kind = type(next(iter(members)))
    listed = ", ".join(map(repr, members))

    def read_enum(value: Any, _: Any = None) -> Any:
        if value.__class__ is kind and (member := members.get(value)) is not None:
            return member
        raise Refused(f"expected {name} (one of {listed})", value)

    return read_enum


def _literal_writer(shape: Literals) -> Writer:
    table = {(type(value), value): text for value, text in shape.values}
    listed = ", ".join(repr(value) for value, _ in shape.values)

    def write(value: Any) -> Any:
        try:
            return table[value.__class__, value]
        except (KeyError, TypeError):
            raise Refused(f"expected one of {listed}", value) from None

    return write


def _literal_reader(shape: Literals) -> Reader:
    table = {(type(text), text): value for value, text in shape.values}
    listed = ", ".join(repr(text) for _, text in shape.values)

    def read(value: Any, _: Any = None) -> Any:
        try:
            return table[value.__class__, value]
        except (KeyError, TypeError):
            raise Refused(f"expected one of {listed}", value) from None

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


def _key_reader(shape: Shape) -> Reader:
    if isinstance(shape, Scalar):
        return KEYS[shape.cls][1]
    if isinstance(shape, Literals):
        return _literal_reader(shape)
    assert isinstance(shape, Enumeration)
    read = _enum_reader(shape)
    if shape.by_name or str in set(map(type, shape.texts.values())):
        return read

    def read_int_enum(value: Any, _: Any = None) -> Any:
        number = int_of(value)
        return read(value if number is None else number, None)

    return read_int_enum


# ---------------------------------------------------------------- arrays


def _array_writer(shape: Array, write: Writer) -> Writer:
    cls, name = shape.cls, shape.cls.__name__
    if cls in (set, frozenset):
        # Sorted, because the order of a set of strings is another one in each process.
        natural = isinstance(shape.item, Scalar) and shape.item.cls in (int, str)
        order: Callable[[Any], Any] | None = None if natural else repr

        def write_set(value: Any) -> Any:
            if value.__class__ is cls:
                return sorted([write(item) for item in value], key=order)
            refuse(name, value)

        return write_set

    def write_array(value: Any) -> Any:
        if value.__class__ is cls:
            return [write(item) for item in value]
        refuse(name, value)

    return write_array


def _fixed_writer(writers: list[Writer]) -> Writer:
    expected = f"a tuple of {len(writers)}"

    def write(value: Any) -> Any:
        if value.__class__ is not tuple:
            refuse("tuple", value)
        if len(value) != len(writers):
            raise Refused(f"expected {expected}", value)
        return [write(item) for write, item in zip(writers, value, strict=True)]

    return write


def _deque_writer(write: Writer) -> Writer:
    def write_deque(value: Any) -> Any:
        if value.__class__ is collections.deque:
            return {"items": [write(item) for item in value], "maxlen": value.maxlen}
        refuse("deque", value)

    return write_deque


def _items(value: Any, readers: Any, what: str) -> list[Any]:
    """Each item through its reader, with every problem collected."""
    items: list[Any] = []
    errors: list[Exception] | None = None
    index = 0
    for item, read in zip(value, readers, strict=False):
        try:
            items.append(read(item, None))
        except Exception as exc:
            exc.add_note(IterableValidationNote(f"{what} @ index {index}", index, None))
            errors = [*(errors or ()), exc]
        index += 1
    if errors:
        raise IterableValidationError(f"while reading {what}", errors, list)
    return items


def _array_reader(shape: Array, read: Reader) -> Reader:
    cls = shape.cls
    name = f"a {cls.__name__}"

    def read_array(value: Any, _: Any) -> Any:
        if value.__class__ is not list:
            raise Refused(f"expected {name} as an array", value)
        items = _items(value, _forever(read), name)
        if cls is list:
            return items
        whole = cls(items)
        if len(whole) != len(items):
            raise Refused(f"expected {name} of different values", value)
        return whole

    return read_array


def _forever(read: Reader) -> Any:
    while True:
        yield read


def _fixed_reader(readers: list[Reader]) -> Reader:
    count = len(readers)

    def read(value: Any, _: Any) -> Any:
        if value.__class__ is not list or len(value) != count:
            raise Refused(f"expected a tuple of {count} as an array", value)
        return tuple(_items(value, readers, "a tuple"))

    return read


def _deque_reader(read: Reader) -> Reader:
    def read_deque(value: Any, _: Any) -> Any:
        if value.__class__ is not dict or value.keys() != {"items", "maxlen"}:
            raise Refused("expected a deque as an object with items and maxlen", value)
        items, maxlen = value["items"], value["maxlen"]
        if items.__class__ is not list:
            raise Refused("expected a deque with an array of items", value)
        if maxlen is not None and (maxlen.__class__ is not int or maxlen < len(items)):
            raise Refused(f"expected a deque with room for its {len(items)} items", value)
        return collections.deque(_items(items, _forever(read), "a deque"), maxlen)

    return read_deque


# ---------------------------------------------------------------- objects


def _mapping_writer(write_key: Writer, write: Writer) -> Writer:
    def write_mapping(value: Any) -> Any:
        if value.__class__ is dict:
            return {write_key(key): write(item) for key, item in value.items()}
        refuse("dict", value)

    return write_mapping


def _mapping_reader(read_key: Reader, read: Reader) -> Reader:
    def read_mapping(value: Any, _: Any) -> Any:
        if value.__class__ is not dict:
            raise Refused("expected a dict as an object", value)
        whole: dict[Any, Any] = {}
        errors: list[Exception] = []
        for key, item in value.items():
            try:
                whole[read_key(key, None)] = read(item, None)
            except Exception as exc:
                exc.add_note(IterableValidationNote(f"a dict @ key {key!r}", key, None))
                errors.append(exc)
        if not errors and len(whole) != len(value):
            errors.append(Refused("expected different keys; two of them mean the same", value, named=False))
        if errors:
            raise IterableValidationError("while reading a dict", errors, dict)
        return whole

    return read_mapping


def refuse_class(record: Record, value: Any) -> None:
    name, got = type_text(record.cls), type_text(value.__class__)
    if isinstance(value, record.cls):
        raise Refused(
            f"expected exactly {name}: what {got} adds to it would be cut; declare the field as {name} | {got}",
            value,
            named=False,
        )
    raise Refused(f"expected {name}, got {got}", value, named=False)


def _late_reader(record: Record, read: Reader, late: list[tuple[Field, Reader]]) -> Reader:
    """Restore ``init=False`` fields after the instance is made.

    They are state like any other.  The functions of cattrs would set them too, but keep what goes wrong
    to themselves: a bad value, or a frozen class.
    """
    names = {field.name for field, _ in late}

    def read_late(value: Any, tp: Any) -> Any:
        if value.__class__ is not dict:
            return read(value, tp)  # refuses it
        errors: list[Exception] = []
        instance = None
        try:
            instance = read({key: item for key, item in value.items() if key not in names}, tp)
        except ClassValidationError as exc:
            errors.extend(exc.exceptions)
        for field, hook in late:
            try:
                if field.name in value:
                    restored = hook(value[field.name], None)
                    if instance is not None:
                        # Past the class's own __setattr__: a frozen class has none, and validators ran when it was set.
                        object.__setattr__(instance, field.name, restored)
                elif not field.has_default:
                    raise Refused("required field missing", None, named=False)
            except Exception as exc:
                exc.add_note(AttributeValidationNote(f"{type_text(record.cls)}.{field.name}", field.name, None))
                errors.append(exc)
        if errors:
            raise ClassValidationError(f"while reading {type_text(record.cls)}", errors, record.cls)
        return instance

    return read_late


def _hiding_reader(read: Reader) -> Reader:
    """Keep the values of a field that is left out of the repr out of error messages too."""

    def hide(exc: BaseException) -> None:
        if isinstance(exc, BaseExceptionGroup):
            for each in exc.exceptions:
                hide(each)
        elif isinstance(exc, Refused):
            exc.hidden = True

    def read_hidden(value: Any, tp: Any) -> Any:
        try:
            return read(value, tp)
        except Exception as exc:
            hide(exc)
            raise

    return read_hidden


# ---------------------------------------------------------------- unions


def union_text(union: UnionOf) -> list[str]:
    names = []
    for member in union.members:
        if isinstance(member, Literals):
            names.extend(repr(value) for value, _ in member.values)
        else:
            names.extend(type_text(cls) for cls in union_classes(member))
    return names


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


def _json_kinds(member: Shape) -> set[type]:
    """The classes of the JSON values that *member* is saved as."""
    if isinstance(member, Scalar):
        return {member.cls} if member.cls in (type(None), bool, int, float) else {str}
    if isinstance(member, Enumeration):
        return {type(text) for text in member.texts.values()} or {int}
    if isinstance(member, Literals):
        return {type(text) for _, text in member.values}
    return {list} if isinstance(member, Array | FixedTuple) else {dict}


def _tagged_writer(tag: str, write: Writer) -> Writer:
    return lambda value: {TAG: tag, **write(value)}


def _tagged_reader(readers: dict[str, Reader]) -> Reader:
    listed = ", ".join(map(repr, readers))

    def read(value: Any, tp: Any) -> Any:
        if TAG not in value:
            raise Refused(f"expected an object with {TAG!r} (one of {listed})", value)
        tag = value[TAG]
        reader = readers.get(tag) if tag.__class__ is str else None
        if reader is None:
            raise Refused(f"unknown {TAG} {tag!r}, expected one of {listed}", value, named=False)
        return reader({key: item for key, item in value.items() if key != TAG}, tp)

    return read


def _wide_or(number: Reader, other: Reader | None) -> Reader:
    """An int beyond 64 bits is an object too, with a key that no other member of a union can have."""

    def read(value: Any, tp: Any) -> Any:
        if other is None or "$int" in value:
            return number(value, tp)
        return other(value, tp)

    return read
