"""How a run ended: the one place that reads exceptions."""

import enum
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import trio

from genesis_trio.errors import GenesisError, ModeRefusedError
from genesis_trio.supervision.component import OnCrash

__all__ = [
    "CRASHED",
    "DONE",
    "ESCALATE",
    "FATAL",
    "PARK",
    "RETURNED",
    "STOP",
    "STOPPED",
    "Exit",
    "How",
    "classify",
    "cuts_in",
    "first_cut",
    "name_crash",
    "refused_by_mode",
    "what_follows",
]


class How(enum.Enum):
    """How an incarnation ended."""

    DONE = "done"  # it returned before it was ready: a job, and done
    RETURNED = "returned"  # it was ready, and returned by itself
    STOPPED = "stopped"  # it was asked to end, and did
    CRASHED = "crashed"
    FATAL = "fatal"  # Ctrl-C, SystemExit: goes through everything


# On Python 3.11 a member of an enum costs as much as a call when it is looked up there, and each restart asks for many.
DONE, RETURNED, STOPPED, CRASHED, FATAL = How
RESTART, PARK, STOP, ESCALATE = OnCrash


class Exit(NamedTuple):
    """One end; *error* is None when it returned."""

    how: How
    error: BaseException | None = None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _leaves(member)
    else:
        yield error


def cuts_in(error: BaseException) -> list[BaseException]:
    """The cancellations in *error*."""
    return [leaf for leaf in _leaves(error) if isinstance(leaf, trio.Cancelled)]


def first_cut(error: BaseException) -> BaseException:
    """The first cancellation in *error*; *error* itself if there is none."""
    return next(iter(cuts_in(error)), error)


def classify(error: BaseException | None, *, asked: bool, ready: bool) -> Exit:
    """Read the end of a run that was or was not *asked* to stop, and had or had not called ``ctx.ready()``.

    In this order: Ctrl-C and its like anywhere in a group go through; a run that was asked to
    stop is a stop, whatever else it raised (which the caller reports); any other leaf is a
    crash.  What is left is a cancellation by nobody we know, which a run shielded from the outside cannot
    meet unless it cancelled itself: that is a crash, too.
    """
    if isinstance(error, Exception) and not isinstance(error, BaseExceptionGroup):
        return Exit(STOPPED if asked else CRASHED, error)  # it is its own only leaf
    if error is not None:
        for leaf in _leaves(error):
            # A leaf that is no Exception is the interpreter's or Trio's, and not ours to keep.
            if not isinstance(leaf, (Exception, trio.Cancelled)):
                return Exit(FATAL, error)
        crash = next((leaf for leaf in _leaves(error) if not isinstance(leaf, trio.Cancelled)), None)
        if asked:
            return Exit(STOPPED, error if crash is not None else None)
        return Exit(CRASHED, error)
    if asked:
        return Exit(STOPPED)
    return Exit(RETURNED if ready else DONE)


#: From the mildest to the gravest.
GRAVITY = (RESTART, PARK, STOP, ESCALATE)


def what_follows(error: BaseException, rules: Mapping[type[BaseException], OnCrash]) -> OnCrash:
    """What the *rules* of a child say about its crash: each leaf meets the first that fits, the gravest of them counts."""
    found = RESTART
    if not rules:
        return found
    for leaf in _leaves(error):
        follows = next((follows for kind, follows in rules.items() if isinstance(leaf, kind)), RESTART)
        found = max(found, follows, key=GRAVITY.index)
    return found


def refused_by_mode(error: BaseException) -> int:
    """What the mode did not allow, as bits of capabilities, if that is all that it crashed on; otherwise 0."""
    bits = 0
    if not isinstance(error, (ModeRefusedError, BaseExceptionGroup)):
        return bits  # as nearly always: each restart after a crash asks
    for leaf in _leaves(error):
        if isinstance(leaf, ModeRefusedError):
            bits |= leaf.needs.value
        elif not isinstance(leaf, trio.Cancelled):
            return 0
    return bits


#: What a look at the outside raises, and what we refuse or give up on: no fault of a state.
OUTSIDE = (OSError, GenesisError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)


def name_crash(error: BaseException) -> str | None:
    """What crashed, and where it was raised: the same for the same crash.  None where the outside is the cause."""
    names: set[str] = set()
    for leaf in _leaves(error):
        if isinstance(leaf, OUTSIDE):
            return None
        if not isinstance(leaf, trio.Cancelled):
            names.add(f"{type(leaf).__qualname__} in {_place(leaf)}")
    return " and ".join(sorted(names)) or None


def _place(error: BaseException) -> str:
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return "nobody's code"
    return f"{last.tb_frame.f_code.co_qualname} ({last.tb_frame.f_globals.get('__name__')}:{last.tb_lineno})"
