"""Type checkers see what users rely on: decorators keep signatures, results keep their types."""

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import genesis_trio

ROOT = Path(__file__).parent.parent


def mypy(path: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    # mypy is no part of what is measured, and coverage inside of it takes longer than mypy itself.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("COV_", "COVERAGE_"))}
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", f"--cache-dir={cache}", str(path)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_typing_expectations_hold() -> None:
    """Each `assert_type` in typing/api.py is what mypy infers."""
    checked = mypy(ROOT / "tests" / "typing" / "api.py", ROOT / ".mypy_cache")

    assert (checked.stdout, checked.returncode) == ("", 0)


def test_typing_expectations_that_do_not_hold_are_found(tmp_path: Path) -> None:
    """The check above has teeth: a wrong expectation and a wrong call are errors."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from typing import assert_type\n"
        "from genesis_trio import current_mode, require\n"
        "assert_type(current_mode(), int)\n"
        "require('OPEN')\n"
        "from genesis_trio.testing import simulat\n"
    )

    checked = mypy(wrong, ROOT / ".mypy_cache")

    assert checked.returncode == 1
    assert "wrong.py:3: error" in checked.stdout
    assert "wrong.py:4: error" in checked.stdout
    assert "wrong.py:5: error" in checked.stdout


def documented(kind: type) -> list[str]:
    """The names under "Attributes:" in the docstring of *kind*."""
    section = re.search(r"^Attributes:\n((?:    .*\n|\n)+)", inspect.cleandoc(kind.__doc__ or "") + "\n", re.MULTILINE)
    return re.findall(r"^    (\w+):", section[1], re.MULTILINE) if section else []


def declared_in(package: Path) -> dict[str, set[str]]:
    """For each class in *package* the attributes whose type is written down, in its body or in a method."""
    found: dict[str, set[str]] = {}
    for path in package.rglob("*.py"):
        for kind in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(kind, ast.ClassDef):
                names = found.setdefault(kind.name, set())
                names.update(node.name for node in kind.body if isinstance(node, ast.FunctionDef))
                for node in ast.walk(kind):
                    if isinstance(node, ast.AnnAssign):
                        names.add(
                            node.target.attr if isinstance(node.target, ast.Attribute) else ast.unparse(node.target)
                        )
                    elif (
                        isinstance(node, ast.Assign)
                        and ast.unparse(node.targets[0]) == f"self.{ast.unparse(node.value)}"
                    ):
                        names.add(ast.unparse(node.value))  # it has the type of the argument of that name
    return found


DECLARED = declared_in(ROOT / "genesis_trio")


@pytest.mark.parametrize(
    "name", [name for name in genesis_trio.__all__ if isinstance(getattr(genesis_trio, name), type)]
)
def test_typing_documented_attributes_have_a_declared_type(name: str) -> None:
    """Of an installed package pyright infers little, so `child.restarts` without a declaration has no type."""
    kind = getattr(genesis_trio, name)

    declared = set().union(*(DECLARED.get(each.__name__, ()) for each in kind.__mro__))
    assert [attribute for attribute in documented(kind) if attribute not in declared] == []
