"""Waiting for modes, seeing their changes, being cancelled by them: corners."""

import gc
import logging
import signal

import pytest
import trio
import trio.testing

from genesis_trio import Capability, Mode, mode_scope, observe
from supervision.desk import Log

NORMAL, SAFE, EMERGENCY = Mode


async def test_change_of_what_is_allowed_alone_is_told_to_the_resident_and_to_no_watcher(autojump_clock):
    """Whoever watches is told of modes; a child, whom its scope belongs to, may wait for a capability."""
    watched, told, log = [], [], Log()

    class Resident:
        def mode_changed(self, mode):
            told.append((mode, desk.capabilities))

    with mode_scope("desk") as desk, observe(log):
        desk.resident = Resident()
        desk.watch(watched.append)
        venue = desk.hold(NORMAL, owner="venue", reason="down", capabilities=Capability.READ)
        with desk.hold(SAFE, owner="risk", reason="limit"):
            venue.release()
    everything = ~Capability(0)
    assert told == [
        (NORMAL, Capability.READ),
        (SAFE, Capability.READ),
        (SAFE, everything & ~Capability.OPEN),
        (NORMAL, everything),
    ]
    assert watched == [SAFE, NORMAL]
    assert [event.name for event in log.named("mode_raised", "mode_lowered")] == ["mode_raised", "mode_lowered"]


# ------------------------------------------------------------------ changes inside of changes


async def test_change_inside_a_change_is_told_after_it(autojump_clock):
    """A hook that tightens further sees its own change later: everybody sees every change, in order."""
    seen, told = [], []

    def tighten(event):
        seen.append((event.name, getattr(event, "before", None), getattr(event, "mode", None)))
        if event.name == "mode_raised" and event.mode == "SAFE":
            desk.hold(EMERGENCY, owner="risk", reason="what SAFE leads to")
            assert desk.mode is EMERGENCY

    with mode_scope("desk") as desk, observe(tighten):
        changes = desk.changes()
        desk.watch(told.append)
        desk.hold(SAFE, owner="venue", reason="r")
        assert [await anext(changes), await anext(changes)] == [SAFE, EMERGENCY]

    assert told == [SAFE, EMERGENCY]
    assert [entry for entry in seen if entry[0] == "mode_raised"] == [
        ("mode_raised", "NORMAL", "SAFE"),
        ("mode_raised", "SAFE", "EMERGENCY"),
    ]


async def test_change_taken_back_inside_a_change_is_seen_as_a_pulse(autojump_clock):
    """What a watcher takes back at once was there all the same, for all watchers."""
    first, last = [], []
    with mode_scope("desk") as desk:
        hold = None

        def take_back(mode):
            first.append(mode)
            if mode is SAFE:
                hold_of["x"].release()

        hold_of = {}
        desk.watch(take_back)
        desk.watch(last.append)
        changes = desk.changes()
        hold = desk.hold(NORMAL, reason="r")
        hold_of["x"] = hold
        desk.hold(SAFE, reason="r")

        assert (first, last) == ([SAFE, NORMAL], [SAFE, NORMAL])
        assert [await anext(changes), await anext(changes)] == [SAFE, NORMAL]
        assert desk.mode is NORMAL


async def test_epoch_counts_effective_changes_only(autojump_clock):
    """A second cause of the same effect is no change; one that takes capabilities is, though the mode stays."""
    with mode_scope("desk") as desk, mode_scope("x") as scope:
        desk.hold(SAFE, owner="a", reason="r")
        desk.hold(SAFE, owner="b", reason="r")
        assert (desk.epoch, scope.epoch) == (1, 1)
        changes = desk.changes()
        desk.hold(SAFE, owner="c", reason="r", capabilities=Capability.READ)
        assert (desk.epoch, scope.epoch) == (2, 2)
        with trio.move_on_after(1) as limit:
            await anext(changes)
        assert limit.cancelled_caught


@pytest.mark.parametrize("act", ["hold", "release", "clear"])
def test_change_ctrl_c_in_the_middle_of_it_waits_for_its_end(act):
    """A cascade is one step also for Ctrl-C: everybody is told, then the interrupt comes at the next Trio checkpoint."""
    told = []

    async def main():
        with mode_scope("desk") as desk:
            hold = None if act == "hold" else desk.hold(SAFE, owner="a", reason="r")
            desk.watch(lambda mode: signal.raise_signal(signal.SIGINT))
            desk.watch(told.append)
            if hold is None:
                desk.hold(SAFE, owner="a", reason="r")
            elif act == "release":
                hold.release()
            else:
                desk.clear("a", "r", by="test")
            told.append("returned")
            await trio.sleep(1)
            told.append("not reached")

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)

    assert told == [SAFE if act == "hold" else NORMAL, "returned"]


# ------------------------------------------------------------------ wait_for


async def test_wait_for_predicate_that_raises_reaches_the_waiter(autojump_clock):
    """The error belongs to who wrote the predicate, not to who holds a cause."""

    def broken(mode):
        if mode is SAFE:
            raise ValueError("predicate")
        return False

    with mode_scope("desk") as desk:
        async with trio.open_nursery() as nursery:

            async def wait():
                with pytest.raises(ValueError, match="predicate"):
                    await desk.wait_for(broken)

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert desk.hold(SAFE, reason="r").is_held
        assert desk.mode is SAFE
        with pytest.raises(ValueError, match="predicate"):
            await desk.wait_for(broken)
        assert desk._watchers == {}


async def test_wait_for_cancelled_leaves_nothing_behind(autojump_clock):
    """Neither a cancellation before nor one while waiting leaves a watcher."""
    with mode_scope("desk") as desk:
        with trio.move_on_after(3) as limit:
            await desk.wait_for(lambda mode: mode is SAFE)
        assert limit.cancelled_caught
        assert trio.current_time() == 3
        with trio.CancelScope() as scope:
            scope.cancel()
            await desk.wait_for(lambda mode: mode is NORMAL)
        assert scope.cancelled_caught
        assert desk._watchers == {}


async def test_wait_for_true_at_once_is_a_checkpoint_all_the_same(autojump_clock):
    """It yields to others also when there is nothing to wait for."""
    with mode_scope("desk") as desk, trio.testing.assert_checkpoints():
        assert await desk.wait_for(lambda mode: True) is NORMAL


async def test_wait_for_a_crowd_is_judged_in_one_step(autojump_clock):
    """A pulse is seen by everybody who waits for it."""
    found = []
    with mode_scope("desk") as desk:

        async def wait(mode):
            found.append(await desk.wait_for(lambda now: now is mode))

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(wait, SAFE)
                nursery.start_soon(wait, EMERGENCY)
            await trio.testing.wait_all_tasks_blocked()
            with desk.hold(SAFE, reason="r"):
                desk.hold(EMERGENCY, reason="s").release()

    assert sorted(found) == [SAFE] * 50 + [EMERGENCY] * 50
    assert desk._watchers == {}


# ------------------------------------------------------------------ changes


async def test_changes_pulse_between_items_is_not_missed(autojump_clock):
    """While the reader works on one change, the others wait in order."""
    seen = []
    with mode_scope("desk") as desk:

        async def read():
            async for mode in desk.changes():
                seen.append((trio.current_time(), mode))
                await trio.sleep(10)
                if len(seen) == 4:
                    break

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            desk.hold(SAFE, reason="pulse").release()
            await trio.sleep(1)
            desk.hold(EMERGENCY, reason="pulse").release()

        assert seen == [(0, SAFE), (10, NORMAL), (20, EMERGENCY), (30, NORMAL)]
        gc.collect()
        assert desk._watchers == {}


async def test_changes_left_early_leaves_nothing_behind(autojump_clock):
    """Leaving the loop, by break, error or cancellation, forgets the iterator; nothing has to be closed."""
    with mode_scope("desk") as desk:

        async def leave_by(how):
            async for _ in desk.changes():
                if how == "break":
                    break
                if how == "error":
                    raise OSError
                await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave_by, "break")

            async def fails():
                with pytest.raises(OSError):
                    await leave_by("error")

            async def is_cancelled():
                with trio.move_on_after(1):
                    await leave_by("cancel")

            nursery.start_soon(fails)
            nursery.start_soon(is_cancelled)
            await trio.testing.wait_all_tasks_blocked()
            assert len(desk._watchers) == 3
            desk.hold(SAFE, reason="r")
        gc.collect()
        assert desk._watchers == {}


async def test_changes_cancelled_while_waiting_loses_no_item(autojump_clock):
    """A change that arrives with the cancellation is the next item."""
    with mode_scope("desk") as desk:
        changes = desk.changes()
        with trio.CancelScope() as scope:
            scope.cancel()
            desk.hold(SAFE, reason="r")
            await anext(changes)
        assert scope.cancelled_caught
        assert await anext(changes) is SAFE


async def test_changes_two_readers_see_the_same(autojump_clock):
    """Each iterator has a memory of its own."""
    with mode_scope("desk") as desk:
        first, second = desk.changes(), desk.changes()
        desk.hold(SAFE, reason="r")
        assert (await anext(first), await anext(second)) == (SAFE, SAFE)


# ------------------------------------------------------------------ cancel_when


async def test_cancel_when_left_before_is_not_cancelled_later(autojump_clock):
    """The block's end is the end of it, also by an error."""
    with mode_scope("desk") as desk:
        with desk.cancel_when(SAFE) as scope:
            await trio.sleep(1)
        with pytest.raises(OSError), desk.cancel_when(SAFE):
            raise OSError
        desk.hold(SAFE, reason="r")
        assert not scope.cancel_called
        assert desk._watchers == {}


async def test_cancel_when_pulse_cancels(autojump_clock):
    """A mode that was there for one step cancels, and does not come back to life."""
    with mode_scope("desk") as desk:
        async with trio.open_nursery() as nursery:

            async def work():
                with desk.cancel_when(EMERGENCY) as scope:
                    await trio.sleep_forever()
                assert scope.cancelled_caught

            nursery.start_soon(work)
            await trio.testing.wait_all_tasks_blocked()
            desk.hold(EMERGENCY, reason="pulse").release()
        assert desk.mode is NORMAL


async def test_cancel_when_names_the_mode_in_the_reason(autojump_clock):
    """A post-mortem finds who cancelled."""
    with mode_scope("desk") as desk:
        desk.hold(SAFE, reason="r")
        with desk.cancel_when(SAFE):
            with pytest.raises(trio.Cancelled) as caught:
                await trio.sleep(1)
            assert caught.value.reason == "the mode of 'desk' is SAFE"


async def test_cancel_when_levels_nest(autojump_clock):
    """Each block is cancelled at its own level; a cause above reaches it."""
    times = {}
    with mode_scope("desk") as desk, mode_scope("strategy") as strategy:
        async with trio.open_nursery() as nursery:

            async def work():
                with strategy.cancel_when(EMERGENCY):
                    with strategy.cancel_when(SAFE):
                        await trio.sleep_forever()
                    times["safe"] = trio.current_time()
                    await trio.sleep_forever()
                times["emergency"] = trio.current_time()

            nursery.start_soon(work)
            await trio.sleep(1)
            desk.hold(SAFE, reason="r")
            await trio.sleep(1)
            desk.hold(EMERGENCY, reason="s")
    assert times == {"safe": 1, "emergency": 2}


# ------------------------------------------------------------------ clears_when


async def test_clears_when_raises_is_logged_once_and_clears_nothing(autojump_clock, caplog):
    """A broken condition keeps the cause, is not asked again, and disturbs no other."""
    asked = []

    def broken():
        asked.append(trio.current_time())
        raise ValueError("broken")

    well = False
    with mode_scope("desk") as desk:
        desk.hold(EMERGENCY, owner="a", reason="r", clears_when=broken)
        desk.hold(SAFE, owner="b", reason="r", clears_when=lambda: well)
        assert desk.why().count("it clears by itself when its condition is true") == 2
        with caplog.at_level(logging.ERROR):
            await trio.sleep(5)
        well = True
        await trio.sleep(1)
        assert asked == [0.0]
        assert caplog.text.count("the cause stays held") == 1
        assert [cause.owner for cause in desk.causes] == ["a"]
        assert "it clears when its owner releases it" in desk.why()


async def test_clears_when_that_is_async_is_refused(autojump_clock):
    """A coroutine is true, so it would clear at once without having been asked."""

    async def condition():
        return False

    with mode_scope("desk") as desk:
        with pytest.raises(TypeError, match="clears_when is an ordinary function"):
            desk.hold(SAFE, reason="r", clears_when=condition)
        assert desk.causes == ()


async def test_clears_when_may_hold_and_release_others(autojump_clock):
    """A condition is asked outside of any cascade, so what it does to causes is as good as anywhere."""
    with mode_scope("desk") as desk:
        other = desk.hold(EMERGENCY, owner="other", reason="r")

        def condition():
            other.release()
            return trio.current_time() >= 1

        desk.hold(SAFE, owner="a", reason="r", clears_when=condition)
        await trio.sleep(0.5)
        assert desk.mode is SAFE
        await desk.wait_for(lambda mode: mode is NORMAL)
        assert trio.current_time() == pytest.approx(1.0, abs=0.1)


async def test_expiry_and_condition_the_first_one_clears_and_says_so(autojump_clock):
    """Both may stand on one cause; the event names which it was."""
    log = Log()
    with observe(log), mode_scope("desk") as desk:
        desk.hold(SAFE, owner="a", reason="r", expires=2, clears_when=lambda: trio.current_time() >= 5)
        desk.hold(SAFE, owner="b", reason="r", expires=5, clears_when=lambda: trio.current_time() >= 2)
        await trio.sleep(10)
    assert [(event.owner, event.by, event.time) for event in log.named("cause_cleared")] == [
        ("a", "expired", 2.0),
        ("b", "condition", pytest.approx(2.0, abs=0.1)),
    ]


async def test_hold_as_a_block_clears_whatever_ends_it(autojump_clock):
    """An error or a cancellation leaves no cause behind."""
    with mode_scope("desk") as desk:
        with pytest.raises(OSError), desk.hold(SAFE, reason="r"):
            raise OSError
        with trio.move_on_after(1), desk.hold(SAFE, reason="r"):
            await trio.sleep_forever()
        assert desk.mode is NORMAL


async def test_hold_and_release_from_a_thread_are_refused_and_change_nothing():
    """A change wakes tasks, so it belongs into the run; the message says how a thread gets there."""
    with mode_scope("desk") as desk:
        hold = desk.hold(SAFE, owner="a", reason="r")

        def in_a_thread():
            for change in (
                hold.release,
                lambda: desk.hold(EMERGENCY, owner="b", reason="r"),
                lambda: desk.clear("a", "r", by="operator"),
            ):
                with pytest.raises(RuntimeError, match=r"'desk' SAFE.*from outside of its trio.run.*from_thread"):
                    change()
            trio.from_thread.run_sync(lambda: desk.hold(EMERGENCY, owner="c", reason="r"))

        await trio.to_thread.run_sync(in_a_thread)
        assert [cause.owner for cause in desk.causes] == ["a", "c"]
        hold.release()
        assert [cause.owner for cause in desk.causes] == ["c"]


async def test_hold_from_another_run_is_refused():
    """A scope belongs to the run that made it, also after that is over."""
    left = []

    async def hold():
        with pytest.raises(RuntimeError, match="from outside of its trio.run"):
            left[-1].hold(SAFE, reason="r")

    async def leave_one():
        with mode_scope("other") as other:
            left.append(other)

    with mode_scope("desk") as desk:
        left.append(desk)
        await trio.to_thread.run_sync(trio.run, hold)
        assert desk.causes == ()
    await trio.to_thread.run_sync(trio.run, leave_one)
    await hold()
