"""The page about testing: its tests pass, with one seed and with several."""

import os
import subprocess
import sys


def test_page_tests_pass_with_any_seed(block_of, tmp_path):
    """As a reader runs them, in a folder with these two files."""
    for name in ("desk.py", "test_desk.py"):
        (tmp_path / name).write_text(block_of("how-to/test-a-service.md", name), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--genesis-seeds", "3"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "18 passed" in done.stdout
