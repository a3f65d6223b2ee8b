"""``service.toml``: the tree as a file.

::

    name = "desk"
    store = "sqlite:desk.db"
    admin = "desk.sock"

    [supervisor]
    strategy = "one_for_one"
    max_restarts = 3
    within = 5.0

    [[children]]
    name = "ledger"
    component = "my_desk:Ledger"
    criticality = "CRITICAL"

    [[children]]
    name = "strategy"
    component = "my_desk:strategy"
    requires = ["ledger"]
    options = { symbol = "BTC/USD" }
"""

import difflib
import enum
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from genesis_trio.errors import ConfigError
from genesis_trio.modes import Criticality, Mode, ModePolicy
from genesis_trio.persistence.policy import CheckpointPolicy
from genesis_trio.service.plugins import load_component
from genesis_trio.supervision.backoff import Backoff
from genesis_trio.supervision.component import ChildSpec, Restart, Strategy

__all__ = ["read_toml"]

Reader = Callable[[Any], Any]


class _NotAllowedError(Exception):
    """A value that is not what is allowed; the text says what is."""


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _NotAllowedError("a text that is not empty")
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _NotAllowedError("a number of seconds")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _NotAllowedError("a whole number")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _NotAllowedError("a list of texts")
    return tuple(value)


def _values(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _NotAllowedError("a list")
    return value


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _NotAllowedError("a table")
    return value


def _tables(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _NotAllowedError("a list of tables, each beginning with [[children]]")
    return value


def _member(cls: type[enum.Enum]) -> Reader:
    def read(value: Any) -> enum.Enum:
        for member in cls:
            if isinstance(value, str) and value.lower() == member.name.lower():
                return member
        raise _NotAllowedError("one of " + ", ".join(member.name.lower() for member in cls))

    return read


def _record(cls: Any) -> Reader:
    """A table whose keys are the arguments of *cls*, which judges the values."""
    modes = _member(Mode)

    def read(value: Any) -> Any:
        fields = _table(value)
        known = [field.name for field in attrs.fields(cls)]
        for key in fields:
            if key not in known:
                raise _NotAllowedError(
                    f"a table with the keys {', '.join(known)}; {key!r} is none of them{_near(key, known)}"
                )
        given = {key: modes(item) if key.endswith("_failure") else item for key, item in fields.items()}
        try:
            return cls(**given)
        except (TypeError, ValueError) as error:
            raise _NotAllowedError(f"a table that describes a {cls.__name__}: {error}") from error

    return read


def _near(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


TOP: Mapping[str, Reader] = {
    "name": _text,
    "store": _text,
    "admin": _text,
    "supervisor": _table,
    "children": _tables,
}
SUPERVISOR: Mapping[str, Reader] = {
    "strategy": _member(Strategy),
    "max_restarts": _whole,
    "within": _seconds,
    "shutdown_timeout": _seconds,
    "backoff": _record(Backoff),
    "mode_policy": _record(ModePolicy),
    "checkpoint": _record(CheckpointPolicy),
}
CHILD: Mapping[str, Reader] = {
    "name": _text,
    "component": _text,
    "args": _values,
    "restart": _member(Restart),
    "criticality": _member(Criticality),
    "requires": _texts,
    "start_timeout": _seconds,
    "stop_grace": _seconds,
    "heartbeat_timeout": _seconds,
    "unpark_after": _seconds,
    "checkpoint": _record(CheckpointPolicy),
    "options": _table,
}


def _read(
    file: str, path: str, table: Mapping[str, Any], keys: Mapping[str, Reader], needed: tuple[str, ...]
) -> dict[str, Any]:
    """*table* with each value read; everything wrong is a ConfigError with file, key path, value and what is allowed."""
    where = f"{path}." if path else ""
    for key in table:
        if key not in keys:
            raise ConfigError(f"{file}: unknown key {where}{key}{_near(key, keys)}; allowed are: {', '.join(keys)}")
    for key in needed:
        if key not in table:
            raise ConfigError(f"{file}: the required key {where}{key} is missing")
    found = {}
    for key, value in table.items():
        try:
            found[key] = keys[key](value)
        except _NotAllowedError as wrong:
            raise ConfigError(f"{file}: {where}{key} is {value!r}, but must be {wrong}") from None
    return found


def read_toml(path: str) -> dict[str, Any]:
    """The arguments of a `Service` from the file at *path*.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or says something that is not allowed.
        PluginError: a component cannot be loaded.
    """
    import tomllib

    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    top = _read(path, "", table, TOP, ("name",))
    settings = _read(path, "supervisor", top.pop("supervisor", {}), SUPERVISOR, ())
    specs = []
    for number, child in enumerate(top.pop("children", [])):
        where = f"children[{number}]"
        fields = _read(path, where, child, CHILD, ("name", "component"))
        component = load_component(fields.pop("component"))
        try:
            specs.append(ChildSpec(component, *fields.pop("args", []), **fields))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{path}: {where}: {error}") from error
    return {"children": specs, **top, **settings}
