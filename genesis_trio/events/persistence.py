"""What saving and restoring tell."""

import attrs

from genesis_trio.events._event import Event, Severity


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
    """State, or a message that waits, could not be saved: the error says whose; what was saved before is untouched."""

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
class RestoreIncomplete(Event):
    """All of a saved checkpoint was restored, and these components are not in it: they stay as they are, from another moment."""

    name = "restore_incomplete"
    severity = Severity.WARNING
    checkpoint: str
    components: str


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
