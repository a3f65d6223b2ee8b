"""The feed's messages: one sequence without gaps, and a snapshot that fits it."""

import json

import pytest

from demo.exchange.made_market import ask, bid, bought
from genesis_trio.demo.exchange.book import Book
from genesis_trio.demo.exchange.market_data import DEPTH, MarketData


def publish(data, *trades, now=0.0):
    return [json.loads(message) for message in data.publish(trades, now)]


def test_market_data_says_what_changed():
    """An update has the levels that are new or other, and zero for those that are gone."""
    book = Book()
    data = MarketData(book, sequence=0, now=0.0)
    book.apply([bid("1", 99, 1), bid("2", 98, 1), ask("3", 101, 1)])
    publish(data)

    book.apply([bid("1", 99, 0), bid("2", 98, 0.5), bid("4", 98.5, 2)])

    assert publish(data) == [
        {"type": "update", "sequence": 2, "bids": [["99", "0"], ["98.5", "2"], ["98", "0.5"]], "asks": []}
    ]


def test_market_data_of_a_quiet_market_says_nothing():
    """No change is no message, and uses no number."""
    book = Book()
    data = MarketData(book, sequence=7, now=0.0)

    assert publish(data) == []
    assert json.loads(data.heartbeat()) == {"type": "heartbeat", "sequence": 7}


def test_market_data_trades_and_updates_share_one_sequence():
    """Each message has the number after the one before it."""
    book = Book()
    data = MarketData(book, sequence=0, now=0.0)
    book.apply([ask("1", 101, 1)])

    messages = publish(data, bought(101, 0.5), bought(101, 0.25))

    assert [(message["type"], message["sequence"]) for message in messages] == [
        ("trade", 1),
        ("trade", 2),
        ("update", 3),
    ]
    assert messages[0] == {
        "type": "trade",
        "sequence": 1,
        "trade_id": "101x0.5",
        "price": "101",
        "quantity": "0.5",
        "side": "buy",
    }


def test_market_data_snapshot_is_what_was_published_not_what_came_after():
    """Whoever starts with the snapshot and goes on with the next update has the book."""
    book = Book()
    data = MarketData(book, sequence=0, now=0.0)
    book.apply([bid("1", 99, 1)])
    publish(data)
    book.apply([bid("2", 98, 1)])

    assert json.loads(data.snapshot()) == {"type": "snapshot", "sequence": 1, "bids": [["99", "1"]], "asks": []}


def test_market_data_level_that_comes_into_sight_is_told():
    """What moves up to the visible levels is new to the listener, and what is pushed out is gone."""
    book = Book()
    data = MarketData(book, sequence=0, now=0.0)
    book.apply([bid(str(price), price) for price in range(1, DEPTH + 2)])
    publish(data)

    book.apply([bid("best", 100)])
    assert publish(data)[0]["bids"] == [["2", "0"], ["100", "1"]]
    book.apply([bid("best", 100, 0)])
    assert publish(data)[0]["bids"] == [["100", "0"], ["2", "1"]]


def test_market_data_age_counts_from_the_next_message():
    """The newest is of age zero for as long as it is the newest; an older one ages since it was followed."""
    book = Book()
    data = MarketData(book, sequence=0, now=0.0)
    for second in (1.0, 2.0, 3.0):
        publish(data, bought(1, 1), now=second)

    assert [data.age(sequence, 10.0) for sequence in (3, 2, 1, 0)] == [0.0, 7.0, 8.0, 9.0]


def test_market_data_age_of_an_earlier_life_counts_from_the_beginning():
    """A number from before this process was followed by something that nobody has recorded: at the latest now."""
    data = MarketData(Book(), sequence=5000, now=2.0)
    publish(data, bought(1, 1), now=3.0)

    assert data.age(17, 10.0) == 8.0
    assert data.age(5000, 10.0) == 7.0


def test_market_data_age_of_what_was_never_published_is_refused():
    """A desk cannot be further than the venue."""
    with pytest.raises(ValueError, match="the newest message is 0; 1 was never published"):
        MarketData(Book(), sequence=0, now=0.0).age(1, 0.0)
