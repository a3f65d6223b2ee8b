"""What is done when a mode is entered: once, after the write, whatever else fails."""

import errno

import pytest
import trio
import trio.testing

from genesis_trio import Mode, current_scope, mode_scope, observe, open_store, open_supervisor
from genesis_trio._runtime import current_tree
from genesis_trio.errors import PoisonedError, StoreError
from genesis_trio.persistence.store import Store
from genesis_trio.supervision.component import Criticality
from genesis_trio.testing import FaultyEngine, open_store_on
from modes.entry_actions import NAMES, Flatten
from supervision.desk import QUIET, Log, saved_desk, until_stopped


class SlowReceipt:
    def __init__(self, receipt, seconds):
        self.receipt = receipt
        self.due = trio.current_time() + seconds

    async def wait(self):
        await trio.sleep_until(self.due)
        return await self.receipt.wait()


@pytest.fixture
def slow_disk(monkeypatch):
    """Control state is durable only half a second, or as long as the test says, after it was handed over."""
    disk = {"seconds": 0.5}
    put_control = Store.put_control
    monkeypatch.setattr(
        Store, "put_control", lambda store, *args: SlowReceipt(put_control(store, *args), disk["seconds"])
    )
    return disk


# ------------------------------------------------------------------ once an entry


async def test_on_enter_mode_rises_runs_once_in_a_task_of_its_own(autojump_clock):
    """The action runs beside the holder, with its arguments, in the context of its scope."""
    flatten, log, scopes = Flatten(2), Log(), []

    async def note_scope():
        await trio.sleep(1)
        scopes.append(current_scope())

    with observe(log), mode_scope("desk") as desk:
        action = desk.on_enter(Mode.EMERGENCY, flatten, "btc")
        desk.on_enter(Mode.EMERGENCY, note_scope, name="note")
        desk.hold(Mode.SAFE, reason="not yet")
        desk.hold(Mode.EMERGENCY, reason="limit")
        assert (action.is_running, flatten.began) == (True, [])
        await trio.sleep(1)
        desk.hold(Mode.EMERGENCY, reason="another cause is no entry")
        await trio.sleep(5)

    assert flatten.began == [(0.0, "btc")]
    assert scopes == [desk]
    assert (action.runs, action.is_running, action.owner, action.name) == (1, False, "desk", "flatten")
    assert sorted((event.time, event.name, event.action) for event in log.named(*NAMES)) == [
        (0.0, "entry_action_started", "flatten"),
        (0.0, "entry_action_started", "note"),
        (1.0, "entry_action_done", "note"),
        (2.0, "entry_action_done", "flatten"),
    ]


async def test_on_enter_every_entry_runs_it_again(autojump_clock):
    """An entry is each rise from below the mode, also from an ancestor; a step from SAFE to EMERGENCY is none for SAFE."""
    safe, emergency = Flatten(), Flatten()
    with mode_scope("desk") as desk, mode_scope("strategy") as strategy:
        strategy.on_enter(Mode.SAFE, safe)
        strategy.on_enter(Mode.EMERGENCY, emergency)
        for _ in range(2):
            with desk.hold(Mode.SAFE, reason="r"):
                await trio.sleep(1)
                with strategy.hold(Mode.EMERGENCY, reason="s"):
                    await trio.sleep(1)
            await trio.sleep(1)

    assert safe.began == [(0.0,), (3.0,)]
    assert emergency.began == [(1.0,), (4.0,)]


async def test_on_enter_pulse_is_an_entry(autojump_clock):
    """A mode that was left again in the same step was entered all the same."""
    flatten = Flatten()
    with mode_scope("desk") as desk:
        desk.on_enter(Mode.EMERGENCY, flatten)
        desk.hold(Mode.EMERGENCY, reason="pulse").release()
        await trio.sleep(1)

    assert flatten.began == [(0.0,)]


async def test_on_enter_entries_during_a_run_lead_to_one_more(autojump_clock):
    """Runs of one action never overlap, and a run that begins after an entry answers all before it."""
    flatten = Flatten(10)
    with mode_scope("desk") as desk:
        desk.on_enter(Mode.EMERGENCY, flatten, timeout=20)
        for _ in range(4):
            with desk.hold(Mode.EMERGENCY, reason="r"):
                await trio.sleep(1)
            await trio.sleep(1)
        await trio.sleep(30)

    assert flatten.began == [(0.0,), (10.0,)]
    assert flatten.ended == [10.0, 20.0]


async def test_on_enter_registered_inside_the_mode_runs_at_once(autojump_clock):
    """Who registers late is not too late; the same name again is the same action, which has run."""
    first, second = Flatten(), Flatten()
    with mode_scope("desk") as desk:
        desk.hold(Mode.EMERGENCY, reason="r")
        action = desk.on_enter(Mode.EMERGENCY, first)
        await trio.sleep(1)
        assert desk.on_enter(Mode.EMERGENCY, second) is action
        await trio.sleep(1)
        desk.clear("desk", "r", by="test")
        desk.hold(Mode.EMERGENCY, reason="r")
        await trio.sleep(1)

    assert (first.began, second.began) == ([(0.0,)], [(2.0,)])


async def test_on_enter_removed_does_not_run(autojump_clock):
    """After `remove` no entry counts; removing twice is removing once."""
    flatten = Flatten()
    with mode_scope("desk") as desk:
        action = desk.on_enter(Mode.SAFE, flatten)
        action.remove()
        action.remove()
        desk.hold(Mode.SAFE, reason="r")
        await trio.sleep(1)

    assert flatten.began == []
    assert desk._watchers == {}


async def test_on_enter_detached_scope_runs_nothing(autojump_clock):
    """The end of the scope ends what was registered on it."""
    flatten = Flatten()
    with mode_scope("desk") as desk:
        desk.on_enter(Mode.SAFE, flatten)
    desk.hold(Mode.SAFE, reason="r")
    await trio.sleep(1)

    assert flatten.began == []


async def test_on_enter_outside_of_supervisors_runs_in_the_tree_of_its_scope(autojump_clock):
    """Whoever caused the entry, in whatever tree: what the action tells is told to its own."""
    trees = []

    async def where():
        trees.append(current_tree())

    with mode_scope("floor") as floor:
        floor.on_enter(Mode.SAFE, where)
        async with open_supervisor("desk") as desk:
            with floor.hold(Mode.SAFE, reason="r"):
                await trio.sleep(1)
            await desk.stop()

    assert trees == [floor.tree]


# ------------------------------------------------------------------ whatever fails


async def test_on_enter_action_raises_is_logged_and_told(autojump_clock, caplog):
    """The error goes to the log and the events; others run, and the next entry runs it again."""
    log, other = Log(), Flatten()

    async def broken():
        await trio.sleep(1)
        raise OSError("venue gone")

    with observe(log), mode_scope("desk") as desk:
        action = desk.on_enter(Mode.EMERGENCY, broken, name="broken")
        desk.on_enter(Mode.EMERGENCY, other)
        for _ in range(2):
            with desk.hold(Mode.EMERGENCY, reason="r"):
                await trio.sleep(2)

    assert [(event.time, event.error) for event in log.named("entry_action_failed")] == [
        (1.0, "OSError: venue gone"),
        (3.0, "OSError: venue gone"),
    ]
    assert other.began == [(0.0,), (2.0,)]
    assert action.runs == 2
    assert "'broken' for EMERGENCY of 'desk' failed" in caplog.text


async def test_on_enter_action_hangs_is_cancelled_after_its_timeout(autojump_clock, caplog):
    """A run is bounded, so that it holds up neither the end of the tree nor the next entry for ever."""
    log = Log()
    with observe(log), mode_scope("desk") as desk:
        desk.on_enter(Mode.EMERGENCY, trio.sleep_forever, timeout=7)
        desk.hold(Mode.EMERGENCY, reason="r")
        await trio.sleep(60)

    (failed,) = log.named("entry_action_failed")
    assert (failed.time, failed.error) == (7.0, "TimeoutError: it was cancelled after timeout=7 s")


async def test_on_enter_cancelled_tree_lets_the_action_end(autojump_clock):
    """A cancellation of everything stops the children, and leaves the action its time."""
    flatten = Flatten(5)
    with trio.move_on_after(1) as limit:
        async with open_supervisor("desk") as desk:
            desk.scope.on_enter(Mode.EMERGENCY, flatten)
            child = await desk.start(until_stopped, name="x", criticality=Criticality.CRITICAL)
            desk.scope.hold(Mode.EMERGENCY, reason="r")
            await trio.sleep_forever()

    assert limit.cancelled_caught
    assert child.is_finished
    assert flatten.ended == [5.0]
    assert trio.current_time() == 5.0


async def test_on_enter_cancelled_tree_answers_every_entry_before_it_ends(autojump_clock):
    """An entry that waits for the run before it is not forgotten by the end of the tree."""
    flatten = Flatten(5)
    with trio.move_on_after(3):
        async with open_supervisor("desk") as desk:
            desk.scope.on_enter(Mode.EMERGENCY, flatten)
            desk.scope.hold(Mode.EMERGENCY, reason="r").release()
            await trio.sleep(1)
            desk.scope.hold(Mode.EMERGENCY, reason="r")
            await trio.sleep_forever()

    assert flatten.began == [(0.0,), (5.0,)]
    assert trio.current_time() == 10.0


async def test_on_enter_registered_by_a_component_outlives_its_crash(autojump_clock):
    """What registered the action may be what failed: parked for good, it changes nothing."""
    flatten = Flatten(3)

    async def fragile(ctx):
        ctx.scope.parent.on_enter(Mode.EMERGENCY, flatten)
        ctx.ready()
        await trio.sleep(1)
        raise OSError("crashed")

    async with open_supervisor("desk", max_restarts=0) as desk:
        await desk.start(fragile, name="x", criticality=Criticality.CRITICAL, unpark_after=None)
        await trio.sleep(10)
        assert desk.scope.mode is Mode.EMERGENCY
        assert flatten.began == [(1.0,)]
        assert flatten.ended == [4.0]
        await desk.stop()


async def test_on_enter_ctrl_c_in_an_action_stops_the_tree(autojump_clock):
    """Ctrl-C is not the action's failure: it goes through, once the children have stopped."""

    async def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        async with open_supervisor("desk") as desk:
            child = await desk.start(until_stopped, name="x", criticality=Criticality.CRITICAL)
            desk.scope.on_enter(Mode.SAFE, interrupted, name="i")
            desk.scope.hold(Mode.SAFE, reason="r")
            await trio.sleep_forever()
    assert child.is_finished


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((1, until_stopped), TypeError, "mode is a Mode, got 1"),
        ((Mode.NORMAL, until_stopped), ValueError, "NORMAL is not entered"),
        ((Mode.SAFE, "flatten"), TypeError, "wants an async function, got 'flatten'"),
        ((Mode.SAFE, lambda: None), ValueError, r"on_enter\(..., name=...\)"),
        ((Mode.SAFE, until_stopped, {"timeout": 0}), ValueError, "timeout is in seconds"),
        ((Mode.SAFE, until_stopped, {"timeout": float("inf")}), ValueError, "a run must end"),
        ((Mode.SAFE, until_stopped, {"timeout": "1"}), TypeError, "timeout is a number"),
        ((Mode.SAFE, until_stopped, {"latch_timeout": -1}), ValueError, "latch_timeout"),
    ],
)
async def test_on_enter_wrong_arguments_are_refused(arguments, error, text, autojump_clock):
    """At once, with the value."""
    options = arguments[2] if len(arguments) > 2 else {}
    with mode_scope("desk") as desk, pytest.raises(error, match=text):
        desk.on_enter(*arguments[:2], **options)


async def test_on_enter_call_instead_of_function_is_refused(autojump_clock):
    """The usual slip is named, and leaves no coroutine that nobody awaits."""
    with mode_scope("desk") as desk, pytest.raises(TypeError, match=r"not a call of it: .*sleep_forever"):
        desk.on_enter(Mode.SAFE, trio.sleep_forever())  # noqa: ASYNC105 - the slip that is tested


# ------------------------------------------------------------------ after the write


async def test_on_enter_latched_cause_waits_for_the_write(autojump_clock, slow_disk):
    """The mode takes effect in the step; what is irreversible begins when the disk has the cause."""
    flatten = Flatten()
    async with saved_desk() as desk:
        desk.scope.on_enter(Mode.EMERGENCY, flatten)
        desk.scope.hold(Mode.EMERGENCY, reason="kill switch", latched=True)
        assert desk.scope.mode is Mode.EMERGENCY
        await trio.sleep(3)

    assert flatten.began == [(0.5,)]


async def test_on_enter_cause_that_is_not_latched_waits_for_nothing(autojump_clock, slow_disk):
    """What does not survive needs no disk, whatever else is latched."""
    flatten = Flatten()
    async with saved_desk() as desk:
        desk.scope.on_enter(Mode.EMERGENCY, flatten)
        desk.scope.hold(Mode.SAFE, reason="latched, and only SAFE", latched=True)
        desk.scope.hold(Mode.EMERGENCY, reason="limit")
        await trio.sleep(3)

    assert flatten.began == [(0.0,)]


@pytest.mark.parametrize("limit", [1.0, 0.25, 0.0])
async def test_on_enter_slow_disk_is_waited_for_until_latch_timeout(limit, autojump_clock, slow_disk):
    """Then the action begins all the same, and that is an error event."""
    slow_disk["seconds"] = 5.0
    flatten, log = Flatten(), Log()
    with observe(log):
        async with saved_desk() as desk:
            desk.scope.on_enter(Mode.EMERGENCY, flatten, latch_timeout=limit)
            desk.scope.hold(Mode.EMERGENCY, reason="kill switch", latched=True)
            await trio.sleep(3)

    assert flatten.began == [(limit,)]
    (event,) = log.named("entry_action_unwritten")
    assert (event.time, event.error) == (limit, f"TimeoutError: not on disk within latch_timeout={limit:g} s")
    assert event.severity.name == "ERROR"


async def test_on_enter_dead_disk_runs_at_once_with_an_error_event(autojump_clock, caplog):
    """A disk that will never answer is not waited for; tightening and flattening do not depend on it."""
    engine, flatten, log = FaultyEngine(), Flatten(), Log()
    with observe(log):
        async with open_store_on(engine) as store:
            engine.fail(OSError(errno.EIO, "the medium failed"))
            with pytest.raises(StoreError):
                await store.put_control("x", b"x").wait()
            async with open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
                desk.scope.on_enter(Mode.EMERGENCY, flatten)
                desk.scope.hold(Mode.EMERGENCY, reason="kill switch", latched=True)
                await trio.sleep(1)
                assert desk.scope.mode is Mode.EMERGENCY
                with pytest.raises(StoreError, match="not on disk as they are in effect") as caught:
                    await desk.scope.settled()
                assert isinstance(caught.value.__cause__, PoisonedError)
                await desk.stop()

    assert flatten.began == [(0.0,)]
    (event,) = log.named("entry_action_unwritten")
    assert "not on disk" in event.error
    assert [event.reason for event in log.named("latch_not_written")][:2] == [
        "kill switch",
        "the entry action flatten for EMERGENCY: begun",
    ]


async def test_on_enter_cancelled_tree_waits_for_the_write_all_the_same(autojump_clock, slow_disk):
    """The block does not end before its actions, nor what follows the disk before they do."""
    flatten, log = Flatten(1), Log()
    with observe(log):
        async with open_store("memory:") as store:
            with trio.CancelScope() as scope:
                async with open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
                    desk.scope.on_enter(Mode.EMERGENCY, flatten)
                    desk.scope.hold(Mode.EMERGENCY, reason="kill switch", latched=True)
                    scope.cancel()
            assert (flatten.began, flatten.ended) == ([(0.5,)], [1.5])
    assert log.named("entry_action_unwritten") == []
