"""Permits, and the lane on which a guard takes them without a function call."""

from collections.abc import Iterator
from itertools import repeat
from operator import length_hint
from typing import TYPE_CHECKING

from genesis_trio.policies._outcome import Outcome

if TYPE_CHECKING:
    from genesis_trio.errors import BreakerOpenError
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
        elected: The scope of the child that this probe stands for; calls inside of it are part of the probe.
    """

    __slots__ = ("began", "elected", "ended", "generation", "is_old", "is_shared", "lease_ends")

    def __init__(
        self, generation: int, *, is_shared: bool = False, began: float = 0.0, lease_ends: float = float("inf")
    ) -> None:
        self.generation = generation
        self.is_shared = is_shared
        self.began = began
        self.ended: float | None = None
        self.lease_ends = lease_ends
        self.is_old = False
        self.elected: ModeScope | None = None


#: Gives nothing, however often it is asked.
_NOTHING: Iterator[Permit] = iter(())


class _Nowhere:
    """Stands for the mode scope while a lane is not in use: no capability is there, so the cold path is taken."""

    mask = 0


NOWHERE = _Nowhere()


class Lane:
    """One guard's way through its breaker.

    While all is well the lane is *open*, and a call costs no function call on it.  `admissions` gives the
    permit and `successes` takes it back: two iterators that count by themselves how often they were asked.
    (An attribute ``+= 1`` costs twice as much; benchmarks/bench_guarded_calls.py, table 1.)

    In any other case it is *closed*, in the step in which the breaker changes: both are empty, and a call asks
    `take` and tells `settle`.

    Without a breaker it counts all the same, and is closed only until its first use in a run.

    Attributes:
        admissions: The permit for each attempt that asks; empty when it has to ask otherwise.
        again: How many of these attempts were not the first of their call.
        successes: The same permit for each success; empty when it has to be told otherwise.
        root: The mode scope that counts where a task has none of its own.
        policy: Whose calls these are, for the events.
        refuses_directly: A refusal of the breaker's ends the call: no mode is asked before, and no retry waits for it.
        is_refused: So it is, and the breaker is OPEN: it can tell by the time alone whether it still refuses.
        refused: How many calls a guard has refused because of that, without asking the breaker.
    """

    __slots__ = (
        "__weakref__",
        "_admitted",
        "_handed_out",
        "_permit",
        "_settled",
        "_succeeded",
        "admissions",
        "again",
        "breaker",
        "is_refused",
        "policy",
        "refused",
        "refuses_directly",
        "root",
        "successes",
    )

    def __init__(self, breaker: "CircuitBreaker | None", policy: str = "", *, refuses_directly: bool = True) -> None:
        self.breaker = breaker
        self.policy = policy
        self.refuses_directly = refuses_directly
        self.reset()

    def reset(self) -> None:
        """Close it, and forget the counts."""
        self.admissions = self.successes = _NOTHING
        self.root: ModeScope | _Nowhere = NOWHERE
        self._permit: Permit | None = None  # of the admissions
        self.is_refused = False
        self.refused = 0
        self.again = 0
        # What was counted before, plus what the iterator in use has to give altogether.
        self._handed_out = 0
        self._succeeded = 0
        self._admitted = 0
        self._settled = 0

    # ------------------------------------------------------------ by the breaker

    def open(self, permit: Permit) -> None:
        """Hand out *permit* to every call from now on, and take it back."""
        self.is_refused = False
        if permit is not self._permit:
            self.close()
            self._permit = permit
            self._handed_out += _MANY
            self._succeeded += _MANY
            self.admissions = repeat(permit, _MANY)
            self.successes = repeat(permit, _MANY)

    def close(self) -> None:
        """Hand out nothing more."""
        self.is_refused = False
        self._handed_out = self.handed_out
        self._succeeded = self.succeeded
        self._permit = None
        self.admissions = self.successes = _NOTHING

    # ------------------------------------------------------------ counts

    @property
    def is_open(self) -> bool:
        """True if a call would get a permit from `admissions`."""
        return self._permit is not None

    @property
    def handed_out(self) -> int:
        """How many permits were taken from `admissions`."""
        return self._handed_out - length_hint(self.admissions)

    @property
    def succeeded(self) -> int:
        """How many were given back to `successes`."""
        return self._succeeded - length_hint(self.successes)

    @property
    def started(self) -> int:
        """How many attempts got a permit, one way or the other."""
        return self.handed_out + self._admitted

    @property
    def in_flight(self) -> int:
        """How many of them have not ended."""
        return self.started - self.succeeded - self._settled

    # ------------------------------------------------------------ where it is not open

    def take(self) -> "Permit | BreakerOpenError":
        """A permit, or the breaker's refusal.

        It is returned, because each frame that an error passes through costs as much as making it.
        """
        permit = FREE if self.breaker is None else self.breaker._take()
        if isinstance(permit, Permit):
            self._admitted += 1
        return permit

    def settle(self, permit: Permit, outcome: Outcome, error: BaseException | None = None) -> None:
        """Tell how an attempt ended that `successes` has not taken."""
        self._settled += 1
        if self.breaker is not None:
            self.breaker._settle(permit, outcome, error)

    def not_this_one(self) -> None:
        """Somebody asked `successes` and held another permit than it gave: that one is not to be counted."""
        if self.successes is not _NOTHING:
            self._succeeded -= 1


#: The permit where there is no breaker.
FREE = Permit(0, is_shared=True)


def open_without_breaker(lane: Lane) -> Lane:
    """Open the lane of a guard that has no breaker."""
    lane.open(FREE)
    return lane
