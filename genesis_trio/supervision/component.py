"""What users write: components, and the record that describes one child."""

import enum
import inspect
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args, get_origin

import attrs

from genesis_trio._members import check_member
from genesis_trio.modes import Criticality
from genesis_trio.policies.breaker import CircuitBreaker
from genesis_trio.supervision._ladder import Recovery

if TYPE_CHECKING:
    from genesis_trio.persistence.policy import CheckpointPolicy
    from genesis_trio.policies.breaker import CircuitBreaker
    from genesis_trio.supervision.context import Context

__all__ = ["ChildSpec", "Component", "Lifecycle", "OnCrash", "Recovery", "Restart", "Strategy"]

StateT = TypeVar("StateT")


class Strategy(enum.Enum):
    """Who restarts when a child crashes, or is restarted by hand.  Whoever ``requires`` it restarts as well, always.

    The trial of a parked child concerns it alone: it may fail, again and again, and those that are well go on meanwhile.

    - ``ONE_FOR_ONE``: it alone.
    - ``ONE_FOR_ALL``: all children.
    - ``REST_FOR_ONE``: it and those that were started after it.
    """

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"


class Restart(enum.Enum):
    """Which end of a run is followed by another run.

    - ``PERMANENT``: a crash, and a return after it was ready.  One that returns before ``ctx.ready()`` was a
      job, and is done.
    - ``TRANSIENT``: a crash.
    - ``TEMPORARY``: none, nor is it restarted with its group.  It leaves ``Supervisor.children`` when it ends, unless another child requires it; its name is free then.
    """

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class OnCrash(enum.Enum):
    """What follows a crash, by its exception: the values of ``ChildSpec(rules=…)``.

    - ``RESTART``: another run, within the budget.
    - ``PARK``: none until its trial, as if the budget were used up: another run would meet the same.
    - ``STOP``: none, and the child is done.
    - ``ESCALATE``: the supervisor stops all its children and raises the error.
    """

    RESTART = "restart"
    PARK = "park"
    STOP = "stop"
    ESCALATE = "escalate"


class Lifecycle(enum.Enum):
    """Where a child is in its life.  Health and mode are something else.

    - ``STARTING``: it runs, and has not called ``ctx.ready()``.
    - ``READY``: it works.
    - ``BACKOFF``: it crashed and waits for its restart.
    - ``PARKED``: it used up its restarts, or could not be helped by one; it waits for its trial, or for somebody.
    - ``SUSPENDED``: the mode does not admit it.
    - ``STOPPING``: it was asked to end.
    - ``STOPPED``: it ended and stays so.
    """

    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    PARKED = "parked"
    SUSPENDED = "suspended"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Component(Generic[StateT]):
    """Base of components that have state: subclass ``Component[YourState]`` and write `run`.

    Every incarnation is a new instance, made as ``YourComponent(*args)``; ``self.state`` is set before `run`
    begins, from the store or by calling the state's class.

    Attributes:
        state: The attrs instance that is saved.
        state_type: Its class, taken from ``Component[X]``; None for a component without state.
        options_type: The attrs class that ``options`` of a configuration are structured into.
        criticality: Up to which mode it runs.
        tracks_changes: It calls ``ctx.changed()`` after each change, so that saving may skip it otherwise.
    """

    state: StateT
    state_type: ClassVar[type | None] = None
    options_type: ClassVar[type | None] = None
    criticality: ClassVar[Criticality] = Criticality.ESSENTIAL
    tracks_changes: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "state_type" in cls.__dict__:
            return
        for base in getattr(cls, "__orig_bases__", ()):
            origin = get_origin(base)
            if isinstance(origin, type) and issubclass(origin, Component):
                (argument, *_) = get_args(base)
                if isinstance(argument, type) and argument is not type(None):
                    cls.state_type = argument

    if not TYPE_CHECKING:  # which would then allow any name

        def __getattr__(self, name: str) -> Any:
            kind = type(self).__name__
            if name != "state":
                raise AttributeError(f"{kind!r} object has no attribute {name!r}", name=name, obj=self)
            raise AttributeError(
                f"{kind} has no state yet: it is set after __init__() and before run(); use it there", name=name
            )

    async def run(self, ctx: "Context") -> None:
        """Do the work; call ``ctx.ready()`` once it is under way."""
        raise NotImplementedError(f"{type(self).__name__} has no run(); write `async def run(self, ctx)`")


ComponentLike = type[Component[Any]] | Callable[..., Awaitable[None]]


def is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name) and "/" not in name and name == name.strip()


@attrs.frozen(init=False)
class ChildSpec:
    """How one child is made and kept: the one record behind TOML, Python and ``start``.

    Args:
        component: A `Component` class, or an async function ``fn(ctx, *args)``.
        args: Its arguments, the same for each incarnation.
        name: Unique in its supervisor, without ``/``.
        restart: Which end of a run is followed by another run.
        criticality: Up to which mode it runs; None is the component's own.
        requires: Names of siblings that start before it, unless they are SUSPENDED or PARKED; when they restart, so does it, but not
            for the trial of a parked one.
        start_timeout: Seconds it has to call ``ctx.ready()``.
        stop_grace: Seconds it has to end by itself when it is to stop; then it is cancelled.  While it is not ready, and has no
            message in hand, it is cancelled at once.
        heartbeat_timeout: Seconds without progress, once ready, after which it is restarted; None: never.
        unpark_after: Seconds until a parked child gets a trial, doubling to ten minutes; None: by hand only.
        checkpoint: A policy of its own that also triggers saving the tree.
        breaker: A circuit breaker over the child, shared with those that depend on the same venue.
        options: What stands at ``ctx.options``, structured into the component's ``options_type``.
        rules: Exception types and what follows a crash by them; the first that fits counts, as with ``except``, and in a group the
            gravest. What none fits is ``OnCrash.RESTART``.
        escalate: Once over its budget, it is not parked: the supervisor stops all its children and raises the error.
        recovery: From which state it may start when the newest one keeps killing it before its first message.
    """

    component: ComponentLike
    args: tuple[Any, ...]
    name: str
    restart: Restart
    criticality: Criticality
    requires: tuple[str, ...]
    start_timeout: float
    stop_grace: float
    heartbeat_timeout: float | None
    unpark_after: float | None
    checkpoint: "CheckpointPolicy | None"
    breaker: CircuitBreaker | None
    options: Mapping[str, Any] | None
    rules: Mapping[type[BaseException], OnCrash]
    escalate: bool
    recovery: Recovery

    def __init__(
        self,
        component: ComponentLike,
        *args: Any,
        name: str,
        restart: Restart = Restart.PERMANENT,
        criticality: Criticality | None = None,
        requires: Sequence[str] = (),
        start_timeout: float = 30.0,
        stop_grace: float = 5.0,
        heartbeat_timeout: float | None = None,
        unpark_after: float | None = 30.0,
        checkpoint: "CheckpointPolicy | None" = None,
        breaker: CircuitBreaker | None = None,
        options: Mapping[str, Any] | None = None,
        rules: Mapping[type[BaseException], OnCrash] | None = None,
        escalate: bool = False,
        recovery: Recovery = Recovery.COVERED,
    ) -> None:
        check_component(component)
        if not isinstance(name, str):
            raise TypeError(f"the name of a child is a text, got {name!r}")
        if not is_name(name):
            raise ValueError(f"the name of a child is not empty and has no '/' or outer space, got {name!r}")
        check_member(f"restart of child {name!r}", restart, Restart)
        if criticality is None:
            criticality = getattr(component, "criticality", Criticality.ESSENTIAL)
        check_member(f"criticality of child {name!r}", criticality, Criticality)
        if isinstance(requires, str):
            raise TypeError(f"requires of child {name!r} is a sequence of names, got the string {requires!r}")
        requires = tuple(requires)
        if not all(isinstance(required, str) for required in requires):
            raise TypeError(f"requires of child {name!r} is a sequence of names, got {requires!r}")
        for what, seconds, may_be_none in (
            ("start_timeout", start_timeout, False),
            ("stop_grace", stop_grace, False),
            ("heartbeat_timeout", heartbeat_timeout, True),
            ("unpark_after", unpark_after, True),
        ):
            if seconds is None and may_be_none:
                continue
            if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
                raise TypeError(f"{what} of child {name!r} is a number of seconds, got {seconds!r}")
            if seconds < 0 or math.isnan(seconds) or (seconds == 0 and what != "stop_grace"):
                raise ValueError(f"{what} of child {name!r} is in seconds and positive, got {seconds!r}")
        if breaker is not None and not isinstance(breaker, CircuitBreaker):
            raise TypeError(f"breaker of child {name!r} is a CircuitBreaker, got {breaker!r}")
        if checkpoint is not None:
            # Whoever saves nothing need not load what saves.
            from genesis_trio.persistence.policy import CheckpointPolicy

            if not isinstance(checkpoint, CheckpointPolicy):
                raise TypeError(f"checkpoint of child {name!r} is a CheckpointPolicy, got {checkpoint!r}")
        if options is not None and not isinstance(options, Mapping):
            raise TypeError(
                f"options of child {name!r} is a mapping, as a service.toml has it, got {options!r}; "
                f"its options_type is made from it"
            )
        if not isinstance(escalate, bool):
            raise TypeError(f"escalate of child {name!r} is True or False, got {escalate!r}")
        if not isinstance(recovery, Recovery):
            raise TypeError(f"recovery of child {name!r} is a Recovery, got {recovery!r}")
        self.__attrs_init__(  # pyright: ignore[reportAttributeAccessIssue] - attrs writes it
            component,
            args,
            name,
            restart,
            criticality,
            requires,
            start_timeout,
            stop_grace,
            heartbeat_timeout,
            unpark_after,
            checkpoint,
            breaker,
            options,
            _check_rules(name, rules),
            escalate,
            recovery,
        )

    @property
    def state_type(self) -> type | None:
        """The class of the state that is saved, or None."""
        return getattr(self.component, "state_type", None) if isinstance(self.component, type) else None


#: One for all: an empty dict of its own is 80 bytes in each of ten thousand children.
_NO_RULES: Mapping[type[BaseException], OnCrash] = {}


def _check_rules(
    name: str, rules: Mapping[type[BaseException], OnCrash] | None
) -> Mapping[type[BaseException], OnCrash]:
    if rules is None:
        return _NO_RULES
    if not isinstance(rules, Mapping):
        raise TypeError(f"rules of child {name!r} map exception types to an OnCrash, got {rules!r}")
    for kind, follows in rules.items():
        if not isinstance(kind, type) or not issubclass(kind, Exception):
            raise TypeError(f"rules of child {name!r} are for types of Exception, got {kind!r}")
        if not isinstance(follows, OnCrash):
            raise TypeError(f"what follows {kind.__name__} in rules of child {name!r} is an OnCrash, got {follows!r}")
    return dict(rules)


def check_component(component: object) -> None:
    """Refuse what cannot be run, and say what to write instead."""
    if isinstance(component, type):
        if not issubclass(component, Component):
            raise TypeError(
                f"{component.__qualname__} is a class but not a Component; write `class {component.__name__}(Component[State])`, "
                f"or give an async function of ctx"
            )
        if not inspect.iscoroutinefunction(component.run):
            raise TypeError(f"{component.__qualname__}.run is not async; write `async def run(self, ctx)`")
        return
    if isinstance(component, Component):
        raise TypeError(
            f"got an instance of {type(component).__qualname__}; give the class and its arguments, since each incarnation is a new one"
        )
    if inspect.iscoroutine(component):
        component.close()
        raise TypeError("got a coroutine; give the async function and its arguments, without calling it")
    if not callable(component):
        raise TypeError(f"a component is a Component class or an async function of ctx, got {component!r}")
    target = getattr(component, "func", component)  # functools.partial
    if inspect.isfunction(target) or inspect.ismethod(target):
        if inspect.isasyncgenfunction(target):
            raise TypeError(
                f"{target.__qualname__} is an async generator; a component is an async function without yield"
            )
        if not inspect.iscoroutinefunction(inspect.unwrap(target)) and not inspect.iscoroutinefunction(target):
            raise TypeError(f"{target.__qualname__} is not async; write `async def {target.__name__}(ctx)`")
