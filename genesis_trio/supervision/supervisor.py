"""The block that starts children, keeps them running, and stops them in order.

::

    async with open_supervisor("desk") as desk:
        await desk.start(feed, name="feed")

Leaving the block waits for the children, as a nursery does.  ``stop()``, an exception or a cancellation stops
them in the reverse order of their first start, one after the other: each child's task is shielded, so an
outer cancellation reaches it only from here.
"""

import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs
import trio

from genesis_trio._interrupts import uninterrupted
from genesis_trio._runtime import _TREE, current_tree
from genesis_trio.errors import StoreError
from genesis_trio.events import describe_error
from genesis_trio.modes import _SCOPE, ModePolicy, ModeScope, current_scope
from genesis_trio.supervision._away import stay_known
from genesis_trio.supervision._child_state import ChildState
from genesis_trio.supervision._crash_limit import CrashLimit
from genesis_trio.supervision._cut_watch import CutWatch
from genesis_trio.supervision._entries import Entries
from genesis_trio.supervision._groups import Groups
from genesis_trio.supervision._incarnation import Incarnation, current_host
from genesis_trio.supervision._mode_watch import ModeWatch
from genesis_trio.supervision._services import Services
from genesis_trio.supervision._settings import check_kinds, check_place, check_settings
from genesis_trio.supervision._starting import Starting
from genesis_trio.supervision._stopping import Stopping
from genesis_trio.supervision._tree import ServiceTree
from genesis_trio.supervision._use_store import use_store
from genesis_trio.supervision._watchdog import Watchdog
from genesis_trio.supervision.backoff import Backoff, check_reachable
from genesis_trio.supervision.child import Child
from genesis_trio.supervision.component import ChildSpec, ComponentLike, Lifecycle, Strategy

if TYPE_CHECKING:
    from genesis_trio.persistence.checkpoints import CheckpointInfo
    from genesis_trio.persistence.policy import CheckpointPolicy
    from genesis_trio.persistence.store import Store

__all__ = ["Supervisor", "SupervisorStatistics", "open_supervisor"]


@attrs.frozen
class SupervisorStatistics:
    """How the children of one supervisor are now; ``restarts`` counts since it was opened.

    ``longest_stall`` is the longest time in seconds that the loop stood still, where a ``stall_limit`` is set.
    """

    children: int
    ready: int
    restarts: int
    parked: int
    suspended: int
    longest_stall: float = 0.0


class Supervisor:
    """The children of one block.  Made by `open_supervisor`."""

    def __init__(
        self,
        name: str,
        tree: ServiceTree,
        scope: ModeScope,
        nursery: trio.Nursery,
        *,
        host: "Incarnation | None",
        strategy: Strategy,
        max_restarts: int,
        within: float,
        backoff: Backoff,
        mode_policy: ModePolicy | None,
        shutdown_timeout: float,
        escalate_after: int | None,
        rng: random.Random,
    ) -> None:
        self.name = name
        self.path = scope.path
        self.tree = tree
        self.scope = scope
        self.max_restarts = max_restarts
        self.within = within
        self.backoff = backoff
        self.shutdown_timeout = shutdown_timeout
        #: The names that some child requires.
        self.required: set[str] = set()
        self.watchdog: Watchdog | None = None
        self.crash_limit = CrashLimit(escalate_after, within)
        self.recover_after = (mode_policy or ModePolicy()).recover_after
        self.rng = rng
        self.seed = f"{rng.getrandbits(64):016x}"
        #: The incarnation that it was opened in, or None.
        self.host = host
        self._children: dict[str, Child] = {}
        self._living = 0
        self._restarts_forgotten = 0
        self._all_finished = trio.Event()
        self._all_finished.set()
        #: Nothing is started, and nobody restarted, any more.
        self.is_stopping = False
        #: It stops because its host does, or with an error, and its host may run again: so do its children, under the same paths.
        self.goes_away = False
        self._starting = Starting(self)
        self._stopping = Stopping(self)
        self._fatal: BaseException | None = None
        self.groups = Groups(self, strategy)
        self.services = Services(scope, nursery)
        self.cut_watch = CutWatch(self)
        self.entries = Entries(self.services, self.fatal)
        scope.spawner = self.entries.spawn
        self.mode_watch = ModeWatch(self, mode_policy) if mode_policy is not None else None
        self.children: Mapping[str, Child] = MappingProxyType(self._children)

    def __repr__(self) -> str:
        return f"<Supervisor {self.path!r} of {len(self._children)} children>"

    # ------------------------------------------------------------ starting

    @trio.lowlevel.enable_ki_protection
    async def start(self, component: ComponentLike | ChildSpec, *args: Any, name: str = "", **spec: Any) -> Child:
        """Start one child and return it once it is ready.

        It starts once those that it requires have begun: they are READY, SUSPENDED, PARKED or done.

        Args:
            component: A Component class, an async function of ``ctx``, or a whole `ChildSpec`.
            args: Its arguments, the same for each incarnation.
            name: Unique in this supervisor.
            spec: Anything else that `ChildSpec` takes.

        Returns:
            The child: READY, done, or SUSPENDED where the mode does not admit it.

        Raises:
            Exception: what it raised before it was first ready; there is no such child then.
            StartTimeoutError: it was not ready within its ``start_timeout``, or could not begin in that time for the breaker over it,
                or for what it requires.
            RuntimeError: it, or the supervisor, was stopped before it was ready.  (`start_all` returns such a child, STOPPED.)
            ConfigError: the name is taken, or what it requires does not exist or is less critical.

        Trio checkpoint: always.
        Cancellation: the child is stopped, and gone, before it passes.
        """
        await trio.lowlevel.checkpoint()
        if isinstance(component, ChildSpec):
            if args or name or spec:
                raise TypeError("start() takes a ChildSpec alone, or a component with arguments and keywords")
            child_spec = component
        else:
            child_spec = ChildSpec(component, *args, name=name, **spec)
        return await self._starting.start(child_spec)

    @trio.lowlevel.enable_ki_protection
    async def start_all(self, specs: Sequence[ChildSpec]) -> Sequence[Child]:
        """Start children in levels of ``requires``: each once those that it requires have begun.

        A level has begun when each of its children is READY, SUSPENDED, PARKED or done: a first start that fails backs off and
        parks like any crash; until it was READY no crash is forgiven with time, so it parks after ``max_restarts`` restarts however
        slowly it fails.  For one that an open breaker keeps from starting it waits as long as its ``start_timeout``; and so it
        does for a child of an earlier call that is required, and then goes on.

        Raises:
            ConfigError: names that are taken or missing, a cycle, a requirement on something less critical.
                Nothing was started.
            RuntimeError: the supervisor was stopped before all were started; the message names those that were not.

        Trio checkpoint: always.
        Cancellation: what was started is stopped in reverse order, and gone, before it passes.
        """
        await trio.lowlevel.checkpoint()
        return await self._starting.start_all(specs)

    def add(self, child: Child) -> None:
        """*child* was made, and has its name from now on."""
        self._children[child.name] = child
        self.required.update(child.spec.requires)
        self.tree.children[child.path] = child
        if self.tree.saver is not None:
            self.tree.saver.child_added(child)
        if child.spec.breaker is not None:
            self.tree.watch_breakers()

    def revive(self, child: Child) -> None:
        """Let a stopped child live again."""
        if self.is_stopping:
            raise RuntimeError(f"supervisor {self.path!r} is stopping and restarts no more children")
        if self._children.get(child.name) is not child:
            raise RuntimeError(
                f"{child.path!r} has ended and is no child of {self.path!r} any more; start another one with start()"
            )
        child.begin_anew()
        self._starting.launch(child)

    def forget(self, child: ChildState) -> None:
        """*child* never was, or has ended for good: its name is free again, and nothing of it is kept.

        One that was to take the place of one that went away leaves that place to the next.
        """
        found = self._children.get(child.name)
        if found is None or found is not child:
            return
        del self._children[child.name]
        self.tree.children.pop(child.path, None)
        self.tree.child_is_none_any_more()
        self._restarts_forgotten += child.restarts
        self.groups.stopped_well.discard(child)
        self.health_changed(child)
        child.forget()
        if child.comes_back:
            stay_known(child)
        found.close(goes_away=child.comes_back)

    def child_launched(self) -> None:
        self._living += 1
        if self._all_finished.is_set():
            self._all_finished = trio.Event()

    def child_finished(self, child: Child) -> None:
        self._living -= 1
        if not self._living:
            self._all_finished.set()

    # ------------------------------------------------------------ what children tell

    def fatal(self, error: BaseException) -> None:
        """Ctrl-C or the like came out of a child, or its crash was escalated: stop everything, then raise it."""
        if self._fatal is None:
            self._fatal = error
        self.services.cancel_body(f"{describe_error(error)} in a child of {self.path!r}")

    def is_over_limit(self, now: float) -> bool:
        """Count a crash against the limit of all children together; True if it is one too many."""
        return self._fatal is None and self.crash_limit.is_passed(now)

    def restart_group(self, child: ChildState) -> None:
        if not self.is_stopping:
            self.groups.crashed(self._children[child.name])

    def health_changed(self, child: ChildState) -> None:
        if self.mode_watch is not None:
            self.mode_watch.changed(child)

    @trio.lowlevel.enable_ki_protection
    def start_service(self, fn: Callable[[], Awaitable[None]]) -> trio.CancelScope:
        """Run *fn* beside the children until it ends, its scope is cancelled, or the block is left."""
        return self.services.start(fn)

    # ------------------------------------------------------------ stopping

    async def stop_child(self, child: Child, deadline: float) -> None:
        """Ask *child* to stop and wait until it has, at most until *deadline*, which is reported."""
        await self._stopping.stop_child(child, deadline)

    @trio.lowlevel.enable_ki_protection
    async def stop(self) -> None:
        """Stop all children in the reverse order of their first start, one after the other.

        Each is asked to end, cancelled after its ``stop_grace``, and waited for until ``shutdown_timeout``, which
        is for all together.  A child that has not ended then is named in `ChildUnstopped` and the next one is stopped.

        Trio checkpoint: always.
        Cancellation: passes; the stop goes on.  So a child may ask for it, though it is stopped while it waits.
        """
        await trio.lowlevel.checkpoint()
        if self._stopping.is_saved and not self._living:
            return  # the block may have been left already
        deadline = trio.current_time() + self.shutdown_timeout
        done = trio.Event()

        async def stop_all() -> None:
            await self._stopping.stop(deadline)
            done.set()

        self.start_service(stop_all)
        await done.wait()

    @trio.lowlevel.enable_ki_protection
    def hurry(self) -> None:
        """Cancel every child that is still running: somebody asked a second time."""
        self._stopping.hurry()

    async def wait_finished(self) -> None:
        while not self._all_finished.is_set():
            await self._all_finished.wait()

    def interrupted(self, interrupt: KeyboardInterrupt) -> None:
        """Ctrl-C reached the block itself: the first one is raised at its end, another one hurries."""
        if self._fatal is None:
            self._fatal = interrupt
        else:
            self.hurry()

    # ------------------------------------------------------------ knowing

    @trio.lowlevel.enable_ki_protection
    async def create_checkpoint(self, *, label: str | None = None) -> "CheckpointInfo":
        """Save a cut of the whole tree now; durable on return.

        Args:
            label: A name by which it can be restored, and which keeps it from being pruned.

        Raises:
            StoreError: there is no store, or it could not be saved.

        Trio checkpoint: always.
        """
        if self.tree.saver is None:
            raise StoreError(
                "create_checkpoint() needs a store; open the supervisor with open_supervisor(..., store=store)"
            )
        return await self.tree.saver.save_now(label)

    def why(self, name: str) -> str:
        """In words: what child *name* does, where it waits and for whom, and what last went wrong.

        Args:
            name: Its name here, or the path of any child of the tree.

        Raises:
            LookupError: no such child; the message lists those that there are.
        """
        child = self._children.get(name) or self.tree.children.get(name)
        if child is None:
            raise LookupError(f"{self.path!r} has no child {name!r}; there are: {', '.join(self._children) or 'none'}")
        return child.why()

    def statistics(self) -> SupervisorStatistics:
        """How the children are now."""
        statuses = [child.status for child in self._children.values()]
        return SupervisorStatistics(
            children=len(statuses),
            ready=statuses.count(Lifecycle.READY),
            restarts=self._restarts_forgotten + sum(child.restarts for child in self._children.values()),
            parked=statuses.count(Lifecycle.PARKED),
            suspended=statuses.count(Lifecycle.SUSPENDED),
            longest_stall=self.watchdog.longest if self.watchdog is not None else 0.0,
        )


@uninterrupted
@contextlib.asynccontextmanager
async def open_supervisor(
    name: str,
    *,
    strategy: Strategy = Strategy.ONE_FOR_ONE,
    max_restarts: int = 3,
    within: float = 5.0,
    backoff: Backoff | None = None,
    mode_policy: ModePolicy | None = None,
    store: "Store | None" = None,
    checkpoint: "CheckpointPolicy | None" = None,
    restore: "str | datetime | None" = None,
    only: Sequence[str] = (),
    shutdown_timeout: float = 30.0,
    escalate_after: int | None = None,
    stall_limit: float | None = None,
    hold_on_stall: bool = False,
    rng: random.Random | None = None,
) -> AsyncIterator[Supervisor]:
    """Open a supervisor: its children live inside the block.

    Opened inside a child of another supervisor it becomes part of that tree: its mode scope hangs below the
    child's, and it shares bus and store.

    Args:
        name: Its name; the first part of its children's paths.
        strategy: Who restarts when a child crashes.
        max_restarts: Restarts that each child has *within* so many seconds; one crash more parks it.
        within: Seconds.
        backoff: How long a crashed child waits; None is ``Backoff()``.
        mode_policy: How failing children lead to a mode; None: only parking does.
        store: Where state is saved; None: nowhere.
        checkpoint: When it is saved by itself; None is ``CheckpointPolicy()`` where there is a store.
        restore: Begin with an older saved checkpoint: an id, a label, or the newest at or before a time.
        only: With *restore*, and never without it: the paths of the components that it is for; empty is all.
        shutdown_timeout: Seconds for stopping all children together.
        escalate_after: Crashes of all children together *within* so many seconds; one more stops them all, and the block
            raises it.  None: there is no such limit, and the tree degrades instead.
        stall_limit: Seconds that one round of the event loop may take.  A thread watches it, and names the task and the line that
            block it while they do: in the log at once, as `LoopBlocked` when it runs again.  None: nobody watches; a virtual clock
            has none either.
        hold_on_stall: After such a stall hold SAFE until the loop has run well for ``recover_after``: what was decided meanwhile
            was decided on old data.
        rng: The tree's source of randomness; None: the run's.

    Raises:
        Exception: what the block raised, bare.

    Trio checkpoint: always, on leaving.
    Cancellation: the children are stopped in order first, at most for *shutdown_timeout*; a child that shields itself is waited for.
    """
    check_settings(name, strategy, max_restarts, within, shutdown_timeout, escalate_after, stall_limit)
    check_kinds(backoff, mode_policy, rng, store, checkpoint)
    backoff = backoff if backoff is not None else Backoff()
    check_reachable(backoff, max_restarts=max_restarts, within=within)
    host = current_host()
    outer = current_tree()
    check_place(name, host.child.path if host is not None else None, store, checkpoint, restore, only, stall_limit)
    tree = host.child.tree if host is not None else ServiceTree(name, parent=outer, rng=rng, store=store)
    scope = ModeScope(name, current_scope(), tree)
    error: BaseException | None = None
    fatal: BaseException | None = None
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(
            name,
            tree,
            scope,
            nursery,
            host=host,
            strategy=strategy,
            max_restarts=max_restarts,
            within=within,
            backoff=backoff,
            mode_policy=mode_policy,
            shutdown_timeout=shutdown_timeout,
            escalate_after=escalate_after,
            rng=rng if rng is not None else tree.rng,
        )
        scope_token, tree_token = _SCOPE.set(scope), _TREE.set(tree)
        try:
            if host is None:
                tree.scope = scope
                if store is not None:
                    await use_store(supervisor, store, checkpoint, restore, only)
            else:
                supervisor._stopping.join(host)
            if stall_limit is not None:
                supervisor.watchdog = Watchdog(
                    scope, stall_limit, holds_for=supervisor.recover_after if hold_on_stall else None
                )
                supervisor.start_service(supervisor.watchdog.serve)
            if supervisor.mode_watch is not None:
                tree.watch_breakers()
                supervisor.start_service(supervisor.mode_watch.serve)
            yield supervisor
            await supervisor.wait_finished()
            await trio.lowlevel.checkpoint()
        except BaseException as raised:  # noqa: ASYNC103 - raised at the end of this function
            # Raised again below, once the children are gone: not from inside the nursery, which would wrap it.
            error = raised
            if isinstance(raised, KeyboardInterrupt):
                supervisor.interrupted(raised)
        finally:
            _SCOPE.reset(scope_token)
            _TREE.reset(tree_token)
        if host is not None:
            supervisor.goes_away = error is not None or host.stopping
        await supervisor._stopping.close()
        fatal = supervisor._fatal
    if fatal is not None:
        if error is not fatal and fatal.__context__ is None and not isinstance(error, trio.Cancelled):
            fatal.__context__ = error
        raise fatal
    if error is not None:
        raise error
