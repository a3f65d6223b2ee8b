"""Items between mailboxes and the streams of Trio, anyio and others."""

import anyio
import attrs
import pytest
import trio
import trio.testing

from genesis_trio import Topic, observe, open_supervisor
from genesis_trio.supervision.component import Lifecycle, Restart
from supervision.desk import EXACT, Log

NUMBERS = Topic("pump.numbers", int)
TEXTS = Topic("pump.texts", str)


def trio_channel(size):
    return trio.open_memory_channel(size)


def anyio_stream(size):
    return anyio.create_memory_object_stream(size)


BOTH = pytest.mark.parametrize("make_stream", [trio_channel, anyio_stream])


class Reader:
    def __init__(self, topic, **options):
        self.topic, self.options, self.got = topic, options, []
        self.go = trio.Event()

    async def __call__(self, ctx):
        async with ctx.subscribe(self.topic, **self.options) as inbox:
            ctx.ready()
            await self.go.wait()
            async for item in inbox:
                self.got.append(item)


async def sender(ctx):
    ctx.ready()
    await ctx.wait_stopping()


class Source:
    """A component that pumps a stream into a topic, and remembers what `pump` returned."""

    def __init__(self, stream, target, **options):
        self.stream, self.target, self.options, self.moved = stream, target, options, []

    async def __call__(self, ctx):
        ctx.ready()
        self.moved.append(await ctx.pump(self.stream, self.target, **self.options))


class Drain:
    """A component that pumps its mailbox into a stream."""

    def __init__(self, topic, stream, **options):
        self.topic, self.stream, self.options, self.moved = topic, stream, options, []

    async def __call__(self, ctx):
        async with ctx.subscribe(self.topic) as inbox:
            ctx.ready()
            self.moved.append(await ctx.pump(inbox, self.stream, **self.options))


# ------------------------------------------------------------------ from a stream


@BOTH
async def test_pump_stream_into_topic_until_its_end(make_stream, autojump_clock):
    """Every item arrives, in order, and the end of the stream is the end of the pump, not an error."""
    send, receive = make_stream(10)
    reader, source = Reader(NUMBERS), Source(receive, NUMBERS)
    reader.go.set()
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="reader")
        child = await desk.start(source, name="source", restart=Restart.TRANSIENT)
        for number in range(5):
            await send.send(number)
        await send.aclose()
        await child.wait(Lifecycle.STOPPED)
        await trio.sleep(0.1)
        await desk.stop()
    await receive.aclose()
    assert source.moved == [5]
    assert reader.got == [0, 1, 2, 3, 4]


@BOTH
async def test_pump_stream_into_full_mailbox_holds_the_stream_back(make_stream, autojump_clock):
    """Room is waited for, so the stream fills and its sender waits as well: nothing is buffered in between."""
    send, receive = make_stream(1)
    reader = Reader(NUMBERS, capacity=2)
    sent = []
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="reader")
        await desk.start(Source(receive, NUMBERS), name="source", restart=Restart.TRANSIENT)

        async def feed():
            for number in range(10):
                await send.send(number)
                sent.append(number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed)
            await trio.sleep(1)
            assert sent == [0, 1, 2, 3]  # two in the mailbox, one in the pump's hand, one in the stream
            reader.go.set()
        await send.aclose()
        await trio.sleep(1)
        await desk.stop()
    await receive.aclose()
    assert reader.got == list(range(10))


@BOTH
async def test_pump_stop_ends_the_waiting_for_an_item_at_once(make_stream, autojump_clock):
    """Asked to stop it does not wait for the stream, nor for `stop_grace`."""
    send, receive = make_stream(0)
    source = Source(receive, NUMBERS)
    async with open_supervisor("desk") as desk:
        await desk.start(source, name="source")
        await trio.sleep(1)
        await desk.stop()
        assert trio.current_time() == 1.0
    assert source.moved == [0]
    await send.aclose()
    await receive.aclose()


async def test_pump_stop_puts_the_item_in_hand_where_it_belongs(autojump_clock):
    """Only the waiting is cut short: what was received is not thrown away."""
    send, receive = trio.open_memory_channel(1)
    reader = Reader(NUMBERS, capacity=1)
    source = Source(receive, NUMBERS)
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="reader")
        child = await desk.start(source, name="source")
        await send.send(1)
        await send.send(2)
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.stop)
            await trio.sleep(1)
            assert not child.is_finished
            reader.go.set()
        await trio.sleep(1)
        assert (reader.got, source.moved) == ([1, 2], [2])
        await desk.stop()


async def test_pump_error_of_the_stream_crashes_the_component_bare(autojump_clock):
    """A broken stream is a crash like any other, so that the supervisor connects anew; the error is not wrapped."""
    log = Log()

    class Broken:
        async def receive(self):
            await trio.sleep(1)
            raise trio.BrokenResourceError("cable cut")

    with observe(log):
        async with open_supervisor("desk", backoff=EXACT) as desk:
            child = await desk.start(Source(Broken(), NUMBERS), name="source")
            await trio.sleep(1.05)
            assert type(child.last_error) is trio.BrokenResourceError
            await desk.stop()
    assert log.times("child_crashed") == [1.0]


async def test_pump_from_anything_that_can_be_iterated(autojump_clock):
    """A WebSocket connection, an async generator: what `async for` takes, `pump` takes."""

    class Connection:
        def __init__(self):
            self.left = ["a", "b"]

        def __aiter__(self):
            return self

        async def __anext__(self):
            await trio.lowlevel.checkpoint()
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    reader, source = Reader(TEXTS), Source(Connection(), TEXTS)
    reader.go.set()
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="reader")
        await desk.start(source, name="source", restart=Restart.TRANSIENT)
        await trio.sleep(1)
        await desk.stop()
    assert (reader.got, source.moved) == (["a", "b"], [2])


async def test_pump_convert_changes_and_leaves_out(autojump_clock):
    """What is parsed here arrives parsed; None is a heartbeat of the other side, for instance, and goes nowhere."""
    send, receive = trio.open_memory_channel(10)
    reader = Reader(NUMBERS)
    source = Source(receive, NUMBERS, convert=lambda text: None if text == "ping" else int(text))
    reader.go.set()
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="reader")
        await desk.start(source, name="source", restart=Restart.TRANSIENT)
        for text in ("1", "ping", "2"):
            send.send_nowait(text)
        send.close()
        await trio.sleep(1)
        await desk.stop()
    assert (reader.got, source.moved) == ([1, 2], [2])


async def test_pump_is_progress(autojump_clock):
    """Items are heartbeats; a stream that says nothing is silence."""
    send, receive = trio.open_memory_channel(10)
    log = Log()
    with observe(log):
        async with open_supervisor("desk", backoff=EXACT) as desk:
            await desk.start(Source(receive, NUMBERS), name="source", heartbeat_timeout=3.0)
            for number in range(5):
                await trio.sleep(2)
                await send.send(number)
            assert log.named("child_crashed") == []
            await trio.sleep(3.05)
            assert log.times("child_crashed") == [13.0]
            await desk.stop()


# ------------------------------------------------------------------ into a stream


@BOTH
async def test_pump_mailbox_into_stream(make_stream, autojump_clock):
    """Whoever holds the other end gets the messages in order."""
    send, receive = make_stream(10)
    drain = Drain(NUMBERS, send)
    async with open_supervisor("desk") as desk:
        await desk.start(drain, name="drain")
        ctx = (await desk.start(sender, name="sender")).incarnation.context
        await ctx.send_all(NUMBERS, [1, 2, 3])
        assert [await receive.receive() for _ in range(3)] == [1, 2, 3]
        await desk.stop()
    assert drain.moved == [3]
    await send.aclose()
    await receive.aclose()


async def test_pump_message_that_the_stream_did_not_take_comes_again(autojump_clock):
    """It is in hand until `send` has returned."""
    taken = []

    @attrs.define
    class Flaky:
        failures: int = 1

        async def send(self, item):
            await trio.lowlevel.checkpoint()
            if item == 2 and self.failures:
                self.failures -= 1
                raise OSError("cable cut")
            taken.append(item)

    async with open_supervisor("desk", backoff=EXACT) as desk:
        await desk.start(Drain(NUMBERS, Flaky()), name="drain")
        ctx = (await desk.start(sender, name="sender")).incarnation.context
        await ctx.send_all(NUMBERS, [1, 2, 3])
        await trio.sleep(1)
        await desk.stop()
    assert taken == [1, 2, 3]


async def test_pump_between_two_streams(autojump_clock):
    """Neither end has to be a mailbox."""
    send, receive = trio.open_memory_channel(5)
    other_send, other_receive = anyio.create_memory_object_stream(5)
    for number in range(3):
        send.send_nowait(number)
    send.close()
    async with open_supervisor("desk") as desk:
        await desk.start(Source(receive, other_send), name="source", restart=Restart.TRANSIENT)
        await trio.sleep(1)
        await desk.stop()
    assert [other_receive.receive_nowait() for _ in range(3)] == [0, 1, 2]
    await other_send.aclose()
    await other_receive.aclose()


# ------------------------------------------------------------------ misuse and cancellation


async def test_pump_wrong_ends_are_refused(autojump_clock):
    """With what is wanted."""
    send, receive = trio.open_memory_channel(5)
    async with open_supervisor("desk") as desk:
        ctx = (await desk.start(sender, name="sender")).incarnation.context
        with pytest.raises(TypeError, match=r"async def receive\(\)`, got 5"):
            await ctx.pump(5, NUMBERS)
        with pytest.raises(TypeError, match=r"async def send\(item\)`, got 'numbers'"):
            await ctx.pump(receive, "numbers")
        send.send_nowait("not a number")
        with pytest.raises(TypeError, match="carries int"):
            await ctx.pump(receive, NUMBERS)
        await desk.stop()


async def test_pump_cancelled_from_outside_is_cancelled(autojump_clock):
    """A cancellation passes, whatever is waited for, and the stream stays open."""
    send, receive = trio.open_memory_channel(5)
    async with open_supervisor("desk") as desk:
        ctx = (await desk.start(sender, name="sender")).incarnation.context
        with trio.move_on_after(1) as limit:
            await ctx.pump(receive, NUMBERS)
        assert limit.cancelled_caught
        assert trio.current_time() == 1.0
        send.send_nowait(1)
        assert await receive.receive() == 1
        await desk.stop()
