"""The mark on an error that a retry has given up on, so that the retries around it do not start over.

Three layers of two retries would otherwise make 27 calls.  The mark travels with the error and along
``__cause__``, but not through refusals of ours: the cause of a `BreakerOpenError` is an older
failure, and an outer retry may well wait for the breaker.

A mark counts only if it was made since the attempt began that now looks at it.  Libraries that keep the
error of a broken connection raise one and the same instance to every caller, and without that
the first call to give up would switch off the retries of all others, also of those that wait just then.
"""

from genesis_trio.policies._outcome import with_causes, with_members

_KEY = "_genesis_given_up"


class Marks:
    """How many marks have been made.  Only ever compared with itself, so it may outlive a ``trio.run``."""

    __slots__ = ("made",)

    def __init__(self) -> None:
        self.made = 0


MARKS = Marks()


def mark(error: BaseException, policy: str) -> None:
    """Note on *error* that *policy* has given up on it."""
    MARKS.made += 1
    for found in with_members(error):
        found.__dict__[_KEY] = (MARKS.made, policy)  # not setattr: a frozen exception class refuses that


def given_up_by(error: BaseException, since: float) -> str | None:
    """Which policy has given up on *error*, or on what caused it, after mark number *since*; None for nobody."""
    for found in with_causes(error):
        made, policy = found.__dict__.get(_KEY, (0, ""))
        if made > since:
            return str(policy)
    return None
