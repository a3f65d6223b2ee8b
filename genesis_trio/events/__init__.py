"""What happened, as frozen records, and who sees them.

`observe` installs a hook that sees the events of the current tree.  Hooks are plain
synchronous functions, called in order: those of the tree, the newest last, then those
of the run around it.  A hook that raises is reported once, in the log and as
`HookFailed`, and removed; what it watched goes on untouched.

With no hook an event costs one truth test: look at ``tree.hooks`` before calling `emit`.
The records themselves stand in the modules of this package, one for each room that tells
them, and are loaded when the first hook is installed or one is asked for by its name.

Severity: a failed attempt is information, a scheduled retry a warning; what is exhausted,
opened or parked, and a rising mode, are errors.
"""

from typing import TYPE_CHECKING

from genesis_trio.events._event import Event, Severity, describe_error
from genesis_trio.events._registry import Registry
from genesis_trio.events._vocabulary import load_records
from genesis_trio.events.observers import HookFailed, emit, logger, observe

__all__ = ["Event", "HookFailed", "Registry", "Severity", "describe_error", "emit", "logger", "observe"]

if TYPE_CHECKING:
    from genesis_trio.events.messaging import (
        MailboxClosed as MailboxClosed,
    )
    from genesis_trio.events.messaging import (
        MessageDead as MessageDead,
    )
    from genesis_trio.events.modes import (
        CauseCleared as CauseCleared,
    )
    from genesis_trio.events.modes import (
        CauseHeld as CauseHeld,
    )
    from genesis_trio.events.modes import (
        ControlNotRestored as ControlNotRestored,
    )
    from genesis_trio.events.modes import (
        EntryActionDone as EntryActionDone,
    )
    from genesis_trio.events.modes import (
        EntryActionFailed as EntryActionFailed,
    )
    from genesis_trio.events.modes import (
        EntryActionStarted as EntryActionStarted,
    )
    from genesis_trio.events.modes import (
        EntryActionUnknown as EntryActionUnknown,
    )
    from genesis_trio.events.modes import (
        EntryActionUnwritten as EntryActionUnwritten,
    )
    from genesis_trio.events.modes import (
        LatchNotWritten as LatchNotWritten,
    )
    from genesis_trio.events.modes import (
        ModeLowered as ModeLowered,
    )
    from genesis_trio.events.modes import (
        ModeRaised as ModeRaised,
    )
    from genesis_trio.events.persistence import (
        CheckpointFailed as CheckpointFailed,
    )
    from genesis_trio.events.persistence import (
        CheckpointQuarantined as CheckpointQuarantined,
    )
    from genesis_trio.events.persistence import (
        CheckpointSaved as CheckpointSaved,
    )
    from genesis_trio.events.persistence import (
        RecoveryEnded as RecoveryEnded,
    )
    from genesis_trio.events.persistence import (
        RecoveryFellBack as RecoveryFellBack,
    )
    from genesis_trio.events.persistence import (
        RestoreIncomplete as RestoreIncomplete,
    )
    from genesis_trio.events.persistence import (
        StateRestored as StateRestored,
    )
    from genesis_trio.events.persistence import (
        StoreDamaged as StoreDamaged,
    )
    from genesis_trio.events.persistence import (
        StoreFull as StoreFull,
    )
    from genesis_trio.events.persistence import (
        StorePoisoned as StorePoisoned,
    )
    from genesis_trio.events.policies import (
        AttemptFailed as AttemptFailed,
    )
    from genesis_trio.events.policies import (
        BreakerClosed as BreakerClosed,
    )
    from genesis_trio.events.policies import (
        BreakerDisabled as BreakerDisabled,
    )
    from genesis_trio.events.policies import (
        BreakerHalfOpened as BreakerHalfOpened,
    )
    from genesis_trio.events.policies import (
        BreakerOpened as BreakerOpened,
    )
    from genesis_trio.events.policies import (
        CallRejected as CallRejected,
    )
    from genesis_trio.events.policies import (
        FallbackUsed as FallbackUsed,
    )
    from genesis_trio.events.policies import (
        HedgeStarted as HedgeStarted,
    )
    from genesis_trio.events.policies import (
        PolicyMisbehaved as PolicyMisbehaved,
    )
    from genesis_trio.events.policies import (
        RetriesExhausted as RetriesExhausted,
    )
    from genesis_trio.events.policies import (
        RetryScheduled as RetryScheduled,
    )
    from genesis_trio.events.policies import (
        RetrySucceeded as RetrySucceeded,
    )
    from genesis_trio.events.supervision import (
        CancellationIgnored as CancellationIgnored,
    )
    from genesis_trio.events.supervision import (
        ChildCrashed as ChildCrashed,
    )
    from genesis_trio.events.supervision import (
        ChildEscalated as ChildEscalated,
    )
    from genesis_trio.events.supervision import (
        ChildParked as ChildParked,
    )
    from genesis_trio.events.supervision import (
        ChildReady as ChildReady,
    )
    from genesis_trio.events.supervision import (
        ChildStarting as ChildStarting,
    )
    from genesis_trio.events.supervision import (
        ChildStopped as ChildStopped,
    )
    from genesis_trio.events.supervision import (
        ChildSuspended as ChildSuspended,
    )
    from genesis_trio.events.supervision import (
        ChildTrial as ChildTrial,
    )
    from genesis_trio.events.supervision import (
        ChildUnparked as ChildUnparked,
    )
    from genesis_trio.events.supervision import (
        ChildUnstopped as ChildUnstopped,
    )
    from genesis_trio.events.supervision import (
        CrashWhileStopping as CrashWhileStopping,
    )
    from genesis_trio.events.supervision import (
        HealthChanged as HealthChanged,
    )
    from genesis_trio.events.supervision import (
        LoopBlocked as LoopBlocked,
    )
    from genesis_trio.events.supervision import (
        RestartScheduled as RestartScheduled,
    )
else:

    def __getattr__(name: str) -> type[Event]:
        for records in load_records():
            if name in vars(records):
                # Kept: an event that is told again and again would otherwise be looked for in all rooms each time.
                globals()[name] = record = vars(records)[name]
                return record
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
