"""Orders of the command line to a running service, and what they end with."""

import contextlib
import json
import os
import re
import stat
import subprocess
import sys
import threading

import pytest
import trio

from cli.parts import Keeper, failing, follower
from cli.processes import genesis, start
from genesis_trio import ChildSpec, Service, run_service
from genesis_trio.cli import main


@pytest.fixture
def service(tmp_path, monkeypatch):
    """A service in a thread of its own, in the directory where the commands are given."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "service.toml").write_text('name = "desk"\nadmin = "desk.sock"\n')
    children = [
        ChildSpec(Keeper, name="keeper"),
        ChildSpec(follower, name="follower"),
        ChildSpec(failing, name="failing"),
    ]
    up = threading.Event()

    async def serve():
        async with trio.open_nursery() as nursery:
            await nursery.start(run_service, Service("desk", children, store="sqlite:desk.db", admin="desk.sock"))
            up.set()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    assert up.wait(20)
    yield tmp_path
    if thread.is_alive():
        main(["stop"])
    thread.join(20)
    assert not thread.is_alive()


def given(capsys, *arguments):
    """Exit status, stdout and stderr of one command."""
    status = main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("where", [(), ("service.toml",), ("--socket", "desk.sock")])
def test_status_finds_the_service_by_file_or_socket(service, capsys, where):
    """The file right here, a file that is named, or the socket itself."""
    status, out, errors = given(capsys, "status", *where)

    assert (status, errors) == (0, "")
    assert out.splitlines()[0].startswith("desk: NORMAL (running, process ")
    assert "desk/follower  ready      restarts 0" in out


def test_status_json_is_for_machines(service, capsys):
    """Plain values, with everything that the text has."""
    found = json.loads(given(capsys, "status", "--json")[1])

    assert (found["name"], found["mode"], found["phase"], found["http"]) == ("desk", "NORMAL", "running", None)
    assert found["children"]["desk/keeper"]["status"] == "ready"
    assert found["pid"] == os.getpid()


def test_admin_socket_is_the_owners_alone(service):
    """Nobody else on the machine may give orders."""
    assert stat.S_IMODE(os.stat("desk.sock").st_mode) == 0o600


def test_hold_and_clear_a_mode(service, capsys):
    """What is held is latched, shown with its owner, and cleared by naming it."""
    status, out, _ = given(capsys, "hold", "service.toml", "desk", "SAFE", "venue maintenance", "--by", "ana")
    assert (status, "SAFE" in out) == (0, True)
    assert "SAFE held by ana: venue maintenance, latched" in given(capsys, "status")[1]
    assert "venue maintenance" in given(capsys, "why", "desk/follower")[1]

    assert given(capsys, "clear", "desk", "ana", "venue maintenance")[0] == 0
    assert "desk: NORMAL" in given(capsys, "status")[1]


def test_restart_and_checkpoint(service, capsys):
    """A restart returns once the child is ready; a saved checkpoint has the label that it was given."""
    assert "generation 2" in given(capsys, "restart", "desk/follower")[1]
    status, out, _ = given(capsys, "checkpoint", "--label", "evening")

    assert (status, out.startswith("cp-")) == (0, True)
    assert out.strip() in given(capsys, "status")[1]


def test_trip_and_reset_a_breaker(service, capsys):
    """By its name."""
    assert given(capsys, "trip", "venue")[0] == 0
    assert given(capsys, "reset", "venue")[0] == 0
    assert "genesis_breaker_state" in given(capsys, "metrics")[1]


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (("why", "desk/folower"), "there is no scope 'desk/folower'; there are: desk, desk/keeper"),
        (("restart", "desk"), "there is no child 'desk'; there are: desk/keeper"),
        (("hold", "desk", "panic", "x"), "there is no mode 'panic'; there are: NORMAL, SAFE, EMERGENCY"),
        (("hold", "nowhere", "safe", "x"), "there is no scope 'nowhere'"),
        (("clear", "desk", "me", "nothing"), "nothing"),
        (("trip", "venu"), "there is no circuit breaker 'venu'"),
    ],
)
def test_order_that_makes_no_sense_is_refused_with_status_2(service, capsys, order, message):
    """One line that says what there is instead; the service goes on."""
    status, out, errors = given(capsys, *order)

    assert (status, out) == (2, "")
    assert errors.startswith("genesis: ")
    assert message in errors
    assert errors.count("\n") == 1


def test_order_that_fails_ends_with_status_1(service, capsys):
    """The order was right, and what it was given to did not do it."""
    status, _, errors = given(capsys, "restart", "desk/failing")

    assert status == 1
    assert errors == "genesis: 'desk/failing' did not start: ValueError: not again\n"


def test_order_without_an_answer_in_time_ends_with_status_1(tmp_path, capsys):
    """A service whose loop stands still is told apart from one that is not there."""
    path = str(tmp_path / "deaf.sock")

    async def deaf():
        async with trio.open_nursery() as nursery:
            import socket

            listening = socket.socket(socket.AF_UNIX)
            listening.bind(path)
            listening.listen(1)
            status = await trio.to_thread.run_sync(main, ["status", "--socket", path, "--timeout", "0.2"])
            listening.close()
            nursery.cancel_scope.cancel()
            return status

    assert trio.run(deaf) == 1
    assert "has not answered 'status' within 0.2 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("status", "--socket", "nowhere.sock"), "no service answers on the admin socket 'nowhere.sock'"),
        (("status",), "service.toml: there is no such file here; name the file of the service, or give --socket"),
        (("status", "nowhere.toml"), "nowhere.toml: there is no such file here"),
        (("run", "nowhere.toml"), "nowhere.toml: cannot be read"),
        (("check", "."), ".: cannot be read: Is a directory"),
    ],
)
def test_nobody_there_is_one_line_and_status_2(tmp_path, monkeypatch, capsys, arguments, message):
    """Neither a file nor a service: the line says which."""
    monkeypatch.chdir(tmp_path)
    status, out, errors = given(capsys, *arguments)

    assert (status, out) == (2, "")
    assert errors.startswith(f"genesis: {message}")
    assert errors.count("\n") == 1


def test_file_without_an_admin_socket_says_what_to_add(tmp_path, monkeypatch, capsys):
    """The file is there, and names no socket."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "service.toml").write_text('name = "desk"')

    status, _, errors = given(capsys, "status")

    assert (status, errors.startswith("genesis: service.toml: it names no admin socket; add admin =")) == (2, True)


@pytest.mark.parametrize("arguments", [(), ("dance",), ("hold", "desk"), ("status", "--timeout", "-1")])
def test_wrong_use_is_status_2(capsys, arguments):
    """As every command does it: usage and what is wrong, on stderr."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert "usage: genesis" in capsys.readouterr().err


@pytest.mark.parametrize("command", [(), ("run",), ("status",), ("check",)])
def test_help_tells_the_exit_status(capsys, command):
    """Scripts need it, and look there first."""
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])

    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert all(line in shown for line in ("exit status:", "  130  Ctrl-C"))


# ------------------------------------------------------------------ real processes


def test_run_component_that_leaves_ends_with_its_status(tmp_path):
    """SystemExit of a component goes through, as the contract says, after the others have stopped."""
    (tmp_path / "service.toml").write_text(
        'name = "desk"\nstore = "memory:"\n[[children]]\nname = "a"\ncomponent = "cli.parts:leaving"\n'
    )

    status, _, errors = genesis(tmp_path, "run", "service.toml")

    assert (status, "Traceback" in errors) == (7, False)


def test_run_quiet_says_nothing_while_all_is_well(tmp_path):
    """Events are logged by default, and only errors with --quiet."""
    toml = 'name = "desk"\nstore = "memory:"\n[[children]]\nname = "a"\ncomponent = "job:job"\n'
    (tmp_path / "service.toml").write_text(toml)
    (tmp_path / "job.py").write_text("async def job(ctx):\n    ctx.ready()\n    await ctx.safe_point()\n")
    toml += 'restart = "temporary"\n'
    (tmp_path / "service.toml").write_text(toml)

    status, out, errors = genesis(tmp_path, "run", "service.toml")
    assert (status, out) == (0, "")
    assert "INFO child_ready tree=desk child=desk/a generation=1" in errors
    assert genesis(tmp_path, "run", "--quiet", "service.toml") == (0, "", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('store = "sqlite:desk.db"', "desk.db"),
        (
            'store = "memory:"\nadmin = "desk.sock"',
            "a service answers on the admin socket 'desk.sock' already; stop it, or give another path",
        ),
    ],
)
def test_run_twice_is_one_line_and_status_2(tmp_path, change, message):
    """A store or a socket that another process has is told, and the other one is not disturbed."""
    children = '[[children]]\nname = "a"\ncomponent = "cli.parts:follower"\n'
    (tmp_path / "one.toml").write_text('name = "desk"\nstore = "sqlite:desk.db"\nadmin = "desk.sock"\n' + children)
    (tmp_path / "two.toml").write_text(f'name = "two"\n{change}\n' + children)
    process = start(tmp_path, "run", "one.toml")
    try:
        while genesis(tmp_path, "status", "one.toml")[0]:
            pass
        status, out, errors = genesis(tmp_path, "run", "--quiet", "two.toml")
        assert (status, out, errors.count("\n")) == (2, "", 1)
        assert message in errors
        assert genesis(tmp_path, "status", "one.toml")[0] == 0
        assert genesis(tmp_path, "stop", "one.toml")[0] == 0
        process.communicate(timeout=20)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def test_output_that_nobody_reads_is_no_traceback(tmp_path):
    """`genesis check | head -0` ends like any other command whose reader has gone."""
    (tmp_path / "service.toml").write_text('name = "desk"')
    reader, writer = os.pipe()
    os.close(reader)
    with contextlib.closing(os.fdopen(writer, "wb")) as gone:
        ended = subprocess.run(
            [sys.executable, "-c", "from genesis_trio.cli import command; command()", "check", "service.toml"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
            stdout=gone,
            stderr=subprocess.PIPE,
            check=False,
        )

    assert (ended.returncode, ended.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("arguments", "out", "status", "errors"),
    [
        (["check", "service.toml"], "/dev/full", 1, b"genesis: failed: OSError: [Errno 28] No space left on device"),
        (["check", "service.toml"], None, 0, b""),
        (["check", "nowhere.toml"], None, 2, b"genesis: nowhere.toml: cannot be read"),
    ],
)
def test_output_that_cannot_be_written_is_one_line(tmp_path, arguments, out, status, errors):
    """A full disk under stdout is a failure that is named; a stdout that was closed is nobody's concern."""
    (tmp_path / "service.toml").write_text('name = "desk"')
    script = "import os, sys\n"
    script += "os.close(1); sys.stdout = None\n" if out is None else ""
    script += "from genesis_trio.cli import command; command()"
    with open(out or os.devnull, "wb") as stdout:
        ended = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
        )

    assert ended.returncode == status
    assert ended.stderr.startswith(errors) and ended.stderr.count(b"\n") == bool(errors)


def test_output_that_the_terminal_cannot_show_is_escaped(tmp_path):
    """A name is shown in a terminal of ASCII, too."""
    (tmp_path / "service.toml").write_text('name = "börse"', encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-c", "from genesis_trio.cli import command; command()", "check", "service.toml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, b"")
    assert rb"b\xf6rse" in ended.stdout


def test_version_is_what_a_report_begins_with(capsys):
    """Ours, and of what it runs on."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])

    assert caught.value.code == 0
    assert re.fullmatch(r"genesis_trio \S+, Trio \S+, Python \S+\n", capsys.readouterr().out)
