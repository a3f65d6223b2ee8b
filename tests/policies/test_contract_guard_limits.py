"""What the design promises of Guard, sentence by sentence, through public names: modes and timeouts."""

import pytest
import trio
import trio.testing

from genesis_trio.errors import (
    AttemptTimeoutError,
    BreakerOpenError,
    ModeRefusedError,
    TotalTimeoutError,
)
from genesis_trio.modes import Capability, Mode, current_scope, mode_scope
from genesis_trio.policies.breaker import BreakerState
from genesis_trio.policies.bulkhead import Bulkhead
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.rate_limit import RateLimit
from policies.contract import breaker_of, exact, occupy
from policies.venue import Venue, notes

# ---------------------------------------------------------------- modes


async def test_guard_is_refused_where_the_mode_does_not_allow_it():
    """needs=OPEN in SAFE: ModeRefusedError at once, in words, and the call is not made."""
    guard, venue = Guard("orders", needs=Capability.OPEN), Venue()

    with mode_scope("desk") as scope, scope.hold(Mode.SAFE, owner="risk", reason="limit broken"):
        with pytest.raises(ModeRefusedError) as caught:
            await guard.execute(venue)

    assert venue.calls == 0
    assert (caught.value.mode, caught.value.needs) == (Mode.SAFE, Capability.OPEN)
    assert "limit broken" in str(caught.value)
    assert guard.statistics().rejected == 1


@pytest.mark.parametrize("needs", [None, Capability.READ, Capability.CANCEL, Capability.REDUCE])
@pytest.mark.parametrize("mode", [Mode.SAFE, Mode.EMERGENCY])
async def test_guard_that_adds_no_risk_is_allowed_in_every_mode(needs, mode):
    """SAFE and EMERGENCY take away only OPEN."""
    with mode_scope("desk") as scope, scope.hold(mode, owner="risk", reason="limit broken"):
        assert await Guard("cancel", needs=needs).execute(Venue("ack")) == "ack"


async def test_guard_is_allowed_again_once_the_cause_is_cleared():
    """Each call is decided for itself."""
    guard = Guard("orders", needs=Capability.OPEN)

    with mode_scope("desk") as scope:
        assert await guard.execute(Venue("ack")) == "ack"
        with scope.hold(Mode.SAFE, owner="risk", reason="limit"), pytest.raises(ModeRefusedError):
            await guard.execute(Venue("ack"))
        assert await guard.execute(Venue("ack")) == "ack"


async def test_guard_is_decided_in_the_scope_of_the_caller():
    """One guard, two scopes: refused in the one that is SAFE."""
    guard = Guard("orders", needs=Capability.OPEN)

    with mode_scope("a") as scope, scope.hold(Mode.SAFE, owner="risk", reason="limit"):
        with pytest.raises(ModeRefusedError):
            await guard.execute(Venue())
    with mode_scope("b"):
        assert await guard.execute(Venue("ack")) == "ack"


async def test_guard_root_scope_counts_where_there_is_no_other():
    """Without any supervisor a cause on the root scope refuses."""
    guard = Guard("orders", needs=Capability.OPEN)

    with current_scope().hold(Mode.SAFE, owner="risk", reason="limit"), pytest.raises(ModeRefusedError):
        await guard.execute(Venue())


async def test_guard_refused_by_mode_or_breaker_waits_for_nothing(autojump_clock):
    """Look first: a call that cannot be made takes no token and stands in no queue."""
    limit, bulkhead = RateLimit(1, per=100.0), Bulkhead(1, max_waiting=5)
    guard = Guard("orders", needs=Capability.OPEN, breaker=breaker_of(), rate_limit=limit, bulkhead=bulkhead)
    await guard.execute(Venue())  # the only token is taken

    with mode_scope("desk") as scope, scope.hold(Mode.SAFE, owner="risk", reason="limit"):
        with pytest.raises(ModeRefusedError):
            await guard.execute(Venue())
    guard.breaker.trip()
    with pytest.raises(BreakerOpenError):
        await guard.execute(Venue())

    assert trio.current_time() == 0.0


async def test_guard_mode_that_changes_during_the_wait_refuses_the_call(autojump_clock, nursery):
    """Decided again after the wait: SAFE came while it stood in the queue, and the place goes back."""
    bulkhead, venue = Bulkhead(1, max_waiting=5), Venue()
    guard = Guard("orders", needs=Capability.OPEN, bulkhead=bulkhead)
    nursery.start_soon(occupy, bulkhead, 2.0)
    await trio.testing.wait_all_tasks_blocked()

    with mode_scope("desk") as scope:

        async def tighten():
            await trio.sleep(1.0)
            scope.hold(Mode.SAFE, owner="risk", reason="limit")

        nursery.start_soon(tighten)
        with pytest.raises(ModeRefusedError):
            await guard.execute(venue)

    assert venue.calls == 0
    assert trio.current_time() == 2.0
    assert await Guard("next", bulkhead=bulkhead).execute(Venue("ack")) == "ack"


async def test_guard_mode_that_changes_in_the_step_of_the_place_refuses_the_call(autojump_clock, nursery):
    """Decided in the same synchronous step in which the call starts: a cause held in the step before is seen."""
    bulkhead, venue = Bulkhead(1, max_waiting=5), Venue()
    guard = Guard("orders", needs=Capability.OPEN, bulkhead=bulkhead)

    with mode_scope("desk") as scope:

        async def occupy_then_tighten():
            await Guard("occupier", bulkhead=bulkhead).execute(trio.sleep, 1.0)
            scope.hold(Mode.SAFE, owner="risk", reason="limit")  # the place is handed over, the waiter has not run

        nursery.start_soon(occupy_then_tighten)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ModeRefusedError):
            await guard.execute(venue)

    assert venue.calls == 0


async def test_guard_breaker_that_opens_during_the_wait_refuses_the_call(autojump_clock, nursery):
    """Decided again after the wait for a token: the breaker opened meanwhile."""
    breaker, venue = breaker_of(), Venue()
    guard = Guard("orders", breaker=breaker, rate_limit=RateLimit(1, per=10.0))
    await guard.execute(Venue())

    async def trip():
        await trio.sleep(9.0)
        breaker.trip()

    nursery.start_soon(trip)
    with pytest.raises(BreakerOpenError):
        await guard.execute(venue)

    assert venue.calls == 0
    assert trio.current_time() == 10.0


async def test_guard_refused_after_the_wait_gives_the_token_back(autojump_clock, nursery):
    """A call that was refused after all has used up no rate."""
    limit = RateLimit(1, per=10.0)
    guard = Guard("orders", needs=Capability.OPEN, rate_limit=limit)
    await guard.execute(Venue())

    with mode_scope("desk") as scope:

        async def tighten():
            await trio.sleep(9.0)
            scope.hold(Mode.SAFE, owner="risk", reason="limit")

        nursery.start_soon(tighten)
        with pytest.raises(ModeRefusedError):
            await guard.execute(Venue())
        assert await Guard("cancel", rate_limit=limit).execute(Venue("ack")) == "ack"

    assert trio.current_time() == 10.0


async def test_guard_waiting_for_its_turn_holds_no_probe(autojump_clock, nursery):
    """A permit is taken in the step in which the call starts: who waits for a token is no probe, and its lease not begun."""
    breaker = breaker_of(recovery_timeout=5.0, probe_lease=1.0, success_threshold=1)
    guard = Guard("orders", breaker=breaker, rate_limit=RateLimit(1, per=20.0))
    await guard.execute(Venue())
    breaker.trip()
    await trio.sleep(5.0)

    nursery.start_soon(guard.execute, Venue(seconds=0.5))
    await trio.sleep(10.0)
    waiting = breaker.statistics()
    await trio.sleep_until(20.6)

    assert (waiting.state, waiting.probes_in_flight) == (BreakerState.HALF_OPEN, 0)
    assert breaker.state is BreakerState.CLOSED


# ---------------------------------------------------------------- timeouts


async def test_guard_attempt_timeout_ends_the_attempt_exactly_then(autojump_clock):
    """AttemptTimeoutError, a TimeoutError, attempt_timeout seconds after the attempt began, with the value in words."""
    guard = Guard("orders", attempt_timeout=1.5)

    with pytest.raises(AttemptTimeoutError) as caught:
        await guard.execute(trio.sleep_forever)

    assert isinstance(caught.value, TimeoutError)
    assert "1.5" in str(caught.value)
    assert "orders" in str(caught.value)
    assert trio.current_time() == 1.5
    assert guard.statistics().timeouts == 1


async def test_guard_attempt_timeout_is_for_each_attempt(autojump_clock):
    """Every attempt has the whole of it, and a timeout is retried like a failure."""
    venue = Venue("ack", seconds=2.0)
    guard = Guard("orders", retry=exact(AttemptTimeoutError, max_retries=2), attempt_timeout=1.0)

    with pytest.raises(AttemptTimeoutError):
        await guard.execute(venue)

    assert venue.times == [0.0, 2.0, 5.0]
    assert trio.current_time() == 6.0
    assert guard.statistics().timeouts == 3


async def test_guard_attempt_timeout_does_not_run_while_the_call_waits_for_its_turn(autojump_clock):
    """The wait for rate limit and bulkhead is outside of it."""
    guard = Guard("orders", attempt_timeout=1.0, rate_limit=RateLimit(1, per=10.0))
    await guard.execute(Venue())

    assert await guard.execute(Venue("ack", seconds=0.5)) == "ack"
    assert trio.current_time() == 10.5


async def test_guard_attempt_timeout_is_a_failure_for_the_breaker(autojump_clock):
    """Our own attempt timeout: the dependency did not answer in time."""
    guard = Guard("orders", breaker=breaker_of(failure_threshold=1), attempt_timeout=1.0)

    with pytest.raises(AttemptTimeoutError):
        await guard.execute(trio.sleep_forever)

    assert guard.breaker.state is BreakerState.OPEN


async def test_guard_timeouts_of_the_called_function_are_its_own(autojump_clock):
    """TooSlowError or TimeoutError from inside come through as they are."""

    async def slow():
        with trio.fail_after(0.5):
            await trio.sleep_forever()

    with pytest.raises(trio.TooSlowError):
        await Guard("orders", attempt_timeout=1.0, total_timeout=2.0).execute(slow)


async def test_guard_outer_deadline_is_a_cancellation_not_a_timeout_of_ours(autojump_clock):
    """The caller's deadline comes first: Cancelled passes, nothing counts as a failure."""
    guard = Guard("orders", breaker=breaker_of(failure_threshold=1), attempt_timeout=2.0, total_timeout=3.0)

    with trio.move_on_after(1.0) as scope:
        await guard.execute(trio.sleep_forever)

    assert scope.cancelled_caught
    assert guard.breaker.state is BreakerState.CLOSED
    assert (guard.statistics().cancelled, guard.statistics().timeouts) == (1, 0)


async def test_guard_total_timeout_covers_the_whole_call_with_its_waits(autojump_clock, nursery):
    """It runs while the call stands in a queue, too."""
    bulkhead, venue = Bulkhead(1, max_waiting=1), Venue()
    nursery.start_soon(occupy, bulkhead, 10.0)
    await trio.testing.wait_all_tasks_blocked()

    with pytest.raises(TotalTimeoutError) as caught:
        await Guard("orders", bulkhead=bulkhead, total_timeout=2.5).execute(venue)

    assert isinstance(caught.value, TimeoutError)
    assert "2.5" in str(caught.value)
    assert venue.calls == 0
    assert trio.current_time() == 2.5


@pytest.mark.parametrize("repeatable", [None, True, False])
async def test_guard_total_timeout_says_when_an_order_may_have_arrived(repeatable, autojump_clock):
    """What was cut off and may not be repeated has an unknown outcome; the error says so, and only then."""
    guard = Guard("orders", total_timeout=1.0, repeatable=repeatable)

    with pytest.raises(TotalTimeoutError) as caught:
        await guard.execute(trio.sleep_forever)

    assert ("not known" in str(caught.value)) == (repeatable is False)


async def test_guard_total_timeout_before_anything_was_sent_knows_that(autojump_clock, nursery):
    """In a queue nothing was sent: the outcome is known."""
    bulkhead = Bulkhead(1, max_waiting=1)
    nursery.start_soon(occupy, bulkhead, 10.0)
    await trio.testing.wait_all_tasks_blocked()

    with pytest.raises(TotalTimeoutError) as caught:
        await Guard("orders", bulkhead=bulkhead, total_timeout=1.0, repeatable=False).execute(Venue())

    assert "not known" not in str(caught.value)


class Rejections(OSError):
    """An error that holds what was wrong, here nothing, and so is false."""

    def __len__(self):
        return 0


@pytest.mark.parametrize("kind", [OSError, Rejections])
async def test_guard_total_timeout_after_a_failed_attempt_is_the_real_error_with_a_note(kind, autojump_clock):
    """When an attempt had failed by itself, that is what the caller needs to know."""
    error = kind("real")

    async def hang(*_):
        await trio.sleep_forever()

    venue = Venue(error, hang)

    with pytest.raises(kind) as caught:
        await Guard("orders", retry=exact(), total_timeout=3.0).execute(venue)

    assert caught.value is error
    assert notes(error)
    assert trio.current_time() == 3.0


async def test_guard_total_timeout_is_a_deadline_for_the_retries_wait(autojump_clock):
    """A wait that cannot end before it is not begun: the real error comes at once."""
    error = OSError("real")

    with pytest.raises(OSError) as caught:
        await Guard("orders", retry=exact(max_retries=10), total_timeout=5.0).execute(Venue(error))

    assert caught.value is error
    assert trio.current_time() == 3.0


async def test_guard_attempt_that_had_the_whole_total_timeout_to_itself_is_a_failure(autojump_clock):
    """A venue that hangs for all of total_timeout has failed, also without an attempt timeout."""
    guard = Guard("orders", breaker=breaker_of(failure_threshold=1), total_timeout=2.0)

    with pytest.raises(TotalTimeoutError):
        await guard.execute(trio.sleep_forever)

    assert guard.breaker.state is BreakerState.OPEN


async def test_guard_attempt_that_had_only_the_rest_of_the_total_timeout_is_no_outcome(autojump_clock):
    """It began late, after a wait of our own: that it did not end in time says nothing about the dependency."""
    guard = Guard(
        "orders", breaker=breaker_of(failure_threshold=1), total_timeout=2.0, rate_limit=RateLimit(1, per=1.0)
    )
    await guard.execute(Venue())

    with pytest.raises(TotalTimeoutError):
        await guard.execute(trio.sleep_forever)

    assert trio.current_time() == 2.0
    assert guard.breaker.state is BreakerState.CLOSED
