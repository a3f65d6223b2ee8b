"""What the settings of a supervisor amount to, worked out before anything runs; for ``genesis check --limits``."""

from collections.abc import Iterator, Mapping, Sequence

from genesis_trio.supervision._order import dependants
from genesis_trio.supervision.component import ChildSpec, Strategy

__all__ = ["describe_limits", "restarted_with"]

MINUTE = 60.0


def restarted_with(
    crashed: Sequence[str], requires: Mapping[str, Sequence[str]], strategy: Strategy, among: Sequence[str]
) -> list[str]:
    """Whom a crash of *crashed* restarts, themselves included, in the order of first start.

    Args:
        requires: What each child requires.
        among: All names, in the order of first start.
    """
    first = set(crashed)
    if strategy is Strategy.ONE_FOR_ALL:
        first = set(among)
    elif strategy is Strategy.REST_FOR_ONE:
        first = set(among[min(among.index(name) for name in first) :])
    return dependants(requires, first)


def describe_limits(
    specs: Sequence[ChildSpec], *, strategy: Strategy, max_restarts: int, within: float, shutdown_timeout: float
) -> Iterator[str]:
    """One line for each thing that follows from the settings and that none of them says by itself.

    Args:
        specs: In the order of first start.
    """
    names = [spec.name for spec in specs]
    requires = {spec.name: spec.requires for spec in specs}
    crashes = max_restarts * MINUTE / within
    yield f"a child restarts at most {crashes:g} times a minute; one crash more within {within:g} s parks it"
    starts = 0.0
    for spec in specs:
        group = restarted_with([spec.name], requires, strategy, names)
        starts += crashes * len(group)
        if len(group) > 1:
            others = ", ".join(name for name in group if name != spec.name)
            yield f"a crash of {spec.name} restarts {len(group)} children: with it {others}"
    yield f"if every child crashes as often as it may, there are {starts:g} starts a minute"
    grace = sum(spec.stop_grace for spec in specs)
    yield f"a stop takes {shutdown_timeout:g} s at most, of {grace:g} s of stop_grace together"
    left = shutdown_timeout
    for spec in reversed(specs):
        if left < spec.stop_grace:
            yield (
                f"WARNING: {spec.name} has {max(left, 0.0):g} s of its stop_grace={spec.stop_grace:g} s left if all that stop "
                f"before it use theirs; raise shutdown_timeout to {grace:g} s, or lower a stop_grace"
            )
        left -= spec.stop_grace
