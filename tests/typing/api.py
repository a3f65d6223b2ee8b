"""What type checkers are to see of the public names; checked by mypy and pyright, never run.

Each function states what a user's code relies on: decorators keep signatures, results keep their types.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, assert_type

import trio

from genesis_trio import (
    Attempt,
    BreakerPool,
    BreakerState,
    BreakerStatistics,
    Capability,
    CircuitBreaker,
    Context,
    EntryAction,
    Event,
    Guard,
    GuardStatistics,
    Hold,
    Mode,
    ModeCause,
    ModeScope,
    Retry,
    Topic,
    allows,
    cancel_when,
    current_mode,
    current_scope,
    mode_scope,
    observe,
    require,
    with_retry,
)
from genesis_trio.testing import simulate


async def modes() -> None:
    assert_type(current_mode(), Mode)
    assert_type(allows(Capability.OPEN | Capability.CANCEL), bool)
    assert_type(cancel_when(Mode.SAFE), AbstractContextManager[trio.CancelScope])
    require(Capability.READ)
    with mode_scope("desk") as scope:
        assert_type(scope, ModeScope)
        assert_type(scope.parent, ModeScope | None)
        assert_type(scope.causes, tuple[ModeCause, ...])
        assert_type(scope.changes(), AsyncIterator[Mode])
        assert_type(await scope.wait_for(lambda mode: mode is Mode.NORMAL), Mode)
        with scope.hold(Mode.SAFE, reason="drill") as hold:
            assert_type(hold, Hold)

        async def flatten(symbol: str) -> None: ...

        action = scope.on_enter(Mode.EMERGENCY, flatten, "BTC/USD", timeout=5.0)
        assert_type(action, EntryAction)
        assert_type(action.runs, int)
    assert_type(current_scope(), ModeScope)


async def scopes(ctx: Context) -> None:
    assert_type(ctx.scope, ModeScope)
    assert_type(ctx.supervisor_scope, ModeScope)


async def messages(ctx: Context) -> None:
    numbers = Topic("numbers", int, urgent=True)
    assert_type(numbers, Topic[int])
    await ctx.send_all(numbers, [1, 2])
    send_stream, receive_stream = trio.open_memory_channel[int](1)
    assert_type(await ctx.pump(receive_stream, numbers), int)
    async with ctx.subscribe(numbers, max_depth=10) as inbox:
        assert_type(await ctx.pump(inbox, send_stream), int)
        assert_type(inbox.statistics().refused, int)


async def attempts() -> None:
    async for attempt in Retry(OSError, max_retries=3).attempts():
        with attempt:
            assert_type(attempt, Attempt)
            attempt.healthy()


def events() -> None:
    def hook(event: Event) -> None:
        assert_type(event.as_dict(), Mapping[str, Any])

    with observe(hook):
        pass


def simulation() -> None:
    async def main(number: int) -> str:
        return str(number)

    assert_type(simulate(main, 1, seed=0), str)


async def place(order: int, *, fast: bool = False) -> str:
    return f"{order} {fast}"


async def policies() -> None:
    for policy in (Retry(OSError), CircuitBreaker("venue"), Guard("venue.orders")):
        assert_type(await policy.execute(place, 1, fast=True), str)

        guarded = policy(place)
        assert_type(await guarded(1, fast=True), str)
        await guarded("1")  # type: ignore[arg-type]  # a decorator keeps the types of arguments
        await guarded(1, slow=True)  # type: ignore[call-arg]  # and their names

    assert_type(await with_retry(place, 1, max_retries=1), str)
    async for attempt in Retry(OSError).attempts():
        with attempt as current:
            assert_type(current.number, int)
    assert_type(CircuitBreaker("venue").state, BreakerState)
    assert_type(CircuitBreaker("venue").statistics(), BreakerStatistics)
    assert_type(Guard("venue").breaker, CircuitBreaker | None)
    assert_type(Guard("venue").statistics(), GuardStatistics)
    pool = BreakerPool(lambda symbol: CircuitBreaker(f"venue.{symbol}"), max_size=10)
    assert_type(pool.get("BTC"), CircuitBreaker)
    assert_type(await pool.execute("BTC", place, 1, fast=True), str)


async def streams() -> None:
    @asynccontextmanager
    async def connect(url: str) -> AsyncIterator[bytes]:
        yield url.encode()

    async with Guard("venue.feed").connect(connect, "ws://localhost") as stream:
        assert_type(stream, bytes)
