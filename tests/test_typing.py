"""Type checkers see what users rely on: decorators keep signatures, results keep their types."""

import os
import subprocess
import sys
from pathlib import Path

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
    )

    checked = mypy(wrong, ROOT / ".mypy_cache")

    assert checked.returncode == 1
    assert "wrong.py:3: error" in checked.stdout
    assert "wrong.py:4: error" in checked.stdout
