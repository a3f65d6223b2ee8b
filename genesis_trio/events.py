"""What happened, as frozen records, and who sees them.

`observe` installs a hook that sees the events of the current tree.  Hooks are plain
synchronous functions, called in order: those of the tree, the newest last, then those
of the run around it.  A hook that raises is reported once, in the log and as
`HookFailed`, and removed; what it watched goes on untouched.

With no hook an event costs one truth test: look at ``tree.hooks`` before calling `emit`.

Severity: a failed attempt is information, a scheduled retry a warning; what is exhausted,
opened or parked, and a rising mode, are errors.
"""

import contextlib
import enum
import inspect
import logging
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar

import attrs
import trio

from genesis_trio._runtime import Tree, current_tree

logger = logging.getLogger("genesis_trio")

T = TypeVar("T")


class Severity(enum.IntEnum):
    """How much attention an event deserves; the values are those of `logging`."""

    INFO = 20
    WARNING = 30
    ERROR = 40


@attrs.frozen(kw_only=True)
class Event:
    """Base of all events.

    Attributes:
        time: Seconds on Trio's clock when it happened.
        tree: Name of the tree it happened in; empty outside of a supervisor.
    """

    name: ClassVar[str] = "event"
    severity: ClassVar[Severity] = Severity.INFO

    time: float = attrs.field()
    tree: str = attrs.field()

    def as_dict(self) -> Mapping[str, Any]:
        """The event as a flat mapping of plain values: its name, its severity and its fields."""
        fields = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        return {"event": self.name, "severity": self.severity.name.lower(), **fields}


def describe_error(error: BaseException) -> str:
    """Type and text of *error* in one line: what events and messages carry instead of the live object."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def emit(tree: Tree, event_type: type[Event], **fields: Any) -> None:
    """Build an event of *event_type* and show it to the hooks of *tree*.

    Errors in *fields* are turned into text.  Callers test ``tree.hooks`` first, so that
    nothing is built when nobody looks.
    """
    for key, value in fields.items():
        if isinstance(value, BaseException):
            fields[key] = describe_error(value)
    event = event_type(time=trio.current_time(), tree=tree.name, **fields)
    for hook in tree.hooks:
        try:
            hook(event)
        except Exception as error:
            _remove_failed_hook(tree, hook, error)


def _remove_failed_hook(tree: Tree, hook: Callable[[Event], None], error: Exception) -> None:
    holder: Tree | None = tree
    while holder is not None:
        holder.remove_hook(hook)
        holder = holder.parent
    logger.exception("the observer %r failed and was removed", hook)
    if tree.hooks:
        emit(tree, HookFailed, hook=repr(hook), error=error)


@contextlib.contextmanager
def observe(hook: Callable[[Event], None]) -> Iterator[None]:
    """Show every event of the current tree to *hook* while inside the block.

    Outside of a supervisor that is every event of the run.  The hook must not block and
    cannot await; it sees frozen records.

    Trio checkpoint: never.
    """
    if not callable(hook) or inspect.iscoroutinefunction(hook):
        raise TypeError(f"observe() wants a plain function of one event, got {hook!r}")
    tree = current_tree()
    tree.add_hook(hook)
    try:
        yield
    finally:
        tree.remove_hook(hook)


class Registry(Generic[T]):
    """The things of one kind that have statistics, held weakly, found in the order of their names."""

    def __init__(self) -> None:
        self._members: weakref.WeakSet[T] = weakref.WeakSet()

    def add(self, member: T) -> None:
        self._members.add(member)

    def by_name(self) -> dict[str, list[T]]:
        """Name to members; guards of equal names are several members, whose numbers are summed by the reader."""
        found: dict[str, list[T]] = {}
        for member in self._members:
            found.setdefault(member.name, []).append(member)  # type: ignore[attr-defined]
        return dict(sorted(found.items()))


# ---------------------------------------------------------------- observers


@attrs.frozen(kw_only=True)
class HookFailed(Event):
    """An observer raised; it was removed."""

    name = "hook_failed"
    severity = Severity.ERROR
    hook: str
    error: str


# ---------------------------------------------------------------- policies


@attrs.frozen(kw_only=True)
class AttemptFailed(Event):
    """One attempt of a guarded call failed; whether it is tried again is another event."""

    name = "attempt_failed"
    policy: str
    attempt: int
    error: str


@attrs.frozen(kw_only=True)
class RetryScheduled(Event):
    """Another attempt begins after *delay* seconds."""

    name = "retry_scheduled"
    severity = Severity.WARNING
    policy: str
    attempt: int
    delay: float
    error: str


@attrs.frozen(kw_only=True)
class RetrySucceeded(Event):
    """A call that had failed succeeded at its *attempt*-th attempt."""

    name = "retry_succeeded"
    policy: str
    attempt: int


@attrs.frozen(kw_only=True)
class RetriesExhausted(Event):
    """A call failed for good; *reason* says why no further attempt was made."""

    name = "retries_exhausted"
    severity = Severity.ERROR
    policy: str
    attempts: int
    reason: str
    error: str


@attrs.frozen(kw_only=True)
class CallRejected(Event):
    """A policy refused a call before it was made."""

    name = "call_rejected"
    severity = Severity.WARNING
    policy: str
    error: str


@attrs.frozen(kw_only=True)
class HedgeStarted(Event):
    """A second copy of a slow call was started."""

    name = "hedge_started"
    policy: str
    copy: int
    delay: float


@attrs.frozen(kw_only=True)
class FallbackUsed(Event):
    """A call failed and its fallback answered instead."""

    name = "fallback_used"
    severity = Severity.WARNING
    policy: str
    error: str


@attrs.frozen(kw_only=True)
class PolicyMisbehaved(Event):
    """A rule given by the user (what to retry, what is a failure) raised; it was treated as "no"."""

    name = "policy_misbehaved"
    severity = Severity.ERROR
    policy: str
    rule: str
    error: str


@attrs.frozen(kw_only=True)
class BreakerOpened(Event):
    """A circuit breaker rejects calls for *retry_after* seconds; infinity when isolated by hand."""

    name = "breaker_opened"
    severity = Severity.ERROR
    breaker: str
    retry_after: float
    error: str


@attrs.frozen(kw_only=True)
class BreakerHalfOpened(Event):
    """A circuit breaker lets probes through."""

    name = "breaker_half_opened"
    severity = Severity.WARNING
    breaker: str


@attrs.frozen(kw_only=True)
class BreakerClosed(Event):
    """A circuit breaker lets calls through again."""

    name = "breaker_closed"
    breaker: str


@attrs.frozen(kw_only=True)
class BreakerDisabled(Event):
    """A circuit breaker was switched off by hand: it counts and lets everything through."""

    name = "breaker_disabled"
    severity = Severity.WARNING
    breaker: str


# ---------------------------------------------------------------- modes


@attrs.frozen(kw_only=True)
class CauseHeld(Event):
    """A cause for a mode was taken, or its level changed."""

    name = "cause_held"
    severity = Severity.WARNING
    scope: str
    owner: str
    reason: str
    mode: str
    latched: bool


@attrs.frozen(kw_only=True)
class CauseCleared(Event):
    """A cause is gone; *by* says what cleared it."""

    name = "cause_cleared"
    scope: str
    owner: str
    reason: str
    by: str


@attrs.frozen(kw_only=True)
class ModeRaised(Event):
    """The effective mode of a scope got worse."""

    name = "mode_raised"
    severity = Severity.ERROR
    scope: str
    before: str
    mode: str


@attrs.frozen(kw_only=True)
class ModeLowered(Event):
    """The effective mode of a scope got better."""

    name = "mode_lowered"
    scope: str
    before: str
    mode: str


@attrs.frozen(kw_only=True)
class LatchNotWritten(Event):
    """A latched cause is in effect but is not on disk."""

    name = "latch_not_written"
    severity = Severity.ERROR
    scope: str
    owner: str
    reason: str
    error: str


@attrs.frozen(kw_only=True)
class ControlNotRestored(Event):
    """A piece of a supervisor's own memory could not be read or written; what it is about starts fresh."""

    name = "control_not_restored"
    severity = Severity.ERROR
    entry: str
    error: str


@attrs.frozen(kw_only=True)
class EntryActionStarted(Event):
    """A mode was entered, and what is to be done then begins."""

    name = "entry_action_started"
    severity = Severity.WARNING
    scope: str
    mode: str
    action: str


@attrs.frozen(kw_only=True)
class EntryActionDone(Event):
    """An entry action ended well after *seconds*."""

    name = "entry_action_done"
    scope: str
    mode: str
    action: str
    seconds: float


@attrs.frozen(kw_only=True)
class EntryActionFailed(Event):
    """An entry action raised, or did not end in time; it is not tried again."""

    name = "entry_action_failed"
    severity = Severity.ERROR
    scope: str
    mode: str
    action: str
    error: str


@attrs.frozen(kw_only=True)
class EntryActionUnwritten(Event):
    """An entry action begins although the latched causes that led to it are not on disk."""

    name = "entry_action_unwritten"
    severity = Severity.ERROR
    scope: str
    mode: str
    action: str
    error: str


@attrs.frozen(kw_only=True)
class EntryActionUnknown(Event):
    """An entry action was begun by an earlier process and never ended: somebody has to look what it did."""

    name = "entry_action_unknown"
    severity = Severity.ERROR
    scope: str
    mode: str
    action: str


# ---------------------------------------------------------------- supervision


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
class ChildUnstopped(Event):
    """A child did not end within the time it had to stop; Trio cannot abandon a task, so it still runs."""

    name = "child_unstopped"
    severity = Severity.ERROR
    child: str
    waited: float


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


# ---------------------------------------------------------------- messaging


@attrs.frozen(kw_only=True)
class MessageDead(Event):
    """A message crashed its reader three times and was put aside."""

    name = "message_dead"
    severity = Severity.ERROR
    child: str
    topic: str
    position: int


# ---------------------------------------------------------------- state


@attrs.frozen(kw_only=True)
class CheckpointSaved(Event):
    """A saved checkpoint is durable."""

    name = "checkpoint_saved"
    checkpoint: str
    reason: str
    label: str
    components: int
    size: int
    stall: float


@attrs.frozen(kw_only=True)
class CheckpointFailed(Event):
    """State could not be saved; what was saved before is untouched."""

    name = "checkpoint_failed"
    severity = Severity.ERROR
    reason: str
    error: str


@attrs.frozen(kw_only=True)
class StateRestored(Event):
    """A component got its state back: from which saved checkpoint, and how many journal records after it."""

    name = "state_restored"
    component: str
    checkpoint: str
    replayed: int


@attrs.frozen(kw_only=True)
class RecoveryFellBack(Event):
    """The newest saved checkpoints were damaged, or kept killing the component; an older one was used.

    *lost* is -1 when it cannot be known.
    """

    name = "recovery_fell_back"
    severity = Severity.ERROR
    component: str
    checkpoint: str
    damaged: str
    lost: int


@attrs.frozen(kw_only=True)
class CheckpointQuarantined(Event):
    """The state of a component in these saved checkpoints kept killing it, and an older one did not; no restore takes it by itself."""

    name = "checkpoint_quarantined"
    severity = Severity.ERROR
    component: str
    checkpoint: str
    reason: str


@attrs.frozen(kw_only=True)
class RecoveryEnded(Event):
    """A component keeps crashing before its first message, and no other saved state helped it, or could be tried."""

    name = "recovery_ended"
    severity = Severity.ERROR
    component: str
    reason: str


@attrs.frozen(kw_only=True)
class StoreDamaged(Event):
    """Opening the store showed that something is damaged or missing; what is left is used."""

    name = "store_damaged"
    severity = Severity.ERROR
    store: str
    error: str


@attrs.frozen(kw_only=True)
class StorePoisoned(Event):
    """The store saw an I/O error and acknowledges nothing more."""

    name = "store_poisoned"
    severity = Severity.ERROR
    store: str
    error: str


@attrs.frozen(kw_only=True)
class StoreFull(Event):
    """The disk is full; the reserve was released so that state can be saved once more."""

    name = "store_full"
    severity = Severity.ERROR
    store: str
    error: str


def event_types() -> dict[str, type[Event]]:
    """Every event there is, by name: the closed vocabulary."""
    found: dict[str, type[Event]] = {}
    waiting = list(Event.__subclasses__())
    while waiting:
        cls = waiting.pop()
        found[cls.name] = cls
        waiting.extend(cls.__subclasses__())
    return dict(sorted(found.items()))
