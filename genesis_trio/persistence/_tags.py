"""Journal events carry a tag, so that replay finds their class: ``fill@2`` is version 2 of the schema ``fill``."""

import enum
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NewType, TypeVar, Union

import attrs

from genesis_trio.errors import SchemaError
from genesis_trio.persistence._scalars import SCALARS
from genesis_trio.persistence._shapes import subclasses_of, type_text
from genesis_trio.persistence._upgrade import migrating_reader
from genesis_trio.persistence.schema import name_and_version, registered_class

__all__ = ["apply_candidates", "apply_classes", "decode_event", "event_class", "event_reader", "event_tag"]

_SCALARS = {cls.__name__: cls for cls in SCALARS if cls is not type(None)}
_DISPATCHED = functools.singledispatchmethod
_tags: dict[type, str] = {}


def event_tag(event: object) -> str:
    """The tag of *event*: name and version of its schema, or its class's qualified name and 1.

    Raises:
        SchemaError: it is no attrs object, enum member or single value.
    """
    cls = type(event)
    tag = _tags.get(cls)
    if tag is None:
        if not ("__attrs_attrs__" in cls.__dict__ or cls in _SCALARS.values() or issubclass(cls, enum.Enum)):
            raise SchemaError(f"a journal event must be an attrs object, got {type_text(cls)}: {event!r:.60}")
        name, version = name_and_version(cls)
        tag = _tags[cls] = f"{name}@{version}"
    return tag


def event_class(tag: str, candidates: Any = ()) -> type:
    """The class of the events that carry *tag*.

    Args:
        tag: What `event_tag` gave, perhaps in an older version of the program.
        candidates: A class, a union, or several of them; they come before the registry of ``@schema`` classes.

    Raises:
        SchemaError: no class is known for it, the class is older than the event, or two could be meant.
    """
    name, version = _split(tag)
    named = [cls for cls in _flat(candidates) if name_and_version(cls)[0] == name]
    cls = (
        max(named, key=lambda each: name_and_version(each)[1])
        if named
        else registered_class(name) or _SCALARS.get(name)
    )
    if cls is None:
        raise SchemaError(
            f"no class is known for journal events tagged {tag!r}; import the module that has its "
            f"@schema({name!r}) class, or annotate apply(self, event: ...) with it"
        )
    newest = name_and_version(cls)[1]
    if version > newest:
        raise SchemaError(
            f"the journal has events tagged {tag!r}, newer than the code, which has {name} {newest} ({type_text(cls)}); "
            f"run the code that wrote them"
        )
    return cls


def decode_event(body: bytes, tag: str, candidates: Any = ()) -> Any:
    """The event in *body*, migrated if an older version of its class wrote it.

    Raises:
        SchemaError: as `event_class`, or the bytes do not fit the class.
    """
    return event_reader(tag, candidates)(body)


def event_reader(tag: str, candidates: Any = ()) -> Callable[[bytes], Any]:
    """`decode_event` for many events with the same tag: their class is looked for once.

    Raises:
        SchemaError: as `event_class`.
    """
    name, version = _split(tag)
    return migrating_reader(name, version, event_class(tag, candidates))


def apply_candidates(state_type: Any) -> tuple[type, ...]:
    """The classes that ``state_type.apply(event)`` says it takes, by the annotation of its argument.

    A union counts as its members, a base class as itself and its subclasses; a
    `functools.singledispatchmethod` takes what is registered with it.  Without an annotation, or where it names
    nothing that can be found, there are none.
    """
    return tuple(_flat(_said_by_apply(state_type)))


def apply_classes(state_type: Any) -> tuple[type, ...] | None:
    """The classes an instance of which ``state_type.apply(event)`` takes; None where it takes anything, or does not say."""
    if isinstance(inspect.getattr_static(typing.get_origin(state_type) or state_type, "apply", None), _DISPATCHED):
        return None  # there is a function for all others
    classes = tuple(_leaves(_said_by_apply(state_type)))
    if not all(
        isinstance(cls, type) and cls not in (object, Any) and not getattr(cls, "_is_protocol", False)
        for cls in classes
    ):
        return None
    return ((int, *classes) if float in classes else classes) or None  # who takes a float takes an int


def _said_by_apply(state_type: Any) -> Any:
    """The annotation of the argument of ``state_type.apply``, or the classes that it dispatches on; () if there is none."""
    apply = inspect.getattr_static(typing.get_origin(state_type) or state_type, "apply", None)
    if isinstance(apply, _DISPATCHED):
        return [cls for cls in apply.dispatcher.registry if cls is not object]
    function = inspect.unwrap(getattr(apply, "__func__", apply))
    try:
        parameters = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return ()
    if not isinstance(apply, staticmethod):
        parameters = parameters[1:]
    annotation = getattr(function, "__annotations__", {}).get(parameters[0], ()) if parameters else ()
    if isinstance(annotation, str):
        # Only this one: the others may name what exists for the type checker alone.
        try:
            annotation = eval(annotation, function.__globals__, {})
        except Exception:
            return ()
    return annotation


def _split(tag: str) -> tuple[str, int]:
    name, _, version = tag.rpartition("@")
    if not name or not version.isdecimal():
        raise SchemaError(f"{tag!r} is no tag of a journal event; one looks like 'fill@1'")
    return name, int(version)


def _flat(candidates: Any) -> Iterator[type]:
    """Every class in a class, a union or several of them, each once."""
    seen: dict[type, None] = {}
    _collect(candidates, seen)
    return iter(seen)


def _collect(candidates: Any, seen: dict[type, None]) -> None:
    for cls in _leaves(candidates):
        if not isinstance(cls, type):
            continue
        if attrs.has(cls) or cls in _SCALARS.values() or issubclass(cls, enum.Enum):
            seen[cls] = None
        if cls is not object:  # everything is below it
            seen.update(dict.fromkeys(subclasses_of(cls)))


def _leaves(candidate: Any) -> Iterator[Any]:
    """What a class, a union or several of them consist of: classes, and what is none, such as Any."""
    if isinstance(candidate, NewType):
        candidate = candidate.__supertype__
    if type(candidate).__name__ == "TypeAliasType":
        candidate = candidate.__value__
    if isinstance(candidate, TypeVar):
        candidate = candidate.__bound__
    origin = typing.get_origin(candidate)
    if origin is typing.Annotated:
        yield from _leaves(typing.get_args(candidate)[0])
    elif origin is Union or origin is types.UnionType:
        for each in typing.get_args(candidate):
            yield from _leaves(each)
    elif isinstance(origin, type):  # Filled[int] is a Filled
        yield origin
    elif isinstance(candidate, Iterable) and not isinstance(candidate, type | str):
        for each in candidate:
            yield from _leaves(each)
    else:
        yield candidate
