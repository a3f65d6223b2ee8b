"""What guards, retries and breakers tell."""

import attrs

from genesis_trio.events._event import Event, Severity


@attrs.frozen(kw_only=True)
class AttemptFailed(Event):
    """One attempt of a guarded call failed; whether it is tried again is another event."""

    name = "attempt_failed"
    policy: str
    attempt: int
    error: str


@attrs.frozen(kw_only=True)
class RetryScheduled(Event):
    """Another attempt begins after *delay* seconds."""

    name = "retry_scheduled"
    severity = Severity.WARNING
    policy: str
    attempt: int
    delay: float
    error: str


@attrs.frozen(kw_only=True)
class RetrySucceeded(Event):
    """A call that had failed succeeded at its *attempt*-th attempt."""

    name = "retry_succeeded"
    policy: str
    attempt: int


@attrs.frozen(kw_only=True)
class RetriesExhausted(Event):
    """A call failed for good; *reason* says why no further attempt was made."""

    name = "retries_exhausted"
    severity = Severity.ERROR
    policy: str
    attempts: int
    reason: str
    error: str


@attrs.frozen(kw_only=True)
class CallRejected(Event):
    """A policy refused a call before it was made."""

    name = "call_rejected"
    severity = Severity.WARNING
    policy: str
    error: str


@attrs.frozen(kw_only=True)
class HedgeStarted(Event):
    """A second copy of a slow call was started."""

    name = "hedge_started"
    policy: str
    copy: int
    delay: float


@attrs.frozen(kw_only=True)
class FallbackUsed(Event):
    """A call failed and its fallback answered instead."""

    name = "fallback_used"
    severity = Severity.WARNING
    policy: str
    error: str


@attrs.frozen(kw_only=True)
class PolicyMisbehaved(Event):
    """A rule given by the user (what to retry, what is a failure) raised; it was treated as "no"."""

    name = "policy_misbehaved"
    severity = Severity.ERROR
    policy: str
    rule: str
    error: str


@attrs.frozen(kw_only=True)
class BreakerOpened(Event):
    """A circuit breaker rejects calls for *retry_after* seconds; infinity when isolated by hand."""

    name = "breaker_opened"
    severity = Severity.ERROR
    breaker: str
    retry_after: float
    error: str


@attrs.frozen(kw_only=True)
class BreakerHalfOpened(Event):
    """A circuit breaker lets probes through."""

    name = "breaker_half_opened"
    severity = Severity.WARNING
    breaker: str


@attrs.frozen(kw_only=True)
class BreakerClosed(Event):
    """A circuit breaker lets calls through again."""

    name = "breaker_closed"
    breaker: str


@attrs.frozen(kw_only=True)
class BreakerDisabled(Event):
    """A circuit breaker was switched off by hand: it counts and lets everything through."""

    name = "breaker_disabled"
    severity = Severity.WARNING
    breaker: str
