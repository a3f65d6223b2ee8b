"""The demonstration: a whole day with a kill, what it refuses, and that its reckoning sees what is wrong."""

import gzip
import json
import math
import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
import trio

from genesis_trio.demo import main
from genesis_trio.demo.capture import (
    HOW_TO_GET_IT,
    ORDER_COLUMNS,
    TRADE_COLUMNS,
    CaptureError,
    find_capture,
    read_capture,
)
from genesis_trio.demo.desk import ExecutionState, LedgerState
from genesis_trio.demo.messages import Answer, Fill, Order, Quote, Trade, from_wire
from genesis_trio.demo.plan import FaultKind, make_plan
from genesis_trio.demo.report import Tally, make_report
from genesis_trio.demo.venue import Book, Venue

BEGAN = 1_700_000_000_000
ROOT = Path(__file__).parent.parent.parent


def write_capture(folder: Path, seconds: int = 120) -> Path:
    """A recording in the same files as the real one: a book that moves with a sine, a trade a second."""
    orders: list[list[object]] = [[*ORDER_COLUMNS]]
    trades: list[list[object]] = [[*TRADE_COLUMNS]]
    for second in range(seconds):
        at, price = BEGAN + second * 1000, 1000 + round(10 * math.sin(second / 5))
        for direction, offset in (("bid", -1), ("ask", 1)):
            order = f"{direction}{second}"
            orders.append([order, at + 5, at, f"{price + offset}.0", "1.0", "created", direction])
            orders.append([order, at + 905, at + 900, f"{price + offset}.0", "1.0", "deleted", direction])
        trades.append([str(second), at + 505, at + 500, f"{price}.0", "0.1", "1", "2", "buy"])
    with gzip.open(folder / "orders.csv.gz", "wt") as file:
        file.writelines(",".join(map(str, row)) + "\n" for row in orders)
    (folder / "trades.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in trades))
    return folder


def order(client_id: str = "a", quantity: str = "1", price: str = "100") -> Order:
    return Order(client_id, quantity, price, reduces=False)


# ------------------------------------------------------------------ the whole of it


@pytest.mark.slow
def test_demo_with_a_kill_everything_is_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Faults of every kind and a SIGKILL leave the desk with what the venue knows."""
    capture = write_capture(tmp_path)

    status = main(["--capture", str(capture), "--kills", "1", "--speed", "30", "--json"])

    report = json.loads(capsys.readouterr().out)
    numbers = report["numbers"]
    assert report["violations"] == []
    assert status == 0
    assert numbers["kills (SIGKILL)"] == 1
    assert numbers["starts of the desk"] == 2
    assert numbers["orders sent"] == numbers["orders known to the venue"] > 0
    assert numbers["fills, desk"] == numbers["fills, venue"] > 0


@pytest.mark.slow
def test_demo_interrupted_leaves_nothing_running(tmp_path: Path) -> None:
    """Ctrl-C ends with status 130, and the desk's process is gone."""
    capture = write_capture(tmp_path, seconds=1000)
    tmp = tmp_path / "t"
    tmp.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "genesis_trio.demo", "--capture", str(capture), "--speed", "1", "--kills", "0"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp)},
        cwd=ROOT,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=2.0)

    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=10.0) == 130
    assert list(tmp.iterdir()) == []  # the desk held its store in there


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "arguments", [["--speed", "0"], ["--speed", "nan"], ["--kills", "-1"], ["--minutes", "x"], ["--nonsense"]]
)
def test_demo_bad_argument_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong option is refused in words, before anything starts."""
    assert main(arguments) == 2
    assert "error:" in capsys.readouterr().err


def test_demo_help_is_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    """Help is no error."""
    assert main(["--help"]) == 0
    assert "exit status" in capsys.readouterr().out


def test_demo_without_recording_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the recording there is one line, which says what to do, and status 2."""
    monkeypatch.setattr("genesis_trio.demo.capture.PACKAGE", "a-package-that-nobody-has")

    with pytest.raises(CaptureError, match="not installed"):
        find_capture()
    assert main([]) == 2

    assert capsys.readouterr().err.splitlines() == [f"the recorded market is not installed; {HOW_TO_GET_IT}"]


def test_find_capture_other_version_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another version of the recording is another recording."""
    info = tmp_path / "ob_analytics-0.2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ob-analytics\nVersion: 0.2.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(CaptureError, match=r"not that of ob-analytics 0\.2\.0; get it with"):
        find_capture()


def test_read_capture_foreign_columns_are_refused(tmp_path: Path) -> None:
    """A file with other columns is named."""
    write_capture(tmp_path)
    (tmp_path / "trades.csv").write_text("a,b\n1,2\n")

    with pytest.raises(CaptureError, match=r"trades\.csv has the columns"):
        read_capture(tmp_path)


def test_read_capture_window_without_trade_is_refused(tmp_path: Path) -> None:
    """A window in which nothing happens plays nothing."""
    write_capture(tmp_path)

    with pytest.raises(CaptureError, match="no trade in its first 0.001 minutes"):
        read_capture(tmp_path, 0.001)


def test_read_capture_gives_quotes_and_trades_of_the_window(tmp_path: Path) -> None:
    """Both, in the order of time, and nothing from behind the window."""
    write_capture(tmp_path)

    moments = read_capture(tmp_path, 0.05)

    assert [moment.at for moment in moments] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert moments[0].tick == Quote("999.0", "1001.0")
    assert moments[1].tick == Trade("0", "1000.0", "0.1")


def test_demo_interrupted_in_a_group_is_status_130(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Trio may wrap Ctrl-C in groups; other errors come through."""
    write_capture(tmp_path)

    def run(error: BaseException) -> int:
        def raise_it(fn: object) -> None:
            raise error

        monkeypatch.setattr(trio, "run", raise_it)
        return main(["--capture", str(tmp_path)])

    assert run(KeyboardInterrupt()) == 130
    assert run(BaseExceptionGroup("", [KeyboardInterrupt()])) == 130
    with pytest.raises(BaseExceptionGroup):
        run(BaseExceptionGroup("", [KeyboardInterrupt(), ValueError()]))


# ------------------------------------------------------------------ plan, book, wire


def test_make_plan_same_seed_is_the_same_plan() -> None:
    """One fault of each kind and the kills, in time order, inside the window; the seed decides."""
    plan = make_plan(7, window=100.0, kills=3)

    assert plan == make_plan(7, window=100.0, kills=3) != make_plan(8, window=100.0, kills=3)
    assert [fault.kind for fault in plan].count(FaultKind.KILL) == 3
    assert {fault.kind for fault in plan} == set(FaultKind)
    assert [fault.at for fault in plan] == sorted(fault.at for fault in plan)
    assert 8.0 <= plan[0].at < plan[-1].at <= 85.0


def test_book_repeated_order_is_placed_once() -> None:
    """The same id is known; another order under it is a conflict; a closed market refuses new ones only."""
    book = Book()

    assert [book.place(order()), book.place(order()), book.place(order(price="101"))] == [True, True, True]
    book.is_closed = True
    assert [book.place(order()), book.place(order("b"))] == [True, False]

    assert (len(book.orders), book.repeated, book.conflicts, book.refused) == (1, 3, ["a"], 1)


def test_book_trade_fills_what_it_crosses_once() -> None:
    """A buy is filled at or below its limit, a sale at or above, at its own price."""
    book = Book()
    book.place(order("buy", "1", "100"))
    book.place(order("sell", "-2", "110"))

    filled = [book.trade(Decimal(price)) for price in ("105", "100", "100", "111")]

    assert filled == [False, True, False, True]
    assert (book.position, book.cash, book.open_orders) == (Decimal(-1), Decimal(120), 0)


def test_from_wire_nonsense_is_a_value_error() -> None:
    """What cannot be a record is refused with its words."""
    with pytest.raises(ValueError, match="no Trade: .*n/a"):
        from_wire(Trade, {"trade_id": "?", "price": "n/a", "amount": "0"})
    with pytest.raises(ValueError, match="no Trade"):
        from_wire(Trade, {"price": "1"})


# ------------------------------------------------------------------ the reckoning


def day() -> tuple[Venue, ExecutionState, LedgerState, Tally]:
    """A day on which one order was sent and filled, and all is equal."""
    venue, execution, ledger = Venue(), ExecutionState(), LedgerState()
    venue.book.place(order())
    venue.book.trade(Decimal(100))
    execution.apply(order())
    execution.apply(Answer("a", accepted=True))
    ledger.apply(venue.book.fills[0])
    return venue, execution, ledger, Tally()


def test_report_all_equal_has_no_violation() -> None:
    """A good day is a good day."""
    report = make_report(*day())

    assert report.violations == ()
    assert report.as_text().endswith("nothing lost, nothing done twice")


def test_report_names_each_broken_invariant() -> None:
    """Whatever is not equal is named, with what was found."""

    def broken(change: object) -> list[str]:
        parts = day()
        change(*parts)  # type: ignore[operator]
        report = make_report(*parts)
        assert "BROKEN" in report.as_text()
        return [violation.partition(":")[0] for violation in report.violations]

    again = Fill(2, "fill-2", "a", "1", "100")
    assert broken(lambda v, e, b, t: e.answers.clear()) == [
        "every intent has an answer",
        "the desk knows every order of the venue",
    ]
    assert broken(lambda v, e, b, t: v.book.orders.clear()) == ["no accepted order is lost"]
    assert broken(lambda v, e, b, t: (v.book.fills.append(again), b.apply(again))) == ["no order is duplicated"]
    assert broken(lambda v, e, b, t: v.book.conflicts.append("a")) == ["one client id is one order"]
    assert broken(lambda v, e, b, t: v.forgotten.append(1)) == ["no acknowledgement went backwards"]
    assert broken(lambda v, e, b, t: b.apply(again)) == [
        "the fills are equal",
        "the position is equal",
        "the cash is equal",
    ]
    assert broken(lambda v, e, b, t: setattr(t, "kills_planned", 1)) == ["every kill took place"]
    assert broken(lambda v, e, b, t: t.problems.append("late: 1")) == ["late"]
