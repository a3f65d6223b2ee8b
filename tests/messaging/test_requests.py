"""Requests: one answer for each, and who gives it."""

import pytest
import trio
import trio.testing

from genesis_trio.errors import MailboxFullError, TotalTimeoutError
from genesis_trio.messaging.topic import Topic
from genesis_trio.supervision.component import Lifecycle, Restart
from genesis_trio.supervision.supervisor import open_supervisor
from messaging.parts import context_of
from supervision.desk import EXACT

ASK = Topic("ask", int)


async def responder(ctx):
    async with ctx.requests(ASK) as requests:
        ctx.ready()
        async for request in requests:
            if request.message < 0:
                request.fail(ValueError("negative"))
            elif request.message == 99 or (request.message == 7 and ctx.generation == 1):
                raise OSError("responder")
            elif request.message != 0:
                request.reply(request.message * 2)


async def test_request_gets_its_answer_or_its_error(autojump_clock):
    """reply() returns, fail() raises, in the task that asked."""
    async with open_supervisor("desk") as desk:
        await desk.start(responder, name="responder")
        ctx = await context_of(desk)
        assert await ctx.request(ASK, 21) == 42
        with pytest.raises(ValueError, match="negative"):
            await ctx.request(ASK, -1)
        with pytest.raises(TypeError):
            await ctx.request(ASK, "x")
        with pytest.raises(ValueError, match="timeout"):
            await ctx.request(ASK, 1, timeout=0)
        await desk.stop()


async def test_request_without_answer_times_out(autojump_clock):
    """The timeout is ours, exact, and says what to look at."""
    async with open_supervisor("desk") as desk:
        ctx = await context_of(desk)
        with pytest.raises(TotalTimeoutError, match=r"within 3 s"):
            await ctx.request(ASK, 1, timeout=3)
        assert trio.current_time() == 3
        await desk.stop()


async def test_request_survives_a_crash_of_the_responder(autojump_clock):
    """What it had begun is asked again of the next incarnation."""
    async with open_supervisor("desk", backoff=EXACT) as desk:
        await desk.start(responder, name="responder")
        ctx = await context_of(desk)
        assert await ctx.request(ASK, 7, timeout=10) == 14
        await desk.stop()


async def test_request_that_crashes_its_responder_three_times_fails(autojump_clock):
    """The task that asked learns it, and the responder lives on."""
    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(responder, name="responder")
        ctx = await context_of(desk)
        with pytest.raises(Exception, match="crashed its responder 3 times") as caught:
            await ctx.request(ASK, 99, timeout=10)
        assert isinstance(caught.value.__cause__, OSError)
        await child.wait(Lifecycle.READY)
        assert await ctx.request(ASK, 1) == 2
        await desk.stop()


async def test_request_answered_twice_is_an_error(autojump_clock):
    """A request has one answer, and wants an exception to fail with."""
    seen = []

    async def twice(ctx):
        async with ctx.requests(ASK, capacity=1) as requests:
            ctx.ready()
            async for request in requests:
                with pytest.raises(TypeError):
                    request.fail("text")
                request.reply(1)
                with pytest.raises(RuntimeError, match="one answer"):
                    request.reply(2)
                seen.append(request.is_open)
                return

    async with open_supervisor("desk") as desk:
        await desk.start(twice, name="responder", restart=Restart.TEMPORARY)
        ctx = await context_of(desk)
        assert await ctx.request(ASK, 1) == 1
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [False]

        async def ask():
            with trio.move_on_after(1):
                await ctx.request(ASK, 1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(MailboxFullError):
                await ctx.request(ASK, 2)
        await desk.stop()


# ---------------------------------------------------------------- one block a component


async def test_second_block_of_requests_on_a_topic_is_refused(autojump_clock):
    """As with subscriptions: what the first block took cannot be told from what the second one took."""

    async def twice(ctx):
        async with ctx.requests(ASK):
            with pytest.raises(ValueError, match=r"'desk/twice' is in ctx.requests\(\) of topic 'ask' already"):
                async with ctx.requests(ASK):
                    pass
        async with ctx.requests(ASK):  # one after the other is fine
            ctx.ready()

    async with open_supervisor("desk") as desk:
        child = await desk.start(twice, name="twice", restart=Restart.TEMPORARY)
        assert child.last_error is None
        await desk.stop()


async def test_requests_block_left_by_an_error_that_is_handled_asks_again(autojump_clock):
    """What was in hand comes again in the next block; three errors on one request end it, as three crashes do."""
    seen = []

    async def stubborn(ctx):
        while True:
            try:
                async with ctx.requests(ASK) as requests:
                    ctx.ready()
                    async for request in requests:
                        seen.append(request.message)
                        raise OSError("handled here")
                    return
            except OSError:
                continue

    async with open_supervisor("desk") as desk:
        await desk.start(stubborn, name="stubborn")
        ctx = await context_of(desk)
        with pytest.raises(Exception, match="crashed its responder 3 times"):
            await ctx.request(ASK, 5, timeout=1.0)
        assert seen == [5, 5, 5]
        await desk.stop()


@pytest.mark.parametrize(
    ("capacity", "error"), [(0, ValueError), (True, TypeError), (1.5, TypeError), ("1", TypeError)]
)
async def test_requests_wrong_capacity_is_refused(capacity, error, autojump_clock):
    """The value is in the message."""

    async def wrong(ctx):
        async with ctx.requests(ASK, capacity=capacity):
            pass

    async with open_supervisor("desk") as desk:
        with pytest.raises(error, match=f"got {capacity!r}"):
            await desk.start(wrong, name="wrong")


# ---------------------------------------------------------------- what is no topic


@pytest.mark.parametrize("what", ["ask", None, int, ["ask"], {}])
async def test_what_is_no_topic_is_refused_everywhere(what, autojump_clock):
    """Each way in says what it wants, with the value."""
    async with open_supervisor("desk") as desk:
        ctx = await context_of(desk)
        for block in (ctx.subscribe(what), ctx.requests(what)):
            with pytest.raises(TypeError, match="messages go by a Topic, got"):
                async with block:
                    pass
        with pytest.raises(TypeError, match="messages go by a Topic, got"):
            ctx.publish(what, 1)
        for call in (ctx.send(what, 1), ctx.send_all(what, [1]), ctx.request(what, 1)):
            with pytest.raises(TypeError, match="messages go by a Topic, got"):
                await call
        await desk.stop()


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (None, r"nobody answers there; start a component that is in `ctx\.requests\(\.\.\.\)` of that topic"),
        (True, r"'desk/responder' took it and gave no answer; `genesis why` shows where it waits"),
        (False, r"'desk/responder' did not come to it, and 0 others wait; `genesis why` shows what it does"),
    ],
)
async def test_request_timeout_says_who_has_not_answered(answers, words, autojump_clock):
    """A responder that hangs, one that is busy elsewhere and one that does not exist want three different things."""
    topic = Topic("silent", str)

    async def responder(ctx):
        async with ctx.requests(topic) as requests:
            ctx.ready()
            if answers:
                await anext(requests)
            await ctx.wait_stopping()

    async def asks(ctx):
        await ctx.request(topic, "anybody?", timeout=3.0)

    async with open_supervisor("desk") as desk:
        if answers is not None:
            await desk.start(responder, name="responder")
        with pytest.raises(TotalTimeoutError, match=f"on topic 'silent' within 3.0 s: {words}$"):
            await desk.start(asks, name="asks")
        assert trio.current_time() == 3
        await desk.stop()
