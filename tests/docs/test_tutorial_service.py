"""The service of the tutorial runs as the page says: its files are taken from the page, and the commands are real."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from genesis_trio import open_store
from genesis_trio.cli import main

ROOT = Path(__file__).parent.parent.parent
NAME = "tutorial/06-a-whole-service.md"
PAGE = (ROOT / "docs" / NAME).read_text(encoding="utf-8")
GENESIS = "import sys; from genesis_trio.cli import main; sys.exit(main())"


@pytest.fixture
def folder(tmp_path, monkeypatch, block_of):
    for name in ("my_desk.py", "service.toml"):
        (tmp_path / name).write_text(block_of(NAME, name), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_desk", None)


def start():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([".", str(ROOT)])}
    return subprocess.Popen(
        [sys.executable, "-c", GENESIS, "run", "service.toml"], env=environment, stderr=subprocess.DEVNULL
    )


def status(capsys):
    """What the service answers, once it is up."""
    for _ in range(400):
        if main(["status", "--json"]) == 0:
            return json.loads(capsys.readouterr().out)
        time.sleep(0.05)  # polling another process
    raise AssertionError("the service does not answer")


def test_tutorial_service_check_says_what_the_page_says(folder, capsys):
    """The reader sees the line that the page shows."""
    assert main(["check", "service.toml"]) == 0

    assert capsys.readouterr().out in PAGE


def test_tutorial_service_mistyped_key_is_one_line(folder, capsys, block_of):
    """The page promises that a wrong key is named, with what is allowed."""
    text = block_of(NAME, "service.toml").replace('requires = ["ledger"]', 'critcality = "critical"')
    Path("service.toml").write_text(text, encoding="utf-8")

    assert main(["check", "service.toml"]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert "unknown key children[1].critcality (did you mean 'criticality'?)" in line


@pytest.mark.slow
def test_tutorial_service_runs_holds_dies_and_comes_back_as_the_page_says(folder, capsys):
    """NORMAL, then SAFE by hand, which survives kill -9 because it is latched, then NORMAL again, then an ordered stop."""
    process = start()
    try:
        before = status(capsys)
        assert main(["hold", "desk", "SAFE", "I want to look at something"]) == 0
        process.kill()
        process.wait(timeout=20)
        process = start()
        capsys.readouterr()
        after = status(capsys)
        assert main(["clear", "desk", "operator", "I want to look at something"]) == 0
        cleared = status_after(capsys)
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=20)
    finally:
        process.kill()
        process.wait()

    assert list(before["children"]) == ["desk/ledger", "desk/strategy", "desk/feed"]
    assert (before["mode"], after["mode"], cleared["mode"], code) == ("NORMAL", "SAFE", "NORMAL", 0)


@pytest.mark.slow
def test_tutorial_service_killed_between_order_and_books_misses_no_fill(folder, capsys):
    """However often it is killed right after the venue filled, the books end with each of the venue's fills, once."""
    venue = folder / "venue.txt"
    for _ in range(3):
        process = start()
        try:
            known = len(lines(venue))
            for _ in range(4000):
                if len(lines(venue)) > known + 2:
                    break
                time.sleep(0.005)  # polling another process
            else:
                pytest.fail("in 20 s the service filled no three orders; a kill now would prove nothing")
        finally:
            process.kill()  # its answer is still on its way
            process.wait()

    process = start()
    try:
        # A service that is told to stop before it came up has not worked off what was on its way.
        for _ in range(400):
            if {child["status"] for child in status(capsys)["children"].values()} == {"ready"}:
                break
            time.sleep(0.05)  # polling another process
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.wait()

    books = trio.run(books_of, folder / "desk.db")
    filled = lines(venue)
    assert len(filled) >= 9
    assert len(set(filled)) == len(filled)
    assert (books.fills, books.unanswered) == (len(filled), {})


def lines(path):
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


async def books_of(path):
    state_type = importlib.import_module("my_desk").LedgerState
    async with open_store(f"sqlite:{path}") as store:
        return (await store.restore_latest("desk/ledger", state_type)).state


def status_after(capsys):
    capsys.readouterr()
    return status(capsys)
