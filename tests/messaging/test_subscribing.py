"""Topics and who subscribes to them: what is handed over, and what is refused."""

import pytest
import trio
import trio.testing

from genesis_trio.errors import ConfigError
from genesis_trio.messaging.topic import Overflow, Topic
from genesis_trio.supervision.supervisor import open_supervisor
from messaging.parts import LATEST, LETTERS, NUMBERS, Reader, Tick, context_of


async def test_subscribe_several_topics_is_one_inbox_in_arrival_order(autojump_clock):
    """Messages of all topics come in the order in which they were sent."""
    reader = Reader(NUMBERS, LETTERS)
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="reader")
        ctx = await context_of(desk)
        for message in (1, "a", 2, "b"):
            ctx.publish(NUMBERS if isinstance(message, int) else LETTERS, message)
        await trio.testing.wait_all_tasks_blocked()
        assert reader.got == [1, "a", 2, "b"]
        await desk.stop()


async def test_publish_wrong_type_is_refused(autojump_clock):
    """A topic carries one type."""
    async with open_supervisor("desk") as desk:
        ctx = await context_of(desk)
        with pytest.raises(TypeError, match=r"'numbers' carries int, got 'x'"):
            ctx.publish(NUMBERS, "x")
        await desk.stop()


async def test_topics_of_one_name_are_refused(autojump_clock):
    """Two topics with the same name would be mixed up in what is saved."""
    async with open_supervisor("desk") as desk:
        ctx = await context_of(desk)
        ctx.publish(NUMBERS, 1)
        with pytest.raises(ConfigError, match="module level"):
            ctx.publish(Topic("numbers", int), 1)
        await desk.stop()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(("", int), ValueError), ((3, int), TypeError), (("x", 3), TypeError)],
)
def test_topic_wrong_arguments(arguments, error):
    """A topic has a name and a class."""
    with pytest.raises(error):
        Topic(*arguments)
    with pytest.raises(TypeError):
        Topic("x", int, key=3)
    for flag in ("latest", "urgent"):
        with pytest.raises(TypeError, match=f"{flag} of topic 'x' is True or False, got 'no'"):
            Topic("x", int, **{flag: "no"})


async def test_second_subscription_to_a_topic_is_refused(autojump_clock):
    """One child, one subscription a topic."""
    async with open_supervisor("desk") as desk:
        ctx = await context_of(desk)
        async with ctx.subscribe(NUMBERS, LETTERS):
            with pytest.raises(ValueError, match="'letters' already"):
                async with ctx.subscribe(LETTERS):
                    pass
        with pytest.raises(ValueError, match="twice"):
            async with ctx.subscribe(LETTERS, LETTERS):
                pass
        await desk.stop()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"capacity": 0}, ValueError),
        ({"capacity": 1.5}, TypeError),
        ({"overflow": "block"}, TypeError),
        ({"every": 0}, ValueError),
        ({"max_age": -1}, ValueError),
        ({"overflow": Overflow.CONFLATE}, ConfigError),
    ],
)
async def test_subscribe_wrong_settings_are_refused(arguments, error, autojump_clock):
    """Wrong values at once, with the value."""
    async with open_supervisor("desk") as desk:
        ctx = await context_of(desk)
        with pytest.raises(error):
            async with ctx.subscribe(NUMBERS, **arguments):
                pass
        with pytest.raises(ValueError, match="at least one topic"):
            async with ctx.subscribe():
                pass
        await desk.stop()


@pytest.mark.parametrize(
    ("seconds", "error"), [("1", TypeError), (True, TypeError), (float("nan"), ValueError), (0, ValueError)]
)
async def test_times_that_are_none_are_named_with_their_value(seconds, error, autojump_clock):
    """Not in the words of a comparison, which know neither the name nor the value."""
    async with open_supervisor("desk") as desk:
        ctx = await context_of(desk)
        for what in ("every", "max_age"):
            with pytest.raises(error, match=f"{what} is .*seconds.*, got {seconds!r}"):
                async with ctx.subscribe(NUMBERS, **{what: seconds}):
                    pass
        with pytest.raises(error, match=f"timeout is .*seconds.*, got {seconds!r}"):
            await ctx.request(NUMBERS, 1, timeout=seconds)
        await desk.stop()


async def test_latest_hands_a_new_mailbox_the_newest_of_each_key(autojump_clock):
    """A late subscriber knows the present prices."""
    reader = Reader(LATEST)
    async with open_supervisor("desk") as desk:
        ctx = await context_of(desk)
        for tick in (Tick("btc", 1), Tick("eth", 5), Tick("btc", 2)):
            ctx.publish(LATEST, tick)
        await desk.start(reader, name="reader")
        await trio.testing.wait_all_tasks_blocked()
        assert reader.got == [Tick("eth", 5), Tick("btc", 2)]
        await desk.stop()


async def test_publish_from_a_thread_is_refused_and_says_how_to(autojump_clock):
    """A reader may only be woken in its run; the message tells the way there."""
    reader = Reader(NUMBERS)

    def in_a_thread():
        with pytest.raises(RuntimeError, match=r"'desk/sender'.*another thread.*from_thread.run_sync"):
            ctx.publish(NUMBERS, 1)
        trio.from_thread.run_sync(ctx.publish, NUMBERS, 2)

    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="reader")
        ctx = await context_of(desk)
        await trio.to_thread.run_sync(in_a_thread)
        await trio.sleep(1)
        assert reader.got == [2]
        await desk.stop()


async def test_stopping_ends_iteration_after_the_message_in_hand(autojump_clock):
    """What still waits is not begun."""
    ended = []

    async def slow(ctx, item):
        await trio.sleep(1)
        ended.append(item)

    reader = Reader(NUMBERS, work=slow)
    async with open_supervisor("desk") as desk:
        child = await desk.start(reader, name="reader")
        ctx = await context_of(desk)
        ctx.publish(NUMBERS, 1)
        ctx.publish(NUMBERS, 2)
        await trio.testing.wait_all_tasks_blocked()
        await child.stop()
        assert trio.current_time() == 1
        assert ended == [1]
        assert child.last_error is None
        await desk.stop()


async def test_two_tasks_on_one_subscription_are_refused(autojump_clock):
    """One subscription, one task."""
    async with open_supervisor("desk") as desk:
        ctx = await context_of(desk)
        async with ctx.subscribe(NUMBERS) as inbox, trio.open_nursery() as nursery:
            nursery.start_soon(inbox.__anext__)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await inbox.__anext__()
            nursery.cancel_scope.cancel()
        await desk.stop()
