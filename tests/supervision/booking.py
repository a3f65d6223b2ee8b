"""A ledger that books numbers, for the tests of keys and of going back: its classes, and a look at what is in the store."""

import attrs
import trio

from genesis_trio import Component, Topic, schema
from genesis_trio.persistence.recovery import Tail

LEDGER = "desk/ledger"
NUMBERS = Topic("keys.numbers", int)
PRICES = Topic("keys.prices", int, key=lambda number: number % 2, latest=True)


@schema("keys.booked")
@attrs.frozen
class Booked:
    number: int
    part: int = 0


@schema("keys.book")
@attrs.define
class Book:
    """What was recorded, in order, and how many messages were handled; long ones keep the sum alone."""

    booked: list[int] = attrs.Factory(list)
    count: int = 0
    handled: int = 0

    def apply(self, event: Booked) -> None:
        self.count += 1
        if event.part == 0:
            self.booked.append(event.number)


class Ledger(Component[Book]):
    """Books each number, by default keys; waits for the *gate* before it reads, and after it booked what *holds* names.

    With *crashes* its first run waits for no gate, and crashes after it booked what they name.
    """

    def __init__(self, gate=None, holds=(), crashes=()):
        self.gate, self.holds, self.crashes = gate, holds, crashes

    async def run(self, ctx):
        ctx.ready()
        async with ctx.subscribe(NUMBERS) as numbers:
            if self.gate is not None and not (self.crashes and ctx.generation == 1):
                await self.gate.wait()
            async for number in numbers:
                await ctx.record(Booked(number))
                if number in self.holds:
                    await trio.sleep_forever()
                if number in self.crashes and ctx.generation == 1:
                    raise OSError("boom")
                self.state.handled += 1


def keys(store, component=LEDGER):
    return [row.key for row in store._ledger.rows("key", component)]


def keys_in_records(store, component=LEDGER):
    """The keys that are written with the records, given ones and default ones."""
    return [entry.key for entry in Tail.whole(store._ledger, component).next_page()]


def records(store, component=LEDGER):
    return [sequence for sequence, _ in store._ledger.raw_records(component, after=0, start=0)]


async def save_and_shorten(desk, store, times=3):
    """As many saves as push out what was kept before."""
    for _ in range(times):
        await desk.create_checkpoint()
    await store.prune(keep=1)
    await store.shorten_journal()
