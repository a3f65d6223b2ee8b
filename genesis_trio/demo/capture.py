"""A recorded market: thirty minutes of Bitstamp BTC/USD, every order and every trade.

The recording is the sample data of the package ob-analytics 0.1.0.  It is data to us: found where pip put it,
read as files, never imported, and no part of genesis_trio, whose licence is another one.
"""

import csv
import gzip
from collections import deque
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "COINS",
    "DOLLARS",
    "HOW_TO_GET_IT",
    "CaptureError",
    "Instant",
    "MarketOrder",
    "MarketTrade",
    "find_capture",
    "read_instants",
]

PACKAGE, VERSION = "ob-analytics", "0.1.0"
HOW_TO_GET_IT = f"get it with: pip install --no-deps {PACKAGE}=={VERSION}"

ORDER_COLUMNS = ["id", "timestamp", "exchange_timestamp", "price", "volume", "action", "direction"]
TRADE_COLUMNS = [
    "trade_id",
    "timestamp",
    "exchange_timestamp",
    "price",
    "amount",
    "buy_order_id",
    "sell_order_id",
    "side",
]

#: Prices are counted in cents and quantities in the smallest part of a coin: whole numbers are exact, and quick.
DOLLARS, COINS = 100, 10**8


class CaptureError(Exception):
    """There is no recording, or it cannot be read; the text says what to do."""


class MarketOrder(NamedTuple):
    """An order of somebody is in the book now, with this much left; *quantity* 0: it is there no longer."""

    order_id: str
    is_bid: bool
    price: int
    quantity: int


class MarketTrade(NamedTuple):
    """Two others have traded; *is_buy* says of the one who did not wait in the book."""

    trade_id: str
    is_buy: bool
    price: int
    quantity: int


class Instant(NamedTuple):
    """What the exchange did in one millisecond, *at* seconds after the recording began.

    An order that executes is seen crossing the book, changing with each trade, and vanishing: all of it here.  So
    the book is one of a market after an instant, and not within.
    """

    at: float
    trades: list[MarketTrade]
    orders: list[MarketOrder]


def find_capture() -> Path:
    """The folder of the recording, in whichever environment this is.

    Raises:
        CaptureError: it is not installed.
    """
    try:
        found = distribution(PACKAGE)
    except PackageNotFoundError:
        raise CaptureError(f"the recorded market is not installed; {HOW_TO_GET_IT}") from None
    folder = Path(str(found.locate_file("ob_analytics/_sample_data")))
    if found.version != VERSION or not (folder / "trades.csv").exists():
        raise CaptureError(f"the recorded market is not that of {PACKAGE} {found.version}; {HOW_TO_GET_IT}")
    return folder


def read_instants(folder: Path) -> Iterator[Instant]:
    """The recording in *folder*, one millisecond after the other, read as it is asked for.

    The last one is left out if it only deletes: so the recorder tidies up, and the market did not.

    Raises:
        CaptureError: a file is missing, or is something else; possibly after the first instants.
    """
    try:
        trades = deque(
            (
                int(row[2]),
                MarketTrade(row[0], row[7] == "buy", _scaled(row[3], DOLLARS), _scaled(row[4], COINS)),
            )
            for row in sorted(_lines(folder / "trades.csv", TRADE_COLUMNS), key=lambda row: int(row[2]))
        )
        prices: dict[str, int] = {}
        began: int | None = None
        waiting: Instant | None = None
        only_deletes = False
        for stamp, rows in groupby(_lines(folder / "orders.csv.gz", ORDER_COLUMNS), itemgetter(2)):
            at = int(stamp)
            if began is None:
                began = at
            if waiting is not None:
                if at < began + waiting.at * 1000:
                    raise ValueError(f"orders.csv.gz is not in the order of the exchange's time at {stamp}")
                yield waiting
            while trades and trades[0][0] < at:
                traded = trades[0][0]
                yield Instant((traded - began) / 1000, _pop_until(trades, traded), [])
            orders = []
            only_deletes = True
            for order_id, _, _, price, volume, action, direction in rows:
                cents = prices.get(price)
                if cents is None:  # few prices, many times
                    cents = prices[price] = _scaled(price, DOLLARS)
                is_deleted = action == "deleted"
                only_deletes = only_deletes and is_deleted
                quantity = 0 if is_deleted else round(float(volume) * COINS)
                orders.append(MarketOrder(order_id, direction == "bid", cents, quantity))
            waiting = Instant((at - began) / 1000, _pop_until(trades, at), orders)
        if waiting is None or began is None:
            raise ValueError("orders.csv.gz is empty")
        if not only_deletes:
            yield waiting
        while trades:
            traded = trades[0][0]
            yield Instant((traded - began) / 1000, _pop_until(trades, traded), [])
    except (OSError, EOFError, ValueError, ArithmeticError) as error:
        raise CaptureError(f"the recording in {folder} cannot be used: {error}") from error


def _pop_until(trades: deque[tuple[int, MarketTrade]], at: int) -> list[MarketTrade]:
    popped = []
    while trades and trades[0][0] <= at:
        popped.append(trades.popleft()[1])
    return popped


def _scaled(text: str, scale: int) -> int:
    return round(float(text) * scale)


def _lines(path: Path, columns: list[str]) -> Iterator[list[str]]:
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as file:
        reader = csv.reader(file)
        if (found := next(reader, None)) != columns:
            raise ValueError(f"{path.name} has the columns {found}, expected {columns}")
        for row in reader:
            if len(row) != len(columns):
                raise ValueError(
                    f"line {reader.line_num} of {path.name} has {len(row)} fields, expected {len(columns)}"
                )
            yield row
