"""Who needs whom: start levels, cycles, closures.  Plain functions of names."""

from collections.abc import Iterable, Mapping, Sequence

from genesis_trio.errors import ConfigError
from genesis_trio.modes import Criticality

__all__ = ["check_requirements", "dependants", "levels"]


def check_requirements(
    requires: Mapping[str, Sequence[str]],
    criticality: Mapping[str, Criticality],
    *,
    supervisor: str,
    existing: Mapping[str, Criticality],
) -> None:
    """Refuse names that do not exist, and requirements on something less critical.

    A critical child that needs an optional one would stand still in the very mode it is made for.
    """
    known = {**existing, **criticality}
    for name, needed in requires.items():
        for other in needed:
            if other == name:
                raise ConfigError(f"child {name!r} of {supervisor!r} requires itself")
            if other not in known:
                there = ", ".join(sorted(known)) or "none"
                raise ConfigError(
                    f"child {name!r} of {supervisor!r} requires {other!r}, which does not exist; there are: {there}"
                )
            if known[other] < criticality[name]:
                raise ConfigError(
                    f"child {name!r} of {supervisor!r} is {criticality[name].name} but requires {other!r}, which is only "
                    f"{known[other].name}: it would be suspended under it. Raise the criticality of {other!r}, or drop the requirement"
                )


def levels(requires: Mapping[str, Sequence[str]], *, supervisor: str) -> list[list[str]]:
    """The names in levels: each needs only names of earlier levels, or names that are not in *requires*.

    Raises:
        ConfigError: a cycle, which is shown.
    """
    placed: set[str] = set()
    left = list(requires)
    found: list[list[str]] = []
    while left:
        level = [name for name in left if all(other in placed or other not in requires for other in requires[name])]
        if not level:
            raise ConfigError(
                f"children of {supervisor!r} require each other in a cycle: {' -> '.join(_cycle(requires, left))}"
            )
        placed.update(level)
        left = [name for name in left if name not in placed]
        found.append(level)
    return found


def _cycle(requires: Mapping[str, Sequence[str]], left: Sequence[str]) -> list[str]:
    path = [left[0]]
    while True:
        following = next(other for other in requires[path[-1]] if other in left)
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)


def dependants(requires: Mapping[str, Sequence[str]], of: Iterable[str]) -> list[str]:
    """*of* and everything that needs it, directly or not, in the order of *requires*."""
    found = set(of)
    grown = True
    while grown:
        more = {name for name, needed in requires.items() if name not in found and not found.isdisjoint(needed)}
        found |= more
        grown = bool(more)
    return [name for name in requires if name in found]
