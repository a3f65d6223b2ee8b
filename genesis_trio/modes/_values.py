"""Modes, capabilities and who runs in which: plain values and what follows from them."""

import enum
from collections.abc import Iterable

__all__ = [
    "ALL",
    "MODE_CAPABILITIES",
    "Capability",
    "Criticality",
    "Mode",
    "admits",
    "combine",
    "mask_of",
    "names",
    "number",
    "text",
]


class Mode(enum.IntEnum):
    """How far a service is degraded.  A greater mode is a worse one."""

    NORMAL = 0
    SAFE = 1
    EMERGENCY = 2


class Capability(enum.Flag):
    """What an action does to the risk that is on the books; what a guard ``needs``."""

    READ = 1
    CANCEL = 2
    REDUCE = 4
    OPEN = 8

    def __init__(self, value: int) -> None:
        # What is asked before every order reads this: at the price of `_value_`, and no member of another enum has it, so
        # `require(Mode.NORMAL)` is an error and not a yes.
        self._bits = value

    @classmethod
    def _missing_(cls, value: object) -> "Capability":
        combined: Capability = super()._missing_(value)
        combined._bits = combined._value_
        return combined


class Criticality(enum.IntEnum):
    """Up to which mode a component runs: OPTIONAL in NORMAL, ESSENTIAL up to SAFE, CRITICAL always."""

    OPTIONAL = 0
    ESSENTIAL = 1
    CRITICAL = 2


ALL = Capability.READ | Capability.CANCEL | Capability.REDUCE | Capability.OPEN

#: What each mode leaves.  SAFE and EMERGENCY allow the same actions; EMERGENCY also suspends what is not CRITICAL.
MODE_CAPABILITIES = {
    Mode.NORMAL: ALL,
    Mode.SAFE: ALL & ~Capability.OPEN,
    Mode.EMERGENCY: ALL & ~Capability.OPEN,
}


def admits(mode: Mode, criticality: Criticality) -> bool:
    """True if a component of *criticality* runs in *mode*."""
    return criticality >= mode


def mask_of(mode: Mode, capabilities: Capability | None) -> int:
    """The bits that a cause leaves: those of its mode, and of them only its own *capabilities* if it names any."""
    mask = MODE_CAPABILITIES[mode].value
    return mask if capabilities is None else mask & capabilities.value


def combine(mode: Mode, mask: int, causes: Iterable[tuple[Mode, int]]) -> tuple[Mode, int]:
    """What is in effect under *mode* and *mask* from above with *causes* here: the worst mode, the intersection of the masks."""
    for held, left in causes:
        if held > mode:
            mode = held
        mask &= left
    return mode, mask


def names(capabilities: Capability) -> str:
    """The capabilities in words."""
    return ", ".join(name for name in Capability.__members__ if Capability[name] in capabilities) or "nothing"


def number(name: str, value: object) -> float:
    """*value* if it is a number; bool is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a number, got {value!r}")
    return value


def text(name: str, value: object) -> str:
    """*value* if it is a string, empty or not."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is a string, got {value!r}")
    return value
