"""What supervisors and their watchdogs tell of children and of the loop."""

import attrs

from genesis_trio.events._event import Event, Severity


@attrs.frozen(kw_only=True)
class ChildStarting(Event):
    """An incarnation of a child begins."""

    name = "child_starting"
    child: str
    generation: int


@attrs.frozen(kw_only=True)
class ChildReady(Event):
    """A child is ready to work."""

    name = "child_ready"
    child: str
    generation: int


@attrs.frozen(kw_only=True)
class ChildCrashed(Event):
    """An incarnation of a child ended with an error."""

    name = "child_crashed"
    severity = Severity.WARNING
    child: str
    generation: int
    error: str


@attrs.frozen(kw_only=True)
class RestartScheduled(Event):
    """A child starts again after *delay* seconds."""

    name = "restart_scheduled"
    severity = Severity.WARNING
    child: str
    delay: float
    reason: str


@attrs.frozen(kw_only=True)
class ChildParked(Event):
    """A child used up its restarts, or none would help it; it gets a trial after *retry_after* seconds (infinity: by hand only)."""

    name = "child_parked"
    severity = Severity.ERROR
    child: str
    retry_after: float
    error: str


@attrs.frozen(kw_only=True)
class ChildEscalated(Event):
    """A child's crash ends its supervisor, because its settings or the supervisor's say so."""

    name = "child_escalated"
    severity = Severity.ERROR
    child: str
    reason: str
    error: str


@attrs.frozen(kw_only=True)
class ChildTrial(Event):
    """A parked child gets its trial."""

    name = "child_trial"
    severity = Severity.WARNING
    child: str


@attrs.frozen(kw_only=True)
class ChildUnparked(Event):
    """A parked child has proved itself; its cause is cleared."""

    name = "child_unparked"
    child: str


@attrs.frozen(kw_only=True)
class ChildSuspended(Event):
    """The mode does not admit a child; it waits with its state saved."""

    name = "child_suspended"
    severity = Severity.WARNING
    child: str
    mode: str


@attrs.frozen(kw_only=True)
class ChildStopped(Event):
    """A child ended and stays so: *reason* is ``done``, ``stopped`` or ``temporary``."""

    name = "child_stopped"
    child: str
    reason: str


@attrs.frozen(kw_only=True)
class CrashWhileStopping(Event):
    """A child raised while it was being stopped; the stop goes on."""

    name = "crash_while_stopping"
    severity = Severity.ERROR
    child: str
    error: str


@attrs.frozen(kw_only=True)
class CancellationIgnored(Event):
    """A child still runs *waited* seconds after it was cancelled, in a stop or for a start that took too long: it swallows
    the cancellation, shields itself, is in a thread, or cleans up for long.  *where* is what its *task* waits in.
    """

    name = "cancellation_ignored"
    severity = Severity.WARNING
    child: str
    task: str
    where: str
    waited: float


@attrs.frozen(kw_only=True)
class ChildUnstopped(Event):
    """A child did not end within the time it had to stop; Trio cannot abandon a task, so it still runs, and waits in *where*."""

    name = "child_unstopped"
    severity = Severity.ERROR
    child: str
    waited: float
    where: str


@attrs.frozen(kw_only=True)
class HealthChanged(Event):
    """A child reports that it works badly (*reason* names why), or well again (*reason* is empty)."""

    name = "health_changed"
    severity = Severity.WARNING
    child: str
    reason: str


@attrs.frozen(kw_only=True)
class LoopBlocked(Event):
    """The event loop stood still for *seconds*, because of *task*; told when it runs again, and logged while it does not."""

    name = "loop_blocked"
    severity = Severity.ERROR
    task: str
    where: str
    seconds: float
