"""An attempt whose copies are told how long they take and how they end."""

import trio

__all__ = ["Copies"]


class Copies:
    """An attempt whose copies take the times and end the ways given; what they did is in `log`."""

    def __init__(self, *plan: float | tuple[float, BaseException]) -> None:
        self.plan = plan
        self.log: list[tuple[str, int, float]] = []

    def note(self, what: str, copy: int) -> None:
        self.log.append((what, copy, trio.current_time()))

    async def __call__(self, copy: int, delay: float) -> str:
        self.note("start", copy)
        step = self.plan[copy]
        seconds, error = step if isinstance(step, tuple) else (step, None)
        try:
            await trio.sleep(seconds)
        except trio.Cancelled:
            self.note("cancelled", copy)
            raise
        if error is not None:
            self.note("failed", copy)
            raise error
        self.note("success", copy)
        return f"copy {copy}"
