"""Depth and age of a mailbox as the health of its reader."""

import pytest
import trio

from genesis_trio import Mode, ModePolicy, Overflow, Topic, observe, open_supervisor
from genesis_trio.supervision.component import Lifecycle
from supervision.desk import EXACT, Log

NUMBERS = Topic("health.numbers", int)


class Reader:
    """A component that takes *seconds* for each message; it may be told to crash."""

    def __init__(self, seconds, batches=False, **options):
        self.seconds, self.batches, self.options = seconds, batches, options
        self.crash = trio.Event()
        self.inbox = None

    async def __call__(self, ctx):
        async with ctx.subscribe(NUMBERS, **self.options) as inbox:
            self.inbox = inbox
            ctx.ready()
            async for _ in inbox.batches(2) if self.batches else inbox:
                await trio.sleep(self.seconds)
                if self.crash.is_set():
                    raise OSError("crashed")


async def sender(ctx):
    ctx.ready()
    await ctx.wait_stopping()


def health(log):
    return [(round(event.time, 6), event.reason) for event in log.named("health_changed")]


async def test_max_depth_reader_that_falls_behind_is_failing_until_half_is_left(autojump_clock):
    """Four may wait; the fifth makes it fail, and it is well again when two are left, not at the limit itself."""
    log = Log()
    with observe(log):
        async with open_supervisor("desk") as desk:
            await desk.start(Reader(1.0, max_depth=4), name="x")
            ctx = (await desk.start(sender, name="sender")).incarnation.context
            await trio.sleep(0.5)
            for number in range(5):
                ctx.publish(NUMBERS, number)
            assert health(log) == [(0.5, "more than 4 messages wait in health.numbers")]
            await trio.sleep(20)
            await desk.stop()
    # One is handed out at 0.5, and one each second after.
    assert health(log) == [(0.5, "more than 4 messages wait in health.numbers"), (2.5, "")]


async def test_max_depth_counts_for_the_mode(autojump_clock):
    """Falling behind for `trigger_after` is failing for the supervisor's policy."""
    async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
        await desk.start(Reader(10.0, max_depth=2), name="x")
        ctx = (await desk.start(sender, name="sender")).incarnation.context
        for number in range(6):
            ctx.publish(NUMBERS, number)
        await trio.sleep(0.9)
        assert desk.scope.mode is Mode.NORMAL
        await trio.sleep(0.2)
        assert desk.scope.mode is Mode.SAFE
        await desk.stop()


async def test_max_depth_mailbox_that_filled_during_a_restart_counts_at_once(autojump_clock):
    """The next reader begins with what waits, and is failing from its first moment on."""
    log = Log()
    reader = Reader(0.5, max_depth=4)
    with observe(log):
        async with open_supervisor("desk", backoff=EXACT) as desk:
            child = await desk.start(reader, name="x")
            ctx = (await desk.start(sender, name="sender")).incarnation.context
            reader.crash.set()
            ctx.publish(NUMBERS, 0)
            await child.wait(Lifecycle.BACKOFF)
            for number in range(1, 6):
                ctx.publish(NUMBERS, number)
            assert health(log) == []
            reader.crash = trio.Event()
            await child.wait(Lifecycle.READY)
            assert health(log) == [(0.6, "more than 4 messages wait in health.numbers")]
            await trio.sleep(20)
            await desk.stop()
    assert health(log)[-1][1] == ""


async def test_max_depth_batches_and_ends_of_the_subscription_clear_it(autojump_clock):
    """Whatever empties the mailbox, or ends the subscription, ends the complaint."""
    log = Log()
    with observe(log):
        async with open_supervisor("desk") as desk:
            await desk.start(Reader(1.0, batches=True, max_depth=4), name="x")
            ctx = (await desk.start(sender, name="sender")).incarnation.context
            await trio.sleep(0.5)
            await ctx.send_all(NUMBERS, range(7))
            await trio.sleep(20)
            await ctx.send_all(NUMBERS, range(7))
            await trio.sleep(0.1)
            await desk.stop()
    deep = "more than 4 messages wait in health.numbers"
    assert health(log)[:3] == [(0.5, deep), (2.5, ""), (20.5, deep)]
    assert health(log)[-1][1] == ""


@pytest.mark.parametrize(
    ("max_depth", "error"), [(0, ValueError), (10, ValueError), (True, TypeError), (1.5, TypeError), ("3", TypeError)]
)
async def test_max_depth_wrong_values_are_refused(max_depth, error, autojump_clock):
    """A depth that can never be exceeded is a contradiction, and an error."""
    async with open_supervisor("desk") as desk:
        ctx = (await desk.start(sender, name="sender")).incarnation.context
        with pytest.raises(error, match="max_depth"):
            async with ctx.subscribe(NUMBERS, capacity=10, max_depth=max_depth):
                pass
        await desk.stop()


async def test_max_age_silence_is_failing_and_each_message_starts_it_anew(autojump_clock):
    """Exactly `max_age` after the last message, also after an earlier silence has ended."""
    log = Log()
    with observe(log):
        async with open_supervisor("desk") as desk:
            await desk.start(Reader(0.0, max_age=3.0, overflow=Overflow.DROP_OLDEST), name="x")
            ctx = (await desk.start(sender, name="sender")).incarnation.context
            for pause in (2.0, 2.5, 4.0):
                await trio.sleep(pause)
                ctx.publish(NUMBERS, 1)
            await trio.sleep(10)
            await desk.stop()
    silent = "no message on health.numbers for 3.0 s"
    assert health(log)[:3] == [(7.5, silent), (8.5, ""), (11.5, silent)]


async def test_max_age_and_max_depth_are_two_complaints(autojump_clock):
    """A reader may be behind and its feed silent at once; each ends by itself."""
    log = Log()
    with observe(log):
        async with open_supervisor("desk") as desk:
            child = await desk.start(Reader(2.0, max_age=3.0, max_depth=1), name="x")
            ctx = (await desk.start(sender, name="sender")).incarnation.context
            await ctx.send_all(NUMBERS, [1, 2, 3])
            await trio.sleep(1)
            assert list(child.complaints.values()) == ["more than 1 messages wait in health.numbers"]
            await trio.sleep(2.5)
            assert len(child.complaints) == 2
            await trio.sleep(1)
            assert list(child.complaints.values()) == ["no message on health.numbers for 3.0 s"]
            await desk.stop()
