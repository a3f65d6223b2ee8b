"""Mailboxes of nested children with saved state, while their host is down: in each cut, and recorded once."""

import attrs
import pytest
import trio
import trio.testing

from genesis_trio import (
    ChildSpec,
    Component,
    Lifecycle,
    Topic,
    open_store,
    open_supervisor,
    schema,
)
from messaging.nested import SLOW, Host, go_down
from supervision.desk import QUIET


@schema("messaging.nested.note")
@attrs.frozen
class Note:
    number: int


@schema("messaging.nested.book")
@attrs.define
class Book:
    numbers: list[int] = attrs.Factory(list)

    def apply(self, note: Note) -> None:
        self.numbers.append(note.number)


NOTES = Topic("messaging.nested.notes", Note)
READER = "desk/host/inner/n0"


class Ledger(Component[Book]):
    """Records each note."""

    async def run(self, ctx):
        async with ctx.subscribe(NOTES, capacity=4) as notes:
            ctx.ready()
            async for note in notes:
                await ctx.record(note)
                await trio.sleep(1)


@schema("messaging.nested.sent")
@attrs.define
class Sent:
    number: int = 0


class Feed(Component[Sent]):
    """Sends one note a second, and knows how far it has come."""

    async def run(self, ctx):
        ctx.ready()
        while not ctx.stopping and self.state.number < 12:
            await ctx.send(NOTES, Note(self.state.number))
            self.state.number += 1
            await ctx.safe_point()
            with trio.move_on_after(1):
                await ctx.wait_stopping()
        await ctx.wait_stopping()


@pytest.fixture(params=["memory", "sqlite"])
def url(request, tmp_path):
    return "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 'desk.db'}"


async def numbers_in(store):
    return (await store.restore_latest(READER, Book)).state.numbers


async def test_everything_that_was_sent_while_a_host_was_down_is_recorded_once(url, autojump_clock):
    """State and mailbox of the next incarnation's child fit together."""
    host = Host(Ledger)
    async with (
        open_store(url) as store,
        open_supervisor("desk", store=store, checkpoint=QUIET, max_restarts=3, **SLOW) as desk,
    ):
        child = await desk.start(host, name="host")
        await desk.start(Feed, name="feed")
        for _ in range(2):
            await trio.sleep(2.5)
            await go_down(host, child)
            await child.wait(Lifecycle.READY)
        await trio.sleep(30)
        await desk.stop()
        assert await numbers_in(store) == list(range(12))


async def test_cut_while_a_host_is_down_holds_what_was_sent_meanwhile(url, autojump_clock):
    """A process that begins with that cut has the feed where it was, and nothing is missing, nor twice."""
    host = Host(Ledger)
    async with open_store(url) as store:
        async with open_supervisor("desk", store=store, checkpoint=QUIET, **SLOW) as desk:
            child = await desk.start(host, name="host")
            await desk.start(Feed, name="feed")
            await trio.sleep(2.5)
            await go_down(host, child)
            await trio.sleep(1.2)
            info = await desk.create_checkpoint(label="meanwhile")
            assert (await store.restore(info.id, "desk/feed", Sent)).state.number == 4
            await desk.stop()
        async with open_supervisor("desk", store=store, checkpoint=QUIET, restore="meanwhile") as desk:
            await desk.start(host, name="host")
            await desk.start(Feed, name="feed")
            await trio.sleep(30)
            await desk.stop()
            assert await numbers_in(store) == list(range(12))


async def test_cut_before_a_nested_child_has_its_state_again_holds_what_waits_for_it(url, autojump_clock):
    """It was made, and waits for what it requires: until it has loaded, its former self speaks for it."""

    async def slow(ctx):
        await trio.sleep(5)
        ctx.ready()
        await ctx.wait_stopping()

    async def host(ctx):
        async with open_supervisor("inner") as inner:
            await inner.start_all(
                [ChildSpec(slow, name="slow"), ChildSpec(Ledger, name="n0", requires=["slow"], stop_grace=0.0)]
            )
            ctx.ready()
            if ctx.generation == 1:
                await trio.sleep(2.5)
                raise OSError

    async with open_store(url) as store:
        async with open_supervisor("desk", store=store, checkpoint=QUIET, **SLOW) as desk:
            child = await desk.start(host, name="host")
            await desk.start(Feed, name="feed")
            await child.wait(Lifecycle.BACKOFF)
            await child.wait(Lifecycle.STARTING)
            await trio.sleep(1)
            assert READER in desk.tree.children
            await desk.create_checkpoint(label="meanwhile")
            await desk.stop()
        async with open_supervisor("desk", store=store, checkpoint=QUIET, restore="meanwhile") as desk:
            await desk.start(host, name="host")
            await desk.start(Feed, name="feed")
            await trio.sleep(60)
            await desk.stop()
            assert await numbers_in(store) == list(range(12))


async def test_stop_while_a_host_is_down_has_everything_in_its_last_cut(url, autojump_clock):
    """The feed is held back by the mailbox; the stop lets it go, and the next process reads what it sent."""
    async with open_store(url) as store:
        host = Host(Ledger)
        async with open_supervisor("desk", store=store, checkpoint=QUIET, **SLOW) as desk:
            await desk.start(Feed, name="feed")
            child = await desk.start(host, name="host")
            await trio.sleep(0.5)
            await go_down(host, child)
            await trio.sleep(7)
            await desk.stop()
            sent = (await store.restore_latest("desk/feed", Sent)).state.number
            assert (sent, trio.current_time()) == (6, 7.5)
        async with open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
            await desk.start(host, name="host")
            await desk.start(Feed, name="feed")
            await trio.sleep(30)
            await desk.stop()
            assert await numbers_in(store) == list(range(1, 12))  # the first was sent before there was a mailbox


async def test_cancellation_while_a_host_is_down_ends_senders_that_wait_and_saves_what_waits(url, autojump_clock):
    """The tree stops in its order, at once, and the last cut has the mailbox."""
    async with open_store(url) as store:
        host = Host(Ledger)
        with trio.move_on_after(8) as outer:
            async with open_supervisor("desk", store=store, checkpoint=QUIET, **SLOW) as desk:
                child = await desk.start(host, name="host")
                await desk.start(Feed, name="feed", stop_grace=0.0)
                await trio.sleep(0.5)
                await go_down(host, child)
                await trio.sleep_forever()
        assert outer.cancelled_caught
        assert trio.current_time() == 8
        async with open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
            await desk.start(host, name="host")
            await desk.start(Feed, name="feed")
            await trio.sleep(30)
            await desk.stop()
            assert await numbers_in(store) == list(range(12))


async def test_nested_child_whose_start_fails_again_stays_in_each_cut(url, autojump_clock):
    """Its state and its messages are of the tree, whether it is there at the moment or not, and whichever of them was saved."""
    bad = []

    class Fragile(Ledger):
        async def run(self, ctx):
            if bad:
                await ctx.create_checkpoint()
                raise OSError
            await super().run(ctx)

    host = Host(Fragile)
    async with (
        open_store(url) as store,
        open_supervisor("desk", store=store, checkpoint=QUIET, **SLOW) as desk,
    ):
        child = await desk.start(host, name="host")
        await desk.start(Feed, name="feed")
        await trio.sleep(0.5)
        bad.append(True)
        await go_down(host, child)
        await trio.sleep(5)
        await desk.create_checkpoint()
        await trio.sleep(10)
        assert child.generation == 2
        assert READER in (await desk.create_checkpoint()).components
        bad.clear()
        await trio.sleep(40)
        await desk.stop()
        assert await numbers_in(store) == list(range(12))
