"""The words of a rejection, which are made when they are read."""

import copy
import pickle

import pytest

from genesis_trio.errors import (
    BreakerOpenError,
)
from genesis_trio.policies.breaker import CircuitBreaker
from policies.venue import Middle, Venue, notes


@pytest.mark.parametrize("name", ["venue", "{venue}", "50 %"])
async def test_breaker_rejection_keeps_its_words_in_copies_and_pickles(name, autojump_clock):
    """Name, time and cause are the error's own, whenever it is read and wherever it is sent."""
    breaker = CircuitBreaker(name, rng=Middle())
    breaker.trip()
    with pytest.raises(BreakerOpenError) as caught:
        await breaker.execute(Venue())
    error = caught.value
    error.add_note("in the morning")
    words = f"circuit breaker {name!r} is open for another 5 s; wait, or call reset() once the service is known to be healthy"

    for each in (error, copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(each) is BreakerOpenError
        assert str(each) == words
        assert repr(each) == f"BreakerOpenError({words!r})"
        assert (each.name, each.retry_after, notes(each)) == (name, 5.0, "in the morning")


def test_breaker_rejection_made_by_others_says_what_they_said():
    """A message with braces in it is a message."""
    error = BreakerOpenError("open {name}", name="venue", retry_after=1.0)

    assert (str(error), error.args) == ("open {name}", ("open {name}",))
