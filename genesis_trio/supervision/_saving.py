"""The cut: every component's state and mailboxes at one scheduler step, saved.

A component whose state is whole is captured now; one in the middle of a message contributes its last
captured part and the messages since.  Between two Trio checkpoints nothing else runs, so the cut is consistent.
"""

import math
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import trio

from genesis_trio import events
from genesis_trio.errors import GenesisError, SchemaError
from genesis_trio.events import emit
from genesis_trio.persistence.policy import CheckpointPolicy
from genesis_trio.supervision._inbox import ProvedMessages, encode_inbox
from genesis_trio.supervision._left_nested import LeftNested

if TYPE_CHECKING:
    from genesis_trio.persistence.checkpoints import CheckpointInfo
    from genesis_trio.persistence.store import Part, Store
    from genesis_trio.supervision._captured import CapturedPart
    from genesis_trio.supervision._child_state import ChildState
    from genesis_trio.supervision._tree import ServiceTree
    from genesis_trio.supervision.child import Child

__all__ = ["Saver"]

JITTER = 0.2
LAST_PRUNING = 1.0  # seconds that a stop may take longer for it


class Saver:
    """Saves the tree: when asked, and by its policy."""

    def __init__(
        self, tree: "ServiceTree", store: "Store", policy: CheckpointPolicy, *, saved: Iterable[str] = ()
    ) -> None:
        self.policy = policy
        self.last: CheckpointInfo | None = None
        self.saved = 0
        self._tree = tree
        self._store = store
        self._lock = trio.Lock()
        self._wanted: str | None = None
        self._woken = trio.Event()
        self._pruned = 0  # what `saved` was when the last pruning that came to its end began
        self._has_old_records = False
        self._grown = trio.Event()
        self._bytes_at_last = 0
        #: By path, each child that has ended with its supervisor, until the next one of its path has a state.
        self._away: dict[str, ChildState] = {}
        #: By path, the last part that is durable, and so was proved readable: here, and not in each child, most of which save nothing.
        self._durable: dict[str, CapturedPart] = {}
        self._proved = ProvedMessages()
        self._left_nested = LeftNested(tree, saved)
        self._bytes_limit = math.inf if policy.bytes is None else policy.bytes

    def messages_limit(self, child: "ChildState") -> int | None:
        own = child.spec.checkpoint
        limits = [
            policy.messages for policy in (self.policy, own) if policy is not None and policy.messages is not None
        ]
        return min(limits, default=None)

    def request(self, reason: str) -> None:
        """Let the saver save soon."""
        if self._wanted is None:
            self._wanted = reason
            self._woken.set()

    def journal_grew(self) -> None:
        """Records were written; save once they are more bytes than the policy's or a child's own trigger."""
        if self._store.journal_bytes - self._bytes_at_last >= self._bytes_limit:
            self.request("bytes")

    async def serve(self) -> None:
        """Save by the policy, for ever."""
        while True:
            await self._wait_for_a_reason()
            reason = self._wanted or "periodic"
            self._wanted = None
            await self.save(reason)

    async def _wait_for_a_reason(self) -> None:
        """Until somebody asks for a save, or the period is over.

        It is shorter by up to a fifth, so that services that started together do not write together for ever.
        """
        began = trio.current_time()
        share = 1.0 - JITTER * self._tree.rng.random()
        while self._wanted is None:
            self._woken = trio.Event()
            with trio.move_on_at(began + share * self._period()) as over:
                await self._woken.wait()
            if over.cancelled_caught:
                break

    def child_added(self, child: "ChildState") -> None:
        """It may have a trigger of its own, shorter than the period that is being waited for."""
        if child.spec.checkpoint is not None:
            self._bytes_limit = min(self._bytes_limit, child.spec.checkpoint.bytes or math.inf)
            self._woken.set()

    def _period(self) -> float:
        """The shortest, of the tree's policy and the children's own ones."""
        own = (child.spec.checkpoint for child in self._tree.children.values() if child.spec.checkpoint is not None)
        return min(policy.every or math.inf for policy in (self.policy, *own))

    async def prune(self) -> None:
        """Remove what the policy does not keep, after each save, for ever; whoever saves does not wait for it."""
        while True:
            await self._grown.wait()
            self._grown = trio.Event()
            await self._prune()

    async def prune_rest(self) -> None:
        """The same once more, after the last save; for a second at most: what stays is removed after the next one."""
        if self._pruned < self.saved:
            with trio.move_on_after(LAST_PRUNING):
                await self._prune()

    async def _prune(self) -> None:
        saved = self.saved
        try:
            # Where none goes, the oldest is the same, and needs the same records as before.
            if await self._store.prune(keep=self.policy.keep):
                self._has_old_records = not self.policy.keep_journal
            if self._has_old_records:
                await self._store.shorten_journal()
                self._has_old_records = False
        except GenesisError as error:
            self._failed("prune", error)
        self._pruned = saved

    async def save_now(self, label: str | None) -> "CheckpointInfo":
        """Take a cut because somebody asked for it; what goes wrong is raised."""
        info = await self.save("manual", label=label, strict=True)
        assert info is not None  # strict
        return info

    async def save(self, reason: str, *, label: str | None = None, strict: bool = False) -> "CheckpointInfo | None":
        """Take a cut and return once it is durable.

        Args:
            strict: Raise what goes wrong.  Otherwise it is an event, and None is returned: what was saved before stands.
        """
        try:
            async with self._lock:
                before = trio.current_time()
                parts, captured, carried = self._cut(reason, strict=strict)
                stall = trio.current_time() - before
                self._bytes_at_last = self._store.journal_bytes
                mode = self._tree.scope.mode

                async def commit() -> "CheckpointInfo":
                    return await self._store.commit_cut(
                        parts, reason=reason, label=label, mode=mode, stall=stall, carried=carried
                    )

                try:
                    info = await commit()
                except SchemaError as error:
                    if strict:
                        raise
                    info = await self._commit_the_rest(commit, error, reason, parts, captured, carried)
                for child, part in captured:
                    self._durable[child.path] = part
                    child.covered(part)
                if self._tree.control is not None:
                    self._tree.control.put_breakers()
        except GenesisError as error:
            if strict:
                raise
            self._failed(reason, error)
            return None
        self.last = info
        self.saved += 1
        self._grown.set()
        if self._tree.hooks:
            emit(
                self._tree,
                events.CheckpointSaved,
                checkpoint=info.id,
                reason=reason,
                label=label or "",
                components=len(info.components),
                size=info.size,
                stall=stall,
            )
        return info

    def _cut(
        self, reason: str, *, strict: bool
    ) -> "tuple[list[Part], list[tuple[Child, CapturedPart]], dict[str, int]]":
        """What is to be saved, whose it is of those that are there, and who has not started, with its last acknowledged record."""

        def left_out(error: SchemaError, is_news: bool = True) -> None:
            if strict:
                raise error
            if is_news:
                self._failed(reason, error)  # the others are saved

        self._proved.begin_cut()
        parts: list[Part] = []
        captured: list[tuple[Child, CapturedPart]] = []
        carried: dict[str, int] = {}
        for child in self._tree.children.values():
            if not child.is_saved:
                continue
            incarnation = child.incarnation
            if incarnation is not None and incarnation.trial_part is not None:
                assert child.recovery is not None
                child.recovery.look(incarnation)
            if incarnation is not None and incarnation.component is not None and child.part is not None:
                if incarnation.is_whole():
                    try:
                        incarnation.capture()
                    except SchemaError as error:
                        left_out(error)  # its last good part stands in for it
                else:
                    child.capture_wanted = True
            part = child.part
            if part is None:
                # Its first incarnation has not got its state yet: what the store has is the newest.
                carried[child.path] = self._store.acknowledged(child.path)
                continue
            self._away.pop(child.path, None)
            parts.append(self._part_of(child, part, left_out))
            captured.append((child, part))
        parts += [self._part_of(child, child.part, left_out) for child in self._away.values() if child.part is not None]
        for path in self._left_nested.still_to_come():
            carried[path] = self._store.acknowledged(path)
        for path in self._away:
            carried.pop(path, None)
        self._proved.end_cut()
        return parts, captured, carried

    async def _commit_the_rest(
        self,
        commit: "Callable[[], Awaitable[CheckpointInfo]]",
        error: SchemaError,
        reason: str,
        parts: "list[Part]",
        captured: "list[tuple[Child, CapturedPart]]",
        carried: dict[str, int],
    ) -> "CheckpointInfo":
        """A part could not be read back: its last durable one stands in for it, of this process or of one before, or none.

        What could not even be encoded was stood in for when the cut was taken; this shows only when it is proved.
        """
        while self._stand_in(error, parts, captured, carried) and (parts or carried):
            self._failed(reason, error)
            try:
                return await commit()
            except SchemaError as another:
                error = another
        raise error

    def _stand_in(
        self,
        error: SchemaError,
        parts: "list[Part]",
        captured: "list[tuple[Child, CapturedPart]]",
        carried: dict[str, int],
    ) -> bool:
        bad = next((part for part in parts if part.component == error.component), None)
        if bad is None:
            return False
        parts.remove(bad)
        running = next((child for child, _ in captured if child.path == bad.component), None)
        captured[:] = [pair for pair in captured if pair[0] is not running]
        child = running or self._away.get(bad.component)
        good = self._durable.get(bad.component)
        if child is None or good is None or good.body is bad.body:
            carried[bad.component] = bad.acknowledged
            return True
        if child.part is not None and child.part.body is bad.body:
            child.part = good
        parts.append(self._part_of(child, good, lambda *_: None))
        if running is not None:
            captured.append((running, good))
        return True

    def _part_of(
        self, child: "ChildState", part: "CapturedPart", left_out: Callable[[SchemaError, bool], None]
    ) -> "Part":
        from genesis_trio.persistence.store import Part

        assert child.spec.state_type is not None
        return Part(
            child.path,
            part.body,
            child.spec.state_type,
            part.journal,
            encode_inbox(
                child.mailboxes.values(),
                part.positions,
                child.unopened,
                self._tree.recorded.get(child.path),
                self._proved,
                left_out,
            ),
            self._store.acknowledged(child.path),
        )

    def child_goes(self, child: "ChildState") -> None:
        """Its supervisor has stopped, and may come back with its host: until then it stays in each cut, with what waits for it.

        Otherwise whoever restores such a cut would find it in a state from after the others, without what they have sent it.
        """
        if child.is_saved and child.part is not None:
            self._away[child.path] = child

    def _failed(self, reason: str, error: BaseException) -> None:
        if self._tree.hooks:
            emit(self._tree, events.CheckpointFailed, reason=reason, error=error)
