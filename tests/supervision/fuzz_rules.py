"""What is seen of a random tree, and the rules that must hold in all of them."""

from collections import deque

import trio

from genesis_trio import Capability, Lifecycle, Mode, ModeRefusedError
from genesis_trio.modes import admits
from genesis_trio.supervision._mode_watch import PARKED_REASON
from genesis_trio.supervision._stopping import LAST_GRACE

WITHIN = 3.0
#: What cleaning up takes at most, in seconds, whoever cancels it.
CLEANUP = 0.3
NESTED_SHUTDOWN = 5.0
#: Seconds in which all that failed has come back, once nothing fails any more.
CALM = 40.0


class Violation(AssertionError):
    """A rule was broken."""


class Rules:
    """An observer of one tree, told by its components as well."""

    max_restarts: int
    shutdown_timeout: float

    def __init__(self) -> None:
        self.events: list[object] = []
        self.running: set[str] = set()
        self.broken: list[str] = []  # rules, by components, whose own errors are only crashes
        self.stopped_by_hand: set[str] = set()
        self.refused: set[int] = set()  # crashes on the mode, which wait for it uncharged, by the number of the event
        # The stop: from which event on, when, of whom, and by whom else than its supervisor.
        self.stop_begins_at: int | None = None
        self.stop_began = 0.0
        self.order: list[str] = []
        self.struck = ""
        self.desk = None

    # ------------------------------------------------------------ what is seen

    def note(self, event) -> None:
        self.events.append(event)
        if event.name == "child_parked" and event.child.count("/") == 1:
            child = self.desk.children[event.child.removeprefix("desk/")]
            demanded = Mode(child.spec.criticality)
            if demanded > Mode.NORMAL and self.desk.scope.mode < demanded:
                self.broken.append(f"{child.path} is parked, and the mode only {self.desk.scope.mode.name}")
        elif event.name == "child_escalated":
            self.strike(event.child)
        elif event.name == "child_crashed":
            if event.error.startswith("Cancelled"):
                self.broken.append(f"a cancellation from outside reached {event.child}")
            child = self.desk.tree.children.get(event.child)
            if child is not None and child.status is Lifecycle.STOPPING:
                self.broken.append(f"{event.child} was asked to stop, and its error is taken for a crash")
            if child is not None and is_refused_by_others(child):
                self.refused.add(len(self.events) - 1)

    def was(self, name: str) -> bool:
        return any(event.name == name for event in self.events)

    def strike(self, path: str) -> None:
        """*path* ends its supervisor."""
        self.struck = self.struck or path
        self.stop_begins()

    def is_struck(self, path: str) -> bool:
        """True if it, or something in it, has ended its supervisor."""
        return f"{self.struck}/".startswith(f"{path}/")

    def stop_begins(self) -> None:
        if self.stop_begins_at is None:
            self.stop_begins_at = len(self.events)
            self.stop_began = trio.current_time()
            self.order = list(self.desk.children)

    def entered(self, ctx) -> None:
        if ctx.path in self.running:
            self.broken.append(f"two incarnations of {ctx.path} at once")
        self.running.add(ctx.path)

    def left(self, ctx) -> None:
        below = [path for path in self.running if path.startswith(f"{ctx.path}/")]
        if below:
            self.broken.append(f"{ctx.path} ended before {below}")
        self.running.discard(ctx.path)

    # ------------------------------------------------------------ what must hold

    def check_came_back(self, desk, child) -> None:
        """Nobody is forgotten on the way: what does not run is stopped, or something that is known keeps it."""
        causes = {cause.owner for cause in desk.scope.causes if cause.reason == PARKED_REASON}
        waits_for_somebody = any(each.spec.unpark_after is None for each in desk.children.values())
        match child.status:
            case Lifecycle.STOPPED:
                fine = True
            case Lifecycle.READY:
                fine = child.path not in causes
            case Lifecycle.PARKED:
                # By hand, it or another one that holds a cause; or each trial that failed by hand has doubled the time to the next.
                fine = waits_for_somebody or self.trial_at(child.path) > trio.current_time()
            case Lifecycle.SUSPENDED:
                fine = not admits(desk.scope.mode, child.spec.criticality) or (
                    waits_for_somebody and not child.scope.allows(Capability.OPEN)
                )
            case _:
                fine = False
        if not fine:
            raise Violation(f"{child!r} has not come back after {CALM} s without a crash, in {desk.scope.causes}")

    def trial_at(self, path: str) -> float:
        """When *path*, which is parked, was said to be tried."""
        return next(
            event.time + event.retry_after
            for event in reversed(self.events)
            if event.name == "child_parked" and event.child == path
        )

    def check_order(self, path: str, begin: int, order: list[str]) -> None:
        """Those that the stop ended did so in reverse order; but for the one that was struck, and if each had enough time."""
        depth = path.count("/") + 1
        seen = [
            event
            for event in self.events[begin:]
            if getattr(event, "child", "").startswith(f"{path}/") and event.child.count("/") == depth
        ]
        if any(event.name == "child_unstopped" for event in seen):
            return
        ended = [
            event.child.rpartition("/")[2]
            for event in seen
            if event.name == "child_stopped" and event.reason == "stopped"
        ]
        known = [name for name in ended if not self.is_struck(f"{path}/{name}") and name not in self.stopped_by_hand]
        expected = [name for name in reversed(order) if name in known]
        if known != expected:
            self.broken.append(f"{path} stopped {ended}, not {expected}")

    def check_stop(self) -> None:
        """The stop had its order, and its time."""
        assert self.stop_begins_at is not None
        self.check_order("desk", self.stop_begins_at, self.order)
        seen = self.events[self.stop_begins_at :]
        began = self.stop_began
        if self.struck:
            # What ends a supervisor from inside of a child ends that one first, and what is nested in it has a time of its own.
            host = "/".join(self.struck.split("/")[:2])
            ended = (event.time for event in seen if event.name == "child_stopped" and event.child == host)
            began = next(ended, began)
            self.check_time("a nested stop", began - self.stop_began, NESTED_SHUTDOWN)
        last = max((event.time for event in seen), default=began)
        self.check_time("the stop", last - began, self.shutdown_timeout)

    def check_time(self, what: str, took: float, limit: float) -> None:
        if took > limit + len(self.order) * LAST_GRACE + CLEANUP + 1e-9:
            raise Violation(f"{what} took {took} s and has {limit} s")

    def check_budgets(self) -> None:
        """Parked at the crash that was one too many, and at no other."""
        crashes: dict[str, deque[float]] = {}
        trials: set[str] = set()
        ready: set[str] = set()
        due: dict[str, str] = {}
        for number, event in enumerate(self.events):
            child = getattr(event, "child", "")
            if child.count("/") != 1:
                continue
            if event.name == "child_trial":
                trials.add(child)
            elif event.name == "child_unparked":
                trials.discard(child)
            elif event.name == "child_ready":
                ready.add(child)  # before, no crash is forgiven with time
            elif event.name == "child_crashed" and number in self.refused:
                due[child] = "child_suspended"
            elif event.name == "child_crashed":
                counted = crashes.setdefault(child, deque())
                while child in ready and counted and counted[0] <= event.time - WITHIN:
                    counted.popleft()
                if child in trials or len(counted) >= self.max_restarts:
                    due[child] = "child_parked"
                    counted.clear()
                    trials.discard(child)
                else:
                    counted.append(event.time)
                    due[child] = "restart_scheduled"
            elif event.name in ("child_parked", "restart_scheduled", "child_suspended") and child in due:
                if event.name != due.pop(child):
                    raise Violation(f"{child} at {event.time}: {event.name} is not what its budget says")
            elif event.name == "child_stopped":
                due.pop(child, None)  # temporary, or a first start that start() raised


def is_refused_by_others(child) -> bool:
    """True if it crashed on nothing but a refusal by its mode, which still stands, and in which nothing of its own has part."""
    leaves = [child.last_error]
    while any(isinstance(leaf, BaseExceptionGroup) for leaf in leaves):
        leaves = [each for leaf in leaves for each in getattr(leaf, "exceptions", (leaf,))]
    owners, scope = [], child.scope
    while scope is not None:
        owners += [cause.owner for cause in scope.causes if cause.mode > Mode.NORMAL]
        scope = scope.parent
    refused = all(isinstance(leaf, (ModeRefusedError, trio.Cancelled)) for leaf in leaves)
    return refused and bool(owners) and not any(f"{owner}/".startswith(f"{child.path}/") for owner in owners)
