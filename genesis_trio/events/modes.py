"""What modes tell: their causes, their changes, and what is done when one is entered."""

import attrs

from genesis_trio.events._event import Event, Severity


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
