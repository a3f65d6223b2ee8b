"""Hedge: cancellation of a call with copies passes bare, and covers no error."""

import pytest
import trio
import trio.testing

from genesis_trio.policies.breaker import CircuitBreaker
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.hedge import Hedge
from policies.copies import Copies


@pytest.mark.parametrize("when", [0.5, 1.5])
async def test_hedge_outer_cancellation_passes_bare(when, autojump_clock):
    """A cancellation from outside ends all copies and arrives as one Cancelled, before and after a copy started."""
    attempt, caught = Copies(10.0, 10.0), []

    with trio.move_on_at(when) as scope:
        try:
            await Hedge(delay=1.0)._call(attempt)
        except BaseException as error:
            caught.append(type(error))
            raise

    assert scope.cancelled_caught
    assert caught == [trio.Cancelled]
    assert trio.current_time() == when
    assert [what for what, _, _ in attempt.log] == ["start"] * (1 + (when > 1.0)) + ["cancelled"] * (1 + (when > 1.0))


async def test_hedge_outer_cancellation_without_delay_passes(autojump_clock):
    """While too little is known for a quantile, the call is simply awaited, and its cancellation passes."""
    with trio.move_on_at(0.5) as scope:
        await Hedge()._call(Copies(1.0))

    assert scope.cancelled_caught


async def test_hedge_cancelled_before_the_call_is_cancelled_at_its_first_checkpoint(autojump_clock):
    """In a scope that is cancelled already, the call ends where the attempt first waits."""
    attempt = Copies(1.0)

    with trio.CancelScope() as scope:
        scope.cancel()
        await Hedge(delay=1.0)._call(attempt)

    assert scope.cancelled_caught
    assert [what for what, _, _ in attempt.log] == ["start", "cancelled"]


@pytest.mark.parametrize("when", [0.5, 1.5])
async def test_hedge_error_during_outer_cancellation_reaches_the_caller_bare(when, autojump_clock):
    """The first copy's cleanup fails while the caller is cancelled: it comes alone, as it would without a hedge."""
    error = OSError("cleanup")

    async def attempt(copy, delay):
        try:
            await trio.sleep_forever()
        finally:
            if copy == 0:
                raise error

    with pytest.raises(OSError, match="cleanup") as caught, trio.move_on_at(when):
        await Hedge(delay=1.0)._call(attempt)

    assert caught.value is error


async def test_hedge_errors_of_several_copies_during_outer_cancellation_all_reach_the_caller(autojump_clock):
    """Where two copies fail in their cleanup, neither error is lost."""

    async def attempt(copy, delay):
        try:
            await trio.sleep_forever()
        finally:
            raise OSError(f"cleanup {copy}")

    with pytest.raises(ExceptionGroup) as caught, trio.move_on_at(1.5):
        await Hedge(delay=1.0)._call(attempt)

    assert sorted(str(error) for error in caught.value.exceptions) == ["cleanup 0", "cleanup 1"]


async def test_hedge_failed_first_copy_is_no_outcome_when_the_caller_is_cancelled_later(autojump_clock):
    """While the other copy still runs nothing is decided: a cancellation then is a cancellation."""
    attempt, caught = Copies((1.5, OSError("first")), 9.0), []

    with trio.move_on_at(2.0):
        try:
            await Hedge(delay=1.0)._call(attempt)
        except BaseException as error:
            caught.append(type(error))
            raise

    assert caught == [trio.Cancelled]


async def test_hedge_base_exception_during_outer_cancellation_goes_before_it(autojump_clock):
    """Ctrl-C in a copy while the caller is being cancelled is not lost in the cancellation."""

    async def attempt(copy, delay):
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            if copy == 1:
                raise KeyboardInterrupt from None
            raise

    with pytest.raises(KeyboardInterrupt), trio.move_on_at(1.5):
        await Hedge(delay=1.0)._call(attempt)


async def test_hedge_waits_until_the_loser_has_ended(autojump_clock):
    """No copy outlives the call: a loser that needs time to end is waited for."""
    ended = []

    async def attempt(copy, delay):
        if copy == 1:
            return "won"
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(5.0)
            ended.append(trio.current_time())

    value = await Hedge(delay=1.0)._call(attempt)

    assert value == "won"
    assert ended == [6.0]


async def test_hedge_success_stands_when_the_caller_is_cancelled_while_the_loser_ends(autojump_clock):
    """The venue has answered: an answer is not lost because another copy takes its time to end; the cancellation comes next."""

    async def attempt(copy, delay):
        if copy == 1:
            return "won"
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(5.0)
            raise OSError("no farewell")

    with trio.move_on_at(3.0) as scope:
        value = await Hedge(delay=1.0)._call(attempt)
        assert value == "won"
        await trio.lowlevel.checkpoint()

    assert scope.cancelled_caught
    assert trio.current_time() == 6.0


async def test_hedge_success_stands_where_another_copy_failed_in_its_cancellation(autojump_clock):
    """As without a cancellation: the error of a copy does not matter once another one has succeeded."""

    async def attempt(copy, delay):
        if copy == 1:
            with trio.CancelScope(shield=True):
                await trio.sleep(5.0)
            return "won"
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("no farewell")

    with trio.move_on_at(3.0):
        assert await Hedge(delay=1.0)._call(attempt) == "won"

    assert trio.current_time() == 6.0


async def test_hedged_call_that_was_answered_in_its_total_timeout_has_succeeded(autojump_clock):
    """The first answer is what the timeout is about, not the end of the other copy; nothing is tried again."""
    calls = []

    async def quote():
        calls.append(trio.current_time())
        if len(calls) == 2:
            return 101.5
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(5.0)

    breaker = CircuitBreaker("venue")
    guard = Guard("quotes", hedge=Hedge(delay=1.0), total_timeout=3.0, breaker=breaker)

    assert await guard.execute(quote) == 101.5

    assert calls == [0.0, 1.0]
    assert (guard.statistics().successes, guard.statistics().failures) == (1, 0)
    assert (breaker.statistics().successes, breaker.statistics().failures, breaker.statistics().in_flight) == (1, 0, 0)
