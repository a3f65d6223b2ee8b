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
    NoResponderError,
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
from genesis_trio.messaging.requests import (
    Request,
)
from genesis_trio.messaging.subscription import (
    Subscription,
)
from genesis_trio.messaging.topic import (
    MailboxStatistics,
    Overflow,
    Timer,
    Topic,
)
from genesis_trio.modes import (
    Capability,
    Criticality,
    EntryAction,
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
from genesis_trio.persistence.schema import (
    migrates,
    schema,
)
from genesis_trio.persistence.store import (
    Store,
)
from genesis_trio.policies._backoff import (
    JitterKind,
)
from genesis_trio.policies._call import (
    NOT_DONE,
)
from genesis_trio.policies._outcome import (
    RetryRule,
)
from genesis_trio.policies._window import (
    Window,
)
from genesis_trio.policies.breaker import (
    BreakerState,
    BreakerStatistics,
    CircuitBreaker,
)
from genesis_trio.policies.budget import (
    BudgetStatistics,
    RetryBudget,
)
from genesis_trio.policies.bulkhead import (
    Bulkhead,
)
from genesis_trio.policies.guard import (
    Guard,
    GuardStatistics,
)
from genesis_trio.policies.hedge import (
    Hedge,
)
from genesis_trio.policies.pool import (
    BreakerPool,
)
from genesis_trio.policies.rate_limit import (
    RateLimit,
)
from genesis_trio.policies.retry import (
    Attempt,
    Retry,
    with_retry,
)
from genesis_trio.service.running import (
    Service,
    run,
    run_service,
)
from genesis_trio.supervision.backoff import (
    Backoff,
)
from genesis_trio.supervision.child import (
    Child,
)
from genesis_trio.supervision.component import (
    ChildSpec,
    Component,
    Lifecycle,
    OnCrash,
    Recovery,
    Restart,
    Strategy,
)
from genesis_trio.supervision.context import (
    Context,
)
from genesis_trio.supervision.supervisor import (
    Supervisor,
    SupervisorStatistics,
    open_supervisor,
)

__all__ = [
    "Attempt",
    "AttemptTimeoutError",
    "Backoff",
    "BreakerOpenError",
    "BreakerPool",
    "BreakerState",
    "BreakerStatistics",
    "BudgetStatistics",
    "Bulkhead",
    "BulkheadFullError",
    "Capability",
    "CheckpointInfo",
    "CheckpointPolicy",
    "Child",
    "ChildSpec",
    "CircuitBreaker",
    "Component",
    "ConfigError",
    "Context",
    "CorruptError",
    "Criticality",
    "EffectFailedError",
    "EntryAction",
    "Event",
    "FencedError",
    "GenesisError",
    "Guard",
    "GuardStatistics",
    "Hedge",
    "Hold",
    "JitterKind",
    "Lifecycle",
    "MailboxFullError",
    "MailboxStatistics",
    "Mode",
    "ModeCause",
    "ModePolicy",
    "ModeRefusedError",
    "ModeScope",
    "NOT_DONE",
    "NoResponderError",
    "OnCrash",
    "OutcomeUnknownError",
    "Overflow",
    "PluginError",
    "PoisonedError",
    "RateLimit",
    "RateLimitedError",
    "Recovery",
    "Request",
    "Restart",
    "Restored",
    "Retry",
    "RetryBudget",
    "RetryBudgetExhaustedError",
    "RetryRule",
    "SchemaError",
    "Service",
    "Severity",
    "StartTimeoutError",
    "Store",
    "StoreEngine",
    "StoreError",
    "Strategy",
    "Subscription",
    "Supervisor",
    "SupervisorStatistics",
    "Timer",
    "Topic",
    "TotalTimeoutError",
    "VerifyReport",
    "Window",
    "allows",
    "cancel_when",
    "current_mode",
    "current_scope",
    "migrates",
    "mode_scope",
    "observe",
    "open_store",
    "open_supervisor",
    "require",
    "run",
    "run_service",
    "schema",
    "with_retry",
]
