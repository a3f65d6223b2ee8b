"""A saved checkpoint as it is written down, and the parts that go into it."""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

import attrs

from genesis_trio.errors import SchemaError
from genesis_trio.modes import Mode
from genesis_trio.persistence._envelope import Lineage, digest_part, pack_lineage, unpack_lineage
from genesis_trio.persistence.checkpoints import CheckpointInfo

__all__ = ["Cut", "CutPart", "Part", "name_cut", "naming"]


@attrs.frozen(slots=True)
class Part:
    """One component in a cut, encoded in the step of the cut.

    Attributes:
        component: Its path.
        body: The encoded state.
        state_type: The class that *body* is structured back to before the cut is acknowledged.
        journal: The last journal sequence that the state includes.
        inbox: Its mailboxes; opaque here.
        acknowledged: The last journal sequence whose callers were told when the cut was taken: who goes back to it gets
            the records up to this one as well.  They are not in a state that was captured before them.
    """

    component: str
    body: bytes
    state_type: type
    journal: int = 0
    inbox: bytes | None = None
    acknowledged: int = 0


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
    acknowledged: int = 0  # or *journal*, if that is more
    #: Its component had not started yet: it is that of a checkpoint before, and no reason to keep this one.
    is_carried: bool = False


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
    violations: Mapping[str, str] = attrs.Factory(dict)

    @property
    def id(self) -> str:
        return name_cut(self.number)

    @property
    def size(self) -> int:
        return sum(part.size + part.inbox_size for part in self.parts.values())

    def without(self, components: Collection[str]) -> "Cut":
        """The same with these components gone."""
        parts = {name: part for name, part in self.parts.items() if name not in components}
        return attrs.evolve(
            self, parts=parts, violations={name: self.violations[name] for name in self.violations.keys() & parts}
        )

    def digests(self) -> set[bytes]:
        """Of every part that it needs."""
        found = {part.digest for part in self.parts.values()}
        return found | {part.inbox for part in self.parts.values() if part.inbox is not None}

    def info(self) -> CheckpointInfo:
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
            digest=digest_part(self.packed).hex(),
            schemas={name: (part.schema, part.version, part.fingerprint) for name, part in parts.items()},
            journal={name: part.journal for name, part in parts.items()},
            code_version=self.code_version,
            stall=self.stall,
            violations=self.violations,
        )

    @cached_property
    def packed(self) -> bytes:
        """Its bytes, which are written, and digested each time that somebody asks about it."""
        import json

        def part_fields(part: CutPart) -> dict[str, object]:
            fields: dict[str, object] = {
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
            if part.acknowledged > part.journal:
                fields["acknowledged"] = part.acknowledged
            if part.is_carried:
                fields["is_carried"] = True
            return fields

        fields: dict[str, object] = {
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
        if self.violations:
            fields["violations"] = dict(sorted(self.violations.items()))
        return json.dumps(fields, separators=(",", ":")).encode()

    @classmethod
    def unpack(cls, data: bytes) -> "Cut":
        import json

        def part(fields: dict[str, Any]) -> CutPart:
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
                acknowledged=fields.get("acknowledged", 0),
                is_carried=fields.get("is_carried", False),
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
            violations=fields.get("violations", {}),
        )


def name_cut(number: int) -> str:
    """The id of the saved checkpoint with that number: known from the number alone, so that a missing one can be named."""
    return f"cp-{number:06d}"


@contextlib.contextmanager
def naming(component: str) -> Iterator[None]:
    """Say of a SchemaError in the block whose state it is about."""
    try:
        yield
    except SchemaError as error:
        named = SchemaError(f"the state of {component!r}: {error}")
        named.component = component
        raise named from error
