"""A small market in the files of the recording."""

import math
from pathlib import Path

from demo.exchange.made_capture import order_row, trade_row, write_capture


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
