"""How long to wait before the n-th retry, as plain numbers.

The exponential delay is clamped to *max_delay* first and jittered afterwards.  The other way round,
which is common, all clients that have reached the limit wait for exactly the same time and
come back together.

==============  ===================================================  =======================
jitter          delay, with c = min(max_delay, base * multiplier**(n-1))   shortest
==============  ===================================================  =======================
``none``        c                                                    c
``additive``    c + U(0, 0.1)                                        c
``full``        U(0, c)                                              0
``equal``       c/2 + U(0, c/2)                                      c/2
``decorrelated``  U(base, min(max_delay, 3 * previous))              base
==============  ===================================================  =======================

``full``, ``equal`` and ``decorrelated`` are those of M. Brooker, "Exponential Backoff and
Jitter" (AWS Architecture Blog, 2015), ``additive`` is that of the original Genesis document.
"""

import random
from typing import Literal, get_args

JitterKind = Literal["none", "additive", "full", "equal", "decorrelated"]
JITTER_KINDS: tuple[str, ...] = get_args(JitterKind)

_ADDITIVE_SPREAD = 0.1


def clamped(n: int, *, base_delay: float, multiplier: float, max_delay: float) -> float:
    """``base_delay * multiplier**(n-1)``, at most *max_delay*, for any n from 1 on.

    With *multiplier* at least 1.
    """
    if base_delay == 0.0:
        return 0.0
    try:
        return min(max_delay, base_delay * float(multiplier) ** (n - 1))
    except OverflowError:
        return max_delay


def delay(
    n: int,
    *,
    base_delay: float,
    multiplier: float,
    max_delay: float,
    jitter: JitterKind,
    previous: float | None = None,
    rng: random.Random,
) -> float:
    """Seconds before retry *n* (1 is the first); *previous* is the delay before that, which only ``decorrelated`` reads."""
    if jitter == "decorrelated":
        base = min(base_delay, max_delay)
        return rng.uniform(base, max(base, min(max_delay, 3.0 * (base if previous is None else previous))))
    most = clamped(n, base_delay=base_delay, multiplier=multiplier, max_delay=max_delay)
    if jitter == "full":
        return rng.uniform(0.0, most)
    if jitter == "equal":
        return most / 2 + rng.uniform(0.0, most / 2)
    if jitter == "additive":
        return most + rng.uniform(0.0, _ADDITIVE_SPREAD)
    return most


def shortest_delay(n: int, *, base_delay: float, multiplier: float, max_delay: float, jitter: JitterKind) -> float:
    """The least that `delay` can give for retry *n*."""
    if jitter == "full":
        return 0.0
    if jitter == "decorrelated":
        return min(base_delay, max_delay)
    most = clamped(n, base_delay=base_delay, multiplier=multiplier, max_delay=max_delay)
    return most / 2 if jitter == "equal" else most


def longest_delay(n: int, *, base_delay: float, multiplier: float, max_delay: float, jitter: JitterKind) -> float:
    """The most that `delay` can give for retry *n*."""
    if jitter == "decorrelated":
        return clamped(n, base_delay=3.0 * base_delay, multiplier=3.0, max_delay=max_delay)
    most = clamped(n, base_delay=base_delay, multiplier=multiplier, max_delay=max_delay)
    return most + _ADDITIVE_SPREAD if jitter == "additive" else most
