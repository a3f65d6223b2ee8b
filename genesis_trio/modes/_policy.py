"""How failing children lead to a mode: the settings, checked when they are made."""

import math

import attrs

from genesis_trio._members import check_member
from genesis_trio.modes._values import Mode, number

__all__ = ["ModePolicy"]


@attrs.frozen
class ModePolicy:
    """How failing children lead to a mode, and back.

    Args:
        safe_at: Share of failing children, inclusive, from two of them on, that leads to SAFE.
        emergency_at: The same for EMERGENCY.
        essential_failure: Mode for one failing ESSENTIAL child, whatever the share.
        critical_failure: Mode for one failing CRITICAL child, whatever the share.
        trigger_after: Seconds of failing before the mode rises.  Being bad burns them once, being well refills a quarter.
        recover_after: Seconds of being well before the mode falls by one step.  Doubles at each re-entry.
        max_recover_after: The longest it grows to; as many seconds of calm forget that it grew.
    """

    safe_at: float = attrs.field(default=0.2, kw_only=True)
    emergency_at: float = attrs.field(default=0.5, kw_only=True)
    essential_failure: Mode = attrs.field(default=Mode.SAFE, kw_only=True)
    critical_failure: Mode = attrs.field(default=Mode.EMERGENCY, kw_only=True)
    trigger_after: float = attrs.field(default=1.0, kw_only=True)
    recover_after: float = attrs.field(default=5.0, kw_only=True)
    max_recover_after: float = attrs.field(default=60.0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for name in ("safe_at", "emergency_at"):
            share = number(name, getattr(self, name))
            if not 0.0 < share <= 1.0:
                raise ValueError(f"{name} is a share in (0, 1], got {share!r}")
        if self.emergency_at < self.safe_at:
            raise ValueError(f"emergency_at ({self.emergency_at!r}) must not be below safe_at ({self.safe_at!r})")
        for name in ("essential_failure", "critical_failure"):
            check_member(name, getattr(self, name), Mode)
        for name in ("trigger_after", "recover_after", "max_recover_after"):
            seconds = number(name, getattr(self, name))
            if not 0.0 <= seconds < math.inf:
                raise ValueError(f"{name} is in seconds, finite and not negative, got {seconds!r}")
        if self.max_recover_after < self.recover_after:
            raise ValueError(
                f"max_recover_after ({self.max_recover_after!r}) must not be below recover_after ({self.recover_after!r})"
            )
