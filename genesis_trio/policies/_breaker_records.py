"""What is known of a circuit breaker, as plain records."""

import enum

import attrs


class BreakerState(enum.Enum):
    """What a caller meets."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    ISOLATED = "isolated"
    DISABLED = "disabled"


@attrs.frozen(kw_only=True)
class BreakerStatistics:
    """What a `CircuitBreaker` does now, and has done in this run.

    Attributes:
        state: What a caller would meet now.
        consecutive_failures: Failures since the last success.
        successes: Calls that were answered, also with an error outside of ``failure_on``.
        failures: Calls that failed.
        rejections: Calls that were not let through.
        cancellations: Calls that were cancelled; they say nothing about the dependency.
        slow: Calls that ended after ``slow_call`` seconds or more; they are successes or failures as well.
        opened: How often it opened.
        in_flight: Calls that are running.
        probes_in_flight: Probes among them.
        retry_after: Seconds until a probe may run; 0 when calls may pass now, infinity when isolated.
    """

    state: BreakerState
    consecutive_failures: int
    successes: int
    failures: int
    rejections: int
    cancellations: int
    slow: int
    opened: int
    in_flight: int
    probes_in_flight: int
    retry_after: float
