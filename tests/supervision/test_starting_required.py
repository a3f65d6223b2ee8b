"""Starting a child that requires others: it waits for those that are on their way, and for no others."""

import functools

import pytest
import trio
import trio.testing

from genesis_trio.errors import StartTimeoutError
from genesis_trio.supervision.backoff import Backoff
from genesis_trio.supervision.component import ChildSpec, Lifecycle
from genesis_trio.supervision.supervisor import open_supervisor
from supervision.desk import EXACT, forever


async def broken_until(at, ctx):
    """It crashes when it has run for a while, until a time."""
    if ctx.generation > 1 and trio.current_time() < at:
        raise OSError("down")
    ctx.ready()
    await trio.sleep(1 if ctx.generation == 1 else 1000)
    raise OSError("down")


@pytest.mark.parametrize("starts", ["start", "start_all"])
async def test_start_waits_for_what_it_requires_to_be_back(starts, autojump_clock):
    """One that is in BACKOFF is on its way, and what requires it starts after it is READY."""
    backoff = Backoff(base_delay=4.0, jitter="none")
    async with open_supervisor("desk", backoff=backoff, max_restarts=3, within=60.0) as desk:
        await desk.start(functools.partial(broken_until, 0), name="feed", stop_grace=0)
        await trio.sleep(2)
        spec = ChildSpec(forever, name="book", requires=["feed"], stop_grace=0)
        if starts == "start":
            await desk.start(spec)
        else:
            await desk.start_all([spec, ChildSpec(forever, name="other", requires=["book"], stop_grace=0)])
        assert trio.current_time() == 5.0
        assert {child.status for child in desk.children.values()} == {Lifecycle.READY}
        await desk.stop()


async def test_start_does_not_wait_for_a_parked_requirement(autojump_clock):
    """Nobody knows when it will be back: as in start_all, what requires it runs without."""
    async with open_supervisor("desk", backoff=EXACT, max_restarts=0) as desk:
        feed = await desk.start(functools.partial(broken_until, 100), name="feed", stop_grace=0)
        await feed.wait(Lifecycle.PARKED)
        await desk.start(forever, name="book", requires=["feed"], stop_grace=0)
        assert (trio.current_time(), feed.status) == (1.0, Lifecycle.PARKED)
        await desk.stop()


async def test_start_waits_for_a_requirement_no_longer_than_its_start_may_take(autojump_clock):
    """Then it fails, in words, and its name is free; start_all goes on without."""
    backoff = Backoff(base_delay=30.0, jitter="none")
    async with open_supervisor("desk", backoff=backoff, max_restarts=3, within=1000.0) as desk:
        await desk.start(functools.partial(broken_until, 0), name="feed", stop_grace=0)
        await trio.sleep(2)
        spec = ChildSpec(forever, name="book", requires=["feed"], start_timeout=5.0, stop_grace=0)
        with pytest.raises(StartTimeoutError) as caught:
            await desk.start(spec)
        assert str(caught.value) == (
            "child 'desk/book' could not start within start_timeout=5.0 s: it requires: 'feed' is BACKOFF"
        )
        assert (trio.current_time(), list(desk.children)) == (7.0, ["feed"])
        other = ChildSpec(forever, name="other", stop_grace=0)
        with trio.move_on_after(1):
            await desk.start_all([spec, other])  # cancelled while one waits: neither is left
        assert list(desk.children) == ["feed"]
        book, other = await desk.start_all([spec, other])
        assert (trio.current_time(), book.status, other.status) == (13.0, Lifecycle.READY, Lifecycle.READY)
        await desk.stop()


async def test_start_that_waits_for_a_requirement_ends_with_the_supervisor(autojump_clock):
    """Who stops a supervisor does not wait for a child that has not started."""
    backoff = Backoff(base_delay=30.0, jitter="none")
    async with open_supervisor("desk", backoff=backoff, max_restarts=3, within=1000.0) as desk:
        await desk.start(functools.partial(broken_until, 0), name="feed", stop_grace=0)
        await trio.sleep(2)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def stop():
                await trio.sleep(1)
                await desk.stop()

            with pytest.raises(RuntimeError, match="was stopped while it started children; not started: book"):
                await desk.start(forever, name="book", requires=["feed"])
        assert (trio.current_time(), list(desk.children)) == (3.0, ["feed"])
