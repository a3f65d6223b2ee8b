"""Ctrl-C at any moment ends in order."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from genesis_trio._interrupts import undisturbed
from supervision.interrupted import ORDER

ROOT = Path(__file__).parents[2]


def interrupted_desks(folder, kind, moments):
    command = [sys.executable, "tests/supervision/interrupted.py", str(folder), kind, str(moments), "7"]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def is_reverse_order(stopped):
    """True but for one child at most: the one that Ctrl-C struck, which is the first to end."""
    ended = [path for path in stopped if path in ORDER]
    begun = [path for path in reversed(ORDER) if path in ended]
    return ended == begun or (bool(ended) and ended[1:] == [path for path in begun if path != ended[0]])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "moments"),
    [
        ("line", 80),  # before a given line of ours, of contextlib or of a component, so that the same one is hit again
        ("time", 30),  # a real signal from another process, whenever that is
    ],
)
def test_ctrl_c_at_any_moment_ends_in_order_with_nothing_lost(kind, moments, tmp_path):
    """Ctrl-C ends a tree with KeyboardInterrupt, its children stopped in order, its store whole, all that was acknowledged in it."""
    reports = interrupted_desks(tmp_path, kind, moments)

    assert len(reports) == moments
    for report in reports:
        assert report["status"] == 130, report["raised"] or report
        assert report["stopped"] is None or is_reverse_order(report["stopped"]), report
        assert report["ok"], report
        # Each one once, and no one left out before the last.
        assert report["numbers"] == list(range(1, len(report["numbers"]) + 1)), report
        assert set(report["acknowledged"]) <= set(report["numbers"]), report
    # They were moments of many kinds.
    assert {report["running"] for report in reports} == {True, False}
    assert any(len(report["stopped"] or ()) > len(ORDER) for report in reports)


async def test_undisturbed_error_comes_out_bare(autojump_clock):
    """What the function raises reaches the caller as it is."""

    async def fail():
        raise OSError("as asked")

    with pytest.raises(OSError, match="as asked"):
        await undisturbed(fail)
