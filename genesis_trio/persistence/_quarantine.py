"""Saved states that kept killing their component: passed over by every restore that does not name them.

One entry of the control state for each component.  A state is known by the digest of its bytes, so that a
later saved checkpoint that holds the same is concerned as well, and the saved checkpoints by their numbers.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from genesis_trio.persistence._cut import Cut

__all__ = ["QUARANTINE", "Verdict", "name_entry", "pack_verdicts", "verdict_on", "verdicts_in", "verdicts_on"]

QUARANTINE = "quarantine/"


@attrs.frozen
class Verdict:
    """What is known about one state of one component.

    Attributes:
        states: The digests of its bytes, in hexadecimal.
        cuts: Numbers of saved checkpoints that it was restored from.
        why: In words.
    """

    states: tuple[str, ...]
    cuts: tuple[int, ...]
    why: str

    def concerns(self, cut: "Cut", component: str) -> bool:
        return cut.number in self.cuts or cut.parts[component].digest.hex() in self.states


def name_entry(component: str) -> str:
    return QUARANTINE + component


def verdicts_in(body: bytes | None) -> Sequence[Verdict]:
    """The verdicts in an entry; none where there is no entry."""
    if body is None:
        return ()
    return [Verdict(tuple(states), tuple(cuts), why) for states, cuts, why in json.loads(body)]


def verdicts_on(control: Mapping[str, bytes], component: str) -> Sequence[Verdict]:
    """All verdicts on states of *component*."""
    return verdicts_in(control.get(name_entry(component)))


def verdict_on(control: Mapping[str, bytes], cut: "Cut", component: str) -> Verdict | None:
    """The one on that state in *cut*; None if it is not in quarantine."""
    return next((each for each in verdicts_on(control, component) if each.concerns(cut, component)), None)


def pack_verdicts(verdicts: Iterable[Verdict]) -> bytes | None:
    """The body of the entry; None if there is nothing to keep."""
    rows = [[each.states, each.cuts, each.why] for each in verdicts]
    return json.dumps(rows, ensure_ascii=False).encode() if rows else None
