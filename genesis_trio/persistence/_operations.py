"""What can be asked of a store: each operation knows how to write itself into the next commit.

An operation is made in the event loop, planned in the blocking call of the writer, and settled in the
loop again.  ``prove`` and ``plan`` raise for this operation alone; the others of its batch go on.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from genesis_trio.errors import CorruptError, StoreError
from genesis_trio.persistence._draft import Draft
from genesis_trio.persistence._keys import repair_keys
from genesis_trio.persistence._ledger import EFFECT, KEY
from genesis_trio.persistence.effects import Effect, EffectStatus

__all__ = ["Append", "BeginEffect", "EndEffect", "ForgetEffect", "NewEvent", "Operation", "PutControl"]


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

    @property
    def row(self) -> str | None:
        """The key that is looked for, and written beside it."""
        return None if self.key_passes else self.key


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
        if any(event.row is not None for event in self.events):
            repair_keys(draft, component)
        for event in self.events:
            row = event.row
            if row is not None:
                known = draft.read_row(KEY, component, row)
                if known is not None:
                    self.outcome = int.from_bytes(known, "little")
                    continue
            sequence = draft.add_entry(
                component, event.tag, event.key, self.at, event.body, key_passes=event.key_passes
            )
            if row is not None:
                draft.set_row(KEY, component, row, sequence.to_bytes(8, "little"), is_new=True)
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
