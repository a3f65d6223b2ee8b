"""A small trading desk, and an engine whose writes wait when they are told to, for the tests of saved state."""

import threading

import attrs
import trio

from genesis_trio import schema
from genesis_trio.testing import FaultyEngine


@schema("test.fill")
@attrs.frozen
class Fill:
    """So much was bought."""

    quantity: int


@schema("test.fee")
@attrs.frozen
class Fee:
    """So much was charged."""

    amount: int


@schema("test.ledger")
@attrs.define
class Ledger:
    """A sum, and the sequence of what went into it."""

    total: int = 0
    entries: list[int] = attrs.Factory(list)

    def apply(self, event: Fill | Fee) -> None:
        change = event.quantity if isinstance(event, Fill) else -event.amount
        self.total += change
        self.entries.append(change)


@schema("test.note")
@attrs.define
class Note:
    """A state without a journal."""

    text: str = ""


def booked(ledger, event):
    """What a supervisor hands to `record`: apply *event* to *ledger*."""
    return lambda sequence: ledger.apply(event)


async def book(store, ledger, *quantities, component="desk/ledger", key=None):
    """Record one fill for each of *quantities*; their sequences."""
    sequences = []
    for quantity in quantities:
        fill = Fill(quantity)
        sequences.append(await store.record(component, fill, key=key, apply=booked(ledger, fill)))
    return sequences


async def saved_twice(store):
    """Records 1 to 6, saved after 2 and 4: the ledger as it is now."""
    ledger = Ledger()
    for pair in ((1, 2), (3, 4)):
        await book(store, ledger, *pair)
        await store.create_checkpoint({"desk/ledger": ledger})
    await book(store, ledger, 5, 6)
    return ledger


def fell_back(events):
    """Those of *events* that tell of an older state that came back."""
    return [event for event in events if event.name == "recovery_fell_back"]


class HeldEngine(FaultyEngine):
    """Its writes can be made to wait in their thread, as on a disk that is slow, until they are let go."""

    def __init__(self):
        super().__init__()
        self._may_go_on, self._entered = threading.Event(), threading.Event()
        self._may_go_on.set()

    def hold(self):
        self._may_go_on.clear()
        self._entered.clear()

    def let_go(self):
        self._may_go_on.set()

    async def wait_entered(self):
        """Wait until a write is under way."""
        await trio.to_thread.run_sync(self._entered.wait)

    def _write(self, write):
        self._entered.set()
        self._may_go_on.wait(10)
        return super()._write(write)
