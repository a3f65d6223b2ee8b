"""Saved checkpoints as operations: taking one, going back to one, and passing over those whose states kill."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from genesis_trio.errors import StoreError
from genesis_trio.events import describe_error
from genesis_trio.modes import Mode
from genesis_trio.persistence._carried import carry_over
from genesis_trio.persistence._cut import Cut, CutPart, Part, name_cut, naming
from genesis_trio.persistence._draft import Draft
from genesis_trio.persistence._envelope import Lineage
from genesis_trio.persistence._keys import keys_in_past
from genesis_trio.persistence._ledger import SCHEMA
from genesis_trio.persistence._operations import Operation
from genesis_trio.persistence._quarantine import Verdict, name_entry, pack_verdicts, verdicts_in

__all__ = ["PlannedPart", "Quarantine", "Release", "ReplaceInbox", "Rewind", "SaveCut"]


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
    carried: Mapping[str, int] = attrs.Factory(
        dict
    )  # who is to be in it though not started: its last acknowledged record
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
        found = {component: carry_over(draft, component, last) for component, last in self.carried.items()}
        saved = {component: part for component, part in found.items() if part is not None}
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
                part,
                journal=journal,
                chain=chain,
                start=start,
                lineage=head.lineage,
                acknowledged=head.last,
                is_carried=False,
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


@attrs.define(eq=False)
class ReplaceInbox(Operation):
    """Somebody has changed the saved mailboxes of a component: a checkpoint with them, and with all the rest as it was saved last."""

    component: str
    before: bytes  # the digest of its mailboxes as they were
    inbox: bytes
    created_at: datetime
    code_version: str
    outcome: Any = None
    uses_reserve = True

    def plan(self, draft: Draft) -> None:
        ledger, component = draft.ledger, self.component
        names = {*ledger.cuts[max(ledger.cuts)].parts, component} if ledger.cuts else set()
        found = {name: carry_over(draft, name, draft.head(name).last) for name in sorted(names)}
        part = found.get(component)
        if part is None:
            raise StoreError(
                f"the newest saved state of {component!r} is damaged, in quarantine, or not all that was acknowledged: let the service "
                f"start once, which tells of it, and try again"
            )
        if part.inbox != self.before:
            raise StoreError(f"the saved mailboxes of {component!r} were changed meanwhile; look at them again")
        found[component] = attrs.evolve(
            part, inbox=draft.add_part(self.inbox), inbox_size=len(self.inbox), is_carried=False
        )
        self.outcome = Cut(
            number=draft.root.cut + 1,
            commit=draft.root.commit + 1,
            created_at=self.created_at,
            reason="drop",
            label=None,
            mode=ledger.cuts[max(ledger.cuts)].mode,
            code_version=self.code_version,
            stall=0.0,
            parts={name: each for name, each in found.items() if each is not None},
        )
        draft.add_cut(self.outcome)


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
