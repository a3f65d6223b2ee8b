"""Who blocks the event loop is named while it is blocked.  In real time: a virtual clock knows no stall."""

import logging
import time

import pytest
import trio

from genesis_trio import Mode, ModePolicy, observe, open_supervisor
from genesis_trio.errors import ConfigError
from supervision.desk import Log, until_stopped


def block(seconds):
    time.sleep(seconds)  # the line that is named


async def hog(ctx, seconds):
    ctx.ready()
    await trio.sleep(0.05)
    block(seconds)
    await ctx.wait_stopping()


async def test_watchdog_names_task_and_line_while_the_loop_is_blocked(caplog):
    """The log has it before the loop runs again; the event comes after, with the whole time."""
    log = Log()
    line = block.__code__.co_firstlineno + 1
    with observe(log), caplog.at_level(logging.ERROR, "genesis_trio"):
        async with open_supervisor("desk", stall_limit=0.1) as desk:
            await desk.start(until_stopped, name="idle")
            await desk.start(hog, 0.5, name="hog")
            await trio.sleep(0.6)
            unblocked = time.time()
            longest = desk.statistics().longest_stall
            await trio.sleep(0.01)
            await desk.stop()

    # A loaded machine may block us elsewhere as well.
    (record,) = [record for record in caplog.records if "by task desk/hog, " in record.getMessage()]
    assert f"test_watchdog.py:{line} in block" in record.getMessage()
    assert record.created < unblocked - 0.1
    (event,) = [event for event in log.named("loop_blocked") if event.task == "desk/hog"]
    assert event.where == f"{__file__}:{line} in block"
    assert 0.45 < event.seconds <= longest < 5


async def test_watchdog_holds_safe_until_the_loop_runs_well_again(caplog):
    """The cause is there when the loop runs again, and clears after recover_after without another stall."""
    policy = ModePolicy(recover_after=0.2, max_recover_after=0.2)
    async with open_supervisor("desk", stall_limit=0.05, hold_on_stall=True, mode_policy=policy) as desk:
        await desk.start(hog, 0.3, name="hog")
        with trio.fail_after(5):
            await desk.scope.wait_for(lambda mode: mode is Mode.SAFE)
            assert [cause.reason for cause in desk.scope.causes] == ["the event loop was blocked"]
            began = trio.current_time()
            await desk.scope.wait_for(lambda mode: mode is Mode.NORMAL)
        assert trio.current_time() - began > 0.15
        await desk.stop()


async def test_watchdog_says_nothing_of_a_loop_that_runs(caplog):
    """Waiting is no stall, however long."""
    async with open_supervisor("desk", stall_limit=5.0) as desk:
        await desk.start(until_stopped, name="idle")
        await trio.sleep(0.5)
        assert 0 < desk.statistics().longest_stall < 5.0
        await desk.stop()

    assert not [record for record in caplog.records if "blocked" in record.getMessage()]


async def test_watchdog_under_a_virtual_clock_is_absent(autojump_clock):
    """Hours pass within a round there; a thread would make runs differ."""
    async with open_supervisor("desk", stall_limit=0.001) as desk:
        await desk.start(until_stopped, name="idle")
        await trio.sleep(3600)
        assert desk.statistics().longest_stall == 0.0
        await desk.stop()


@pytest.mark.parametrize(
    ("limit", "error"), [(True, TypeError), ("1", TypeError), (0, ValueError), (float("inf"), ValueError)]
)
async def test_watchdog_wrong_limits_are_refused(limit, error):
    """Seconds, positive and finite."""
    with pytest.raises(error, match="stall_limit"):
        async with open_supervisor("desk", stall_limit=limit):
            pass


async def test_watchdog_in_a_nested_supervisor_is_refused(autojump_clock):
    """There is one loop, and the topmost supervisor watches it."""

    async def host(ctx):
        async with open_supervisor("inner", stall_limit=1.0):
            pass

    async with open_supervisor("desk") as desk:
        with pytest.raises(ConfigError, match="topmost supervisor"):
            await desk.start(host, name="host")
        await desk.stop()
