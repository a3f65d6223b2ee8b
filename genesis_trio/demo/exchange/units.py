"""Money on the wire is text, and inside of the venue whole numbers of the smallest unit: exact, and quick."""

from decimal import Decimal, InvalidOperation

from genesis_trio.demo.capture import COINS, DOLLARS

__all__ = ["cash_text", "parse_price", "parse_quantity", "price_text", "quantity_text"]

MOST = 10**9  # dollars, or coins: what is more than that is a mistake


def parse_price(text: object) -> int:
    """A price in cents; raises ValueError for what is none."""
    return _parse(text, DOLLARS, "a price")


def parse_quantity(text: object) -> int:
    """A quantity in the smallest part of a coin; raises ValueError for what is none."""
    return _parse(text, COINS, "a quantity")


def price_text(price: int) -> str:
    return _text(price, DOLLARS)


def quantity_text(quantity: int) -> str:
    return _text(quantity, COINS)


def cash_text(cash: int) -> str:
    """Of a sum of prices times quantities."""
    return _text(cash, DOLLARS * COINS)


def _parse(text: object, scale: int, what: str) -> int:
    if not isinstance(text, str):
        raise ValueError(f"{what} is a decimal number as text, got {text!r:.80}")
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{what} is a decimal number as text, got {text!r:.80}") from None
    if not number.is_finite() or not 0 < number <= MOST:
        raise ValueError(f"{what} is above 0 and at most {MOST}, got {text!r:.80}")
    scaled = number * scale
    if scaled != int(scaled):
        raise ValueError(f"{what} is a multiple of {1 / Decimal(scale):f}, got {text!r:.80}")
    return int(scaled)


def _text(number: int, scale: int) -> str:
    whole, rest = divmod(abs(number), scale)
    sign = "-" if number < 0 else ""
    if not rest:
        return f"{sign}{whole}"
    digits = len(str(scale)) - 1
    return f"{sign}{whole}.{rest:0{digits}d}".rstrip("0")
