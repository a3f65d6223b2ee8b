"""A small trading desk, and engines that fail when they are told to, for the tests of saved state."""

import threading
from contextlib import asynccontextmanager

import attrs

from genesis_trio import schema
from genesis_trio.persistence.engines.memory import MemoryEngine
from genesis_trio.persistence.opening import open_store_over


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


class FaultyEngine(MemoryEngine):
    """Memory whose writes can be made to fail, or to wait in a thread until they are let go."""

    def __init__(self):
        super().__init__()
        self.failures = []  # errors for the next writes; None lets one through
        self.fails_after_writing = False
        self.writes = 0
        self.held = None  # a threading.Event that writes wait for
        self.entered = threading.Event()
        self.reserve = True
        self.room = True

    def commit_cut(self, scope, token, parts, batch):
        self.writes += 1
        self.entered.set()
        if self.held is not None:
            self.held.wait(10)
        failure = self.failures.pop(0) if self.failures else None
        if failure is None or self.fails_after_writing:
            position = super().commit_cut(scope, token, parts, batch)
        if failure is not None:
            raise failure
        return position

    def relieve(self):
        released, self.reserve = self.reserve, False
        return released

    def recover_room(self, size):
        self.reserve = self.reserve or self.room
        return self.room


class ThreadedEngine(FaultyEngine):
    """The same, called in threads as a real one is."""

    blocking = True


@asynccontextmanager
async def open_faulty(engine, **options):
    async with open_store_over(lambda: engine, "faulty:", **options) as store:
        yield store
