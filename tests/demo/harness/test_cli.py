"""The command: what it refuses and how, what it prints and writes, and that nothing is left when it is interrupted."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pytest

from genesis_trio.demo.harness import cli
from genesis_trio.demo.harness import measure as measure_module
from genesis_trio.demo.harness import run as run_module
from genesis_trio.demo.harness.cli import main

FAKES = Path(__file__).parent / "fakes"
ROOT = Path(__file__).parent.parent.parent.parent
QUIET = "# nothing goes wrong\n"


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command runs the fakes, in a folder of its own."""
    desk, venue = (sys.executable, str(FAKES / "desk.py")), (sys.executable, str(FAKES / "venue.py"))
    sides = {name: attrs.evolve(side, desk=desk, exchange=venue) for name, side in cli.SIDES.items()}
    monkeypatch.setattr(cli, "SIDES", sides)
    monkeypatch.setattr(run_module, "SETTLE", 0.1)
    monkeypatch.setattr(run_module, "BEFORE_OPENING", 0.2)
    # No sample: whether a fake is quick enough depends on who else uses the machine, and is not what is tested here.
    monkeypatch.setattr(measure_module, "SILENCE", 60.0)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quiet.toml").write_text(QUIET)


QUICK = ["--faults", "quiet.toml", "--minutes", "1", "--speed", "60", "--capture", ".", "--headless"]

# ------------------------------------------------------------------ what it refuses


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--speed", "0"], "argument --speed: '0'; allowed: more than 0 to 1000"),
        (["--speed", "nan"], "argument --speed: 'nan'; allowed: more than 0 to 1000"),
        (["--speed", "fast"], "argument --speed: 'fast'; allowed: more than 0 to 1000"),
        (["--minutes", "31"], "argument --minutes: '31'; allowed: more than 0 to 30"),
        (["--start-minute", "-1"], "argument --start-minute: '-1'; allowed: 0 to 30"),
        (["--seed", "x"], "argument --seed: invalid int value: 'x'"),
        (["--only", "both"], "argument --only: invalid choice: 'both'"),
        (["--start-minute", "25", "--minutes", "10"], "minutes 25 to 35 are not in the recording; allowed: up to 30"),
        (["--start-minute", "30"], "minutes 30 to 30 are not in the recording; allowed: up to 30"),
        (["--full", "--speed", "2"], "--full is the whole half hour at its own pace; leave --speed out"),
        (["--full", "--start-minute", "0"], "leave --start-minute out"),
        (["--report", "."], "--report .: allowed: a file that can be written, in a folder that there is"),
        (["--report", "no/where.html"], "--report no/where.html: allowed: a file that can be written"),
        (["--events", "no/where"], "--events no/where: allowed: a file that can be written"),
        (["--seeds", "3"], "--seeds goes with --simulate"),
        (["--simulate", "--seeds", "0"], "argument --seeds: '0'; allowed: 1 to 100000"),
        (["--simulate", "--only", "bare"], "--only goes with real processes"),
        (["--simulate", "--events", "heard"], "--events goes with real processes"),
        (["--simulate"], "the recording in . cannot be used"),
        (["--faults", "none.toml"], "none.toml: cannot be read: "),
        (["--faults", "broken.toml"], "broken.toml: fault 1: kind = 'earthquake'; allowed: link.refused, "),
        (["--minutes", "1"], "the default plan: no room for 15 faults at drawn times"),
    ],
)
def test_main_bad_input_is_one_clear_line_and_status_2(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be is refused before anything starts, with what can."""
    (tmp_path / "broken.toml").write_text('[[fault]]\nkind = "earthquake"\n')

    status = main(["--capture", ".", "--headless", *arguments])

    out, err = capsys.readouterr()
    assert status == 2
    assert out == ""
    line = err.strip().splitlines()[-1]
    assert line.startswith("genesis demo: ")
    assert expected in line


def test_main_missing_recording_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the data there is one line, and it is the command to type."""
    monkeypatch.setattr("genesis_trio.demo.capture.PACKAGE", "no-such-package")

    assert main([]) == 2
    assert capsys.readouterr().err.startswith("genesis demo: the recorded market is not installed; get it with: pip ")


def test_main_missing_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without what the extra brings there is one line, before any process is started."""
    monkeypatch.setattr("genesis_trio.demo.harness.cli.PACKAGES", ("trio", "no_such_package"))

    assert main([]) == 2
    said = capsys.readouterr().err
    assert (
        said
        == "genesis demo: no_such_package not installed; get what it needs with: pip install 'genesis_trio[demo]'\n"
    )


def test_main_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Help says the exit statuses."""
    assert main(["--help"]) == 0
    assert "130 interrupted" in capsys.readouterr().out


def test_choose_market_default_takes_what_there_is_after_the_start() -> None:
    """Started late, the window ends with the recording."""
    options = cli.make_parser().parse_args(["--start-minute", "25", "--capture", "."])

    assert cli.choose_market(options).minutes == 5.0


# ------------------------------------------------------------------ what it does


@pytest.mark.slow
def test_main_quiet_run_prints_writes_and_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both sides, the table on standard output, the lines on standard error, and the page in the folder."""
    status = main(QUICK)

    out, err = capsys.readouterr()
    assert status == 0, out
    assert "protected: 11 of 11 invariants held" in out
    assert "bare: 11 of 11 invariants held" in out
    assert out.endswith("plots: report.html\n")
    assert "the market is open for 1 s" in err
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.slow
def test_main_json_is_all_that_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For machines: one document, one side, the picture instead of the page."""
    status = main(
        [*QUICK, "--json", "--only", "protected", "--seed", "9", "--report", "picture.svg", "--events", "heard"]
    )

    out, err = capsys.readouterr()
    shown = json.loads(out)
    assert (status, err) == (0, "")
    assert (shown["seed"], shown["held"], list(shown["runs"])) == (9, True, ["protected"])
    assert (tmp_path / "picture.svg").read_text().startswith("<svg")
    assert not (tmp_path / "report.html").exists()
    heard = [json.loads(line) for line in (tmp_path / "heard").read_text().splitlines()]
    assert {(each["side"], each["from"]) for each in heard} == {("protected", "venue"), ("protected", "desk")}
    assert {"alive", "ledger", "desk_ready", "outcome"} <= {each["event"] for each in heard}


@pytest.mark.slow
@pytest.mark.parametrize(("side", "expected"), [("protected", 1), ("bare", 0)])
def test_main_status_is_that_of_the_protected_side(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], side: str, expected: int
) -> None:
    """A broken invariant of the protected desk is status 1, and names itself and the seed; the bare one promises nothing."""
    monkeypatch.setenv("FAKE_DESK", "loses")

    status = main([*QUICK, "--only", side, "--report", "-", "--seed", "9"])

    out, err = capsys.readouterr()
    assert status == expected
    assert f"{side}: 9 of 11 invariants held" in out
    assert ("genesis demo: seed 9 broke an invariant: every order intent has an outcome: " in err) == (expected == 1)


@pytest.mark.slow
def test_main_venue_that_does_not_start_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The venue's own last words are shown, once."""
    monkeypatch.setenv("FAKE_VENUE", "broken")

    assert main([*QUICK, "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "genesis demo: the venue ended by itself, with status 1: venue: there is no market today\n"


# ------------------------------------------------------------------ nothing is left


def processes_with(words: str) -> list[int]:
    """Processes whose environment has *words*."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if words.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except (OSError, ValueError):
            continue
    return found


def start_harness(tmp_path: Path, mark: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            str(FAKES / "harness.py"),
            "--faults",
            "quiet.toml",
            "--minutes",
            "10",
            "--capture",
            ".",
            "--headless",
        ],
        env={**os.environ, "MARK_OF_THE_TEST": mark, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: str, harness: subprocess.Popen[str]) -> None:
    assert harness.stderr is not None
    for line in harness.stderr:
        if condition in line:
            return
    raise AssertionError(f"the harness ended without {condition!r}")


@pytest.mark.slow
@pytest.mark.untraced  # Ctrl-C that strikes in coverage's own Python code leaves its lock taken, and the process waits for ever
@pytest.mark.parametrize("when", ["starting the processes", "the market is open"])
def test_main_ctrl_c_leaves_nothing_and_says_so(tmp_path: Path, when: str) -> None:
    """At any moment: status 130, one line, no process, no file."""
    mark = f"ctrl-c-{os.getpid()}-{time.monotonic_ns()}"
    with start_harness(tmp_path, mark) as harness:
        wait_for(when, harness)
        harness.send_signal(signal.SIGINT)
        _, err = harness.communicate(timeout=20)

    assert harness.returncode == 130
    assert err == "genesis demo: interrupted; nothing is left running\n"
    assert processes_with(mark) == []
    assert not list(tmp_path.glob("genesis-demo-*"))


@pytest.mark.slow
def test_main_killed_takes_its_processes_with_it(tmp_path: Path) -> None:
    """SIGKILL of the harness itself ends the standard input of all the others, and so them."""
    mark = f"kill-{os.getpid()}-{time.monotonic_ns()}"
    with start_harness(tmp_path, mark) as harness:
        wait_for("the market is open", harness)
        assert len(processes_with(mark)) == 5
        harness.kill()
        harness.wait()
        limit = time.monotonic() + 10
        while processes_with(mark) and time.monotonic() < limit:
            time.sleep(0.05)  # polling: they are not our children

        assert processes_with(mark) == []
