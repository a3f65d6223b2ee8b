"""Ctrl-C and SIGTERM at any moment of ``genesis run``, with real processes."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cli.processes import TOML, end, start, verify, wait_for_line

MOMENTS = 20
AT_ONCE = 4


def time_to_start(folder):
    """Seconds from the first import of the command until every child is ready, on this machine and with its load."""
    folder.mkdir()
    (folder / "service.toml").write_text(TOML)
    process = start(folder, "run", "service.toml")
    began = time.monotonic()
    wait_for_line(process, "child_ready tree=desk child=desk/follower")
    needed = time.monotonic() - began
    process.send_signal(signal.SIGTERM)
    end(process)
    return needed


def interrupt(folder, moment, second):
    """Ctrl-C at *moment*; for every other one a second Ctrl-C while it stops."""
    folder.mkdir()
    (folder / "service.toml").write_text(TOML)
    process = start(folder, "run", "service.toml")
    time.sleep(moment)  # a real process
    process.send_signal(signal.SIGINT)
    if second:
        time.sleep(0.05)  # somebody presses twice; it may have ended by then
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    status, _, errors = end(process)
    return moment, status, "Traceback" in errors, (folder / "desk.sock").exists(), errors


@pytest.mark.untraced
@pytest.mark.slow  # twenty processes of up to two seconds each
def test_run_interrupted_at_any_moment_ends_with_130_and_leaves_all_well(tmp_path):
    """No traceback, no socket, no process, and a store that verifies, whenever Ctrl-C comes and however often."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        needed = max(pool.map(time_to_start, (tmp_path / f"measured-{number}" for number in range(AT_ONCE))))
        folders = [tmp_path / str(number) for number in range(MOMENTS)]
        # From the first import over loading, opening and starting to running; every other one meets a second Ctrl-C.
        moments = [1.3 * needed * number / (MOMENTS - 1) for number in range(MOMENTS)]
        ended = list(pool.map(interrupt, folders, moments, [False, True] * (MOMENTS // 2)))

    assert [(moment, *rest) for moment, *rest, errors in ended if rest != [130, False, False]] == []
    stores = [folder for folder in folders if (folder / "desk.db").exists()]
    assert stores, "no process came as far as its store; the moments are too early"
    assert {verify(folder)[0] for folder in stores} == {True}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_run_signal_stops_in_order_and_saves(tmp_path, number, status):
    """The state is saved, and the next start finds it."""
    (tmp_path / "service.toml").write_text(TOML)
    process = start(tmp_path, "run", "service.toml")
    wait_for_line(process, "child_ready tree=desk child=desk/follower")
    process.send_signal(number)
    ended, _, errors = end(process)

    assert (ended, "Traceback" in errors) == (status, False)
    assert f"signal_received tree=desk signal={number.name} action=stop" in errors
    assert errors.index("child_stopped tree=desk child=desk/follower") < errors.index(
        "child=desk/keeper reason=stopped"
    )
    assert verify(tmp_path) == (True, 1)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_run_signal_in_a_callback_of_the_import_system_is_not_lost(tmp_path, number, status):
    """Python drops an exception that is raised in the callback of a weak reference, of which an import has one for each module."""
    (tmp_path / "service.toml").write_text(TOML.replace("cli.parts:follower", "dropping:x"))
    lines = (
        "import signal, weakref",
        "class Lock: pass",
        "def gone(_):",
        f"    signal.raise_signal({int(number)})",
        "lock = Lock()",
        "ref = weakref.ref(lock, gone)",
        "del lock",
    )
    (tmp_path / "dropping.py").write_text("\n".join(lines))

    assert end(start(tmp_path, "run", "service.toml"), timeout=10) == (status, "", "")
    assert not (tmp_path / "desk.db").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_run_signal_while_components_are_imported_ends_at_once(tmp_path, number, status):
    """Nothing has begun, so nothing is made: neither store nor socket."""
    (tmp_path / "service.toml").write_text(TOML.replace("cli.parts:follower", "endless:x"))
    # Many short naps: a signal that comes just before one long one is seen after it, as in any Python program.
    module = "import sys, time\nprint('importing', file=sys.stderr)\nwhile True:\n    time.sleep(0.01)\n"
    (tmp_path / "endless.py").write_text(module)
    process = start(tmp_path, "run", "service.toml")
    wait_for_line(process, "importing")
    process.send_signal(number)

    assert end(process, timeout=10) == (status, "", "")
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"service.toml", "endless.py"}


def test_run_second_interrupt_hurries_a_stubborn_child(tmp_path):
    """The second Ctrl-C does not wait for the grace of a child that does not end by itself."""
    (tmp_path / "service.toml").write_text(TOML.replace("parts:follower", "parts:stubborn") + "stop_grace = 60\n")
    process = start(tmp_path, "run", "service.toml")
    wait_for_line(process, "child_ready tree=desk child=desk/follower")
    process.send_signal(signal.SIGINT)
    wait_for_line(process, "action=stop")
    process.send_signal(signal.SIGINT)

    assert end(process, timeout=10)[0] == 130


def test_run_interrupts_end_a_component_that_blocks_the_loop(tmp_path):
    """A loop that stands still hears nothing; Ctrl-C again and again ends it all the same, without a traceback."""
    (tmp_path / "service.toml").write_text(TOML.replace("parts:follower", "parts:blocking"))
    process = start(tmp_path, "run", "service.toml")
    wait_for_line(process, "blocking from here on")
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(1.1)  # longer than the loop may be deaf
    status, _, errors = end(process, timeout=20)

    assert (status, "Traceback" in errors) == (130, False)
    assert verify(tmp_path)[0]
