"""Children that go on though they were cancelled: who, where, and how soon that is told."""

import pytest
import trio
import trio.testing

from genesis_trio.events import observe
from genesis_trio.supervision.supervisor import open_supervisor
from supervision.desk import EXACT, Log, forever


async def swallow(seconds):
    """Go on for so long, whoever cancels."""
    until = trio.current_time() + seconds
    try:
        await trio.sleep_until(until)
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            await trio.sleep_until(until)


async def stubborn(ctx):
    ctx.ready()
    await swallow(20)


def told(log):
    return [
        (event.time, event.child, event.task, event.waited, event.where) for event in log.named("cancellation_ignored")
    ]


async def test_cancellation_ignored_in_a_stop_is_told_a_second_later_with_its_place(autojump_clock):
    """Long before the whole time of the stop is up; whoever ends when it is cancelled is not named."""
    log = Log()
    with observe(log):
        async with open_supervisor("desk", shutdown_timeout=10) as desk:
            await desk.start(forever, name="obeys", stop_grace=3.0)
            await desk.start(stubborn, name="stubborn", stop_grace=2.0)
            await desk.stop()
    ((time, child, task, waited, where),) = told(log)
    assert (time, child, task, waited) == (3, "desk/stubborn", "desk/stubborn", 1)
    assert "stubborn (test_cut_watch.py:" in where
    assert "swallow (test_cut_watch.py:" in where
    assert where.endswith("> sleep_until")
    (unstopped,) = log.named("child_unstopped")
    assert (unstopped.time, unstopped.where) == (10, where)


async def test_cancellation_ignored_by_a_start_is_told(autojump_clock):
    """A start that swallows the end of its time holds start() up; the event says where."""

    async def slow(ctx):
        await swallow(20)

    log = Log()
    with observe(log):
        async with open_supervisor("desk") as desk:
            with pytest.raises(BaseException, match="start_timeout=4"):
                await desk.start(slow, name="slow", start_timeout=4.0)
            await desk.start(forever, name="obeys", start_timeout=4.0)
            await trio.sleep(10)
            await desk.stop()
    assert [each[:4] for each in told(log)] == [(5, "desk/slow", "desk/slow", 1)]


async def test_cancellation_ignored_by_a_task_in_a_nursery_names_that_task(autojump_clock):
    """Not the one that only waits for it."""

    async def with_nursery(ctx):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever, name="obeys")
            nursery.start_soon(swallow, 20, name="the culprit")
            ctx.ready()

    log = Log()
    with observe(log):
        async with open_supervisor("desk", shutdown_timeout=10) as desk:
            await desk.start(with_nursery, name="x", stop_grace=2.0)
            desk.hurry()
    ((time, child, task, waited, where),) = told(log)
    assert (time, child, task, waited) == (1, "desk/x", "the culprit", 1)
    assert where.startswith("swallow (")


async def test_cancellation_ignored_in_a_nested_supervisor_names_the_child_that_does(autojump_clock):
    """Its host, which stops it with the time that it was given, ignores nothing until that is over."""

    async def host(ctx):
        async with open_supervisor("venue") as venue:
            await venue.start(stubborn, name="feed", stop_grace=6.0)
            ctx.ready()

    log = Log()
    with observe(log):
        async with open_supervisor("desk", shutdown_timeout=10) as desk:
            await desk.start(host, name="host", stop_grace=1.5)
            await desk.stop()
    assert [each[:4] for each in told(log)] == [
        (7, "desk/host/venue/feed", "desk/host/venue/feed", 1),
        (10.5, "desk/host", "desk/host/venue/feed", 9),  # its time was over at 10
    ]


@pytest.mark.parametrize("silent", [True, False])
async def test_cancellation_ignored_after_a_silence_is_told(silent, autojump_clock):
    """A watchdog that cancels in vain says so; and one that had no need to says nothing."""

    async def hangs(ctx):
        ctx.ready()
        if silent and ctx.generation == 1:
            await swallow(9)
        while True:
            ctx.heartbeat()
            await trio.sleep(1)

    log = Log()
    with observe(log):
        async with open_supervisor("desk", backoff=EXACT) as desk:
            await desk.start(hangs, name="x", heartbeat_timeout=3.0)
            await trio.sleep(20)
            await desk.stop()
    assert [each[0] for each in told(log)] == ([4] if silent else [])
