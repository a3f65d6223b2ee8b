"""The scheduler's order from a seed: the one place that uses private parts of Trio.

Trio shuffles the tasks that are ready, so that nobody relies on their order.  It has a switch,
made for property tests, under which it sorts them before the shuffle; with its source of
randomness seeded, the order is then the same each time.  Neither is public.  A Trio that does
not have them is refused here, because a simulation that silently is not one is worse than none.
"""

import contextlib
import random
import threading
from collections.abc import Iterator
from typing import Any

import trio

_SWITCH = "_ALLOW_DETERMINISTIC_SCHEDULING"
_SOURCE = "_r"
_LOOP = "unrolled_run"

# The switch and the source belong to the process, not to a thread.
_IN_USE = threading.Lock()


def scheduler() -> Any:
    """Trio's scheduler module, once it is known to have what is needed.

    Raises:
        RuntimeError: This Trio orders its tasks in another way; names what is missing.
    """
    module = getattr(getattr(trio, "_core", None), "_run", None)
    # That the loop itself refers to both names shows that they still do what they are for.
    used = getattr(getattr(getattr(module, _LOOP, None), "__code__", None), "co_names", ())
    missing = [name for name in (_SWITCH, _SOURCE) if not hasattr(module, name) or name not in used]
    if not missing and not isinstance(getattr(module, _SOURCE), random.Random):
        missing = [_SOURCE]
    if missing:
        raise RuntimeError(
            f"trio {trio.__version__} cannot be simulated: its scheduler no longer uses {' and '.join(missing)}, "
            f"by which simulate() sets the order of tasks; use a Trio that genesis_trio was tested with "
            f"(0.33 to 0.35), or a genesis_trio that knows this one"
        )
    return module


@contextlib.contextmanager
def seeded_scheduler(seed: object) -> Iterator[None]:
    """Let the order of tasks depend on *seed* alone while inside the block, and restore what was there.

    Raises:
        RuntimeError: Another thread is inside, or this Trio has no such switch.
    """
    module = scheduler()
    if not _IN_USE.acquire(blocking=False):
        raise RuntimeError(
            "simulate() is running in another thread, and the order of tasks can follow one seed at a time; "
            "run simulations one after the other, or in processes of their own"
        )
    try:
        switch, source = getattr(module, _SWITCH), getattr(module, _SOURCE)
        setattr(module, _SWITCH, True)
        # Replaced and not seeded: whoever else draws from Trio's own source finds it as it was.
        setattr(module, _SOURCE, random.Random(f"scheduler:{seed}"))
        try:
            yield
        finally:
            setattr(module, _SWITCH, switch)
            setattr(module, _SOURCE, source)
    finally:
        _IN_USE.release()
