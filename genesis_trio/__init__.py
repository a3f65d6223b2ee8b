"""Trading services that keep running, on Trio.

A service is a tree of supervisors whose leaves are components.  Each call to the outside goes
through a guard; each component's state is saved and comes back; when things go wrong the tree
degrades in steps, NORMAL, SAFE, EMERGENCY, and recovers by itself.

Every public name stands here.  The rooms behind them import downwards only::

    errors < _runtime < events < modes < policies < messaging < persistence
           < supervision < service < instrumentation < testing < cli < demo

A name is loaded from its room when it is first asked for, so that a program pays for the rooms
that it uses (docs/decisions/0002).  Type checkers read the imports in ``__init__.pyi``.
"""

import importlib

_ROOMS = {
    "genesis_trio.errors": """
        AttemptTimeoutError BreakerOpenError BulkheadFullError ConfigError CorruptError EffectFailedError FencedError
        GenesisError MailboxFullError ModeRefusedError NoResponderError OutcomeUnknownError PluginError PoisonedError
        RateLimitedError RetryBudgetExhaustedError SchemaError StartTimeoutError StoreError TotalTimeoutError
    """,
    "genesis_trio.events": "Event Severity observe",
    "genesis_trio.modes": """
        Capability Criticality EntryAction Hold Mode ModeCause ModePolicy ModeScope allows cancel_when current_mode
        current_scope mode_scope require
    """,
    "genesis_trio.policies._backoff": "JitterKind",
    "genesis_trio.policies._call": "NOT_DONE",
    "genesis_trio.policies._outcome": "RetryRule",
    "genesis_trio.policies._window": "Window",
    "genesis_trio.policies.breaker": "BreakerState BreakerStatistics CircuitBreaker",
    "genesis_trio.policies.budget": "BudgetStatistics RetryBudget",
    "genesis_trio.policies.bulkhead": "Bulkhead",
    "genesis_trio.policies.guard": "Guard GuardStatistics",
    "genesis_trio.policies.hedge": "Hedge",
    "genesis_trio.policies.pool": "BreakerPool",
    "genesis_trio.policies.rate_limit": "RateLimit",
    "genesis_trio.policies.retry": "Attempt Retry with_retry",
    "genesis_trio.messaging.requests": "Request",
    "genesis_trio.messaging.subscription": "Subscription",
    "genesis_trio.messaging.topic": "MailboxStatistics Overflow Timer Topic",
    "genesis_trio.persistence.checkpoints": "CheckpointInfo Restored VerifyReport",
    "genesis_trio.persistence.engine": "StoreEngine",
    "genesis_trio.persistence.opening": "open_store",
    "genesis_trio.persistence.policy": "CheckpointPolicy",
    "genesis_trio.persistence.schema": "migrates schema",
    "genesis_trio.persistence.store": "Store",
    "genesis_trio.supervision.backoff": "Backoff",
    "genesis_trio.supervision.child": "Child",
    "genesis_trio.supervision.component": "ChildSpec Component Lifecycle OnCrash Recovery Restart Strategy",
    "genesis_trio.supervision.context": "Context",
    "genesis_trio.supervision.supervisor": "Supervisor SupervisorStatistics open_supervisor",
    "genesis_trio.service.running": "Service run run_service",
}
_WHERE = {name: module for module, names in _ROOMS.items() for name in names.split()}

__all__ = sorted(_WHERE)  # pyright: ignore[reportUnsupportedDunderAll] - type checkers read the stub


def _load(module: str) -> None:
    """Bring the public names of *module* here, as objects of this package.

    Tracebacks, pickles and documentation then show the path that users import.
    """
    room = importlib.import_module(module)
    for name in _ROOMS[module].split():
        public = getattr(room, name)
        # An instance has its class's __module__, and so has a type alias: neither can be named anew.
        if getattr(public, "__qualname__", None) == name:
            public.__module__ = __name__
        globals()[name] = public


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _load(_WHERE[name])
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# Errors are met without being asked for, and are to say the same name each time.
_load("genesis_trio.errors")
