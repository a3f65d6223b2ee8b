"""kill -9 of a whole tree: ten fills end as ten fills."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KILLS = 20


@pytest.mark.slow
def test_kill_at_any_moment_brings_state_and_mailboxes_back_together(tmp_path):
    """However often the process is killed: each fill is recorded once, and what it sent, holds and has handled fit together."""
    command = [sys.executable, "tests/supervision/killed.py", str(tmp_path), str(KILLS), "11"]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    reports = [json.loads(line) for line in done.stdout.splitlines()]

    assert sum(report["kills"] for report in reports) >= KILLS
    for report in reports:
        assert report["errors"] == []
        assert report["verified"]
        assert sorted(report["book"]["trades"], key=lambda trade: int(trade[1:])) == [f"t{n}" for n in range(1, 11)]
        assert report["book"]["position"] == 55
        assert report["book"]["handled"] == report["sent"] == 10
