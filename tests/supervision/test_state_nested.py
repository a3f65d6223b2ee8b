"""A cut is one of the whole tree: what is nested in a child that does not run now belongs to it, in its last state."""

import datetime

import attrs
import pytest
import trio

from genesis_trio import (
    Backoff,
    Component,
    Lifecycle,
    Restart,
    Topic,
    open_store,
    open_supervisor,
    schema,
)
from supervision.desk import QUIET

LATE = Backoff(base_delay=5.0, multiplier=1.0, jitter="none")
NUMBERS = Topic("nested.numbers", int)
OUTER, INNER = "desk/outer", "desk/host/venue/inner"


@schema("nested.book")
@attrs.define
class Book:
    runs: int = 0
    numbers: list[int] = attrs.Factory(list)


class Counting(Component[Book]):
    async def run(self, ctx):
        self.state.runs += 1
        async with ctx.subscribe(NUMBERS) as numbers:
            ctx.ready()
            async for number in numbers:
                self.state.numbers.append(number)
                await trio.sleep(1)


async def host(ctx):
    async with open_supervisor("venue") as venue:
        await venue.start(Counting, name="inner")
        ctx.ready()


async def one_process(url, **settings):
    """A process of some seconds; its last checkpoint, and in how many processes each of the two has run."""
    async with open_store(url) as store, open_supervisor("desk", store=store, **settings) as desk:
        await desk.start(Counting, name="outer")
        await desk.start(host, name="host")
        await trio.sleep(5)
        await desk.stop()
        runs = [(await store.restore_latest(path, Book)).state.runs for path in (OUTER, INNER)]
        return (await store.list_checkpoints())[0], runs


@pytest.mark.parametrize("by", ["id", "datetime"])
async def test_restore_of_a_tree_that_was_stopped_brings_what_was_nested_back_with_the_rest(by, url, autojump_clock):
    """The last checkpoint of a stop is taken when hosts are gone: it must not leave their state where a later process brought it."""
    first, runs = await one_process(url)
    assert (set(first.components), runs) == ({OUTER, INNER}, [1, 1])
    await trio.sleep(60)
    assert (await one_process(url))[1] == [2, 2]
    await trio.sleep(60)

    to = first.id if by == "id" else first.created_at + datetime.timedelta(seconds=1)
    assert (await one_process(url, restore=to))[1] == [2, 2]


async def test_cut_while_a_host_waits_for_its_restart_has_what_is_nested_with_its_messages(url, autojump_clock):
    """State and waiting messages are those with which it stopped, and they come back once each."""
    fails = trio.Event()

    async def failing_host(ctx):
        async with open_supervisor("venue") as venue:
            await venue.start(Counting, name="inner")
            ctx.ready()
            if ctx.generation == 1:
                await fails.wait()
                raise OSError("down")

    async def sender(ctx):
        ctx.ready()
        for number in range(4):
            ctx.publish(NUMBERS, number)

    settings = {"checkpoint": QUIET, "backoff": LATE, "max_restarts": 1, "within": 60.0}
    async with open_store(url) as store, open_supervisor("desk", store=store, **settings) as desk:
        child = await desk.start(failing_host, name="host")
        await desk.start(sender, name="sender", restart=Restart.TRANSIENT)
        await trio.sleep(0.5)
        fails.set()
        await child.wait(Lifecycle.BACKOFF)
        info = await desk.create_checkpoint(label="meanwhile")
        assert info.components == (INNER,)
        assert (await store.restore(info.id, INNER, Book)).state.numbers == [0]
        await child.wait(Lifecycle.READY)
        await trio.sleep(10)
        await desk.stop()
        assert (await store.restore_latest(INNER, Book)).state == Book(2, [0, 1, 2, 3])

    async with open_store(url) as store, open_supervisor("desk", store=store, restore="meanwhile") as desk:
        await desk.start(failing_host, name="host")
        await trio.sleep(10)
        await desk.stop()
        assert (await store.restore_latest(INNER, Book)).state == Book(2, [0, 1, 2, 3])


async def test_cut_after_a_host_has_no_temporary_children_of_it(url, autojump_clock):
    """They do not come back with it, and would be in every cut for ever."""

    async def orders(ctx):
        async with open_supervisor("venue") as venue:
            await venue.start(Counting, name="order", restart=Restart.TEMPORARY)
            ctx.ready()

    async with open_store(url) as store, open_supervisor("desk", store=store) as desk:
        await desk.start(orders, name="host")
        await desk.children["host"].stop()
        assert (await store.list_checkpoints())[0].components == ("desk/host/venue/order",)
        assert (await desk.create_checkpoint()).components == ()
        await desk.stop()


async def test_message_that_kills_its_nested_reader_and_so_its_host_dies_after_three_crashes(url, autojump_clock):
    """Each run of the host has another child of the name, and the same message."""
    given = []

    class Fragile(Component[Book]):
        async def run(self, ctx):
            async with ctx.subscribe(NUMBERS) as numbers:
                ctx.ready()
                async for number in numbers:
                    given.append(number)
                    if number == 1:
                        raise OSError("indigestible")
                    self.state.numbers.append(number)

    async def fragile_host(ctx):
        async with open_supervisor("venue", max_restarts=0) as venue:
            await venue.start(Fragile, name="inner", escalate=True)
            ctx.ready()

    async def sender(ctx):
        ctx.ready()
        for number in (1, 2):
            ctx.publish(NUMBERS, number)

    async with open_store(url) as store, open_supervisor("desk", store=store) as desk:
        await desk.start(fragile_host, name="host")
        await desk.start(sender, name="sender", restart=Restart.TRANSIENT)
        await trio.sleep(60)
        assert given == [1, 1, 1, 2]
        await desk.stop()
        assert (await store.restore_latest(INNER, Book)).state.numbers == [2]
