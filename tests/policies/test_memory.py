"""What a guard and a guarded function weigh; there may be one for each order type of each venue."""

import gc
import tracemalloc

import pytest

import genesis_trio.policies.guard
from genesis_trio.events import Registry
from genesis_trio.modes import Capability
from genesis_trio.policies.breaker import CircuitBreaker
from genesis_trio.policies.guard import NOT_DONE, Guard
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
def test_guard_and_guarded_function_stay_within_their_memory(monkeypatch):
    """Guards that are not in use take no wrapper of their own, and the code of wrappers is shared."""
    # An empty one: when it grows, all that stands in it already would be counted as new.
    monkeypatch.setattr(genesis_trio.policies.guard, "GUARDS", Registry())
    policies = {"retry": Retry(OSError), "breaker": CircuitBreaker("venue")}
    guard = Guard("venue", **policies)

    async def place(order):
        return order

    async def find(order):
        return NOT_DONE

    careful = {"needs": Capability.OPEN, "attempt_timeout": 1.0, "total_timeout": 5.0, "repeatable": False}
    # 160 of the guard itself on Python 3.11, the rest of the register of all guards: a weak reference and its place in a list.
    assert bytes_each(lambda: Guard("venue", **policies)) <= 256
    assert bytes_each(lambda: Guard("venue.orders", reconcile=find, **careful, **policies)) <= 256
    assert bytes_each(lambda: guard(place)) <= 900


def test_registry_sweeps_out_what_is_gone():
    """Things that come and go leave no trail in the register; what lives keeps its place in it."""

    class Thing:
        def __init__(self, name):
            self.name = name

    registry = Registry()
    things = [Thing("first"), Thing("second"), Thing("first")]
    for thing in things:
        registry.add(thing)

    for _ in range(1000):
        registry.add(Thing("short-lived"))
        assert len(registry._members) <= 100

    assert registry.by_name() == {"first": [things[0], things[2]], "second": [things[1]]}
