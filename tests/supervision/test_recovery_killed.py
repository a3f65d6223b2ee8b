"""kill -9 in the middle of a trial: the ladder goes on where it was."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def begin(what, url):
    command = [sys.executable, "tests/supervision/ladder_killed.py", what, url]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def hear(process):
    line = process.stdout.readline()
    assert line, f"it ended with {process.wait()}"
    return json.loads(line)


def run(what, url):
    with begin(what, url) as process:
        lines = [json.loads(line) for line in process.stdout]
    assert process.returncode == 0
    return lines


@pytest.mark.slow
def test_trial_that_is_killed_goes_on_with_the_same_state_and_convicts_once_it_lives(tmp_path):
    """No rung is tried anew, none is left out, and nothing is decided by the kill."""
    url = f"sqlite:{tmp_path / 'desk.db'}"
    ((saved),) = run("spoil", url)
    seen = []
    for _ in range(3):
        with begin("trial", url) as process:
            seen.append(hear(process))
            assert hear(process) == {"saved": True}
            process.kill()
    lived, convicted = run("live", url)

    first, *later = seen
    # The first process meets the spoilt state three times, as an earlier one has not; the others know.
    assert first["starts"] == [[103, True]] * 3 + [[103, False]]
    for again in (*later, lived):
        assert again["starts"] == [[103, False]]
    for each in (*seen, lived):
        assert (each["status"], each["state"]) == ("READY", [103, False])
        assert each["fell_back"] == [saved["good"]]
        assert each["quarantined"] == []
    assert saved["bad"] in convicted["quarantined"]
    assert saved["good"] not in convicted["quarantined"]
