"""Records of a component with several tasks: a default key belongs to the task that has the message in hand."""

import pytest
import trio
import trio.testing

from genesis_trio import Component, open_store
from messaging.parts import context_of
from supervision.booking import NUMBERS, Book, Booked, keys_in_records
from supervision.desk import EXACT, open_desk, state_of


@pytest.fixture
async def store(autojump_clock):
    async with open_store("memory:") as store:
        yield store


@pytest.fixture
async def desk(store):
    async with open_desk(store, backoff=EXACT) as desk:
        yield desk


async def test_record_of_another_task_never_takes_the_key_of_a_message(autojump_clock, desk):
    """A background task that records while a message is in hand is told to give a key; the message's own record counts."""
    seen = []

    class Ledger(Component[Book]):
        async def run(self, ctx):
            async def background():
                if ctx.generation == 1:
                    await trio.sleep(1)
                    try:
                        await ctx.record(Booked(-1))
                    except RuntimeError as error:
                        seen.append(str(error))
                    await ctx.record(Booked(-2), key="tick")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(background)
                async with ctx.subscribe(NUMBERS) as numbers:
                    ctx.ready()
                    async for number in numbers:
                        await trio.sleep(2)
                        if ctx.generation == 1:
                            raise OSError("boom")  # before it recorded: the message comes again
                        await ctx.record(Booked(number))

    feed = await context_of(desk)
    ledger = await desk.start(Ledger, name="ledger")
    feed.publish(NUMBERS, 7)
    await trio.sleep(20)

    assert 7 in state_of(ledger).booked  # its key was not taken by the -1
    assert state_of(ledger).booked == [-2, 7]
    assert len(seen) == 1
    assert "'desk/ledger' called record() without key= in a task that has no message in hand" in seen[0]


async def test_record_of_a_task_without_a_message_needs_no_key_while_none_is_in_hand(autojump_clock, desk, store):
    """Where no message is in hand there is nothing to mistake it for."""

    class Ledger(Component[Book]):
        async def run(self, ctx):
            async def background():
                await ctx.record(Booked(1))

            async with ctx.subscribe(NUMBERS) as numbers, trio.open_nursery() as nursery:
                ctx.ready()
                nursery.start_soon(background)
                async for _ in numbers:
                    raise AssertionError

    ledger = await desk.start(Ledger, name="ledger")
    await trio.testing.wait_all_tasks_blocked()

    assert state_of(ledger).booked == [1]
    assert keys_in_records(store) == [None]


@pytest.mark.parametrize("depth", [1, 2])
async def test_record_of_a_task_that_works_on_the_message_has_its_key(autojump_clock, desk, depth):
    """A nursery that was opened for the message, and what is nested in it, belong to the message."""

    class Ledger(Component[Book]):
        async def run(self, ctx):
            async def work(number, depth):
                if depth == 1:
                    await ctx.record(Booked(number))
                    return
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(work, number, depth - 1)

            async with trio.open_nursery(), ctx.subscribe(NUMBERS) as numbers:
                ctx.ready()
                async for number in numbers:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(work, number, depth)
                    if ctx.generation == 1:
                        raise OSError("boom")

    feed = await context_of(desk)
    ledger = await desk.start(Ledger, name="ledger")
    feed.publish(NUMBERS, 7)
    await trio.sleep(20)

    assert state_of(ledger).booked == [7]  # it came again, and counted once


async def test_record_of_a_handler_that_outlives_its_message_is_told_to_give_a_key(autojump_clock, desk):
    """A task in a nursery that is older than the message may work on any: its record is refused, and nothing is written."""
    errors = []

    class Ledger(Component[Book]):
        async def run(self, ctx):
            async def handle(number):
                await trio.sleep(1)
                try:
                    await ctx.record(Booked(number))
                except RuntimeError as error:
                    errors.append(error)

            async with trio.open_nursery() as nursery, ctx.subscribe(NUMBERS) as numbers:
                ctx.ready()
                async for number in numbers:
                    nursery.start_soon(handle, number)
                    await trio.sleep(2)

    feed = await context_of(desk)
    ledger = await desk.start(Ledger, name="ledger")
    feed.publish(NUMBERS, 7)
    await trio.sleep(5)

    assert len(errors) == 1
    assert state_of(ledger).booked == []
