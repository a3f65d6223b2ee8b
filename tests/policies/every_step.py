"""What it takes to cancel a policy at every Trio checkpoint, one after the other."""

from collections.abc import Awaitable, Callable

import trio

from genesis_trio.errors import GenesisError


class Cancel(trio.abc.Instrument):
    """Cancels *scope* at the *step*-th step of any task since it was armed."""

    def __init__(self, moment: str, step: int) -> None:
        self.moment, self.step, self.steps = moment, step, 0
        self.scope: trio.CancelScope | None = None
        self.fired = False

    def _count(self) -> None:
        if self.scope is not None and not self.fired:
            self.steps += 1
            if self.steps == self.step:
                self.fired = True
                self.scope.cancel()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.moment == "begins to wait":
            self._count()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.moment == "goes on":
            self._count()


class Place:
    """An outside place that takes time and does as it is told; it knows what reached it and when the caller gave up."""

    def __init__(self, cancel: Cancel, *script: Exception | float) -> None:
        self.cancel, self.script = cancel, script
        self.started = 0
        self.reached_after_cancel = 0
        self.succeeded = 0
        self.failed = 0

    async def __call__(self, *args: object) -> str:
        step = self.script[min(self.started, len(self.script) - 1)]
        self.started += 1
        await trio.lowlevel.checkpoint()
        # A call that begins in a cancelled scope ends at its first checkpoint: what comes here was really made.
        self.reached_after_cancel += self.cancel.fired
        await trio.sleep(step if isinstance(step, float) else 0.5)
        if isinstance(step, Exception):
            self.failed += 1
            raise step
        self.succeeded += 1
        return "ack"


Scenario = Callable[[Cancel], Awaitable[None]]


async def cancelled(cancel: Cancel, fn: Callable[..., Awaitable[object]], *args: object) -> bool:
    """Run ``fn(*args)`` in the scope that is cancelled; True if the cancellation came out of it."""
    with trio.CancelScope() as scope:
        cancel.scope = scope
        try:
            await fn(*args)
        except (OSError, GenesisError):
            pass
        finally:
            cancel.scope = None
    return scope.cancelled_caught
