"""From a shape to the two functions that turn its values into plain JSON values and back.

The hooks are made once for a type.  cattrs generates the functions of the attrs classes; what is
inside of them is strict from the start, so nothing is looked at twice.  A writer raises `RefusedError`
at the first bad value, without its path (`genesis_trio.persistence._explain` finds all of them,
when there are some); a reader collects every problem in the exception groups of cattrs, whose
notes hold the path.
"""

from typing import Annotated, Any

import attrs
from cattrs import Converter
from cattrs.errors import AttributeValidationNote, ClassValidationError
from cattrs.gen import (
    make_dict_structure_fn_from_attrs,
    make_dict_unstructure_fn_from_attrs,
    override,
)

from genesis_trio.persistence._containers import (
    array_reader,
    array_writer,
    deque_reader,
    deque_writer,
    fixed_reader,
    fixed_writer,
    mapping_reader,
    mapping_writer,
)
from genesis_trio.persistence._leaves import key_reader, key_writer, leaf_reader, leaf_writer
from genesis_trio.persistence._scalars import Reader, RefusedError, Writer
from genesis_trio.persistence._shapes import (
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
from genesis_trio.persistence._unions import (
    class_refusal,
    json_kinds,
    tagged_reader,
    tagged_writer,
    union_refusal,
    union_table,
    union_text,
    wide_or,
)

__all__ = ["Hooks"]

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
            return mapping_writer(key_writer(shape.key), self.writer(shape.value))
        if isinstance(shape, FixedTuple):
            return fixed_writer([self.writer(item) for item in shape.items])
        if isinstance(shape, Deque):
            return deque_writer(self.writer(shape.item))
        return array_writer(shape, self.writer(shape.item))

    def _record_writer(self, record: Record) -> Writer:
        writers = self._writers
        if record in writers:
            return writers[record]
        # Until it is made: a class may contain itself.
        writers[record] = lambda value: writers[record](value)
        cls = record.cls
        overrides = {field.name: override(unstruct_hook=self.writer(field.shape)) for field in record.fields}
        fields: Any = make_dict_unstructure_fn_from_attrs(
            _overridden(cls, overrides),
            cls,
            _converter,
            _cattrs_use_linecache=False,
            _cattrs_include_init_false=True,
        )

        def write(value: Any) -> Any:
            if value.__class__ is cls:
                return fields(value)
            raise class_refusal(record, value)

        writers[record] = write
        return write

    def _union_writer(self, union: UnionOf) -> Writer:
        tagged = len(union.records) > 1
        writers: dict[int, Writer] = {}
        for member in union.members:
            write = self.writer(member)
            writers[id(member)] = tagged_writer(member.tag, write) if tagged and isinstance(member, Record) else write
        table = {cls: writers[id(member)] for cls, member in union_table(union).items()}

        def write_union(value: Any) -> Any:
            write = table.get(value.__class__)
            if write is None:
                raise union_refusal(union, value)
            return write(value)

        return write_union

    # ------------------------------------------------------------ reading

    def reader(self, shape: Shape) -> Reader:
        if isinstance(shape, Scalar | Enumeration | Literals):
            return leaf_reader(shape)
        if isinstance(shape, Record):
            return self._record_reader(shape)
        if isinstance(shape, UnionOf):
            return self._union_reader(shape)
        if isinstance(shape, Mapping):
            return mapping_reader(key_reader(shape.key), self.reader(shape.value))
        if isinstance(shape, FixedTuple):
            return fixed_reader([self.reader(item) for item in shape.items])
        if isinstance(shape, Deque):
            return deque_reader(self.reader(shape.item))
        return array_reader(shape, self.reader(shape.item))

    def _field_reader(self, field: Field) -> Reader:
        read = self.reader(field.shape)
        return read if field.shown else _hiding_reader(read)

    def _record_reader(self, record: Record) -> Reader:
        readers = self._readers
        if record in readers:
            return readers[record]
        readers[record] = lambda value, tp: readers[record](value, tp)
        cls = record.cls
        hooks = {field.name: self._field_reader(field) for field in record.fields}
        overrides = {field.name: override(struct_hook=hooks[field.name]) for field in record.fields if field.in_init}
        fields: Any = make_dict_structure_fn_from_attrs(
            _overridden(cls, overrides),
            cls,
            _converter,
            {parameter.__name__: Any for parameter in getattr(cls, "__parameters__", ())},
            _cattrs_forbid_extra_keys=True,
            _cattrs_detailed_validation=True,
            _cattrs_use_linecache=False,
        )
        expected = f"expected an object with the fields of {type_text(cls)}"

        def read(value: Any, _: Any) -> Any:
            if value.__class__ is not dict:
                raise RefusedError(expected, value)
            return fields(value, cls)

        late = [(field, hooks[field.name]) for field in record.fields if not field.in_init]
        readers[record] = _late_reader(record, read, late) if late else read
        return readers[record]

    def _union_reader(self, union: UnionOf) -> Reader:
        table: dict[type, Reader] = {}
        tagged = len(union.records) > 1
        for member in union.members:
            if not (tagged and isinstance(member, Record)):
                for kind in json_kinds(member):
                    table[kind] = self.reader(member)
        if tagged:
            table[dict] = tagged_reader({record.tag: self.reader(record) for record in union.records})
        number = table.get(int) or table.get(float)
        if float in table:
            table.setdefault(int, table[float])
        if number is not None:
            table[dict] = wide_or(number, table.get(dict))
        expected = " or ".join(union_text(union))

        def read_union(value: Any, tp: Any) -> Any:
            read = table.get(value.__class__)
            if read is None:
                raise RefusedError(f"expected {expected}", value)
            return read(value, tp)

        return read_union


# ---------------------------------------------------------------- classes


def _overridden(cls: type, overrides: dict[str, Any]) -> list[Any]:
    # In the annotation and not as keyword arguments, where a field called `cl` or `converter` would be taken for one of
    # cattrs's own.
    return [
        each.evolve(type=Annotated[Any, overrides[each.name]]) for each in attrs.fields(cls) if each.name in overrides
    ]


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
                    raise RefusedError("required field missing", None, named=False)
            except Exception as exc:
                exc.add_note(AttributeValidationNote(f"{type_text(record.cls)}.{field.name}", field.name, None))
                errors.append(exc)
        if errors:
            raise ClassValidationError(f"while reading {type_text(record.cls)}", errors, record.cls)  # pyright: ignore[reportCallIssue]
        return instance

    return read_late


def _hiding_reader(read: Reader) -> Reader:
    """Keep the values of a field that is left out of the repr out of error messages too."""

    def hide(exc: BaseException) -> None:
        if isinstance(exc, BaseExceptionGroup):
            for each in exc.exceptions:
                hide(each)
        elif isinstance(exc, RefusedError):
            exc.hidden = True

    def read_hidden(value: Any, tp: Any) -> Any:
        try:
            return read(value, tp)
        except Exception as exc:
            hide(exc)
            raise

    return read_hidden
