"""BreakerPool: one breaker a key, a bounded number of them, and none forgotten that stands against calls."""

import contextlib
import gc

import pytest
import trio
import trio.testing

from genesis_trio import BreakerPool
from genesis_trio.errors import BreakerOpenError, BulkheadFullError
from genesis_trio.policies.breaker import BreakerState, CircuitBreaker
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.retry import Retry
from policies.venue import Middle, Venue, hang


def pool_of(max_size: int = 3, **settings) -> BreakerPool:
    return BreakerPool(
        lambda key: CircuitBreaker(f"venue.{key}", **{"failure_threshold": 2, "rng": Middle(), **settings}),
        max_size=max_size,
    )


async def fail(pool: BreakerPool, key: str, times: int = 1) -> None:
    for _ in range(times):
        with contextlib.suppress(OSError):
            await pool.execute(key, Venue(OSError("down")))


@pytest.mark.parametrize(
    ("args", "error", "text"),
    [
        (("venue",), TypeError, "wants a function of the key"),
        ((CircuitBreaker("venue"),), TypeError, "wants a function of the key"),
        ((CircuitBreaker, 0), ValueError, "max_size"),
        ((CircuitBreaker, True), TypeError, "max_size"),
    ],
)
def test_pool_wrong_argument_is_refused_with_its_value(args, error, text):
    """What cannot work is refused where it is written."""
    make, *max_size = args
    with pytest.raises(error, match=text):
        BreakerPool(make, **({"max_size": max_size[0]} if max_size else {}))


def test_pool_factory_that_gives_no_breaker_is_a_type_error():
    """The error names the key and what came instead."""
    with pytest.raises(TypeError, match=r"gave None for 'a', not a CircuitBreaker"):
        BreakerPool(lambda key: None).get("a")


async def test_pool_gives_each_key_its_own_breaker_and_the_same_one_again(autojump_clock):
    """Failures of one key do not open the breaker of another."""
    pool = pool_of()
    await fail(pool, "a", 2)

    assert pool.get("a") is pool.get("a")
    assert pool.get("a").name == "venue.a"
    assert (pool.get("a").state, pool.get("b").state) == (BreakerState.OPEN, BreakerState.CLOSED)
    with pytest.raises(BreakerOpenError, match=r"venue\.a"):
        await pool.execute("a", Venue())
    assert await pool.execute("b", Venue("ack")) == "ack"


async def test_pool_execute_passes_arguments():
    """Positional and keyword arguments reach the function."""
    venue = Venue("ack")

    assert await pool_of().execute("a", venue, 1, side="buy") == "ack"
    assert (venue.args, venue.kwargs) == ([(1,)], [{"side": "buy"}])


async def test_pool_full_forgets_the_one_not_asked_for_for_the_longest_time():
    """Asking for a breaker counts as use."""
    pool = pool_of(3)
    for key in "abcad":
        pool.get(key)

    assert list(pool) == ["c", "a", "d"]
    assert len(pool) == 3
    assert "b" not in pool


async def test_pool_full_keeps_what_has_counted_a_failure_while_it_can(autojump_clock):
    """A breaker on its way to opening goes after those that are well."""
    pool = pool_of(3)
    await fail(pool, "a")
    for key in "bcd":
        pool.get(key)
    assert list(pool) == ["a", "c", "d"]

    for key in "cd":
        await fail(pool, key)
    pool.get("e")

    assert list(pool) == ["c", "d", "e"]


@pytest.mark.parametrize("how", ["trip", "isolate", "disable", "half open"])
async def test_pool_full_never_forgets_a_breaker_that_is_not_closed(how, autojump_clock):
    """What is open, half open or switched by hand would be closed again if it were made anew."""
    pool = pool_of(2)
    getattr(pool.get("a"), "trip" if how == "half open" else how)()
    if how == "half open":
        await trio.sleep(5.0)
    state = pool.get("a").state
    for key in "bcdef":
        pool.get(key)

    assert list(pool) == ["a", "f"]
    assert pool.get("a").state is state


async def test_pool_full_never_forgets_a_breaker_with_a_call_in_flight(autojump_clock, nursery):
    """Its outcome has to find the breaker that admitted it."""
    pool = pool_of(2)
    nursery.start_soon(pool.execute, "a", hang)
    await trio.testing.wait_all_tasks_blocked()
    for key in "bcd":
        pool.get(key)

    assert list(pool) == ["a", "d"]
    nursery.cancel_scope.cancel()


async def test_pool_full_of_trouble_refuses_a_new_key_and_says_so(autojump_clock):
    """Nothing is called, the refusal is ours and no failure, and the others go on; there is room once one closes."""
    pool = pool_of(2, success_threshold=1)
    for key in "ab":
        pool.get(key).trip()
    venue = Venue("ack")

    with pytest.raises(BulkheadFullError, match=r"no room for a circuit breaker of 'c'.*max_size=2.*raise max_size"):
        await pool.execute("c", venue)
    assert venue.calls == 0
    assert list(pool) == ["a", "b"]

    await trio.sleep(5.0)
    await pool.execute("b", venue)
    assert await pool.execute("c", venue) == "ack"
    assert list(pool) == ["a", "c"]


async def test_pool_full_forgets_nothing_for_a_breaker_that_could_not_be_made(autojump_clock):
    """A factory that refuses a key, such as one that is no venue of ours, costs no other breaker its count."""

    def make(key):
        if key == "typo":
            raise KeyError(key)
        return CircuitBreaker(key, failure_threshold=2)

    pool = BreakerPool(make, max_size=1)
    await fail(pool, "a")

    with pytest.raises(KeyError):
        await pool.execute("typo", Venue())
    gc.collect()
    await fail(pool, "a")

    assert pool.get("a").state is BreakerState.OPEN


async def test_pool_forgotten_breaker_that_a_guard_holds_is_found_again(autojump_clock):
    """There are never two breakers for one key."""
    pool = pool_of(1)
    guard = Guard("orders", breaker=pool.get("a"))
    pool.get("b")
    assert "a" not in pool

    assert pool.get("a") is guard.breaker
    assert "b" not in pool


async def test_pool_forgotten_breaker_that_nobody_holds_is_gone():
    """Memory is bounded: what is forgotten and not held is collected."""
    pool = pool_of(1)
    for number in range(50):
        pool.get(str(number))
    gc.collect()

    assert len(pool._gone) == 0


async def test_pool_under_a_guard_retries_and_is_refused_like_any_breaker(autojump_clock):
    """The guard's retry sees the error of the call, and a refusal between two attempts is the real last error."""
    pool = pool_of()
    guard = Guard("quotes", retry=Retry(OSError, base_delay=0.0))
    venue = Venue(OSError("down"))

    with pytest.raises(OSError, match="down"):
        await guard.execute(pool.execute, "a", venue)
    assert venue.calls == 2
    assert pool.get("a").state is BreakerState.OPEN


def test_pool_starts_fresh_in_a_new_run():
    """The breakers' state belongs to the run; the pool itself may live at module level."""
    pool = pool_of(1)

    async def first():
        pool.get("a").trip()

    async def second():
        assert pool.get("a").state is BreakerState.CLOSED
        pool.get("b")

    trio.run(first)
    trio.run(second)
    assert list(pool) == ["b"]


def test_pool_repr_says_how_full_it_is():
    """For logs and the debugger."""
    pool = BreakerPool(CircuitBreaker, max_size=7)
    pool.get("a")

    assert repr(pool) == "<BreakerPool CircuitBreaker 1 of 7>"
