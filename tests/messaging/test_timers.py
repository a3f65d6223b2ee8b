"""Timers, and what counts as progress while nothing comes."""

import pytest
import trio
import trio.testing

from genesis_trio.events import observe
from genesis_trio.messaging.topic import Timer
from genesis_trio.supervision.component import Lifecycle
from genesis_trio.supervision.supervisor import open_supervisor
from messaging.parts import NUMBERS, Reader, context_of, stuck
from supervision.desk import EXACT, Log


async def test_every_yields_timers_at_their_times(autojump_clock):
    """Exactly every second; a late reader gets one for those it missed."""
    times = []

    async def work(ctx, item):
        if isinstance(item, Timer):
            times.append(trio.current_time())
            if len(times) == 2:
                await trio.sleep(2.5)

    reader = Reader(NUMBERS, work=work, every=1.0)
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="reader")
        ctx = await context_of(desk)
        await trio.sleep(0.5)
        ctx.publish(NUMBERS, 1)
        await trio.sleep(5.7)
        assert times == [1, 2, 4.5, 5, 6]
        assert (reader.got[3].at - reader.got[2].at).total_seconds() == pytest.approx(2)
        await desk.stop()


async def test_max_age_makes_the_reader_count_as_failing_until_data_comes(autojump_clock):
    """Connected and silent is not healthy."""
    reader = Reader(NUMBERS, max_age=2.0)
    log = Log()
    with observe(log):
        async with open_supervisor("desk") as desk:
            child = await desk.start(reader, name="reader")
            ctx = await context_of(desk)
            await trio.sleep(1)
            ctx.publish(NUMBERS, 1)
            await trio.sleep(5)
            assert child.is_failing()
            ctx.publish(NUMBERS, 2)
            await trio.testing.wait_all_tasks_blocked()
            assert not child.is_failing()
            await desk.stop()
    assert [(event.time, bool(event.reason)) for event in log.named("health_changed")] == [(3, True), (6, False)]


async def test_heartbeat_waiting_on_an_empty_mailbox_is_no_silence(autojump_clock):
    """A reader that waits is alive; one that hangs on a message is not."""
    reader = Reader(NUMBERS, work=stuck)
    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(reader, name="reader", heartbeat_timeout=1.0)
        ctx = await context_of(desk)
        await trio.sleep(10)
        assert child.generation == 1
        ctx.publish(NUMBERS, 1)
        await child.wait(Lifecycle.BACKOFF)
        assert trio.current_time() == 11
        await desk.stop()
