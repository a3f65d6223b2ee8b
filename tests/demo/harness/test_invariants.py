"""The verdict: a good run passes, and each way to be wrong is named by its own rule."""

from decimal import Decimal

import attrs
import pytest

from demo.harness.made_recordings import GOOD, order, signs_of_life
from genesis_trio.demo.harness.invariants import judge
from genesis_trio.demo.harness.measure import measure
from genesis_trio.demo.harness.recording import Alive, Exit, Injection, Intent, Position, Recording

LEDGER = GOOD.ledger
POSITION = GOOD.position
assert LEDGER is not None
assert POSITION is not None


def broken(recording: Recording, availability: float | None = None) -> list[str]:
    return [str(each) for each in judge(recording, measure(recording), availability=availability) if not each.holds]


def test_judge_good_run_holds_everything() -> None:
    """Nothing is found where there is nothing."""
    assert broken(GOOD, availability=0.94) == []


@pytest.mark.parametrize(
    ("recording", "expected"),
    [
        (
            attrs.evolve(GOOD, ledger=attrs.evolve(LEDGER, orders=(order("b"),))),
            ["no order is lost: a"],
        ),
        (
            attrs.evolve(GOOD, ledger=attrs.evolve(LEDGER, orders=(*LEDGER.orders, order("z")))),
            ["no order is lost: z"],
        ),
        (
            attrs.evolve(GOOD, ledger=attrs.evolve(LEDGER, conflicts=("a",))),
            ["no order is duplicated: a"],
        ),
        (
            attrs.evolve(GOOD, ledger=attrs.evolve(LEDGER, orders=(*LEDGER.orders, order("a")))),
            ["no order is duplicated: a"],
        ),
        (
            attrs.evolve(GOOD, intents=(*GOOD.intents, Intent("d", 4.0))),
            ["every order intent has an outcome: d"],
        ),
        (
            attrs.evolve(GOOD, position=attrs.evolve(POSITION, position=Decimal("1.00000001"))),
            ["the desk's position is the venue's: off by +0.00000001"],
        ),
        (
            attrs.evolve(GOOD, position=attrs.evolve(POSITION, cash=Decimal(-101))),
            ["the desk's cash is the venue's: off by -1"],
        ),
        (
            attrs.evolve(GOOD, position=Position(Decimal(1), Decimal(-100), 2)),
            ["the desk knows every fill once: desk 2, venue 1"],
        ),
        (
            attrs.evolve(GOOD, position=None),
            [
                "the desk's position is the venue's: one of them said nothing",
                "the desk's cash is the venue's: one of them said nothing",
                "the desk knows every fill once: desk said nothing, venue 1",
            ],
        ),
        (
            attrs.evolve(
                GOOD, alive=tuple(Alive(each.at, 2.0 if 10 < each.at < 11 else each.age) for each in GOOD.alive)
            ),
            ["without a fault the desk is available: not from 10.1 to 11.1 s"],
        ),
        (
            attrs.evolve(GOOD, alive=signs_of_life(20.0, (5.0, 6.95))),
            [],
        ),
        (
            attrs.evolve(GOOD, alive=signs_of_life(20.0, (5.0, 7.05))),
            ["every fault is overcome within its bound: feed.silent at 5.0 s after 2.1 s, not 2.0 s"],
        ),
        (
            attrs.evolve(GOOD, alive=signs_of_life(5.0)),
            ["every fault is overcome within its bound: feed.silent at 5.0 s never, not 2.0 s"],
        ),
        (
            attrs.evolve(GOOD, injections=(*GOOD.injections, Injection("desk.kill", 9.0))),
            ["every fault of the plan took effect: desk.kill at 9.0 s"],
        ),
        (
            attrs.evolve(GOOD, exits=(Exit(9.0, -9, wanted=True), Exit(20.0, 1, wanted=False))),
            ["the desk ends only when it is told to or killed: status 1 at 20.0 s"],
        ),
        (
            attrs.evolve(GOOD, problems=("the desk did not stop within 6 s",)),
            ["the run went as planned: the desk did not stop within 6 s"],
        ),
    ],
)
def test_judge_each_break_is_found_by_its_own_rule(recording: Recording, expected: list[str]) -> None:
    """A run that is wrong in one way breaks the rule that is about it, and says by what."""
    assert broken(recording) == expected


def test_judge_same_finding_is_said_once_and_not_at_length() -> None:
    """A desk that fails in the same way at each start is one finding, and no finding fills the screen."""
    problem = "the desk ended with " + "x" * 500

    (line,) = broken(attrs.evolve(GOOD, problems=(problem,) * 50))

    assert line == "the run went as planned: " + problem[:160] + "…"


def test_judge_run_of_which_nothing_was_heard_is_broken() -> None:
    """Two sides that say nothing are not equal."""
    assert broken(Recording("protected", 0.4)) == [
        "the desk's position is the venue's: one of them said nothing",
        "the desk's cash is the venue's: one of them said nothing",
        "the desk knows every fill once: desk said nothing, venue said nothing",
    ]


def test_judge_availability_below_the_goal_is_broken() -> None:
    """Where a share is asked for it is judged, to the hundredth of a percent."""
    assert broken(GOOD, availability=0.96) == ["the desk is available 96% of the time: 94.87 %"]


def test_judge_many_findings_are_counted_not_listed() -> None:
    """A broken rule stays one line, however much it found."""
    intents = tuple(Intent(f"x{number}", 1.0) for number in range(8))

    assert broken(attrs.evolve(GOOD, intents=(*GOOD.intents, *intents))) == [
        "every order intent has an outcome: x0, x1, x2, x3, x4 and 3 more"
    ]
