"""Requests that nobody answers: who waits, for how long, and what is told."""

import copy
import pickle

import pytest
import trio
import trio.testing

from genesis_trio.errors import NoResponderError
from genesis_trio.messaging.topic import Topic
from genesis_trio.supervision.component import ChildSpec, Lifecycle
from genesis_trio.supervision.supervisor import open_supervisor
from messaging.parts import context_of
from supervision.desk import EXACT

ASK = Topic("ask", int)


async def mute(ctx):
    """It takes every request, and answers none."""
    async with ctx.requests(ASK) as requests:
        ctx.ready()
        async for _ in requests:
            pass


async def test_request_nobody_answers_fails_after_the_patience(autojump_clock):
    """Without a timeout it waits as long as a responder may take to start, and then says what is missing."""
    async with open_supervisor("desk") as desk:
        ctx = await context_of(desk)
        with pytest.raises(NoResponderError, match=r"nobody has answered requests on topic 'ask' for 30 s") as caught:
            await ctx.request(ASK, 1)
        assert trio.current_time() == 30
        assert (caught.value.topic, caught.value.begun) == ("ask", False)
        await desk.stop()


async def test_request_before_its_responder_starts_waits_for_it(autojump_clock):
    """The order of starts does not matter: who comes within the patience answers, however long that takes then."""

    async def slow(ctx):
        async with ctx.requests(ASK) as requests:
            ctx.ready()
            async for request in requests:
                await trio.sleep(100)
                request.reply("late")

    async with open_supervisor("desk") as desk, trio.open_nursery() as nursery:
        ctx = await context_of(desk)

        async def ask():
            assert await ctx.request(ASK, 1) == "late"
            assert trio.current_time() == 129
            await desk.stop()

        nursery.start_soon(ask)
        await trio.sleep(29)
        await desk.start(slow, name="slow")


@pytest.mark.parametrize("timeout", [None, 60.0])
async def test_request_fails_when_its_last_responder_is_stopped(timeout, autojump_clock):
    """Who asked learns it at once, and whether the request had been begun."""
    told = []

    async with open_supervisor("desk") as desk, trio.open_nursery() as nursery:
        child = await desk.start(mute, name="mute")
        second = await desk.start(mute, name="second")
        ctx = await context_of(desk)

        async def ask():
            with pytest.raises(NoResponderError) as caught:
                await ctx.request(ASK, 1, timeout=timeout)
            told.append((trio.current_time(), caught.value.begun, str(caught.value)))

        nursery.start_soon(ask)
        await trio.sleep(1)
        await child.stop()
        await trio.sleep(1)
        assert told == []
        await second.stop()
        await trio.testing.wait_all_tasks_blocked()
        assert told == [
            (
                2,
                True,
                "'desk/second', the last one to answer requests on topic 'ask', was stopped; it had begun with this request, "
                "so look at what was done before you ask again",
            )
        ]
        await desk.stop()


async def test_request_that_was_not_begun_says_so(autojump_clock):
    """Nothing of it was done, so it may be asked again."""

    async def deaf(ctx):
        async with ctx.requests(ASK):
            ctx.ready()
            await ctx.wait_stopping()

    async with open_supervisor("desk") as desk, trio.open_nursery() as nursery:
        child = await desk.start(deaf, name="deaf")
        ctx = await context_of(desk)
        nursery.start_soon(child.stop)
        with pytest.raises(NoResponderError, match="had not begun with this request") as caught:
            await ctx.request(ASK, 1)
        assert not caught.value.begun
        await desk.stop()


async def test_request_that_failed_with_its_last_responder_is_not_given_to_the_next_one(autojump_clock):
    """Who asked was told that it was not begun; it must not be begun after that."""
    begun = []

    async def deaf(ctx):
        async with ctx.requests(ASK):
            ctx.ready()
            await ctx.wait_stopping()

    async def attentive(ctx):
        async with ctx.requests(ASK) as requests:
            ctx.ready()
            async for request in requests:
                begun.append(request.message)
                request.reply("yes")

    async with open_supervisor("desk") as desk:
        child = await desk.start(deaf, name="deaf")
        ctx = await context_of(desk)

        async def ask():
            with pytest.raises(NoResponderError):
                await ctx.request(ASK, 1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            await child.stop()
        await desk.start(attentive, name="attentive")
        assert await ctx.request(ASK, 2) == "yes"
        assert begun == [2]
        await desk.stop()


async def test_request_waits_through_parking_of_its_responder(autojump_clock):
    """A parked responder comes back: it gets its trial, and the request with it."""

    async def ill(ctx):
        async with ctx.requests(ASK) as requests:
            if ctx.generation <= 4:
                raise OSError("ill")
            ctx.ready()
            async for request in requests:
                request.reply("well")

    async with open_supervisor("desk", backoff=EXACT, max_restarts=3, within=60) as desk:
        await desk.start_all([ChildSpec(ill, name="ill", unpark_after=300.0)])
        child = desk.children["ill"]
        ctx = await context_of(desk)
        await child.wait(Lifecycle.PARKED)
        assert await ctx.request(ASK, 1) == "well"
        assert trio.current_time() > 200  # far longer than it waits for a responder to come
        await desk.stop()


async def test_request_of_who_stops_with_its_responder_is_cancelled_in_its_turn(autojump_clock):
    """Where the whole tree stops, a responder that stops first is no failure of those that wait for it."""
    ended = []

    async def asker(ctx):
        ctx.ready()
        try:
            await ctx.request(ASK, 1)
        except BaseException as error:
            ended.append(type(error))
            raise

    async with open_supervisor("desk") as desk:
        child = await desk.start(asker, name="asker", stop_grace=2.0)
        await desk.start(mute, name="mute")
        await trio.testing.wait_all_tasks_blocked()
        await desk.stop()
    assert ended == [trio.Cancelled]
    assert child.last_error is None


async def test_request_of_who_restarts_with_its_responder_fails_at_once(autojump_clock):
    """The responder begins again when who asks has ended: waiting for it would use up the grace, and help nobody."""
    ended = []

    async def gateway(ctx):
        async with ctx.requests(ASK) as requests:
            ctx.ready()
            request = await anext(requests)
            if ctx.generation == 1:
                await trio.sleep(1)
                raise OSError("the venue hung up")
            request.reply("filled")
            await ctx.wait_stopping()

    async def strategy(ctx):
        ctx.ready()
        try:
            ended.append(await ctx.request(ASK, 1))
        except NoResponderError as error:
            ended.append((trio.current_time(), str(error), error.begun))
            with pytest.raises(NoResponderError):  # nor is it of use to ask again
                await ctx.request(ASK, 2)
        await ctx.wait_stopping()

    async with open_supervisor("desk", backoff=EXACT) as desk:
        await desk.start(gateway, name="gateway")
        child = await desk.start(strategy, name="strategy", requires=["gateway"])
        await trio.sleep(1.5)
        assert [each.status for each in desk.children.values()] == [Lifecycle.READY, Lifecycle.READY]
        assert (child.generation, child.last_error) == (2, None)
        await desk.stop()
    words = (
        "requests on topic 'ask' are answered by 'desk/gateway', and not before 'desk/strategy' has ended: they restart "
        "together; it had begun with this request, so look at what was done before you ask again"
    )
    assert ended == [(1.0, words, True), "filled"]


async def test_request_of_who_restarts_with_another_one_is_answered(autojump_clock):
    """A responder that is not in the group, or stops later, answers also those that are to end."""
    answered = []

    async def slow(ctx):
        async with ctx.requests(ASK) as requests:
            ctx.ready()
            async for request in requests:
                await trio.sleep(2)
                request.reply("yes")

    async def base(ctx):
        ctx.ready()
        await trio.sleep(1)
        if ctx.generation == 1:
            raise OSError("the venue hung up")
        await ctx.wait_stopping()

    async def strategy(ctx):
        ctx.ready()
        answered.append((ctx.generation, await ctx.request(ASK, 1), trio.current_time()))
        await ctx.wait_stopping()

    async with open_supervisor("desk", backoff=EXACT) as desk:
        await desk.start(base, name="base")
        await desk.start(slow, name="slow", requires=["base"])
        await desk.start(strategy, name="strategy", requires=["slow"])
        await trio.sleep(2.5)
        await desk.stop()
    assert answered[0] == (1, "yes", 2.0)


async def test_request_fails_when_its_responder_crashes_while_the_group_stops(autojump_clock):
    """Who joins the group later is as much away as who began it."""
    ended = []

    async def base(ctx):
        ctx.ready()
        await trio.sleep(1)
        if ctx.generation == 1:
            raise OSError("the venue hung up")
        await ctx.wait_stopping()

    async def responder(ctx):
        async with ctx.requests(ASK) as requests:
            ctx.ready()
            await anext(requests)
            await trio.sleep(2)
            raise OSError("a second fault")

    async def strategy(ctx):
        ctx.ready()
        try:
            await ctx.request(ASK, 1)
        except NoResponderError:
            ended.append((ctx.generation, trio.current_time()))
        await ctx.wait_stopping()

    async with open_supervisor("desk", backoff=EXACT) as desk:
        await desk.start(base, name="base")
        await desk.start(responder, name="responder", requires=["base"])
        await desk.start(strategy, name="strategy", requires=["responder"])
        await trio.sleep(2.5)
        await desk.stop()
    assert ended[0] == (1, 2.0)


async def test_requests_left_by_the_last_one_wait_for_the_next_block(autojump_clock):
    """Leaving the block is no stop: the next one, soon enough, answers; else it is said that nobody does."""

    async def in_turns(ctx):
        ctx.ready()
        async with ctx.requests(ASK):
            await trio.sleep(10)
        await trio.sleep(29)
        async with ctx.requests(ASK) as requests:
            (await anext(requests)).reply("second block")
        await ctx.wait_stopping()

    async with open_supervisor("desk") as desk:
        await desk.start(in_turns, name="in_turns")
        ctx = await context_of(desk)
        assert await ctx.request(ASK, 1) == "second block"
        assert trio.current_time() == 39
        with pytest.raises(NoResponderError, match="nobody has answered"):
            await ctx.request(ASK, 1)
        assert trio.current_time() == 69
        await desk.stop()


async def test_no_responder_error_survives_pickle_and_copy():
    """Its facts are attributes."""
    error = NoResponderError("nobody", topic="ask", begun=True)
    for each in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (str(each), each.topic, each.begun) == ("nobody", "ask", True)
