"""A message that some mailboxes refused, sent again: who has it gets it once."""

import copy
import pickle

import attrs
import pytest
import trio
import trio.testing

from genesis_trio import Component, MailboxFullError, Overflow, Topic, open_store, open_supervisor, schema
from messaging.parts import LETTERS, NUMBERS, Reader, context_of
from supervision.desk import EXACT

KEEP_ALL = pytest.mark.parametrize("overflow", [Overflow.BLOCK, Overflow.REJECT])


@schema("retry_of.fill", version=1)
@attrs.frozen
class Fill:
    number: int


@schema("retry_of.book", version=1)
@attrs.define
class Book:
    numbers: list[int] = attrs.Factory(list)

    def apply(self, fill: Fill) -> None:
        self.numbers.append(fill.number)


FILLS = Topic("retry_of.fills", Fill)


class Ledger(Component[Book]):
    """Records each fill, and takes a second for it."""

    def __init__(self, books, capacity=1024, overflow=Overflow.BLOCK):
        self.books, self.options = books, {"capacity": capacity, "overflow": overflow}

    async def run(self, ctx):
        self.books[ctx.name] = self.state.numbers
        async with ctx.subscribe(FILLS, **self.options) as fills:
            ctx.ready()
            async for fill in fills:
                await ctx.record(fill)
                await trio.sleep(1)


def busy(*topics, **options):
    async def work(ctx, item):
        await trio.sleep(10)

    return Reader(*topics, work=work, **options)


async def fill_up(ctx):
    """One in hand and one that waits: a mailbox with a capacity of 1 is full."""
    ctx.publish(NUMBERS, 0)
    await trio.testing.wait_all_tasks_blocked()
    ctx.publish(NUMBERS, 1)


@KEEP_ALL
async def test_publish_refused_the_others_have_it_and_the_error_says_who(overflow, autojump_clock):
    """BLOCK and REJECT alike: everybody else is served, and the error has the facts."""
    other, full = Reader(NUMBERS), busy(NUMBERS, capacity=1, overflow=overflow)
    async with open_supervisor("desk") as desk:
        await desk.start(full, name="full")
        await desk.start(other, name="other")
        ctx = await context_of(desk)
        await fill_up(ctx)
        with pytest.raises(MailboxFullError, match="retry_of=error") as caught:
            ctx.publish(NUMBERS, 2)
        await trio.testing.wait_all_tasks_blocked()
        assert other.got == [0, 1, 2]
        for error in (caught.value, copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):
            assert (error.topic, error.mailboxes) == ("numbers", ("desk/full",))
            assert error.origin.startswith("desk/sender@")
            assert error.origin.endswith("#3")
        await desk.stop()


@KEEP_ALL
async def test_publish_again_reaches_only_who_refused(overflow, autojump_clock):
    """Refused again, the error is of use again; the others never see it twice."""
    other, full = Reader(NUMBERS), busy(NUMBERS, capacity=1, overflow=overflow)
    async with open_supervisor("desk") as desk:
        await desk.start(full, name="full")
        await desk.start(other, name="other")
        ctx = await context_of(desk)
        await fill_up(ctx)
        error = None
        origins = []
        while True:
            try:
                ctx.publish(NUMBERS, 2, retry_of=error)
            except MailboxFullError as refusal:
                error = refusal
                origins.append(refusal.origin)
                await trio.sleep(4)
            else:
                break
        assert origins == [error.origin] * 3  # at 0, 4 and 8; at 12 there was room
        await trio.sleep(60)
        assert full.got == [0, 1, 2]
        assert other.got == [0, 1, 2]
        await desk.stop()


async def test_send_again_waits_for_those_alone_that_refused(autojump_clock):
    """Another mailbox that is full meanwhile has the message, and nobody waits for it."""
    first, second = busy(NUMBERS, capacity=1), busy(NUMBERS, capacity=2)
    async with open_supervisor("desk") as desk:
        await desk.start(first, name="first")
        await desk.start(second, name="second")
        ctx = await context_of(desk)
        await fill_up(ctx)
        with pytest.raises(MailboxFullError) as caught:
            ctx.publish(NUMBERS, 2)
        await ctx.send(NUMBERS, 2, retry_of=caught.value)
        assert trio.current_time() == 10
        await trio.sleep(60)
        assert first.got == second.got == [0, 1, 2]
        await desk.stop()


@KEEP_ALL
async def test_retry_is_recorded_once_by_everybody(overflow, autojump_clock):
    """To `record` it is the message that it was; one that is sent anew is another one."""
    books = {}
    async with open_store("memory:") as store, open_supervisor("desk", store=store) as desk:
        await desk.start(Ledger, books, name="roomy")
        await desk.start(Ledger, books, 1, overflow, name="full")
        ctx = await context_of(desk)
        for number in range(3):
            try:
                ctx.publish(FILLS, Fill(number))
            except MailboxFullError as error:
                refusal = error
            await trio.sleep(0.1)
        assert refusal.mailboxes == ("desk/full",)
        await trio.sleep(2)
        ctx.publish(FILLS, Fill(2), retry_of=refusal)
        await trio.sleep(10)
        assert books == {"roomy": [0, 1, 2], "full": [0, 1, 2]}
        ctx.publish(FILLS, Fill(2), retry_of=refusal)  # who had the repeat already records it no second time
        await trio.sleep(2)
        ctx.publish(FILLS, Fill(2))
        await trio.sleep(10)
        assert books == {"roomy": [0, 1, 2, 2], "full": [0, 1, 2, 2]}
        await desk.stop()


async def test_retry_by_the_next_incarnation_is_the_same_message(autojump_clock):
    """The error may outlive who got it, and so may what it says."""
    books, refusals = {}, []

    async def gateway(ctx):
        ctx.ready()
        if refusals:
            await trio.sleep(5)
            await ctx.send(FILLS, Fill(2), retry_of=refusals[0])
            await ctx.wait_stopping()
            return
        for number in range(3):
            try:
                ctx.publish(FILLS, Fill(number))
            except MailboxFullError as error:
                refusals.append(error)
                raise
            await trio.sleep(0.1)

    async with (
        open_store("memory:") as store,
        open_supervisor("desk", store=store, backoff=EXACT) as desk,
    ):
        await desk.start(Ledger, books, name="roomy")
        await desk.start(Ledger, books, 1, name="full")
        await desk.start(gateway, name="gateway")
        await trio.sleep(20)
        assert books == {"roomy": [0, 1, 2], "full": [0, 1, 2]}
        assert len(refusals) == 1
        await desk.stop()


async def test_retry_of_wrong_errors_is_refused(autojump_clock):
    """It is a MailboxFullError about a message to that very topic; a reader that is gone needs nothing more."""
    full = busy(NUMBERS, capacity=1)
    async with open_supervisor("desk") as desk:
        child = await desk.start(full, name="full", stop_grace=0.0)
        ctx = await context_of(desk)
        await fill_up(ctx)
        with pytest.raises(MailboxFullError) as caught:
            ctx.publish(NUMBERS, 2)
        with pytest.raises(TypeError, match="retry_of is the MailboxFullError"):
            ctx.publish(NUMBERS, 2, retry_of=ValueError("full"))
        with pytest.raises(ValueError, match="no message to topic 'letters'"):
            await ctx.send(LETTERS, "a", retry_of=caught.value)
        with pytest.raises(ValueError, match="no message to topic 'numbers'"):
            ctx.publish(NUMBERS, 2, retry_of=MailboxFullError("requests", topic="numbers"))
        with pytest.raises(TypeError, match="carries int, got 'b'"):
            ctx.publish(NUMBERS, "b", retry_of=caught.value)
        await child.stop()
        ctx.publish(NUMBERS, 2, retry_of=caught.value)
        await desk.stop()
