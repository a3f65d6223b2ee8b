"""What an error means: the one classifier of all policies.

Two questions are asked about an attempt that raised.  *Retry*: may it be tried again, and after
how long?  *Breaker*: did the dependency fail, did it answer, or does the error say nothing
about it?  Both look at the leaves of exception groups, because a nursery inside the called function
wraps what goes wrong in it:

- retried only if every leaf may be; a leaf that is not an `Exception` never may;
- a failure of the dependency as soon as one leaf is one;
- `trio.Cancelled` is no outcome.  A group that holds one is never retried, whatever else is
  in it: the cancellation has to go on, and the other errors with it.
"""

import enum
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import trio

from genesis_trio import events
from genesis_trio._runtime import Run, current_run, current_tree, utcnow
from genesis_trio.errors import (
    AttemptTimeoutError,
    BreakerOpenError,
    BulkheadFullError,
    GenesisError,
    ModeRefusedError,
    RateLimitedError,
    RetryBudgetExhaustedError,
)
from genesis_trio.events import emit, logger
from genesis_trio.policies._retry_after import seconds_of
from genesis_trio.policies._wrapping import is_async_function

RetryRule = type[BaseException] | tuple[type[BaseException], ...] | Callable[[Exception], bool | float]

#: What we refuse before the call is made; it says nothing about the dependency.
REFUSALS = (ModeRefusedError, BreakerOpenError, RateLimitedError, BulkheadFullError)
#: What may come between two attempts instead of the second one.
BETWEEN_ATTEMPTS = (*REFUSALS, RetryBudgetExhaustedError)


# For any other Exception the rule's answer is all there is to say.
LOOKED_INTO = (GenesisError, BaseExceptionGroup)


class Outcome(enum.Enum):
    """What an attempt says about the dependency."""

    SUCCESS = "success"
    FAILURE = "failure"
    NONE = "none"
    CANCELLED = "cancelled"


# On Python 3.11 a member of an enum costs as much as a call when it is looked up there.
SUCCESS, FAILURE, NONE, CANCELLED = Outcome


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group, however deep, in order; the error itself if it is not a group."""
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from leaves(member)
    else:
        yield error


def with_members(error: BaseException) -> Iterator[BaseException]:
    """The error, and if it is a group all that is in it, the groups among that too.

    What is marked on an error is marked on all of these: a nursery puts the group into another one, and each ``except*`` and
    each cancel scope that takes something out of a group makes a new one of the rest.
    """
    yield error
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from with_members(member)


def with_causes(error: BaseException) -> Iterator[BaseException]:
    """The error, the members of groups and what is behind each along ``__cause__``, once each.

    Not through limits of ours: the cause of a `BreakerOpenError` is an older failure.
    """
    waiting, seen = [error], set()
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        if isinstance(found, BaseExceptionGroup):
            waiting.extend(found.exceptions)
        if found.__cause__ is not None and not is_own_limit(found):
            waiting.append(found.__cause__)


def _real_leaves(error: BaseException) -> Iterator[BaseException]:
    """As `leaves`, with the real failure where an exhausted budget took its place."""
    for leaf in leaves(error):
        if isinstance(leaf, RetryBudgetExhaustedError) and leaf.__cause__ is not None:
            yield from _real_leaves(leaf.__cause__)
        else:
            yield leaf


def is_own_limit(error: BaseException) -> bool:
    """True for every error of ours but `AttemptTimeoutError`, which stands for a failure of the dependency."""
    return isinstance(error, GenesisError) and not isinstance(error, AttemptTimeoutError)


class _Asked:
    """A function of the user's that is asked about errors or results; when it raises, the answer is "no".

    That is reported once in a run, as an event and in the log.
    """

    def __init__(self, function: Callable[[Any], Any], owner: str, name: str) -> None:
        self._function = function
        self._owner = owner
        self._name = name
        self._reported_in: weakref.ref[Run] | None = None

    def _report(self, policy: str, error: Exception) -> None:
        run = current_run()
        if self._reported_in is not None and self._reported_in() is run:
            return
        self._reported_in = weakref.ref(run)
        logger.error(
            "%s(%s=%r) of %r raised and counts as a no", self._owner, self._name, self._function, policy, exc_info=error
        )
        tree = current_tree()
        if tree.hooks:
            emit(tree, events.PolicyMisbehaved, policy=policy, rule=self._name, error=error)


class Predicate(_Asked):
    """A question about a result: ``retry_result``, ``failure_result``."""

    def __init__(self, function: Callable[[Any], bool], owner: str, name: str) -> None:
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"{owner}({name}=…) wants a function of the result, got {function!r}")
        _refuse_async(function, owner, name)
        super().__init__(function, owner, name)

    def says_yes(self, result: object, policy: str) -> bool:
        """The function's answer about *result*."""
        try:
            return bool(self._function(result))
        except Exception as error:
            self._report(policy, error)
            return False


class Rule(_Asked):
    """A rule about errors: one type, several, or a function that gives a bool or a delay in seconds."""

    def __init__(self, rule: RetryRule, owner: str, name: str) -> None:
        types = (rule,) if isinstance(rule, type) else rule
        if isinstance(types, tuple):
            self.types: tuple[type[BaseException], ...] = types
            _check_types(types, owner, name)
        elif callable(types):
            _refuse_async(types, owner, name)
            self.types = ()
        else:
            raise TypeError(f"{owner}({name}=…) wants an exception type, a tuple of them or a function, got {rule!r}")
        super().__init__(self._has_type if self.types else types, owner, name)  # type: ignore[arg-type]

    def _has_type(self, error: Exception) -> bool:
        return isinstance(error, self.types)

    def names(self, cls: type[BaseException]) -> bool:
        """True if that very class stands in the rule; its bases do not count, and a function names none."""
        return cls in self.types

    def about(self, error: Exception, policy: str) -> bool | float:
        """The rule's answer about one error that is not a group."""
        if self.types:
            return isinstance(error, self.types)
        return self._ask(error, policy)

    def _ask(self, error: Exception, policy: str) -> bool | float:
        try:
            answer = self._function(error)
            if isinstance(answer, bool):
                return answer
            if isinstance(answer, int | float) and answer >= 0:
                return float(answer)
            raise TypeError(f"the rule gives True, False or a delay in seconds, not {answer!r}")
        except Exception as misbehaviour:
            self._report(policy, misbehaviour)
            return False

    # ------------------------------------------------------------ the two questions

    def retry_after(self, error: BaseException, policy: str) -> bool | float:
        """May an attempt that raised *error* be tried again?  A number is the delay that somebody named, in seconds."""
        if isinstance(error, Exception) and not isinstance(error, LOOKED_INTO):
            return self.about_plain(error, policy)
        longest: float | None = None
        for leaf in leaves(error):
            answer = self._leaf_retry_after(leaf, policy)
            if answer is False:
                return False
            if answer is not True:
                longest = answer if longest is None else max(longest, answer)
        return True if longest is None else longest

    def about_plain(self, error: Exception, policy: str) -> bool | float:
        """`retry_after` of an error that is not `LOOKED_INTO`."""
        answer = isinstance(error, self.types) if self.types else self._ask(error, policy)
        return answer if answer is not True else named_or_true(error)

    def _leaf_retry_after(self, error: BaseException, policy: str) -> bool | float:
        if not isinstance(error, Exception):
            return False
        if is_own_limit(error):
            return named_or_true(error) if self.names(type(error)) else False
        answer = self.about(error, policy)
        return answer if answer is not True else named_or_true(error)

    def outcome(self, error: BaseException, policy: str) -> Outcome:
        """What *error* says about the dependency, where this rule tells its failures."""
        if isinstance(error, Exception) and not isinstance(error, LOOKED_INTO):
            answer = isinstance(error, self.types) if self.types else self._ask(error, policy)
            return SUCCESS if answer is False else FAILURE
        outcome = Outcome.NONE
        cancelled = False
        for leaf in _real_leaves(error):
            if isinstance(leaf, Exception):
                if isinstance(leaf, REFUSALS):
                    continue
                if isinstance(leaf, AttemptTimeoutError) or self.about(leaf, policy) is not False:
                    return Outcome.FAILURE
                outcome = Outcome.SUCCESS
            else:
                cancelled = cancelled or isinstance(leaf, trio.Cancelled)
        return Outcome.CANCELLED if outcome is Outcome.NONE and cancelled else outcome


def named_or_true(error: Exception) -> bool | float:
    """The seconds that the error's ``retry_after`` attribute names (see `_retry_after`), or True."""
    try:
        value = getattr(error, "retry_after", None)
    except Exception:  # a property of foreign code; what it does not know it cannot name
        return True
    if value is None:
        return True
    named = seconds_of(value, utcnow)
    return True if named is None else named


def _refuse_async(function: object, owner: str, name: str) -> None:
    # A coroutine is true: unnoticed, each good result would be a bad one.
    if is_async_function(function):
        raise TypeError(
            f"{owner}({name}=…) wants a plain function, which decides at once; {function!r} is async"
            + (f"; above a function that is to be tried again, write @{owner}(on=OSError)" if name == "on" else "")
        )


def _check_types(types: tuple[object, ...], owner: str, name: str) -> None:
    if not types:
        raise ValueError(f"{owner}({name}=()) matches nothing; name at least one exception type")
    for cls in types:
        if not isinstance(cls, type) or not issubclass(cls, BaseException):
            raise TypeError(f"{owner}({name}=…) wants exception types, got {cls!r}")
        if issubclass(cls, BaseExceptionGroup):
            raise ValueError(
                f"{owner}({name}=…): groups are looked into, so name the errors inside instead of {cls.__name__}"
            )
        if not issubclass(cls, Exception):
            raise ValueError(
                f"{owner}({name}=…): {cls.__name__} is no outcome of a call but the end of a task or of the "
                f"program, and always passes through; name Exception or a subclass of it"
            )


# ---------------------------------------------------------------- notes

_MOST_NOTES = 16


def add_note(error: BaseException, note: str) -> None:
    """Note something on *error*, once.

    Some libraries raise one instance again and again; its notes must not grow with each call.
    """
    # Through the dict: a frozen exception class refuses to set attributes, __notes__ among them.
    notes = error.__dict__.setdefault("__notes__", [])
    if isinstance(notes, list) and len(notes) < _MOST_NOTES and note not in notes:
        notes.append(note)
