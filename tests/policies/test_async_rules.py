"""What decides at once has to be a plain function: a coroutine that nobody awaits is true."""

import functools

import pytest

from genesis_trio.events import observe
from genesis_trio.modes import current_scope
from genesis_trio.policies.breaker import CircuitBreaker
from genesis_trio.policies.retry import Retry


async def decide(_):
    return False


class Decision:
    async def __call__(self, _):
        return False


@pytest.mark.parametrize(
    "function", [decide, Decision(), functools.partial(Decision())], ids=["function", "object", "partial"]
)
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda rule: Retry(rule), "Retry(on="),
        (lambda rule: Retry(OSError, retry_result=rule), "Retry(retry_result="),
        (lambda rule: CircuitBreaker("venue", failure_on=rule), "CircuitBreaker(failure_on="),
        (lambda rule: CircuitBreaker("venue", failure_result=rule), "CircuitBreaker(failure_result="),
    ],
    ids=["on", "retry_result", "failure_on", "failure_result"],
)
def test_policy_async_rule_is_refused_at_construction(make, what, function):
    """Unnoticed, a good order would be sent again, or a breaker opened by good answers."""
    with pytest.raises(TypeError) as caught:
        make(function)

    assert what in str(caught.value)
    assert "is async" in str(caught.value)


async def test_wait_for_async_predicate_is_refused():
    """It would be met at once, whatever the mode."""
    with pytest.raises(TypeError, match="is async"):
        await current_scope().wait_for(decide)


async def test_observe_async_hook_is_refused():
    """It would never run."""
    with pytest.raises(TypeError, match="plain function"), observe(decide):
        pass
