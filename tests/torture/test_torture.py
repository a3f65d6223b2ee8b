"""The torture scripts in a short form: each holds its promise, and each control breaks it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from torture.lab import find_compiler

ROOT = Path(__file__).parents[2]
# How much of each: enough for its controls to show, and all together in well under half a minute.
SHORT = {"kill": 4, "power": 10, "flips": 40, "sync": 3, "full": 4, "torn": 8, "cancel": 100, "migration": 40}
WITHOUT_COMPILER = {"flips", "torn", "cancel"}


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("script", SHORT)
def test_torture_short_form_holds_and_its_controls_do_not(script):
    """Nothing acknowledged is lost or done twice, and the script sees it when something is broken on purpose."""
    if script not in WITHOUT_COMPILER and (find_compiler() is None or sys.platform != "linux"):
        pytest.skip("needs Linux and a C compiler, to stand between a process and its files")
    environment = dict(os.environ)
    if os.path.isdir("/dev/shm"):
        environment["TMPDIR"] = (
            "/dev/shm"  # what a disk may lose is made from the calls, so memory is as good and quicker
        )
    command = [sys.executable, "-m", f"tests.torture.{script}", "--n", str(SHORT[script])]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "must be more than 0" in done.stdout


@pytest.mark.slow
def test_torture_victim_that_hangs_is_a_violation(monkeypatch):
    """A victim that never ends is not waited for, and not taken for a good one."""
    code = "from tests.torture import lab\nimport time\nlab.PATIENCE = 1\nlab.run_victim(lambda tell: time.sleep(60))\n"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "did not come to an end within 1 s" in done.stderr
    assert time.monotonic() - began < 30
