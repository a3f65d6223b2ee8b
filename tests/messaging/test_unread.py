"""Mailboxes that a restarted component does not open again: what waits in them, and who waits for their room."""

import attrs
import pytest
import trio
import trio.testing

from genesis_trio import (
    Backoff,
    CheckpointPolicy,
    Component,
    Lifecycle,
    Mode,
    Topic,
    observe,
    open_store,
    open_supervisor,
    schema,
)
from genesis_trio.persistence import codec
from genesis_trio.supervision._inbox import SavedMailbox
from messaging.parts import LETTERS, NUMBERS, context_of
from supervision.desk import Log, saved_desk

#: A component that crashes is down for ten seconds.
SLOW = {"backoff": Backoff(base_delay=10.0, multiplier=1.0, jitter="none"), "within": 600.0}
QUIET = CheckpointPolicy(every=None, messages=None)


def receivers(desk, topic=NUMBERS):
    """How many mailboxes get what is published."""
    return len(desk.tree.bus._routes.get(topic, ()))


class Changing:
    """Reads numbers in the runs named *reads*, and subscribes to them *late* seconds after it is READY; `crash` ends a run."""

    def __init__(self, *reads, late=0.0):
        self.reads = reads
        self.late = late
        self.got = []
        self.crashes = trio.Event()

    def crash(self):
        self.crashes.set()

    async def __call__(self, ctx):
        self.crashes = trio.Event()
        async with trio.open_nursery() as nursery, ctx.subscribe(LETTERS):
            if ctx.generation in self.reads:
                nursery.start_soon(self.read, ctx, 0.0 if ctx.generation == 1 else self.late)
            await trio.testing.wait_all_tasks_blocked()
            ctx.ready()
            await self.crashes.wait()
            raise OSError("down")

    async def read(self, ctx, late):
        await trio.sleep(late)
        async with ctx.subscribe(NUMBERS, capacity=2) as numbers:
            async for number in numbers:
                self.got.append(number)


class Sending:
    """Sends one number after the other, and notes when it could."""

    def __init__(self, count):
        self.count = count
        self.times = []

    async def __call__(self, ctx):
        ctx.ready()
        for number in range(self.count):
            await ctx.send(NUMBERS, number)
            self.times.append(trio.current_time())
        await ctx.wait_stopping()


async def go_down(reader, child):
    """Let *reader*, which is *child*, crash."""
    await trio.testing.wait_all_tasks_blocked()
    reader.crash()
    await child.wait(Lifecycle.BACKOFF)


async def test_mailbox_that_the_next_run_does_not_open_is_closed_after_its_start_timeout(autojump_clock):
    """Its senders go on then, and how many messages went with it is told; the other mailboxes stay."""
    log = Log()
    reader, sending = Changing(1), Sending(4)
    async with open_supervisor("desk", **SLOW) as desk:
        with observe(log):
            child = await desk.start(reader, name="reader", start_timeout=20.0)
            await go_down(reader, child)
            await desk.start(sending, name="sending")
            await child.wait(Lifecycle.READY)
            assert trio.current_time() == 10
            await trio.sleep(19)
            assert (sending.times, receivers(desk)) == ([0, 0], 1)
            await trio.sleep(2)
        assert sending.times == [0, 0, 30, 30]
        assert (receivers(desk), receivers(desk, LETTERS)) == (0, 1)
        (closed,) = log.named("mailbox_closed")
        assert (closed.time, closed.child, closed.mailbox) == (30, "desk/reader", "numbers")
        assert (closed.lost, closed.kept) == (2, 0)
        await desk.stop()


async def test_mailbox_that_is_opened_late_after_ready_loses_nothing(autojump_clock):
    """A component may be READY before it subscribes: until then it holds its senders back, as between two runs."""
    reader, sending = Changing(1, 2, late=19.0), Sending(4)
    async with open_supervisor("desk", **SLOW) as desk:
        child = await desk.start(reader, name="reader", start_timeout=20.0)
        await go_down(reader, child)
        await desk.start(sending, name="sending")
        await trio.sleep(60)
        assert (reader.got, sending.times) == ([0, 1, 2, 3], [0, 0, 29, 29])
        assert receivers(desk) == 1
        await desk.stop()


async def test_mailbox_waits_anew_in_each_run(autojump_clock):
    """One that crashed again before its time was over says nothing about the next one."""
    reader, sending = Changing(1, 3), Sending(3)
    async with open_supervisor("desk", **SLOW) as desk:
        child = await desk.start(reader, name="reader", start_timeout=20.0)
        await go_down(reader, child)
        await desk.start(sending, name="sending")
        await child.wait(Lifecycle.READY)
        await trio.sleep(15)
        await go_down(reader, child)
        await trio.sleep(60)
        assert (reader.got, sending.times) == ([0, 1, 2], [0, 0, 35])
        await desk.stop()


async def test_mailbox_that_its_run_has_left_stays(autojump_clock):
    """It was opened in this run, which may come back to it."""

    async def leaves(ctx):
        async with ctx.subscribe(NUMBERS):
            ctx.ready()
        await trio.sleep(100)
        async with ctx.subscribe(NUMBERS) as numbers:
            async for number in numbers:
                got.append(number)

    got = []
    async with open_supervisor("desk") as desk:
        child = await desk.start(leaves, name="reader", start_timeout=20.0)
        await child.restart()
        ctx = await context_of(desk)
        await trio.sleep(50)
        ctx.publish(NUMBERS, 1)
        await trio.sleep(51)
        assert got == [1]
        await desk.stop()


async def test_mailbox_of_a_run_that_is_suspended_meanwhile_stays(autojump_clock):
    """What it does not open any more, because it stops, the next run may open."""
    reader = Changing(1, 3)
    async with open_supervisor("desk", **SLOW) as desk:
        child = await desk.start(reader, name="reader", start_timeout=20.0, stop_grace=15.0)
        ctx = await context_of(desk)
        await go_down(reader, child)
        await child.wait(Lifecycle.READY)
        ctx.publish(NUMBERS, 1)
        await trio.sleep(15)
        with desk.scope.hold(Mode.EMERGENCY, owner="test", reason="r"):
            await child.wait(Lifecycle.SUSPENDED)
            assert trio.current_time() == 40
        await child.wait(Lifecycle.READY)
        await trio.testing.wait_all_tasks_blocked()
        assert reader.got == [1]
        await desk.stop()


# ------------------------------------------------------------ with saved state


SAVED = Topic("unread.numbers", int)


@schema("unread.book")
@attrs.define
class Book:
    numbers: list[int] = attrs.Factory(list)


class Keeping(Component[Book]):
    """Reads numbers in the runs named *reads*, one a second; `crash` ends a run."""

    def __init__(self, reads):
        self.reads = reads
        self.crashes = trio.Event()

    def crash(self):
        self.crashes.set()

    async def run(self, ctx):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.read_letters, ctx)
            if ctx.generation in self.reads:
                nursery.start_soon(self.read, ctx)
            await trio.testing.wait_all_tasks_blocked()
            ctx.ready()
            await self.crashes.wait()
            raise OSError("down")

    async def read_letters(self, ctx):
        async with ctx.subscribe(LETTERS) as letters:
            async for _ in letters:
                pass

    async def read(self, ctx):
        async with ctx.subscribe(SAVED) as numbers:
            async for number in numbers:
                self.state.numbers.append(number)
                await trio.sleep(1)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:{tmp_path / 'desk.db'}"


@pytest.mark.parametrize("saves", [False, True])
async def test_saved_mailbox_that_is_closed_keeps_what_waits_for_a_later_run(saves, url, autojump_clock):
    """Also if it crashes before the next save; numbers sent while nobody subscribes reach nobody."""
    log = Log()
    async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=QUIET, **SLOW) as desk:
        with observe(log):
            child = await desk.start(Keeping, (1, 3), name="reader", start_timeout=20.0)
            ctx = await context_of(desk)
            for number in range(2):
                ctx.publish(SAVED, number)
            await trio.sleep(3)
            await desk.create_checkpoint()
            for number in range(2, 5):
                ctx.publish(SAVED, number)
            await go_down(child.incarnation.component, child)
            ctx.publish(SAVED, 5)
            await trio.sleep(40)
        (closed,) = log.named("mailbox_closed")
        assert (closed.mailbox, closed.lost, closed.kept) == ("unread.numbers", 0, 4)
        ctx.publish(SAVED, 99)
        assert not child.incarnation.took_message
        ctx.publish(LETTERS, "a")
        await trio.testing.wait_all_tasks_blocked()
        assert child.incarnation.took_message
        if saves:
            await desk.create_checkpoint()
        await go_down(child.incarnation.component, child)
        await trio.sleep(60)
        assert child.incarnation.component.state.numbers == [0, 1, 2, 3, 4, 5]
        await desk.stop()


async def test_saved_mailbox_that_is_closed_is_found_by_a_later_process(url, autojump_clock):
    """What is kept is part of each saved checkpoint, as what a process finds and does not open."""
    async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=QUIET, **SLOW) as desk:
        child = await desk.start(Keeping, (1,), name="reader", start_timeout=20.0)
        ctx = await context_of(desk)
        await go_down(child.incarnation.component, child)
        for number in range(3):
            ctx.publish(SAVED, number)
        await trio.sleep(40)
        assert receivers(desk, SAVED) == 0
        await desk.stop()
    async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=QUIET, **SLOW) as desk:
        child = await desk.start(Keeping, range(9), name="reader")
        ctx = await context_of(desk)
        ctx.publish(SAVED, 3)
        await trio.sleep(5)
        assert child.incarnation.component.state.numbers == [0, 1, 2, 3]
        await desk.stop()


async def test_saved_mailbox_that_is_closed_goes_on_from_the_state_that_is_restored(url, autojump_clock):
    """Of what was set aside for an older state, only what comes after the newer one waits for it."""
    async with saved_desk(url) as desk:
        child = await desk.start(Keeping, (), name="reader")
        schema = attrs.astuple(codec.describe(int))
        one, two, three = (
            [position, SAVED.name, f"feed@1#{position}", str(position), schema] for position in (1, 2, 3)
        )
        child.unopened = {SAVED.name: SavedMailbox(0, 4, [one, two, three])}
        child.line_up({SAVED.name: SavedMailbox(2, 3, [])})
        assert child.unopened == {SAVED.name: SavedMailbox(2, 4, [three])}
        await desk.stop()
