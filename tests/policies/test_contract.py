"""What the design promises of Guard, sentence by sentence, through public names."""

import contextlib
import gc
import inspect
import math
import sys
import weakref

import attrs
import pytest
import trio
import trio.testing

from genesis_trio.errors import (
    AttemptTimeoutError,
    BreakerOpenError,
    BulkheadFullError,
    ModeRefusedError,
    RateLimitedError,
    RetryBudgetExhaustedError,
    TotalTimeoutError,
)
from genesis_trio.events import CallRejected, FallbackUsed, observe
from genesis_trio.modes import Capability, Mode, current_scope, mode_scope
from genesis_trio.policies.breaker import BreakerState, CircuitBreaker
from genesis_trio.policies.budget import RetryBudget
from genesis_trio.policies.bulkhead import Bulkhead
from genesis_trio.policies.guard import NOT_DONE, Guard
from genesis_trio.policies.hedge import Hedge
from genesis_trio.policies.rate_limit import RateLimit
from genesis_trio.policies.retry import Retry
from policies.venue import Middle, Venue, notes


def exact(on=OSError, **settings) -> Retry:
    """A retry without jitter, whose times are exact: 1, 2, 4 … seconds."""
    return Retry(on, **{"base_delay": 1.0, "jitter": "none", **settings})


def breaker_of(**settings) -> CircuitBreaker:
    """A breaker whose break has no jitter."""
    return CircuitBreaker("venue", **{"rng": Middle(), **settings})


async def occupy(bulkhead: Bulkhead, seconds: float) -> None:
    """Be in a bulkhead for a while, through a guard as any user would."""
    await Guard("occupier", bulkhead=bulkhead).execute(trio.sleep, seconds)


async def reconciled(*args, **kwargs):
    return NOT_DONE


# ---------------------------------------------------------------- signatures and construction


def test_guard_signature_is_the_published_one():
    """Names and defaults of the constructor are those of the stub."""
    parameters = inspect.signature(Guard).parameters

    names = [
        "retry",
        "breaker",
        "attempt_timeout",
        "total_timeout",
        "bulkhead",
        "rate_limit",
        "hedge",
        "fallback",
        "needs",
        "repeatable",
        "reconcile",
    ]
    assert next(iter(parameters)) == "name"
    assert all(parameters[name].default is None for name in names)
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in names)


def test_guard_shows_its_name_and_breaker():
    """.name and .breaker are what was given."""
    breaker = breaker_of()

    assert Guard("orders", breaker=breaker).name == "orders"
    assert Guard("orders", breaker=breaker).breaker is breaker
    assert Guard("orders").breaker is None


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"retry": 3}, TypeError),
        ({"breaker": "venue"}, TypeError),
        ({"attempt_timeout": 0.0}, ValueError),
        ({"attempt_timeout": -1.0}, ValueError),
        ({"attempt_timeout": math.nan}, ValueError),
        ({"attempt_timeout": "1"}, TypeError),
        ({"attempt_timeout": True}, TypeError),
        ({"total_timeout": 0.0}, ValueError),
        ({"total_timeout": -1.0}, ValueError),
        ({"total_timeout": math.nan}, ValueError),
        ({"total_timeout": "1"}, TypeError),
        ({"bulkhead": 10}, TypeError),
        ({"rate_limit": 10}, TypeError),
        ({"hedge": 0.5}, TypeError),
        ({"fallback": 5}, TypeError),
        ({"needs": 8}, TypeError),
        ({"needs": "OPEN"}, TypeError),
        ({"repeatable": "no"}, TypeError),
        ({"reconcile": 5}, TypeError),
    ],
)
def test_guard_wrong_argument_is_refused_with_its_value(args, error):
    """Wrong values are ValueError, wrong types TypeError, at construction, and the message shows them."""
    with pytest.raises(error) as caught:
        Guard("orders", **args)

    ((name, value),) = args.items()
    assert name in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("name", [None, 5, b"orders"])
def test_guard_name_must_be_text(name):
    """The name is what an operator reads."""
    with pytest.raises(TypeError):
        Guard(name)


def test_guard_attempts_times_timeout_beyond_the_total_is_a_contradiction():
    """Four attempts of two seconds do not fit into five: the last ones could never be made."""
    with pytest.raises(ValueError) as caught:
        Guard("orders", retry=exact(max_retries=3, base_delay=0.0), attempt_timeout=2.0, total_timeout=5.0)

    assert "5" in str(caught.value)
    assert "2" in str(caught.value)


def test_guard_attempt_longer_than_the_total_is_a_contradiction():
    """Without retries too: an attempt may not be allowed more than the whole call."""
    with pytest.raises(ValueError):
        Guard("orders", attempt_timeout=2.0, total_timeout=1.0)


def test_guard_of_the_design_is_no_contradiction():
    """The example of the documentation can be constructed."""
    Guard(
        "venue.orders",
        retry=Retry(on=(OSError,), max_retries=3, base_delay=0.1),
        breaker=CircuitBreaker("venue", failure_threshold=3, recovery_timeout=5.0),
        attempt_timeout=1.0,
        total_timeout=5.0,
        needs=Capability.OPEN,
        repeatable=False,
        reconcile=reconciled,
    )


@pytest.mark.parametrize("name", ["attempt_timeout", "total_timeout"])
def test_guard_hedge_that_starts_after_the_timeout_is_a_contradiction(name):
    """It would never start; the error names both."""
    with pytest.raises(ValueError, match=rf"{name}=1, hedge=Hedge\(delay=2.*at most 1 s"):
        Guard("quotes", hedge=Hedge(delay=2.0), **{name: 1.0})

    Guard("quotes", hedge=Hedge(delay=1.0), **{name: 1.0})
    Guard("quotes", hedge=Hedge(quantile=0.9), **{name: 1.0})


def test_guard_hedge_on_a_call_that_is_not_repeatable_is_a_contradiction():
    """A hedge makes the call twice."""
    with pytest.raises(ValueError):
        Guard("orders", hedge=Hedge(delay=1.0), repeatable=False)


@pytest.mark.parametrize("policy", [{"retry": exact()}, {"hedge": Hedge(delay=1.0)}], ids=["retry", "hedge"])
def test_guard_needs_open_with_repetition_must_state_repeatable(policy):
    """Whoever adds risk and repeats must say that it may be repeated."""
    with pytest.raises(ValueError, match="repeatable"):
        Guard("orders", needs=Capability.OPEN, **policy)

    Guard("orders", needs=Capability.OPEN, repeatable=True, **policy)


def test_guard_needs_open_among_others_must_state_repeatable_too():
    """OPEN counts in a combination of capabilities as well."""
    with pytest.raises(ValueError, match="repeatable"):
        Guard("orders", needs=Capability.OPEN | Capability.READ, retry=exact())


@pytest.mark.parametrize("needs", [None, Capability.READ, Capability.CANCEL, Capability.REDUCE])
def test_guard_that_adds_no_risk_need_not_state_repeatable(needs):
    """Reads and cancels may be repeated without a word."""
    Guard("orders", needs=needs, retry=exact(), hedge=Hedge(delay=1.0))


def test_guard_not_repeatable_with_a_retry_needs_reconcile():
    """Before an order is sent again, somebody must look whether the first one arrived."""
    with pytest.raises(ValueError, match="reconcile"):
        Guard("orders", retry=exact(), repeatable=False)


def test_guard_refuses_to_decorate_what_is_not_async():
    """A plain function cannot be guarded: the mistake is told at once."""
    with pytest.raises(TypeError):

        @Guard("orders")
        def place(order):
            return order


# ---------------------------------------------------------------- execute and decorator


async def test_guard_without_policies_is_transparent():
    """execute(fn, *args, **kwargs): the same value, the same error object."""
    error = OSError("x")
    guard, venue = Guard("orders"), Venue("ack", error)

    assert await guard.execute(venue, 1, side="buy") == "ack"
    with pytest.raises(OSError) as caught:
        await guard.execute(venue)

    assert (venue.args[0], venue.kwargs[0]) == ((1,), {"side": "buy"})
    assert caught.value is error


async def test_guard_as_a_decorator_keeps_name_signature_and_doc(autojump_clock):
    """A decorated function looks like the one that was decorated, and is guarded."""
    guard, calls = Guard("orders", retry=exact()), []

    @guard
    async def place(order: str, /, qty: int = 1, *rest: int, side: str = "buy", **more: str) -> tuple[object, ...]:
        """Place it."""
        calls.append(order)
        if len(calls) < 2:
            raise OSError
        return order, qty, rest, side, more

    assert await place("o1", 2, 3, side="sell", tag="x") == ("o1", 2, (3,), "sell", {"tag": "x"})
    assert await place("o2") == ("o2", 1, (), "buy", {})
    assert calls == ["o1", "o1", "o2"]
    assert (place.__name__, place.__doc__) == ("place", "Place it.")
    assert str(inspect.signature(place)) == (
        "(order: str, /, qty: int = 1, *rest: int, side: str = 'buy', **more: str) -> tuple[object, ...]"
    )
    assert inspect.iscoroutinefunction(place)
    assert guard.statistics().calls == 2


async def test_guard_as_a_decorator_works_on_methods():
    """A decorated method is bound like any other."""

    class Client:
        @Guard("send")
        async def send(self, order):
            return self, order

    client = Client()

    assert await client.send("o1") == (client, "o1")


async def test_guard_decorated_function_with_wrong_arguments_is_a_type_error():
    """A call that does not fit is the caller's mistake, before any policy sees it."""
    breaker = breaker_of(failure_threshold=1)

    @Guard("orders", breaker=breaker)
    async def place(order):
        return order

    with pytest.raises(TypeError):
        await place()


async def test_guard_execute_of_something_not_awaitable_is_a_type_error():
    """A plain function by mistake is told in words, and is no success."""
    guard = Guard("orders")

    with pytest.raises(TypeError):
        await guard.execute(lambda: 5)


async def test_guard_many_functions_share_its_policies(autojump_clock):
    """One guard, two functions: one breaker."""
    guard = Guard("venue", breaker=breaker_of(failure_threshold=2))

    @guard
    async def first():
        raise OSError

    @guard
    async def second():
        raise OSError

    for function in (first, second):
        with pytest.raises(OSError):
            await function()

    with pytest.raises(BreakerOpenError):
        await first()


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


async def test_guard_total_timeout_after_a_failed_attempt_is_the_real_error_with_a_note(autojump_clock):
    """When an attempt had failed by itself, that is what the caller needs to know."""
    error = OSError("real")

    async def hang(*_):
        await trio.sleep_forever()

    venue = Venue(error, hang)

    with pytest.raises(OSError) as caught:
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


# ---------------------------------------------------------------- bulkhead and rate limit


async def test_guard_bulkhead_limits_and_refuses(autojump_clock, nursery):
    """BulkheadFullError, not called, no failure for the breaker; a place is there again when the call has ended."""
    guard = Guard("orders", bulkhead=Bulkhead(1), breaker=breaker_of(failure_threshold=1))
    nursery.start_soon(guard.execute, trio.sleep, 1.0)
    await trio.testing.wait_all_tasks_blocked()

    with pytest.raises(BulkheadFullError):
        await guard.execute(Venue())
    await trio.sleep(1.0)
    await trio.testing.wait_all_tasks_blocked()

    assert await guard.execute(Venue("ack")) == "ack"
    assert guard.breaker.state is BreakerState.CLOSED
    assert guard.statistics().rejected == 1


@pytest.mark.parametrize("ending", [OSError("x"), SystemExit(1), KeyError("y")], ids=repr)
async def test_guard_bulkhead_place_is_returned_whatever_the_end(ending):
    """An error of any kind gives the place back."""
    guard = Guard("orders", bulkhead=Bulkhead(1), breaker=breaker_of(failure_threshold=5))

    for _ in range(3):
        with pytest.raises(type(ending)):
            await guard.execute(Venue(ending))

    assert await guard.execute(Venue("ack")) == "ack"


async def test_guard_bulkhead_place_is_not_held_between_attempts(autojump_clock, nursery):
    """Waiting for a retry is not running: others get the place meanwhile."""
    bulkhead = Bulkhead(1)
    nursery.start_soon(Guard("a", bulkhead=bulkhead, retry=exact()).execute, Venue(OSError(), "ack"))
    await trio.sleep(0.5)

    assert await Guard("b", bulkhead=bulkhead).execute(Venue("ack")) == "ack"


async def test_guard_bulkhead_is_fair(autojump_clock):
    """First come, first served."""
    bulkhead, order = Bulkhead(1, max_waiting=10), []
    guard = Guard("orders", bulkhead=bulkhead)

    async def call(n):
        order.append(n)
        await trio.sleep(1.0)

    async with trio.open_nursery() as nursery:
        for n in range(6):
            nursery.start_soon(guard.execute, call, n)
            await trio.testing.wait_all_tasks_blocked()

    assert order == list(range(6))


async def test_guard_rate_limit_takes_a_token_for_each_attempt(autojump_clock):
    """A venue counts every attempt."""
    venue = Venue(OSError(), OSError(), "ack")
    guard = Guard("orders", retry=exact(base_delay=0.0), rate_limit=RateLimit(1, per=10.0))

    await guard.execute(venue)

    assert venue.times == [0.0, 10.0, 20.0]


async def test_guard_rate_limit_without_wait_is_an_error_that_is_no_failure(autojump_clock):
    """RateLimitedError with retry_after; the breaker does not hear of it."""
    guard = Guard("orders", rate_limit=RateLimit(1, per=10.0, wait=False), breaker=breaker_of(failure_threshold=1))
    await guard.execute(Venue())

    with pytest.raises(RateLimitedError) as caught:
        await guard.execute(Venue())

    assert caught.value.retry_after == pytest.approx(10.0)
    assert guard.breaker.state is BreakerState.CLOSED
    assert guard.breaker.statistics().failures == 0


@pytest.mark.parametrize("needs", [Capability.CANCEL, Capability.REDUCE, Capability.CANCEL | Capability.REDUCE])
async def test_guard_reserve_is_for_guards_that_cancel_or_reduce(needs, autojump_clock):
    """The last `reserve` of the burst are kept for them."""
    limit = RateLimit(3, per=30.0, reserve=1, wait=False)
    orders = Guard("orders", rate_limit=limit, needs=Capability.OPEN)
    urgent = Guard("urgent", rate_limit=limit, needs=needs)
    for _ in range(2):
        await orders.execute(Venue())

    with pytest.raises(RateLimitedError):
        await orders.execute(Venue())

    assert await urgent.execute(Venue("ack")) == "ack"
    with pytest.raises(RateLimitedError):
        await urgent.execute(Venue())


@pytest.mark.parametrize("needs", [None, Capability.READ, Capability.OPEN, Capability.OPEN | Capability.CANCEL])
async def test_guard_reserve_is_not_for_others(needs, autojump_clock):
    """Reads, new risk, and calls without a word are not urgent; what may also add risk is not either."""
    limit = RateLimit(2, per=20.0, reserve=1, wait=False)
    guard = Guard("orders", rate_limit=limit, needs=needs)
    await guard.execute(Venue())

    with pytest.raises(RateLimitedError):
        await guard.execute(Venue())


async def test_guard_that_cancels_does_not_queue_behind_orders(autojump_clock, nursery):
    """A hundred orders wait for tokens; the cancel goes out at once."""
    limit, sent = RateLimit(10, per=10.0, reserve=2), []
    orders = Guard("orders", rate_limit=limit, needs=Capability.OPEN)
    cancel = Guard("cancel", rate_limit=limit, needs=Capability.CANCEL)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as flood:
            for _ in range(100):
                flood.start_soon(orders.execute, Venue())
            await trio.testing.wait_all_tasks_blocked()

            await cancel.execute(Venue())
            sent.append(trio.current_time())
            scope.cancel()

    assert sent == [0.0]


# ---------------------------------------------------------------- retry inside of a guard


async def test_guard_refusal_between_two_attempts_is_the_real_last_error(autojump_clock):
    """SAFE came between the attempts: the caller gets what really happened, with a note."""
    error = OSError("real")
    guard = Guard("orders", retry=exact(), needs=Capability.OPEN, repeatable=True)

    with mode_scope("desk") as scope:

        async def fail_and_tighten():
            scope.hold(Mode.SAFE, owner="risk", reason="limit")
            raise error

        with pytest.raises(OSError) as caught:
            await guard.execute(fail_and_tighten)

    assert caught.value is error
    assert "SAFE" in notes(error)


async def test_guard_breaker_that_opens_between_two_attempts_gives_the_real_last_error(autojump_clock):
    """The same for the breaker: it is looked at before each attempt."""
    error = OSError("real")
    guard = Guard("orders", retry=exact(), breaker=breaker_of(failure_threshold=2, recovery_timeout=60.0))

    with pytest.raises(OSError) as caught:
        await guard.execute(venue := Venue(error))

    assert caught.value is error
    assert venue.calls == 2
    assert "open" in notes(error)


async def test_guard_retry_named_on_breaker_open_waits_for_the_probe(autojump_clock):
    """on=(OSError, BreakerOpenError): the call waits for retry_after and goes through as the probe."""
    venue = Venue(OSError("down"), "ack")
    guard = Guard(
        "orders",
        retry=exact((OSError, BreakerOpenError), max_retries=5),
        breaker=breaker_of(failure_threshold=1, recovery_timeout=5.0),
    )

    assert await guard.execute(venue) == "ack"
    assert venue.calls == 2
    assert venue.times[1] >= 5.0


async def test_guard_first_refusal_is_told_as_it_is():
    """Nothing real has happened yet: the refusal itself reaches the caller."""
    guard = Guard("orders", retry=exact(), breaker=breaker_of())
    guard.breaker.trip()

    with pytest.raises(BreakerOpenError):
        await guard.execute(Venue())


async def test_guard_nested_guards_make_another_order(autojump_clock):
    """A breaker around the retries: an inner guard retries, the outer one counts once."""
    venue = Venue(OSError())
    inner = Guard("inner", retry=exact(max_retries=2))
    outer = Guard("outer", breaker=breaker_of(failure_threshold=2))

    with pytest.raises(OSError):
        await outer.execute(inner.execute, venue)

    assert venue.calls == 3
    assert outer.breaker.statistics().failures == 1


async def test_guard_layers_do_not_multiply(autojump_clock):
    """Three guards of two retries make 3 calls, not 27."""
    venue = Venue(OSError())
    a, b, c = (Guard(name, retry=exact(max_retries=2)) for name in "abc")

    with pytest.raises(OSError):
        await a.execute(b.execute, c.execute, venue)

    assert venue.calls == 3


# ---------------------------------------------------------------- hedge inside of a guard


async def test_guard_hedge_takes_the_first_success_and_losers_count_nowhere(autojump_clock):
    """One call, one success; the breaker has heard of one success and of nothing else."""

    async def slow(*_):
        await trio.sleep(10.0)
        return "slow"

    venue = Venue(slow, "fast")
    guard = Guard("quotes", hedge=Hedge(delay=1.0), breaker=breaker_of())

    assert await guard.execute(venue) == "fast"
    assert venue.times == [0.0, 1.0]
    breaker, statistics = guard.breaker.statistics(), guard.statistics()
    assert (breaker.successes, breaker.failures, breaker.cancellations, breaker.in_flight) == (1, 0, 0, 0)
    assert (statistics.calls, statistics.successes, statistics.hedges, statistics.cancelled) == (1, 1, 1, 0)


async def test_guard_hedge_copy_is_decided_like_an_attempt_by_the_mode(autojump_clock):
    """SAFE came before the copy: the copy is refused, the first call goes on."""

    async def slow():
        starts.append(trio.current_time())
        await trio.sleep(3.0)
        return "ack"

    starts = []
    guard = Guard("quotes", hedge=Hedge(delay=1.0), needs=Capability.OPEN, repeatable=True)
    with mode_scope("desk") as scope:

        async def tighten():
            await trio.sleep(0.5)
            scope.hold(Mode.SAFE, owner="risk", reason="limit")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tighten)
            assert await guard.execute(slow) == "ack"

    assert starts == [0.0]


async def test_guard_hedge_copy_is_decided_like_an_attempt_by_the_breaker(autojump_clock):
    """Half open with one probe at once: the copy is refused, the probe goes on and decides."""
    starts = []

    async def slow():
        starts.append(trio.current_time())
        await trio.sleep(3.0)
        return "ack"

    breaker = breaker_of(recovery_timeout=5.0, success_threshold=1)
    guard = Guard("quotes", hedge=Hedge(delay=1.0), breaker=breaker)
    await guard.execute(Venue())
    breaker.trip()
    await trio.sleep(5.0)

    assert await guard.execute(slow) == "ack"
    assert starts == [5.0]
    assert breaker.state is BreakerState.CLOSED


async def test_guard_hedge_first_call_that_fails_early_starts_none(autojump_clock):
    """What to do about failures is the retry's business."""
    venue = Venue(OSError("early"))
    guard = Guard("quotes", hedge=Hedge(delay=1.0))

    with pytest.raises(OSError, match="early"):
        await guard.execute(venue)

    assert venue.calls == 1
    assert guard.statistics().hedges == 0


async def test_guard_hedge_attempt_timeout_is_for_each_copy(autojump_clock):
    """The order is hedge, attempt timeout, call: each copy has the whole of it."""
    guard = Guard("quotes", hedge=Hedge(delay=1.0), attempt_timeout=3.0)

    with pytest.raises(AttemptTimeoutError):
        await guard.execute(trio.sleep_forever)

    assert trio.current_time() == 4.0


async def test_guard_hedge_copies_do_not_escape_the_mode_scope(autojump_clock):
    """A copy runs in the context of the call: what it asks is asked in the same scope."""
    names = []

    async def slow():
        names.append(current_scope().name)
        await trio.sleep(3.0)

    with mode_scope("desk") as scope:
        await Guard("quotes", hedge=Hedge(delay=1.0)).execute(slow)

    assert names == [scope.name] * 2


async def test_guard_hedge_and_retry_share_a_budget(autojump_clock):
    """One budget for both: each retry and each copy takes 1, each call deposits once."""
    budget = RetryBudget(ratio=0.5, floor_per_second=1.0, window=4.0)
    guard = Guard("quotes", hedge=Hedge(delay=1.0, budget=budget), retry=exact(budget=budget, base_delay=0.0))

    async def slow_then_fail(*_):
        await trio.sleep(2.0)
        raise OSError

    venue = Venue(slow_then_fail, slow_then_fail, "ack")
    assert await guard.execute(venue) == "ack"

    assert budget.statistics().scheduled == 2


# ---------------------------------------------------------------- reconcile


class Book:
    """What the venue knows of our orders: a reconcile function that notes what it was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    async def __call__(self, *args, **kwargs):
        self.asked.append((args, kwargs, trio.current_time()))
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_guard_reconcile_finds_the_order_and_finishes_the_call(autojump_clock):
    """After an unknown outcome reconcile(*args, **kwargs) returns the value; the order is not sent again."""
    venue, book = Venue(OSError("connection lost")), Book("found")
    guard = Guard("orders", retry=exact(), repeatable=False, reconcile=book)

    assert await guard.execute(venue, "o1", side="buy") == "found"
    assert venue.calls == 1
    assert book.asked[0][:2] == (("o1",), {"side": "buy"})
    assert len(book.asked) == 1


async def test_guard_reconcile_may_find_none_which_is_a_value(autojump_clock):
    """Only NOT_DONE allows another attempt; None, False and 0 are results."""
    for value in (None, False, 0):
        venue = Venue(OSError("connection lost"))
        guard = Guard("orders", retry=exact(), repeatable=False, reconcile=Book(value))
        assert await guard.execute(venue) is value
        assert venue.calls == 1


async def test_guard_reconcile_not_done_allows_another_attempt(autojump_clock):
    """NOT_DONE: the venue has not got it, so it is sent again."""
    venue, book = Venue(OSError("lost"), "ack"), Book(NOT_DONE)
    guard = Guard("orders", retry=exact(), repeatable=False, reconcile=book)

    assert await guard.execute(venue) == "ack"
    assert venue.calls == 2
    assert len(book.asked) == 1


async def test_guard_reconcile_that_raises_reaches_the_caller(autojump_clock):
    """Nobody knows: the error reaches the caller, and nothing is sent again."""
    error = KeyError("cannot look")
    venue = Venue(OSError("lost"), "ack")
    guard = Guard("orders", retry=exact(Exception), repeatable=False, reconcile=Book(error))

    with pytest.raises(KeyError) as caught:
        await guard.execute(venue)

    assert caught.value is error
    assert venue.calls == 1


async def test_guard_reconcile_after_an_attempt_timeout(autojump_clock):
    """A timeout is the typical unknown outcome."""
    venue, book = Venue("ack", seconds=5.0), Book("found")
    guard = Guard("orders", retry=exact(AttemptTimeoutError), attempt_timeout=1.0, repeatable=False, reconcile=book)

    assert await guard.execute(venue) == "found"
    assert venue.calls == 1


async def test_guard_reconcile_is_not_asked_when_nothing_was_sent(autojump_clock):
    """A refusal before the call has a known outcome: nothing happened."""
    book = Book("found")
    guard = Guard("orders", retry=exact(), breaker=breaker_of(), repeatable=False, reconcile=book)
    guard.breaker.trip()

    with pytest.raises(BreakerOpenError):
        await guard.execute(Venue())

    assert book.asked == []


async def test_guard_reconcile_is_not_asked_on_success_or_cancellation(autojump_clock):
    """There is nothing to find out, or nobody there to tell."""
    book = Book("found")
    guard = Guard("orders", retry=exact(), repeatable=False, reconcile=book)

    await guard.execute(Venue("ack"))
    with trio.move_on_after(1.0):
        await guard.execute(trio.sleep_forever)

    assert book.asked == []


# ---------------------------------------------------------------- fallback


async def test_guard_fallback_answers_with_error_and_arguments():
    """fallback(error, *args, **kwargs) is called with what failed and what was asked."""
    error, asked = OSError("down"), []

    def cached(failure, *args, **kwargs):
        asked.append((failure, args, kwargs))
        return "cached"

    assert await Guard("quotes", fallback=cached).execute(Venue(error), "BTC", depth=5) == "cached"
    assert asked == [(error, ("BTC",), {"depth": 5})]


async def test_guard_fallback_may_be_async(autojump_clock):
    """An async fallback is awaited."""

    async def cached(error, *args):
        await trio.sleep(1.0)
        return "cached"

    assert await Guard("quotes", fallback=cached).execute(Venue(OSError())) == "cached"
    assert trio.current_time() == 1.0


async def test_guard_fallback_is_outermost(autojump_clock):
    """It sees what comes after all retries, the total timeout, and refusals."""
    seen = []

    def note(error, *_):
        seen.append(type(error))

    await Guard("a", fallback=note, retry=exact()).execute(venue := Venue(OSError()))
    await Guard("b", fallback=note, total_timeout=1.0).execute(trio.sleep_forever)
    with mode_scope("desk") as scope, scope.hold(Mode.SAFE, owner="risk", reason="limit"):
        await Guard("c", fallback=note, needs=Capability.OPEN).execute(Venue())

    assert seen == [OSError, TotalTimeoutError, ModeRefusedError]
    assert venue.calls == 4


async def test_guard_fallback_does_not_hide_the_failure_from_the_breaker():
    """The dependency failed all the same."""
    guard = Guard("quotes", fallback=lambda error: "cached", breaker=breaker_of(failure_threshold=1))

    assert await guard.execute(Venue(OSError())) == "cached"
    assert guard.breaker.state is BreakerState.OPEN


async def test_guard_fallback_that_fails_raises_its_own_error():
    """Its error reaches the caller; the first one is the context."""
    first, second = OSError("down"), KeyError("no cache")

    def cached(error):
        raise second

    with pytest.raises(KeyError) as caught:
        await Guard("quotes", fallback=cached).execute(Venue(first))

    assert caught.value is second
    assert caught.value.__context__ is first


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_guard_fallback_is_not_for_base_exceptions(error):
    """Ctrl-C is nobody's failure."""

    async def leave():
        raise error

    with pytest.raises(error):
        await Guard("quotes", fallback=lambda e: "cached").execute(leave)


async def test_guard_fallback_is_not_for_cancellations(autojump_clock):
    """A cancelled call has no answer."""
    used = []

    with trio.move_on_after(1.0) as scope:
        await Guard("quotes", fallback=used.append).execute(trio.sleep_forever)

    assert scope.cancelled_caught
    assert used == []


async def test_guard_fallback_is_told_to_observers():
    """That an answer is a substitute can be seen."""
    seen = []

    with observe(seen.append):
        await Guard("quotes", fallback=lambda error: "cached").execute(Venue(OSError("down")))

    used = [event for event in seen if isinstance(event, FallbackUsed)]
    assert [event.policy for event in used] == ["quotes"]
    assert "down" in used[0].error


# ---------------------------------------------------------------- connect


class Stream:
    """An async context manager factory that can fail at entering and notes what happens to it."""

    def __init__(self, *failures: Exception, seconds: float = 0.0) -> None:
        self.failures, self.seconds, self.log = list(failures), seconds, []

    @contextlib.asynccontextmanager
    async def open(self, *args):
        self.log.append(("enter", args))
        await trio.sleep(self.seconds)
        if self.failures:
            raise self.failures.pop(0)
        try:
            yield "socket"
        except BaseException as error:
            self.log.append(("exit", type(error)))
            raise
        self.log.append(("exit", None))


async def test_guard_connect_enters_yields_and_leaves(autojump_clock):
    """connect(factory, *args) gives what the factory's context manager gives, and leaves it at the end of the block."""
    stream = Stream()

    async with Guard("feed").connect(stream.open, "wss://x", 5) as socket:
        assert socket == "socket"
        await trio.sleep(1.0)

    assert stream.log == [("enter", ("wss://x", 5)), ("exit", None)]


async def test_guard_connect_retries_entering_with_a_new_manager(autojump_clock):
    """Policies apply to entering: a refused connection is tried again after the delay."""
    stream = Stream(OSError("refused"), OSError("refused"))

    async with Guard("feed", retry=exact()).connect(stream.open):
        assert trio.current_time() == 3.0

    assert [what for what, _ in stream.log] == ["enter", "enter", "enter", "exit"]


async def test_guard_connect_error_in_the_block_is_not_retried(autojump_clock):
    """The block is the caller's: its error reaches the caller, and entering is not done again."""
    stream, error = Stream(), OSError("stream broke")

    with pytest.raises(OSError) as caught:
        async with Guard("feed", retry=exact()).connect(stream.open):
            raise error

    assert caught.value is error
    assert [what for what, _ in stream.log] == ["enter", "exit"]


@pytest.mark.parametrize("policy", ["attempt_timeout", "total_timeout"])
async def test_guard_connect_timeout_ends_with_entering(policy, autojump_clock):
    """A stream may last longer than it may take to open."""
    stream = Stream(seconds=0.5)

    async with Guard("feed", **{policy: 1.0}).connect(stream.open):
        await trio.sleep(100.0)

    assert trio.current_time() == 100.5


async def test_guard_connect_attempt_timeout_limits_entering(autojump_clock):
    """A connection that does not come up in time is given up."""
    stream = Stream(seconds=10.0)

    with pytest.raises(AttemptTimeoutError):
        async with Guard("feed", attempt_timeout=1.0).connect(stream.open):
            pytest.fail("not entered")

    assert trio.current_time() == 1.0


async def test_guard_connect_total_timeout_limits_all_of_entering(autojump_clock):
    """Attempts and delays together: no stream within it is a TotalTimeoutError, or the real error if there was one."""
    with pytest.raises(TotalTimeoutError):
        async with Guard("feed", total_timeout=2.0).connect(Stream(seconds=10.0).open):
            pytest.fail("not entered")
    assert trio.current_time() == 2.0

    error = OSError("refused")
    hangs_then = Stream(error, seconds=1.5)
    with pytest.raises(OSError) as caught:
        async with Guard("feed", total_timeout=4.0, retry=exact(base_delay=2.0)).connect(hangs_then.open):
            pytest.fail("not entered")

    assert caught.value is error
    assert trio.current_time() == 6.0


async def test_guard_connect_total_timeout_is_a_failure_if_the_attempt_had_all_of_it(autojump_clock):
    """A stream that does not open for all of total_timeout is a failure of the other side."""
    breaker = breaker_of(failure_threshold=1)

    with pytest.raises(TotalTimeoutError):
        async with Guard("feed", total_timeout=2.0, breaker=breaker).connect(Stream(seconds=10.0).open):
            pytest.fail("not entered")

    assert breaker.state is BreakerState.OPEN


async def test_guard_connect_place_in_the_bulkhead_ends_with_entering(autojump_clock):
    """The bulkhead is for connecting; open streams do not take its places."""
    guard = Guard("feed", bulkhead=Bulkhead(1))

    async with guard.connect(Stream().open), guard.connect(Stream().open), guard.connect(Stream().open):
        pass


async def test_guard_connect_end_of_the_block_is_the_one_outcome(autojump_clock):
    """Anything else than an error or a cancellation is a success, one for the whole stream, counted at its end."""
    breaker = breaker_of()

    async with Guard("feed", breaker=breaker).connect(Stream().open):
        inside = breaker.statistics().successes

    assert (inside, breaker.statistics().successes) == (0, 1)


async def test_guard_connect_error_in_the_block_is_a_failure(autojump_clock):
    """A stream that breaks counts against the dependency, once."""
    breaker = breaker_of(failure_threshold=2)

    for _ in range(2):
        with pytest.raises(OSError):
            async with Guard("feed", breaker=breaker).connect(Stream().open):
                raise OSError("stream broke")

    assert breaker.statistics().failures == 2
    assert breaker.state is BreakerState.OPEN


async def test_guard_connect_error_at_entering_is_a_failure(autojump_clock):
    """So does one that does not open."""
    breaker = breaker_of(failure_threshold=1)

    with pytest.raises(OSError):
        async with Guard("feed", breaker=breaker).connect(Stream(OSError("refused")).open):
            pytest.fail("not entered")

    assert breaker.state is BreakerState.OPEN


async def test_guard_connect_cancellation_in_the_block_is_no_outcome(autojump_clock):
    """A stream that the caller ends by cancelling says nothing."""
    breaker = breaker_of(failure_threshold=1)

    with trio.move_on_after(1.0):
        async with Guard("feed", breaker=breaker).connect(Stream().open):
            await trio.sleep_forever()

    statistics = breaker.statistics()
    assert (statistics.successes, statistics.failures, statistics.in_flight) == (0, 0, 0)


async def test_guard_connect_lease_of_a_probe_ends_with_entering(autojump_clock):
    """A probe that opened a stream may hold it for hours; it is judged by its end."""
    breaker = breaker_of(recovery_timeout=5.0, probe_lease=1.0, success_threshold=1)
    guard = Guard("feed", breaker=breaker)
    async with guard.connect(Stream().open):
        pass
    breaker.trip()
    await trio.sleep(5.0)

    async with guard.connect(Stream().open):
        await trio.sleep(3600.0)

    assert breaker.state is BreakerState.CLOSED


async def test_guard_connect_lease_of_a_probe_runs_while_entering(autojump_clock, nursery):
    """A probe that hangs in entering overruns its lease like any."""
    breaker = breaker_of(recovery_timeout=5.0, probe_lease=1.0)
    guard = Guard("feed", breaker=breaker)
    breaker.trip()
    await trio.sleep(5.0)

    async def connect():
        async with guard.connect(Stream(seconds=100.0).open):
            pass

    nursery.start_soon(connect)
    await trio.sleep(2.0)

    assert breaker.state is BreakerState.OPEN
    nursery.cancel_scope.cancel()


async def test_guard_connect_is_refused_by_mode_and_breaker():
    """Refusals come before anything is entered."""
    guard, stream = Guard("feed", needs=Capability.READ, breaker=breaker_of()), Stream()
    guard.breaker.trip()

    with pytest.raises(BreakerOpenError):
        async with guard.connect(stream.open):
            pytest.fail("not entered")

    assert stream.log == []


async def test_guard_connect_runs_entering_in_the_task_of_the_block(autojump_clock):
    """A context manager with a nursery must be left in the task that entered it, hedge or not."""
    tasks = []

    @contextlib.asynccontextmanager
    async def opening():
        tasks.append(trio.lowlevel.current_task())
        await trio.sleep(3.0)
        async with trio.open_nursery():
            yield

    try:
        guard = Guard("feed", hedge=Hedge(delay=1.0))
        manager = guard.connect(opening)
    except (TypeError, ValueError):
        return  # refusing a hedge here is sound too
    async with manager:
        pass

    assert tasks == [trio.lowlevel.current_task()]


async def test_guard_connect_counts_as_one_call(autojump_clock):
    """One stream is one call, a success when its block ended well."""
    guard = Guard("feed", retry=exact())

    async with guard.connect(Stream(OSError("refused")).open):
        pass

    statistics = guard.statistics()
    assert (statistics.calls, statistics.successes, statistics.attempts, statistics.retries) == (1, 1, 2, 1)


# ---------------------------------------------------------------- explain


def test_guard_explain_tells_latency_and_amplification_in_words():
    """The worst case can be read: 4 attempts of 1 second with waits of up to 0.7, at most 5 seconds in all."""
    guard = Guard(
        "venue.orders",
        retry=Retry(OSError, max_retries=3, base_delay=0.1),
        attempt_timeout=1.0,
        total_timeout=5.0,
    )

    text = guard.explain()

    assert "venue.orders" in text
    assert "4" in text
    assert "4.7" in text or "5" in text


def test_guard_explain_counts_hedges_into_the_amplification():
    """Four attempts of two copies each are eight calls at worst."""
    guard = Guard("quotes", retry=Retry(OSError, max_retries=3), hedge=Hedge(delay=1.0), attempt_timeout=1.0)

    assert "8" in guard.explain()


def test_guard_explain_says_what_has_no_limit():
    """Without a timeout nothing limits the latency, and that is said."""
    text = Guard("quotes").explain()

    assert isinstance(text, str)
    assert any(
        word in text for word in ("no limit", "unlimited", "unbounded", "without limit", "forever", "no timeout")
    )


# ---------------------------------------------------------------- what is known


async def test_guard_statistics_count_calls_by_their_end(autojump_clock):
    """Every call is one of success, failure, cancelled and rejected."""
    guard = Guard("orders", breaker=breaker_of(failure_threshold=2), retry=exact(max_retries=1))

    await guard.execute(Venue("ack"))
    await guard.execute(Venue(OSError(), "ack"))
    with trio.move_on_after(1.0):
        await guard.execute(trio.sleep_forever)
    with pytest.raises(OSError):
        await guard.execute(Venue(OSError()))
    with pytest.raises(BreakerOpenError):
        await guard.execute(Venue())

    statistics = guard.statistics()
    assert statistics.calls == 5
    assert (statistics.successes, statistics.failures, statistics.cancelled, statistics.rejected) == (2, 1, 1, 1)
    assert (statistics.attempts, statistics.retries, statistics.retry_successes, statistics.exhausted) == (6, 2, 1, 1)
    assert (statistics.timeouts, statistics.hedges) == (0, 0)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        statistics.calls = 0


async def test_guard_statistics_retries_are_counted_when_scheduled(autojump_clock, nursery):
    """Required at all times: retries scheduled, succeeded, exhausted; scheduled counts before the wait is over."""
    guard = Guard("orders", retry=exact())
    nursery.start_soon(guard.execute, Venue(OSError(), "ack"))

    await trio.sleep(0.5)

    assert guard.statistics().retries == 1
    assert guard.statistics().retry_successes == 0


async def test_guard_budget_exhausted_counts_as_exhausted(autojump_clock):
    """No retry was made because the budget had none left: a failure that ran out."""
    guard = Guard("orders", retry=exact(budget=RetryBudget(ratio=0.0, floor_per_second=0.0)))

    with pytest.raises(RetryBudgetExhaustedError):
        await guard.execute(Venue(OSError()))

    assert (guard.statistics().failures, guard.statistics().exhausted, guard.statistics().retries) == (1, 1, 0)


async def test_guard_rejection_is_told_to_observers():
    """A refused call is an event with the guard's name."""
    guard, seen = Guard("orders", breaker=breaker_of()), []
    guard.breaker.trip()

    with observe(seen.append), pytest.raises(BreakerOpenError):
        await guard.execute(Venue())

    assert [event.policy for event in seen if isinstance(event, CallRejected)] == ["orders"]


def test_guard_statistics_start_fresh_in_a_new_run():
    """Counters belong to the run."""
    guard = Guard("orders")

    @guard
    async def place():
        return "ack"

    async def use():
        for _ in range(3):
            await place()
        return guard.statistics().calls

    async def use_without_looking():
        await place()

    assert trio.run(use) == 3
    assert trio.run(use) == 3
    trio.run(use_without_looking)
    assert trio.run(use) == 3


def test_guard_used_from_two_runs_at_once_is_a_runtime_error():
    """Noticed on the cold path, to which statistics() belongs."""
    guard = Guard("orders")

    async def inner():
        guard.statistics()

    async def outer():
        await guard.execute(Venue())
        guard.statistics()
        await trio.to_thread.run_sync(trio.run, inner)

    with pytest.raises(RuntimeError, match=r"trio\.run"):
        trio.run(outer)


async def test_guard_and_breaker_are_held_weakly():
    """The registry does not keep them: what is dropped is gone."""

    guard = Guard("orders", breaker=breaker_of())
    await guard.execute(Venue())
    refs = weakref.ref(guard), weakref.ref(guard.breaker)

    del guard
    gc.collect()
    gc.collect()  # what the first one has finalized holds the rest until then

    assert [ref() for ref in refs] == [None, None]


# ---------------------------------------------------------------- cost


async def test_guard_healthy_path_is_one_frame_over_the_call():
    """Mode, breaker, retry and counters together: one coroutine frame between caller and function."""
    guard = Guard("orders", retry=exact(), breaker=breaker_of(), needs=Capability.OPEN, repeatable=True)
    frames = []

    @guard
    async def place(order):
        frame = sys._getframe()
        frames.append((frame.f_back.f_back, frame.f_back.f_code))

    with mode_scope("desk"):
        for _ in range(3):
            await place("o1")

    me = sys._getframe()
    assert [caller for caller, _ in frames] == [me] * 3


def test_guard_healthy_path_reads_no_clock():
    """A thousand healthy calls do not ask for the time once."""

    class CountingClock(trio.abc.Clock):
        reads = 0

        def start_clock(self):
            pass

        def current_time(self):
            self.reads += 1
            return 0.0

        def deadline_to_sleep_time(self, deadline):
            return 0.0 if deadline <= 0.0 else 999999.0

    clock = CountingClock()

    async def main():
        guard = Guard("orders", retry=exact(), breaker=breaker_of(), needs=Capability.OPEN, repeatable=True)

        @guard
        async def place():
            return "ack"

        with mode_scope("desk"):
            await place()
            before = clock.reads
            for _ in range(1000):
                await place()
            return clock.reads - before

    assert trio.run(main, clock=clock) == 0
