"""Figures out of a recording: a calculation, without a clock and without Trio.

Availability is looked at ten times a second: a sample is *up* when the desk's last sign of life reached the venue
within half a second and was made with market data that is at most a second old.  While the venue is down, nobody
could act: these samples count neither way, and the one after them counts at once.
"""

import enum
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal

import attrs

from genesis_trio.demo.faults import KINDS
from genesis_trio.demo.harness.recording import Alive, Injection, Intent, Ledger, Recording, Span

__all__ = [
    "SAMPLE",
    "SILENCE",
    "Figures",
    "Recovery",
    "State",
    "Stretch",
    "format_share",
    "look",
    "measure",
    "percentile",
]

SAMPLE = 0.1  # seconds between two samples
SILENCE = 0.5  # seconds without a sign of life
STALE = 1.0  # seconds since the desk's market data was superseded


class State(enum.Enum):
    """What a sample found."""

    UP = "up"
    DOWN = "down"
    VENUE_DOWN = "venue down"


@attrs.frozen
class Stretch:
    """Samples of one state, from the first of them to the first of another state."""

    start: float
    end: float
    state: State


@attrs.frozen
class Recovery:
    """How a fault was overcome.

    Attributes:
        began: When it took effect.
        seconds: From then until the desk was available for good; 0: the outside saw nothing of it; infinite: never.
        bound: The most that is allowed: as long as the fault lasted, its kind's detection limit, and a second.
        late: It took longer; where another fault fell into the time that is allowed, longer than is allowed for that one.
    """

    kind: str
    began: float
    seconds: float
    bound: float
    late: bool = False


@attrs.frozen
class Figures:
    """What a run comes to.

    Attributes:
        availability: Share of the samples that were up, of those that count; None without any.
        unexplained: When the desk was not available though no fault had begun or was still allowed to be felt.
        latencies: Seconds from each intent to its outcome, by the intents' time.
        lost: Orders of which desk and venue do not know the same.
        duplicated: Orders that the venue has twice, or two for one wish.
        position_gap, cash_gap: Desk minus venue; None when one of them said nothing.
        mode_seconds: Seconds in each mode, and "down".
    """

    availability: float | None
    stretches: tuple[Stretch, ...]
    recoveries: tuple[Recovery, ...]
    unexplained: tuple[Span, ...]
    not_injected: tuple[Injection, ...]
    intents: int
    unknown: tuple[str, ...]
    latencies: tuple[float, ...]
    lost: tuple[str, ...]
    duplicated: tuple[str, ...]
    position_gap: Decimal | None
    cash_gap: Decimal | None
    desk_fills: int | None
    venue_fills: int | None
    mode_seconds: dict[str, float]

    def recoveries_of(self, kind: str) -> list[Recovery]:
        return [recovery for recovery in self.recoveries if recovery.kind == kind]


def measure(recording: Recording) -> Figures:
    """The figures of one run."""
    samples = _sample(recording)
    stretches = _join(samples)
    counted = Counter(state for _, state in samples)
    watched = counted[State.UP] + counted[State.DOWN]
    recoveries, unexplained = _recover(recording, stretches)
    ledger, position = recording.ledger, recording.position
    both = ledger is not None and position is not None
    return Figures(
        availability=counted[State.UP] / watched if watched else None,
        stretches=stretches,
        recoveries=recoveries,
        unexplained=unexplained,
        not_injected=_find_not_injected(recording),
        intents=len(recording.intents),
        unknown=tuple(intent.client_id for intent in recording.intents if not intent.known),
        latencies=tuple(intent.told - intent.at for intent in recording.intents if intent.told is not None),
        lost=_find_lost(recording.intents, ledger),
        duplicated=_find_duplicated(recording.intents, ledger),
        position_gap=position.position - ledger.position if both and position and ledger else None,
        cash_gap=position.cash - ledger.cash if both and position and ledger else None,
        desk_fills=position.fills if position else None,
        venue_fills=len(ledger.fills) if ledger else None,
        mode_seconds=_add_modes(recording),
    )


def _find_not_injected(recording: Recording) -> tuple[Injection, ...]:
    """Faults that had their chance and did not take effect."""
    return tuple(each for each in recording.injections if each.began is None and _had_its_chance(each, recording))


def _had_its_chance(fault: Injection, recording: Recording) -> bool:
    """What happens to the next order has none without one that the venue of that time accepted."""
    if not KINDS[fault.kind].needs_order:
        return True
    began = (each.began for each in recording.injections if each.kind == "venue.kill" and each.began is not None)
    killed = min((at for at in began if at > fault.planned), default=math.inf)
    return any(fault.planned <= intent.at < killed and intent.status != "refused" for intent in recording.intents)


def percentile(values: Iterable[float], share: float) -> float | None:
    """The smallest of *values* that at least *share* of them do not exceed; None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def format_share(share: float) -> str:
    """In hundredths of a per cent, cut and not rounded: what is not whole never looks it."""
    return f"{math.floor(share * 10_000) / 100:.2f} %"


# ---------------------------------------------------------------- availability


def look(last: Alive | None, at: float) -> State:
    """What a sample *at* a time finds whose last sign of life was *last*, with a venue that is there."""
    return State.UP if last is not None and at - last.at <= SILENCE and last.age <= STALE else State.DOWN


def _sample(recording: Recording) -> list[tuple[float, State]]:
    alive = sorted(recording.alive, key=lambda each: each.at)
    samples: list[tuple[float, State]] = []
    heard = 0  # how many signs of life there were until now
    # A sample looks back over half a second, so the first comes when the market has been open for so long.
    for number in range(round(SILENCE / SAMPLE), round(recording.seconds / SAMPLE)):
        at = round(number * SAMPLE, 6)
        while heard < len(alive) and alive[heard].at <= at:
            heard += 1
        last = alive[heard - 1] if heard else None
        if any(span.start <= at < span.end for span in recording.venue_down):
            state = State.VENUE_DOWN
        else:
            state = look(last, at)
        samples.append((at, state))
    return samples


def _join(samples: Sequence[tuple[float, State]]) -> tuple[Stretch, ...]:
    stretches: list[Stretch] = []
    for state, group in itertools.groupby(samples, key=lambda sample: sample[1]):
        times = [at for at, _ in group]
        stretches.append(Stretch(times[0], round(times[-1] + SAMPLE, 6), state))
    return tuple(stretches)


def _outages(stretches: Sequence[Stretch]) -> list[Span]:
    """When nobody could act, for whatever reason."""
    outages: list[Span] = []
    for up, group in itertools.groupby(stretches, key=lambda stretch: stretch.state is State.UP):
        parts = list(group)
        if not up:
            outages.append(Span(parts[0].start, parts[-1].end))
    return outages


def _recover(recording: Recording, stretches: Sequence[Stretch]) -> tuple[tuple[Recovery, ...], tuple[Span, ...]]:
    """Give each outage to the fault that it follows, or to none."""
    effects = sorted(_effects(recording.injections), key=lambda effect: effect.began)
    unexplained: list[Span] = []
    for outage in _outages(stretches):
        # Of those that began before it, only the last; and all that began while it lasted.
        causes = [effect for effect in effects if outage.start < effect.began < outage.end]
        before = [effect for effect in effects if effect.began <= outage.start]
        if before and outage.start <= before[-1].deadline:
            causes.insert(0, before[-1])
        for earlier, later in reversed(list(itertools.pairwise(causes))):
            if later.began <= earlier.deadline:  # before the earlier had to be over: they cannot be told apart
                earlier.allowed = max(earlier.allowed, later.allowed)
        for effect in causes:
            ended = outage.end if outage.end < recording.seconds else math.inf
            if math.isinf(ended) and recording.seconds <= effect.deadline:
                ended = recording.seconds  # the market closed before there was time enough
            effect.recovered = ended
        if not before or outage.start > before[-1].deadline:
            first = min((effect.began for effect in causes), default=outage.end)
            unexplained.append(Span(outage.start, first))
    return tuple(effect.as_recovery() for effect in effects), tuple(unexplained)


@attrs.define
class _Effect:
    """A fault that took effect, until when it may be felt, and until when it was.

    Attributes:
        allowed: Its own deadline, or that of another fault that fell into the same outage.
    """

    kind: str
    began: float
    deadline: float
    allowed: float
    recovered: float

    def as_recovery(self) -> Recovery:
        return Recovery(
            self.kind,
            self.began,
            seconds=_tidy(self.recovered - self.began),
            bound=_tidy(self.deadline - self.began),
            late=_tidy(self.recovered) > _tidy(self.allowed),
        )


def _effects(injections: Iterable[Injection]) -> list[_Effect]:
    effects: list[_Effect] = []
    for each in injections:
        if each.began is not None:
            deadline = (each.began if each.over is None else each.over) + KINDS[each.kind].bound
            effects.append(_Effect(each.kind, each.began, deadline, allowed=deadline, recovered=each.began))
    return effects


def _tidy(seconds: float) -> float:
    """Without the dust of floating point, which would be late by it."""
    return round(seconds, 6)


# ---------------------------------------------------------------- orders


def _find_lost(intents: Iterable[Intent], ledger: Ledger | None) -> tuple[str, ...]:
    """Orders that the desk believes in and the venue has not, and those that the venue has and the desk does not know."""
    if ledger is None:
        return ()
    at_venue = {order.client_id for order in ledger.orders}
    told = {intent.client_id: intent.status for intent in intents}
    believed = {client_id for client_id, status in told.items() if status in ("open", "filled")}
    not_known = {client_id for client_id in at_venue if told.get(client_id, "unknown") in ("unknown", "refused")}
    return tuple(sorted((believed - at_venue) | not_known))


def _find_duplicated(intents: Iterable[Intent], ledger: Ledger | None) -> tuple[str, ...]:
    if ledger is None:
        return ()
    orders = Counter(order.client_id for order in ledger.orders)
    fills = Counter((fill.trade_id, fill.client_id) for fill in ledger.fills)
    wishes = Counter(intent.wish for intent in intents if intent.wish is not None and intent.client_id in orders)
    return tuple(
        sorted(
            {
                *ledger.conflicts,
                *(client_id for client_id, times in orders.items() if times > 1),
                *(client_id for (_, client_id), times in fills.items() if times > 1),
                *(str(wish) for wish, times in wishes.items() if times > 1),
            }
        )
    )


# ---------------------------------------------------------------- modes


def _add_modes(recording: Recording) -> dict[str, float]:
    seconds: dict[str, float] = {"NORMAL": 0.0, "SAFE": 0.0, "EMERGENCY": 0.0, "down": 0.0}
    changes = [*sorted(recording.modes, key=lambda change: change[0]), (recording.seconds, "")]
    for (at, mode), (until, _) in itertools.pairwise(changes):
        within = min(until, recording.seconds) - max(at, 0.0)
        if within > 0:
            seconds[mode] = seconds.get(mode, 0.0) + within
    return seconds
