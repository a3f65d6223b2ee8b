"""One run of a component: how it begins, whether it is ready and well, how it is asked to end.

It is one object, in layers: `Reading` in ``_reading``, `Capturing` in ``_captured``, and `Incarnation` here.
"""

import contextlib
import contextvars
import math
from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING, Any

import trio

from genesis_trio import events
from genesis_trio._interrupts import run_interruptibly
from genesis_trio.errors import StartTimeoutError
from genesis_trio.events import emit
from genesis_trio.messaging.requests import RequestReader
from genesis_trio.messaging.subscription import Subscription
from genesis_trio.supervision._captured import Capturing
from genesis_trio.supervision._exits import cuts_in, first_cut
from genesis_trio.supervision._first_state import make_first_state
from genesis_trio.supervision._hand import take_in_hand
from genesis_trio.supervision._recording import Recording
from genesis_trio.supervision._waiting import waits_for_the_outside, where_it_was_cut
from genesis_trio.supervision.component import Component
from genesis_trio.supervision.context import Context

if TYPE_CHECKING:
    from genesis_trio.supervision._ladder import Origin
    from genesis_trio.supervision._stopping import Stopping
    from genesis_trio.supervision.child import Child

__all__ = ["Incarnation", "current_host"]

#: The incarnation that the current task belongs to: a supervisor opened there is part of its tree.
_HOST: contextvars.ContextVar["Incarnation | None"] = contextvars.ContextVar("genesis_trio.host", default=None)


def current_host() -> "Incarnation | None":
    """The incarnation around the current task, or None."""
    return _HOST.get()


class Incarnation(Capturing):
    """One run of a component, from its construction to its end.  A `Reader` of mailboxes."""

    __slots__ = (
        "__weakref__",
        "_beats",
        "_cut_at",
        "_last_beat",
        "_late",
        "_notes_hands",
        "_recording",
        "_silent",
        "_stop",
        "context",
        "hang",
        "is_ready",
        "nested",
        "number",
        "origin",
        "ready_at",
        "ready_value",
        "scope",
        "started_at",
        "stop_deadline",
        "stopping",
    )

    def __init__(self, child: "Child", number: int) -> None:
        super().__init__(child)
        self.number = number
        self.scope = trio.CancelScope(deadline=trio.current_time() + child.spec.start_timeout, shield=True)
        self.context = Context(self)
        self.ready_value: object = None
        self.is_ready = False
        self.ready_at = math.inf
        #: When the supervisor stops waiting for it; what it supervises itself must be gone by then.
        self.stop_deadline = math.inf
        self.nested: tuple[Stopping, ...] = ()  # of the supervisors that were opened in it
        self.stopping = False
        self._stop: trio.Event | None = None  # made for whoever waits for it
        self._silent = False
        # Where it waited when its start took too long, and how long after that it was ready, in seconds.
        self._cut_at = ""
        self._late = math.inf
        self.hang = ""  # the same, where it was not the outside that let it wait: as `name_crash` names a crash
        #: Whether it may record: then it matters who has a message in hand.
        self._notes_hands = child.is_saved and hasattr(child.spec.state_type, "apply")
        #: What its state was restored from, and when; only with a store.
        self.origin: Origin
        self.started_at: float
        self._recording: Recording | None = None
        # Heartbeats
        self._beats = child.spec.heartbeat_timeout is not None
        self._last_beat = math.inf

    # ------------------------------------------------------------ the run

    def run(self) -> Awaitable[None]:
        """Call the component, for the child to await: a frame of our own between the two takes 300 bytes in each child."""
        spec = self.child.spec
        self.task = trio.lowlevel.current_task()
        self.child.supervisor.cut_watch.expect(self, self.scope.deadline)
        _HOST.set(self)
        if not isinstance(spec.component, type):
            return run_interruptibly(spec.component, self.context, *spec.args)
        component: Component[Any] = spec.component(*spec.args)
        self.component = component
        if spec.state_type is None:
            return run_interruptibly(component.run, self.context)
        return self._run_with_state(component, spec.state_type)

    async def _run_with_state(self, component: Component[Any], state_type: Any) -> None:
        store = self.child.tree.store
        if store is None:
            component.state = make_first_state(state_type)
        else:
            # Whoever has no store need not load what goes with it.
            from genesis_trio.supervision._loading import bring_state

            self.started_at = trio.current_time()
            self._delivered_before = self.child.delivered()
            await bring_state(self, component, store)
        if self.stopping:  # it was left the time to load, so that the last cut has its state, and not to begin
            self.cut_short("it is to stop, and had not begun")
            await trio.lowlevel.checkpoint_if_cancelled()
        await run_interruptibly(component.run, self.context)

    def has_returned(self) -> None:
        """It returned by itself, and so its state is whole; but not if it shielded itself from its end."""
        self._raise_why_cut()
        self.returned = True
        if self.component is not None and self.child.is_saved:
            self.capture()

    def note_cut(self, error: BaseException) -> None:
        """*error* came out of it: where it waited, if that took too long; its scope is about to swallow that."""
        if (self._silent or not self.is_ready) and self.apply_error is None and self.scope.cancel_called:
            self._cut_at = where_it_was_cut(first_cut(error).__traceback__)
            if self._cut_at and not any(waits_for_the_outside(cut.__traceback__) for cut in cuts_in(error)):
                self.hang = f"no progress in {self._cut_at}"

    def has_left(self) -> None:
        """Its scope was left without an error."""
        if self.scope.cancelled_caught:
            self._raise_why_cut()

    def _raise_why_cut(self) -> None:
        """Raise what it was cancelled for, if that was by us and no stop."""
        if self.apply_error is not None:
            raise self.apply_error
        if self.stopping or not self.scope.cancel_called:
            return
        spec = self.child.spec
        if self._silent:
            raise TimeoutError(
                f"child {self.child.path!r} made no progress for {spec.heartbeat_timeout} s: it neither asked for a message "
                f"nor called ctx.heartbeat()"
            )
        from genesis_trio.supervision._words import not_ready_in_time

        raise StartTimeoutError(not_ready_in_time(self.child, self._cut_at, self._late))

    # ------------------------------------------------------------ stopping

    @trio.lowlevel.enable_ki_protection  # also of Trio's own wait: half a wait is found by whoever sets the event
    async def wait_stopping(self) -> None:
        if self._stop is None:
            self._stop = trio.Event()
            if self.stopping:
                self._stop.set()
        await self._stop.wait()

    def _begin_to_stop(self) -> None:
        self.stopping = True
        if self._stop is not None:
            self._stop.set()

    def _is_loading(self) -> bool:
        """True until its first state of this process is there."""
        return self.child.is_saved and self.child.part is None

    def begin_stop(self, deadline: float) -> None:
        """Ask it to end, gracefully: cancelled after ``stop_grace``; *deadline* is when nobody waits any longer.

        The grace is for what it has begun.  One that is not ready has nothing in hand, unless it reads already, and is
        cancelled at once: or each of a tree that waits for its venue would use up its grace, one after the other.
        """
        now = trio.current_time()
        if deadline < self.stop_deadline:
            self.stop_deadline = deadline
            for nested in self.nested:
                nested.hasten(deadline)
        if not self.stopping:
            self._begin_to_stop()
            has_grace = self.is_ready or self._busy or self._is_loading()
            self.scope.deadline = now + self.child.spec.stop_grace if has_grace else now
            for subscription in self._open:
                if isinstance(subscription, RequestReader):
                    subscription.wake()
                else:
                    subscription._mailbox.wake()
        if self.stop_deadline < self.scope.deadline:
            self.scope.deadline = max(now, self.stop_deadline)
        self.child.supervisor.cut_watch.expect(self, self.scope.deadline)

    def cut_short(self, reason: str) -> None:
        """Cancel it now, with all that it supervises."""
        self._begin_to_stop()
        for nested in self.nested:
            nested.hurry()
        self._cancel(reason)

    def _cancel(self, reason: str) -> None:
        self.scope.cancel(reason=reason)
        self.child.supervisor.cut_watch.expect(self, trio.current_time())

    # ------------------------------------------------------------ ready, health, progress

    def ready(self, value: object) -> None:
        if self.is_ready:
            return
        if self.scope.cancel_called and not self.stopping:
            self._late = trio.current_time() - self.scope.deadline  # it shields itself, and has no start any more
            return
        self.is_ready = True
        self.ready_value = value
        self.ready_at = trio.current_time()
        if not self.stopping:
            self.scope.deadline = math.inf
            self.child.supervisor.cut_watch.forget(self)
            self.child.became_ready(self)
            if self._beats:
                self.beat()
                self.child.supervisor.start_service(self._watch_heartbeat)

    def beat(self) -> None:
        if self._beats:
            self._last_beat = trio.current_time()

    async def _watch_heartbeat(self) -> None:
        limit = self.child.spec.heartbeat_timeout
        assert limit is not None
        while self.child.incarnation is self and not self.stopping:
            if self._resting and not self._busy:
                # It waits for a message that nobody sent: that is no silence of its own.
                self._last_beat = trio.current_time()
            due = self._last_beat + limit
            if trio.current_time() >= due:
                self._silent = True
                self._cancel(f"no heartbeat for {limit} s")
                return
            await trio.sleep_until(due)

    @contextlib.contextmanager
    def unhealthy(self, reason: str) -> Iterator[None]:
        if not isinstance(reason, str) or not reason:
            raise ValueError(f"unhealthy() wants the reason in words, got {reason!r}")
        mark = object()
        child = self.child
        child.complaints = child.complaints or {}
        child.complaints[mark] = reason
        self._tell_health(reason)
        try:
            yield
        finally:
            if mark in child.complaints:  # a crash has cleared them
                del child.complaints[mark]
            self._tell_health(next(reversed(child.complaints.values()), ""))

    def _tell_health(self, reason: str) -> None:
        child = self.child
        if child.tree.hooks:
            emit(child.tree, events.HealthChanged, child=child.path, reason=reason)
        child.supervisor.health_changed(child)

    # ------------------------------------------------------------ reading

    def rest(self, subscription: object) -> None:
        self._busy.pop(subscription, None)
        self._resting[subscription] = None
        child = self.child
        limit = child.messages_limit
        if limit is not None and isinstance(subscription, Subscription) and subscription._mailbox.kept >= limit:
            child.ask_for_save("messages")
        elif child.capture_wanted and self.is_whole():
            self.capture()

    def resume(self, subscription: object) -> None:
        self._resting.pop(subscription, None)
        self._busy[subscription] = take_in_hand() if self._notes_hands else None
        self._untouched = False
        if self._beats:
            self._last_beat = trio.current_time()

    # ------------------------------------------------------------ state

    def apply(self, sequence: int, event: object) -> None:
        """Apply record number *sequence* to the state.  An error ends the run, also where the component catches it."""
        if self.apply_error is not None:
            raise self.apply_error
        assert self.component is not None
        try:
            self.component.state.apply(event)
        except BaseException as error:
            self.apply_error = error
            self._cancel("an event could not be applied")
            raise
        self.journal = sequence
        self.touch()

    @property
    def recording(self) -> Recording:
        """What is known of its records."""
        if self._recording is None:
            self._recording = Recording(self)
        return self._recording

    # ------------------------------------------------------------ the end

    def finish(self, error: BaseException | None) -> None:
        """Put back what it had in hand; *error* is set when it crashed by itself."""
        self.child.supervisor.cut_watch.forget(self)
        for subscription in list(self._open):
            if isinstance(subscription, RequestReader):
                subscription.close(error)
            self.close(subscription)
        for mailbox in self.child.mailboxes.values():
            mailbox.give_back(crashed=error is not None)
            mailbox.awaits_reader = True
        if self.child.complaints:
            self.child.complaints.clear()
