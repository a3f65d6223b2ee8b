"""The tables of a ``service.toml``, and how one is structured: by cattrs, strictly, with every error found at once.

No value is turned into another type, and no key is ignored.  What is wrong is told by key path, value and what is allowed.
"""

import difflib
import enum
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NewType, TypeVar, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.cols import list_structure_factory
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn

from genesis_trio.modes import Criticality, Mode, ModePolicy
from genesis_trio.persistence.policy import CheckpointPolicy
from genesis_trio.service.address import parse_address
from genesis_trio.supervision.backoff import Backoff
from genesis_trio.supervision.component import OnCrash, Recovery, Restart, Strategy, is_name

__all__ = ["ChildTable", "ServiceTable", "near", "structure"]

T = TypeVar("T")

Text = NewType("Text", str)
Name = NewType("Name", str)
StoreUrl = NewType("StoreUrl", str)
Address = NewType("Address", str)
Seconds = NewType("Seconds", float)
Duration = NewType("Duration", float)
Count = NewType("Count", int)
Rules = dict[str, OnCrash]


@attrs.frozen(kw_only=True)
class HttpTable:
    """``[http]``."""

    address: Address


@attrs.frozen(kw_only=True)
class SupervisorTable:
    """``[supervisor]``: what `open_supervisor` takes; None is not given."""

    strategy: Strategy | None = None
    max_restarts: Count | None = None
    within: Seconds | None = None
    escalate_after: Count | None = None
    shutdown_timeout: Seconds | None = None
    stall_limit: Seconds | None = None
    hold_on_stall: bool | None = None
    backoff: Backoff | None = None
    mode_policy: ModePolicy | None = None
    checkpoint: CheckpointPolicy | None = None


@attrs.frozen(kw_only=True)
class ServiceTable:
    """The whole file.  Its children are structured one by one, so that an error in one hides none in another."""

    name: Name
    store: StoreUrl | None = None
    admin: Text | None = None
    http: HttpTable | None = None
    instruments: list[str] = attrs.field(factory=list)
    supervisor: SupervisorTable = SupervisorTable()
    children: list[dict[str, Any]] = attrs.field(factory=list)


@attrs.frozen(kw_only=True)
class ChildTable:
    """One of ``[[children]]``: what `ChildSpec` takes; None is not given."""

    name: Name
    component: Text
    args: list[Any] = attrs.field(factory=list)
    restart: Restart | None = None
    criticality: Criticality | None = None
    requires: list[str] | None = None
    start_timeout: Seconds | None = None
    stop_grace: Duration | None = None
    heartbeat_timeout: Seconds | None = None
    unpark_after: Seconds | None = None
    checkpoint: CheckpointPolicy | None = None
    rules: Rules | None = None
    escalate: bool | None = None
    recovery: Recovery | None = None
    options: dict[str, Any] | None = None


class WrongValueError(Exception):
    """A value that is not what is allowed; the text says what is."""


def near(key: str, known: Iterable[str]) -> str:
    """`` (did you mean 'within'?)``, or nothing when nothing is like it."""
    found = difflib.get_close_matches(key, known, n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def structure(table: Any, cls: type[T], where: str) -> tuple[T | None, list[str]]:
    """*table* as a *cls*, or None and everything that is wrong with it, each named by its path from *where* on."""
    try:
        return _converter().structure(table, cls), []
    except (ClassValidationError, WrongValueError) as error:
        return None, list(_problems(error, where, table))


# ------------------------------------------------------------------ what is wrong, in words


def _problems(error: BaseException, path: str, value: Any) -> Iterator[str]:
    if isinstance(error, ClassValidationError):
        noted, others = error.group_exceptions()
        for inner, note in noted:
            key = _join(path, note.name)
            if isinstance(inner, KeyError) and note.name not in value:
                yield f"the required key {key} is missing"
            else:
                yield from _problems(inner, key, value.get(note.name))
        for other in others:
            yield from _problems(other, path, value)
    elif isinstance(error, IterableValidationError):
        for inner, at in error.group_exceptions()[0]:
            yield from _problems(inner, f"{path}[{at.index}]", value[at.index])
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in attrs.fields(error.cl)]
        for key in sorted(error.extra_fields):
            elsewhere = error.cl is ServiceTable and key in attrs.fields_dict(SupervisorTable)
            hint = (
                f" (it belongs under [supervisor{'' if not isinstance(value[key], dict) else f'.{key}'}])"
                if elsewhere
                else ""
            )
            yield f"unknown key {_join(path, key)}{hint or near(key, known)}; allowed are: {', '.join(known)}"
    elif isinstance(error, WrongValueError):
        yield f"{path} is {value!r}, but must be {error}"
    else:
        yield f"{path} is {value!r}: {error}"  # a policy's own check of its arguments


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


# ------------------------------------------------------------------ what is allowed


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_address(value: Any) -> bool:
    try:
        parse_address(value)
    except (ValueError, AttributeError):
        return False
    return True


def _is_store(value: Any) -> bool:
    return isinstance(value, str) and bool(value.partition(":")[0]) and ":" in value


ALLOWED: Mapping[Any, tuple[Callable[[Any], bool], str]] = {
    str: (lambda value: isinstance(value, str), "a text"),
    Text: (_is_text, "a text that is not empty"),
    Name: (is_name, "a text that is not empty, without '/' and without outer space"),
    StoreUrl: (_is_store, "a place with its scheme, as in 'sqlite:desk.db' or 'memory:'"),
    Address: (_is_address, "host:port, as in '127.0.0.1:9100' or '[::1]:9100', with a port from 0 to 65535"),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (_is_whole, "a whole number"),
    Count: (lambda value: _is_whole(value) and value >= 0, "a whole number that is not negative"),
    float: (_is_number, "a number"),
    Seconds: (lambda value: _is_number(value) and value > 0, "a number of seconds, more than 0"),
    Duration: (lambda value: _is_number(value) and value >= 0, "a number of seconds that is not negative"),
}


def _checked(allowed: Callable[[Any], bool], words: str, then: Callable[[Any, Any], Any] | None = None) -> Any:
    def read(value: Any, type_: Any) -> Any:
        if not allowed(value):
            raise WrongValueError(words)
        return value if then is None else then(value, type_)

    return read


def _member(value: Any, cls: Any) -> enum.Enum:
    names = [member.name.lower() for member in cls]
    if not isinstance(value, str) or value.lower() not in names:
        hint = near(value.lower(), names) if isinstance(value, str) else ""
        raise WrongValueError(f"one of {', '.join(names)}{hint}")
    member: enum.Enum = cls[value.upper()]
    return member


def _rules(value: Any, cls: Any) -> dict[str, OnCrash]:
    return {name: OnCrash(follows) for name, follows in value.items()}


def _is_rules(value: Any) -> bool:
    return isinstance(value, dict) and all(
        follows in {member.value for member in OnCrash} for follows in value.values()
    )


def _is_made_of(origin: type, given: Any) -> bool:
    return bool(get_origin(given) == origin)


def _make_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    for type_, (allowed, words) in ALLOWED.items():
        if isinstance(type_, type):
            converter.register_structure_hook(type_, _checked(allowed, words))
        else:
            converter.register_structure_hook_func(partial(operator.is_, type_), _checked(allowed, words))
    for members in (Criticality, Mode, Recovery, Restart, Strategy):
        converter.register_structure_hook(members, _member)
    converter.register_structure_hook_func(
        partial(_is_made_of, dict), _checked(lambda value: isinstance(value, dict), "a table")
    )

    follows = ", ".join(member.value for member in OnCrash)
    words = f"a table of exceptions, as OSError or 'module:Name', each with one of {follows}"
    converter.register_structure_hook_func(partial(operator.eq, Rules), _checked(_is_rules, words, _rules))

    def make_list(type_: Any) -> Any:
        of = "tables, each beginning with [[children]]" if _is_made_of(dict, get_args(type_)[0]) else "texts"
        words = "a list" if get_args(type_)[0] is Any else f"a list of {of}"
        return _checked(lambda value: isinstance(value, list), words, list_structure_factory(type_, converter))

    def make_record(cls: Any) -> Any:
        names = ", ".join(field.name for field in attrs.fields(cls))
        words = f"a table with the keys {names}"
        made = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True)
        return _checked(lambda value: isinstance(value, dict), words, made)

    converter.register_structure_hook_factory(partial(_is_made_of, list), make_list)
    converter.register_structure_hook_factory(attrs.has, make_record)
    return converter


_MADE: list[Converter] = []


def _converter() -> Converter:
    """Made once, when a file is read: what is compiled for it takes a few milliseconds."""
    if not _MADE:
        _MADE.append(_make_converter())
    return _MADE[0]
