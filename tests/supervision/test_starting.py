"""Starting children: one, in levels, and what is refused; the settings of a supervisor."""

import contextlib
import math

import attrs
import pytest
import trio
import trio.testing

from genesis_trio.errors import ConfigError, StartTimeoutError
from genesis_trio.modes import Criticality, Mode
from genesis_trio.persistence.opening import open_store
from genesis_trio.supervision.backoff import Backoff
from genesis_trio.supervision.component import ChildSpec, Component, Lifecycle
from genesis_trio.supervision.supervisor import open_supervisor
from supervision.desk import EXACT, forever


@attrs.define
class Seen:
    path: str = ""


async def test_start_returns_once_the_child_is_ready(autojump_clock):
    """start() waits for ctx.ready(), not for the task to begin."""

    async def slow(ctx):
        await trio.sleep(2)
        ctx.ready("up")
        await trio.sleep_forever()

    async with open_supervisor("desk") as desk:
        child = await desk.start(slow, name="slow")

        assert trio.current_time() == 2
        assert child.status is Lifecycle.READY
        assert desk.children["slow"] is child
        assert (child.name, child.path, child.generation) == ("slow", "desk/slow", 1)
        await desk.stop()


async def test_start_crash_before_ready_is_raised_bare_and_the_name_is_free(autojump_clock):
    """A crash before the first READY comes out of start(); there is no such child then."""

    async def bad(ctx):
        raise OSError("no venue")

    async with open_supervisor("desk") as desk:
        with pytest.raises(OSError, match="no venue"):
            await desk.start(bad, name="x")

        assert "x" not in desk.children
        await desk.start(forever, name="x")
        await desk.stop()


async def test_start_timeout_says_what_to_call_and_who_waits(autojump_clock):
    """StartTimeoutError comes after start_timeout and names ctx.ready() and the requirements."""

    async def never(ctx):
        await trio.sleep_forever()

    async with open_supervisor("desk") as desk:
        await desk.start(forever, name="book")
        with pytest.raises(StartTimeoutError, match=r"start_timeout=3 s.*ctx\.ready\(\).*'book' is READY"):
            await desk.start(never, name="x", start_timeout=3, requires=["book"])
        assert trio.current_time() == 3
        await desk.stop()


async def test_start_of_a_child_that_shields_itself_past_its_time_has_failed(autojump_clock):
    """Its cancellation cannot end it, but a start that took too long is none, also if it then returns or calls ctx.ready()."""
    statuses = []

    async def returns(ctx):
        with trio.CancelScope(shield=True):
            await trio.sleep(5)

    async def is_ready_late(ctx):
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
            ctx.ready()
            statuses.append(desk.children[ctx.name].status)
        await trio.sleep_forever()

    async with open_supervisor("desk", backoff=EXACT, max_restarts=0) as desk:
        with pytest.raises(
            StartTimeoutError, match=r"ctx\.ready\(\), and shielded itself from its cancellation until it ret"
        ):
            await desk.start(returns, name="x", start_timeout=3)
        assert (trio.current_time(), dict(desk.children)) == (5, {})
        with pytest.raises(StartTimeoutError, match=r"it called ctx\.ready\(\) 2 s later"):
            await desk.start(is_ready_late, name="x", start_timeout=3)
        assert (trio.current_time(), statuses) == (10, [Lifecycle.STARTING])

        (child,) = await desk.start_all([ChildSpec(returns, name="x", start_timeout=3, unpark_after=None)])
        assert (child.status, type(child.last_error)) == (Lifecycle.PARKED, StartTimeoutError)
        await desk.stop()


async def test_start_of_a_job_that_ends_is_ready_and_done(autojump_clock):
    """A function that returns before it is ready is done; the block ends with it."""

    async def job(ctx):
        await trio.sleep(1)

    async with open_supervisor("desk") as desk:
        child = await desk.start(job, name="job")
        assert child.status is Lifecycle.STOPPED
    assert trio.current_time() == 1


async def test_start_cancelled_leaves_no_child(autojump_clock):
    """A cancelled start() stops what it began before the cancellation passes."""
    ended = []

    async def never(ctx):
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    async with open_supervisor("desk") as desk:
        with trio.move_on_after(1):
            await desk.start(never, name="x", stop_grace=0)
        assert ended == [1]
        assert not desk.children


@pytest.mark.parametrize("stores", [False, True])
async def test_start_all_cancelled_stops_what_it_started_in_reverse_order(stores, autojump_clock):
    """It leaves no half of a tree: what it has started ends, level by level, its state is saved, and the names are free again."""
    log = []

    class Saved(Component[Seen]):
        async def run(self, ctx):
            self.state.path = ctx.path
            await waits(ctx)

    async def waits(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        await trio.sleep(1)
        log.append((ctx.name, trio.current_time()))

    async def never(ctx):
        try:
            await trio.sleep_forever()
        finally:
            log.append((ctx.name, trio.current_time()))

    async with open_store("memory:") if stores else contextlib.nullcontext() as store:
        async with open_supervisor("desk", store=store) as desk:
            await desk.start(waits, name="before")
            specs = [
                ChildSpec(Saved if stores else waits, name="a"),
                ChildSpec(waits, name="b", requires=["a"]),
                ChildSpec(never, name="c", requires=["b"]),
                ChildSpec(never, name="d", requires=["c"]),
            ]
            with trio.move_on_after(5) as cut:
                await desk.start_all(specs)
            assert cut.cancelled_caught
            assert log == [("c", 5), ("b", 6), ("a", 7)]
            assert list(desk.children) == ["before"]
            if stores:
                assert (await store.restore_latest("desk/a", Seen)).state == Seen("desk/a")
            await desk.start_all(specs[:2])
            await desk.stop()


async def test_stop_of_a_child_that_loads_its_state_lets_it_load_and_not_begin(autojump_clock):
    """The last cut of a service that is stopped while it starts has the state of each that was begun."""
    entered = []

    class Saved(Component[Seen]):
        async def run(self, ctx):
            entered.append(ctx.name)

    async with open_store("memory:") as store:
        async with open_supervisor("desk", store=store) as desk, trio.open_nursery() as nursery:
            nursery.start_soon(desk.start_all, [ChildSpec(Saved, name="a")])
            while "a" not in desk.children or not desk.children["a"].generation:
                await trio.lowlevel.checkpoint()
            await desk.stop()
        assert (await store.restore_latest("desk/a", Seen)).state == Seen()
    assert entered == []
    assert trio.current_time() == 0


async def test_start_cancelled_of_a_child_that_does_not_end_keeps_its_name(autojump_clock):
    """No second incarnation starts while the first lives."""

    async def stubborn(ctx):
        with trio.CancelScope(shield=True):
            await trio.sleep(100)

    async with open_supervisor("desk", shutdown_timeout=5.0) as desk:
        with trio.move_on_after(1):
            await desk.start(stubborn, name="x")
        assert trio.current_time() == 6
        with pytest.raises(ConfigError, match="'x' already"):
            await desk.start(stubborn, name="x")


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([ChildSpec(forever, name="a", requires=["b"]), ChildSpec(forever, name="b", requires=["a"])], "a -> b -> a"),
        ([ChildSpec(forever, name="a", requires=["z"])], "requires 'z', which does not exist"),
        ([ChildSpec(forever, name="a", requires=["a"])], "requires itself"),
        ([ChildSpec(forever, name="a"), ChildSpec(forever, name="a")], "'a' already"),
        (
            [
                ChildSpec(forever, name="a", criticality=Criticality.OPTIONAL),
                ChildSpec(forever, name="b", requires=["a"]),
            ],
            "only OPTIONAL",
        ),
    ],
)
async def test_start_all_impossible_tree_is_refused_before_anything_starts(specs, message, autojump_clock):
    """Cycles, missing names and requirements on something less critical start nothing."""
    async with open_supervisor("desk") as desk:
        with pytest.raises(ConfigError, match=message):
            await desk.start_all(specs)
        assert not desk.children


async def test_start_all_starts_levels_in_parallel(autojump_clock):
    """Children of one level start side by side; the next level once all of them are ready."""
    log = []

    def taking(seconds):
        async def component(ctx):
            log.append(("start", ctx.name, trio.current_time()))
            await trio.sleep(seconds)
            ctx.ready()
            await trio.sleep_forever()

        return component

    async with open_supervisor("desk") as desk:
        await desk.start_all(
            [
                ChildSpec(taking(1), name="strategy", requires=["feed", "ledger"]),
                ChildSpec(taking(1), name="feed"),
                ChildSpec(taking(3), name="ledger"),
            ]
        )
        # Which of one level begins first in a scheduler step is Trio's choice.
        assert sorted(log[:2]) == [("start", "feed", 0), ("start", "ledger", 0)]
        assert log[2:] == [("start", "strategy", 3)]
        assert list(desk.children) == ["feed", "ledger", "strategy"]
        await desk.stop()


async def test_start_all_while_the_supervisor_stops_starts_no_further_level(autojump_clock):
    """What was not started yet never is, and whoever called start_all() is told which children those are."""
    ran = []

    async def slow(ctx):
        ran.append(ctx.name)
        await ctx.wait_stopping()

    async with open_supervisor("desk") as desk:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def stop():
                await trio.sleep(1)
                await desk.stop()

            specs = [
                ChildSpec(slow, name="feed", start_timeout=60.0),
                ChildSpec(slow, name="book", requires=("feed",)),
                ChildSpec(slow, name="view", requires=("book",)),
            ]
            with pytest.raises(RuntimeError) as caught:
                await desk.start_all(specs)

        assert str(caught.value) == ("supervisor 'desk' was stopped while it started children; not started: book, view")
        assert ran == ["feed"]
        assert list(desk.children) == ["feed"]
    assert trio.current_time() == 1


async def test_start_all_goes_on_when_a_first_start_parks(autojump_clock):
    """A first start that fails backs off and parks like any crash, and start_all goes on."""

    async def bad(ctx):
        raise OSError("down")

    async with open_supervisor("desk", backoff=EXACT) as desk:
        bad_child, good = await desk.start_all(
            [ChildSpec(bad, name="bad", unpark_after=None), ChildSpec(forever, name="good", requires=["bad"])]
        )
        assert (bad_child.status, good.status) == (Lifecycle.PARKED, Lifecycle.READY)
        assert desk.scope.mode is Mode.SAFE
        await desk.stop()


@pytest.mark.parametrize(
    ("takes", "error", "parked_at"),
    # Four starts, and 0.1 + 0.2 + 0.4 s between them.
    [(3, OSError, 12.7), (math.inf, StartTimeoutError, 40.7)],
)
async def test_start_all_goes_on_when_a_first_start_fails_slowly(takes, error, parked_at, autojump_clock):
    """Three crashes within 5 s are never reached, and yet nobody waits for it without end: it parks."""

    async def bad(ctx):
        await trio.sleep(takes)
        raise OSError("down")

    async with open_supervisor("desk", max_restarts=3, within=5.0, backoff=EXACT) as desk:
        bad_child, good = await desk.start_all(
            [
                ChildSpec(bad, name="bad", start_timeout=10, unpark_after=None),
                ChildSpec(forever, name="good", requires=["bad"]),
            ]
        )

        assert trio.current_time() == pytest.approx(parked_at, abs=1e-9)
        assert (bad_child.status, good.status) == (Lifecycle.PARKED, Lifecycle.READY)
        assert isinstance(bad_child.last_error, error)
        assert desk.scope.mode is Mode.SAFE
        await desk.stop()


async def test_crashes_of_a_first_start_are_forgiven_once_it_was_ready(autojump_clock):
    """Three slow failures before it was ready do not park one that crashes slowly afterwards."""
    starts = []

    async def bad(ctx):
        starts.append(trio.current_time())
        if len(starts) > 3:
            ctx.ready()
        await trio.sleep(6)
        raise OSError("down")

    async with open_supervisor(
        "desk", max_restarts=3, within=5.0, backoff=Backoff(base_delay=0, jitter="none")
    ) as desk:
        (child,) = await desk.start_all([ChildSpec(bad, name="bad")])
        assert (trio.current_time(), child.status) == (18, Lifecycle.READY)
        await trio.sleep(59)
        assert starts == [6.0 * n for n in range(13)]
        await desk.stop()


async def test_start_in_a_mode_that_does_not_admit_it_returns_it_suspended(autojump_clock):
    """An OPTIONAL child does not run in SAFE; it starts when the mode allows."""
    async with open_supervisor("desk") as desk:
        hold = desk.scope.hold(Mode.SAFE, reason="test")
        child = await desk.start(forever, name="x", criticality=Criticality.OPTIONAL)
        assert (child.status, child.generation) == (Lifecycle.SUSPENDED, 0)

        hold.release()
        await child.wait(Lifecycle.READY)
        await desk.stop()


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (lambda ctx: None, "is not async"),
        (int, "not a Component"),
        (Component(), "each incarnation is a new one"),
        (7, "an async function of ctx"),
    ],
)
async def test_start_of_what_is_no_component_says_what_to_write(component, message):
    """Sync functions, foreign classes and instances are TypeErrors at once."""
    async with open_supervisor("desk") as desk:
        with pytest.raises(TypeError, match=message):
            await desk.start(component, name="x")


async def test_start_after_stop_is_refused(autojump_clock):
    """A supervisor that stops starts no more children."""
    async with open_supervisor("desk") as desk:
        await desk.stop()
        with pytest.raises(RuntimeError, match="stopping"):
            await desk.start(forever, name="x")


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"max_restarts": -1}, ValueError),
        ({"max_restarts": 1.5}, TypeError),
        ({"within": 0}, ValueError),
        ({"shutdown_timeout": "30"}, TypeError),
        ({"strategy": "one_for_one"}, TypeError),
        ({"backoff": Backoff(base_delay=10, jitter="none"), "within": 5}, ValueError),
        ({"restore": "x"}, ConfigError),
    ],
)
async def test_open_supervisor_settings_that_cannot_work_are_refused(settings, error):
    """A limit that is never reached is as wrong as a negative one."""
    with pytest.raises(error):
        async with open_supervisor("desk", **settings):
            pass


async def test_backoff_full_jitter_can_always_be_reached():
    """The limit is judged by the shortest delays the jitter allows."""
    async with open_supervisor("desk", backoff=Backoff(base_delay=10, jitter="full"), within=1):
        pass


@pytest.mark.parametrize("by", ["hand", "its supervisor"])
async def test_start_of_a_child_that_is_stopped_before_it_is_ready_says_so(by, autojump_clock):
    """Who waits for a READY child is not handed a stopped one; what it met while it stopped is the cause."""

    async def slow(ctx):
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("while it stopped")

    async with open_supervisor("desk") as desk, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def stop():
            await trio.sleep(1)
            await (desk.children["x"].stop() if by == "hand" else desk.stop())

        with pytest.raises(RuntimeError, match="'desk/x' was stopped before it was ready") as caught:
            await desk.start(slow, name="x", stop_grace=0)
        assert str(caught.value.__cause__) == "while it stopped"
        assert desk.children["x"].status is Lifecycle.STOPPED
        await desk.stop()
