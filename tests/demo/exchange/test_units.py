"""Money as text and as whole numbers: exact both ways, and nothing that is none."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis_trio.demo.exchange.units import cash_text, parse_price, parse_quantity, price_text, quantity_text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (1, "0.00000001"), (10**8, "1"), (-(10**7), "-0.1"), (123456789, "1.23456789")]
)
def test_units_quantity_is_short_text(number, text):
    """No exponent, and no digits without a meaning."""
    assert quantity_text(number) == text


@given(st.integers(1, 10**17))
def test_units_text_and_number_are_the_same(number):
    """What is written is read as the same number, and is what Decimal makes of it."""
    assert parse_quantity(quantity_text(number)) == number
    assert parse_price(price_text(number % 10**11 + 1)) == number % 10**11 + 1
    assert Decimal(cash_text(-number)) == Decimal(-number).scaleb(-10)


@pytest.mark.parametrize(
    "text",
    [None, 1, 1.5, True, [], {}, "", "one", "NaN", "Infinity", "-1", "0", "1e999999", "1000000000.01", "0x10", "1\x00"],
)
def test_units_what_is_no_price_is_refused(text):
    """A number above zero, as text, of a size that happens."""
    with pytest.raises(ValueError, match="^a price is "):
        parse_price(text)


def test_units_parts_that_are_too_small_are_refused():
    """Nobody rounds: the step is said instead."""
    with pytest.raises(ValueError, match=r"a price is a multiple of 0.01, got '1.001'"):
        parse_price("1.001")
    with pytest.raises(ValueError, match=r"a quantity is a multiple of 0.00000001, got '1e-9'"):
        parse_quantity("1e-9")
