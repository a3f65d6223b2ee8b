"""The words of a rejection, which are made when they are read."""

import copy
import pickle

import pytest

from genesis_trio import BreakerState, Guard, Retry, observe
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


class Mute(Exception):
    """An error of a library with a bug in its ``__str__``."""

    def __str__(self):
        raise RuntimeError("no text")


async def test_failure_that_cannot_tell_its_text_reaches_the_caller(autojump_clock):
    """What is told to observers, and kept as the reason of the opening, never takes the place of the caller's own error."""
    breaker = CircuitBreaker("venue", failure_threshold=2)
    orders = Guard("orders", retry=Retry(Mute, max_retries=1, base_delay=1.0, jitter="none"), breaker=breaker)
    told = []

    with observe(told.append), pytest.raises(Mute):
        await orders.execute(Venue(Mute(), Mute()))

    assert breaker.state is BreakerState.OPEN
    assert told[0].as_dict()["error"] == "Mute: its text cannot be made (RuntimeError)"
    with pytest.raises(BreakerOpenError):
        await orders.execute(Venue())
