"""kill -9 while the host of a nested supervisor is down: what waits for its child comes once, as with a child of the root."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILLS = list(range(1, 17))


def begin(*words):
    command = [sys.executable, "tests/supervision/nested_killed.py", *words]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def kill_while_down(url, *, saves):
    with begin("down", url, str(int(saves))) as process:
        line = process.stdout.readline()
        assert line, f"it ended with {process.wait()}"
        process.kill()
    assert process.returncode == -9
    return json.loads(line)


def live(url):
    with begin("live", url) as process:
        (line,) = process.stdout
    assert process.returncode == 0
    return json.loads(line)


@pytest.mark.slow
def test_messages_that_wait_for_a_nested_child_of_a_host_that_is_down_come_once_after_a_kill(tmp_path):
    """Twice over: what the saved state has never comes again, what was in hand, waited, or was sent after the cut comes once."""
    url = f"sqlite:{tmp_path / 'desk.db'}"
    assert kill_while_down(url, saves=True) == {"given": [1, 2, 3], "sent": 7, "status": "BACKOFF"}
    # When the cut was taken, six were sent, two were handled, and the third was in hand.
    assert kill_while_down(url, saves=True) == {"given": [3, 4, 5], "sent": 13, "status": "BACKOFF"}
    # In this process it never asked for another message without having one: its state is still that of the first.
    assert live(url) == {"given": FILLS[2:], "fills": FILLS, "handled": 16}


@pytest.mark.slow
def test_kill_before_a_cut_has_what_was_sent_while_a_host_is_down_books_everything_once(tmp_path):
    """Sender and reader go back together, to the cut with which the nested supervisor stopped; no record is made again."""
    url = f"sqlite:{tmp_path / 'desk.db'}"
    assert kill_while_down(url, saves=False) == {"given": [1, 2, 3], "sent": 7, "status": "BACKOFF"}
    assert live(url) == {"given": FILLS[2:], "fills": FILLS, "handled": 16}
