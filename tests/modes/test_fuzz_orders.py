"""No order leaves a gateway after OPEN was removed, wherever it waited meanwhile.

A step is an order or a change of modes.  A million of them: ``make fuzz-orders``, or ``python tests/modes/test_fuzz_orders.py STEPS [SEED]``.
"""

import contextlib
import random
import sys
from collections import Counter

import pytest
import trio

from genesis_trio import (
    Bulkhead,
    Capability,
    CircuitBreaker,
    Guard,
    Hedge,
    Mode,
    ModeRefusedError,
    RateLimit,
    Retry,
    current_scope,
    mode_scope,
    require,
)
from genesis_trio.errors import GenesisError
from genesis_trio.testing import simulate

OPEN = Capability.OPEN
STEPS = 10_000
PER_RUN = 1_000
STRATEGIES = 8


class VenueBusy(Exception):
    """The venue answered, and did nothing."""


def make_guards(rng):
    """Every way to wait: for a place, for a token, for both, between attempts, for a hedge, for a probe."""
    shared = Bulkhead(2, max_waiting=20)
    limit = RateLimit(20, per=1.0, burst=2)
    retry = Retry(on=VenueBusy, max_retries=3, base_delay=0.05, rng=rng)
    common = {"needs": OPEN, "repeatable": True}
    return {
        "bulkhead": Guard("bulkhead", bulkhead=shared, **common),
        "rate limit": Guard("rate limit", rate_limit=limit, **common),
        "both": Guard("both", bulkhead=shared, rate_limit=limit, **common),
        "retry": Guard("retry", retry=retry, **common),
        "retry, both": Guard("retry, both", retry=retry, bulkhead=shared, rate_limit=limit, **common),
        "hedge": Guard("hedge", hedge=Hedge(delay=0.02, quantile=None), bulkhead=shared, **common),
        "breaker": Guard(
            "breaker",
            breaker=CircuitBreaker("venue", recovery_timeout=0.2, rng=rng),
            retry=retry,
            attempt_timeout=0.5,
            total_timeout=5.0,
            **common,
        ),
    }


class Gateway:
    """Where orders leave: the last synchronous step before the write."""

    def __init__(self, rng):
        self.rng = rng
        self.seen = Counter()

    def write(self, scope, how):
        assert current_scope() is scope, "the order runs in a foreign scope"
        assert OPEN in scope.capabilities, f"an order left in {scope.why()}"
        self.seen["written", how] += 1

    async def direct(self, scope, how):
        """It writes in the step in which the guard starts it."""
        self.write(scope, how)
        await self.answer()

    async def signing(self, scope, how):
        """It awaits something of its own before it writes, and so has to ask again."""
        await trio.sleep(self.rng.uniform(0.0, 0.1))
        require(OPEN)
        self.write(scope, how)
        await self.answer()

    async def answer(self):
        await trio.sleep(self.rng.choice((0.0, 0.01, 0.05)))
        if self.rng.random() < 0.3:
            raise VenueBusy

    @contextlib.asynccontextmanager
    async def stream(self, scope, how):
        self.write(scope, how)
        yield self


async def fuzz(steps, seed):
    rng = random.Random(f"orders:{seed}")
    guards = make_guards(rng)
    gateway = Gateway(rng)
    orders = {name: guard(gateway.direct) for name, guard in guards.items()}
    left = [steps]
    desks = []

    def take():
        left[0] -= 1
        return left[0] >= 0

    async def order(scope):
        name = rng.choice(list(guards))
        # A hedge has no meaning for a stream.
        how = rng.choice(("execute", "signing", "decorated", "connect")[: 3 if name == "hedge" else 4])
        began = trio.current_time()
        try:
            if how == "execute":
                await guards[name].execute(gateway.direct, scope, name)
            elif how == "signing":
                await guards[name].execute(gateway.signing, scope, name)
            elif how == "decorated":
                await orders[name](scope, name)
            else:
                async with guards[name].connect(gateway.stream, scope, name):
                    await trio.sleep(0.01)
        except ModeRefusedError:
            gateway.seen["refused late" if trio.current_time() > began else "refused at once", name] += 1
        except (GenesisError, VenueBusy) as error:
            gateway.seen["failed", type(error).__name__] += 1

    async def strategy(number):
        with mode_scope(f"strategy-{number}") as scope:
            desks.append(scope)
            async with trio.open_nursery() as nursery:
                while take():
                    nursery.start_soon(order, scope)
                    await trio.sleep(rng.expovariate(20.0))

    async def authority(desk):
        while take():
            scope = rng.choice([desk, *desks])
            for cause in scope.causes:
                if rng.random() < 0.7:
                    scope.clear(cause.owner, cause.reason, by="fuzz")
            if rng.random() < 0.4:
                scope.hold(
                    rng.choice(list(Mode)),
                    owner="fuzz",
                    reason=rng.choice("ab"),
                    capabilities=rng.choice((None, Capability.READ, ~Capability.REDUCE)),
                    expires=rng.choice((None, 0.05)),
                )
            await trio.sleep(rng.choice((0.0, 0.003, 0.02, 0.05)))

    with mode_scope("desk") as desk:
        async with trio.open_nursery() as nursery:
            for number in range(STRATEGIES):
                nursery.start_soon(strategy, number)
            await trio.sleep(0.01)
            nursery.start_soon(authority, desk)
    return gateway.seen


@pytest.mark.slow
def test_orders_random_modes_none_leaves_after_open_was_removed():
    """Each guard is met at once and after a wait, and what it waited for makes no difference."""
    seen = Counter()
    for seed in range(STEPS // PER_RUN):
        seen += simulate(fuzz, PER_RUN, seed, seed=seed)

    names = set(make_guards(random.Random(0)))
    assert {name for kind, name in seen if kind == "written"} == names
    assert {name for kind, name in seen if kind == "refused at once"} == names
    assert {name for kind, name in seen if kind == "refused late"} == names


if __name__ == "__main__":
    steps = int(sys.argv[1])
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    seen = Counter()
    for seed in range(first, first + max(1, steps // PER_RUN)):
        seen += simulate(fuzz, PER_RUN, seed, seed=seed)
    total = Counter()
    for (kind, _), count in seen.items():
        total[kind] += count
    print(f"{steps} steps, seeds {first} to {seed}: no order too late; {dict(sorted(total.items()))}")
