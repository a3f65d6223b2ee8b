"""A service's file: everything wrong with it is told at once, by file, key path, value and what is allowed."""

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from genesis_trio import (
    CheckpointPolicy,
    ChildSpec,
    Component,
    ConfigError,
    OnCrash,
    PluginError,
    Restart,
    Service,
    open_supervisor,
    run_service,
)
from genesis_trio.cli import main
from genesis_trio.service._tables import ChildTable, SupervisorTable
from genesis_trio.service.plugins import load_component
from service.parts import note_event

MANY = """
nam = "desk"
store = "desk.db"
admin = 3
[http]
address = "9100"
[supervisor]
max_restarts = -1
within = true
strateg = "one_for_one"
[supervisor.backoff]
multiplier = "two"
[[children]]
name = "a/b"
component = "service.parts:wrker"
stop_grace = nan
[[children]]
component = "service.parts:worker"
requires = ["a", 2]
criticality = "critcal"
checkpoint = { evry = 3 }
"""


def problems(tmp_path, text):
    """The lines of the error, without the file that each of them begins with."""
    file = tmp_path / "service.toml"
    file.write_text(text)
    with pytest.raises((ConfigError, PluginError)) as caught:
        Service.from_toml(str(file))
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{file}: ") for line in lines)
    return type(caught.value), [line.removeprefix(f"{file}: ") for line in lines]


def child(**fields):
    rest = "\n".join(f"{key} = {value}" for key, value in fields.items())
    return f'name = "desk"\n[[children]]\nname = "a"\n{rest}\n'


def test_from_toml_tells_every_error_at_once(tmp_path):
    """An operator mends the file once, not once for each error."""
    kind, found = problems(tmp_path, MANY)

    assert kind is ConfigError
    assert sorted(found) == sorted(
        [
            "the required key name is missing",
            "unknown key nam (did you mean 'name'?); allowed are: name, store, admin, http, instruments, supervisor, children",
            "store is 'desk.db', but must be a place with its scheme, as in 'sqlite:desk.db' or 'memory:'",
            "admin is 3, but must be a text that is not empty",
            "http.address is '9100', but must be host:port, as in '127.0.0.1:9100' or '[::1]:9100', with a port from 0 to 65535",
            "supervisor.max_restarts is -1, but must be a whole number that is not negative",
            "supervisor.within is True, but must be a number of seconds, more than 0",
            "unknown key supervisor.strateg (did you mean 'strategy'?); allowed are: strategy, max_restarts, within, escalate_after, "
            "shutdown_timeout, stall_limit, hold_on_stall, backoff, mode_policy, checkpoint",
            "supervisor.backoff.multiplier is 'two', but must be a number",
            "children[0].name is 'a/b', but must be a text that is not empty, without '/' and without outer space",
            "children[0].component: component 'service.parts:wrker' cannot be loaded: 'service.parts' has no 'wrker' (did you "
            "mean 'worker'?)",
            "children[0].stop_grace is nan, but must be a number of seconds that is not negative",
            "the required key children[1].name is missing",
            "children[1].requires[1] is 2, but must be a text",
            "children[1].criticality is 'critcal', but must be one of optional, essential, critical (did you mean 'critical'?)",
            "unknown key children[1].checkpoint.evry (did you mean 'every'?); allowed are: "
            + ", ".join(field.name for field in attrs.fields(CheckpointPolicy)),
        ]
    )


def test_check_prints_every_error_and_ends_with_status_2(tmp_path, capsys):
    """The command shows the same lines, each with its own beginning."""
    (tmp_path / "service.toml").write_text(MANY)

    assert main(["check", str(tmp_path / "service.toml")]) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 16
    assert all(line.startswith("genesis: ") for line in captured.err.splitlines())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('name = "desk"\nhttp = 3', "http is 3, but must be a table with the keys address"),
        ('name = "desk"\nchildren = 3', "children is 3, but must be a list of tables, each beginning with [[children]]"),
        ('name = "desk"\nchildren = [3]', "children[0] is 3, but must be a table"),
        ('name = "desk"\n[http]', "the required key http.address is missing"),
        ('name = "desk"\nstore = "sqlit:desk.db"', "store is 'sqlit:desk.db', but its scheme must be one of memory, sqlite (did you mean 'sqlite'?)"),
        ('name = "desk"\n[supervisor.mode_policy]\nsafe_at = 0.9', "supervisor.mode_policy is {'safe_at': 0.9}: emergency_at (0.5) must not be below safe_at (0.9)"),
        (child(component='"service.parts:State"'), "children[0].component is 'service.parts:State': State is a class but not a Component"),
        (child(component='"service.parts:worker"', args="[1]"), "children[0].args: [1] is not what worker(ctx) takes after ctx: too many positional arguments"),
        (child(component='"service.parts:worker"', requires='["b"]'), "children[0].requires: child 'a' of 'desk' requires 'b', which does not exist; there are: a"),
        (child(component='"service.parts:worker"', requires='["a"]'), "children[0].requires: child 'a' of 'desk' requires itself"),
        (child(component='"service.parts:worker"') * 2, "is no TOML: Cannot overwrite a value"),
    ],
)  # fmt: skip
def test_from_toml_one_error_names_key_value_and_what_is_allowed(tmp_path, text, expected):
    """The same form for each kind of error, and no error hides behind another."""
    _, found = problems(tmp_path, text)

    assert len(found) == 1
    assert found[0].startswith(expected)


def test_from_toml_errors_between_children_are_told_together(tmp_path):
    """Names that are taken, and every requirement that cannot be met."""
    text = 'name = "desk"\n'
    for requires, criticality in ((["b", "c"], "critical"), ([], "optional"), ([], "optional")):
        name = "a" if not requires else "ledger"
        text += f'[[children]]\nname = "{name}"\ncomponent = "service.parts:worker"\nrequires = {requires}\ncriticality = "{criticality}"\n'

    _, found = problems(tmp_path, text)

    assert [line.split(":")[0] for line in found] == [
        "children[0].requires",
        "children[0].requires",
        "children[2].name is 'a', which another child has already",
    ]


@pytest.mark.parametrize(
    ("table", "callable_", "only_in_python"),
    [
        # Objects, and what is said once, when a service is restored by hand; its name and store stand at the top.
        (SupervisorTable, open_supervisor, {"name", "store", "restore", "only", "rng"}),
        (ChildTable, ChildSpec, {"breaker"}),
    ],
)
def test_from_toml_has_a_key_for_each_setting(table, callable_, only_in_python):
    """What can be set in Python can be set in the file, by the same name."""
    settings = set(inspect.signature(callable_).parameters) - only_in_python

    assert {field.name for field in attrs.fields(table)} == settings


def test_from_toml_stall_limit_reaches_the_supervisor(tmp_path):
    """A service has its loop watched, and holds SAFE after a stall, when its file says so."""
    file = tmp_path / "service.toml"
    file.write_text('name = "desk"\n[supervisor]\nstall_limit = 0.25\nhold_on_stall = true\n')

    settings = Service.from_toml(str(file)).supervisor

    assert (settings["stall_limit"], settings["hold_on_stall"]) == (0.25, True)


def test_from_toml_cycle_is_shown(tmp_path):
    """Who requires whom, around."""
    text = 'name = "desk"\n'
    for name, other in (("a", "b"), ("b", "a")):
        text += f'[[children]]\nname = "{name}"\ncomponent = "service.parts:worker"\nrequires = ["{other}"]\n'

    assert problems(tmp_path, text)[1] == ["children: children of 'desk' require each other in a cycle: a -> b -> a"]


def test_from_toml_limits_that_can_never_be_reached_are_told(tmp_path):
    """Backoff and restart budget are judged together."""
    text = 'name = "desk"\n[supervisor]\nmax_restarts = 3\nwithin = 1\nbackoff = { base_delay = 5, jitter = "none" }'

    (found,) = problems(tmp_path, text)[1]
    assert found.startswith("supervisor: ")
    assert "max_restarts" in found


def test_from_toml_options_are_checked_without_running_anything(tmp_path):
    """`genesis check` finds a wrong option, not the start."""
    _, found = problems(tmp_path, child(component='"service.test_config:Trader"', options='{ symbl = "BTC" }'))

    assert found[0].startswith("children[0].options: it must fit TraderOptions: ")
    assert "symbl" in found[0]


def test_from_toml_options_and_args_are_checked_beside_other_errors_of_the_child(tmp_path):
    """Everything at once: a wrong key of a child does not hide what is wrong with its component's arguments."""
    _, found = problems(
        tmp_path,
        child(component='"service.test_config:Trader"', options="{ symbl = 1 }", args="[1]", heartbeat_timeout='"1"'),
    )

    assert [line.split(":")[0].split(" is ")[0] for line in found] == [
        "children[0].heartbeat_timeout",
        "children[0].args",
        "children[0].options",
    ]


@attrs.define
class TraderOptions:
    symbol: str


class Trader(Component[None]):
    options_type = TraderOptions


def test_from_toml_only_unloadable_components_are_a_plugin_error(tmp_path):
    """It carries file and key path; one that is broken does not hide the next."""
    text = 'name = "desk"\n'
    for name, component in (("a", "no_such_package:x"), ("b", "service.parts:worker"), ("c", "nowhere")):
        text += f'[[children]]\nname = "{name}"\ncomponent = "{component}"\n'

    kind, found = problems(tmp_path, text)

    assert kind is PluginError
    assert [line.split(": ")[0] for line in found] == ["children[0].component", "children[2].component"]
    assert "install the package that has it, or name its directory in PYTHONPATH" in found[0]
    assert "installed are: none" in found[1]


@pytest.mark.parametrize("body", ["import sys; sys.exit('leave')", "1/0", "def (", "raise KeyboardInterrupt"])
def test_component_module_that_breaks_is_told_with_its_reason(tmp_path, monkeypatch, body):
    """Whatever a module does when it is imported, except Ctrl-C, is a line about that component."""
    (tmp_path / "breaking_module.py").write_text(body)
    monkeypatch.syspath_prepend(str(tmp_path))
    expected = KeyboardInterrupt if "Keyboard" in body else PluginError

    with pytest.raises(expected):
        load_component("breaking_module:x")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Two distributions with entry points: a good one, one that breaks, and one name that both have."""
    for name, points in (
        ("good", "fine = service.parts:worker\nboth = service.parts:worker"),
        ("bad", "broken = no_such_package:x\nboth = service.parts:job"),
    ):
        info = tmp_path / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        instruments = {"good": "counts = service.parts:note_event", "bad": "torn = no_such_package:hook"}[name]
        (info / "entry_points.txt").write_text(
            f"[genesis_trio.components]\n{points}\n[genesis_trio.instruments]\n{instruments}\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()


def test_plugin_is_loaded_by_its_name_whatever_another_one_does(installed):
    """A broken plugin stops only whoever names it, and is told with distribution, version and reason."""
    assert load_component("fine").__name__ == "worker"
    with pytest.raises(
        PluginError, match=r"'broken' \(no_such_package:x, of bad 1.2\) cannot be loaded: ModuleNotFoundError"
    ):
        load_component("broken")
    with pytest.raises(PluginError, match=r"installed are: both, broken, fine"):
        load_component("nowhere")


def test_from_toml_instruments_are_loaded_by_name_and_only_then(installed, tmp_path):
    """An entry point or module:attribute; a broken one that nobody names is not touched."""
    file = tmp_path / "service.toml"
    file.write_text('name = "desk"\ninstruments = ["counts", "service.parts:note_event"]\n')

    assert Service.from_toml(str(file)).instruments == (note_event, note_event)


def test_from_toml_instruments_that_cannot_be_loaded_are_all_told(installed, tmp_path):
    """Each with name, distribution and reason."""
    kind, found = problems(
        tmp_path,
        'name = "desk"\ninstruments = ["torn", "counts", "nowhere", "service.parts:worker", "service.parts:State", '
        '"service.parts:two_events"]\n',
    )

    assert kind is PluginError
    assert len(found) == 5
    assert found[4].startswith("instruments[5]: instrument 'service.parts:two_events' is <function two_events")
    assert found[3].startswith("instruments[4]: instrument 'service.parts:State' is <class")
    assert found[0].startswith(
        "instruments[0]: plugin 'torn' (no_such_package:hook, of bad 1.2) cannot be loaded: ModuleNotFoundError"
    )
    assert found[1].startswith("instruments[2]: there is no instrument 'nowhere'")
    assert found[1].endswith("installed are: counts, torn")
    assert found[2].startswith("instruments[3]: instrument 'service.parts:worker' is <function worker")
    assert "must be a function of one event that does not await" in found[2]


async def test_service_instruments_see_it_from_the_start_and_a_failing_one_stops_nothing(autojump_clock):
    """They are hooks like any other: one that raises is reported once and removed."""
    seen = []

    def broken(event):
        raise OSError("broken hook")

    async def job(ctx):
        ctx.ready()

    spec = ChildSpec(job, name="job", restart=Restart.TEMPORARY)
    await run_service(Service("desk", [spec], store="memory:", instruments=[broken, seen.append]))

    names = [event.name for event in seen]
    assert names.count("hook_failed") == 1
    assert names.index("child_starting") < names.index("child_ready")


def test_service_instruments_that_are_no_functions_are_refused():
    """When the service is described, with the value."""
    with pytest.raises(TypeError, match="functions of one event, got 3"):
        Service("desk", instruments=[3])


def test_plugin_name_that_two_distributions_have_is_refused(installed):
    """Which one it would be depends on the order of sys.path, so nobody guesses."""
    with pytest.raises(
        PluginError, match=r"several components 'both': .*worker of good 1.2.*write the module:attribute"
    ):
        load_component("both")


def test_importing_the_command_line_touches_no_logging():
    """Logging is set up when a service is run, and nowhere else."""
    script = (
        "import logging, genesis_trio.cli.serve, genesis_trio.cli.operate, genesis_trio.service.running; "
        "assert not logging.root.handlers and logging.root.level == logging.WARNING; "
        "assert not logging.getLogger('genesis_trio').handlers"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parent.parent.parent)


# ------------------------------------------------------------------ what follows a crash


def test_from_toml_rules_and_escalation_reach_the_child(tmp_path):
    """Every setting of a child can be written in the file: exceptions by name, in the order of the file."""
    file = tmp_path / "service.toml"
    file.write_text(
        child(
            component='"service.parts:worker"',
            escalate="true",
            rules='{ ConnectionError = "restart", "json:JSONDecodeError" = "park", OSError = "escalate" }',
        )
        + "[supervisor]\nescalate_after = 9\n"
    )
    service = Service.from_toml(str(file))
    (spec,) = service.children

    assert spec.escalate is True
    assert list(spec.rules.items()) == [
        (ConnectionError, OnCrash.RESTART),
        (json.JSONDecodeError, OnCrash.PARK),
        (OSError, OnCrash.ESCALATE),
    ]
    assert service.supervisor["escalate_after"] == 9


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (
            '{ OSError = "prak" }',
            "must be a table of exceptions, as OSError or 'module:Name', each with one of restart, ",
        ),
        ("3", "must be a table of exceptions"),
        (
            '{ OSErorr = "park" }',
            "exception 'builtins:OSErorr' cannot be loaded: 'builtins' has no 'OSErorr' (did you mean",
        ),
        ('{ "json:dumps" = "park" }', "'json:dumps' is no exception"),
    ],
)
def test_from_toml_wrong_rules_are_told(tmp_path, rules, said):
    """A rule for what is no exception, or with an end that there is not, names its key and what is allowed."""
    _, found = problems(tmp_path, child(component='"service.parts:worker"', rules=rules))

    assert len(found) == 1
    assert found[0].startswith("children[0].rules")
    assert said in found[0]
