"""Fakes that the tests of the policies share."""

import random
from collections.abc import Callable
from typing import Any

import trio


class Venue:
    """An outside place that answers as it is told: each step of *script* is a value, an error, or a function of the call.

    The last step is repeated.  `times` says when it was called, `args` with what.  Every call takes
    *seconds* before it ends.
    """

    def __init__(self, *script: Any, seconds: float = 0.0) -> None:
        self.script = list(script) or ["ack"]
        self.seconds = seconds
        self.times: list[float] = []
        self.args: list[tuple[Any, ...]] = []
        self.kwargs: list[dict[str, Any]] = []

    @property
    def calls(self) -> int:
        return len(self.times)

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        step = self.script[min(self.calls, len(self.script) - 1)]
        self.times.append(trio.current_time())
        self.args.append(args)
        self.kwargs.append(kwargs)
        if callable(step) and not isinstance(step, type):
            return await step(*args, **kwargs)
        await trio.sleep(self.seconds)
        if isinstance(step, BaseException) or (isinstance(step, type) and issubclass(step, BaseException)):
            raise step
        return step


class Middle(random.Random):
    """Randomness without chance: every draw is the middle of its range, so that a jitter of +-10 % is none."""

    def random(self) -> float:
        return 0.5


class ServerBusy(Exception):
    """A foreign error that names a delay, as an HTTP client's 429 does."""

    def __init__(self, retry_after: object) -> None:
        super().__init__(f"busy for {retry_after}")
        self.retry_after = retry_after


def notes(error: BaseException) -> str:
    """All notes of an error as one text."""
    return "\n".join(getattr(error, "__notes__", []))


async def hang() -> None:
    """A call that never answers."""
    await trio.sleep_forever()


def raises(error: BaseException) -> Callable[..., Any]:
    """A function for a script that always raises that very object."""

    async def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    return fail
