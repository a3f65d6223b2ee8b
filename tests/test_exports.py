"""What ``import genesis_trio`` gives, and what it costs."""

import ast
import importlib
import pickle
import pkgutil
import subprocess
import sys
import typing
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import genesis_trio
import genesis_trio.testing

PUBLIC_NAMES = (Path(__file__).parent / "public_names.txt").read_text(encoding="utf-8").split()
NAMED_OBJECTS = [name for name in PUBLIC_NAMES if isinstance(getattr(genesis_trio, name, None), type | FunctionType)]
CLASSES = [name for name in NAMED_OBJECTS if isinstance(getattr(genesis_trio, name), type)]
# What is paid for by Trio alone is free; these are not, and most services need a part of them only.
HEAVY = [
    "asyncio",
    "cattrs",
    "h11",
    "http",
    "logging.config",
    "orjson",
    "prometheus_client",
    "sqlite3",
    "tomllib",
    "unittest",
]


def loaded_by(statement: str) -> list[str]:
    """The modules that a fresh interpreter holds after *statement*."""
    script = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_exports_all_names_are_those_of_the_list() -> None:
    """A public name comes or goes only together with the list, and so never by accident."""
    assert genesis_trio.__all__ == PUBLIC_NAMES


def test_exports_all_is_sorted_and_holds_no_name_twice() -> None:
    """A sorted `__all__` shows a missing name to the eye and keeps changes apart."""
    assert sorted(set(genesis_trio.__all__)) == genesis_trio.__all__


def test_exports_nothing_else_looks_public() -> None:
    """What a user sees in a completion list is public or a module."""
    visible = {
        name
        for name in dir(genesis_trio)
        if not name.startswith("_") and not isinstance(getattr(genesis_trio, name), ModuleType)
    }

    assert visible == set(PUBLIC_NAMES)


def test_exports_unknown_name_is_an_attribute_error() -> None:
    """A name that is not there is reported as by any module, so that `hasattr` and suggestions work."""
    with pytest.raises(AttributeError, match=r"^module 'genesis_trio' has no attribute 'Guarrd'$"):
        genesis_trio.Guarrd  # noqa: B018 - asking is the point


@pytest.mark.parametrize("name", NAMED_OBJECTS)
def test_exports_object_names_the_public_path(name: str) -> None:
    """A traceback shows the path that the user imports, not the room behind it."""
    public = getattr(genesis_trio, name)

    assert (public.__module__, public.__qualname__) == ("genesis_trio", name)


@pytest.mark.parametrize("name", NAMED_OBJECTS)
def test_exports_object_pickles_by_its_public_path(name: str) -> None:
    """Pickles name the public path, so that rooms can be rearranged without breaking them."""
    public = getattr(genesis_trio, name)

    pickled = pickle.dumps(public, protocol=0)

    assert pickled.startswith(b"cgenesis_trio\n")
    assert pickle.loads(pickled) is public


@pytest.mark.parametrize("name", CLASSES)
def test_exports_class_type_hints_can_be_resolved(name: str) -> None:
    """The public path is where quoted annotations are looked up, so all that they name has to be public.

    A name is found there once it was asked for; here all of them have been.
    """
    assert isinstance(typing.get_type_hints(getattr(genesis_trio, name)), dict)


def test_exports_import_loads_errors_and_nothing_else() -> None:
    """A program pays for the rooms that it uses, when it asks for their names."""
    ours = sorted(name for name in loaded_by("import genesis_trio") if name.startswith("genesis_trio"))

    assert ours == ["genesis_trio", "genesis_trio.errors"]


@pytest.mark.parametrize("statement", ["import genesis_trio", "from genesis_trio import *"])
def test_exports_import_leaves_heavy_modules_alone(statement: str) -> None:
    """Even all names together load no codec, no database and no server that Trio has not loaded."""
    paid_for = loaded_by("import trio, attrs")

    heavy = [name for name in loaded_by(statement) if name in HEAVY and name not in paid_for]

    assert heavy == []


def test_exports_import_leaves_testing_and_edges_alone() -> None:
    """A service in production does not load what tests and the command line need."""
    edges = (
        "genesis_trio.testing",
        "genesis_trio.cli",
        "genesis_trio.demo",
        "genesis_trio.instrumentation",
        "trio.testing",
    )

    assert [name for name in loaded_by("from genesis_trio import *") if name.startswith(edges)] == []


@pytest.mark.parametrize("module", [genesis_trio, genesis_trio.testing], ids=lambda module: module.__name__)
def test_exports_module_all_resolves(module: typing.Any) -> None:
    """Each name in `__all__` is there."""
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_exports_every_all_in_the_package_resolves() -> None:
    """Inside as well, `__all__` promises nothing that is not there."""
    missing = []
    for found in pkgutil.walk_packages(genesis_trio.__path__, "genesis_trio."):
        if found.name.endswith("__main__") or ".instrumentation." in found.name:
            continue
        module = importlib.import_module(found.name)
        missing += [f"{found.name}.{name}" for name in getattr(module, "__all__", ()) if not hasattr(module, name)]

    assert missing == []


def test_exports_type_checkers_see_the_names_that_are_loaded() -> None:
    """The stub imports each name from the module that the front loads it from."""
    stub = ast.parse(Path(genesis_trio.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))

    imported = {
        alias.name: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    (listed,) = [ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign)]

    assert imported == genesis_trio._WHERE
    assert listed == PUBLIC_NAMES
