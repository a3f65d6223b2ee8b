"""From which state the next run of a saved child starts, and what its end says about that state.

`_ladder` decides; this is where it meets the store, the mailboxes and the mode.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import trio

from genesis_trio import events
from genesis_trio.events import emit
from genesis_trio.modes import Hold, Mode
from genesis_trio.persistence import codec, rungs
from genesis_trio.persistence._envelope import digest_part
from genesis_trio.persistence.checkpoints import Loaded
from genesis_trio.supervision._exits import Exit, How, name_crash
from genesis_trio.supervision._first_state import make_first_state
from genesis_trio.supervision._inbox import SavedMailbox, decode_inbox, merge_inboxes
from genesis_trio.supervision._ladder import Case, Ladder, Recovery, Rung, refusal

if TYPE_CHECKING:
    from genesis_trio.persistence.store import Store
    from genesis_trio.supervision._child_state import ChildState
    from genesis_trio.supervision._incarnation import Incarnation

__all__ = ["Start", "StateRecovery", "digest_state"]


def digest_state(body: bytes) -> str:
    """The digest of an encoded state, as the store knows it by."""
    return digest_part(body).hex()


@attrs.frozen
class Start:
    """A state to start from in place of the newest one."""

    loaded: Loaded[Any]
    inbox: dict[str, SavedMailbox]
    rung: Rung


class StateRecovery:
    """The recovery ladder of one child, across its runs and across processes.

    Attributes:
        words: Why the last descent helped nobody, and what to do; empty if there was none, or it did.
    """

    __slots__ = ("_child", "_has_lived", "_hold", "_ladder", "_store", "words")

    def __init__(self, child: "ChildState", store: "Store") -> None:
        self._child = child
        self._store = store
        self._ladder = Ladder()
        self._hold: Hold | None = None
        self._has_lived = False
        self.words = ""
        control = child.tree.control
        saved = control.take_ladder(child.path) if control is not None else None
        # Another code may live where this one died.
        if saved is not None and saved.get("code") == store.code_version:
            self._restore(saved)

    def _restore(self, saved: dict[str, Any]) -> None:
        try:
            self._ladder.restore(saved)
            self.words = str(saved["words"])
        except (KeyError, TypeError, ValueError) as error:
            if self._child.tree.hooks:
                emit(self._child.tree, events.ControlNotRestored, entry=f"ladder/{self._child.path}", error=error)

    def _keep(self) -> None:
        control = self._child.tree.control
        if control is not None:
            fields = self._ladder.as_json()
            if fields is not None:
                fields.update(code=self._store.code_version, words=self.words)
            control.put_ladder(self._child.path, fields)

    # ------------------------------------------------------------ where to start

    async def choose(self, newest: Loaded[Any] | None) -> Start | None:
        """The state to start from in place of *newest*, which is None where it cannot even be replayed; None: the newest.

        Trio checkpoint: if there are suspects, always; otherwise never.
        Cancellation: passes through; nothing was changed.
        """
        ladder, child = self._ladder, self._child
        if not ladder.suspects:
            return None
        saved = await rungs.list_states(self._store, child.path)
        if newest is not None:
            name = newest.info.id if newest.info is not None else ""
            state = self._digest(newest)
            if not ladder.is_suspect(checkpoint=name, states=[state, saved.get(name, "")]):
                ladder.lived()  # another one was saved, or restored by hand: it is not for this one to convict them
                self._keep()
                return None
            ladder.know(state)
            self._keep()
        refused: list[str] = []
        candidates = [name for name, state in saved.items() if not ladder.is_suspect(checkpoint=name, states=[state])]
        if child.spec.recovery is Recovery.COLD:
            candidates += ["", "first"]
        beside = await rungs.read_newest(self._store, child.path)
        for candidate in candidates:
            found = await self._consider(candidate, beside, refused)
            if found is not None:
                self._tell_start(found)
                return found
        self._give_up(refused)
        return None

    async def _consider(self, candidate: str, newest: rungs.Newest, refused: list[str]) -> Start | None:
        child = self._child
        name = candidate or "the journal from its beginning"
        state_type: Any = child.spec.state_type
        make = partial(make_first_state, state_type)
        try:
            if candidate == "first":
                loaded = await rungs.load_first(self._store, child.path, make=make)
            else:
                loaded = await rungs.load_from(self._store, child.path, state_type, candidate, make=make)
            inbox, gone = merge_inboxes(decode_inbox(loaded.inbox), decode_inbox(newest.inbox))
            digest = self._digest(loaded)
        except Exception as error:
            refused.append(f"{name}: {type(error).__name__}: {error}")
            return None
        if self._ladder.is_suspect(states=[digest]):
            return None
        includes = 0 if loaded.info is None else loaded.info.journal[child.path]
        rung = Rung(
            checkpoint=loaded.info.id if loaded.info is not None else "",
            lost=loaded.lost,
            gone=gone,
            records=max(0, newest.journal - includes),
        )
        refusing = refusal(rung, child.spec.recovery)
        if refusing is not None:
            refused.append(f"{name}: {refusing}")
            return None
        return Start(loaded, inbox, rung)

    def _digest(self, loaded: Loaded[Any]) -> str:
        state_type = self._child.spec.state_type
        assert state_type is not None
        return digest_state(codec.encode(loaded.state, state_type))

    def _tell_start(self, start: Start) -> None:
        child, rung = self._child, start.rung
        child.start_otherwise()
        self.words = ""
        if child.tree.hooks:
            emit(
                child.tree,
                events.RecoveryFellBack,
                component=child.path,
                checkpoint=rung.checkpoint,
                damaged="; ".join(str(suspect) for suspect in self._ladder.suspects),
                lost=-1 if rung.lost is None else rung.lost,
            )
        if not rung.is_whole:
            reason = (
                f"{child.path} came back older than it was, from {rung.checkpoint or 'a first state'}: {rung}; "
                f"compare it with the outside, then clear this"
            )
            self._hold = child.supervisor.scope.hold(Mode.SAFE, owner="store", reason=reason)

    def _give_up(self, refused: Sequence[str]) -> None:
        """No state is left: go on with the newest, and leave the rest to its budget."""
        tried = self._ladder.acquit()
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.release()
        self.words = _words(self._child.path, tried, refused)
        self._keep()
        if self._child.tree.hooks:
            emit(self._child.tree, events.RecoveryEnded, component=self._child.path, reason=self.words)

    # ------------------------------------------------------------ what a run says about its state

    def ended(self, incarnation: "Incarnation", end: Exit) -> None:
        """Judge the end of a run."""
        name = None
        if end.how is How.CRASHED and end.error is not None:
            name = incarnation.hang or name_crash(end.error)
        is_alike = name is not None and self._ladder.is_alike(name)
        if end.how in (How.RETURNED, How.DONE) or (self.has_lived(incarnation) and not is_alike):
            self.lived(incarnation)
            return
        if name is None or self._child.spec.recovery is Recovery.NEWEST:
            return
        assert end.error is not None
        life = trio.current_time() - incarnation.started_at
        if self._ladder.crashed(name, incarnation.origin, life):
            self._ladder.step_down()
        self._keep()
        if self.words:
            end.error.add_note(self.words)

    def has_lived(self, incarnation: "Incarnation") -> bool:
        """True if its state let it get further than the suspects."""
        if not self._ladder.suspects:
            return incarnation.took_message
        now = trio.current_time()
        is_further = incarnation.took_message and now - incarnation.started_at >= self._ladder.longest_life
        return is_further or now >= self._due(incarnation)

    def _due(self, incarnation: "Incarnation") -> float:
        """When it has lived even if nobody sends it a message."""
        died_by = incarnation.started_at + self._ladder.longest_life
        return max(incarnation.ready_at, died_by) + self._child.supervisor.recover_after

    def look(self, incarnation: "Incarnation") -> None:
        """A cut is taken: see whether *incarnation*, which is on trial, has lived."""
        if self.has_lived(incarnation):
            self.lived(incarnation)

    async def prove(self, incarnation: "Incarnation") -> None:
        """Wait until *incarnation*, which is ready, has lived without a message."""
        await trio.sleep_until(self._due(incarnation))
        if self._child.incarnation is incarnation and not incarnation.stopping:
            self.lived(incarnation)

    def lived(self, incarnation: "Incarnation") -> None:
        """The state of *incarnation* is good: from now on it is the one that is saved."""
        part, incarnation.trial_part = incarnation.trial_part, None
        if part is not None:
            self._child.part = part
            self._child.ask_for_save("restore")
        if self._ladder.suspects:
            self._has_lived = True
        elif self._ladder.lived() is not None:
            self.words = ""
            self._keep()

    def saved(self, body: bytes) -> None:
        """A state is durable.  Once it is one that has lived, those that it stood in for are put into quarantine.

        Not before: until then nothing but theirs is on disk, with the messages that wait.
        """
        ladder, child = self._ladder, self._child
        if not self._has_lived or ladder.is_suspect(states=[digest_state(body)]):
            return
        self._has_lived = False
        self._hold = None  # stays held, until the operator clears it
        convicted = ladder.lived() or ()
        rungs.put_verdicts(self._store, child.path, [_verdict(suspect) for suspect in convicted])
        self._keep()
        if child.tree.hooks:
            for suspect in convicted:
                names = ", ".join(suspect.checkpoints)
                emit(
                    child.tree,
                    events.CheckpointQuarantined,
                    component=child.path,
                    checkpoint=names,
                    reason=str(suspect),
                )


def _verdict(suspect: Case) -> rungs.Verdict:
    return rungs.Verdict(
        suspect.states, tuple(int(name.removeprefix("cp-")) for name in suspect.checkpoints), str(suspect)
    )


def _words(path: str, tried: Sequence[Case], refused: Sequence[str]) -> str:
    first, *others = tried
    words = f"{first}."
    if others:
        names = ", ".join(other.checkpoints[-1] if other.checkpoints else "a first state" for other in others)
        words += f" It did not live from {names} either, so no single saved state is the cause: look at the code, and at what it talks to."
    if refused:
        words += f" Not tried: {'; '.join(refused)}."
    if not others and not refused:
        words += " There is no other saved state to try: look at the code, and at what it talks to."
    if refused:
        words += (
            f" To start from one of them: `genesis checkpoints restore STORE ID --only {path}` while the service is down, or "
            f"ChildSpec(recovery=Recovery.OLDER), Recovery.COLD for a first state."
        )
    return words
