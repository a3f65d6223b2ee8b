"""What a guard and a guarded function weigh; there may be one for each order type of each venue."""

import gc
import tracemalloc

import pytest

from genesis_trio.policies.breaker import CircuitBreaker
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.retry import Retry

MANY = 1000


def bytes_each(make) -> float:
    """How much memory one more of what *make* makes takes."""
    make()  # what is shared by all is made with the first
    kept = [None] * MANY
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(MANY):
        kept[number] = make()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / MANY


@pytest.mark.slow
def test_guard_and_guarded_function_stay_within_their_memory():
    """Guards that are not in use take no wrapper of their own, and the code of wrappers is shared."""
    retry, breaker = Retry(OSError), CircuitBreaker("venue")
    guard = Guard("venue", retry=retry, breaker=breaker)

    async def place(order):
        return order

    # 232 of the guard itself, the rest of the register of all guards: a weak reference and its place in a set.
    assert bytes_each(lambda: Guard("venue", retry=retry, breaker=breaker)) <= 400
    assert bytes_each(lambda: guard(place)) <= 900
