"""The records that say what is saved: one `CheckpointInfo` for each saved checkpoint, `Restored` for what comes back."""

from collections.abc import Mapping
from datetime import datetime
from typing import Generic, TypeVar

import attrs

from genesis_trio.modes import Mode

__all__ = ["CheckpointInfo", "Loaded", "Restored", "StoreStatistics", "VerifyReport"]

StateT = TypeVar("StateT")


@attrs.frozen(kw_only=True)
class CheckpointInfo:
    """Everything that is known about one saved checkpoint, besides the states in it.

    Attributes:
        id: The name to restore it by.
        sequence: Its number; later ones are greater.
        created_at: Wall time of the cut, in UTC.
        reason: manual, periodic, messages, suspend, restart, stop or restore.
        label: The name that somebody gave it; a labelled one is not pruned.
        components: Paths of the components in it, sorted.
        mode: The effective mode of the tree at the cut.
        size: Bytes of all its parts; a part that did not change is shared with the one before on disk.
        digest: Digest over all of it, in hexadecimal.
        schemas: Component to the name, version and fingerprint of its state's schema.
        journal: Component to the last journal sequence that its state includes.
        code_version: The code that wrote it.
        stall: Seconds for which the event loop stood still for the cut.
        violations: Component to what its ``check_invariants()`` said of the state.  Such a state is kept to be looked at,
            and is restored only by somebody who names this very checkpoint.
        quarantined: Component to how its state kept killing it.  It is never pruned, and is passed over like the former
            until somebody releases it.
    """

    id: str
    sequence: int
    created_at: datetime
    reason: str
    label: str | None
    components: tuple[str, ...]
    mode: Mode
    size: int
    digest: str
    schemas: Mapping[str, tuple[str, int, str]]
    journal: Mapping[str, int]
    code_version: str
    stall: float
    violations: Mapping[str, str] = attrs.Factory(dict)
    quarantined: Mapping[str, str] = attrs.Factory(dict)


@attrs.frozen(kw_only=True)
class Restored(Generic[StateT]):
    """One component's state as it was in a saved checkpoint.

    The journal after it is not applied: go on with ``store.replay(component, …, after=info.journal[component])``.

    Attributes:
        state: The state, of the class that was asked for.
        info: Where it comes from.
        fell_back_from: Ids of newer saved checkpoints that were damaged, violate an invariant or are in quarantine, newest first.
        lost: Acknowledged records that neither this state nor the journal after it holds; None when that
            cannot be known.
    """

    state: StateT
    info: CheckpointInfo
    fell_back_from: tuple[str, ...] = ()
    lost: int | None = 0


@attrs.frozen(kw_only=True)
class Loaded(Generic[StateT]):
    """One component as a supervisor gets it back: state and journal together, and its mailboxes.

    Attributes:
        state: The newest good part with the journal after it applied, or a first state with all of it.
        info: The saved checkpoint of the part; None when there was none.
        inbox: The mailboxes of the part.
        journal: The last sequence that the state includes.
        replayed: How many records were applied.
        fell_back_from: Ids of newer saved checkpoints that were damaged, violate an invariant or are in quarantine, newest first.
        lost: Acknowledged records that could not be recovered; None when that cannot be known.
        keys: The keys that pass of the records that were applied, and their sequences: what was recorded for messages of the
            mailboxes since they were saved.
        newer_inbox: The mailboxes of the newest checkpoint that was fallen back from, as far as they can be read: what
            had arrived since is there.
    """

    state: StateT
    info: CheckpointInfo | None
    inbox: bytes | None
    journal: int
    replayed: int
    fell_back_from: tuple[str, ...] = ()
    lost: int | None = 0
    keys: Mapping[str, int] = attrs.Factory(dict)
    newer_inbox: bytes | None = None


@attrs.frozen(kw_only=True)
class VerifyReport:
    """What reading everything brought to light.

    Attributes:
        ok: True if there is no problem.
        problems: Each in words, with where it is.
    """

    ok: bool
    problems: tuple[str, ...]


@attrs.frozen(kw_only=True)
class StoreStatistics:
    """Counters of one open store.

    Attributes:
        commits: Transactions since it was opened; *records* events and *cuts* saved checkpoints were in them.
        waiting: Requests that wait for the writer.
        largest_batch: The most requests that one transaction served.
        commit_time: Seconds of the longest commit, as the event loop saw it.
        checkpoints: Component to the number of its saved checkpoints.
        newest: Component to the wall time of its newest one.
        journal: Component to the number of its records that are there; those that a kept checkpoint does not include stay.
        keys: Component to the number of keys that were given to `Context.record`; they stay for ever.
        room: False while the disk is full.
        poisoned: True once nothing more is acknowledged.
    """

    commits: int
    records: int
    cuts: int
    waiting: int
    largest_batch: int
    commit_time: float
    checkpoints: Mapping[str, int]
    newest: Mapping[str, datetime]
    journal: Mapping[str, int]
    keys: Mapping[str, int]
    room: bool
    poisoned: bool
