"""Control state from one process to the next, through the public names alone: it comes back after a stop and after kill -9."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments):
    command = [sys.executable, "tests/supervision/controlled.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture(scope="module", params=["stop", "kill"])
def report(request, tmp_path_factory):
    """What the second process found, after the first one ended so."""
    url = f"sqlite:{tmp_path_factory.mktemp('controlled') / 'desk.db'}"
    ended = run("first", url, request.param)
    assert ended.returncode == (-signal.SIGKILL if request.param == "kill" else 0), ended.stderr
    done = run("second", url)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_control_latched_cause_is_held_before_anything_starts(report):
    """The kill switch is no matter of one process."""
    assert report["causes"] == [["operator", "kill switch", "SAFE", True]]


@pytest.mark.slow
def test_control_breaker_is_open_for_what_is_left(report):
    """600 s of break, jittered by a tenth, less what has passed since."""
    assert report["state"] == "open"
    assert 0 < report["retry_after"] < 1.1 * 600


@pytest.mark.slow
def test_control_generation_goes_on(report):
    """The third incarnation follows two of the first process."""
    assert report["twice"] == 3


@pytest.mark.slow
def test_control_poison_is_counted_on(report):
    """Two crashes on one message before, one after: then it is put aside, and the others are handled."""
    assert report["crashes_of_reader"] == 1
    assert report["handled"] == [1, 3]
    assert report["reader"] == "ready"


@pytest.mark.slow
def test_control_spent_budget_leaves_one_trial(report):
    """A child that was parked gets one run, not a budget of its own."""
    assert report["runs_of_crashing"] == 1
    assert report["crashing"] == "parked"
