"""One measurement of what guards cost, as JSON on standard output; `test_hot_path_ratio` runs it in an interpreter of its own."""

import json

import trio

import benchmarks._harness
from genesis_trio.errors import BreakerOpenError
from genesis_trio.modes import Capability
from genesis_trio.policies.breaker import CircuitBreaker
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.retry import Retry

BASELINES = {
    "@guard": "bare",
    "@guard with a mode": "bare",
    "guard.execute": "bare",
    "@breaker": "bare",
    "@retry": "bare",
    "rejected": "raised",
    "one failure and one retry": "by hand",
}


async def measure() -> dict[str, float]:
    async def fast(x):
        return x

    async def refuse(x):
        raise BreakerOpenError(f"circuit breaker {'venue'!r} is open for {4.2:.6g} s", name="venue", retry_after=4.2)

    is_down = False

    async def every_other_time(x):
        nonlocal is_down
        is_down = not is_down
        if is_down:
            raise OSError
        return x

    async def by_hand(x):
        for _ in range(4):
            try:
                return await every_other_time(x)
            except OSError:
                await trio.lowlevel.checkpoint()
        raise AssertionError("one retry is enough")

    def guard(**policies):
        return Guard("venue", retry=Retry(OSError, base_delay=0.0), breaker=CircuitBreaker("venue"), **policies)

    closed = guard()
    rejected = closed(fast)
    await rejected(1)
    closed.breaker.trip()
    names = {
        "BreakerOpenError": BreakerOpenError,
        "refuse": refuse,
        "rejected": rejected,
        "by_hand": by_hand,
        "failing": guard()(every_other_time),
        "fast": fast,
        "guarded": guard()(fast),
        "needs": guard(needs=Capability.OPEN, repeatable=True)(fast),
        "execute": guard().execute,
        "breaker": CircuitBreaker("venue")(fast),
        "retry": Retry(OSError)(fast),
    }
    statements = {
        "bare": "await fast(1)",
        "@guard": "await guarded(1)",
        "@guard with a mode": "await needs(1)",
        "guard.execute": "await execute(fast, 1)",
        "@breaker": "await breaker(1)",
        "@retry": "await retry(1)",
        "raised": "try:\n    await refuse(1)\nexcept BreakerOpenError:\n    pass",
        "rejected": "try:\n    await rejected(1)\nexcept BreakerOpenError:\n    pass",
        "by hand": "await by_hand(1)",
        "one failure and one retry": "await failing(1)",
    }
    rows = await benchmarks._harness.measure(statements, names, rounds=12, milliseconds=1.0)
    return {name: min(rows[name]) / min(rows[baseline]) for name, baseline in BASELINES.items()}


if __name__ == "__main__":
    print(json.dumps(trio.run(measure)))
