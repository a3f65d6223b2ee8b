"""The figures: what is available, what recovered when, and what desk and venue do not know alike."""

import math
from decimal import Decimal

import attrs
import pytest

from demo.harness.made_recordings import DOWN_FOR_TWO_SECONDS, GOOD, fill, order, signs_of_life
from genesis_trio.demo.faults import KINDS
from genesis_trio.demo.harness.measure import Recovery, State, Stretch, measure, percentile
from genesis_trio.demo.harness.recording import Alive, Injection, Intent, Ledger, Recording, Span

# ------------------------------------------------------------------ availability


def test_measure_good_run_figures_are_exact() -> None:
    """A hand-made run comes to the figures that a reader works out by hand."""
    figures = measure(GOOD)

    assert figures.availability == 185 / 195
    assert figures.stretches == (
        Stretch(0.5, 5.5, State.UP),
        Stretch(5.5, 6.5, State.DOWN),
        Stretch(6.5, 20.0, State.UP),
    )
    assert figures.recoveries == (Recovery("feed.silent", 5.0, 1.5, 2.0),)
    assert figures.mode_seconds == {"NORMAL": 18.5, "SAFE": 1.5, "EMERGENCY": 0.0, "down": 0.0}
    assert figures.latencies == pytest.approx((0.02, 0.1, 0.5))
    assert (figures.unknown, figures.lost, figures.duplicated, figures.unexplained) == ((), (), (), ())
    assert (figures.position_gap, figures.cash_gap, figures.desk_fills, figures.venue_fills) == (0, 0, 1, 1)


def test_measure_old_market_data_is_not_available() -> None:
    """A desk that lives on a book superseded more than a second ago cannot act on it."""
    fresh, stale = (
        [Alive(number / 10, 1.0) for number in range(50)],
        [Alive(number / 10, 1.01) for number in range(50, 100)],
    )

    figures = measure(Recording("protected", 10.0, alive=(*fresh, *stale)))

    assert figures.availability == 45 / 95


def test_measure_venue_down_counts_neither_way() -> None:
    """While the venue is down nobody could act; the first sample after it counts at once, without a grace."""
    silent = (8.0, 10.25)
    recording = Recording(
        "protected",
        20.0,
        signs_of_life(20.0, silent),
        (DOWN_FOR_TWO_SECONDS,),
        (Injection("venue.kill", 8.0, 8.0, 10.0),),
    )

    figures = measure(recording)

    assert figures.availability == 172 / 175
    assert [stretch.state for stretch in figures.stretches] == [State.UP, State.VENUE_DOWN, State.DOWN, State.UP]
    assert figures.recoveries == (Recovery("venue.kill", 8.0, 2.3, 2.0 + KINDS["venue.kill"].bound),)


def test_measure_without_a_sign_of_life_nothing_is_available() -> None:
    """Silence from beginning to end is zero, not a division by zero; an empty run has no figure."""
    assert measure(Recording("bare", 10.0)).availability == 0.0
    assert measure(Recording("bare", 0.5)).availability is None


def test_measure_first_sample_looks_back_to_the_opening() -> None:
    """A sign of life right after the opening is in time: the first sample comes half a second later."""
    first = Alive(0.04, 0.0)

    assert measure(Recording("protected", 0.6, alive=(first,))).availability == 1.0


# ------------------------------------------------------------------ recoveries


def test_measure_fault_that_nobody_felt_recovers_in_no_time() -> None:
    """A fault that leaves no sample unavailable took nothing."""
    recording = Recording("protected", 10.0, signs_of_life(10.0), injections=(Injection("feed.gap", 4.0, 4.0),))

    assert measure(recording).recoveries == (Recovery("feed.gap", 4.0, 0.0, 1.5),)


def test_measure_second_dip_within_the_bound_belongs_to_the_fault() -> None:
    """A recovery that does not last is none: the last dip counts."""
    recording = Recording(
        "protected",
        10.0,
        signs_of_life(10.0, (4.0, 4.75), (4.85, 5.65)),
        injections=(Injection("link.dropped", 4.0, 4.0),),
    )

    assert measure(recording).recoveries == (Recovery("link.dropped", 4.0, 1.7, 1.5, late=True),)


def test_measure_dip_after_the_bound_has_no_explanation() -> None:
    """What happens long after a fault is not its doing, and is shown as what nobody planned."""
    recording = Recording(
        "protected", 10.0, signs_of_life(10.0, (6.0, 7.0)), injections=(Injection("link.dropped", 4.0, 4.0),)
    )

    figures = measure(recording)

    assert figures.unexplained == (Span(6.5, 7.1),)
    assert figures.recoveries == (Recovery("link.dropped", 4.0, 0.0, 1.5),)


def test_measure_dip_before_its_fault_has_no_explanation() -> None:
    """A fault that begins while the desk is already away does not excuse what came before."""
    recording = Recording(
        "protected", 10.0, signs_of_life(10.0, (2.0, 4.85)), injections=(Injection("link.dropped", 4.0, 4.0),)
    )

    figures = measure(recording)

    assert figures.unexplained == (Span(2.5, 4.0),)
    assert figures.recoveries == (Recovery("link.dropped", 4.0, 0.9, 1.5),)


def test_measure_desk_that_does_not_come_back_never_recovers() -> None:
    """Unavailable until the close, with time enough to recover, is infinite and late."""
    recording = Recording("bare", 10.0, signs_of_life(4.0), injections=(Injection("desk.hang", 4.0, 4.0),))

    (recovery,) = measure(recording).recoveries

    assert recovery.seconds == math.inf
    assert recovery.late


def test_measure_market_that_closes_within_the_bound_judges_nothing() -> None:
    """A fault right before the close cannot be late."""
    recording = Recording("bare", 10.0, signs_of_life(9.0), injections=(Injection("desk.hang", 9.0, 9.0),))

    (recovery,) = measure(recording).recoveries

    assert not recovery.late


def test_measure_fault_in_the_wake_of_another_is_judged_with_it() -> None:
    """What two faults did at once cannot be told apart, so the earlier is late only after the later one's bound."""
    injections = (Injection("link.dropped", 4.0, 4.0), Injection("feed.silent", 5.0, 5.0))
    recording = Recording("protected", 10.0, signs_of_life(10.0, (4.0, 6.45)), injections=injections)

    assert measure(recording).recoveries == (
        Recovery("link.dropped", 4.0, 2.5, 1.5, late=False),
        Recovery("feed.silent", 5.0, 1.5, 2.0),
    )


def test_measure_fault_that_is_late_already_is_not_excused_by_the_next() -> None:
    """A desk that hangs until something else happens to free it is late, however quickly that is overcome."""
    injections = (Injection("desk.hang", 4.0, 4.0), Injection("desk.kill", 7.0, 7.0))
    recording = Recording("bare", 12.0, signs_of_life(12.0, (4.0, 8.45)), injections=injections)

    assert measure(recording).recoveries == (
        Recovery("desk.hang", 4.0, 4.5, 2.0, late=True),
        Recovery("desk.kill", 7.0, 1.5, KINDS["desk.kill"].bound, late=False),
    )


def test_measure_fault_that_never_took_effect_is_named_and_has_no_recovery() -> None:
    """A fault that was planned and did not happen proves nothing."""
    recording = Recording("protected", 10.0, signs_of_life(10.0), injections=(Injection("feed.gap", 4.0),))

    figures = measure(recording)

    assert figures.recoveries == ()
    assert figures.not_injected == (Injection("feed.gap", 4.0),)


@pytest.mark.parametrize(
    ("order", "is_named"),
    [
        (3.9, False),
        (4.0, True),
        (6.9, True),
        (7.0, False),
    ],  # before it, at once, just before its venue is killed, after
)
def test_measure_lost_reply_without_an_order_had_no_chance(order: float, is_named: bool) -> None:
    """A fault that happens to the next order is missed only if its venue accepted one."""
    planned = Injection("orders.lost_reply", 4.0)
    recording = Recording(
        "protected",
        10.0,
        signs_of_life(10.0),
        injections=(Injection("venue.kill", 2.0, 2.0, 3.0), planned, Injection("venue.kill", 7.0, 7.0, 8.0)),
        intents=(
            Intent("a", 1.0, 1.1),
            Intent("b", order, order + 0.1, "filled"),
            Intent("c", 6.0, 6.0, "refused"),
        ),
    )

    assert measure(recording).not_injected == ((planned,) if is_named else ())


# ------------------------------------------------------------------ orders


def ledger(*orders: str, fills: tuple[tuple[str, str], ...] = (), conflicts: tuple[str, ...] = ()) -> Ledger:
    return Ledger(
        tuple(order(each) for each in orders), tuple(fill(*each) for each in fills), Decimal(0), Decimal(0), conflicts
    )


@pytest.mark.parametrize(
    ("intents", "at_venue", "lost"),
    [
        ([("a", "open")], [], ["a"]),  # the desk believes in an order that there is not
        ([("a", "filled")], [], ["a"]),
        ([("a", "unknown")], ["a"], ["a"]),  # the venue has it and the desk does not know
        ([("a", "refused")], ["a"], ["a"]),  # worse: it believes that there is none
        ([], ["a"], ["a"]),
        ([("a", "cancelled")], [], []),
        ([("a", "refused")], [], []),
        ([("a", "unknown")], [], []),  # not known, but nothing is lost: the other figure counts it
        ([("a", "open"), ("b", "filled")], ["a", "b"], []),
    ],
)
def test_measure_lost_orders_are_those_on_which_desk_and_venue_differ(
    intents: list[tuple[str, str]], at_venue: list[str], lost: list[str]
) -> None:
    """An order is lost when one side has it and the other does not know."""
    recording = Recording(
        "protected",
        10.0,
        intents=tuple(Intent(client_id, 1.0, 1.1, status) for client_id, status in intents),
        ledger=ledger(*at_venue),
    )

    assert list(measure(recording).lost) == lost


def test_measure_duplicates_are_found_in_every_form() -> None:
    """Twice under one id, twice for one wish, under one id with other fields, or one trade booked twice."""
    recording = Recording(
        "bare",
        10.0,
        intents=(Intent("w1", 1.0, 1.1, "open", wish="w"), Intent("w2", 2.0, 2.1, "open", wish="w")),
        ledger=ledger("a", "a", "w1", "w2", fills=(("f", "t1"), ("f", "t1"), ("f", "t2")), conflicts=("c",)),
    )

    assert measure(recording).duplicated == ("a", "c", "f", "w")


def test_measure_wish_whose_first_order_never_arrived_is_no_duplicate() -> None:
    """Trying again under a new id is fine when the venue has only one of them."""
    intents = (Intent("w1", 1.0, 1.1, "refused", wish="w"), Intent("w2", 2.0, 2.1, "open", wish="w"))

    assert measure(Recording("bare", 10.0, intents=intents, ledger=ledger("w2"))).duplicated == ()


def test_measure_gaps_are_exact_to_the_last_unit() -> None:
    """Money is decimal: one hundred-millionth is a difference."""
    assert GOOD.ledger is not None
    other = attrs.evolve(GOOD.ledger, position=Decimal("1.00000001"), cash=Decimal("-100.00"))

    figures = measure(attrs.evolve(GOOD, ledger=other))

    assert figures.position_gap == Decimal("-0.00000001")
    assert figures.cash_gap == 0


def test_measure_without_the_desk_s_last_word_there_is_no_gap_to_tell() -> None:
    """A desk that never said its position is not taken to be equal."""
    figures = measure(attrs.evolve(GOOD, position=None))

    assert (figures.position_gap, figures.cash_gap, figures.desk_fills) == (None, None, None)


# ------------------------------------------------------------------ modes and percentiles


def test_measure_modes_are_counted_within_the_window_only() -> None:
    """What was before the opening and after the close is not the market's time."""
    modes = ((-3.0, "down"), (-1.0, "NORMAL"), (4.0, "down"), (5.0, "EMERGENCY"), (6.0, "SAFE"), (11.0, "down"))

    assert measure(Recording("protected", 10.0, modes=modes)).mode_seconds == {
        "NORMAL": 4.0,
        "down": 1.0,
        "EMERGENCY": 1.0,
        "SAFE": 4.0,
    }


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([3.0], 0.5, 3.0),
        ([1.0, 2.0], 0.5, 1.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([1.0, 2.0, 3.0], 1.0, 3.0),
    ],
)
def test_percentile_is_one_of_the_values(values: list[float], share: float, expected: float | None) -> None:
    """The smallest value that the share does not exceed; of nothing, nothing."""
    assert percentile(values, share) == expected
