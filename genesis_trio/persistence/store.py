"""`Store`: saved checkpoints, the journal, effects and control state, over any engine.

What it promises: when a call returns, what it wrote is on disk and was proved readable.  What comes back
was checked, byte for byte; when something is damaged or missing, that is said, never passed over.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, TypeVar, final

import trio

from genesis_trio._runtime import Tree, timestamp, utcnow
from genesis_trio.errors import GenesisError
from genesis_trio.modes import Mode, current_mode
from genesis_trio.persistence import _loading
from genesis_trio.persistence._arguments import check_label, check_name
from genesis_trio.persistence._choice import check_known, find_cut, find_left_out, select_components
from genesis_trio.persistence._cut import Cut, Part, naming
from genesis_trio.persistence._cut_operations import Rewind, SaveCut
from genesis_trio.persistence._housekeeping import Accept
from genesis_trio.persistence._ledger import is_void
from genesis_trio.persistence._operations import Append, BeginEffect, EndEffect, ForgetEffect, PutControl
from genesis_trio.persistence._replay import Replay
from genesis_trio.persistence._statistics import count
from genesis_trio.persistence._telling import (
    tell_damage,
    tell_failed,
    tell_left_out,
    tell_saved,
    tell_spoilt_parts,
    tell_violations,
)
from genesis_trio.persistence._writer import Request, Writer
from genesis_trio.persistence.checkpoints import (
    CheckpointInfo,
    Loaded,
    Restored,
    StoreStatistics,
    VerifyReport,
)
from genesis_trio.persistence.effects import Effect, EffectStatus
from genesis_trio.persistence.engine import Promise
from genesis_trio.persistence.policy import check_at_least_one

#: What `Store.put_control` returns: ``await receipt.wait()``, ``receipt.error``.
Receipt = Request

__all__ = ["Effect", "EffectStatus", "Loaded", "Part", "Receipt", "Store"]

StateT = TypeVar("StateT")


@final
class Store:
    """Where state survives.  Made by `open_store`; usable inside of its block, from any task.

    Attributes:
        url: What it was opened with.
        on_trouble: Functions that are called once, in the event loop, when the store can no longer acknowledge
            (PoisonedError, FencedError) and when its disk gets full (StoreError).
    """

    def __init__(self, writer: Writer, url: str, code_version: str) -> None:
        self.url = url
        self._writer = writer
        self._ledger = writer.ledger
        self._code_version = code_version
        self._checking = trio.Lock()
        #: Effects, by component and key, that are being run now; whoever wants the same one waits for its end.
        self.effects_under_way: dict[tuple[str, str], trio.Event] = {}
        self.on_trouble: list[Callable[[Exception], None]] = writer.on_trouble
        #: How many children that used it are none any more, in whichever tree: a name that is taken again is another one's.
        self.former_children = 0

    def __repr__(self) -> str:
        return f"<Store {self.url!r}>"

    @property
    def damage(self) -> tuple[str, ...]:
        """What was found damaged or missing since it was opened, in words."""
        return (*self._ledger.damage, *self._ledger.spoilt_parts.values())

    @property
    def poisoned(self) -> Exception | None:
        """Why nothing is acknowledged any more; None while all is well."""
        return self._writer.trouble

    def belong_to(self, tree: Tree) -> None:
        """Show events to the observers of *tree*, which uses this store, and so to those further out as well."""
        self._writer.tree = tree

    @property
    def token(self) -> int:
        """Grows each time that the store is opened."""
        return self._ledger.token

    @property
    def code_version(self) -> str:
        """The version of the code that uses it, as it was opened with."""
        return self._code_version

    def acknowledged(self, component: str) -> int:
        """The last sequence of *component* whose callers were told."""
        return self._writer.acknowledged.get(component, 0)

    @property
    def journal_bytes(self) -> int:
        """Bytes of events recorded since it was opened."""
        return self._writer.journal_bytes

    # ------------------------------------------------------------ saved checkpoints

    async def create_checkpoint(
        self, states: Mapping[str, Any], *, reason: str = "manual", label: str | None = None
    ) -> CheckpointInfo:
        """Save *states*, component to state, as one checkpoint: all of them or none.

        They are encoded in the step of the call, so later changes are not in it.  Each is taken to include
        every record of its component that was acknowledged before.

        A state whose class has a method ``check_invariants()`` is asked on the way, as it will be read back, off the
        event loop: it returns None, or raises what is wrong.  A state that violates one is saved all the same, to be
        looked at, and named in the result; it is never restored unless somebody names this very checkpoint.

        Args:
            reason: Why, in a word; goes into the metadata.
            label: A name to restore it by; a labelled one is never pruned.

        Raises:
            SchemaError: a state is of no attrs class, cannot be kept as it is, or does not structure back; names it. Nothing was saved.
            StoreError: nothing is acknowledged any more, or the disk is full.

        Trio checkpoint: always.
        Cancellation: seen before the state is taken; once the commit is queued, its true outcome is returned or raised.
        """
        from genesis_trio.persistence import codec

        await trio.lowlevel.checkpoint_if_cancelled()
        if not states:
            raise ValueError("create_checkpoint() needs at least one component with its state")
        try:
            began = trio.current_time()
            parts = []
            for component, state in states.items():
                with naming(component):
                    codec.check_state_type(type(state))
                    body = codec.encode(state, type(state))
                last = self.acknowledged(component)
                parts.append(Part(component, body, type(state), last))
            stall = trio.current_time() - began
            info = await self.commit_cut(parts, reason=reason, label=label, mode=current_mode(), stall=stall)
        except GenesisError as error:
            tell_failed(reason, error)
            raise
        return tell_saved(info)

    async def commit_cut(
        self,
        parts: Sequence[Part],
        *,
        reason: str,
        label: str | None,
        mode: Mode,
        stall: float,
        carried: Mapping[str, int] | None = None,
    ) -> CheckpointInfo:
        """Save parts that were encoded in one step, for supervisors, who also tell of it; else as `create_checkpoint`.

        Args:
            carried: Components that have not started yet, which are in it as they were saved last, if they were: to the last
                acknowledged record of each.
        """
        from genesis_trio.persistence._coding import plan_part

        label = check_label(label)
        names = [check_name("component", part.component) for part in parts]
        if len(set(names)) != len(names):
            raise ValueError(f"a component can be in a cut once only: {sorted(names)}")
        planned = [plan_part(part, self._writer.was_proved(part)) for part in parts]
        operation = SaveCut(planned, reason, label, mode, stall, utcnow(), self._code_version, carried or {})
        cut: Cut = await self._writer.write(operation)
        self._writer.remember_proved([part for part in parts if part.component not in cut.violations])
        if cut.violations:
            tell_violations(cut)
        return cut.info()

    async def restore_latest(self, component: str, state_type: type[StateT]) -> Restored[StateT] | None:
        """The newest good state of *component*; None when none was ever saved.

        Damaged saved checkpoints are passed over, loudly: with an event, and named in the result.  The journal
        behind the state is read and checked, to know what is lost, but not applied.

        Raises:
            CorruptError: there are saved checkpoints, and all of them are damaged.
            SchemaError: the state does not fit *state_type*; an older one is not tried.

        Trio checkpoint: always.
        Cancellation: passes through; nothing was changed.
        """
        return await _loading.restore_latest(self._writer, component, state_type)

    async def restore(self, checkpoint_id: str, component: str, state_type: type[StateT]) -> Restored[StateT]:
        """The state of *component* in that very checkpoint.

        Raises:
            StoreError: no such id, or the component is not in it; lists what there is.
            CorruptError: it is damaged.
            SchemaError: the state does not fit *state_type*.

        Trio checkpoint: always.
        Cancellation: passes through; nothing was changed.
        """
        return await _loading.restore(self._writer, checkpoint_id, component, state_type)

    async def newest_checkpoint(self) -> CheckpointInfo | None:
        """The newest saved checkpoint, for supervisors."""
        return await self._writer.read(
            lambda: self._ledger.info(cuts[max(cuts)]) if (cuts := self._ledger.cuts) else None
        )

    async def list_checkpoints(self, component: str | None = None) -> Sequence[CheckpointInfo]:
        """All saved checkpoints, or those with *component* in them, newest first.

        Raises:
            StoreError: the store knows no such component; lists those that it knows.

        Trio checkpoint: always.
        Cancellation: passes through.
        """

        def find() -> list[CheckpointInfo]:
            if component is not None:
                check_known(self._ledger, component)
            cuts = (self._ledger.cuts[number] for number in sorted(self._ledger.cuts, reverse=True))
            return [self._ledger.info(cut) for cut in cuts if component is None or component in cut.parts]

        return await self._writer.read(find)

    async def rewind(self, to: str | datetime, *, only: Sequence[str] = ()) -> CheckpointInfo:
        """Make an older saved checkpoint the newest one, and what was recorded after it was taken void.

        Records that were acknowledged before count also where a state was captured before them: they are applied to it.
        The later records stay in the journal, are never replayed, and their keys are free again.  Effects that are done
        stay done.  The components must not be running.

        A component that is not in that checkpoint, as nobody had made it by then, stays as it is.  Where it may have
        changed since, a warning and the event `RestoreIncomplete` name it: the others are from another moment than it.

        Args:
            to: An id, a label (its newest), or a datetime: the newest at or before it.
            only: Paths of the components to take from it, with all below them; the others stay as they are.

        Raises:
            StoreError: no such checkpoint or component; lists what there is.
            CorruptError: it is damaged.

        Trio checkpoint: always.
        Cancellation: seen before it is queued; then the true outcome is returned or raised.
        """
        if isinstance(only, str):
            raise TypeError(f"only= takes a sequence of paths, got the string {only!r}")

        def find() -> tuple[Cut, list[str], list[str]]:
            cut = find_cut(self._ledger, to)
            return cut, select_components(cut, only), [] if only else find_left_out(self._ledger, cut)

        cut, components, left_out = await self._writer.read(find)
        operation = Rewind(cut.number, components, current_mode(), utcnow(), self._code_version)
        rewound: Cut = await self._writer.write(operation)
        tell_spoilt_parts(self._writer)
        if left_out:
            tell_left_out(cut, left_out)
        return tell_saved(rewound.info())

    # ------------------------------------------------------------ the journal

    async def append(self, component: str, events: Sequence[Any]) -> int:
        """Add *events* to the journal of *component*, consecutively; the sequence of the last one.

        With no events it is the last sequence that there is.

        Raises:
            SchemaError: an event cannot be kept as it is; none was written.
            StoreError: nothing is acknowledged any more, or the disk is full.

        Trio checkpoint: always.
        Cancellation: seen before they are queued; then the true outcome is returned or raised.
        """
        from genesis_trio.persistence._coding import pack_event

        check_name("component", component)
        packed = [pack_event(event, None) for event in events]
        last: int = await self._writer.write(Append(component, packed, timestamp()))
        return last

    async def record(
        self,
        component: str,
        event: object,
        *,
        key: str | None,
        key_passes: bool = False,
        apply: Callable[[int], None],
    ) -> int:
        """Add *event* once, and have it applied in journal order: in one step, before anybody learns of it.

        With a *key* that is recorded already its sequence is returned, and *apply* is not called.  One that passes is written
        with the record and not looked for: whoever gave it remembers it, and finds it again in what `load` returns.  When
        *apply* raises, the event stays, and the error is raised here.  For supervisors; else as `append`.
        """
        from genesis_trio.persistence._coding import pack_event

        check_name("component", component)
        if key is not None:
            check_name("key", key)
            if not key_passes:
                await self._check_rows(component)
        packed = pack_event(event, key, key_passes=key_passes)
        operation = Append(component, [packed], timestamp(), apply)
        sequence: int = await self._writer.write(operation)
        return sequence

    def replay(
        self, component: str, event_type: Any, *, after: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[tuple[int, Any]]]:
        """Read the journal of *component* behind sequence *after*: an async iterator of (sequence, event).

        ::

            async with store.replay("desk/ledger", Fill | Rejection, after=41) as records:
                async for sequence, event in records:
                    ...

        It ends where the journal ended when the block was entered.  Records that a restore made void are left out.

        Args:
            event_type: The class of the events, or a union of classes.

        Raises:
            CorruptError: while iterating, where a record is damaged or missing; all before it were good.
            SchemaError: while iterating, an event fits none of the classes.
            StoreError: the records behind *after* were pruned.

        Trio checkpoint: on entering and on leaving, always; while iterating with every page, and after each millisecond.
        Cancellation: passes through, at the next Trio checkpoint; nothing was changed.
        """
        from genesis_trio.persistence._coding import event_candidates

        if isinstance(after, bool) or not isinstance(after, int):
            raise TypeError(f"after must be a sequence number, got {after!r}")
        if after < 0:
            raise ValueError(f"after must be at least 0, got {after}")
        return Replay(self._writer, component, event_candidates(event_type), after)

    # ------------------------------------------------------------ recovery for supervisors

    async def load(self, component: str, state_type: type[StateT], *, make: Callable[[], StateT]) -> Loaded[StateT]:
        """State and journal of *component*, as far as they are good: the part that is newest, the records behind it applied.

        ``state.apply(event)`` is called in the event loop, page by page, with a Trio checkpoint between pages.

        Raises:
            CorruptError: there are saved checkpoints, and all of them are damaged.
            SchemaError: state or event does not fit its class; an older state is not tried.
        """
        return await _loading.load(self._writer, component, state_type, make=make)

    def has_record(self, component: str, sequence: int) -> bool:
        """True if that record was written and counts: it may be gone, or void, after a restore or a damage."""
        head = self._ledger.heads.get(component)
        return head is not None and sequence <= head.last and not (head.lineage and is_void(head.lineage, sequence))

    # ------------------------------------------------------------ effects and control state

    async def begin_effect(self, component: str, key: str) -> Effect:
        """Write down that the effect *key* begins, unless it is known: NEW (the intent is durable), DONE, FAILED or UNKNOWN."""
        check_name("component", component)
        check_name("key", key)
        await self._check_rows(component)
        effect: Effect = await self._writer.write(BeginEffect(component, key))
        return effect

    async def end_effect(
        self, component: str, key: str, *, result: bytes | None = None, failure: tuple[str, str] | None = None
    ) -> None:
        """Write down how the effect ended: with an encoded result, or with a failure's type name and text."""
        operation = EndEffect.of(component, key, result, failure)
        await self._check_rows(component)
        await self._writer.write(operation)

    async def forget_effect(self, component: str, key: str) -> None:
        """Nothing was sent: the key is free again."""
        await self._check_rows(component)
        await self._writer.write(ForgetEffect(component, key))

    async def _check_rows(self, component: str) -> None:
        """Look through keys and effects at their first use, page by page, so that writers wait for a page at most."""
        if component in self._ledger.checked_rows:
            return
        async with self._checking:
            if component in self._ledger.checked_rows:
                return
            known = len(self._ledger.damage)
            pages = self._ledger.check_rows(component)
            while await self._writer.read(next, pages, self) is not self:
                pass
            tell_damage(self.url, self._ledger.damage[known:])

    def put_control(self, name: str, body: bytes | None) -> Receipt:
        """Queue a piece of the framework's own state at once; None removes it.

        Returns a receipt: ``await receipt.wait()`` waits until it is durable or raises, ``receipt.error`` says why it failed.
        """
        check_name("control name", name)
        return self._writer.submit(PutControl(name, body))

    async def read_control(self) -> Mapping[str, bytes]:
        """The framework's own state, as it is on disk."""
        return await self._writer.read(lambda: dict(sorted(self._ledger.control.items())))

    # ------------------------------------------------------------ housekeeping

    async def verify(self) -> VerifyReport:
        """Read everything there is, and name what is damaged or missing.  Writers wait between its steps only.

        Trio checkpoint: always.
        Cancellation: passes through; nothing was changed.
        """
        from genesis_trio.persistence._verify import steps

        problems: list[str] = []
        for step in steps(self._ledger, problems):
            await self._writer.read(step)
        return VerifyReport(ok=not problems, problems=tuple(dict.fromkeys(problems)))

    async def prune(self, *, keep: int = 10, journal: bool = False) -> int:
        """Remove old saved checkpoints; how many were removed.

        For each component the newest *keep* stay, and the newest whose bytes were found good now; labelled ones
        always stay.  One that any component needs stays whole, unless these are in none of the newest *keep*: one that is
        there for such former components alone keeps their parts, and not those of the others, whose records it would need.

        Args:
            journal: Also remove the records, with their keys, that every saved checkpoint kept of their component
                includes.  A key that is forgotten so can be recorded again; `shorten_journal` keeps the keys.

        Raises:
            ValueError: *keep* is less than 1.

        Trio checkpoint: always.
        Cancellation: seen between small commits; what was removed until then is removed.
        """
        check_at_least_one("keep", keep)
        from genesis_trio.persistence._removal import remove_cuts, remove_records

        removed = await remove_cuts(self._writer, keep)
        tell_spoilt_parts(self._writer)
        if journal:
            await remove_records(self._writer, self._check_rows, forgets_keys=True)
        return removed

    async def shorten_journal(self) -> int:
        """Remove the records that every saved checkpoint kept of their component includes; how many were removed.

        A saved checkpoint is restored from what it holds and the records after it, so no restore misses them; only
        `replay` from the beginning does.  The keys that `Context.record` was given stay: one that was recorded still
        returns its sequence.  Its default keys go with their records: a saved checkpoint has them beside its messages.
        Where no saved checkpoint of a component is good, or its keys are damaged, its journal stays as it is.

        Raises:
            StoreError: nothing is acknowledged any more.

        Trio checkpoint: always.
        Cancellation: seen between small commits; what was removed until then is removed.
        """
        from genesis_trio.persistence._removal import remove_records

        return await remove_records(self._writer, self._check_rows, forgets_keys=False)

    async def read_promise(self) -> Promise:
        """What survives what, from the settings as they are now; as a string it is one line.

        Trio checkpoint: always.
        Cancellation: passes through.
        """
        return await self._writer.read(self._ledger.engine.promise)

    async def accept_damage(self) -> None:
        """An operator has looked: what is missing counts as never written from now on, and is no longer reported."""
        for component in sorted(self._ledger.heads):
            await self._check_rows(component)
        await self._writer.write(Accept())
        self._ledger.damage.clear()

    def statistics(self) -> StoreStatistics:
        """Counters since the store was opened, and what is saved now."""
        return count(self._writer)
