"""Entry actions: what is done once when a mode is entered, such as to flatten every position.

An action is irreversible, so it is not made lightly, and not twice::

    mode entered ──► note "begun" ──► latched causes on disk? ──► run ──► note "done"
                     (same step)      at most latch_timeout       at most timeout

The notes survive the process together with the latched cause that led here.  So a cause that comes back from
disk runs nothing again: an action that was done stays done, and of one that was begun and never ended
nobody knows what it did, which is said and left to a human.
"""

import contextvars
import inspect
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio

from genesis_trio import events
from genesis_trio._members import check_member
from genesis_trio._runtime import _TREE, Tree
from genesis_trio.errors import StoreError
from genesis_trio.events import Event, emit
from genesis_trio.modes._causes import LatchLog
from genesis_trio.modes._values import Mode, number
from genesis_trio.modes._waiting import Watchable

__all__ = ["BEGUN", "DONE", "Enterable", "EntryAction", "check_entry_action", "name_of"]

logger = logging.getLogger("genesis_trio")

BEGUN, DONE = "begun", "done"


class Enterable(Watchable, Protocol):
    """A scope, as far as its entry actions know it."""

    @property
    def tree(self) -> Tree: ...

    @property
    def latch_log(self) -> LatchLog | None: ...

    def is_latched(self, mode: Mode) -> bool:
        """True if a cause that survives the process demands *mode* or worse here."""
        ...

    def spawn_entry(self, fn: Callable[[], Awaitable[None]], name: str) -> None:
        """Start the task of an entry action, in the context of this scope."""

    def _forget_entry(self, action: "EntryAction") -> None:
        """*action* was removed."""


class EntryAction:
    """What `ModeScope.on_enter` returns: one action of one owner for one mode.

    Attributes:
        scope: Path of the scope.
        owner: Who registered it.
        name: What events call it.
        mode: Entering this mode, or a worse one from below it, runs the action.
        runs: How often it has begun.
    """

    def __init__(self, scope: Enterable, mode: Mode, *, owner: str, name: str) -> None:
        self._scope = scope
        self.scope: str = scope.path
        self.owner = owner
        self.name = name
        self.mode = mode
        self.runs: int = 0
        self._fn: Callable[..., Awaitable[object]]
        self._args: tuple[Any, ...] = ()
        self._timeout = self._latch_timeout = math.inf
        self._is_inside = False  # the mode is in effect
        self._wanted = False  # an entry waits for its run
        self._running = False
        self._unwatch: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<EntryAction {self.name!r} of {self.owner!r} on {self.mode.name} of {self.scope!r}>"

    @property
    def is_running(self) -> bool:
        """True from the entry until its run has ended."""
        return self._running

    def remove(self) -> None:
        """Run it at no later entry; a run that has begun ends by itself.  Again has no effect.

        Trio checkpoint: never.
        """
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
            self._wanted = False
            self._scope._forget_entry(self)

    # ------------------------------------------------------------ by the scope

    def set(
        self, fn: Callable[..., Awaitable[object]], args: tuple[Any, ...], *, timeout: float, latch_timeout: float
    ) -> None:
        """What the next run does; one that has begun goes on as it is."""
        self._fn, self._args = fn, args
        self._timeout, self._latch_timeout = timeout, latch_timeout

    def register(self) -> None:
        """Wait for entries from now on; a mode that is in effect counts as entered unless a note says that it was."""
        self._unwatch = self._scope.watch(self._judge)
        if self._scope.mode < self.mode:
            return
        self._is_inside = True
        log = self._scope.latch_log
        noted = log.read_note(self._key()) if log is not None else None
        if noted is None:
            self._entered()
        elif noted == BEGUN:
            self._tell(events.EntryActionUnknown)

    def _judge(self, now: Mode) -> None:
        if now >= self.mode and not self._is_inside:
            self._is_inside = True
            self._entered()
        elif now < self.mode and self._is_inside:
            self._is_inside = False
            if not self._running:
                self._note(None)

    def _entered(self) -> None:
        self._wanted = True
        self._note(BEGUN)
        if not self._running:
            self._running = True
            self._scope.spawn_entry(self._serve, f"entry action {self.name} of {self.scope}")

    def _key(self) -> tuple[str, str, str, str]:
        return (self.scope, self.mode.name, self.owner, self.name)

    def _note(self, state: str | None) -> None:
        if self._scope.latch_log is not None:
            self._scope.latch_log.write_note(self._key(), state)

    # ------------------------------------------------------------ its task

    async def _serve(self) -> None:
        # Bounded: the wait for the disk and the run have limits of their own, and an entry that comes meanwhile has one run more.
        with trio.CancelScope(shield=True):
            try:
                while self._wanted:
                    self._wanted = False
                    await self._wait_for_write()
                    await self._run()
            finally:
                self._running = False
                self._note(DONE if self._is_inside else None)

    async def _wait_for_write(self) -> None:
        """Wait until the causes that survive are on disk: otherwise a restart could forget why this was done."""
        log = self._scope.latch_log
        if log is None or not self._scope.is_latched(self.mode):
            return
        error: Exception | None = None
        with trio.move_on_after(self._latch_timeout) as limit:
            try:
                await log.settled()
            except StoreError as unwritten:
                error = unwritten
        if limit.cancelled_caught:
            error = TimeoutError(f"not on disk within latch_timeout={self._latch_timeout:g} s")
        if error is not None:
            self._tell(events.EntryActionUnwritten, error=error)

    async def _run(self) -> None:
        self.runs += 1
        self._tell(events.EntryActionStarted)
        began = trio.current_time()
        try:
            with trio.move_on_after(self._timeout) as limit:
                await self._fn(*self._args)
            if limit.cancelled_caught:
                raise TimeoutError(f"it was cancelled after timeout={self._timeout:g} s")
        except Exception as error:
            # It is nobody's child whose crash would be seen: the log and the event are where it is told.
            logger.exception("the entry action %r for %s of %r failed", self.name, self.mode.name, self.scope)
            self._tell(events.EntryActionFailed, error=error)
        else:
            self._tell(events.EntryActionDone, seconds=trio.current_time() - began)

    def _tell(self, event: type[Event], **fields: Any) -> None:
        tree = self._scope.tree
        if tree.hooks:
            emit(tree, event, scope=self.scope, mode=self.mode.name, action=self.name, **fields)


def check_entry_action(mode: object, fn: object, timeout: object, latch_timeout: object) -> None:
    """Refuse what can be no entry action."""
    check_member("mode", mode, Mode)
    if mode is Mode.NORMAL:
        raise ValueError("NORMAL is not entered but returned to; watch it with wait_for() or changes()")
    if inspect.iscoroutine(fn):
        fn.close()
        raise TypeError(f"on_enter() wants the function, not a call of it: on_enter({mode!s}, {fn.__name__})")
    if not callable(fn):
        raise TypeError(f"on_enter() wants an async function, got {fn!r}")
    if not 0.0 < number("timeout", timeout) < math.inf:
        raise ValueError(f"timeout is in seconds, positive and finite: a run must end, got {timeout!r}")
    if not 0.0 <= number("latch_timeout", latch_timeout) < math.inf:
        raise ValueError(f"latch_timeout is in seconds, finite and not negative, got {latch_timeout!r}")


def name_of(fn: object) -> str:
    """The name under which *fn* is found again after a restart."""
    name = getattr(fn, "__qualname__", None)
    if not isinstance(name, str) or "<lambda>" in name:
        raise ValueError(
            f"{fn!r} has no name of its own by which a restart could know it; give on_enter(..., name=...)"
        )
    return name


def spawn_system_task(tree: Tree, context: contextvars.Context, fn: Callable[[], Awaitable[None]], name: str) -> None:
    """Where no supervisor is around the scope: a task that belongs to the run."""
    context.run(_TREE.set, tree)
    trio.lowlevel.spawn_system_task(fn, name=name, context=context)
