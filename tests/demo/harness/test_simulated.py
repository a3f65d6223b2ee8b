"""Seeds in virtual time, from the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.harness.wave import write_wave
from genesis_trio.demo.faults import parse_plan
from genesis_trio.demo.harness.cli import main
from genesis_trio.demo.harness.run import Market
from genesis_trio.demo.harness.simulated import play_seeds

pytestmark = [pytest.mark.slow, pytest.mark.untraced]  # a second of processor a seed

PLAN = '[[fault]]\nkind = "link.dropped"\n[[fault]]\nkind = "desk.kill"\n'
WINDOW = ["--start-minute", "1", "--minutes", "4", "--speed", "20"]


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    (tmp_path / "plan.toml").write_text(PLAN)
    return ["--simulate", *WINDOW, "--faults", str(tmp_path / "plan.toml"), "--capture", str(write_wave(tmp_path, 320))]


def test_play_seeds_same_seed_is_the_same_run(tmp_path: Path) -> None:
    """What a seed showed once it shows again: every sign of life, intent and mode, at the same virtual time."""
    market = Market(1.0, 4.0, 20.0, write_wave(tmp_path, 320))
    entries = parse_plan(PLAN, "plan")

    ((seed, first),) = play_seeds(market, entries, [3])
    ((_, again),) = play_seeds(market, entries, [3])
    ((_, other),) = play_seeds(market, entries, [4])

    assert seed == 3
    assert first == again
    assert first.injections != other.injections
    assert len(first.alive) > 50
    assert len(first.intents) > 3


def test_simulate_one_seed_has_table_and_page(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One seed is shown like a run of real processes."""
    status = main([*arguments, "--seeds", "1", "--seed", "5", "--report", str(tmp_path / "r.html")])

    out, err = capsys.readouterr()
    assert (status, out.count("protected: 11 of 11 invariants held")) == (0, 1), err
    assert "11 of 11 invariants held" in err
    assert (tmp_path / "r.html").exists()


def command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "genesis_trio.demo", *arguments]


def test_simulate_many_seeds_are_played_at_once_and_in_order(arguments: list[str]) -> None:
    """Each seed from the first on, whatever processor it ran on, and one verdict."""
    result = subprocess.run(
        command([*arguments, "--seeds", "3", "--seed", "7", "--json"]), capture_output=True, text=True
    )

    assert (result.returncode, result.stderr) == (0, "")
    assert [(each["seed"], each["held"], list(each["runs"])) for each in json.loads(result.stdout)] == [
        (seed, True, ["protected"]) for seed in (7, 8, 9)
    ]


def test_simulate_ctrl_c_leaves_nothing(tmp_path: Path, arguments: list[str]) -> None:
    """Workers end with the command, their files too, and it says 130."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    with subprocess.Popen(
        command([*arguments, "--seeds", "50"]),
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        assert "invariants held" in process.stderr.readline()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to all of them
        _, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert err.endswith("genesis demo: interrupted; nothing is left running\n")
    assert "Traceback" not in err
    assert list(folder.iterdir()) == []
    limit = time.monotonic() + 5
    while time.monotonic() < limit:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)  # polling: a group of processes, most of them not our children
    raise AssertionError("a worker is left")
