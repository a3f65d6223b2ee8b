"""The mark on an error that a circuit breaker has counted, so that the crash of a child by it is not a second failure.

The breaker over children hears of a failing venue twice: from the child's own call, and from the crash that follows.
"""

from genesis_trio.policies._outcome import with_causes, with_members

_KEY = "_genesis_counted_by"


def mark(error: BaseException, breaker: str) -> None:
    """Note on *error* that *breaker* has counted it."""
    for found in with_members(error):
        found.__dict__[_KEY] = breaker  # not setattr: a frozen exception class refuses that


def is_counted(error: BaseException, breaker: str) -> bool:
    """True if *breaker* has counted *error*, a member of it or what caused it."""
    return any(found.__dict__.get(_KEY) == breaker for found in with_causes(error))
