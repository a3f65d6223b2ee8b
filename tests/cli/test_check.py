"""``genesis check``: a file is read, what it names is loaded, and nothing is run."""

from genesis_trio.cli import main

TOML = """
name = "desk"

[supervisor]
max_restarts = 2
within = 10
shutdown_timeout = 6

[[children]]
name = "ledger"
component = "cli.parts:follower"

[[children]]
name = "strategy"
component = "cli.parts:follower"
requires = ["ledger"]
"""


def test_check_limits_says_what_the_settings_amount_to(tmp_path, monkeypatch, capsys):
    """With the settings of the file, and the defaults of what it does not say."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "service.toml").write_text(TOML)

    assert main(["check", "--limits", "service.toml"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "service.toml: desk with 2 children is well described",
        "  a child restarts at most 12 times a minute; one crash more within 10 s parks it",
        "  a crash of ledger restarts 2 children: with it strategy",
        "  if every child crashes as often as it may, there are 36 starts a minute",
        "  a stop takes 6 s at most, of 10 s of stop_grace together",
        "  WARNING: ledger has 1 s of its stop_grace=5 s left if all that stop before it use theirs; "
        "raise shutdown_timeout to 10 s, or lower a stop_grace",
    ]


def test_check_without_limits_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "service.toml").write_text(TOML)

    assert main(["check", "service.toml"]) == 0

    assert capsys.readouterr().out == "service.toml: desk with 2 children is well described\n"


def test_check_without_a_file_reads_the_one_right_here(tmp_path, monkeypatch, capsys):
    """As the orders do; and where there is none, the line names what was looked for."""
    monkeypatch.chdir(tmp_path)
    assert main(["check"]) == 2
    assert capsys.readouterr().err == "genesis: service.toml: cannot be read: No such file or directory\n"
    (tmp_path / "service.toml").write_text(TOML)

    assert main(["check"]) == 0

    assert capsys.readouterr().out == "service.toml: desk with 2 children is well described\n"
