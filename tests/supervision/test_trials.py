"""Children that failed together come back by themselves, though their mode does not admit them."""

import pytest
import trio

from genesis_trio import ChildSpec, Criticality, Lifecycle, Mode, ModePolicy, Strategy, open_supervisor
from supervision.desk import EXACT, until_stopped


class Venue:
    """What the children of a test depend on; `feed` crashes with it, `quiet_feed` is unhealthy with it."""

    def __init__(self):
        self.is_up = trio.Event()
        self.runs = []

    async def feed(self, ctx):
        self.runs.append((ctx.name, trio.current_time()))
        ctx.ready()
        if not self.is_up.is_set():
            raise OSError("the venue is down")
        await ctx.wait_stopping()

    async def quiet_feed(self, ctx):
        self.runs.append((ctx.name, trio.current_time()))
        ctx.ready()
        if not self.is_up.is_set():
            with ctx.unhealthy("the venue is down"):
                await self.is_up.wait()
        await ctx.wait_stopping()


async def until_normal(desk, seconds):
    with trio.move_on_after(seconds):
        await desk.scope.wait_for(lambda mode: mode is Mode.NORMAL)
        await trio.sleep(0.1)  # what is suspended still follows in the next steps
    return desk.scope.mode


@pytest.mark.parametrize("criticality", [Criticality.OPTIONAL, Criticality.ESSENTIAL])
async def test_trial_of_children_parked_together_is_not_kept_from_by_their_mode(criticality, autojump_clock):
    """A venue that takes all feeds down leads to EMERGENCY; when it is back, so are they, without an operator."""
    venue = Venue()
    async with open_supervisor("desk", mode_policy=ModePolicy(), max_restarts=0, backoff=EXACT) as desk:
        for number in range(3):
            await desk.start(venue.feed, name=f"feed{number}", criticality=criticality)
        await trio.sleep(10)
        assert desk.scope.mode is Mode.EMERGENCY
        venue.is_up.set()

        assert await until_normal(desk, 120) is Mode.NORMAL
        assert {child.status for child in desk.children.values()} == {Lifecycle.READY}
        await desk.stop()


async def test_trial_of_children_suspended_while_failing_brings_them_back(autojump_clock):
    """Unhealthy children are suspended by the mode that they led to, and are tried when a parked one would be."""
    venue = Venue()
    async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
        for number in range(3):
            await desk.start(venue.quiet_feed, name=f"feed{number}", stop_grace=0.0)
        await trio.sleep(10)
        assert {child.status for child in desk.children.values()} == {Lifecycle.SUSPENDED}
        venue.is_up.set()

        assert await until_normal(desk, 120) is Mode.NORMAL
        assert {child.status for child in desk.children.values()} == {Lifecycle.READY}
        await desk.stop()


async def test_trial_that_is_ready_and_not_well_is_suspended_again(autojump_clock):
    """Where the mode does not admit it a child runs for a trial only; the next one comes after twice the time."""
    venue = Venue()
    async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
        for number in range(2):
            await desk.start(venue.quiet_feed, name=f"feed{number}", stop_grace=0.0)
        await trio.sleep(140)
        assert {child.status for child in desk.children.values()} == {Lifecycle.SUSPENDED}
        times = [time for name, time in venue.runs if name == "feed0"]
        assert len(times) == 3
        assert 27 <= times[1] - 1 <= 33
        assert 54 <= times[2] - (times[1] + 5) <= 67  # its trial took recover_after
        await desk.stop()


async def test_trial_waits_for_a_more_critical_child_and_for_an_operator(autojump_clock):
    """What it did not lead to itself keeps it from its trial."""
    venue = Venue()
    ledger = Venue()
    async with open_supervisor("desk", mode_policy=ModePolicy(), max_restarts=0, backoff=EXACT) as desk:
        await desk.start(venue.feed, name="feed")
        await desk.start(ledger.feed, name="ledger", criticality=Criticality.CRITICAL, unpark_after=None)
        held = desk.scope.hold(Mode.EMERGENCY, owner="operator", reason="no trading today")
        venue.is_up.set()
        ledger.is_up.set()
        await trio.sleep(100)
        assert [name for name, _ in venue.runs] == ["feed"]
        held.release()
        await trio.sleep(100)
        assert [name for name, _ in venue.runs] == ["feed"]

        await desk.children["ledger"].restart()
        assert await until_normal(desk, 60) is Mode.NORMAL
        assert desk.children["feed"].status is Lifecycle.READY
        await desk.stop()


async def test_trial_by_hand_of_a_child_suspended_while_failing_begins_at_once(autojump_clock):
    """restart() is the trial of a child that has none of its own."""
    venue = Venue()
    async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
        for number in range(2):
            await desk.start(venue.quiet_feed, name=f"feed{number}", stop_grace=0.0, unpark_after=None)
        await trio.sleep(1000)
        assert desk.scope.mode is Mode.EMERGENCY
        venue.is_up.set()
        for child in desk.children.values():
            with trio.fail_after(1):
                await child.restart()
        assert await until_normal(desk, 60) is Mode.NORMAL
        await desk.stop()


async def test_suspended_child_that_is_well_gets_no_trial(autojump_clock):
    """It waits for the mode, however long; a time that an earlier failure set does not count any more."""
    venue = Venue()
    async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
        for number in range(2):
            await desk.start(venue.quiet_feed, name=f"feed{number}", stop_grace=0.0)
        await trio.sleep(10)
        venue.is_up.set()
        assert await until_normal(desk, 120) is Mode.NORMAL
        runs = len(venue.runs)
        with desk.scope.hold(Mode.EMERGENCY, owner="operator", reason="no trading today"):
            await trio.sleep(1000)
            assert {child.status for child in desk.children.values()} == {Lifecycle.SUSPENDED}
        assert len(venue.runs) == runs
        await trio.sleep(1)
        assert {child.status for child in desk.children.values()} == {Lifecycle.READY}
        await desk.stop()


@pytest.mark.parametrize("strategy", Strategy)
async def test_trial_concerns_the_parked_child_alone_and_a_restart_by_hand_its_group(strategy, autojump_clock):
    """It may fail again and again, so it is no reason to restart those that are well."""
    venue = Venue()
    settings = {"strategy": strategy, "max_restarts": 0, "backoff": EXACT}
    async with open_supervisor("desk", **settings) as desk:
        feed, book = await desk.start_all(
            [ChildSpec(venue.feed, name="feed"), ChildSpec(until_stopped, name="book", requires=["feed"])]
        )
        await trio.sleep(150)  # two trials, after 30 and 60 s, give or take a tenth
        assert (feed.generation, book.generation) == (3, 1)

        venue.is_up.set()
        await feed.restart()
        await book.wait(Lifecycle.READY)
        assert (feed.generation, book.generation) == (4, 2)
        await desk.stop()
