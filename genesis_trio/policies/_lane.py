"""Permits, and the lane on which a guard takes them without a function call."""

from collections.abc import Iterator
from itertools import repeat
from operator import length_hint
from typing import TYPE_CHECKING

from genesis_trio.policies._outcome import Outcome

if TYPE_CHECKING:
    from genesis_trio.modes import ModeScope
    from genesis_trio.policies.breaker import CircuitBreaker

_MANY = 1 << 62  # more calls than any run makes


class Permit:
    """Leave to make one call, to be settled exactly once.

    One that is shared stands for any number of ordinary calls of its generation; one of its own is for a probe,
    or where the duration of the call matters.

    Attributes:
        generation: Counts the transitions of the breaker; a result with an older one is ignored.
        is_shared: It stands for many calls; the rest is without meaning then.
        began: When the call began.
        ended: When what is timed of the call ended, if that is not the end of the call.
        lease_ends: When a probe has failed by having taken too long.
        is_old: The call is running and has taken ``slow_call`` seconds; the breaker has counted it.
    """

    __slots__ = ("began", "ended", "generation", "is_old", "is_shared", "lease_ends")

    def __init__(
        self, generation: int, *, is_shared: bool = False, began: float = 0.0, lease_ends: float = float("inf")
    ) -> None:
        self.generation = generation
        self.is_shared = is_shared
        self.began = began
        self.ended: float | None = None
        self.lease_ends = lease_ends
        self.is_old = False


class _Nowhere:
    """Stands for the mode scope while a lane is not in use: no capability is there, so the cold path is taken."""

    mask = 0


NOWHERE = _Nowhere()


class Lane:
    """One guard's way through its breaker.

    While all is well the lane is *open*, and a call costs no function call on it: its permit is the next
    item of `admissions`, an iterator that counts by itself how many it has handed out, and a success
    only adds 1 to `succeeded`, if the permit is still the one of the lane.  In any other case the lane is
    *closed* (by the breaker, in the step in which it changes, or at the end of the run): `admissions` is
    empty, `permit` is None, and the call asks `admit` and tells `settle`.

    Without a breaker it counts all the same, and closes only at the end of a run.

    Attributes:
        root: The mode scope that counts where a task has none of its own.
    """

    __slots__ = (
        "__weakref__",
        "_admitted",
        "_handed_out",
        "_settled",
        "admissions",
        "breaker",
        "permit",
        "root",
        "succeeded",
    )

    def __init__(self, breaker: "CircuitBreaker | None") -> None:
        self.breaker = breaker
        self.permit: Permit | None = None
        self.admissions: Iterator[Permit] = iter(())
        self.root: ModeScope | _Nowhere = NOWHERE
        self.reset()

    def reset(self) -> None:
        """Close it, and forget the counts."""
        self.close()
        self.root = NOWHERE
        self.succeeded = 0
        self._handed_out = 0
        self._admitted = 0
        self._settled = 0

    def open(self, permit: Permit) -> None:
        """Hand out *permit* to every call from now on."""
        self.close()
        self.permit = permit
        self.admissions = repeat(permit, _MANY)

    def close(self) -> None:
        """Hand out nothing more."""
        if self.permit is not None:
            self._handed_out = self.handed_out
            self.permit = None
            self.admissions = iter(())

    @property
    def handed_out(self) -> int:
        """How many permits were taken from `admissions`."""
        return self._handed_out + (_MANY - length_hint(self.admissions) if self.permit is not None else 0)

    @property
    def started(self) -> int:
        """How many calls got a permit."""
        return self.handed_out + self._admitted

    @property
    def in_flight(self) -> int:
        """How many of them have not ended."""
        return self.started - self.succeeded - self._settled

    def admit(self) -> Permit:
        """Take a permit where the lane is closed.

        Raises:
            BreakerOpenError: there is none.
        """
        permit = _FREE if self.breaker is None else self.breaker._admit()
        self._admitted += 1
        return permit

    def settle(self, permit: Permit, outcome: Outcome, error: BaseException | None = None) -> None:
        """Tell how the call ended; needed in each case but that of a success while the lane is open."""
        self._settled += 1
        if self.breaker is not None:
            self.breaker._settle(permit, outcome, error)


_FREE = Permit(0, is_shared=True)


def open_without_breaker(lane: Lane) -> None:
    """Open the lane of a guard that has no breaker."""
    lane.open(_FREE)
