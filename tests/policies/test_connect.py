"""The corners of Guard.connect: whatever happens at entering and leaving, nothing leaks and the outcome is one."""

import contextlib
import functools

import pytest
import trio
import trio.testing

from genesis_trio.errors import AttemptTimeoutError, BreakerOpenError, BulkheadFullError, RateLimitedError
from genesis_trio.policies.breaker import BreakerState, CircuitBreaker
from genesis_trio.policies.bulkhead import Bulkhead
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.hedge import Hedge
from genesis_trio.policies.rate_limit import RateLimit
from policies import contract
from policies.contract import exact

# One probe that succeeds closes it.
breaker_of = functools.partial(contract.breaker_of, success_threshold=1)


class Feed:
    """A stream that enters and leaves as it is told, and knows how often both were done."""

    def __init__(self, enter=None, leave=None, seconds: float = 0.0) -> None:
        self.enter, self.leave, self.seconds = list(enter or []), leave, seconds
        self.entered = self.left = self.tried = 0

    def open(self) -> "Feed":
        return self

    async def __aenter__(self):
        self.tried += 1
        await trio.sleep(self.seconds)
        if self.enter and (error := self.enter.pop(0)) is not None:
            raise error
        self.entered += 1
        return self

    async def __aexit__(self, *args) -> None:
        self.left += 1
        await trio.lowlevel.cancel_shielded_checkpoint()
        if self.leave is not None:
            raise self.leave


async def half_open(breaker: CircuitBreaker) -> None:
    breaker.trip()
    await trio.sleep(breaker.statistics().retry_after)
    assert breaker.state is BreakerState.HALF_OPEN


async def test_connect_factory_that_raises_is_a_failed_attempt(autojump_clock):
    """An error before there is a context manager is retried and counted like one of entering."""
    feed, breaker, bulkhead = Feed(), breaker_of(failure_threshold=5), Bulkhead(1)
    errors = [OSError("no route"), OSError("no route")]

    def factory():
        if errors:
            raise errors.pop()
        return feed

    guard = Guard("feed", retry=exact(), breaker=breaker, bulkhead=bulkhead)
    async with guard.connect(factory):
        assert trio.current_time() == 3.0

    assert (breaker.statistics().failures, breaker.statistics().successes) == (2, 1)
    assert bulkhead.statistics().running == 0


async def test_connect_to_what_is_no_context_manager_is_a_type_error(autojump_clock):
    """A mistake in the program reaches the caller at once; no place stays taken."""
    bulkhead, breaker = Bulkhead(1), CircuitBreaker("venue", failure_threshold=1)
    guard = Guard("feed", retry=exact(on=Exception), bulkhead=bulkhead, breaker=breaker)

    with pytest.raises(TypeError, match=r"<lambda>\(\) gave something else: .*asynchronous context manager"):
        async with guard.connect(lambda: object()):
            pytest.fail("not entered")

    assert trio.current_time() == 0.0
    assert bulkhead.statistics().running == 0
    assert breaker.statistics().failures == 0


async def open_connection():
    """As trio.open_tcp_stream: what it gives once awaited is a context manager, and it is none itself."""


@contextlib.asynccontextmanager
async def opened_already():
    yield


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (open_connection, r"open_connection\(\) is an async function: await it in one that is decorated"),
        (contextlib.nullcontext(), r"was given an async context manager, .* pass the function that makes it"),
        (opened_already(), r"was given an async context manager, .* pass the function that makes it"),
        (7, r"wants a function that gives an async context manager, and its arguments, got 7"),
    ],
    ids=["async function", "context manager", "context manager that decorates", "no function"],
)
async def test_connect_with_what_is_no_factory_says_what_to_pass(factory, words):
    """Refused by connect() itself, before anything is begun."""
    guard = Guard("feed")

    with pytest.raises(TypeError, match=words):
        guard.connect(factory)

    assert guard.statistics().calls == 0


async def test_connect_error_of_the_factory_stays_its_own(autojump_clock):
    """A TypeError from inside of the factory is a failed attempt like any other, and keeps its words."""
    guard = Guard("feed", retry=exact(on=TypeError, max_retries=1))

    def broken():
        raise TypeError("no asynchronous context manager of mine")

    with pytest.raises(TypeError, match=r"^no asynchronous context manager of mine"):
        async with guard.connect(broken):
            pytest.fail("not entered")

    assert guard.statistics().attempts == 2


async def test_connect_place_is_free_during_the_block_and_between_attempts(autojump_clock):
    """The bulkhead limits how many enter at once, not how many streams there are."""
    bulkhead = Bulkhead(1)
    guard = Guard("feed", retry=exact(), bulkhead=bulkhead)
    first, second = Feed(), Feed(enter=[OSError("busy")])

    async with guard.connect(first.open):
        assert bulkhead.statistics().running == 0
        async with trio.open_nursery() as nursery:

            async def other():
                async with guard.connect(second.open):
                    assert trio.current_time() == 1.0

            nursery.start_soon(other)
            await trio.sleep(0.5)
            assert (second.tried, bulkhead.statistics().running) == (1, 0)

    assert (first.left, second.left) == (1, 1)


@pytest.mark.parametrize("error", [trio.Cancelled, KeyboardInterrupt(), SystemExit(1)], ids=repr)
async def test_connect_that_does_not_end_in_an_exception_is_no_outcome_and_not_tried_again(error, autojump_clock):
    """Cancelled or interrupted while entering: place and probe go back, nothing is retried, no fallback is asked."""
    breaker, bulkhead = breaker_of(), Bulkhead(1)
    await half_open(breaker)
    feed = Feed(seconds=100.0) if error is trio.Cancelled else Feed(enter=[error])
    asked = []
    guard = Guard("feed", retry=exact(), breaker=breaker, bulkhead=bulkhead, fallback=asked.append)

    with trio.move_on_after(1.0) as scope:
        with contextlib.suppress(KeyboardInterrupt, SystemExit):
            async with guard.connect(feed.open):
                pytest.fail("not entered")

    assert scope.cancelled_caught is (error is trio.Cancelled)
    assert (feed.tried, asked) == (1, [])
    assert (bulkhead.statistics().running, breaker.statistics().probes_in_flight) == (0, 0)
    assert breaker.state is BreakerState.HALF_OPEN
    assert (guard.statistics().cancelled, guard.statistics().failures) == (1, 0)


async def test_connect_cancelled_in_the_block_leaves_the_stream_and_says_nothing_of_the_dependency(autojump_clock):
    """The stream is closed once, and the cancellation passes bare."""
    breaker, feed = breaker_of(failure_threshold=1), Feed()
    guard = Guard("feed", breaker=breaker)

    with trio.move_on_after(5.0) as scope:
        async with guard.connect(feed.open):
            await trio.sleep_forever()

    assert scope.cancelled_caught
    assert feed.left == 1
    statistics = breaker.statistics()
    assert (statistics.failures, statistics.successes, statistics.cancellations) == (0, 0, 1)


async def test_connect_error_of_leaving_during_a_cancellation_is_the_outcome(autojump_clock):
    """What takes the cancellation's place reaches the caller as it does without a guard, and is a failure."""
    breaker, feed = breaker_of(failure_threshold=1), Feed(leave=OSError("close"))
    guard = Guard("feed", retry=exact(), breaker=breaker)

    with trio.move_on_after(5.0), pytest.raises(OSError, match="close"):
        async with guard.connect(feed.open):
            await trio.sleep_forever()

    assert (feed.tried, feed.left) == (1, 1)
    assert breaker.state is BreakerState.OPEN


async def test_connect_error_of_leaving_is_not_retried(autojump_clock):
    """The block has run: entering again would run it twice."""
    feed = Feed(leave=OSError("close"))

    with pytest.raises(OSError, match="close"):
        async with Guard("feed", retry=exact()).connect(feed.open):
            pass

    assert (feed.tried, feed.left) == (1, 1)
    assert trio.current_time() == 0.0


async def test_connect_probe_that_overruns_its_lease_while_entering_opens_the_breaker(autojump_clock):
    """Its stream goes on, and how that ends is of an older generation."""
    breaker, feed = breaker_of(probe_lease=2.0), Feed(seconds=3.0)
    await half_open(breaker)
    guard = Guard("feed", breaker=breaker)

    async with guard.connect(feed.open):
        assert breaker.state is BreakerState.OPEN
        assert breaker.statistics().retry_after == 10.0 - 1.0  # dated at the end of the lease
    assert breaker.state is BreakerState.OPEN


async def test_connect_probe_that_has_entered_has_no_lease_and_lets_others_probe(autojump_clock):
    """A stream of hours is a fine probe; its end closes the breaker or opens it."""
    breaker = breaker_of(probe_lease=2.0)
    await half_open(breaker)
    guard = Guard("feed", breaker=breaker)

    with pytest.raises(OSError, match="broke"):
        async with guard.connect(Feed().open):
            await trio.sleep(3600.0)
            assert breaker.state is BreakerState.HALF_OPEN
            assert breaker.statistics().probes_in_flight == 0
            raise OSError("broke")

    assert breaker.state is BreakerState.OPEN


async def test_connect_attempt_that_times_out_is_retried_with_a_new_limit(autojump_clock):
    """Each attempt at entering has the whole attempt timeout, and the block none."""
    feed = Feed(seconds=3.0)

    def factory():
        feed.seconds = 3.0 if feed.tried == 0 else 1.5
        return feed

    async with Guard("feed", retry=exact(), attempt_timeout=2.0, total_timeout=20.0).connect(factory):
        assert trio.current_time() == 2.0 + 1.0 + 1.5
        await trio.sleep(500.0)

    assert feed.left == 1


async def test_connect_attempt_that_times_out_is_a_failure(autojump_clock):
    """The error is ours, and the breaker learns from it."""
    breaker = breaker_of(failure_threshold=1)

    with pytest.raises(AttemptTimeoutError, match=r"attempt_timeout=2 s"):
        async with Guard("feed", breaker=breaker, attempt_timeout=2.0).connect(Feed(seconds=3.0).open):
            pytest.fail("not entered")

    assert breaker.state is BreakerState.OPEN


async def test_connect_refused_after_its_wait_gives_token_and_place_back(autojump_clock, nursery):
    """The breaker opens while it waits for its turn: no token is used up for a stream that is not entered."""
    breaker, limit, bulkhead = breaker_of(), RateLimit(1, per=10.0), Bulkhead(2)
    guard = Guard("feed", breaker=breaker, rate_limit=limit, bulkhead=bulkhead)
    feed, refused = Feed(), []
    async with guard.connect(feed.open):
        pass

    async def second():
        with pytest.raises(BreakerOpenError):
            async with guard.connect(feed.open):
                pytest.fail("not entered")
        refused.append(trio.current_time())

    nursery.start_soon(second)
    await trio.sleep(9.0)
    breaker.trip()
    await trio.sleep(2.0)

    assert refused == [10.0]
    assert (feed.tried, limit.statistics().available, bulkhead.statistics().running) == (1, 1, 0)


async def test_connect_refused_by_the_rate_limit_is_no_failure(autojump_clock):
    """Nothing was tried; the breaker hears nothing."""
    breaker, feed = breaker_of(failure_threshold=1), Feed()
    guard = Guard("feed", breaker=breaker, rate_limit=RateLimit(1, wait=False))
    async with guard.connect(feed.open):
        with pytest.raises(RateLimitedError):
            async with guard.connect(feed.open):
                pytest.fail("not entered")

    assert breaker.statistics().failures == 0
    assert (guard.statistics().rejected, guard.statistics().successes) == (1, 1)


@pytest.mark.parametrize("own", [{"hedge": Hedge(delay=1.0)}, {"reconcile": trio.sleep}], ids=["hedge", "reconcile"])
def test_connect_with_what_has_no_meaning_for_a_stream_is_refused(own):
    """Of two streams one would be thrown away; the error says which setting is meant."""
    with pytest.raises(ValueError, match=next(iter(own))):
        Guard("feed", **own).connect(Feed)


async def test_connect_many_at_once_share_no_state(autojump_clock):
    """Each block has its own scopes, permit and count."""
    breaker = breaker_of(failure_threshold=1000)
    guard = Guard("feed", retry=exact(max_retries=1), breaker=breaker, attempt_timeout=2.0, total_timeout=10.0)
    ends = []

    async def one(number):
        feed = Feed(enter=[OSError("busy")] if number % 2 else None, seconds=0.1 * (number % 5))
        try:
            async with guard.connect(feed.open):
                await trio.sleep(number)
                if number % 3 == 0:
                    raise KeyError(number)
        except KeyError:
            ends.append("broke")
        else:
            ends.append("ended")
        assert feed.left == 1

    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(one, number)

    assert (ends.count("broke"), ends.count("ended")) == (10, 20)
    statistics = guard.statistics()
    assert (statistics.calls, statistics.successes, statistics.failures, statistics.retries) == (30, 20, 10, 15)
    assert breaker.statistics().in_flight == 0


def with_nursery(tasks_seen=None):
    """A context manager with a nursery inside, as streams have."""

    @contextlib.asynccontextmanager
    async def opening():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            yield "socket"
            nursery.cancel_scope.cancel()

    return opening


async def test_guard_connect_to_something_with_a_nursery_keeps_the_scopes_nested(autojump_clock):
    """All timeouts and a nursery in the stream: entering and leaving stay properly nested, also around other scopes."""
    guard = Guard("feed", attempt_timeout=1.0, total_timeout=3.0, retry=exact(max_retries=1), breaker=breaker_of())

    with trio.move_on_after(100.0) as outer:
        async with guard.connect(with_nursery()) as socket:
            with trio.move_on_after(50.0) as inner:
                await trio.sleep_forever()
            assert socket == "socket"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1.0)

    assert (inner.cancelled_caught, outer.cancelled_caught) == (True, False)
    assert trio.current_time() == 51.0


async def test_guard_connect_error_that_the_stream_swallows_is_still_a_failure(autojump_clock):
    """The end of the block is the outcome: a context manager that suppresses the error does not make it a success."""
    breaker = breaker_of()

    @contextlib.asynccontextmanager
    async def lenient():
        with contextlib.suppress(OSError):
            yield

    guard = Guard("feed", breaker=breaker)
    async with guard.connect(lenient):
        raise OSError("stream broke")

    assert (breaker.statistics().failures, breaker.statistics().successes) == (1, 0)
    assert (guard.statistics().failures, guard.statistics().successes) == (1, 0)


async def test_guard_connect_error_while_leaving_is_a_failure(autojump_clock):
    """A stream whose close fails has failed."""
    breaker = breaker_of(failure_threshold=1)

    @contextlib.asynccontextmanager
    async def breaks_at_close():
        yield
        raise OSError("close")

    with pytest.raises(OSError, match="close"):
        async with Guard("feed", breaker=breaker).connect(breaks_at_close):
            pass

    assert breaker.state is BreakerState.OPEN


async def test_guard_connect_of_a_refused_probe_lets_the_next_one_in(autojump_clock):
    """Half open: a stream that cannot be opened because of a refusal of ours gives the probe back."""
    breaker = breaker_of(recovery_timeout=5.0, success_threshold=1)
    breaker.trip()
    await trio.sleep(5.0)

    @contextlib.asynccontextmanager
    async def refused():
        raise BulkheadFullError("inner")
        yield

    with pytest.raises(BulkheadFullError):
        async with Guard("feed", breaker=breaker).connect(refused):
            pytest.fail("not entered")

    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.statistics().probes_in_flight == 0


async def test_guard_connect_fallback_gives_the_value_of_a_stream_that_did_not_open(autojump_clock):
    """fallback(error, *args) stands in for the stream; errors of the block are not its business."""
    asked = []

    def replay(error, *args):
        asked.append((type(error), args))
        return "recorded"

    guard = Guard("feed", fallback=replay)

    @contextlib.asynccontextmanager
    async def refused(url):
        raise OSError("refused")
        yield

    @contextlib.asynccontextmanager
    async def opens():
        yield

    async with guard.connect(refused, "wss://x") as stream:
        assert stream == "recorded"
    with pytest.raises(KeyError):
        async with guard.connect(opens):
            raise KeyError("block")

    assert asked == [(OSError, ("wss://x",))]
