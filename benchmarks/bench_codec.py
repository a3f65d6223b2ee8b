"""What strictness costs when state is written and read, in milliseconds, beside cattrs with orjson as it comes.

The state is that of a trading desk: attrs classes with Decimal, UUID, aware datetime, enums, a set, 50
positions and 250 orders, 57 KB of JSON.  The rival is ``cattrs.preconf.orjson`` with hooks for Decimal and
UUID, without which it does not read what it wrote; it lets NaN, naive datetimes, subclasses and bools pass.
All rows are measured in turn within each repeat; trust the ratios of one run.
"""

import enum
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import perf_counter
from typing import Any
from uuid import UUID

import attrs
from cattrs.preconf.orjson import make_converter

from benchmarks._report import Report
from genesis_trio.persistence.codec import decode, encode

REPEATS = 25
TIMES = 10
ORDERS = 250


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Status(enum.Enum):
    NEW = "new"
    PARTIAL = "partial"
    PENDING_CANCEL = "pending_cancel"


@attrs.define
class Order:
    id: UUID
    symbol: str
    side: Side
    status: Status
    price: Decimal
    quantity: Decimal
    filled: Decimal
    created: datetime


@attrs.define
class Position:
    symbol: str
    quantity: Decimal
    price: Decimal
    realized: Decimal
    updated: datetime


@attrs.define
class Desk:
    account: str
    sequence: int
    as_of: datetime
    balances: dict[str, Decimal]
    positions: dict[str, dict[str, Position]]
    orders: list[Order]
    tags: set[str]


@attrs.define
class Wallet:
    """Amounts in the smallest unit, which need more than 64 bits."""

    balances: dict[str, int]


def make_desk(orders: int = ORDERS) -> Desk:
    rng = random.Random(1)
    now = datetime(2026, 11, 24, 1, 2, 3, 456789, tzinfo=UTC)
    symbols = [
        base + quote for base in ("BTC", "ETH", "SOL", "XRP", "ADA") for quote in ("USDT", "EUR", "USD", "BTC", "GBP")
    ]

    def number(low: float, high: float, digits: int) -> Decimal:
        return Decimal(str(round(rng.uniform(low, high), digits)))

    return Desk(
        account="main",
        sequence=42,
        as_of=now,
        balances={currency: number(0, 1e6, 8) for currency in ("BTC", "ETH", "USDT", "EUR")},
        positions={
            venue: {
                symbol: Position(symbol, number(-10, 10, 6), number(1, 90_000, 2), number(-500, 500, 4), now)
                for symbol in symbols
            }
            for venue in ("one", "other")
        },
        orders=[
            Order(
                UUID(int=rng.getrandbits(128), version=4),
                rng.choice(symbols),
                rng.choice(list(Side)),
                rng.choice(list(Status)),
                number(1, 90_000, 2),
                number(0, 10, 6),
                number(0, 1, 6),
                now + timedelta(milliseconds=index),
            )
            for index in range(orders)
        ],
        tags={"live", "eu"},
    )


def rival() -> Any:
    converter = make_converter()
    converter.register_unstructure_hook(Decimal, str)
    converter.register_structure_hook(Decimal, lambda value, _: Decimal(value))
    converter.register_unstructure_hook(UUID, str)
    converter.register_structure_hook(UUID, lambda value, _: UUID(value))
    return converter


def report_of(title: str, baseline: str, rows: dict[str, Callable[[], object]]) -> Report:
    report = Report(title, unit="milliseconds", baseline=baseline)
    taken: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(REPEATS):
        for name, step in rows.items():
            began = perf_counter()
            for _ in range(TIMES):
                step()
            taken[name].append((perf_counter() - began) / TIMES * 1e3)
    for name, values in taken.items():
        report.add(name, values)
    return report


def main() -> None:
    plain, desk = rival(), make_desk()
    body = encode(desk, Desk)
    assert plain.dumps(desk).replace(b'["live","eu"]', b'["eu","live"]') == body
    report_of(
        f"Writing a state of {len(body)} bytes",
        "cattrs + orjson",
        {"cattrs + orjson": lambda: plain.dumps(desk), "encode": lambda: encode(desk, Desk)},
    ).print()
    report_of(
        f"Reading a state of {len(body)} bytes",
        "cattrs + orjson",
        {"cattrs + orjson": lambda: plain.loads(body, Desk), "decode": lambda: decode(body, Desk)},
    ).print()
    small = Wallet({str(index): index for index in range(1000)})
    large = Wallet({str(index): index + 2**70 for index in range(1000)})
    report_of(
        "Writing 1,000 ints, which orjson has room for or not",
        "64 bits",
        {"64 bits": lambda: encode(small, Wallet), "71 bits": lambda: encode(large, Wallet)},
    ).print()


if __name__ == "__main__":
    main()
