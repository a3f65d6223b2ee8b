"""What the settings of a tree amount to: a calculation."""

import pytest

from genesis_trio import ChildSpec, Strategy
from genesis_trio.supervision._limits import describe_limits
from supervision.desk import forever


def spec(name, *requires, stop_grace=5.0):
    return ChildSpec(forever, name=name, requires=requires, stop_grace=stop_grace)


def limits(*specs, strategy=Strategy.ONE_FOR_ONE, shutdown_timeout=30.0):
    return list(
        describe_limits(specs, strategy=strategy, max_restarts=3, within=5.0, shutdown_timeout=shutdown_timeout)
    )


def test_limits_independent_children():
    """Three in five seconds are 36 a minute, for each of two."""
    assert limits(spec("a"), spec("b")) == [
        "a child restarts at most 36 times a minute; one crash more within 5 s parks it",
        "if every child crashes as often as it may, there are 72 starts a minute",
        "a stop takes 30 s at most, of 10 s of stop_grace together",
    ]


def test_limits_requirements_multiply_over_levels():
    """A crash of the lowest restarts what requires it, directly or not: 3 + 2 + 1 starts for a crash of each."""
    lines = limits(spec("ledger"), spec("strategy", "ledger"), spec("feed", "strategy"))

    assert lines[1:4] == [
        "a crash of ledger restarts 3 children: with it strategy, feed",
        "a crash of strategy restarts 2 children: with it feed",
        "if every child crashes as often as it may, there are 216 starts a minute",
    ]


@pytest.mark.parametrize(
    ("strategy", "starts"), [(Strategy.ONE_FOR_ONE, 108), (Strategy.REST_FOR_ONE, 216), (Strategy.ONE_FOR_ALL, 324)]
)
def test_limits_follow_the_strategy(strategy, starts):
    """One, the rest, or all."""
    assert f"there are {starts} starts a minute" in limits(spec("a"), spec("b"), spec("c"), strategy=strategy)[-2]


def test_limits_stop_that_leaves_no_time_for_grace_is_a_warning():
    """They stop one after the other, the last to start first; the first to start gets what is left."""
    lines = limits(spec("a"), spec("b", stop_grace=4.0), spec("c", stop_grace=5.0), shutdown_timeout=7.0)

    assert [line for line in lines if line.startswith("WARNING")] == [
        "WARNING: b has 2 s of its stop_grace=4 s left if all that stop before it use theirs; "
        "raise shutdown_timeout to 14 s, or lower a stop_grace",
        "WARNING: a has 0 s of its stop_grace=5 s left if all that stop before it use theirs; "
        "raise shutdown_timeout to 14 s, or lower a stop_grace",
    ]
