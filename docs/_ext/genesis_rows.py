"""What the tables of the documentation say, read from the code; nothing here needs Sphinx, so that tests can ask."""

import ast
import enum
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

import attrs

import genesis_trio
from genesis_trio.cli.options import ORDERS
from genesis_trio.errors import GenesisError
from genesis_trio.events import Event

__all__ = ["Row", "default_rows", "error_rows", "event_rows", "module_rows", "order_rows"]

Row = tuple[str, ...]

# What a call hands over, and is no setting.
_NO_SETTINGS = {"self", "cls", "fn"}


def event_rows() -> dict[str, list[Row]]:
    """Room to its events: name, severity, fields, meaning; in the order in which they are defined."""
    for module in pkgutil.walk_packages(genesis_trio.__path__, "genesis_trio."):
        if {"events", "_events"} & set(module.name.split(".")):
            importlib.import_module(module.name)
    rooms: dict[str, list[Row]] = {}
    # Own attrs: beside each class stands the one that attrs replaced, until it is collected.
    ours = [one for one in Event.__subclasses__() if one.__module__.startswith("genesis_trio.")]
    for event in [one for one in ours if "__attrs_attrs__" in one.__dict__]:
        fields = [field.name for field in attrs.fields(event) if field.name not in ("time", "tree")]
        row = (f"`{event.name}`", event.severity.name.lower(), _code(fields), first_paragraph(event))
        rooms.setdefault(_room_of(event), []).append(row)
    return rooms


def _room_of(event: type[Event]) -> str:
    """The room that tells *event*: records of the core stand in a module of ``genesis_trio.events`` named for it."""
    _, room, *inside = event.__module__.split(".")
    return inside[0] if room == "events" else room


def error_rows() -> list[Row]:
    """Every error: name, what it is as well, its attributes, meaning; a base before those under it."""
    rows: list[Row] = []
    waiting: list[type[GenesisError]] = [GenesisError]
    while waiting:
        error = waiting.pop(0)
        if error.__module__ in (genesis_trio.__name__, "genesis_trio.errors"):
            rows.append((f"`{error.__name__}`", _code([error.__bases__[0].__name__]), first_paragraph(error)))
        waiting = [*error.__subclasses__(), *waiting]
    return rows


def order_rows() -> list[Row]:
    """Every order that a running service takes: how it is written, and what it does."""
    return [
        (f"`genesis {' '.join([order, *(argument.upper() for argument, _ in needed)])}`", does)
        for order, does, needed in ORDERS
    ]


def module_rows() -> dict[str, list[Row]]:
    """Room to its modules: file, and the sentence that its docstring begins with; as in the folder, what is open to users first."""
    package = Path(genesis_trio.__path__[0])
    rooms: dict[str, list[Row]] = {}
    for path in sorted(package.rglob("*.py"), key=lambda path: (path.name.startswith("_"), path)):
        inside = path.relative_to(package)
        if path.name == "__init__.py" or inside.parts[0] == "demo":
            continue
        room = inside.parts[0] if len(inside.parts) > 1 else genesis_trio.__name__
        meaning = first_paragraph(ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "")
        rooms.setdefault(room, []).append((f"`{'/'.join(inside.parts[1:] or inside.parts)}`", meaning))
    return dict(sorted(rooms.items()))


def default_rows(path: str) -> list[Row]:
    """Each setting of the public *path*, as ``ChildSpec`` or ``Context.subscribe``: name, default, meaning."""
    target: Any = genesis_trio
    for name in path.split("."):
        target = getattr(target, name)
    meanings = documented_arguments(target)
    rows = []
    for parameter in inspect.signature(target).parameters.values():
        if parameter.name in _NO_SETTINGS:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            default = "any number"
        elif parameter.default is parameter.empty:
            default = "required"
        else:
            default = f"`{_shown(parameter.default)}`"
        rows.append((f"`{parameter.name}`", default, meanings.get(parameter.name, "")))
    return rows


def documented_arguments(target: object) -> dict[str, str]:
    """What the section ``Args`` of a docstring says about each argument."""
    lines = inspect.cleandoc(getattr(target, "__doc__", None) or "").splitlines()
    if "Args:" not in lines:
        return {}
    found: dict[str, str] = {}
    name = ""
    for line in lines[lines.index("Args:") + 1 :]:
        if line and not line.startswith(" "):
            break
        entry = re.fullmatch(r"    (\w+): (.+)", line)
        if entry:
            name = entry[1]
            found[name] = entry[2]
        elif line.strip() and name:
            found[name] += f" {line.strip()}"
    return found


def first_paragraph(target: object) -> str:
    """The first paragraph of a docstring, in one line: of *target*, or the text itself."""
    text = target if isinstance(target, str) else getattr(target, "__doc__", None) or ""
    return " ".join(inspect.cleandoc(text).split("\n\n")[0].split())


def _shown(default: object) -> str:
    if isinstance(default, type):
        return default.__name__
    # Not str(): that of a Mode is its number.
    return f"{type(default).__name__}.{default.name}" if isinstance(default, enum.Enum) else repr(default)


def _code(words: list[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)
