"""The ledger and its journal: what is known, and what outlives a kill."""

import json

import pytest

from demo.exchange.made_market import coins, dollars
from genesis_trio.demo.exchange.journal import Journal, JournalError
from genesis_trio.demo.exchange.ledger import ConflictError, Ledger, Status


def place(ledger, client_id="x", quantity=1.0, price=100.0):
    return ledger.place(client_id, quantity > 0, coins(abs(quantity)), dollars(price))


def test_ledger_fills_make_position_and_cash():
    """Bought coins are added and paid for, sold ones the other way round; an order that is done is not open."""
    ledger = Ledger()
    buy, sell = place(ledger, "buy", 1, 100), place(ledger, "sell", -2, 101)

    ledger.fill(buy, coins(0.4), dollars(99.5))
    ledger.fill(buy, coins(0.6), dollars(100))
    ledger.fill(sell, coins(0.00000001), dollars(101))

    content = ledger.as_dict()
    assert content["position"] == "0.99999999"
    assert content["cash"] == "-99.79999899"
    assert [(order["client_id"], order["filled"], order["status"]) for order in content["orders"]] == [
        ("buy", "1", "filled"),
        ("sell", "0.00000001", "open"),
    ]
    assert list(ledger.open) == ["sell"]
    assert content["fills"][1] == {
        "sequence": 2,
        "trade_id": "fill-2",
        "client_id": "buy",
        "side": "buy",
        "quantity": "0.6",
        "price": "100",
    }


def test_ledger_same_order_again_is_not_another():
    """An id stands for one order, however often it comes."""
    ledger = Ledger()
    place(ledger)

    assert place(ledger) is None
    assert (len(ledger.orders), ledger.repeated, ledger.conflicts) == (1, 1, [])


@pytest.mark.parametrize(("quantity", "price"), [(2, 100), (-1, 100), (1, 100.01)])
def test_ledger_other_order_under_a_taken_id_is_a_conflict(quantity, price):
    """Whatever differs, nothing is done, and it is remembered."""
    ledger = Ledger()
    place(ledger)

    with pytest.raises(ConflictError, match="the id 'x' belongs to another order; nothing was done"):
        place(ledger, "x", quantity, price)
    assert (len(ledger.orders), ledger.conflicts) == (1, ["x"])


def test_ledger_cancelled_or_filled_order_stays_as_it_is():
    """A second cancel changes nothing, nor does one that comes too late."""
    told = []
    ledger = Ledger(changed=lambda what: told.append(what.to_wire()["status"]))
    order = place(ledger)
    ledger.cancel(order)

    ledger.cancel(order)

    assert order.status is Status.CANCELLED
    assert told == ["open", "cancelled"]


def test_ledger_closed_has_nothing_open():
    """The close takes back every order, once."""
    records = []
    ledger = Ledger(records.append)
    place(ledger, "x"), place(ledger, "y")

    ledger.close()
    ledger.close()

    assert ledger.is_closed
    assert [order.status for order in ledger.orders.values()] == [Status.CANCELLED] * 2
    assert [record["record"] for record in records] == ["order", "order", "cancel", "cancel", "close"]


def test_ledger_writes_before_it_changes_and_tells_after():
    """Whoever hears of something finds it in the journal, also if the venue dies with the next step."""
    order_of_things = []
    ledger = Ledger(
        lambda record: order_of_things.append(("journal", record["record"], len(ledger.orders))),
        lambda what: order_of_things.append(("told", type(what).__name__, len(ledger.orders))),
    )

    order = place(ledger)
    ledger.fill(order, coins(1), dollars(100))

    assert order_of_things == [
        ("journal", "order", 0),
        ("told", "DeskOrder", 1),
        ("journal", "fill", 1),
        ("told", "DeskFill", 1),
        ("told", "DeskOrder", 1),
    ]


def test_ledger_restored_is_what_it_was(tmp_path):
    """Everything that was written makes the same ledger again."""
    journal = Journal(tmp_path / "j")
    ledger = Ledger(journal.write)
    buy, sell = place(ledger, "buy", 1, 100), place(ledger, "sell", -2, 101)
    place(ledger, "buy", 1, 100)
    with pytest.raises(ConflictError):
        place(ledger, "buy", 3, 100)
    ledger.fill(buy, coins(1), dollars(99.5))
    ledger.fill(sell, coins(0.5), dollars(101.25))
    ledger.cancel(sell)
    ledger.close()
    journal.close()

    again, told = Ledger(changed=lambda what: told.append(what)), []
    journal = Journal(tmp_path / "j")
    again.restore(journal.records)
    journal.close()

    assert again.as_dict() == ledger.as_dict()
    assert (again.is_closed, again.open, told) == (True, {}, [])


def test_ledger_unknown_record_is_refused():
    """A journal of something else is no ledger."""
    with pytest.raises(ValueError, match="a record 'dividend', which nobody writes"):
        Ledger().restore([{"record": "dividend"}])


# ------------------------------------------------------------------ the file


def test_journal_line_that_was_cut_off_is_dropped(tmp_path):
    """A kill in the middle of a line leaves what came before, and the next line begins afresh."""
    path = tmp_path / "j"
    path.write_bytes(b'{"record": "close"}\n{"record": "ord')

    journal = Journal(path)
    journal.write({"record": "repeated"})
    journal.close()

    assert journal.records == [{"record": "close"}]
    assert path.read_bytes() == b'{"record": "close"}\n{"record": "repeated"}\n'


@pytest.mark.parametrize("content", [b"\n", b"{}\n", b"[1]\n", b"\xff\xfe\n", b'{"record": "close"}\nnonsense\n'])
def test_journal_of_something_else_is_refused_and_left_alone(tmp_path, content):
    """A file that is no journal is named with its line, and keeps its content."""
    path = tmp_path / "j"
    path.write_bytes(content)

    with pytest.raises(JournalError, match=rf"line \d of the journal {path} is no record"):
        Journal(path)
    assert path.read_bytes() == content


def test_journal_that_cannot_be_opened_says_why(tmp_path):
    """One line with the path and the system's reason."""
    with pytest.raises(JournalError, match="cannot be used: No such file or directory"):
        Journal(tmp_path / "nowhere" / "j")


def test_journal_is_json_lines(tmp_path):
    """Other tools can read it."""
    journal = Journal(tmp_path / "j")
    place(Ledger(journal.write))
    journal.close()

    (line,) = (tmp_path / "j").read_text().splitlines()
    assert json.loads(line) == {
        "record": "order",
        "client_id": "x",
        "side": "buy",
        "quantity": "1",
        "price": "100",
    }
