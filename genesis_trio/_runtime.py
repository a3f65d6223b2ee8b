"""What belongs to one ``trio.run``: its clock, wall time, randomness and blocking work.

Everything here exists so that the same seed gives the same run.  Nothing else in
genesis_trio reads a wall clock, draws from the module-level `random`, or starts a thread;
but for the watchdog of the loop, which is absent under a virtual clock.

- `Run` is made at the first use in a run and ends with it.
- `RunBound` is the base of what lives at module level while its state belongs to a run.
- `Tree` is what the members of one supervision tree share.
"""

import contextvars
import random
import sys
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import get_ident
from typing import Any, Protocol, TypeVar

import trio

__all__ = [
    "BreakerWatcher",
    "Run",
    "RunBound",
    "Tree",
    "current_run",
    "current_tree",
    "is_virtual_clock",
    "run_blocking",
    "timestamp",
    "utcnow",
]

T = TypeVar("T")
Hook = Callable[[Any], None]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Tree:
    """What one tree of supervisors shares: a source of randomness and its observers.

    *hooks* is the effective tuple, its own observers and those of the trees it stands in;
    a reader tests its truth before it builds an event.
    """

    __slots__ = ("__weakref__", "_below", "_own_hooks", "hooks", "name", "parent", "rng")

    def __init__(self, name: str, *, parent: "Tree | None" = None, rng: random.Random | None = None) -> None:
        self.name = name
        self.parent = parent
        self.hooks: tuple[Hook, ...] = parent.hooks if parent is not None else ()
        self._own_hooks: tuple[Hook, ...] = ()
        self._below: weakref.WeakSet[Tree] = weakref.WeakSet()
        if rng is None:
            # Drawn, not shared: what one tree draws must not move what its neighbour sees.
            rng = random.Random(parent.rng.getrandbits(64)) if parent is not None else random.Random()
        self.rng: random.Random = rng
        if parent is not None:
            parent._below.add(self)

    def add_hook(self, hook: Hook) -> None:
        """Let *hook* see every later event of this tree, after the hooks that are here already."""
        self._own_hooks = (*self._own_hooks, hook)
        self._refresh()

    def remove_hook(self, hook: Hook) -> None:
        """Take *hook* away once; nothing happens when it is not here (it may have failed and be gone)."""
        hooks = list(self._own_hooks)
        if hook in hooks:
            hooks.reverse()
            hooks.remove(hook)
            hooks.reverse()
            self._own_hooks = tuple(hooks)
            self._refresh()

    def _refresh(self) -> None:
        self.hooks = (*self._own_hooks, *(self.parent.hooks if self.parent is not None else ()))
        for tree in self._below:  # order does not matter: each only recomputes its own tuple
            tree._refresh()


class BreakerWatcher(Protocol):
    """Who has to know of circuit breakers, whether or not somebody observes events.  Told in the step, and in the task, of the call."""

    def moved(self, breaker: Any) -> None:
        """*breaker* has another state."""

    def refused(self, breaker: Any) -> None:
        """A call through *breaker* was refused."""


class Run(trio.abc.Instrument):
    """The state of one ``trio.run``, found with `current_run`.

    It is an instrument with the single hook ``after_run``, which costs a run nothing
    while it runs and tells what is bound to it that it is over.

    Attributes:
        ended: It is over.
        thread: Of the run.  A thread has one run at a time, and of its earlier ones everything was told that they are over:
            to compare this costs a quarter of what it costs to look for the run.
        now: Trio's clock, without looking for it.
        breaker_watchers: Who is told of breakers.  Beside the events, which would all be built for the few that speak of a breaker.
    """

    __slots__ = ("__weakref__", "_bound", "_offset", "breaker_watchers", "ended", "now", "thread", "tree")

    def __init__(self, *, rng: random.Random | None = None, epoch: datetime | None = None) -> None:
        self.ended = False
        self.thread = get_ident()
        self.now = trio.lowlevel.current_clock().current_time
        self.tree = Tree("", rng=rng)
        self.breaker_watchers: tuple[BreakerWatcher, ...] = ()
        # A given epoch is what the wall clock shows now, not at whatever moment somebody first asks for it.
        self._offset: float | None = None if epoch is None else epoch.timestamp() - trio.current_time()
        self._bound: list[weakref.ref[RunBound]] = []

    @property
    def rng(self) -> random.Random:
        """The run's source of randomness, which `genesis_trio.testing.simulate` seeds."""
        return self.tree.rng

    def utcnow(self) -> datetime:
        """Trio's clock plus an offset that is taken once per run, so it never jumps."""
        return self.wall_time(trio.current_time())

    def wall_time(self, at: float) -> datetime:
        """The wall time that belongs to *at*, a time on Trio's clock."""
        return _EPOCH + timedelta(seconds=self.timestamp(at))

    def timestamp(self, at: float) -> float:
        """The same in seconds since 1970, for what is written too often to make a datetime of it."""
        if self._offset is None:
            # The one place that reads the wall clock.
            self._offset = time.time() - trio.current_time()
        return self._offset + at

    def bind(self, owner: "RunBound") -> None:
        self._bound.append(weakref.ref(owner))

    def after_run(self) -> None:
        self.ended = True
        for ref in self._bound:
            owner = ref()
            if owner is not None:
                owner._run_ended()
        self._bound.clear()


_RUN: trio.lowlevel.RunVar[Run] = trio.lowlevel.RunVar("genesis_trio.run")
_TREE: contextvars.ContextVar[Tree] = contextvars.ContextVar("genesis_trio.tree")


def install_run(run: Run) -> None:
    """Make *run* the state of the running ``trio.run``; `simulate` calls it before anything else does."""
    _RUN.set(run)
    trio.lowlevel.add_instrument(run)


def current_run() -> Run:
    """The state of the running ``trio.run``.

    Raises:
        RuntimeError: there is none.
    """
    try:
        return _RUN.get()
    except LookupError:
        run = Run()
        install_run(run)
        return run
    except RuntimeError:
        # Trio speaks of a run context, which says nothing to whoever comes from asyncio.
        raise RuntimeError(
            "there is no trio.run here, in which all of genesis_trio works; start one with trio.run(main), or with "
            "genesis_trio.run(service); from asyncio, or from another thread, call through a blocking portal of anyio's, as "
            "docs/how-to/embed-a-service.md shows"
        ) from None


def current_tree() -> Tree:
    """The tree of the current task, or the run's root tree where there is no supervisor."""
    tree = _TREE.get(None)
    return tree if tree is not None else current_run().tree


class RunBound:
    """A thing that lives at module level while its counters and times belong to the run that uses it.

    Subclasses call `_enter_run` on their cold path, and forget their state in `_fresh`.  `_run_ended` is
    where they make sure that the next call takes the cold path.
    """

    __slots__ = ("__weakref__", "_run")

    def __init__(self) -> None:
        self._run: Run | None = None

    def _enter_run(self) -> Run:
        run = current_run()
        held = self._run
        if held is not run:
            if held is not None and not held.ended:
                raise RuntimeError(
                    f"{self!r} is in use by another trio.run that has not ended; its state belongs to one run at a time, "
                    f"so make one for each thread that calls trio.run"
                )
            self._run = run
            run.bind(self)
            self._fresh()
        return run

    def _fresh(self) -> None:
        """Forget everything that belonged to an earlier run."""

    def _run_ended(self) -> None:
        """The run is over; what was counted stays readable until the next one begins."""


def utcnow() -> datetime:
    """The wall time of the current run, always in UTC.  See `Run.utcnow`."""
    return current_run().utcnow()


def timestamp() -> float:
    """The wall time of the current run, in seconds since 1970."""
    return current_run().timestamp(trio.current_time())


def is_virtual_clock() -> bool:
    """True when the current run is on a `trio.testing.MockClock`."""
    # Not imported here: without the import there is no such clock, and importing it costs time.
    testing = sys.modules.get("trio.testing")
    return testing is not None and isinstance(trio.lowlevel.current_clock(), testing.MockClock)


async def run_blocking(fn: Callable[..., T], *args: Any) -> T:
    """Run the blocking function ``fn(*args)``: the only way in which genesis_trio blocks.

    In production a Trio thread runs it.  Under a virtual clock it runs inline, because an
    autojump clock lets hours of virtual time pass while a thread works for a millisecond.

    Trio checkpoint: always at least one.
    Cancellation: seen before *fn* begins; once begun, the true outcome is returned, and the
    cancellation is delivered at the next Trio checkpoint of the caller.
    """
    if is_virtual_clock():
        await trio.lowlevel.checkpoint()
        return fn(*args)
    return await trio.to_thread.run_sync(fn, *args, abandon_on_cancel=False)
