"""What the design promises of Guard, sentence by sentence, through public names: reconcile and fallback."""

import pytest
import trio
import trio.testing

from genesis_trio.errors import (
    AttemptTimeoutError,
    BreakerOpenError,
    ModeRefusedError,
    TotalTimeoutError,
)
from genesis_trio.events import FallbackUsed, observe
from genesis_trio.modes import Capability, Mode, mode_scope
from genesis_trio.policies.breaker import BreakerState, CircuitBreaker
from genesis_trio.policies.guard import NOT_DONE, Guard
from policies.contract import breaker_of, exact
from policies.venue import Venue

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
    assert isinstance(error.__context__, OSError)  # the attempt's own is not lost
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


async def test_guard_fallback_does_not_hide_the_failure_from_the_breaker(autojump_clock):
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


async def test_guard_fallback_is_told_to_observers(autojump_clock):
    """That an answer is a substitute can be seen."""
    seen = []

    with observe(seen.append):
        await Guard("quotes", fallback=lambda error: "cached").execute(Venue(OSError("down")))

    used = [event for event in seen if isinstance(event, FallbackUsed)]
    assert [event.policy for event in used] == ["quotes"]
    assert "down" in used[0].error


@pytest.mark.parametrize("way", ["execute", "connect"])
@pytest.mark.parametrize("end", ["answered", "cancelled"])
async def test_guard_refusal_is_told_when_it_happens_not_after_the_fallback(way, end, autojump_clock):
    """The refusal comes first, at its own time, and also where the fallback is cancelled."""
    seen = []

    async def ask_the_archive(error):
        await trio.sleep(2.0)

    breaker = CircuitBreaker("venue")
    breaker.trip()
    guard = Guard("quotes", breaker=breaker, fallback=ask_the_archive)

    with observe(seen.append), trio.move_on_after(5.0 if end == "answered" else 1.0):
        if way == "execute":
            await guard.execute(Venue())
        else:
            async with guard.connect(trio.open_nursery):
                pass

    assert [(event.name, event.time) for event in seen] == [("call_rejected", 0.0), ("fallback_used", 0.0)]
    assert guard.statistics().rejected == (end == "answered")
    assert guard.statistics().cancelled == (end == "cancelled")
