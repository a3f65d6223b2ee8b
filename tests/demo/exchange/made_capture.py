"""Recordings in the files of the real one, made by hand."""

import gzip

from genesis_trio.demo.capture import ORDER_COLUMNS, TRADE_COLUMNS

BEGAN = 1_700_000_000_000


def order_row(order, at, price, volume, action, direction):
    """A row of orders.csv.gz, *at* milliseconds after the beginning."""
    return [order, BEGAN + at + 80, BEGAN + at, f"{price:.1f}", str(volume), action, direction]


def trade_row(trade, at, price, amount, side):
    return [trade, BEGAN + at + 80, BEGAN + at, f"{price:.1f}", str(amount), "1", "2", side]


def write_capture(folder, orders, trades=()):
    with gzip.open(folder / "orders.csv.gz", "wt") as file:
        file.writelines(",".join(map(str, row)) + "\n" for row in [ORDER_COLUMNS, *orders])
    (folder / "trades.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in [TRADE_COLUMNS, *trades]))
    return folder


def write_market(folder, seconds=600):
    """A book that breathes twice a second around 1000, and somebody who sells at 999 each second."""
    orders = [order_row("bid", 0, 999, 5.0, "created", "bid"), order_row("ask", 0, 1001, 5.0, "created", "ask")]
    trades = []
    for second in range(1, seconds):
        orders.append(order_row(f"b{second}", second * 1000, 998, 1.0, "created", "bid"))
        orders.append(order_row(f"b{second}", second * 1000 + 500, 998, 1.0, "deleted", "bid"))
        trades.append(trade_row(f"t{second}", second * 1000 + 250, 998, 0.125, "sell"))
    return write_capture(folder, orders, trades)
