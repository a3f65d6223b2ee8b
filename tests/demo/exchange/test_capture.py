"""The recording as the venue reads it: instants, in the order of the exchange's time."""

import itertools

import pytest

from demo.exchange.made_capture import order_row, trade_row, write_capture
from genesis_trio.demo.capture import (
    HOW_TO_GET_IT,
    CaptureError,
    Instant,
    MarketOrder,
    MarketTrade,
    find_capture,
    read_instants,
)
from genesis_trio.demo.exchange.book import Book


def test_instants_gather_what_happens_in_one_millisecond(tmp_path):
    """Orders and trades of a millisecond belong together; a trade by itself is an instant of its own."""
    folder = write_capture(
        tmp_path,
        [
            order_row("1", 0, 100, "0.5", "created", "bid"),
            order_row("2", 0, 101, "2.6e-06", "created", "ask"),
            order_row("1", 1500, 100, "0.25", "changed", "bid"),
            order_row("2", 1500, 101, "2.6e-06", "deleted", "ask"),
            order_row("3", 2000, 101, "1.0", "created", "ask"),
        ],
        [
            trade_row("b", 1500, 100, 0.25, "sell"),
            trade_row("a", 700, 101, 0.1, "buy"),
            trade_row("c", 2500, 101, 0.5, "buy"),
        ],
    )

    assert list(read_instants(folder)) == [
        Instant(0.0, [], [MarketOrder("1", True, 10000, 50_000_000), MarketOrder("2", False, 10100, 260)]),
        Instant(0.7, [MarketTrade("a", True, 10100, 10_000_000)], []),
        Instant(
            1.5,
            [MarketTrade("b", False, 10000, 25_000_000)],
            [MarketOrder("1", True, 10000, 25_000_000), MarketOrder("2", False, 10100, 0)],
        ),
        Instant(2.0, [], [MarketOrder("3", False, 10100, 100_000_000)]),
        Instant(2.5, [MarketTrade("c", True, 10100, 50_000_000)], []),
    ]


def test_instants_leave_out_how_the_recorder_tidies_up(tmp_path):
    """The deletes with which a recording ends are no market."""
    folder = write_capture(
        tmp_path,
        [order_row("1", 0, 100, "1.0", "created", "bid"), order_row("1", 9000, 100, "1.0", "deleted", "bid")],
    )

    assert [moment.at for moment in read_instants(folder)] == [0.0]


@pytest.mark.parametrize(
    ("orders", "said"),
    [
        ([], "orders.csv.gz is empty"),
        ([["x"] * 7], "invalid literal"),
        ([["x"]], "line 2 of orders.csv.gz has 1 fields, expected 7"),
        (
            [order_row("1", 10, 1, 1, "created", "bid"), order_row("2", 9, 1, 1, "created", "bid")] * 2,
            "not in the order of the exchange's time",
        ),
    ],
)
def test_instants_of_something_else_are_refused(tmp_path, orders, said):
    """The text says which folder, and what is wrong with it."""
    folder = write_capture(tmp_path, orders)

    with pytest.raises(CaptureError, match=f"the recording in {tmp_path} cannot be used: .*{said}"):
        list(read_instants(folder))


def test_instants_of_a_broken_archive_are_refused(tmp_path):
    """A file that was cut off says so, after what could be read of it."""
    folder = write_capture(tmp_path, [order_row("1", 0, 100, "1.0", "created", "bid")])
    whole = (folder / "orders.csv.gz").read_bytes()
    (folder / "orders.csv.gz").write_bytes(whole[:-10])

    with pytest.raises(CaptureError, match="cannot be used"):
        list(read_instants(folder))


# ------------------------------------------------------------------ the real one


def real_capture():
    try:
        return find_capture()
    except CaptureError:
        pytest.skip(f"the recorded market is not installed; {HOW_TO_GET_IT}")


def test_instants_of_the_real_recording_make_a_market():
    """The first three minutes: a book that is never crossed, of two sides, with a narrow spread and trades near it."""
    book = Book()
    spreads, orders, trades = [], 0, []
    for moment in itertools.takewhile(lambda moment: moment.at < 180, read_instants(real_capture())):
        for trade in moment.trades:
            trades.append((trade.price - book.bids.best()) / 100)
        book.apply(moment.orders)
        orders += len(moment.orders)
        spreads.append((book.asks.best() - book.bids.best()) / 100)

    assert orders > 30_000
    assert min(spreads) >= 0.01
    assert max(spreads) < 100
    assert len(trades) > 20
    assert all(abs(distance) < 200 for distance in trades)
    assert len(book.bids.top(50)) == len(book.asks.top(50)) == 50
