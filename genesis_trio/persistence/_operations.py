"""What can be asked of a store: each operation knows how to write itself into the next commit.

An operation is made in the event loop, planned in the blocking call of the writer, and settled in the
loop again.  ``prove`` and ``plan`` raise for this operation alone; the others of its batch go on.
"""

import contextlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from genesis_trio.errors import CorruptError, StoreError
from genesis_trio.events import describe_error
from genesis_trio.modes import Mode
from genesis_trio.persistence._cut import Cut, CutPart, Part, name_cut, naming
from genesis_trio.persistence._draft import Draft
from genesis_trio.persistence._envelope import Lineage, name_second_copy
from genesis_trio.persistence._keys import keys_in_past, keys_upto, passing_keys, readable_keys, repair_keys
from genesis_trio.persistence._ledger import EFFECT, KEY, SCHEMA
from genesis_trio.persistence._quarantine import Verdict, name_entry, pack_verdicts, verdicts_in
from genesis_trio.persistence.effects import Effect, EffectStatus

__all__ = [
    "Accept",
    "Append",
    "BeginEffect",
    "EndEffect",
    "ForgetEffect",
    "GiveUp",
    "Operation",
    "PutControl",
    "Quarantine",
    "Release",
    "Remove",
    "Rewind",
    "SaveCut",
]


class Operation:
    """Base: something that becomes durable.  ``outcome`` is what the caller gets once it is."""

    outcome: Any = None
    #: True for what is still written while the disk is full: what makes a service safe, not what makes it work.
    uses_reserve: bool = False
    #: Bytes that it adds, roughly.
    size: int = 0

    def prove(self) -> None:
        """Structure back what is about to be written."""

    def plan(self, draft: Draft) -> None:
        """Write into *draft*, after everything that can fail."""
        raise AssertionError("an operation plans")

    def apply(self) -> None:
        """In the loop, once it is durable and before anybody hears of it."""


@attrs.define(eq=False)
class NewEvent:
    """An event as it comes from the codec."""

    tag: str
    key: str | None
    body: bytes
    prove: Callable[[], object]
    key_passes: bool = False


@attrs.define(eq=False)
class Append(Operation):
    """Events for the journal of one component, in consecutive order."""

    component: str
    events: Sequence[NewEvent]
    at: float
    on_recorded: Callable[[int], None] | None = None
    outcome: Any = 0
    new: list[int] = attrs.Factory(list)

    def __attrs_post_init__(self) -> None:
        self.size = sum(len(event.body) for event in self.events)

    def prove(self) -> None:
        for event in self.events:
            event.prove()

    def plan(self, draft: Draft) -> None:
        component = self.component
        self.new = []
        self.outcome = draft.head(component).last
        if any(event.key is not None for event in self.events):
            repair_keys(draft, component)
        for event in self.events:
            if event.key is not None:
                known = draft.read_row(KEY, component, event.key)
                if known is not None:
                    self.outcome = int.from_bytes(known, "little")
                    continue
            sequence = draft.add_entry(
                component, event.tag, event.key, self.at, event.body, key_passes=event.key_passes
            )
            if event.key is not None:
                draft.set_row(KEY, component, event.key, sequence.to_bytes(8, "little"), is_new=True)
            self.new.append(sequence)
            self.outcome = sequence

    def apply(self) -> None:
        if self.on_recorded is not None:
            for sequence in self.new:
                self.on_recorded(sequence)


# ---------------------------------------------------------------- effects


_BEGUN, _DONE, _FAILED = b"B", b"D", b"F"


def _read_effect(body: bytes) -> Effect:
    if body[:1] == _DONE:
        return Effect(EffectStatus.DONE, result=body[1:])
    if body[:1] == _FAILED:
        name, text = json.loads(body[1:])
        return Effect(EffectStatus.FAILED, failure=(name, text))
    return Effect(EffectStatus.UNKNOWN)


@attrs.define(eq=False)
class BeginEffect(Operation):
    """The intent, before the effect."""

    component: str
    key: str
    outcome: Any = None

    def plan(self, draft: Draft) -> None:
        # What is absent is new, unless something that is gone may have been it.
        doubtful = draft.ledger.doubts_effects(self.component)
        try:
            known = draft.read_row(EFFECT, self.component, self.key)
        except CorruptError:
            self.outcome = Effect(EffectStatus.UNKNOWN)
            return
        if known is not None:
            self.outcome = _read_effect(known)
            return
        draft.set_row(EFFECT, self.component, self.key, _BEGUN, is_new=True)
        self.outcome = Effect(EffectStatus.UNKNOWN if doubtful else EffectStatus.NEW)


@attrs.define(eq=False)
class EndEffect(Operation):
    """The result or the failure, after the effect."""

    component: str
    key: str
    body: bytes
    uses_reserve = True

    @classmethod
    def of(cls, component: str, key: str, result: bytes | None, failure: tuple[str, str] | None) -> "EndEffect":
        if (result is None) == (failure is None):
            raise ValueError("an effect ends with either a result or a failure")
        body = _DONE + result if result is not None else _FAILED + json.dumps(failure).encode()
        return cls(component, key, body)

    def plan(self, draft: Draft) -> None:
        _begun_effect(draft, self.component, self.key)
        draft.set_row(EFFECT, self.component, self.key, self.body)


@attrs.define(eq=False)
class ForgetEffect(Operation):
    """Nothing was sent: the key is free again."""

    component: str
    key: str
    uses_reserve = True

    def plan(self, draft: Draft) -> None:
        _begun_effect(draft, self.component, self.key)
        draft.set_row(EFFECT, self.component, self.key, None)


def _begun_effect(draft: Draft, component: str, key: str) -> None:
    known = draft.read_row(EFFECT, component, key)
    if known is None:
        raise StoreError(f"the effect {key!r} of {component!r} was never begun; call begin_effect() first")
    if known != _BEGUN:
        raise StoreError(f"the effect {key!r} of {component!r} has ended already; its outcome stays as it is")


# ---------------------------------------------------------------- control state


@attrs.define(eq=False)
class PutControl(Operation):
    """A small piece of the framework's own state; None removes it."""

    name: str
    body: bytes | None
    uses_reserve = True

    def plan(self, draft: Draft) -> None:
        if draft.ledger.control.get(self.name) != self.body or self.name in draft.control:
            draft.set_control(self.name, self.body)


# ---------------------------------------------------------------- saved checkpoints


@attrs.define(eq=False)
class PlannedPart:
    """One component of a cut, and how to prove that its bytes can be read."""

    part: Part
    schema: str
    version: int
    fingerprint: str
    schema_text: str
    prove: Callable[[], object]


@attrs.define(eq=False)
class SaveCut(Operation):
    """A saved checkpoint."""

    parts: Sequence[PlannedPart]
    reason: str
    label: str | None
    mode: Mode
    stall: float
    created_at: datetime
    code_version: str
    outcome: Any = None
    violations: dict[str, str] = attrs.Factory(dict)
    uses_reserve = True

    def __attrs_post_init__(self) -> None:
        self.size = sum(len(each.part.body) + len(each.part.inbox or b"") for each in self.parts)

    def prove(self) -> None:
        for each in self.parts:
            with naming(each.part.component):
                violation = find_violation(each.prove())
            if violation is not None:
                self.violations[each.part.component] = violation

    def plan(self, draft: Draft) -> None:
        chains = {}
        for each in self.parts:
            part = each.part
            last = draft.head(part.component).last
            if part.journal > last:
                raise StoreError(
                    f"the state of {part.component!r} claims to include record {part.journal}, but its journal ends at {last}"
                )
            chains[part.component] = draft.chain_at(part.component, part.journal)
        saved = {}
        for each in self.parts:
            part = each.part
            # The first cut of a component gives it a head, so that it would be missed; later ones leave it as it is.
            is_known = part.component in draft.ledger.heads
            head = draft.head(part.component) if is_known else draft.head_to_change(part.component)
            chain, start = chains[part.component]
            saved[part.component] = CutPart(
                digest=draft.add_part(part.body),
                size=len(part.body),
                inbox=draft.add_part(part.inbox) if part.inbox is not None else None,
                inbox_size=len(part.inbox or b""),
                schema=each.schema,
                version=each.version,
                fingerprint=each.fingerprint,
                journal=part.journal,
                chain=chain,
                start=start,
                lineage=head.lineage,
                repeats_after=part.repeats_after,
                acknowledged=part.acknowledged,
            )
            if (SCHEMA, "", each.fingerprint) not in draft.ledger.row_digests:
                text = json.dumps([each.schema, each.version, each.fingerprint, each.schema_text]).encode()
                draft.set_row(SCHEMA, "", each.fingerprint, text)
        self.outcome = Cut(
            number=draft.root.cut + 1,
            commit=draft.root.commit + 1,
            created_at=self.created_at,
            reason=self.reason,
            label=self.label,
            mode=self.mode,
            code_version=self.code_version,
            stall=self.stall,
            parts=saved,
            violations=self.violations,
        )
        draft.add_cut(self.outcome)


def find_violation(state: Any) -> str | None:
    """What ``state.check_invariants()`` raises, in words; None without such a method, or when all is well."""
    check = getattr(state, "check_invariants", None)
    if not callable(check):
        return None
    try:
        found = check()
    except Exception as error:
        return describe_error(error)
    if found is None:
        return None
    if inspect.iscoroutine(found):
        found.close()
    return f"check_invariants() returned {type(found).__name__}; it is a plain function that raises what is wrong"


@attrs.define(eq=False)
class Rewind(Operation):
    """An older saved checkpoint becomes the newest, and what was recorded after it was taken is void."""

    number: int
    components: Sequence[str]
    mode: Mode
    created_at: datetime
    code_version: str
    outcome: Any = None
    uses_reserve = True

    def plan(self, draft: Draft) -> None:
        target = draft.ledger.cuts.get(self.number)
        if target is None:
            raise StoreError(f"the saved checkpoint {name_cut(self.number)} was pruned meanwhile; choose another one")
        for component in self.components:
            if component not in target.parts:
                raise StoreError(f"{component!r} in {target.id} was pruned meanwhile; choose another one")
        number = draft.root.cut + 1
        plans = [(component, target.parts[component]) for component in self.components]
        digests = [digest for _, part in plans for digest in (part.digest, part.inbox) if digest is not None]
        bodies = [draft.ledger.read_part(digest) for digest in digests]
        pasts = {component: _when_taken(draft, component, part) for component, part in plans}
        keys = {component: keys_in_past(draft, component, past) for component, past in pasts.items()}
        saved: dict[str, CutPart] = {}
        for body in bodies:
            draft.add_part(body)
        for component, part in plans:
            release(draft, target, component)  # who names it wants it
            head = draft.head_to_change(component)
            reached = pasts[component].journal
            head.lineage = (*part.lineage, Lineage(reached, head.last, target.number, number, head.chain))
            journal, chain, start = part.journal, part.chain, part.start
            if reached == journal:  # no record has to be applied to it
                journal, (chain, start) = head.last, draft.chain_at(component, head.last)
            saved[component] = attrs.evolve(
                part, journal=journal, chain=chain, start=start, lineage=head.lineage, acknowledged=head.last
            )
            draft.replace_keys(component, keys[component])
            draft.repaired_keys.add(component)
        self.outcome = Cut(
            number=number,
            commit=draft.root.commit + 1,
            created_at=self.created_at,
            reason="restore",
            label=None,
            mode=self.mode,
            code_version=self.code_version,
            stall=0.0,
            parts=saved,
        )
        draft.add_cut(self.outcome)


def _when_taken(draft: Draft, component: str, part: CutPart) -> CutPart:
    """*part* as if its state included all that was acknowledged when its cut was taken."""
    if part.acknowledged <= part.journal:
        return part
    chain, _ = draft.chain_at(component, part.acknowledged)
    return attrs.evolve(part, journal=part.acknowledged, chain=chain)


# ---------------------------------------------------------------- quarantine


@attrs.define(eq=False)
class Quarantine(Operation):
    """States of one component are passed over from now on."""

    component: str
    verdicts: Sequence[Verdict]
    uses_reserve = True

    def plan(self, draft: Draft) -> None:
        before = _verdicts(draft, self.component)
        new = [verdict for verdict in self.verdicts if verdict not in before]
        draft.set_control(name_entry(self.component), pack_verdicts([*before, *new]))


@attrs.define(eq=False)
class Release(Operation):
    """Somebody has looked at a state in quarantine; ``outcome``: the components that were released."""

    number: int
    components: Sequence[str]
    uses_reserve = True
    outcome: Any = ()

    def plan(self, draft: Draft) -> None:
        cut = draft.ledger.cuts.get(self.number)
        if cut is None:
            raise StoreError(f"the saved checkpoint {name_cut(self.number)} was pruned meanwhile; choose another one")
        there = [component for component in self.components if component in cut.parts]
        self.outcome = [component for component in there if release(draft, cut, component)]


def _verdicts(draft: Draft, component: str) -> Sequence[Verdict]:
    name = name_entry(component)
    return verdicts_in(draft.control[name] if name in draft.control else draft.ledger.control.get(name))


def release(draft: Draft, cut: Cut, component: str) -> bool:
    """Take back every verdict on the state of *component* in *cut*; False if there was none."""
    before = _verdicts(draft, component)
    left = [verdict for verdict in before if not verdict.concerns(cut, component)]
    if len(left) == len(before):
        return False
    draft.set_control(name_entry(component), pack_verdicts(left))
    return True


# ---------------------------------------------------------------- housekeeping


@attrs.define(eq=False)
class Remove(Operation):
    """Saved checkpoints that nobody needs any more, parts of some, or records in front of all that are kept.

    The keys of the records stay, but for those that pass, unless all are to be forgotten.  It is committed alone: an
    engine removes and adds in different calls.
    """

    cuts: Sequence[int] = ()
    parts: Mapping[int, Sequence[str]] = attrs.Factory(dict)
    records: Mapping[str, int] = attrs.Factory(dict)
    forgets_keys: bool = False
    uses_reserve = True
    outcome: Any = 0

    def plan(self, draft: Draft) -> None:
        ledger = draft.ledger
        doomed = [number for number in self.cuts if number in ledger.cuts or number in ledger.damaged_cuts]
        chains = {component: draft.chain_at(component, upto)[0] for component, upto in self.records.items()}
        find_keys = keys_upto if self.forgets_keys else passing_keys
        keys = {component: find_keys(draft, component, upto) for component, upto in self.records.items()}
        trimmed = {
            number: ledger.cuts[number].without(self.parts[number]) for number in self.parts if number in ledger.cuts
        }
        kept = [trimmed.get(number, cut).digests() for number, cut in ledger.cuts.items() if number not in doomed]
        needed = set().union(*kept)
        changed = [number for number in (*doomed, *trimmed) if number in ledger.cuts]
        gone = set().union(*(ledger.cuts[number].digests() for number in changed)) - needed
        for digest in sorted(gone - ledger.good_parts):
            # What is damaged is put aside by reading it; what is gone is gone.
            with contextlib.suppress(CorruptError):
                ledger.read_part(digest)
        for number in doomed:
            draft.remove_cut(number)
        for cut in trimmed.values():
            draft.replace_cut(cut)
        draft.remove_parts(gone | ({name_second_copy(digest) for digest in gone} & ledger.stored_parts()))
        for component, upto in self.records.items():
            for key in keys[component]:
                draft.set_row(KEY, component, key, None)
            draft.remove_records(component, upto, chains[component])
        self.outcome = len(doomed)


@attrs.define(eq=False)
class GiveUp(Operation):
    """Damaged records were passed over: what is recorded from now on must be found behind them at the next start."""

    component: str
    after: int
    uses_reserve = True

    def plan(self, draft: Draft) -> None:
        head = draft.head_to_change(self.component)
        if self.after < head.last:
            head.lineage = (*head.lineage, Lineage(self.after, head.last, 0, 0, head.chain))


@attrs.define(eq=False)
class Accept(Operation):
    """Somebody has looked at what is missing: it counts as never written from now on."""

    uses_reserve = True

    def plan(self, draft: Draft) -> None:
        for key in list(draft.ledger.incidents):
            draft.forget(key)
        for component, head in sorted(draft.ledger.heads.items()):
            if any(void.is_given_up for void in head.lineage):
                draft.head_to_change(component).lineage = tuple(void.accepted() for void in head.lineage)
            if not draft.ledger.row_state(component).effects:
                draft.accept_effects(component)
                draft.accepted_effects.add(component)
            if not draft.ledger.row_state(component).keys:
                draft.replace_keys(component, readable_keys(draft, component))
                draft.repaired_keys.add(component)
