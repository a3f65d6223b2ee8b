"""The fault plan: the same for the same seed, with its distances, and refused in one clear line when it is wrong."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis_trio.demo.faults import DEFAULT_PLAN, GAP, KINDS, PlanError, draw_plan, parse_plan, read_plan

WINDOW = 63.0


def test_default_plan_has_each_kind_once() -> None:
    """What ships with the package shows every way to fail."""
    assert sorted(entry.kind.name for entry in read_plan(DEFAULT_PLAN)) == sorted(KINDS)
    assert {entry.count for entry in read_plan(DEFAULT_PLAN)} == {1}


@given(seed=st.integers())
def test_draw_any_seed_keeps_the_distances_and_is_repeatable(seed: int) -> None:
    """Each fault is over, and its recovery has had its time, before the next; the same seed draws the same."""
    plan = draw_plan(read_plan(DEFAULT_PLAN), seed=seed, window=WINDOW)

    assert plan == draw_plan(read_plan(DEFAULT_PLAN), seed=seed, window=WINDOW)
    assert sorted(fault.kind.name for fault in plan) == sorted(KINDS)
    assert all(later.at - earlier.end >= GAP - 0.002 for earlier, later in itertools.pairwise(plan))
    assert all(kind.bound <= GAP for kind in KINDS.values())
    assert plan[0].at >= 2.0
    assert plan[-1].end <= WINDOW - 4.0 + 0.001


def test_draw_different_seeds_differ() -> None:
    """The seed decides the order and the times."""
    drawn = {draw_plan(read_plan(DEFAULT_PLAN), seed=seed, window=WINDOW) for seed in range(20)}

    assert len(drawn) == 20


@given(seed=st.integers(0, 1000), fixed=st.lists(st.integers(0, 59), max_size=3, unique=True))
def test_draw_drawn_faults_keep_away_from_fixed_ones(seed: int, fixed: list[int]) -> None:
    """A fixed fault is where the plan puts it, and drawn ones leave it alone."""
    text = "".join(f'[[fault]]\nkind = "venue.kill"\nat = {at}\n' for at in fixed)
    entries = parse_plan(text + '[[fault]]\nkind = "link.dropped"\ncount = 3\n', "f")

    plan = draw_plan(entries, seed=seed, window=60.0)

    assert sorted(fault.at for fault in plan if fault.kind.name == "venue.kill") == sorted(fixed)
    for drawn in (fault for fault in plan if fault.kind.name == "link.dropped"):
        others = [other for other in plan if other is not drawn]
        assert all(drawn.at - other.end >= GAP - 0.002 or other.at - drawn.end >= GAP - 0.002 for other in others)


def test_parse_seconds_and_count_are_taken_from_the_file() -> None:
    """What the plan says goes before what the kind says."""
    (entry,) = parse_plan('[[fault]]\nkind = "link.refused"\nseconds = 2\ncount = 3\n', "f")

    plan = draw_plan([entry], seed=1, window=60.0)

    assert [(fault.kind.name, fault.seconds) for fault in plan] == [("link.refused", 2.0)] * 3


def test_parse_empty_plan_is_a_quiet_day() -> None:
    """A plan without faults is allowed: it shows what is there without them."""
    assert draw_plan(parse_plan("", "f"), seed=1, window=1.0) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fault = 1", "p.toml: fault = 1; allowed: [[fault]] tables, with two brackets"),
        ("[fault]\nkind = 'feed.gap'", "p.toml: fault = {'kind': 'feed.gap'}; allowed: [[fault]] tables"),
        ("seed = 1", "p.toml: unknown key 'seed'; allowed: [[fault]] tables"),
        ("[[fault]", "p.toml: no TOML: "),
        (
            "[[fault]]\nkind = 'feed.gap'\nhow = 1",
            "p.toml: fault 1: unknown key 'how'; allowed: kind, seconds, count, at",
        ),
        ("[[fault]]\nseconds = 1", "p.toml: fault 1: kind is missing; allowed: link.refused, "),
        ("[[fault]]\nkind = 'x'", "p.toml: fault 1: kind = 'x'; allowed: link.refused, "),
        ("[[fault]]\nkind = ['x']", "p.toml: fault 1: kind = ['x']; allowed: link.refused, "),
        (
            "[[fault]]\nkind = 'feed.gap'\n[[fault]]\nkind = 'link.refused'\nseconds = -1",
            "p.toml: fault 2: seconds = -1; allowed: seconds from 0 to 60",
        ),
        ("[[fault]]\nkind = 'link.refused'\nseconds = nan", "seconds = nan; allowed: seconds from 0 to 60"),
        ("[[fault]]\nkind = 'link.refused'\nseconds = 0", "seconds = 0; allowed: more than 0, up to 60"),
        ("[[fault]]\nkind = 'link.refused'\nseconds = true", "seconds = True; allowed: seconds from 0 to 60"),
        ("[[fault]]\nkind = 'feed.gap'\nseconds = 1", "seconds = 1; feed.gap happens in a moment, leave seconds out"),
        ("[[fault]]\nkind = 'feed.gap'\ncount = -1", "count = -1; allowed: a whole number from 0 to 1000"),
        ("[[fault]]\nkind = 'feed.gap'\ncount = 1.5", "count = 1.5; allowed: a whole number from 0 to 1000"),
        ("[[fault]]\nkind = 'feed.gap'\nat = -1", "at = -1; allowed: seconds from 0 to 86400"),
        ("[[fault]]\nkind = 'feed.gap'\nat = 1\ncount = 2", "count = 2 beside at = 1; a fixed time is one fault"),
        ("[[fault]]\nkind = 'feed.gap'\ncount = 600\n" * 2, "p.toml: 1200 faults; allowed: up to 1000"),
    ],
)
def test_parse_wrong_plan_names_file_key_value_and_what_is_allowed(text: str, expected: str) -> None:
    """One line that a person can act on."""
    with pytest.raises(PlanError) as caught:
        parse_plan(text, "p.toml")

    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("p.toml: ")


def test_read_plan_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there, or is no text, is said to be so."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe")

    for name, expected in (("none", "No such file"), ("binary", "decode")):
        with pytest.raises(PlanError, match=expected) as caught:
            read_plan(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_draw_without_room_says_how_much_there_is() -> None:
    """Faults that cannot keep their distance are refused, with the seconds that they need."""
    with pytest.raises(PlanError, match="no room for 15 faults .* in the 50 s of this run \\(57 s at least\\)"):
        draw_plan(read_plan(DEFAULT_PLAN), seed=1, window=50.0)


def test_draw_fixed_fault_after_the_close_is_refused() -> None:
    """A fault that would never come is a mistake."""
    entries = parse_plan('[[fault]]\nkind = "feed.gap"\nat = 60\n', "p.toml")

    with pytest.raises(PlanError, match=r"p.toml: at = 60 of feed.gap; allowed: less than the 60 s of the run"):
        draw_plan(entries, seed=1, window=60.0, file="p.toml")
