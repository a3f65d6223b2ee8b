"""What has to hold of a run, as sentences; a broken one says what was found."""

from collections.abc import Sequence
from decimal import Decimal

import attrs

from genesis_trio.demo.harness.measure import Figures, Recovery, format_share
from genesis_trio.demo.harness.recording import Recording

__all__ = ["Invariant", "judge"]

SHOWN = 5  # of what a broken invariant found; the rest is counted
LONGEST = 160  # characters of each


@attrs.frozen
class Invariant:
    """A *rule*, whether it *holds*, and what was *found* where it does not."""

    rule: str
    holds: bool
    found: str = ""

    def __str__(self) -> str:
        return self.rule if self.holds else f"{self.rule}: {self.found}"


def judge(recording: Recording, figures: Figures, *, availability: float | None = None) -> tuple[Invariant, ...]:
    """Judge one run; *availability* is the share that it has to reach, where that is asked for."""
    late = [recovery for recovery in figures.recoveries if recovery.late]
    deaths = [f"status {each.status} at {each.at:.1f} s" for each in recording.exits if not each.wanted]
    rules = [
        _none("no order is lost", figures.lost),
        _none("no order is duplicated", figures.duplicated),
        _none("every order intent has an outcome", figures.unknown),
        _same("the desk's position is the venue's", figures.position_gap),
        _same("the desk's cash is the venue's", figures.cash_gap),
        Invariant(
            "the desk knows every fill once",
            figures.desk_fills == figures.venue_fills and figures.venue_fills is not None,
            f"desk {_or_nothing(figures.desk_fills)}, venue {_or_nothing(figures.venue_fills)}",
        ),
        _none("every fault is overcome within its bound", [_describe(recovery) for recovery in late]),
        _none(
            "without a fault the desk is available",
            [f"not from {span.start:.1f} to {span.end:.1f} s" for span in figures.unexplained],
        ),
        _none(
            "every fault of the plan took effect",
            [f"{each.kind} at {each.planned:.1f} s" for each in figures.not_injected],
        ),
        _none("the desk ends only when it is told to or killed", deaths),
        _none("the run went as planned", recording.problems),
    ]
    if availability is not None:
        reached = figures.availability
        rules.append(
            Invariant(
                f"the desk is available {availability:.0%} of the time",
                reached is not None and reached >= availability,
                "there was nothing to measure" if reached is None else format_share(reached),
            )
        )
    return tuple(rules)


def _none(rule: str, found: Sequence[str]) -> Invariant:
    found = [each if len(each) <= LONGEST else each[:LONGEST] + "…" for each in dict.fromkeys(found)]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return Invariant(rule, not found, ", ".join(found[:SHOWN]) + more)


def _same(rule: str, gap: Decimal | None) -> Invariant:
    return Invariant(rule, gap == 0, "one of them said nothing" if gap is None else f"off by {gap:+f}")


def _describe(recovery: Recovery) -> str:
    took = "never" if recovery.seconds == float("inf") else f"after {recovery.seconds:.1f} s"
    return f"{recovery.kind} at {recovery.began:.1f} s {took}, not {recovery.bound:.1f} s"


def _or_nothing(value: int | None) -> str:
    return "said nothing" if value is None else str(value)
