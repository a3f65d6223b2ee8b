"""A service from its file to its end, and what may be asked of it meanwhile."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from genesis_trio import (
    ChildSpec,
    CircuitBreaker,
    ConfigError,
    Guard,
    Lifecycle,
    PluginError,
    Restart,
    Service,
    open_store,
    run,
    run_service,
)
from genesis_trio.cli import main
from genesis_trio.instrumentation.logs import log_event
from genesis_trio.instrumentation.prometheus import render
from genesis_trio.service.admin import ask
from genesis_trio.service.plugins import load_component
from service.parts import Keeper, State, broken, job, worker

TOML = """
name = "desk"
store = "sqlite:{folder}/desk.db"
admin = "{folder}/desk.sock"

[supervisor]
strategy = "one_for_one"
max_restarts = 2
within = 5

[[children]]
name = "keeper"
component = "service.parts:Keeper"
criticality = "critical"

[[children]]
name = "worker"
component = "service.parts:worker"
requires = ["keeper"]
restart = "transient"
stop_grace = 1
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "service.toml"
    path.write_text(TOML.format(folder=tmp_path))
    return str(path)


@contextlib.asynccontextmanager
async def running(service):
    async with trio.open_nursery() as nursery:
        yield await nursery.start(run_service, service)
        nursery.cancel_scope.cancel()


# ---------------------------------------------------------------- the file


def test_from_toml_reads_the_whole_tree(file):
    """Every key arrives where it belongs."""
    service = Service.from_toml(file)
    keeper, second = service.children
    assert (service.name, keeper.component, keeper.criticality.name) == ("desk", Keeper, "CRITICAL")
    assert (second.component, second.requires, second.restart) == (worker, ("keeper",), Restart.TRANSIENT)
    assert service.supervisor["max_restarts"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("max_restarts = 2", 'max_restarts = "two"'), r"supervisor.max_restarts is 'two', but must be a whole number"),
        (("within = 5", "witin = 5"), r"unknown key supervisor.witin \(did you mean 'within'\?\)"),
        (
            ('criticality = "critical"', 'criticality = "vital"'),
            r"children\[0\].criticality is 'vital'.*optional, essential",
        ),
        (('name = "worker"', ""), r"required key children\[1\].name is missing"),
        (("within = 5", 'within = "5"'), "a number of seconds"),
        (('requires = ["keeper"]', 'requires = "keeper"'), "a list of texts"),
        (('name = "desk"', 'name = ""'), "a text that is not empty"),
        (('name = "desk"', 'name = "desk'), r"service\.toml: is no TOML: .*line"),
        (('name = "desk"', 'name = "desk"\nwithin = 5'), r"unknown key within \(it belongs under \[supervisor\]\)"),
        (
            ("[supervisor]", "[mode_policy]\nsafe_at = 0.5\n[supervisor]"),
            r"unknown key mode_policy \(it belongs under \[supervisor\.mode_policy\]\)",
        ),
        (
            ("stop_grace = 1", "stop_grace = -1"),
            r"children\[1\].stop_grace is -1, but must be a number of seconds that is not negative",
        ),
        (("stop_grace = 1", "args = 3"), "must be a list"),
        (("stop_grace = 1", "options = 3"), "must be a table"),
        (("[[children]]", "[children]"), "line|list of tables"),
    ],
)
def test_from_toml_wrong_is_one_line_with_file_key_and_what_is_allowed(file, change, message):
    """The operator sees where and what."""
    path = Path(file)
    path.write_text(path.read_text().replace(change[0], change[1], 1 if "children]]" not in change[0] else 2))
    with pytest.raises(ConfigError, match=message) as caught:
        Service.from_toml(file)
    assert "service.toml" in str(caught.value)


def test_from_toml_missing_file():
    """No file, no traceback."""
    with pytest.raises(ConfigError, match="cannot be read"):
        Service.from_toml("nowhere.toml")


@pytest.mark.parametrize("name", ["nowhere", "nowhere:x", "service.parts:nothing"])
def test_component_that_cannot_be_loaded_says_why(name):
    """Plugin, reason, and what there is instead."""
    with pytest.raises(PluginError, match="component"):
        load_component(name)


def test_service_wrong_children_are_refused():
    """Children are specs, and the store is a URL."""
    with pytest.raises(TypeError, match="ChildSpecs"):
        Service("desk", [worker])
    for wrong in ({"store": None}, {"admin": 3}, {"http": 9100}):
        with pytest.raises(TypeError, match="of service 'desk' is a text, got"):
            Service("desk", **wrong)


@pytest.mark.parametrize("requires", [["x"], ["keeper"]])
async def test_run_service_impossible_tree_saves_nothing(tmp_path, autojump_clock, requires):
    """What cannot work is refused before the store is opened, so no empty checkpoint is the newest one."""
    url = f"sqlite:{tmp_path / 'desk.db'}"

    with pytest.raises(ConfigError, match="requires"):
        await run_service(Service("desk", [ChildSpec(Keeper, name="keeper", requires=requires)], store=url))

    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- running


def test_run_ends_with_its_children(tmp_path):
    """run() is the process's work."""
    run(Service("desk", [ChildSpec(job, name="job")], store="memory:"))


async def test_run_service_goes_on_when_a_first_start_fails(autojump_clock):
    """It backs off and parks like any crash, and the service is up in SAFE."""
    service = Service("desk", [ChildSpec(broken, name="broken"), ChildSpec(worker, name="worker")], store="memory:")
    async with running(service) as desk:
        assert desk.children["broken"].status is Lifecycle.PARKED
        assert desk.children["worker"].status is Lifecycle.READY
        assert desk.scope.mode.name == "SAFE"


async def test_admin_answers_and_obeys(tmp_path):
    """Status, why, hold, clear, restart, checkpoint and metrics over a socket that only its owner opens."""
    socket = str(tmp_path / "desk.sock")
    children = [ChildSpec(Keeper, name="keeper"), ChildSpec(worker, name="worker")]
    async with running(Service("desk", children, store="memory:", admin=socket)):
        assert stat.S_IMODE(os.stat(socket).st_mode) == 0o600
        status = await ask(socket, "status")
        assert status["mode"] == "NORMAL"
        assert status["children"]["desk/worker"]["status"] == "ready"
        assert status["store"].startswith("survives: kill -9 no")
        assert "SAFE" in await ask(socket, "hold", path="desk", mode="safe", reason="test")
        assert (await ask(socket, "status"))["causes"][0]["latched"]
        assert "SAFE" in await ask(socket, "why", path="desk/worker")
        assert "NORMAL" in await ask(socket, "clear", path="desk", owner="operator", reason="test")
        assert "generation 2" in await ask(socket, "restart", path="desk/worker")
        assert (await ask(socket, "checkpoint")).startswith("cp-")
        assert "genesis_mode" in await ask(socket, "metrics")
        assert "desk" in await ask(socket, "why", path="desk")
        for order, arguments in (
            ("dance", {}),
            ("why", {"path": "nowhere"}),
            ("restart", {"path": "nowhere"}),
            ("hold", {"path": "desk", "mode": "panic", "reason": "x"}),
            ("status", {"wrong": 1}),
        ):
            with pytest.raises(LookupError):
                await ask(socket, order, **arguments)
        with pytest.raises(ConfigError, match="answers on the admin socket"):
            await run_service(Service("two", store="memory:", admin=socket))
    assert not await trio.Path(socket).exists()
    with pytest.raises(ConfigError, match="no service answers"):
        await ask(socket, "status")


async def test_admin_replaces_a_stale_socket(tmp_path):
    """What a killed service left behind is no obstacle; a path that cannot be used is told."""
    socket = str(tmp_path / "desk.sock")
    bound = trio.socket.socket(trio.socket.AF_UNIX)
    await bound.bind(socket)
    bound.close()
    async with running(Service("desk", [ChildSpec(worker, name="x")], store="memory:", admin=socket)):
        assert (await ask(socket, "status"))["name"] == "desk"
    with pytest.raises(ConfigError, match="cannot be opened"):
        await run_service(Service("desk", store="memory:", admin=str(tmp_path / "no" / "folder.sock")))


# ---------------------------------------------------------------- metrics and logs


async def test_metrics_are_what_prometheus_reads(caplog):
    """Everything required at all times is there, and parses."""
    breaker = CircuitBreaker("venue.metrics")
    guard = Guard("orders.metrics", breaker=breaker)

    async def call():
        return 1

    await guard.execute(call)
    children = [ChildSpec(Keeper, name="keeper"), ChildSpec(worker, name="worker")]
    async with running(Service("desk", children, store="memory:")) as desk:
        await desk.create_checkpoint()
        with desk.scope.hold(desk.scope.mode, reason='a "quoted" reason'):
            text = render(desk)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    values = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert values["genesis_guard_calls_total", (("guard", "orders.metrics"),)] == 1
    assert values["genesis_breaker_state", (("breaker", "venue.metrics"), ("state", "closed"))] == 1
    assert values["genesis_component_work_total", (("component", "desk/worker"),)] == 1
    assert values["genesis_component_load", (("component", "desk/worker"),)] == 0.5
    assert values["genesis_mode", (("mode", "NORMAL"), ("scope", "desk"))] == 1
    assert "genesis_checkpoint_age_seconds" in families


async def test_log_event_writes_at_the_severity_of_the_event(caplog, autojump_clock):
    """A parked child is an error in the log."""
    from genesis_trio import observe, open_supervisor

    with caplog.at_level("INFO"), observe(log_event):
        async with open_supervisor("desk") as desk:
            await desk.start_all([ChildSpec(broken, name="broken", unpark_after=None)])
            await desk.stop()
    assert any(record.levelname == "ERROR" and "child_parked" in record.message for record in caplog.records)


# ---------------------------------------------------------------- the command line


def start(file, *arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), os.getcwd()])}
    script = "import sys; from genesis_trio.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", script, "run", file], env=environment, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_cli_run_stops_in_order_on_a_signal(file, tmp_path, capsys, sent, status):
    """SIGTERM saves and ends; the state is there for the next start."""
    process = start(file)
    try:
        socket = str(tmp_path / "desk.sock")
        for _ in range(200):  # a real process: it is up when it answers
            if main(["status", "--socket", socket]) == 0:
                break
            time.sleep(0.05)  # polling another process
        shown = capsys.readouterr().out
        assert "desk: NORMAL" in shown
        assert "desk/worker" in shown
        assert "  store: survives: kill -9 yes" in shown
        assert main(["why", "--socket", socket, "desk/keeper"]) == 0
        assert main(["status", "--socket", socket, "--json"]) == 0
        assert main(["restart", "--socket", socket, "nowhere"]) == 2
        second = start(file)
        _, errors = second.communicate(timeout=20)
        assert second.returncode == 2
        assert errors.strip().splitlines()[-1].startswith("genesis: ")
        process.send_signal(sent)
        assert process.wait(timeout=20) == status
    finally:
        process.kill()
        process.communicate()

    async def saved():
        async with open_store(f"sqlite:{tmp_path / 'desk.db'}") as store:
            return (await store.restore_latest("desk/keeper", State)).state.number

    assert trio.run(saved) == 1


def test_cli_bad_input_is_one_line_and_status_2(file, capsys):
    """No traceback unless --debug."""
    assert main(["check", file]) == 0
    Path(file).write_text("name = 3")
    assert main(["check", file]) == 2
    assert main(["run", file]) == 2
    assert main(["status", "--socket", "nowhere.sock"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert all(line.startswith("genesis: ") for line in errors)
    with pytest.raises(ConfigError):
        main(["--debug", "check", file])
