"""Rules, hooks and observers see what happens, and change nothing about a call."""

import pytest
import trio
import trio.testing

from genesis_trio.errors import (
    BreakerOpenError,
)
from genesis_trio.events import PolicyMisbehaved, observe
from genesis_trio.policies.guard import Guard
from policies.contract import breaker_of, exact
from policies.venue import Venue


@pytest.mark.parametrize("how", ["retry", "guard", "attempts"])
async def test_retry_cancelled_attempt_is_told_to_nobody(how, autojump_clock):
    """A cancellation is no failed attempt: no event tells of one, whatever the rule says."""
    events = []
    retry = exact(Exception)

    async def loop(fn):
        async for attempt in retry.attempts():
            with attempt:
                await fn()

    run = {"retry": retry.execute, "guard": Guard("orders", retry=retry).execute, "attempts": loop}[how]
    with observe(events.append), trio.move_on_after(1.0) as scope:
        await run(trio.sleep_forever)

    assert scope.cancelled_caught
    assert events == []


@pytest.mark.parametrize("rule", ["on", "failure_on", "retry_result", "failure_result"])
def test_policy_rule_that_raises_is_reported_once_a_run_and_counts_as_a_no(rule, caplog):
    """The call's own outcome never changes; the log and an event name the rule once, and again in the next run."""

    def broken(subject):
        raise ZeroDivisionError("in the rule")

    own = {rule: broken} if rule in ("on", "retry_result") else {}
    theirs = {rule: broken} if rule in ("failure_on", "failure_result") else {}
    guard = Guard(
        "orders", retry=exact(**{"on": KeyError, **own}), breaker=breaker_of(**{"failure_threshold": 100, **theirs})
    )
    events = []

    async def main():
        venue = Venue("ack") if rule.endswith("result") else Venue(OSError("down"))
        with observe(events.append):
            for _ in range(3):
                if rule.endswith("result"):
                    assert await guard.execute(venue) == "ack"
                else:
                    with pytest.raises(OSError, match="down"):
                        await guard.execute(venue)
        assert venue.calls == 3
        assert guard.breaker.statistics().failures == (3 if rule == "on" else 0)

    for runs in (1, 2):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
        told = [event for event in events if isinstance(event, PolicyMisbehaved)]
        assert [(event.rule, event.error) for event in told] == [(rule, "ZeroDivisionError: in the rule")] * runs
        assert len([record for record in caplog.records if "counts as a no" in record.getMessage()]) == runs


@pytest.mark.parametrize("way", ["guard", "breaker", "retry"])
async def test_policy_calls_run_side_by_side(way, autojump_clock):
    """No policy holds anything while the call runs that would make others wait."""
    breaker, retry, venue = breaker_of(), exact(), Venue(seconds=1.0)
    execute = {"guard": Guard("orders", retry=retry, breaker=breaker).execute, "breaker": breaker.execute}.get(
        way, retry.execute
    )

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(execute, venue)

    assert trio.current_time() == 1.0
    assert venue.times == [0.0] * 100


async def test_guard_observer_that_raises_changes_no_outcome_and_is_told_once(autojump_clock, caplog):
    """It is removed and reported; the calls go on as they would without it, and other observers see everything."""
    guard = Guard("orders", retry=exact(max_retries=2), breaker=breaker_of(failure_threshold=3))
    venue, seen, asked = Venue(OSError("down")), [], []

    def broken(event):
        asked.append(event)
        raise ZeroDivisionError("in the observer")

    with observe(seen.append), observe(broken):
        with pytest.raises(OSError, match="down") as caught:
            await guard.execute(venue)
        with pytest.raises(BreakerOpenError):
            await guard.execute(venue)

    assert caught.value.__context__ is None
    assert venue.calls == 3
    assert len(asked) == 1
    assert [event.name for event in seen].count("hook_failed") == 1
    assert [event.name for event in seen if event.name != "hook_failed"] == [
        "attempt_failed",
        "retry_scheduled",
        "attempt_failed",
        "retry_scheduled",
        "breaker_opened",
        "attempt_failed",
        "retries_exhausted",
        "call_rejected",
    ]
