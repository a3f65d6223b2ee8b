"""The tree of scopes: where causes are held, and what is in effect."""

import contextvars
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import trio

from genesis_trio import events
from genesis_trio._empty import EMPTY, EMPTY_LIST
from genesis_trio._members import no_member
from genesis_trio._runtime import Run, Tree, current_run
from genesis_trio.errors import ModeRefusedError
from genesis_trio.events import emit
from genesis_trio.modes._causes import LatchLog, ModeCause, check_cause, check_operator
from genesis_trio.modes._entry import EntryAction, check_entry_action, name_of, spawn_system_task
from genesis_trio.modes._holding import Hold, in_words, loosen_latched, take
from genesis_trio.modes._news import News, Resident
from genesis_trio.modes._values import ALL, Capability, Mode, combine, names
from genesis_trio.modes._waiting import Changes, cancelled_when, wait_for

__all__ = ["ModeScope"]

Spawner = Callable[[Callable[[], Awaitable[None]], "ModeScope", str], None]


class ModeScope:
    """One place in the tree of modes: a supervisor's, a child's, or one made with `mode_scope`."""

    __slots__ = (
        "__weakref__",
        "_below",
        "_entry_actions",
        "_epoch",
        "_holds",
        "_mode",
        "_news",
        "_watchers",
        "latch_log",
        "mask",
        "name",
        "owner",
        "parent",
        "path",
        "resident",
        "spawner",
        "tree",
    )

    def __init__(self, name: str, parent: "ModeScope | None", tree: Tree) -> None:
        self.name = name
        self.parent = parent
        self.tree = tree
        self.path: str = name if parent is None or parent.parent is None else f"{parent.path}/{name}"
        #: The path of the component around this scope: who holds, unless a name is given.  None where there is none.
        self.owner: str | None = parent.owner if parent is not None else None
        self.latch_log: LatchLog | None = parent.latch_log if parent is not None else None
        #: Starts a task beside the children, which the supervisor waits for; None where there is no supervisor.
        self.spawner: Spawner | None = parent.spawner if parent is not None else None
        self.resident: Resident | None = None  # a child, which so needs no function and no dict to be told
        # Most have none of these.  Lists and dicts, not sets: a cascade must run in the same order for the same seed.
        self._holds: dict[tuple[str, str], Hold] = EMPTY
        self._entry_actions: dict[tuple[Mode, str, str], EntryAction] = EMPTY
        self._below: list[ModeScope] = EMPTY_LIST
        self._watchers: dict[object, Callable[[Mode], None]] = EMPTY
        self._epoch = 0
        self._news: News = parent._news if parent is not None else News()
        self._mode: Mode = parent._mode if parent is not None else Mode.NORMAL
        #: The effective capabilities as plain bits; hot paths test ``needs & ~scope.mask``.
        self.mask: int = parent.mask if parent is not None else ALL.value
        if parent is not None:
            parent._below = parent._below or []
            parent._below.append(self)
        if self.latch_log is not None:
            self.latch_log.restore(self)

    def __repr__(self) -> str:
        return f"<ModeScope {self.path!r} {self._mode.name}>"

    # ------------------------------------------------------------ reading

    @property
    def mode(self) -> Mode:
        """The effective mode: the worst of the causes here and above."""
        return self._mode

    @property
    def capabilities(self) -> Capability:
        """What may be done here: the intersection over the causes here and above."""
        return Capability(self.mask)

    @property
    def causes(self) -> tuple[ModeCause, ...]:
        """The causes held on this very scope, oldest first."""
        return tuple(hold.cause for hold in self._holds.values())

    @property
    def epoch(self) -> int:
        """A number that grows with every effective change, so that a reader knows whether it missed one."""
        return self._epoch

    def allows(self, needs: Capability) -> bool:
        """True if everything in *needs* may be done now.

        Trio checkpoint: never.
        """
        try:
            return not needs._bits & ~self.mask
        except AttributeError:
            raise no_member("needs", needs, Capability) from None

    def require(self, needs: Capability) -> None:
        """Return if everything in *needs* may be done now.

        Call it after the last await before the action: an await is where the mode may change.

        Raises:
            ModeRefusedError: it may not; the message names the cause, its owner and how it clears.

        Trio checkpoint: never.
        """
        try:
            refused = needs._bits & ~self.mask
        except AttributeError:
            raise no_member("needs", needs, Capability) from None
        if refused:
            raise self._refusal(needs)

    def _refusal(self, needs: Capability) -> ModeRefusedError:
        refused = Capability(needs.value & ~self.mask)
        words = "; ".join(in_words(hold) for hold in self.refusing(refused.value))
        return ModeRefusedError(
            f"{self.path!r} is in mode {self._mode.name}, which does not allow {names(refused)}: {words}",
            mode=self._mode,
            needs=needs,
        )

    def refusing(self, bits: int) -> list[Hold]:
        """The causes, here and above, that take away some of the capabilities in *bits*."""
        return [hold for scope in self._upwards() for hold in scope._holds.values() if bits & ~hold._mask]

    def why(self) -> str:
        """The effective mode in words: every cause here and above, whose it is and how it clears."""
        lines = [f"{self.path!r} is in mode {self._mode.name} and allows {names(self.capabilities)}"]
        lines += [f"  {in_words(hold)}" for scope in self._upwards() for hold in scope._holds.values()]
        if len(lines) == 1:
            lines[0] += "; no cause is held"
        return "\n".join(lines)

    def _upwards(self) -> Iterator["ModeScope"]:
        scope: ModeScope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def walk(self) -> Iterator["ModeScope"]:
        """This scope and all below, parents first, in the order in which they were made."""
        waiting: list[ModeScope] = [self]
        while waiting:
            scope = waiting.pop()
            yield scope
            waiting.extend(reversed(scope._below))

    # ------------------------------------------------------------ causes

    @trio.lowlevel.enable_ki_protection  # one step, also for Ctrl-C
    def hold(
        self,
        mode: Mode,
        *,
        owner: str | None = None,
        reason: str,
        capabilities: Capability | None = None,
        latched: bool = False,
        expires: float | None = None,
        clears_when: Callable[[], bool] | None = None,
    ) -> Hold:
        """Hold *mode* here and on everything below, until it is cleared.

        It takes effect before this returns, in the same scheduler step.  Holding what
        the same owner holds for the same reason already returns the same handle at the newer level: so
        a new incarnation of a component takes over what its predecessor held.

        Args:
            mode: The mode to hold.  NORMAL is useful together with *capabilities*.
            owner: Who holds it; None is the component that calls, or else this scope.
            reason: Why, in words.
            capabilities: What is left; None is what the mode leaves.  It can only take away.
            latched: Survive the process, and the normal end of the owner.
            expires: Seconds after which it clears by itself; None is never.
            clears_when: A function asked ten times a second; the cause clears when it returns true.  If it
                raises, that is logged once and the cause stays.

        Raises:
            RuntimeError: it is called from outside of the scope's ``trio.run``, as from a thread; nothing is held.

        Trio checkpoint: never.
        """
        check_cause(mode, owner, reason, capabilities, latched=latched, expires=expires, clears_when=clears_when)
        run = self.own_run()
        owner = self._caller() if owner is None else owner
        now = run.utcnow()
        held = self._hold_of(owner, reason)
        cause = ModeCause(
            scope=self.path,
            owner=owner,
            reason=reason,
            mode=mode,
            since=held.since if held is not None else now,
            latched=latched,
            expires=run.wall_time(trio.current_time() + expires) if expires is not None else None,
            capabilities=capabilities,
        )
        due = trio.current_time() + expires if expires is not None else math.inf
        if held is not None and held.latched and self.latch_log is not None and held.is_loosened_by(cause):
            return loosen_latched(self, held, cause, due, clears_when)
        if latched and self.latch_log is not None:
            self.latch_log.held(cause)  # before anybody is told, who might release it
        return take(self, cause, due, clears_when)

    def own_run(self) -> Run:
        """The ``trio.run`` that this scope belongs to, which is the current one.

        Raises:
            RuntimeError: it is not: whoever is told of a change would be woken from a foreign thread.
        """
        *_, root = self._upwards()
        if not trio.lowlevel.in_trio_run() or current_run().tree is not root.tree:
            raise RuntimeError(
                f"{self!r} was to be changed from outside of its trio.run, which may only be done in it; from a thread use "
                f"trio.from_thread.run_sync(...)"
            )
        return current_run()

    def _caller(self) -> str:
        """Who calls: a component's path, or a scope's where there is no component."""
        caller = _SCOPE.get(None)
        if caller is None or caller.parent is None:
            return self.path
        return caller.owner or caller.path

    def restore(self, cause: ModeCause) -> None:
        """Put a latched cause into effect that comes back from disk."""
        due = math.inf
        if cause.expires is not None:
            due = trio.current_time() + (cause.expires - current_run().utcnow()).total_seconds()
        take(self, cause, due, None)

    def clear(self, owner: str, reason: str, *, by: str) -> None:
        """Clear one cause that is held here, as an operator named *by*.

        Raises:
            LookupError: no such cause is held here; the message lists those that are.
            ValueError: *by* is empty.

        Trio checkpoint: never.
        """
        check_operator(by)
        hold = self._hold_of(owner, reason)
        if hold is None:
            held = "; ".join(f"{cause.owner!r}: {cause.reason!r}" for cause in self.causes) or "none"
            raise LookupError(
                f"no cause of {owner!r} with the reason {reason!r} is held on {self.path!r}; held are: {held}"
            )
        hold.cleared(by)

    @trio.lowlevel.enable_ki_protection  # one step, also for Ctrl-C
    def clear_owned(self, owner: str, by: str) -> None:
        """Clear what *owner*, and what it supervised, holds here, above and below, but for latched causes.

        It ended well or was stopped by hand.
        """
        for hold in self._news.owned.within(owner):
            is_here = hold._scope._is_within(self) or self._is_within(hold._scope)
            if is_here and not hold.latched:
                hold.cleared(by)

    async def settled(self) -> None:
        """Wait until the latched causes that were held or released so far are on disk.

        Returns at once when there is no store.

        Raises:
            StoreError: something could not be written.  What was tightened is in effect all the same, what was to be
                loosened is held still.

        Trio checkpoint: always.
        Cancellation: passes; the writing goes on.
        """
        await trio.lowlevel.checkpoint()
        if self.latch_log is not None:
            await self.latch_log.settled()

    # ------------------------------------------------------------ what is held, by `Hold`

    def _is_within(self, scope: object) -> bool:
        """True if *scope* is this one, or above it."""
        return any(each is scope for each in self._upwards())

    def _hold_of(self, owner: str, reason: str) -> Hold | None:
        """What *owner* holds here for *reason*."""
        return self._holds.get((owner, reason))

    def _add(self, hold: Hold) -> None:
        """*hold* is held here from now on; `_cascade` puts that into effect."""
        self._holds = self._holds or {}
        self._holds[hold.owner, hold.reason] = hold
        self._news.owned.add(hold)

    def _remove(self, hold: Hold) -> None:
        """*hold* is held here no more; `_cascade` puts that into effect."""
        del self._holds[hold.owner, hold.reason]
        self._news.owned.remove(hold)

    def _cascade(self) -> None:
        """Push the effective mode and mask down.  First everything changes, then everybody is told: no reader sees half."""
        news = self._news
        waiting: list[ModeScope] = [self]
        while waiting:
            scope = waiting.pop()
            mode = scope.parent._mode if scope.parent is not None else Mode.NORMAL
            mask = scope.parent.mask if scope.parent is not None else ALL.value
            if scope._holds:
                mode, mask = combine(mode, mask, ((hold.mode, hold._mask) for hold in scope._holds.values()))
            if mode is not scope._mode or mask != scope.mask:
                if mode is not scope._mode or scope.resident is not None:
                    news.untold.extend((scope, scope._mode, mode))
                    scope._mode = mode
                scope.mask = mask
                scope._epoch += 1
                waiting.extend(reversed(scope._below))
        news.tell()

    def _tell(self, before: Mode, mode: Mode) -> None:
        if self.resident is not None:
            self.resident.mode_changed(mode)
            if before is mode:
                return
        if self._watchers:
            for watcher in list(self._watchers.values()):
                watcher(mode)
        if self.tree.hooks:
            emit(
                self.tree,
                events.ModeRaised if mode > before else events.ModeLowered,
                scope=self.path,
                before=before.name,
                mode=mode.name,
            )

    def detach(self) -> None:
        """Leave the tree: what is above no longer reaches this scope, whose members are gone."""
        self.resident = None
        if self.parent is not None and self in self.parent._below:
            self.parent._below.remove(self)
        for scope in self.walk():
            for hold in scope._holds.values():
                self._news.owned.remove(hold)  # kept no longer than the scope itself
        for action in list(self._entry_actions.values()):
            action.remove()

    def is_latched(self, mode: Mode) -> bool:
        """True if a cause that survives the process demands *mode* or worse here."""
        return any(hold.latched and hold.mode >= mode for scope in self._upwards() for hold in scope._holds.values())

    # ------------------------------------------------------------ reacting

    @trio.lowlevel.enable_ki_protection  # one step, also for Ctrl-C
    def on_enter(
        self,
        mode: Mode,
        fn: Callable[..., Awaitable[object]],
        *args: Any,
        timeout: float = 10.0,
        latch_timeout: float = 1.0,
        name: str | None = None,
    ) -> EntryAction:
        """Run ``fn(*args)`` once each time this scope enters *mode* or a worse one from below it.

        It runs in a task of its own, which neither the component that registered it nor a cancellation of the tree
        ends: only its own end, or *timeout*.  So give it a connection of its own; children are stopped while it runs.
        If a latched cause led here, the run waits until that is on disk, at most *latch_timeout*, and then begins
        all the same, with an error event.  Runs of one action never overlap: entries during a run lead to
        one more run after it.

        Registered while the mode is in effect it runs at once, unless it was begun since the mode was entered, in this
        process or (for a latched cause) in an earlier one.  The same owner registering the same name again
        replaces the function: so a new incarnation takes over what its predecessor registered.

        Args:
            mode: SAFE or EMERGENCY.
            fn: An async function.  If it raises, that is logged and is an event, and it is not run again.
            args: What it is called with.
            timeout: Seconds after which a run is cancelled.
            latch_timeout: Seconds to wait for the disk.
            name: What it is known by, to events and after a restart; None: the function's own name.

        Trio checkpoint: never.
        """
        check_entry_action(mode, fn, timeout, latch_timeout)
        key = (mode, self._caller(), name if name is not None else name_of(fn))
        action = self._entry_actions.get(key)
        if action is not None:
            action.set(fn, args, timeout=timeout, latch_timeout=latch_timeout)
            return action
        self._entry_actions = self._entry_actions or {}
        action = self._entry_actions[key] = EntryAction(self, mode, owner=key[1], name=key[2])
        action.set(fn, args, timeout=timeout, latch_timeout=latch_timeout)
        action.register()
        return action

    def spawn_entry(self, fn: Callable[[], Awaitable[None]], name: str) -> None:
        """Start the task of an entry action, in the context of this scope."""
        if self.spawner is not None:
            self.spawner(fn, self, name)
        else:
            context = contextvars.copy_context()
            context.run(_SCOPE.set, self)
            spawn_system_task(self.tree, context, fn, name)

    def _forget_entry(self, action: EntryAction) -> None:
        """*action* was removed."""
        self._entry_actions.pop((action.mode, action.owner, action.name), None)

    def watch(self, watcher: Callable[[Mode], None]) -> Callable[[], None]:
        """Call *watcher* in the step of every change of the mode; what is returned ends that."""
        key = object()
        self._watchers = self._watchers or {}
        self._watchers[key] = watcher

        def unwatch() -> None:
            self._watchers.pop(key, None)

        return unwatch

    async def wait_for(self, predicate: Callable[[Mode], bool]) -> Mode:
        """Wait until ``predicate(mode)`` is true, and return the mode for which it was.

        It is judged now and in the step of each change, so a mode that was left again before the
        waiter ran is not missed.

        Trio checkpoint: always.
        Cancellation: passes; nothing is left behind.
        """
        return await wait_for(self, predicate)

    def changes(self) -> AsyncIterator[Mode]:
        """Iterate over every change of the effective mode from this call on, in order; none is missed.

        Trio checkpoint: always, at each item.
        Cancellation: passes; the item that was not handed out comes next.
        """
        return Changes(self)

    def cancel_when(self, mode: Mode) -> AbstractContextManager[trio.CancelScope]:
        """Cancel the block as soon as the mode is *mode* or worse; entered so, it is cancelled at once.

        ``scope.cancelled_caught`` says afterwards whether that happened.

        Trio checkpoint: never by itself.
        """
        return cancelled_when(self, mode)


#: The scope of the current task; the supervisor sets it in each child's context.
_SCOPE: contextvars.ContextVar[ModeScope] = contextvars.ContextVar("genesis_trio.scope")
