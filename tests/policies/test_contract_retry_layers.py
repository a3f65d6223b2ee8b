"""What the design promises of Retry inside of Retry, sentence by sentence, through public names: layers do not multiply."""

import pytest
import trio
import trio.testing

from genesis_trio.errors import (
    BreakerOpenError,
)
from genesis_trio.policies.breaker import CircuitBreaker
from genesis_trio.policies.guard import Guard
from policies.contract import VenueError, exact
from policies.venue import Middle, Venue, notes

# ---------------------------------------------------------------- layers of retries


async def test_retry_layers_do_not_multiply(autojump_clock):
    """Three layers of two retries make 3 calls, not 27, and say so on the error."""
    error = OSError("down")
    venue = Venue(error)
    layer = exact(max_retries=2)

    with pytest.raises(OSError) as caught:
        await layer.execute(layer.execute, layer.execute, venue)

    assert venue.calls == 3
    assert caught.value is error
    assert len(error.__notes__) >= 2


async def test_retry_note_on_one_error_raised_again_and_again_is_made_once(autojump_clock):
    """A library that keeps the error of a broken connection gives every call the same one; its notes do not grow."""
    error = OSError("down")
    venue = Venue(error)

    for _ in range(100):
        with pytest.raises(OSError):
            await exact(max_retries=1, base_delay=0.0).execute(venue)

    assert len(error.__notes__) == 1


async def test_retry_notes_on_one_error_are_bounded_whatever_they_say(autojump_clock):
    """Neither do those that differ from call to call."""
    error = OSError("down")
    venue = Venue(error)

    for n in range(100):
        with trio.fail_after(10.0 + n), pytest.raises(OSError):
            await exact(max_retries=1, base_delay=200.0).execute(venue)

    assert len(error.__notes__) == 16


async def test_retry_note_where_somebody_keeps_other_things_does_no_harm(autojump_clock):
    """An error whose __notes__ is no list keeps it, and is raised as it is."""
    error = OSError("down")
    error.__notes__ = ("kept",)

    with pytest.raises(OSError):
        await exact(max_retries=1).execute(Venue(error))

    assert error.__notes__ == ("kept",)


async def test_retry_layers_with_fresh_errors_do_not_multiply_either(autojump_clock):
    """The same when each call raises an error of its own."""

    async def fail():
        calls.append(1)
        raise OSError("down")

    calls, layer = [], exact(max_retries=2)

    with pytest.raises(OSError):
        await layer.execute(layer.execute, layer.execute, fail)

    assert len(calls) == 3


async def test_retry_mark_travels_along_the_cause(autojump_clock):
    """An error made `from` one that was given up on is not retried either."""
    venue, inner, outer = Venue(OSError("down")), exact(max_retries=2), exact(VenueError, max_retries=2)

    async def wrapped():
        try:
            await inner.execute(venue)
        except OSError as error:
            raise VenueError("wrapped") from error

    with pytest.raises(VenueError) as caught:
        await outer.execute(wrapped)

    assert venue.calls == 3
    assert notes(caught.value)


async def in_a_nursery(call, venue):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, venue)


async def beside_another_task(call, venue):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        await call(venue)


async def sorted_out(call, venue):
    try:
        await call(venue)
    except* KeyError:
        pass


@pytest.mark.parametrize("way", [in_a_nursery, beside_another_task, sorted_out])
async def test_retry_mark_travels_with_a_group_wherever_it_goes(way, autojump_clock):
    """A nursery wraps the group, and it or `except*` makes a new one of what is left: three calls all the same, not nine."""
    venue, layer = Venue(ExceptionGroup("down", [OSError("a"), OSError("b")])), exact(max_retries=2)

    with pytest.raises(ExceptionGroup) as caught:
        await layer.execute(way, layer.execute, venue)

    assert venue.calls == 3
    assert "had already given up" in notes(caught.value)


async def test_retry_mark_travels_along_the_cause_of_a_group_in_a_group(autojump_clock):
    """The group in the middle is made `from` what was given up on."""
    venue, layer = Venue(OSError("down")), exact(max_retries=2)

    async def wrapped():
        try:
            await layer.execute(venue)
        except OSError as error:
            raise ExceptionGroup("all of", [OSError("one")]) from error

    with pytest.raises(ExceptionGroup):
        await layer.execute(in_a_nursery, lambda _: wrapped(), venue)

    assert venue.calls == 3


async def test_retry_mark_does_not_travel_along_the_context(autojump_clock):
    """An error that merely happened while another was handled is its own."""
    venue, inner, outer = Venue(OSError("down")), exact(max_retries=1), exact(VenueError, max_retries=1)

    async def other():
        try:
            await inner.execute(venue)
        except OSError:
            raise VenueError("another thing")  # noqa: B904

    with pytest.raises(VenueError):
        await outer.execute(other)

    assert venue.calls == 4


async def test_retry_mark_does_not_travel_through_our_own_refusals(autojump_clock):
    """A breaker that opened for an error that was given up on may be waited for all the same."""
    breaker = CircuitBreaker("venue", failure_threshold=2, recovery_timeout=5.0, rng=Middle())
    venue = Venue(OSError("1"), OSError("2"), "ack")
    with pytest.raises(OSError):
        await exact(max_retries=1).execute(breaker.execute, venue)

    assert await exact(BreakerOpenError).execute(breaker.execute, venue) == "ack"


async def test_retry_exhausted_true_opts_out(autojump_clock):
    """retry_exhausted=True retries what an inner one has given up on."""
    venue = Venue(OSError("down"))

    with pytest.raises(OSError):
        await exact(max_retries=2, retry_exhausted=True).execute(exact(max_retries=2).execute, venue)

    assert venue.calls == 9


async def test_retry_attempts_is_opted_out(autojump_clock):
    """A reconnect loop goes on, whatever the calls within it have given up on."""
    venue = Venue(OSError("down"))

    with pytest.raises(OSError):
        async for attempt in exact(max_retries=2).attempts():
            with attempt:
                await exact(max_retries=2).execute(venue)

    assert venue.calls == 9


async def test_retry_error_not_retried_within_is_retried_around(autojump_clock):
    """Only what was retried and given up on is marked: an inner retry that does not know the error leaves it alone."""
    venue = Venue(OSError("down"))

    with pytest.raises(OSError):
        await exact(OSError, max_retries=2).execute(exact(KeyError, max_retries=2).execute, venue)

    assert venue.calls == 3


async def test_retry_error_object_that_is_raised_again_by_a_later_call_is_retried(autojump_clock):
    """Being given up on belongs to the call: the same object raised by an independent later call is a new failure."""
    error = OSError("one object")
    retry = exact(max_retries=2)
    for calls in (3, 6, 9):
        with pytest.raises(OSError):
            await retry.execute(raise_it := Venue(error))
        assert raise_it.calls == 3, f"after {calls}"


# ---------------------------------------------------------------- one instance for many calls


@pytest.mark.parametrize("way", ["retry", "execute", "decorated", "attempts"])
async def test_retry_of_an_error_that_another_call_gives_up_on_meanwhile_goes_on(way, autojump_clock):
    """A client raises the error of its broken connection to every caller: what one gives up on is not around the others."""
    error = OSError("the connection is broken")
    retry = exact(max_retries=2)
    guard = Guard("orders", retry=retry)

    async def one(venue):
        with pytest.raises(OSError):
            if way == "attempts":
                async for attempt in retry.attempts():
                    with attempt:
                        await venue()
            elif way == "decorated":
                await guard(venue)()
            else:
                await (retry if way == "retry" else guard).execute(venue)

    first, second = Venue(*[error] * 3), Venue(*[error] * 3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, first)
        await trio.sleep(2.5)
        nursery.start_soon(one, second)

    assert first.times == [0.0, 1.0, 3.0]
    assert second.times == [2.5, 3.5, 5.5]
