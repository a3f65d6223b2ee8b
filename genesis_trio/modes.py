"""Operating modes: what a service may do while parts of it do not work.

A mode is not a value that somebody sets but the sum of held *causes*.  Each has a scope, an
owner and a reason, and is cleared by itself; clearing one never clears another::

    scope "desk"            held: SAFE by desk/feed, "no prices"
    ├── scope "ledger"      effective: SAFE
    └── scope "strategy"    held: EMERGENCY by risk, "limit broken"; effective: EMERGENCY

The effective mode of a scope is the worst over itself and its ancestors; its capabilities are
the intersection.  Both are pushed down when a cause changes, in one scheduler step, so that a
read is one attribute at any depth and a task that started before the change sees it too.

Tightening takes effect at once, always.  Loosening a latched cause takes effect once it is on disk.
"""

import contextlib
import contextvars
import enum
import math
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import Protocol

import attrs
import trio

from genesis_trio._clearing import clearing_clock
from genesis_trio._runtime import Tree, current_run, current_tree
from genesis_trio.errors import ModeRefusedError
from genesis_trio.events import CauseCleared, CauseHeld, ModeLowered, ModeRaised, emit

__all__ = [
    "Capability",
    "Criticality",
    "Hold",
    "Mode",
    "ModeCause",
    "ModePolicy",
    "ModeScope",
    "allows",
    "cancel_when",
    "current_mode",
    "current_scope",
    "mode_scope",
    "require",
]


class Mode(enum.IntEnum):
    """How far a service is degraded.  A greater mode is a worse one."""

    NORMAL = 0
    SAFE = 1
    EMERGENCY = 2


class Capability(enum.Flag):
    """What an action does to the risk that is on the books; what a guard ``needs``."""

    READ = 1
    CANCEL = 2
    REDUCE = 4
    OPEN = 8


class Criticality(enum.IntEnum):
    """Up to which mode a component runs: OPTIONAL in NORMAL, ESSENTIAL up to SAFE, CRITICAL always."""

    OPTIONAL = 0
    ESSENTIAL = 1
    CRITICAL = 2


ALL = Capability.READ | Capability.CANCEL | Capability.REDUCE | Capability.OPEN

#: What each mode leaves.  SAFE and EMERGENCY allow the same actions; EMERGENCY also suspends what is not CRITICAL.
MODE_CAPABILITIES = {
    Mode.NORMAL: ALL,
    Mode.SAFE: ALL & ~Capability.OPEN,
    Mode.EMERGENCY: ALL & ~Capability.OPEN,
}


def admits(mode: Mode, criticality: Criticality) -> bool:
    """True if a component of *criticality* runs in *mode*."""
    return criticality >= mode


@attrs.frozen
class ModePolicy:
    """How failing children lead to a mode, and back.

    Args:
        safe_at: Share of failing children, inclusive, from two of them on, that leads to SAFE.
        emergency_at: The same for EMERGENCY.
        essential_failure: Mode for one failing ESSENTIAL child, whatever the share.
        critical_failure: Mode for one failing CRITICAL child, whatever the share.
        trigger_after: Seconds of failing before the mode rises.  Being bad burns them once, being well refills a quarter.
        recover_after: Seconds of being well before the mode falls by one step.  Doubles at each re-entry.
        max_recover_after: The longest it grows to; as many seconds of calm forget that it grew.
    """

    safe_at: float = attrs.field(default=0.2, kw_only=True)
    emergency_at: float = attrs.field(default=0.5, kw_only=True)
    essential_failure: Mode = attrs.field(default=Mode.SAFE, kw_only=True)
    critical_failure: Mode = attrs.field(default=Mode.EMERGENCY, kw_only=True)
    trigger_after: float = attrs.field(default=1.0, kw_only=True)
    recover_after: float = attrs.field(default=5.0, kw_only=True)
    max_recover_after: float = attrs.field(default=60.0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for name in ("safe_at", "emergency_at"):
            share = _number(name, getattr(self, name))
            if not 0.0 < share <= 1.0:
                raise ValueError(f"{name} is a share in (0, 1], got {share!r}")
        if self.emergency_at < self.safe_at:
            raise ValueError(f"emergency_at ({self.emergency_at!r}) must not be below safe_at ({self.safe_at!r})")
        for name in ("essential_failure", "critical_failure"):
            if not isinstance(getattr(self, name), Mode):
                raise TypeError(f"{name} is a Mode, got {getattr(self, name)!r}")
        for name in ("trigger_after", "recover_after", "max_recover_after"):
            seconds = _number(name, getattr(self, name))
            if not 0.0 <= seconds < math.inf:
                raise ValueError(f"{name} is in seconds, finite and not negative, got {seconds!r}")
        if self.max_recover_after < self.recover_after:
            raise ValueError(
                f"max_recover_after ({self.max_recover_after!r}) must not be below recover_after ({self.recover_after!r})"
            )


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a number, got {value!r}")
    return value


@attrs.frozen(kw_only=True)
class ModeCause:
    """One cause as it stood when it was read.

    Attributes:
        scope: Path of the scope it is held on.
        owner: Who holds it: a component's path, or an operator's name.
        reason: Why, in words.  Scope, owner and reason together identify a cause.
        mode: What it demands.
        since: When it was first held; taking it over or changing its level keeps this.
        latched: It survives the process and the normal end of its owner.
        expires: When it ends by itself, or None.
        capabilities: What it leaves; None is what the mode leaves.
    """

    scope: str
    owner: str
    reason: str
    mode: Mode
    since: datetime
    latched: bool = False
    expires: datetime | None = None
    capabilities: Capability | None = None


class LatchLog(Protocol):
    """Where latched causes are written: the supervisor's, over its store."""

    def held(self, cause: ModeCause) -> None:
        """Write at once; the cause is in effect already."""

    def released(self, cause: ModeCause, then: Callable[[], None]) -> None:
        """Write at once and call *then* when it is durable."""

    async def settled(self) -> None:
        """Return when everything written so far is durable."""


class Hold(AbstractContextManager["Hold"]):
    """A held cause: the handle that `ModeScope.hold` returns.

    As a context manager it is released at the end of the block, whatever ends it.
    """

    def __init__(self, scope: "ModeScope", cause: ModeCause, mask: int) -> None:
        self._scope = scope
        self._cause = cause
        self._mask = mask
        self._held = True
        self.due = math.inf
        self.clears_when: Callable[[], bool] | None = None

    @property
    def cause(self) -> ModeCause:
        """The cause as a frozen record."""
        return self._cause

    @property
    def owner(self) -> str:
        return self._cause.owner

    @property
    def reason(self) -> str:
        return self._cause.reason

    @property
    def mode(self) -> Mode:
        return self._cause.mode

    @property
    def since(self) -> datetime:
        return self._cause.since

    @property
    def latched(self) -> bool:
        return self._cause.latched

    @property
    def is_held(self) -> bool:
        """False once it was released, expired or cleared."""
        return self._held

    def release(self) -> None:
        """Give the cause back; again has no effect, and no other cause is ever touched.

        Trio checkpoint: never.
        """
        self.cleared("released")

    def cleared(self, by: str) -> None:
        if self._held:
            self._held = False
            self._scope._let_go(self, by)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        cause = self._cause
        state = "held" if self._held else "released"
        return f"<Hold {cause.mode.name} on {cause.scope!r} by {cause.owner!r}: {cause.reason} ({state})>"


class ModeScope:
    """One place in the tree of modes: a supervisor's, a child's, or one made with `mode_scope`."""

    __slots__ = (
        "__weakref__",
        "_below",
        "_capabilities",
        "_epoch",
        "_holds",
        "_mode",
        "_watchers",
        "latch_log",
        "mask",
        "name",
        "parent",
        "path",
        "tree",
    )

    def __init__(self, name: str, parent: "ModeScope | None", tree: Tree) -> None:
        self.name = name
        self.parent = parent
        self.tree = tree
        self.path: str = name if parent is None or parent.parent is None else f"{parent.path}/{name}"
        self.latch_log: LatchLog | None = parent.latch_log if parent is not None else None
        self._holds: dict[tuple[str, str], Hold] = {}
        # Lists and dicts, not sets: a cascade must run in the same order for the same seed.
        self._below: list[ModeScope] = []
        self._watchers: dict[object, Callable[[Mode], None]] = {}
        self._epoch = 0
        self._mode: Mode = parent._mode if parent is not None else Mode.NORMAL
        #: The effective capabilities as plain bits; hot paths test ``needs & ~scope.mask``.
        self.mask: int = parent.mask if parent is not None else ALL.value
        if parent is not None:
            parent._below.append(self)

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
        return not needs.value & ~self.mask

    def require(self, needs: Capability) -> None:
        """Return if everything in *needs* may be done now.

        Call it after the last await before the action: an await is where the mode may change.

        Raises:
            ModeRefusedError: it may not; the message names the cause, its owner and how it clears.

        Trio checkpoint: never.
        """
        if needs.value & ~self.mask:
            raise self._refusal(needs)

    def _refusal(self, needs: Capability) -> ModeRefusedError:
        refused = Capability(needs.value & ~self.mask)
        blocking = [
            hold.cause for scope in self._upwards() for hold in scope._holds.values() if refused.value & ~hold._mask
        ]
        words = "; ".join(_in_words(cause) for cause in blocking)
        return ModeRefusedError(
            f"{self.path!r} is in mode {self._mode.name}, which does not allow {_names(refused)}: {words}",
            mode=self._mode,
            needs=needs,
        )

    def why(self) -> str:
        """The effective mode in words: every cause here and above, whose it is and how it clears."""
        lines = [f"{self.path!r} is {self._mode.name} and allows {_names(self.capabilities)}"]
        lines += [f"  {_in_words(hold.cause)}" for scope in self._upwards() for hold in scope._holds.values()]
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

        Trio checkpoint: never.
        """
        if not isinstance(mode, Mode):
            raise TypeError(f"mode is a Mode, got {mode!r}")
        if not isinstance(reason, str) or not reason:
            raise ValueError(f"reason says in words why the mode is held, got {reason!r}")
        if expires is not None and not 0.0 < _number("expires", expires) < math.inf:
            raise ValueError(f"expires is in seconds, positive and finite, or None, got {expires!r}")
        if clears_when is not None and not callable(clears_when):
            raise TypeError(f"clears_when is a function without arguments, got {clears_when!r}")
        if owner is None:
            caller = current_scope()
            owner = caller.path if caller.parent is not None else self.path
        run = current_run()
        now = run.utcnow()
        held = self._holds.get((owner, reason))
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
        hold = self._take(cause)
        hold.due = trio.current_time() + expires if expires is not None else math.inf
        hold.clears_when = clears_when
        if expires is not None or clears_when is not None:
            clearing_clock().watch(hold)
        else:
            clearing_clock().forget(hold)
        if latched and self.latch_log is not None:
            self.latch_log.held(cause)
        return hold

    def _take(self, cause: ModeCause) -> Hold:
        """Put *cause* into effect; a latched one that comes back from disk enters here, too."""
        mask = MODE_CAPABILITIES[cause.mode].value
        if cause.capabilities is not None:
            mask &= cause.capabilities.value
        key = (cause.owner, cause.reason)
        hold = self._holds.get(key)
        changed = hold is None or hold.mode != cause.mode
        if hold is None:
            hold = self._holds[key] = Hold(self, cause, mask)
        else:
            hold._cause = cause
            hold._mask = mask
            hold._held = True
        if changed and self.tree.hooks:
            emit(
                self.tree,
                CauseHeld,
                scope=self.path,
                owner=cause.owner,
                reason=cause.reason,
                mode=cause.mode.name,
                latched=cause.latched,
            )
        self._cascade()
        return hold

    def _let_go(self, hold: Hold, by: str) -> None:
        clearing_clock().forget(hold)

        def loosen() -> None:
            # Held anew while the release was on its way to the disk: then the newer hold stands.
            if hold._held:
                return
            key = (hold.owner, hold.reason)
            if self._holds.get(key) is hold:
                del self._holds[key]
                if self.tree.hooks:
                    emit(self.tree, CauseCleared, scope=self.path, owner=hold.owner, reason=hold.reason, by=by)
                self._cascade()

        if hold.latched and self.latch_log is not None:
            self.latch_log.released(hold.cause, loosen)
        else:
            loosen()

    def clear(self, owner: str, reason: str, *, by: str) -> None:
        """Clear one cause that is held here, as an operator named *by*.

        Raises:
            LookupError: no such cause is held here; the message lists those that are.

        Trio checkpoint: never.
        """
        hold = self._holds.get((owner, reason))
        if hold is None:
            held = "; ".join(f"{cause.owner!r}: {cause.reason!r}" for cause in self.causes) or "none"
            raise LookupError(
                f"no cause of {owner!r} with the reason {reason!r} is held on {self.path!r}; held are: {held}"
            )
        hold.cleared(by)

    def clear_owned(self, owner: str, by: str) -> None:
        """Clear what *owner* holds here and below, but for latched causes: it ended well or was stopped by hand."""
        for scope in list(self.walk()):
            for hold in list(scope._holds.values()):
                if hold.owner == owner and not hold.latched:
                    hold.cleared(by)

    async def settled(self) -> None:
        """Wait until the latched causes that were held or released so far are on disk.

        Returns at once when there is no store.

        Trio checkpoint: always.
        Cancellation: passes; the writing goes on.
        """
        await trio.lowlevel.checkpoint()
        if self.latch_log is not None:
            await self.latch_log.settled()

    def _cascade(self) -> None:
        """Push the effective mode and mask down.  First everything changes, then everybody is told: no reader sees half."""
        changed: list[tuple[ModeScope, Mode]] = []
        waiting: list[ModeScope] = [self]
        while waiting:
            scope = waiting.pop()
            mode = scope.parent._mode if scope.parent is not None else Mode.NORMAL
            mask = scope.parent.mask if scope.parent is not None else ALL.value
            for hold in scope._holds.values():
                mode = max(mode, hold.mode)
                mask &= hold._mask
            if mode is not scope._mode or mask != scope.mask:
                before, scope._mode, scope.mask = scope._mode, mode, mask
                scope._epoch += 1
                changed.append((scope, before))
                waiting.extend(reversed(scope._below))
        for scope, before in changed:
            if before is not scope._mode:
                scope._tell(before)

    def _tell(self, before: Mode) -> None:
        mode = self._mode
        for watcher in list(self._watchers.values()):
            watcher(mode)
        if self.tree.hooks:
            emit(
                self.tree,
                ModeRaised if mode > before else ModeLowered,
                scope=self.path,
                before=before.name,
                mode=mode.name,
            )

    def detach(self) -> None:
        """Leave the tree: what is above no longer reaches this scope, whose members are gone."""
        if self.parent is not None and self in self.parent._below:
            self.parent._below.remove(self)

    # ------------------------------------------------------------ reacting

    def watch(self, watcher: Callable[[Mode], None]) -> Callable[[], None]:
        """Call *watcher* in the step of every change of the mode; what is returned ends that."""
        key = object()
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
        found: list[Mode] = []
        arrived = trio.Event()

        def judge(mode: Mode) -> None:
            if not found and predicate(mode):
                found.append(mode)
                arrived.set()

        judge(self._mode)
        if found:
            await trio.lowlevel.checkpoint()
            return found[0]
        unwatch = self.watch(judge)
        try:
            await arrived.wait()
        finally:
            unwatch()
        return found[0]

    def changes(self) -> AsyncIterator[Mode]:
        """Iterate over every change of the effective mode from this call on, in order; none is missed.

        Trio checkpoint: always, at each item.
        Cancellation: passes; the item that was not handed out comes next.
        """
        return _Changes(self)

    @contextlib.contextmanager
    def cancel_when(self, mode: Mode) -> Iterator[trio.CancelScope]:
        """Cancel the block as soon as the mode is *mode* or worse; entered so, it is cancelled at once.

        ``scope.cancelled_caught`` says afterwards whether that happened.

        Trio checkpoint: never by itself.
        """
        with trio.CancelScope() as scope:

            def judge(now: Mode) -> None:
                if now >= mode:
                    scope.cancel(reason=f"the mode of {self.path!r} is {now.name}")

            judge(self._mode)
            unwatch = self.watch(judge)
            try:
                yield scope
            finally:
                unwatch()


class _Changes(AsyncIterator[Mode]):
    """The iterator of `ModeScope.changes`.  The scope knows it weakly, so an abandoned one goes away by itself."""

    def __init__(self, scope: ModeScope) -> None:
        self._seen: deque[Mode] = deque()
        self._arrived = trio.Event()
        itself = weakref.ref(self)

        def remember(mode: Mode) -> None:
            changes = itself()
            if changes is None:
                unwatch()
            else:
                changes._seen.append(mode)
                changes._arrived.set()

        unwatch = scope.watch(remember)
        weakref.finalize(self, unwatch)

    def __aiter__(self) -> "_Changes":
        return self

    async def __anext__(self) -> Mode:
        await trio.lowlevel.checkpoint()
        while not self._seen:
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self._seen.popleft()


def _names(capabilities: Capability) -> str:
    return ", ".join(name for name in Capability.__members__ if Capability[name] in capabilities) or "nothing"


def _in_words(cause: ModeCause) -> str:
    if cause.expires is not None:
        end = f"it expires at {cause.expires:%Y-%m-%d %H:%M:%S} UTC"
    elif cause.latched:
        end = "it is latched: an operator clears it with clear(owner, reason, by=...)"
    else:
        end = "it clears when its owner releases it"
    return (
        f"{cause.mode.name} held on {cause.scope!r} by {cause.owner!r} since {cause.since:%Y-%m-%d %H:%M:%S} UTC: "
        f"{cause.reason}; {end}"
    )


# ---------------------------------------------------------------- the current scope

_SCOPE: contextvars.ContextVar[ModeScope] = contextvars.ContextVar("genesis_trio.scope")
_ROOT: trio.lowlevel.RunVar[ModeScope] = trio.lowlevel.RunVar("genesis_trio.root_scope")


def root_scope() -> ModeScope:
    """The scope above all others of this run; NORMAL unless somebody holds a cause on it."""
    try:
        return _ROOT.get()
    except LookupError:
        scope = ModeScope("root", None, current_run().tree)
        _ROOT.set(scope)
        return scope


def current_scope() -> ModeScope:
    """The scope of the current task: its component's, its supervisor's, or the root scope where there is neither.

    Trio checkpoint: never.
    """
    scope = _SCOPE.get(None)
    return scope if scope is not None else root_scope()


def current_mode() -> Mode:
    """The effective mode of the current task's scope.

    Trio checkpoint: never.
    """
    return current_scope()._mode


def allows(needs: Capability) -> bool:
    """True if the current task may do everything in *needs* now.

    Trio checkpoint: never.
    """
    return not needs.value & ~current_scope().mask


def require(needs: Capability) -> None:
    """Return if the current task may do everything in *needs* now; see `ModeScope.require`.

    Raises:
        ModeRefusedError: it may not.

    Trio checkpoint: never.
    """
    current_scope().require(needs)


def cancel_when(mode: Mode) -> AbstractContextManager[trio.CancelScope]:
    """Cancel the block as soon as the current task's mode is *mode* or worse; see `ModeScope.cancel_when`."""
    return current_scope().cancel_when(mode)


@contextlib.contextmanager
def mode_scope(name: str) -> Iterator[ModeScope]:
    """A scope without a supervisor, below the current one: for the block, and for what the block starts.

    Trio checkpoint: never.
    """
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"the name of a scope is not empty and has no '/', got {name!r}")
    scope = ModeScope(name, current_scope(), current_tree())
    token = _SCOPE.set(scope)
    try:
        yield scope
    finally:
        _SCOPE.reset(token)
        scope.detach()
