"""What is known about an effect on the outside world."""

import enum

import attrs

__all__ = ["Effect", "EffectStatus"]


class EffectStatus(enum.Enum):
    """What is known about an effect: NEW (now begun), DONE, FAILED, or UNKNOWN (begun before, never confirmed)."""

    NEW = "new"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"


@attrs.frozen
class Effect:
    """An effect as it stands.

    Attributes:
        result: The encoded result, when it is DONE.
        failure: Type name and text of the recorded failure, when it is FAILED.
    """

    status: EffectStatus
    result: bytes | None = None
    failure: tuple[str, str] | None = None
