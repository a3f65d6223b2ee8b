"""The replayed book: levels from orders, best first, and never crossed."""

from hypothesis import given
from hypothesis import strategies as st

from demo.exchange.made_market import ask, bid, coins, dollars
from genesis_trio.demo.exchange.book import Book


def levels(side):
    return [(price / 100, quantity / 10**8) for price, quantity in side.top(50)]


def test_book_orders_of_one_price_are_one_level():
    """A level holds what all orders at its price have left, and the best level comes first."""
    book = Book()

    book.apply([bid("1", 99, 1), bid("2", 99, 0.5), bid("3", 98, 2), ask("4", 101, 1), ask("5", 103, 1)])

    assert levels(book.bids) == [(99, 1.5), (98, 2)]
    assert levels(book.asks) == [(101, 1), (103, 1)]


def test_book_order_changed_moves_its_quantity():
    """A change of price or quantity takes the old away and puts the new."""
    book = Book()
    book.apply([bid("1", 99, 1), bid("2", 99, 1)])

    book.apply([bid("1", 98, 3)])

    assert levels(book.bids) == [(99, 1), (98, 3)]


def test_book_order_gone_takes_its_level_with_it():
    """The last order of a level leaves no level behind, and the end of an unknown order is nothing."""
    book = Book()
    book.apply([bid("1", 99), ask("2", 101)])

    book.apply([bid("1", 99, 0), ask("nobody", 101, 0)])

    assert levels(book.bids) == []
    assert book.bids.best() is None
    assert levels(book.asks) == [(101, 1)]


def test_book_taker_that_crosses_within_an_instant_leaves_no_trace():
    """An order that executes crosses the book for less than the instant, and what it took is gone after it."""
    book = Book()
    book.apply([bid("b", 99), ask("1", 101), ask("2", 102)])

    book.apply([bid("taker", 110, 1.5), ask("1", 101, 0), bid("taker", 101, 0.5), bid("taker", 102, 0)])

    assert levels(book.bids) == [(99, 1)]
    assert levels(book.asks) == [(102, 1)]


def test_book_order_whose_end_is_missing_gives_way_to_a_younger_one():
    """Of two orders that cross after an instant, the older one is dropped: the market would have met it."""
    book = Book()
    book.apply([bid("old", 99), ask("1", 101), ask("2", 102)])

    book.apply([bid("young", 101.5)])

    assert levels(book.bids) == [(101.5, 1), (99, 1)]
    assert levels(book.asks) == [(102, 1)]
    book.apply([ask("1", 101, 0)])  # its end arrives after all
    assert levels(book.asks) == [(102, 1)]


def test_book_changed_order_keeps_its_age():
    """A partial fill does not make an order young."""
    book = Book()
    book.apply([ask("old", 101)])
    book.apply([bid("middle", 100)])
    book.apply([ask("old", 101, 0.5)])

    book.apply([bid("young", 101)])

    assert levels(book.asks) == []
    assert levels(book.bids) == [(101, 1), (100, 1)]


def test_side_better_or_equal_ends_at_the_price():
    """What a taker can have is every level up to its own price."""
    book = Book()
    book.apply([ask("1", 101), ask("2", 102), ask("3", 103), bid("4", 99), bid("5", 98)])

    assert [price for price, _ in book.asks.better_or_equal(dollars(102))] == [dollars(101), dollars(102)]
    assert [price for price, _ in book.bids.better_or_equal(dollars(98.5))] == [dollars(99)]
    assert book.asks.at(dollars(102)) == coins(1)
    assert book.asks.at(dollars(102.5)) == 0


orders = st.builds(
    lambda number, is_bid, price, quantity: (bid if is_bid else ask)(f"{is_bid}{number}", price, quantity),
    st.integers(0, 8),
    st.booleans(),
    st.integers(1, 9),
    st.integers(0, 3),
)


@given(st.lists(st.lists(orders, max_size=4), max_size=20))
def test_book_whatever_happens_is_sorted_uncrossed_and_adds_up(instants):
    """After each instant, levels are sorted, above zero and not crossed, and what is added and removed cancels out."""
    book = Book()
    for changes in instants:
        book.apply(changes)

        bids, asks = levels(book.bids), levels(book.asks)
        assert [price for price, _ in bids] == sorted({price for price, _ in bids}, reverse=True)
        assert [price for price, _ in asks] == sorted({price for price, _ in asks})
        assert all(quantity > 0 for _, quantity in bids + asks)
        assert not bids or not asks or bids[0][0] < asks[0][0]
    book.apply([bid(f"True{number}", 1, 0) for number in range(9)])
    book.apply([ask(f"False{number}", 1, 0) for number in range(9)])
    assert levels(book.bids) == levels(book.asks) == []
