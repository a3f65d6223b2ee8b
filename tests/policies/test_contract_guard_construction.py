"""What the design promises of Guard, sentence by sentence, through public names: construction, execute and decorator."""

import inspect
import math

import pytest

from genesis_trio.errors import (
    BreakerOpenError,
)
from genesis_trio.modes import Capability
from genesis_trio.policies.breaker import CircuitBreaker
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.hedge import Hedge
from genesis_trio.policies.retry import Retry
from policies.contract import breaker_of, exact, reconciled
from policies.venue import Venue

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


@pytest.mark.parametrize("retries", range(20))
@pytest.mark.parametrize("limit", [0.1, 0.3, 0.7, 1.1])
def test_guard_attempts_that_just_fit_are_no_contradiction(retries, limit):
    """3 * 0.1 is a little more than 0.3, and three attempts of 0.1 s fit into 0.3 s."""
    total = float(f"{limit * (retries + 1):.6g}")

    Guard("venue", retry=Retry(OSError, max_retries=retries), attempt_timeout=limit, total_timeout=total)


def test_guard_attempt_longer_than_the_total_is_a_contradiction():
    """Without retries too: an attempt may not be allowed more than the whole call."""
    with pytest.raises(ValueError, match=r": 1 attempt of 2 s take"):
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


async def test_guard_as_a_decorator_leaves_parameters_the_names_of_builtins():
    """What the wrapper itself needs is out of reach: an order book may well call its parameter *list*."""
    breaker = breaker_of(failure_threshold=2)
    down = [OSError("down")]

    @Guard("orders", breaker=breaker, retry=exact(base_delay=0.0))
    async def place(list, BaseException=None):  # noqa: N803 - this very name
        if down:
            raise down.pop()
        return list, BaseException

    assert await place("o1") == ("o1", None)
    breaker.isolate()
    with pytest.raises(BreakerOpenError):
        await place("o2")


async def test_guard_subclass_with_its_own_execute_keeps_it():
    """Asking for the one of the base class does not put that in its place."""
    asked = []

    class Logged(Guard):
        async def execute(self, fn, /, *args, **kwargs):
            asked.append(args)
            return await super().execute(fn, *args, **kwargs)

    guard = Logged("orders")

    assert [await guard.execute(Venue("ack"), order) for order in range(3)] == ["ack"] * 3
    assert asked == [(0,), (1,), (2,)]


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
