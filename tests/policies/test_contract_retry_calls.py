"""What the design promises of Retry, with_retry and RetryBudget, sentence by sentence, through public names: construction and ways to call."""

import inspect
import itertools
import math

import pytest
import trio
import trio.testing

from genesis_trio.policies.retry import Retry, with_retry
from policies.contract import exact
from policies.venue import Venue, notes

# ---------------------------------------------------------------- signatures


def test_retry_signature_is_the_published_one():
    """Names, order, kinds and defaults of the constructor are those of the stub."""
    parameters = inspect.signature(Retry).parameters

    defaults = {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert next(iter(parameters)) == "on"
    assert parameters["on"].default is inspect.Parameter.empty
    expected = {
        "max_retries": 3,
        "base_delay": 0.1,
        "multiplier": 2.0,
        "max_delay": 30.0,
        "jitter": "full",
        "max_elapsed": None,
        "retry_result": None,
        "budget": None,
        "retry_exhausted": False,
        "rng": None,
    }
    assert {name: defaults[name] for name in expected} == expected


def test_with_retry_signature_is_the_published_one():
    """The original's one-liner: additive jitter, three retries, a tenth of a second."""
    parameters = inspect.signature(with_retry).parameters

    assert list(parameters)[:2] == ["fn", "args"]
    expected = {"max_retries": 3, "base_delay": 0.1, "jitter": "additive", "max_delay": 30.0}
    assert {name: parameters[name].default for name in expected} == expected
    assert parameters["on"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"max_retries": -1}, ValueError),
        ({"max_retries": 1.5}, TypeError),
        ({"max_retries": "3"}, TypeError),
        ({"max_retries": True}, TypeError),
        ({"base_delay": -0.1}, ValueError),
        ({"base_delay": math.nan}, ValueError),
        ({"base_delay": math.inf}, ValueError),
        ({"base_delay": "1"}, TypeError),
        ({"multiplier": 0.0}, ValueError),
        ({"multiplier": -2.0}, ValueError),
        ({"multiplier": math.nan}, ValueError),
        ({"multiplier": None}, TypeError),
        ({"max_delay": -1.0}, ValueError),
        ({"max_delay": math.nan}, ValueError),
        ({"max_delay": "30"}, TypeError),
        ({"jitter": "gaussian"}, ValueError),
        ({"max_elapsed": -1.0}, ValueError),
        ({"max_elapsed": math.nan}, ValueError),
        ({"max_elapsed": "10"}, TypeError),
        ({"retry_result": 5}, TypeError),
        ({"budget": 0.2}, TypeError),
        ({"rng": 42}, TypeError),
    ],
)
def test_retry_wrong_argument_is_refused_with_its_value(args, error):
    """Wrong values are ValueError, wrong types TypeError, at construction, and the message shows them."""
    with pytest.raises(error) as caught:
        Retry(OSError, **args)

    (value,) = args.values()
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("on", [None, 5, "OSError", (), (OSError, 5), OSError(), [OSError], int])
def test_retry_wrong_on_is_refused(on):
    """What is neither exception types nor a function is refused at construction."""
    with pytest.raises((TypeError, ValueError)):
        Retry(on)


async def test_retry_configuration_is_immutable():
    """All state is per call: nothing of a Retry can be set."""
    retry = Retry(OSError)

    with pytest.raises((AttributeError, TypeError)):
        retry.max_retries = 5


# ---------------------------------------------------------------- with_retry


async def test_with_retry_calls_again_with_the_same_arguments(autojump_clock):
    """with_retry(fn, *args) retries and returns what fn returns in the end."""
    venue = Venue(OSError("a"), OSError("b"), "ack")

    value = await with_retry(venue, 1, "two")

    assert value == "ack"
    assert venue.args == [(1, "two")] * 3


async def test_with_retry_waits_base_times_two_to_the_n_plus_up_to_a_tenth(autojump_clock):
    """Delay n is base * 2^(n-1) + uniform(0, 0.1): the tenth does not grow with the base."""
    venue = Venue(OSError("always"))

    with pytest.raises(OSError, match="always"):
        await with_retry(venue, max_retries=3, base_delay=1.0)

    waits = [later - earlier for earlier, later in itertools.pairwise(venue.times)]
    assert venue.calls == 4
    for wait, base in zip(waits, [1.0, 2.0, 4.0], strict=True):
        assert base <= wait <= base + 0.1 + 1e-9
    assert any(wait != base for wait, base in zip(waits, [1.0, 2.0, 4.0], strict=True))


@pytest.mark.parametrize("error", [RuntimeError("any"), ValueError("any"), OSError("any")])
async def test_with_retry_retries_any_exception_by_default(error, autojump_clock):
    """Like the original it needs no `on`."""
    venue = Venue(error, "ack")

    assert await with_retry(venue) == "ack"
    assert venue.calls == 2


async def test_with_retry_max_retries_zero_is_one_call(autojump_clock):
    """max_retries counts retries, not the first call."""
    venue = Venue(OSError("always"))

    with pytest.raises(OSError):
        await with_retry(venue, max_retries=0)

    assert venue.calls == 1


async def test_with_retry_wrong_settings_are_refused_before_the_call():
    """A wrong value is an error of the caller's, not something to retry."""
    venue = Venue()

    with pytest.raises(ValueError):
        await with_retry(venue, max_retries=-1)

    assert venue.calls == 0


# ---------------------------------------------------------------- execute, decorator, attempts


async def test_retry_execute_passes_arguments_and_returns_the_value(autojump_clock):
    """execute(fn, *args, **kwargs): positional and keyword arguments reach each attempt."""
    venue = Venue(OSError(), "ack")

    assert await exact().execute(venue, 1, side="buy") == "ack"
    assert venue.args == [(1,), (1,)]
    assert venue.kwargs == [{"side": "buy"}] * 2


async def test_retry_as_a_decorator_keeps_name_signature_and_doc(autojump_clock):
    """A decorated function looks like the one that was decorated, and retries."""
    calls = []

    @exact()
    async def place(order: str, *, side: str = "buy") -> str:
        """Place it."""
        calls.append((order, side))
        if len(calls) < 2:
            raise OSError
        return order

    assert await place("o1", side="sell") == "o1"
    assert calls == [("o1", "sell")] * 2
    assert place.__name__ == "place"
    assert place.__doc__ == "Place it."
    assert list(inspect.signature(place).parameters) == ["order", "side"]
    assert inspect.iscoroutinefunction(place)


async def test_retry_as_a_decorator_works_on_methods(autojump_clock):
    """A decorated method is bound like any other."""

    class Client:
        def __init__(self):
            self.calls = 0

        @exact()
        async def send(self, order):
            self.calls += 1
            if self.calls < 3:
                raise OSError
            return self, order

    client = Client()

    assert await client.send("o1") == (client, "o1")
    assert client.calls == 3


def test_retry_refuses_to_decorate_what_is_not_async():
    """A plain function cannot be retried with waits: the mistake is told at once."""
    with pytest.raises(TypeError):

        @exact()
        def place(order):
            return order


async def test_retry_delays_double_up_to_max_delay_before_jitter(autojump_clock):
    """Delay before retry n is base_delay * multiplier**(n-1), at most max_delay."""
    venue = Venue(OSError("always"))

    with pytest.raises(OSError):
        await exact(max_retries=6, multiplier=3.0, max_delay=10.0).execute(venue)

    waits = [later - earlier for earlier, later in itertools.pairwise(venue.times)]
    assert waits == [1.0, 3.0, 9.0, 10.0, 10.0, 10.0]


async def test_retry_all_spent_raises_the_real_last_error_with_a_note(autojump_clock):
    """The very object that the last attempt raised, bare, with a note of what was tried."""
    errors = [OSError("1"), OSError("2"), OSError("3")]
    venue = Venue(*errors)

    with pytest.raises(OSError) as caught:
        await exact(max_retries=2).execute(venue)

    assert caught.value is errors[2]
    assert "3" in notes(caught.value)
    assert trio.current_time() == 3.0


async def test_retry_error_that_is_not_named_is_raised_at_once(autojump_clock):
    """What `on` does not name is not retried."""
    error = KeyError("x")
    venue = Venue(error)

    with pytest.raises(KeyError) as caught:
        await exact().execute(venue)

    assert caught.value is error
    assert venue.calls == 1
    assert trio.current_time() == 0.0


async def test_retry_without_end_goes_on_until_it_succeeds(autojump_clock):
    """max_retries=None has no limit."""
    venue = Venue(*[OSError()] * 3000, "ack")

    assert await exact(max_retries=None, base_delay=0.001, max_delay=0.001).execute(venue) == "ack"
    assert venue.calls == 3001


async def test_retry_checkpoint_between_attempts_even_without_delay(autojump_clock):
    """A function that never waits and always fails lets others run between its attempts, and can be cancelled."""
    ticks = []

    async def fail():
        ticks.append("attempt")
        raise OSError

    async def other():
        while True:
            ticks.append("other")
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        with pytest.raises(OSError):
            await exact(max_retries=3, base_delay=0.0).execute(fail)
        nursery.cancel_scope.cancel()

    # A turn of the scheduler runs each task once, in any order: between four attempts there are at least two turns.
    between = ticks[ticks.index("attempt") : len(ticks) - ticks[::-1].index("attempt")]
    assert between.count("attempt") == 4
    assert between.count("other") >= 2


async def test_retry_cancelled_before_the_call_makes_no_second_attempt():
    """In a cancelled scope, a failing attempt is not followed by another."""
    calls = []

    async def fail():
        calls.append(1)
        raise OSError

    with trio.CancelScope() as scope:
        scope.cancel()
        with pytest.raises((OSError, trio.Cancelled)):
            await exact(base_delay=0.0).execute(fail)

    assert len(calls) <= 1


async def test_retry_cancelled_while_it_waits_stops_there(autojump_clock):
    """A cancellation during the delay passes at once; no attempt follows."""
    venue = Venue(OSError())

    async def stop(scope):
        await trio.sleep(0.5)
        scope.cancel()

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(stop, scope)
            await exact().execute(venue)

    assert scope.cancelled_caught
    assert venue.calls == 1
    assert trio.current_time() == 0.5


async def test_retry_concurrent_calls_share_no_counters(autojump_clock):
    """A Retry is configuration: five calls at once through one make all their attempts."""
    retry, venues = exact(max_retries=2), [Venue(OSError()) for _ in range(5)]

    async def call(venue):
        with pytest.raises(OSError):
            await retry.execute(venue)

    async with trio.open_nursery() as nursery:
        for venue in venues:
            nursery.start_soon(call, venue)

    assert [venue.calls for venue in venues] == [3] * 5


async def test_retry_attempts_repeats_the_block_until_it_succeeds(autojump_clock):
    """`async for attempt in retry.attempts(): with attempt:` with number and last_error."""
    seen, errors = [], [OSError("1"), OSError("2")]

    async for attempt in exact().attempts():
        with attempt:
            seen.append((attempt.number, attempt.last_error, trio.current_time()))
            if attempt.number <= 2:
                raise errors[attempt.number - 1]

    assert seen == [(1, None, 0.0), (2, errors[0], 1.0), (3, errors[1], 3.0)]


async def test_retry_attempts_raises_the_real_last_error(autojump_clock):
    """When all is spent the last error leaves the loop, with a note."""
    errors = [OSError(str(n)) for n in range(4)]

    with pytest.raises(OSError) as caught:
        async for attempt in exact().attempts():
            with attempt:
                raise errors[attempt.number - 1]

    assert caught.value is errors[3]
    assert notes(caught.value)
    assert trio.current_time() == 7.0


async def test_retry_attempts_lets_other_errors_out_of_the_block():
    """What `on` does not name leaves the block as it is."""
    error = KeyError("x")

    with pytest.raises(KeyError) as caught:
        async for attempt in exact().attempts():
            with attempt:
                raise error

    assert caught.value is error


async def test_retry_attempts_can_be_left_by_break_and_return(autojump_clock):
    """A loop that is left early is a success, and is not begun again."""
    numbers = []
    async for attempt in exact().attempts():
        with attempt:
            numbers.append(attempt.number)
            if attempt.number == 1:
                raise OSError
            break

    async def inner():
        async for attempt in exact().attempts():
            with attempt:
                return attempt.number
        return None

    assert numbers == [1, 2]
    assert await inner() == 1


async def test_retry_attempts_healthy_starts_count_and_delay_anew(autojump_clock):
    """A reconnect loop that was healthy begins again with a whole count and the first delay."""
    times = []

    with pytest.raises(OSError):
        async for attempt in exact(max_retries=2).attempts():
            with attempt:
                times.append(trio.current_time())
                if len(times) == 3:
                    await trio.sleep(10.0)
                    attempt.healthy()
                raise OSError("down")

    # 0; +1; +2; ten seconds of health; +1; +2; then all is spent
    assert times == [0.0, 1.0, 3.0, 14.0, 16.0]


async def test_retry_attempts_cancellation_leaves_the_block():
    """A cancellation inside of the block is no failed attempt."""
    numbers = []

    with trio.move_on_after(0) as scope:
        async for attempt in exact().attempts():
            with attempt:
                numbers.append(attempt.number)
                await trio.sleep_forever()

    assert scope.cancelled_caught
    assert numbers in ([], [1])
