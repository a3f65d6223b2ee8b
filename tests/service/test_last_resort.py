"""The last resort: a service whose stop does not end exits, with a report and everything else saved."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio

from genesis_trio import ChildSpec, Service, open_store, open_supervisor, run_service
from genesis_trio.service import last_resort
from genesis_trio.service.last_resort import STATUS, THREAD, LastResort
from service.stuck import Count

SERVICE = """
name = "desk"
store = "sqlite:desk.db"
[supervisor]
shutdown_timeout = 0.5
[[children]]
name = "keeper"
component = "service.stuck:Keeper"
[[children]]
name = "stuck"
component = "service.stuck:{component}"
requires = ["keeper"]
stop_grace = 0.2
"""


def start(folder: Path, service: str, *words: str) -> "subprocess.Popen[str]":
    """``genesis run``, until it has told a line with all *words*."""
    (folder / "service.toml").write_text(service)
    paths = [str(Path(__file__).parent.parent), os.getcwd(), str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "genesis_trio.cli", "run"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if all(word in line for word in words):
            break
    return process


def saved(folder: Path) -> int:
    async def main() -> int:
        async with open_store(f"sqlite:{folder / 'desk.db'}") as store:
            return (await store.restore_latest("desk/keeper", Count)).state.seen

    return trio.run(main)


@pytest.mark.parametrize(
    ("component", "place", "number"),
    [
        ("shielded", "shielded (stuck.py:", 7),
        ("in_thread", "in_thread (stuck.py:", 7),
        ("blocking", "blocking", 0),  # nobody can ask the others any more: what was saved before stands
    ],
)
def test_last_resort_ends_a_process_that_does_not_stop(component, place, number, tmp_path):
    """kill -TERM: the process exits with its own status, and tells who did not end, in which line."""
    process = start(tmp_path, SERVICE.format(component=component), "child_ready", "desk/stuck")
    try:
        if component == "blocking":
            assert any("blocking from now on" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()

    assert process.returncode == STATUS, errors
    (file,) = tmp_path.glob("desk.db.stuck-*.txt")
    report = file.read_text()
    assert report.startswith(
        "service 'desk' has not stopped 1.5 s after it was asked to (shutdown_timeout=0.5 s and 1 s);"
    )
    assert "desk/stuck has not ended: task desk/stuck is in " in report
    assert place in report
    assert "desk/keeper has not ended" not in report or component == "blocking"
    assert ("thread MainThread (the event loop)" in report) == (component == "blocking")
    assert 'stuck.py", line' in report
    assert file.stat().st_mode & 0o777 == 0o600
    assert report.strip() in errors
    assert str(file.name) in errors
    if component != "blocking":
        assert "cancellation_ignored" not in errors or "desk/stuck" in errors
        assert "last_resort_taken" in errors
        assert saved(tmp_path) == number


HANGING = """
import sys, time
from genesis_trio.persistence.engines.sqlite import SqliteEngine

def hang(location):
    print("opening the store", file=sys.stderr, flush=True)
    time.sleep(3600)  # a disk that gives no answer: the test is that the process does not wait for it

SqliteEngine.open = hang
from service.stuck import Keeper
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_last_resort_ends_a_process_whose_store_hangs_in_opening(number, tmp_path):
    """A disk that gives no answer keeps the process no longer than a child does: nothing has begun, and nothing is lost."""
    (tmp_path / "hanging.py").write_text(HANGING)
    service = SERVICE.replace("service.stuck:Keeper", "hanging:Keeper").format(component="in_thread")
    process = start(tmp_path, service, "opening the store")
    try:
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()

    assert process.returncode == STATUS, errors
    assert "service 'desk' has not stopped" in errors
    assert "what hangs is around" in errors
    assert 'hanging.py", line' in errors
    assert not (tmp_path / "desk.db").exists()


# ---------------------------------------------------------------- in this process, which goes on


class Ended(list):
    """Notes the status that a process would have ended with."""

    def __init__(self) -> None:
        self.done = threading.Event()

    def __call__(self, status: int) -> None:
        self.append(status)
        self.done.set()


async def test_last_resort_that_is_not_needed_ends_with_the_service():
    """A stop that ends in time ends nothing else, and neither does a service that was never asked to stop."""
    ended = Ended()
    for begins in (True, False):
        resort = LastResort("desk", "memory:", 0.01, end=ended)
        with resort.watch():
            (thread,) = [each for each in threading.enumerate() if each.name == THREAD]
            if begins:
                resort.begin()
        await trio.to_thread.run_sync(thread.join, 20)
        assert not thread.is_alive()
    assert ended == []


async def test_last_resort_without_a_tree_says_that_something_around_it_hangs(caplog, monkeypatch):
    """A store that does not open, or a socket that does not close, is named by the stacks."""
    monkeypatch.setattr(last_resort, "CLOSING", 0.1)
    ended = Ended()
    resort = LastResort("desk", "memory:", 0.01, end=ended)
    with resort.watch():
        resort.begin()
        await trio.to_thread.run_sync(ended.done.wait, 20)
    assert ended == [STATUS]
    assert "every child has ended; what hangs is around them" in caplog.text


async def test_last_resort_leaves_a_stop_alone_whose_children_have_ended_and_whose_disk_is_slow(monkeypatch):
    """The last saved checkpoint takes longer than the stop had, and longer than a loop may be silent: it is written to its end."""
    monkeypatch.setattr(last_resort, "MARGIN", 0.05)
    monkeypatch.setattr(last_resort, "UNHEARD", 0.5)
    ended, saved = Ended(), []
    resort = LastResort("desk", "memory:", 0.01, end=ended)
    with resort.watch():
        (thread,) = [each for each in threading.enumerate() if each.name == THREAD]
        async with open_store("memory:") as store, open_supervisor("desk", store=store) as desk:
            resort.supervisor = desk
            await desk.start(worker, name="a")
            save = desk.tree.saver.save

            async def slowly(*args, **settings):
                await trio.sleep(1.5)  # real time: a thread watches
                saved.append(await save(*args, **settings))
                return saved[-1]

            monkeypatch.setattr(desk.tree.saver, "save", slowly)
            resort.begin()
            await desk.stop()
    await trio.to_thread.run_sync(thread.join, 20)
    assert saved
    assert ended == []


async def test_last_resort_waits_for_an_entry_action_that_runs(caplog):
    """What EMERGENCY has begun, such as to close positions, ends by itself before the process does."""
    from genesis_trio import Mode

    flat, ended = [], Ended()

    async def flatten():
        await trio.sleep(2.0)
        flat.append(trio.current_time())

    async with open_supervisor("desk", shutdown_timeout=0.1) as desk:
        resort = LastResort("desk", "memory:", 0.1, end=ended)
        resort.supervisor = desk
        await desk.start(shielded_for_a_while, name="stuck", stop_grace=0.05)
        desk.scope.on_enter(Mode.SAFE, flatten)
        with resort.watch():
            resort.begin()
            await desk.stop()  # the child is late: SAFE, and so flat
            await trio.to_thread.run_sync(ended.done.wait, 20)
        assert flat
    assert ended == [STATUS]
    (record,) = [each for each in caplog.records if each.levelname == "CRITICAL"]
    assert (
        "desk/stuck has not ended: task desk/stuck is in shielded_for_a_while (test_last_resort.py:" in record.message
    )


async def shielded_for_a_while(ctx):
    ctx.ready()
    with trio.CancelScope(shield=True):
        await trio.sleep(6)


async def test_last_resort_is_none_under_a_virtual_clock(autojump_clock):
    """Hours pass there in a moment, and nothing may end the process of a test."""
    before = threading.active_count()
    with LastResort("desk", "memory:", 0.0, end=Ended()).watch():
        assert threading.active_count() == before


async def test_last_resort_of_a_service_in_a_foreign_program_needs_a_signal(monkeypatch):
    """A program that cancels its service may have other things to do; one that is told to end has not."""
    begun = []
    monkeypatch.setattr(LastResort, "begin", lambda self: begun.append(True))
    service = Service("desk", [ChildSpec(worker, name="a")], store="memory:")
    async with trio.open_nursery() as nursery:
        desk = await nursery.start(run_service, service)
        await desk.stop()
    assert begun == []
    async with trio.open_nursery() as nursery:
        await nursery.start(run_service, service)
        signal.raise_signal(signal.SIGTERM)
    assert begun == [True]


async def worker(ctx):
    ctx.ready()
    await ctx.wait_stopping()


def test_last_resort_of_a_service_that_is_the_process_needs_none(monkeypatch):
    """Also an order of the admin socket, or a crash that was escalated, has to end it."""
    from genesis_trio import run

    begun = []
    monkeypatch.setattr(LastResort, "begin", lambda self: begun.append(True))
    run(Service("desk", store="memory:"))
    assert begun == [True]
