"""`genesis demo` hands everything on to the demonstration."""

import pytest

from genesis_trio.cli import main
from genesis_trio.cli.options import parse


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["--full"],
        ["--seed", "7", "--full"],
        ["--simulate", "--seeds", "2", "--json"],
        ["--faults", "my-plan.toml", "--headless"],
    ],
)
def test_demo_gets_its_own_options(given):
    """In their order, whatever comes first."""
    assert parse(["demo", *given]).arguments == given


def test_demo_help_is_that_of_the_demonstration(capsys):
    """The options that it names can be given."""
    assert main(["demo", "--help"]) == 0

    assert "--simulate" in capsys.readouterr().out


def test_demo_wrong_option_is_told_by_the_demonstration(capsys):
    """With its own usage, and the status of wrong input."""
    assert main(["demo", "--fool"]) == 2

    assert "--fool" in capsys.readouterr().err


def test_other_commands_refuse_what_they_do_not_know(capsys):
    """Nothing is passed over in silence."""
    with pytest.raises(SystemExit) as ended:
        parse(["check", "service.toml", "--fool"])

    assert ended.value.code == 2
    assert "unrecognized arguments: --fool" in capsys.readouterr().err
