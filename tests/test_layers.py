"""The layers hold: imports point downwards only, and pure calculations know neither Trio nor a clock.

The imports are read from the source, so that one inside a function counts as well.  What stands
under ``if TYPE_CHECKING:`` is for type checkers and may point anywhere.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import genesis_trio

PACKAGE = Path(genesis_trio.__file__).parent

# From the ground up.  What shares a line is one layer.
LAYERS: list[set[str]] = [
    {"_empty", "_interrupts", "_members"},
    {"errors"},
    {"_runtime"},
    {"events"},
    {"modes"},
    {"policies"},
    {"messaging"},
    {"persistence"},
    {"supervision"},
    {"service"},
    {"instrumentation"},
    {"testing"},
    {"cli"},
    {"demo"},
]
# Only the edges are written against the public names, as a user's code would be.
MAY_IMPORT_PUBLIC_NAMES = {"testing", "cli", "demo", "web"}

PURE = {
    "genesis_trio.demo.faults",
    "genesis_trio.demo.harness.invariants",
    "genesis_trio.demo.harness.measure",
    "genesis_trio.demo.harness.recorder",
    "genesis_trio.modes._policy",
    "genesis_trio.modes._values",
    "genesis_trio.persistence._envelope",
    "genesis_trio.persistence.policy",
    "genesis_trio.policies._check",
    "genesis_trio.policies._quantile",
    "genesis_trio.policies._ramp",
    "genesis_trio.policies._retry_after",
    "genesis_trio.policies._tokens",
    "genesis_trio.supervision._crash_limit",
    "genesis_trio.supervision._ladder",
}
# What a calculation must not know; `datetime` is a type, and the linter forbids to ask it what time it is.
IMPURE = {"trio", "time", "threading", "os", "socket", "sqlite3"}


@attrs.frozen
class Import:
    """One imported module, where it is imported, and whether that happens when the importer is loaded."""

    importer: str
    imported: str
    line: int
    at_load: bool


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def find_imports(importer: str, node: ast.AST, at_load: bool = True) -> Iterator[Import]:
    """Every import below *node*, relative ones made absolute, `from package import module` resolved to the module."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and is_type_checking(child.test):
            for other in child.orelse:
                yield from find_imports(importer, ast.Module([other], []), at_load)
        elif isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(importer, alias.name, child.lineno, at_load)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                package = importer.split(".") if MODULES[importer].name == "__init__.py" else importer.split(".")[:-1]
                kept = package[: len(package) - child.level + 1]
                base = ".".join([*kept, base] if base else kept)
            for alias in child.names:
                full = f"{base}.{alias.name}"
                yield Import(importer, full if full in MODULES else base, child.lineno, at_load)
        else:
            in_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from find_imports(importer, child, at_load and not in_function)


def imports_of(importer: str) -> list[Import]:
    return list(find_imports(importer, ast.parse(MODULES[importer].read_text(encoding="utf-8"))))


def room_of(module: str) -> str:
    """The part of a dotted name that names the layer; empty for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def layer_of(module: str) -> int:
    (layer,) = [number for number, rooms in enumerate(LAYERS) if room_of(module) in rooms]
    return layer


INNER = sorted(set(MODULES) - {"genesis_trio"})


@pytest.mark.parametrize("module", INNER)
def test_layers_every_module_belongs_to_one_layer(module: str) -> None:
    """Each module stands in exactly one layer, so that a new room has to be given its place."""
    assert sum(room_of(module) in rooms for rooms in LAYERS) == 1, f"give {module} a place in LAYERS"


@pytest.mark.parametrize("module", INNER)
def test_layers_module_imports_only_its_own_layer_and_those_below(module: str) -> None:
    """An import never points to a higher layer, not even one inside a function."""
    upwards = [
        f"{found.importer}:{found.line} imports {found.imported}"
        for found in imports_of(module)
        if room_of(found.imported) and found.imported.startswith("genesis_trio.")
        if layer_of(found.imported) > layer_of(module)
    ]

    assert upwards == []


@pytest.mark.parametrize("module", [name for name in INNER if room_of(name) not in MAY_IMPORT_PUBLIC_NAMES])
def test_layers_inside_nothing_imports_the_public_front(module: str) -> None:
    """The package's own front imports everything, so inside of it nothing imports the front."""
    assert [found.line for found in imports_of(module) if found.imported == "genesis_trio"] == []


def test_layers_no_module_is_needed_to_load_itself() -> None:
    """The imports that happen at loading have no cycle."""
    graph = {
        module: sorted({found.imported for found in imports_of(module) if found.at_load} & set(INNER) - {module})
        for module in INNER
    }
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"cycle: {' -> '.join([*path[path.index(module) :], module])}"
        if module not in finished:
            for imported in graph[module]:
                visit(imported, (*path, module))
            finished.add(module)

    for module in graph:
        visit(module, ())


def test_layers_packages_are_regular_ones() -> None:
    """A folder without `__init__.py` is imported all the same, but left out by tools that walk the package."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}

    assert [str(folder.relative_to(PACKAGE)) for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("module", sorted(PURE))
def test_layers_pure_calculation_knows_neither_trio_nor_a_clock(module: str) -> None:
    """What only calculates imports, directly or through others of ours, no event loop and no clock."""
    waiting, seen, impure = [module], set(), []
    while waiting:
        importer = waiting.pop()
        seen.add(importer)
        for found in imports_of(importer):
            if found.imported.split(".")[0] in IMPURE:
                impure.append(f"{importer}:{found.line} imports {found.imported}")
            elif found.imported in MODULES and found.imported not in seen:
                waiting.append(found.imported)

    assert impure == []


# ------------------------------------------------------------------ what is not ours

PROJECT = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# What a name on the package index is called when it is imported, where that differs.
IMPORT_NAMES = {"prometheus-client": "prometheus_client", "opentelemetry-sdk": "opentelemetry"}
OPTIONAL_ROOMS = {"instrumentation", "web"}
# What a room may import beyond the core: that of its extra.
EXTRA_OF = {"demo": "demo", "service": "web"}


def import_names(requirements: list[str]) -> set[str]:
    names = {re.split(r"[^A-Za-z0-9._-]", requirement)[0] for requirement in requirements}
    return {IMPORT_NAMES.get(name, name) for name in names}


CORE = import_names(PROJECT["dependencies"])
FOREIGN = {
    module: {found.imported.split(".")[0] for found in imports_of(module)} - sys.stdlib_module_names - {"genesis_trio"}
    for module in MODULES
}


@pytest.mark.parametrize("module", [name for name in INNER if room_of(name) not in OPTIONAL_ROOMS | {"testing"}])
def test_layers_foreign_imports_are_dependencies(module: str) -> None:
    """What a module imports is installed with the package or with its room's extra; what is optional lives in a room of its own."""
    extra = PROJECT["optional-dependencies"].get(EXTRA_OF.get(room_of(module), ""), [])

    assert FOREIGN[module] - CORE - import_names(extra) == set()


def test_layers_every_dependency_is_imported() -> None:
    """Nobody installs what nothing uses."""
    assert CORE - set().union(*FOREIGN.values()) == set()


# ------------------------------------------------------------------ the walker itself


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import genesis_trio.modes", [("genesis_trio.modes", True)]),
        ("from genesis_trio import modes", [("genesis_trio.modes", True)]),
        ("from genesis_trio.modes import Mode", [("genesis_trio.modes", True)]),
        ("from . import modes", [("genesis_trio.modes", True)]),
        ("from .modes import Mode", [("genesis_trio.modes", True)]),
        ("def f():\n    import genesis_trio.modes", [("genesis_trio.modes", False)]),
        ("async def f():\n    from .modes import Mode", [("genesis_trio.modes", False)]),
        ("if TYPE_CHECKING:\n    import genesis_trio.modes", []),
        ("if typing.TYPE_CHECKING:\n    import genesis_trio.modes\nelse:\n    import trio", [("trio", True)]),
        ("try:\n    import trio\nexcept ImportError:\n    import time", [("trio", True), ("time", True)]),
    ],
)
def test_walker_each_form_of_import_is_found(source: str, expected: list[tuple[str, bool]]) -> None:
    """The walker sees every way to write an import, so that none slips through."""
    found = find_imports("genesis_trio.errors", ast.parse(source))

    assert [(each.imported, each.at_load) for each in found] == expected
