"""How long a crashed child waits, and whether its limits make sense together."""

import math
import random

import attrs

from genesis_trio.policies._backoff import delay, shortest_delay

__all__ = ["Backoff", "check_reachable"]

KINDS = ("none", "additive", "full", "equal", "decorrelated")


@attrs.frozen
class Backoff:
    """The wait before the n-th restart: ``base_delay * multiplier**(n-1)``, at most ``max_delay``, then jittered.

    It starts anew after ``ctx.healthy()``, or when a run was up for ``max_delay`` seconds.

    Args:
        base_delay: Seconds before the first restart.
        multiplier: Growth from one restart to the next.
        max_delay: The longest wait, in seconds, before jitter.
        jitter: How it is spread: ``none``, ``additive``, ``full``, ``equal`` or ``decorrelated``.  The default,
            ``full``, keeps children of one venue from coming back as a herd.
    """

    base_delay: float = attrs.field(default=0.1, kw_only=True)
    multiplier: float = attrs.field(default=2.0, kw_only=True)
    max_delay: float = attrs.field(default=30.0, kw_only=True)
    jitter: str = attrs.field(default="full", kw_only=True)

    def __attrs_post_init__(self) -> None:
        for name in ("base_delay", "multiplier", "max_delay"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{name} of a Backoff is a number, got {value!r}")
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name} of a Backoff is finite and not negative, got {value!r}")
        if self.multiplier < 1.0:
            raise ValueError(f"multiplier of a Backoff is at least 1, got {self.multiplier!r}")
        if self.max_delay < self.base_delay:
            raise ValueError(
                f"max_delay ({self.max_delay!r}) of a Backoff must not be below base_delay ({self.base_delay!r})"
            )
        if self.jitter not in KINDS:
            raise ValueError(f"jitter of a Backoff is one of {', '.join(KINDS)}, got {self.jitter!r}")

    def delay(self, restart: int, *, previous: float, rng: random.Random) -> float:
        """Seconds before the *restart*-th restart in a row, from 1."""
        return delay(
            restart,
            base_delay=self.base_delay,
            multiplier=self.multiplier,
            max_delay=self.max_delay,
            jitter=self.jitter,  # type: ignore[arg-type]  # checked above
            previous=previous,
            rng=rng,
        )

    def shortest(self, restart: int) -> float:
        """The shortest that `delay` can be."""
        return shortest_delay(
            restart,
            base_delay=self.base_delay,
            multiplier=self.multiplier,
            max_delay=self.max_delay,
            jitter=self.jitter,  # type: ignore[arg-type]
        )


def check_reachable(backoff: Backoff, *, max_restarts: int, within: float) -> None:
    """Refuse a limit that the backoff keeps from ever being reached.

    The crash that is one too many comes at the earliest after the shortest waits of all the restarts before
    it; if these alone outlast *within*, a child that always crashes would never be parked.
    """
    shortest = _shortest_together(backoff, max_restarts)
    if max_restarts and shortest >= within:
        raise ValueError(
            f"max_restarts={max_restarts} within={within} s can never be reached: {max_restarts} restarts wait at least "
            f"{shortest:.3g} s together. Raise `within`, or lower base_delay or max_restarts"
        )


def _shortest_together(backoff: Backoff, restarts: int) -> float:
    """Seconds that so many restarts wait at least, one after the other."""
    together = before = 0.0
    for n in range(1, restarts + 1):
        wait = backoff.shortest(n)
        if n > 1 and wait == before:
            return together + wait * (restarts - n + 1)  # it grows no more, and a billion restarts are no limit to some
        together += wait
        before = wait
    return together
