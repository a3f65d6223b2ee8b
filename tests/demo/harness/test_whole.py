"""The whole demonstration: real venues, real desks, real faults, on a small market made by hand."""

import json
import math
from pathlib import Path

import pytest

from demo.exchange.made_capture import order_row, trade_row, write_capture
from genesis_trio.demo.harness.cli import main

pytestmark = pytest.mark.slow  # four processes and real time

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


def write_wave(folder: Path, seconds: int) -> Path:
    """A market that goes up and down like a wave, with somebody who buys and somebody who sells each second."""
    orders, trades = [], []
    for second in range(seconds):
        at, price = second * 1000, 1000 + round(20 * math.sin(second / 15))
        for side, offset in (("bid", -1), ("ask", 1)):
            name = f"{side}{second}"
            orders.append(order_row(name, at, price + offset, 2.0, "created", side))
            if second:
                last = 1000 + round(20 * math.sin((second - 1) / 15)) + offset
                orders.append(order_row(f"{side}{second - 1}", at, last, 2.0, "deleted", side))
            if second % 2 == (side == "bid"):
                taker = "sell" if side == "bid" else "buy"
                trades.append(trade_row(f"t{second}", at + 500, price + offset, 2.5, taker))
    return write_capture(folder, orders, trades)


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
