"""A circuit breaker goes on in another process where it was: plain values, with what is left of each time."""

import contextlib
import functools
import json
import math
from typing import Any

import pytest
import trio
import trio.testing

from genesis_trio.errors import BreakerOpenError
from genesis_trio.events import observe
from genesis_trio.policies.breaker import BreakerState, CircuitBreaker, Window
from policies import contract
from policies.venue import Venue, hang

DOWN = OSError("down")


breaker_of = functools.partial(contract.breaker_of, recovery_timeout=4.0)


async def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        with contextlib.suppress(OSError):
            await breaker.execute(Venue(DOWN))


def later(saved: dict[str, Any], *, after: float = 1000.0) -> dict[str, Any]:
    """What comes back from a file, when Trio's clock shows another time."""
    trio.lowlevel.current_clock().jump(after)
    return json.loads(json.dumps(saved, allow_nan=False))


async def test_breaker_restored_closed_goes_on_counting(autojump_clock):
    """Two failures of three are saved, so that one more opens the breaker of the next process."""
    breaker = breaker_of()
    await fail(breaker, 2)

    restored = breaker_of()
    restored._restore(later(breaker._snapshot()))

    assert restored.state is BreakerState.CLOSED
    assert restored.statistics().consecutive_failures == 2
    await fail(restored)
    assert restored.state is BreakerState.OPEN


async def test_breaker_restored_closed_forgets_the_failures_at_a_success(autojump_clock):
    """A success in the next process starts the count anew."""
    breaker = breaker_of()
    await fail(breaker, 2)

    restored = breaker_of()
    restored._restore(later(breaker._snapshot()))
    await restored.execute(Venue("ack"))
    await fail(restored, 2)

    assert restored.state is BreakerState.CLOSED
    assert restored.statistics().consecutive_failures == 2


async def test_breaker_restored_open_waits_what_was_left(autojump_clock):
    """An open breaker is open for just the rest of its break, whatever Trio's clock shows in the next process."""
    breaker = breaker_of()
    await fail(breaker, 3)
    await trio.sleep(1.5)

    saved = breaker._snapshot()
    restored = breaker_of()
    events: list[Any] = []
    with observe(events.append):
        restored._restore(later(saved))

    assert saved["remaining"] == 2.5
    assert [(event.name, event.retry_after, event.error) for event in events] == [("breaker_opened", 2.5, "restored")]
    with pytest.raises(BreakerOpenError) as caught:
        await restored.execute(Venue("ack"))
    assert caught.value.retry_after == 2.5
    assert caught.value.__cause__ is None
    assert restored.statistics().opened == 0  # in this run it has not
    await trio.sleep(2.5)
    assert restored.state is BreakerState.HALF_OPEN


@pytest.mark.parametrize(
    ("away", "left", "state"),
    [(0.0, 4.0, "open"), (3.0, 1.0, "open"), (4.0, 0.0, "half_open"), (9.0, 0.0, "half_open")],
)
async def test_breaker_restored_open_counts_the_time_away_where_it_is_known(away, left, state, autojump_clock):
    """Who knows how long the process was away may say so, and the break goes on meanwhile."""
    breaker = breaker_of()
    breaker.trip()

    restored = breaker_of()
    restored._restore(later(breaker._snapshot()), away=away)

    assert (restored.state.value, restored.statistics().retry_after) == (state, left)


async def test_breaker_restored_open_keeps_its_growing_break(autojump_clock):
    """The third break is four times the first one, also when the process has changed before each of them."""
    breaker = breaker_of()
    breaker.trip()
    for expected in (8.0, 16.0, 32.0, 40.0, 40.0):
        restored = breaker_of()
        restored._restore(later(breaker._snapshot()))
        await trio.sleep(restored.statistics().retry_after)
        await fail(restored)
        assert restored.statistics().retry_after == expected
        breaker = restored


async def test_breaker_restored_and_closed_has_the_first_break_again(autojump_clock):
    """The growth ends with the first recovery."""
    breaker = breaker_of(success_threshold=1)
    breaker.trip()
    await trio.sleep(4.0)
    await fail(breaker)

    restored = breaker_of(success_threshold=1)
    restored._restore(later(breaker._snapshot()))
    await trio.sleep(8.0)
    await restored.execute(Venue("ack"))
    restored.trip()

    assert restored.statistics().retry_after == 4.0


async def test_breaker_restored_half_open_keeps_its_successes_and_has_new_places(autojump_clock, nursery):
    """A probe that ran ended with its process: its place is free, and the successes before it count."""
    breaker = breaker_of(half_open_max_calls=1)
    breaker.trip()
    await trio.sleep(4.0)
    await breaker.execute(Venue("ack"))
    nursery.start_soon(breaker.execute, hang)
    await trio.testing.wait_all_tasks_blocked()
    assert breaker.statistics().probes_in_flight == 1

    restored = breaker_of(half_open_max_calls=1)
    events: list[Any] = []
    with observe(events.append):
        restored._restore(later(breaker._snapshot(), after=1.0))
    assert restored.state is BreakerState.HALF_OPEN
    assert [event.name for event in events] == ["breaker_half_opened"]
    assert restored.statistics().probes_in_flight == 0
    await restored.execute(Venue("ack"))

    assert restored.state is BreakerState.CLOSED
    nursery.cancel_scope.cancel()


async def test_breaker_restored_half_open_needs_a_probe_even_if_fewer_are_enough_now(autojump_clock):
    """Where the new settings want no more successes than there were, one probe still has to succeed."""
    breaker = breaker_of(success_threshold=3)
    breaker.trip()
    await trio.sleep(4.0)
    await breaker.execute(Venue("ack"))
    await breaker.execute(Venue("ack"))

    restored = breaker_of(success_threshold=1)
    restored._restore(later(breaker._snapshot()))

    assert restored.state is BreakerState.HALF_OPEN
    await restored.execute(Venue("ack"))
    assert restored.state is BreakerState.CLOSED


async def test_breaker_restored_half_open_fails_with_the_next_break(autojump_clock):
    """A failed probe of the next process opens it for twice the last break."""
    breaker = breaker_of()
    breaker.trip()
    await trio.sleep(4.0)
    assert breaker.state is BreakerState.HALF_OPEN

    restored = breaker_of()
    restored._restore(later(breaker._snapshot()))
    await fail(restored)

    assert (restored.state, restored.statistics().retry_after) == (BreakerState.OPEN, 8.0)


@pytest.mark.parametrize(
    ("how", "state", "event"),
    [("isolate", BreakerState.ISOLATED, "breaker_opened"), ("disable", BreakerState.DISABLED, "breaker_disabled")],
)
async def test_breaker_restored_by_hand_stays_by_hand(how, state, event, autojump_clock):
    """What an operator has switched stays so, for ever, and is told again."""
    breaker = breaker_of()
    getattr(breaker, how)()

    restored = breaker_of()
    events: list[Any] = []
    with observe(events.append):
        restored._restore(later(breaker._snapshot()))
    await trio.sleep(10_000.0)

    assert restored.state is state
    assert [event.name for event in events] == [event]
    if how == "isolate":
        with pytest.raises(BreakerOpenError, match="isolated by hand") as caught:
            await restored.execute(Venue("ack"))
        assert caught.value.retry_after == math.inf
    else:
        await fail(restored, 5)
        assert restored.state is state


async def test_breaker_restored_window_of_calls_goes_on(autojump_clock):
    """The latest calls are saved, each with its failure and its slowness, in their order."""
    window = Window(minimum_calls=4, calls=4, failure_ratio=0.75)
    breaker = breaker_of(window=window)
    for step in ("ack", DOWN, DOWN):
        with contextlib.suppress(OSError):
            await breaker.execute(Venue(step))

    restored = breaker_of(window=window)
    restored._restore(later(breaker._snapshot()))
    await restored.execute(Venue("ack"))
    assert restored.state is BreakerState.CLOSED
    await restored.execute(Venue("ack"))  # the oldest goes
    await fail(restored)
    assert restored.state is BreakerState.CLOSED  # failure, success, success, failure
    await fail(restored, 2)
    assert restored.state is BreakerState.OPEN


async def test_breaker_restored_window_counts_slow_calls(autojump_clock):
    """Slow calls before the restart count for the slow ratio after it."""
    settings = {"window": Window(minimum_calls=2, calls=2, slow_ratio=1.0), "slow_call": 1.0}
    breaker = breaker_of(**settings)
    await breaker.execute(Venue("late", seconds=1.0))

    restored = breaker_of(**settings)
    restored._restore(later(breaker._snapshot()))
    await restored.execute(Venue("late", seconds=1.0))

    assert restored.state is BreakerState.OPEN


async def test_breaker_restored_window_of_seconds_goes_on_with_ages(autojump_clock):
    """Outcomes expire as many seconds after they happened as without a restart."""
    window = Window(minimum_calls=2, seconds=10.0)
    breaker = breaker_of(window=window)
    await fail(breaker)
    await trio.sleep(6.0)
    saved = breaker._snapshot()

    restored = breaker_of(window=window)
    restored._restore(later(saved))
    await trio.sleep(3.9)
    await fail(restored)
    assert restored.state is BreakerState.OPEN

    restored = breaker_of(window=window)
    restored._restore(later(saved))
    await trio.sleep(4.1)
    await fail(restored)
    assert restored.state is BreakerState.CLOSED


async def test_breaker_saved_window_of_seconds_is_of_bounded_size(autojump_clock):
    """However many calls there were, a hundred rows are saved, and no call of them is lost."""
    breaker = breaker_of(window=Window(minimum_calls=10_000, seconds=10.0))
    for _ in range(990):
        await breaker.execute(Venue("ack"))
        await trio.sleep(0.01)

    moments = breaker._snapshot()["window"]["moments"]

    assert len(moments) <= 101
    assert sum(calls for _, calls, _, _ in moments) == 990


async def test_breaker_saved_window_of_seconds_holds_nothing_that_is_over(autojump_clock):
    """What no ratio counts any more is not worth saving."""
    breaker = breaker_of(window=Window(minimum_calls=5, seconds=10.0))
    await fail(breaker, 2)
    await trio.sleep(10.0)

    assert breaker._snapshot()["window"] == {"moments": []}


@pytest.mark.parametrize(
    "window", [None, Window(minimum_calls=1, failure_ratio=1.0, calls=5), Window(minimum_calls=1, seconds=5.0)]
)
async def test_breaker_restored_with_another_window_starts_it_empty(window, autojump_clock):
    """A window of another kind has no use for what was saved."""
    other = Window(minimum_calls=3, seconds=5.0) if window is None or window.calls else Window(minimum_calls=3, calls=5)
    breaker = breaker_of(window=other)
    await fail(breaker, 2)

    restored = breaker_of(window=window)
    restored._restore(later(breaker._snapshot(), after=1.0))

    assert restored.state is BreakerState.CLOSED
    await restored.execute(Venue("ack"))
    assert restored.state is BreakerState.CLOSED


async def test_breaker_restored_on_its_ramp_goes_on_with_it(autojump_clock):
    """A breaker that was letting a part of the calls through lets a part of them through, for the rest of the ramp."""
    breaker = breaker_of(ramp=10.0, success_threshold=1)
    breaker.trip()
    await trio.sleep(4.0)
    await breaker.execute(Venue("ack"))
    await trio.sleep(5.0)

    restored = breaker_of(ramp=10.0)
    restored._restore(later(breaker._snapshot()))
    passed = 0
    for _ in range(1000):
        with contextlib.suppress(BreakerOpenError):
            await restored.execute(Venue("ack"))
            passed += 1
    assert 540 <= passed <= 560
    await trio.sleep(5.0)
    for _ in range(5):
        await restored.execute(Venue("ack"))


async def test_breaker_restored_break_is_no_longer_than_the_settings_allow(autojump_clock):
    """Where the breaks have been made shorter meanwhile, the saved one is too."""
    breaker = breaker_of(recovery_timeout=100.0)
    breaker.trip()

    restored = breaker_of(recovery_timeout=2.0, max_recovery_timeout=4.0)
    restored._restore(later(breaker._snapshot()))

    assert restored.statistics().retry_after == pytest.approx(4.4)


async def test_breaker_restored_in_use_ignores_what_began_before(autojump_clock, nursery):
    """A call that was running while the breaker was restored is of an older generation."""
    breaker = breaker_of(success_threshold=1)

    async def fail_late():
        with contextlib.suppress(OSError):
            await breaker.execute(Venue(DOWN, seconds=1.0))

    saved = breaker._snapshot()
    for _ in range(3):
        nursery.start_soon(fail_late)
    await trio.testing.wait_all_tasks_blocked()
    breaker._restore(saved)
    await trio.sleep(2.0)

    assert breaker.state is BreakerState.CLOSED
    assert breaker.statistics().consecutive_failures == 0


async def test_breaker_restored_from_the_plainest_snapshot_has_defaults(autojump_clock):
    """What a snapshot does not say is as in a new breaker."""
    restored = breaker_of(window=Window(minimum_calls=1))
    restored._restore({"state": "open", "remaining": 1})

    assert restored.statistics().retry_after == 1.0
    await trio.sleep(1.0)
    await fail(restored)
    assert restored.statistics().retry_after == 4.0


@pytest.mark.parametrize(
    "snapshot",
    [
        {},
        {"state": "ajar"},
        {"state": "open", "remaining": "soon"},
        {"state": "open", "remaining": -1.0},
        {"state": "open", "remaining": math.nan},
        {"state": "closed", "consecutive_failures": 1.5},
        {"state": "closed", "reopenings": True},
        {"state": "closed", "window": 3},
        {"state": "closed", "window": {"calls": ["down"]}},
    ],
)
async def test_breaker_restored_from_nonsense_is_a_value_error_and_changes_nothing(snapshot, autojump_clock):
    """The error names breaker and values and says what to do; the breaker stays as it was."""
    breaker = breaker_of(window=Window(minimum_calls=3, calls=3))
    await fail(breaker)
    before = breaker._snapshot()

    with pytest.raises(ValueError, match=r"circuit breaker 'venue' cannot be restored from .*leave it out"):
        breaker._restore(snapshot)

    assert breaker._snapshot() == before


async def test_breaker_snapshot_of_what_was_restored_is_the_same(autojump_clock):
    """Saved, restored and saved again, nothing is lost, in every state."""
    window = Window(minimum_calls=5, seconds=20.0)

    async def states():
        breaker = breaker_of(window=window, ramp=8.0, success_threshold=2)
        await fail(breaker, 2)
        yield breaker
        breaker.trip()
        await trio.sleep(1.0)
        yield breaker
        await trio.sleep(3.0)
        yield breaker
        await breaker.execute(Venue("ack"))
        yield breaker
        await breaker.execute(Venue("ack"))
        await trio.sleep(2.0)
        yield breaker
        breaker.isolate()
        yield breaker
        breaker.disable()
        yield breaker

    seen = []
    async with contextlib.aclosing(states()) as each:
        async for breaker in each:
            saved = breaker._snapshot()
            restored = breaker_of(window=window, ramp=8.0)
            restored._restore(json.loads(json.dumps(saved)))
            assert restored._snapshot() == saved
            seen.append(saved["state"])
    assert seen == ["closed", "open", "half_open", "half_open", "closed", "isolated", "disabled"]
