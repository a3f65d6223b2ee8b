"""The records that say what is saved: one `CheckpointInfo` for each saved checkpoint, `Restored` for what comes back."""

from collections.abc import Mapping
from datetime import datetime
from typing import Generic, TypeVar

import attrs

from genesis_trio.modes import Mode
from genesis_trio.persistence._envelope import Lineage, pack_lineage, unpack_lineage

__all__ = ["CheckpointInfo", "Cut", "CutPart", "Loaded", "Part", "Restored", "StoreStatistics", "VerifyReport"]

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


@attrs.frozen(kw_only=True)
class Restored(Generic[StateT]):
    """One component's state as it was in a saved checkpoint.

    The journal after it is not applied: go on with ``store.replay(component, …, after=info.journal[component])``.

    Attributes:
        state: The state, of the class that was asked for.
        info: Where it comes from.
        fell_back_from: Ids of newer saved checkpoints that were damaged, newest first.
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
        fell_back_from: Ids of newer saved checkpoints that were damaged, newest first.
        lost: Acknowledged records that could not be recovered; None when that cannot be known.
    """

    state: StateT
    info: CheckpointInfo | None
    inbox: bytes | None
    journal: int
    replayed: int
    fell_back_from: tuple[str, ...] = ()
    lost: int | None = 0


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
    room: bool
    poisoned: bool


@attrs.frozen(slots=True)
class Part:
    """One component in a cut, encoded in the step of the cut.

    Attributes:
        component: Its path.
        body: The encoded state.
        state_type: The class that *body* is structured back to before the cut is acknowledged.
        journal: The last journal sequence that the state includes.
        inbox: Its mailboxes; opaque here.
    """

    component: str
    body: bytes
    state_type: type
    journal: int = 0
    inbox: bytes | None = None


# ---------------------------------------------------------------- what the store writes down


@attrs.frozen(kw_only=True, slots=True)
class CutPart:
    """What a saved checkpoint says about one component; the bytes are found by their digests."""

    digest: bytes
    size: int
    inbox: bytes | None
    inbox_size: int
    schema: str
    version: int
    fingerprint: str
    journal: int
    chain: bytes
    start: int
    lineage: tuple[Lineage, ...]


@attrs.frozen(kw_only=True, slots=True)
class Cut:
    """A saved checkpoint as it is written down; `info` is the public view."""

    number: int
    commit: int
    created_at: datetime
    reason: str
    label: str | None
    mode: Mode
    code_version: str
    stall: float
    parts: Mapping[str, CutPart]

    @property
    def id(self) -> str:
        return name_cut(self.number)

    @property
    def size(self) -> int:
        return sum(part.size + part.inbox_size for part in self.parts.values())

    def digests(self) -> set[bytes]:
        """Of every part that it needs."""
        found = {part.digest for part in self.parts.values()}
        return found | {part.inbox for part in self.parts.values() if part.inbox is not None}

    def info(self) -> CheckpointInfo:
        from genesis_trio.persistence._envelope import digest_part

        parts = dict(sorted(self.parts.items()))
        return CheckpointInfo(
            id=self.id,
            sequence=self.number,
            created_at=self.created_at,
            reason=self.reason,
            label=self.label,
            components=tuple(parts),
            mode=self.mode,
            size=self.size,
            digest=digest_part(self.pack()).hex(),
            schemas={name: (part.schema, part.version, part.fingerprint) for name, part in parts.items()},
            journal={name: part.journal for name, part in parts.items()},
            code_version=self.code_version,
            stall=self.stall,
        )

    def pack(self) -> bytes:
        import json

        def part_fields(part: CutPart) -> dict[str, object]:
            return {
                "digest": part.digest.hex(),
                "size": part.size,
                "inbox": part.inbox.hex() if part.inbox is not None else None,
                "inbox_size": part.inbox_size,
                "schema": part.schema,
                "version": part.version,
                "fingerprint": part.fingerprint,
                "journal": part.journal,
                "chain": part.chain.hex(),
                "start": part.start,
                "lineage": pack_lineage(part.lineage).hex(),
            }

        fields = {
            "number": self.number,
            "commit": self.commit,
            "created_at": self.created_at.isoformat(),
            "reason": self.reason,
            "label": self.label,
            "mode": int(self.mode),
            "code_version": self.code_version,
            "stall": self.stall,
            "parts": {name: part_fields(part) for name, part in sorted(self.parts.items())},
        }
        return json.dumps(fields, separators=(",", ":")).encode()

    @classmethod
    def unpack(cls, data: bytes) -> "Cut":
        import json

        def part(fields: dict[str, object]) -> CutPart:
            inbox = fields["inbox"]
            return CutPart(
                digest=bytes.fromhex(fields["digest"]),
                size=fields["size"],
                inbox=bytes.fromhex(inbox) if inbox is not None else None,
                inbox_size=fields["inbox_size"],
                schema=fields["schema"],
                version=fields["version"],
                fingerprint=fields["fingerprint"],
                journal=fields["journal"],
                chain=bytes.fromhex(fields["chain"]),
                start=fields["start"],
                lineage=tuple(unpack_lineage(bytes.fromhex(fields["lineage"]))),
            )

        fields = json.loads(data)
        return cls(
            number=fields["number"],
            commit=fields["commit"],
            created_at=datetime.fromisoformat(fields["created_at"]),
            reason=fields["reason"],
            label=fields["label"],
            mode=Mode(fields["mode"]),
            code_version=fields["code_version"],
            stall=fields["stall"],
            parts={name: part(each) for name, each in fields["parts"].items()},
        )


def name_cut(number: int) -> str:
    """The id of the saved checkpoint with that number: known from the number alone, so that a missing one can be named."""
    return f"cp-{number:06d}"
