"""Trading services that keep running, on Trio.

A service is a tree of supervisors whose leaves are components.  Each call to the outside goes
through a guard; each component's state is saved and comes back; when things go wrong the tree
degrades in steps, NORMAL, SAFE, EMERGENCY, and recovers by itself.

Every public name stands here.  The rooms behind them import downwards only::

    errors < _runtime < events < modes < policies < messaging < persistence
           < supervision < service < instrumentation < testing < cli < demo

Importing this package costs little more than importing Trio: what needs a heavy library
(cattrs, orjson, sqlite3) imports it when it is used.
"""

from genesis_trio.errors import (
    AttemptTimeoutError,
    BreakerOpenError,
    BulkheadFullError,
    ConfigError,
    CorruptError,
    EffectFailedError,
    FencedError,
    GenesisError,
    MailboxFullError,
    ModeRefusedError,
    OutcomeUnknownError,
    PluginError,
    PoisonedError,
    RateLimitedError,
    RetryBudgetExhaustedError,
    SchemaError,
    StartTimeoutError,
    StoreError,
    TotalTimeoutError,
)
from genesis_trio.events import (
    Event,
    Severity,
    observe,
)
from genesis_trio.modes import (
    Capability,
    Criticality,
    Hold,
    Mode,
    ModeCause,
    ModePolicy,
    ModeScope,
    allows,
    cancel_when,
    current_mode,
    current_scope,
    mode_scope,
    require,
)
from genesis_trio.policies.budget import (
    BudgetStatistics,
    RetryBudget,
)
from genesis_trio.policies.bulkhead import (
    Bulkhead,
)
from genesis_trio.policies.hedge import (
    Hedge,
)
from genesis_trio.policies.rate_limit import (
    RateLimit,
)

__all__ = [
    "AttemptTimeoutError",
    "BreakerOpenError",
    "BudgetStatistics",
    "Bulkhead",
    "BulkheadFullError",
    "Capability",
    "ConfigError",
    "CorruptError",
    "Criticality",
    "EffectFailedError",
    "Event",
    "FencedError",
    "GenesisError",
    "Hedge",
    "Hold",
    "MailboxFullError",
    "Mode",
    "ModeCause",
    "ModePolicy",
    "ModeRefusedError",
    "ModeScope",
    "OutcomeUnknownError",
    "PluginError",
    "PoisonedError",
    "RateLimit",
    "RateLimitedError",
    "RetryBudget",
    "RetryBudgetExhaustedError",
    "SchemaError",
    "Severity",
    "StartTimeoutError",
    "StoreError",
    "TotalTimeoutError",
    "allows",
    "cancel_when",
    "current_mode",
    "current_scope",
    "mode_scope",
    "observe",
    "require",
]


def _publish(names: list[str]) -> None:
    # Tracebacks, pickles and documentation then show the path that users import.
    for name in names:
        public = globals()[name]
        # An instance has its class's __module__, and so has a type alias: neither can be named anew.
        if getattr(public, "__qualname__", None) == name:
            public.__module__ = __name__


_publish(__all__)
del _publish
