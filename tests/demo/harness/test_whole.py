"""The whole demonstration: real venues, real desks, real faults, on a small market made by hand."""

import json
from pathlib import Path

import pytest

from demo.harness.wave import write_wave
from genesis_trio.demo.harness.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.untraced]  # four processes and real time

PLAN = """
[[fault]]
kind = "orders.lost_reply"
at = 1
[[fault]]
kind = "link.refused"
seconds = 0.5
at = 2
[[fault]]
kind = "venue.kill"
seconds = 0.3
at = 4
[[fault]]
kind = "desk.kill"
at = 7
"""
#: How quick a desk is depends on who else uses the machine; what it knows does not.
MONEY = {
    "no order is lost",
    "no order is duplicated",
    "every order intent has an outcome",
    "the desk's position is the venue's",
    "the desk's cash is the venue's",
    "the desk knows every fill once",
    "every fault of the plan took effect",
    "the desk ends only when it is told to or killed",
}


def test_demo_with_real_processes_loses_and_doubles_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both desks, each with its venue, through a lost reply, an outage and two kills; the protected one knows everything."""
    (tmp_path / "plan.toml").write_text(PLAN)
    arguments = ["--faults", str(tmp_path / "plan.toml"), "--start-minute", "1", "--minutes", "4", "--speed", "20"]

    main([*arguments, "--capture", str(write_wave(tmp_path, 320)), "--report", str(tmp_path / "r.html"), "--json"])

    shown = json.loads(capsys.readouterr().out)
    assert list(shown["runs"]) == ["protected", "bare"]
    protected = shown["runs"]["protected"]
    rules = {each["rule"]: each for each in protected["invariants"]}
    assert set(rules) >= MONEY
    assert [each for rule, each in rules.items() if rule in MONEY and not each["holds"]] == []
    assert protected["order_intents"] > 3
    assert protected["fills"]["venue"] > 0
    assert protected["desk_started"] == 2
    assert protected["availability"] > 0.2
    assert len(protected["recoveries"]) == 4
    assert (tmp_path / "r.html").exists()
