"""One seed, one run."""

import inspect
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import trio
import trio.testing

from genesis_trio._runtime import Run, install_run
from genesis_trio.testing._determinism import seeded_scheduler

T = TypeVar("T")

# Any fixed moment would do.  This one is a Thursday, early in a month, in no summer time: nothing special to stumble on.
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def simulate(main: Callable[..., Awaitable[T]], *args: Any, seed: int, epoch: datetime = EPOCH) -> T:
    """Run ``main(*args)`` in a run of its own in which everything follows from *seed*, and return its result.

    Time is virtual: it stands still while a task works, and jumps to the next deadline when all
    wait, so an hour of waiting takes no time.  The order in which ready tasks run, the tree's
    randomness and the wall clock follow from *seed* and *epoch*; blocking work runs inline.  The
    same seed gives the same run, byte for byte, in any process.

    What stands outside gives no such promise: threads that *main* starts by itself, real sockets
    and files that others change, the iteration of sets of objects, secrets and UUIDs.  The module
    `random` is seeded for the time of the run, for libraries that draw from it.

    Args:
        main: An async function.
        args: What it is called with.
        seed: Any int; each is another run.
        epoch: What the wall clock shows at the beginning; an aware datetime.

    Raises:
        BaseException: What *main* raised, as it is.
        RuntimeError: Called inside of a running Trio loop, or while another thread simulates, or with a
            Trio whose scheduler cannot be seeded.

    Trio checkpoint: not an async function; it starts a Trio loop and returns when that has ended.
    State: global random state and Trio's scheduler are left as they were.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an int, got {seed!r}")
    if not isinstance(epoch, datetime):
        raise TypeError(f"epoch must be a datetime, got {epoch!r}")
    if epoch.tzinfo is None:
        raise ValueError(f"epoch must be an aware datetime, got {epoch!r}; add tzinfo=UTC")
    if trio.lowlevel.in_trio_run():
        raise RuntimeError(
            "simulate() starts a Trio run of its own and was called inside of one; "
            "call it from a plain function (in pytest: a test that is not async), or await main() itself here"
        )

    if inspect.iscoroutine(main):
        main.close()
        raise TypeError(
            f"simulate() was given what {main.__qualname__}() returned; pass the function itself: "
            f"simulate({main.__qualname__}, *args, seed=…)"
        )

    async def simulated() -> T:
        install_run(Run(rng=random.Random(seed), epoch=epoch))
        begun = main(*args)
        if not inspect.isawaitable(begun):
            name = getattr(main, "__qualname__", repr(main))
            raise TypeError(f"simulate() wants an async function, but {name}() gave {begun!r}; write `async def`")
        return await begun

    module_state = random.getstate()
    random.seed(f"module:{seed}")
    try:
        with seeded_scheduler(seed):
            return trio.run(simulated, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        random.setstate(module_state)
