"""What cannot be called and awaited, and what cannot be a rule: errors that say what to pass instead."""

import functools

import pytest
import trio

from genesis_trio.policies.breaker import CircuitBreaker
from genesis_trio.policies.guard import NOT_DONE, Guard
from genesis_trio.policies.retry import Retry

FAST = {}
GENERAL = {"total_timeout": 10.0}


async def ok():
    return 1


def policies(kind):
    breaker = CircuitBreaker("venue", failure_threshold=1)
    if kind == "retry":
        return Retry(Exception), None
    if kind == "breaker":
        return breaker, breaker
    settings = FAST if kind == "fast guard" else GENERAL
    return Guard("venue", retry=Retry(Exception), breaker=breaker, **settings), breaker


KINDS = ["fast guard", "general guard", "retry", "breaker"]


@pytest.mark.parametrize("kind", KINDS)
async def test_execute_of_a_coroutine_says_to_pass_the_function(kind, autojump_clock):
    """A coroutine object instead of the function is refused at once, closed, and no failure of the dependency."""
    policy, breaker = policies(kind)

    with pytest.raises(TypeError, match=r"pass the function itself: execute\(ok, \*args\)"):
        await policy.execute(ok())

    assert trio.current_time() == 0.0
    assert breaker is None or (breaker.statistics().failures, breaker.statistics().in_flight) == (0, 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_execute_of_a_sync_function_says_to_make_it_async(kind, autojump_clock):
    """A result that cannot be awaited is refused at once, with what to write instead."""
    policy, breaker = policies(kind)

    with pytest.raises(TypeError, match=r"<lambda>\(\) gave nothing that can be awaited .* write `async def`"):
        await policy.execute(lambda: 3)

    assert trio.current_time() == 0.0
    assert breaker is None or (breaker.statistics().failures, breaker.statistics().in_flight) == (0, 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_execute_of_what_is_no_function_says_so(kind, autojump_clock):
    """A value that nobody can call is refused with its repr."""
    policy, _ = policies(kind)

    with pytest.raises(TypeError, match=r"wants an async function and its arguments, got 7"):
        await policy.execute(7)


async def test_type_error_of_the_function_stays_its_own(autojump_clock):
    """A TypeError from inside of the function is a failure like any other, and keeps its words."""
    breaker = CircuitBreaker("venue")

    async def place():
        raise TypeError("can't await the venue")

    with pytest.raises(TypeError, match=r"^can't await the venue$"):
        await Guard("venue", breaker=breaker).execute(place)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        await Guard("venue", breaker=breaker).execute(place, price=1)

    assert breaker.statistics().failures == 2


@pytest.mark.parametrize("cls", [BaseException, KeyboardInterrupt, SystemExit, GeneratorExit, trio.Cancelled])
@pytest.mark.parametrize("place", ["alone", "among others"])
def test_rule_that_names_what_ends_a_task_is_refused(cls, place):
    """Neither a retry nor a breaker can be told to take the end of a task or of the program for a failure."""
    rule = cls if place == "alone" else (OSError, cls)

    with pytest.raises(ValueError, match=rf"Retry\(on=…\): {cls.__name__} is no outcome of a call"):
        Retry(rule)
    with pytest.raises(ValueError, match=rf"CircuitBreaker\(failure_on=…\): {cls.__name__} is no outcome of a call"):
        CircuitBreaker("venue", failure_on=rule)


async def test_reconcile_that_is_not_async_says_so(autojump_clock):
    """A sync function instead of an async one is named, and the attempt's own error is not lost."""
    guard = Guard("orders", retry=Retry(OSError), repeatable=False, reconcile=lambda: NOT_DONE)

    async def place():
        raise OSError("no reply")

    with pytest.raises(TypeError, match=r"reconcile=…\) of 'orders' .*<lambda>\(\) gave NOT_DONE") as caught:
        await guard.execute(place)

    assert isinstance(caught.value.__context__, OSError)


class Sender:
    """A function that is an object."""

    async def __call__(self, order, *, side):
        return order, side


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "send",
    [Sender(), functools.partial(Sender(), side="buy"), functools.partial(functools.partial(Sender()), side="buy")],
    ids=["object", "partial", "partial of a partial"],
)
async def test_decorator_takes_an_object_that_is_called_and_awaited(kind, send):
    """What is called in the end decides, not what holds it."""
    policy, _ = policies(kind)

    assert await policy(send)("o1", side="buy") == ("o1", "buy")
