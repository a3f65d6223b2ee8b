# The public names as type checkers see them; __init__.py loads the same ones when they are asked for.

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
from genesis_trio.persistence.checkpoints import (
    CheckpointInfo,
    Restored,
    VerifyReport,
)
from genesis_trio.persistence.engine import (
    StoreEngine,
)
from genesis_trio.persistence.opening import (
    open_store,
)
from genesis_trio.persistence.policy import (
    CheckpointPolicy,
)
from genesis_trio.persistence.store import (
    Store,
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
    "CheckpointInfo",
    "CheckpointPolicy",
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
    "Restored",
    "RetryBudget",
    "RetryBudgetExhaustedError",
    "SchemaError",
    "Severity",
    "StartTimeoutError",
    "Store",
    "StoreEngine",
    "StoreError",
    "TotalTimeoutError",
    "VerifyReport",
    "allows",
    "cancel_when",
    "current_mode",
    "current_scope",
    "mode_scope",
    "observe",
    "open_store",
    "require",
]
