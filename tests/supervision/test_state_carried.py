"""A cut is one of the whole tree, also while that starts: who is not there yet is in it as it was saved last."""

import attrs
import pytest
import trio

from genesis_trio import CircuitBreaker, Component, Criticality, Mode, Restart, Topic, observe, open_store, schema
from genesis_trio.supervision.component import ChildSpec
from supervision.desk import Log, killed, open_desk

NUMBERS, NOTHING = Topic("carried.numbers", int), Topic("carried.nothing", int)
EARLY, LATE, INNER = "desk/early", "desk/late", "desk/host/venue/inner"


@schema("carried.book")
@attrs.define
class Book:
    runs: int = 0
    numbers: list[int] = attrs.Factory(list)
    recorded: int = 0

    def __attrs_post_init__(self):
        if self.runs < 0:
            raise ValueError("spoilt")

    def apply(self, event: int) -> None:
        self.recorded += event


class Counting(Component[Book]):
    async def run(self, ctx):
        self.state.runs += 1
        async with ctx.subscribe(NUMBERS) as numbers:
            ctx.ready()
            async for number in numbers:
                self.state.numbers.append(number)
                await ctx.record(number, key=f"{self.state.runs}/{number}")


class Early(Counting):
    async def run(self, ctx):
        self.state.runs += 1
        async with ctx.subscribe(NOTHING) as nothing:
            ctx.ready()
            async for _ in nothing:
                pass


@attrs.define
class Slow:
    """Lets go of a tree that starts, and takes a cut of it in between."""

    desk: object = None
    checkpoint: object = None

    async def __call__(self, ctx):
        self.checkpoint = await self.desk.create_checkpoint(label="meanwhile")
        ctx.ready()
        await ctx.wait_stopping()


async def nested(ctx):
    from genesis_trio import open_supervisor

    async with open_supervisor("venue") as venue:
        await venue.start(Counting, name="inner")
        ctx.ready()


async def sender(ctx):
    ctx.ready()
    ctx.publish(NUMBERS, 10)


def specs(slow):
    """The early one, then somebody who takes a cut while it starts, then all the rest."""
    return [
        ChildSpec(Early, name="early"),
        ChildSpec(slow, name="slow", requires=("early",)),
        ChildSpec(Counting, name="late", requires=("slow",)),
        ChildSpec(nested, name="host", requires=("slow",)),
        ChildSpec(Counting, name="new", requires=("slow",)),
    ]


async def one_process(url, *, without=(), then=None, **settings):
    """A process that takes a cut while it starts; that cut, and all events."""
    log = Log()
    with observe(log):
        async with open_store(url) as store, open_desk(store, **settings) as desk:
            slow = Slow(desk)
            await desk.start_all([spec for spec in specs(slow) if spec.name not in without])
            await desk.start(sender, name="sender", restart=Restart.TRANSIENT)
            await trio.sleep(1)
            if then is not None:
                await then(store, desk)
    return slow.checkpoint, log


async def states(store):
    return {path: (await store.restore_latest(path, Book)).state for path in (EARLY, LATE, INNER)}


async def test_cut_while_a_tree_starts_holds_who_starts_later(url, autojump_clock):
    """Each with the state of the last process, and what is nested in one of them as well; who is new is not in it."""
    await one_process(url, without=["new"])
    info, log = await one_process(url)
    assert info.components == (EARLY, INNER, LATE)
    async with open_store(url) as store:
        found = {path: (await store.restore(info.id, path, Book)).state for path in info.components}
        assert found == {EARLY: Book(2), LATE: Book(1, [10], 10), INNER: Book(1, [10], 10)}
        assert (await states(store))[LATE] == Book(2, [10, 10], 20)
    assert not log.named("checkpoint_failed")


@pytest.mark.parametrize("to", ["meanwhile", "id"])
async def test_restore_of_a_cut_while_a_tree_started_brings_all_to_one_moment(to, url, autojump_clock):
    """Nobody stays where it is, and nobody is told of that."""
    await one_process(url, without=["new"])
    info, _ = await one_process(url, without=["new"])

    async def look(store, desk):
        now = {path: desk.children[path.split("/")[1]].incarnation.component.state for path in (EARLY, LATE)}
        assert now == {EARLY: Book(3), LATE: Book(2, [10, 10], 20)}

    _, log = await one_process(url, without=["new"], then=look, restore=info.id if to == "id" else to)
    assert not log.named("restore_incomplete")
    async with open_store(url) as store:
        assert await states(store) == {EARLY: Book(3), LATE: Book(2, [10, 10], 20), INNER: Book(2, [10, 10], 20)}


async def test_kill_after_a_cut_while_a_tree_starts_loses_nothing_of_who_had_not_started(url, autojump_clock):
    """The next process finds the newest checkpoint whole, and goes on from there."""
    await one_process(url, without=["new"])
    copies = []

    class Killed(Slow):
        async def __call__(self, ctx):
            self.checkpoint = await self.desk.create_checkpoint()
            copies.append(killed(url))
            ctx.ready()
            await ctx.wait_stopping()

    async with open_store(url) as store, open_desk(store) as desk:
        slow = Killed(desk)
        await desk.start_all([spec for spec in specs(slow) if spec.name != "new"])

    async with open_store(copies[0]) as store:
        (newest, *_) = await store.list_checkpoints()
        assert (newest.id, newest.components) == (slow.checkpoint.id, (EARLY, INNER, LATE))
        found = await store.restore_latest(LATE, Book)
        assert (found.state, found.fell_back_from, found.lost) == (Book(1, [10], 10), (), 0)
    _, log = await one_process(copies[0], without=["new"])
    assert not log.named("recovery_fell_back", "mode_changed")
    async with open_store(copies[0]) as store:
        assert (await states(store))[LATE] == Book(2, [10, 10], 20)


async def test_cut_holds_the_messages_of_who_has_not_started(url, autojump_clock):
    """They come once it starts, also from that cut."""

    class Deaf(Counting):
        async def run(self, ctx):
            async with ctx.subscribe(NUMBERS):
                ctx.ready()
                await ctx.wait_stopping()

    async with open_store(url) as store, open_desk(store) as desk:
        await desk.start(Deaf, name="late")
        await desk.start(sender, name="sender", restart=Restart.TRANSIENT)
        await trio.sleep(1)
    info, _ = await one_process(url, without=["new", "host"])
    async with open_store(url) as store, open_desk(store, restore=info.id) as desk:
        child = await desk.start(Counting, name="late")
        await trio.sleep(1)
        assert child.incarnation.component.state == Book(1, [10], 10)


@pytest.mark.parametrize("why", ["mode", "breaker"])
async def test_cut_holds_a_child_that_is_held_back_in_each_cut(why, url, autojump_clock):
    """For as long as it is not let start, also at the stop."""
    await one_process(url, without=["new"])
    breaker = CircuitBreaker("venue")
    held_back = {"breaker": breaker} if why == "breaker" else {"criticality": Criticality.OPTIONAL}
    async with open_store(url) as store, open_desk(store) as desk:
        await desk.start(Early, name="early")
        if why == "breaker":
            breaker.isolate()
        else:
            desk.scope.hold(Mode.SAFE, owner="test", reason="test")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: desk.start(Counting, name="late", **held_back))
            await trio.sleep(1)
            assert desk.children["late"].incarnation is None
            for _ in range(2):
                assert (await desk.create_checkpoint()).components == (EARLY, LATE)
                await trio.sleep(1)
            nursery.cancel_scope.cancel()


async def test_cut_does_not_hold_who_is_no_child_any_more(url, autojump_clock):
    """A former component keeps its own state, and is in no new checkpoint."""
    await one_process(url, without=["new"])
    info, _ = await one_process(url, without=["late", "new"])
    assert info.components == (EARLY, INNER)
    async with open_store(url) as store:
        await store.prune(keep=1)
        assert [each.components for each in await store.list_checkpoints(LATE)] == [(LATE,)]


async def test_cut_forgets_what_a_host_does_not_make_any_more(url, autojump_clock):
    """It is held until the host has been READY for its start_timeout without it."""
    await one_process(url, without=["new"])

    async def host(ctx):
        await trio.sleep(2)
        ctx.ready()
        await ctx.wait_stopping()

    found = []
    async with open_store(url) as store, open_desk(store) as desk:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: desk.start(host, name="host", start_timeout=10.0))
            for seconds in (1, 2, 8, 2, 1):
                await trio.sleep(seconds)
                found.append((trio.current_time(), INNER in (await desk.create_checkpoint()).components))
    began = found[0][0] - 1
    assert [(time - began, held) for time, held in found] == [
        (1, True),
        (3, True),
        (11, True),
        (13, False),
        (14, False),
    ]


async def test_state_that_cannot_be_read_back_is_stood_in_for_by_that_of_a_process_before(url, autojump_clock):
    """The cut holds the last good one, and says what is not in it."""
    await one_process(url, without=["new"])
    log = Log()

    class Spoilt(Counting):
        async def run(self, ctx):
            self.state.runs = -2
            await Early.run(self, ctx)

    with observe(log):
        async with open_store(url) as store, open_desk(store) as desk:
            await desk.start(Early, name="early")
            await desk.start(Spoilt, name="late")
    assert log.named("checkpoint_failed")
    async with open_store(url) as store:
        (newest, *_) = await store.list_checkpoints()
        assert LATE in newest.components
        assert (await store.restore_latest(LATE, Book)).state == Book(1, [10], 10)
