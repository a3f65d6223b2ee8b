"""Where the desk's orders meet the recorded market: by price, then by time, and nothing twice."""

import pytest

from demo.exchange.made_market import ask, bid, bought, coins, dollars, instant, sold
from genesis_trio.demo.exchange.book import Book
from genesis_trio.demo.exchange.ledger import Ledger, Status
from genesis_trio.demo.exchange.matching import Matching


class Market:
    """A book, a ledger, and the matching between them; fills read as (client id, quantity, price)."""

    def __init__(self, *things):
        self.book, self.ledger = Book(), Ledger()
        self.matching = Matching(self.book, self.ledger)
        self.happen(*things)

    def happen(self, *things):
        self.matching.happen(instant(0, *things))
        return self.new_fills()

    def place(self, client_id, quantity, price):
        order = self.ledger.place(client_id, quantity > 0, coins(abs(quantity)), dollars(price))
        self.matching.place(order)
        return self.new_fills()

    def new_fills(self):
        fills = [(fill.client_id, fill.quantity / 10**8, fill.price / 100) for fill in self.ledger.fills]
        new, self.seen = fills[getattr(self, "seen", 0) :], len(fills)
        return new


# ------------------------------------------------------------------ orders that cross


def test_matching_crossing_order_takes_level_by_level():
    """It trades at the price of each level it reaches, best first, and the rest waits at its own."""
    market = Market(ask("1", 101, 1), ask("2", 102, 1), ask("3", 104, 9))

    fills = market.place("x", 5, 103)

    assert fills == [("x", 1, 101), ("x", 1, 102)]
    order = market.ledger.orders["x"]
    assert (order.status, order.left) == (Status.OPEN, coins(3))


def test_matching_level_cannot_be_taken_twice():
    """The recording does not know that the desk took a level, so the venue remembers."""
    market = Market(ask("1", 101, 2))

    assert market.place("x", 1.5, 101) == [("x", 1.5, 101)]
    assert market.place("y", 1, 101) == [("y", 0.5, 101)]
    assert market.place("z", 1, 101) == []


def test_matching_level_that_went_and_came_back_is_another_one():
    """What was taken is forgotten with the level."""
    market = Market(ask("1", 101, 1))
    market.place("x", 1, 101)

    market.happen(ask("1", 101, 0))
    market.happen(ask("2", 101, 1))

    assert market.place("y", 1, 101) == [("y", 1, 101)]


def test_matching_level_that_grew_has_what_is_new():
    """What somebody else adds to a level that the desk has taken can be had."""
    market = Market(ask("1", 101, 1))
    market.place("x", 1, 101)

    market.happen(ask("2", 101, 0.25))

    assert market.place("y", 1, 101) == [("y", 0.25, 101)]


@pytest.mark.parametrize("price", [100.99, 99])
def test_matching_order_that_does_not_reach_waits(price):
    """A buyer below the best ask gets nothing at once."""
    market = Market(ask("1", 101), bid("2", 99))

    assert market.place("x", 1, price) == []
    assert market.ledger.orders["x"].status is Status.OPEN


# ------------------------------------------------------------------ recorded trades


def test_matching_trade_serves_the_queue_first():
    """At its own price, an order gets what is left after all who were there before it."""
    market = Market(bid("1", 99, 2))
    market.place("x", 1, 99)

    assert market.happen(sold(99, 1.5), bid("1", 99, 0.5)) == []
    assert market.happen(sold(99, 1), bid("1", 99, 0)) == [("x", 0.5, 99)]


def test_matching_queue_shrinks_when_others_leave():
    """Who is ahead and cancels is ahead no longer."""
    market = Market(bid("1", 99, 2), bid("2", 99, 1))
    market.place("x", 1, 99)
    market.happen(bid("1", 99, 0))

    assert market.happen(sold(99, 1.25), bid("2", 99, 0)) == [("x", 0.25, 99)]


def test_matching_queue_does_not_grow_with_later_orders():
    """Who comes later is not ahead."""
    market = Market(bid("1", 99, 1))
    market.place("x", 1, 99)
    market.happen(bid("2", 99, 5))

    assert market.happen(sold(99, 2), bid("1", 99, 0), bid("2", 99, 4)) == [("x", 1, 99)]


def test_matching_trade_below_an_order_fills_it_at_its_own_price():
    """Who sells for less would have met the better price first, whoever queues at the worse one."""
    market = Market(bid("1", 98, 5))
    market.place("x", 1, 99)

    assert market.happen(sold(98, 3)) == [("x", 1, 99)]


def test_matching_trade_above_a_bid_is_none_of_its_business():
    """A seller who got more does not sell to the desk for less."""
    market = Market(bid("1", 98, 5))
    market.place("x", 1, 98.5)

    assert market.happen(sold(99, 3)) == []


def test_matching_trade_of_a_buyer_fills_sellers_only():
    """Who comes and buys meets those who sell, not those who also want to buy."""
    market = Market(bid("1", 99, 1), ask("2", 101, 1))
    market.place("buy", 1, 100)
    market.place("sell", -1, 100.5)

    assert market.happen(bought(101, 2)) == [("sell", 1, 100.5)]


def test_matching_trade_is_shared_by_price_then_time():
    """The better price first, then the earlier order; together they get no more than was traded."""
    market = Market()
    market.place("late", 1, 99)
    market.place("best", 1, 99.5)
    market.place("later", 1, 99)

    assert market.happen(sold(99, 2.5)) == [("best", 1, 99.5), ("late", 1, 99), ("later", 0.5, 99)]


def test_matching_queue_in_front_of_two_orders_is_served_once():
    """What waits before both of the desk's orders is not subtracted for each of them."""
    market = Market(bid("1", 99, 2))
    market.place("x", 1, 99)
    market.happen(bid("2", 99, 1))
    market.place("y", 1, 99)

    assert market.happen(sold(99, 5), bid("1", 99, 0), bid("2", 99, 0)) == [("x", 1, 99), ("y", 1, 99)]


def test_matching_trade_through_the_first_of_two_orders_moves_the_second_up():
    """A part of the queue that was served is no longer ahead of anybody."""
    market = Market(bid("1", 99, 2), bid("0", 98, 9))
    market.place("x", 1, 99)
    market.happen(bid("2", 99, 1))
    market.place("y", 1, 99)
    assert market.happen(sold(99, 2.5)) == [("x", 0.5, 99)]

    assert market.happen(sold(99, 2)) == [("x", 0.5, 99), ("y", 0.5, 99)]


# ------------------------------------------------------------------ the book comes to an order


def test_matching_book_that_crosses_an_order_fills_it():
    """Somebody new who asks for less than the desk bids sells to the desk, at the desk's price."""
    market = Market(bid("1", 98), ask("2", 102))
    market.place("x", 1, 100)

    assert market.happen(ask("3", 99, 0.5)) == [("x", 0.5, 100)]
    assert market.happen() == []
    assert market.happen(ask("4", 99.5, 2)) == [("x", 0.5, 100)]


def test_matching_cancelled_order_is_never_filled():
    """What was taken back is not in the market."""
    market = Market(bid("1", 98), ask("2", 102))
    market.place("x", 1, 100)
    market.ledger.cancel(market.ledger.orders["x"])

    assert market.happen(ask("3", 99), sold(99, 1)) == []


def test_matching_orders_of_an_earlier_life_are_settled():
    """After a restart, an order that the market has crossed meanwhile is filled, and one in a queue starts at its end."""
    market = Market(bid("1", 99, 2), ask("2", 100, 1))
    records = [
        {"record": "order", "client_id": "x", "side": "buy", "quantity": "1", "price": "100"},
        {"record": "order", "client_id": "y", "side": "buy", "quantity": "1", "price": "99"},
    ]
    market.ledger.restore(records)

    assert market.happen() == [("x", 1, 100)]
    assert market.happen(sold(99, 2.5), bid("1", 99, 0)) == [("y", 0.5, 99)]
