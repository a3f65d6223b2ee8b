"""Every error that genesis_trio raises.

::

    GenesisError
    ├── BreakerOpenError           a circuit breaker let no call through
    ├── AttemptTimeoutError        our limit on one attempt          (also a TimeoutError)
    ├── TotalTimeoutError          our limit on the whole call       (also a TimeoutError)
    ├── RetryBudgetExhaustedError  a retry was due, the budget had none left
    ├── BulkheadFullError          too many calls at once
    ├── RateLimitedError           too many calls in too short a time
    ├── ModeRefusedError           the operating mode does not allow it
    ├── StartTimeoutError          a child did not become ready in time
    ├── MailboxFullError           a mailbox had no room, and the sender may not wait
    ├── NoResponderError           a request that nobody answers, or not any more
    ├── EffectFailedError          `once` replays a failure that was recorded
    ├── ConfigError                a setting, a file or a tree that cannot work
    ├── PluginError                a plugin that cannot be loaded
    └── StoreError                 anything about saved state
        ├── SchemaError            state does not fit its class
        ├── CorruptError           stored bytes are damaged
        ├── FencedError            another holder took the store over
        ├── PoisonedError          an I/O error was seen: nothing more is acknowledged
        └── OutcomeUnknownError    begun, and not known to have ended

Facts are attributes as well as words.  Every error can be pickled and copied,
and keeps its attributes and notes when it is.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genesis_trio.modes._values import Capability, Mode


def _rebuild(cls: type["GenesisError"], args: tuple[Any, ...]) -> "GenesisError":
    # BaseException.__new__ keeps the args; __init__ may want keywords that are not in them.
    return cls.__new__(cls, *args)


class GenesisError(Exception):
    """Base of all errors of genesis_trio.

    ``except GenesisError`` catches what the framework itself decided; errors of the
    code that it calls come through as they are.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args), self.__dict__ or None


class BreakerOpenError(GenesisError):
    """A circuit breaker rejected the call; the protected function was not called.

    ``__cause__`` is the failure that opened the breaker, or None when it was opened by hand.

    Attributes:
        name: The breaker's name.
        retry_after: Seconds until a probe may run; infinity when isolated by hand.
    """

    __slots__ = ("_pattern", "name", "retry_after")

    def __init__(self, message: str, *, name: str, retry_after: float) -> None:
        super().__init__(message)
        self._pattern: str | None = None
        self.name: str = name
        self.retry_after: float = retry_after

    @staticmethod
    def _rejection(
        pattern: str, name: str, retry_after: float, cause: BaseException | None = None
    ) -> "BreakerOpenError":
        """An error whose message is *pattern*, which is filled in when somebody reads it.

        While a dependency is down these are made as often as it would be called, and most are never read: the
        words, and the call of a constructor with keywords, cost four times what the error costs without them.
        """
        error = _bare(BreakerOpenError)
        error._pattern = pattern
        error.name = name
        error.retry_after = retry_after
        if cause is not None:
            error.__cause__ = cause
        return error

    def __str__(self) -> str:
        if self._pattern is None:
            return super().__str__()
        return self._pattern.format(name=self.name, retry_after=self.retry_after)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Slots are set by name like anything else: `BaseException.__setstate__` does just that.
        state = {**self.__dict__, "_pattern": None, "name": self.name, "retry_after": self.retry_after}
        return _rebuild, (type(self), (str(self),)), state


_bare = Exception.__new__


class AttemptTimeoutError(GenesisError, TimeoutError):
    """One attempt took longer than ``attempt_timeout``; the only refusal of ours that is retried like a failure."""


class TotalTimeoutError(GenesisError, TimeoutError):
    """The whole call took longer than ``total_timeout``, and no attempt had failed by itself before.

    When an attempt had failed, that real error is raised instead, with a note.
    """


class RetryBudgetExhaustedError(GenesisError):
    """A retry was due but the shared budget had none left; ``__cause__`` is the last real failure."""


class BulkheadFullError(GenesisError):
    """As many calls as the bulkhead admits are running, and as many as it queues are waiting."""


class RateLimitedError(GenesisError):
    """The rate limit has no room now, and the caller may not wait.

    Attributes:
        retry_after: Seconds until there is room.
    """

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ModeRefusedError(GenesisError):
    """The operating mode does not allow what was asked; the message names the cause and how it clears.

    Attributes:
        mode: The effective mode at the moment of the refusal.
        needs: The capability that was asked for.
    """

    def __init__(self, message: str, *, mode: "Mode", needs: "Capability") -> None:
        super().__init__(message)
        self.mode = mode
        self.needs = needs


class StartTimeoutError(GenesisError):
    """A child was not ready within its ``start_timeout``; the message says who waits for whom."""


class MailboxFullError(GenesisError):
    """At least one mailbox of a topic had no room; the message names topic and mailboxes.

    All other mailboxes have what was sent.  ``publish(topic, message, retry_of=error)``, or ``send``, gives it to those alone
    that refused it.

    Attributes:
        topic: The topic's name.
        mailboxes: The paths of the children whose mailboxes refused it; empty for a request.
        origin: What the message is known by to ``record``; None for a request.
    """

    def __init__(self, message: str, *, topic: str, mailboxes: tuple[str, ...] = (), origin: str | None = None) -> None:
        super().__init__(message)
        self.topic = topic
        self.mailboxes = mailboxes
        self.origin = origin


class NoResponderError(GenesisError):
    """Nobody answers requests on that topic: no component ever did, or the last one was stopped for good.

    Or it restarts together with the component that asks, which has to end first.  Any other request whose responder
    crashed, restarts, is suspended or parked waits instead.  Whether the request had been begun is in the message: who
    asked may then have to look before asking again.

    Attributes:
        topic: The topic's name.
        begun: True if a responder had taken the request before it ended.
    """

    def __init__(self, message: str, *, topic: str, begun: bool) -> None:
        super().__init__(message)
        self.topic = topic
        self.begun = begun


class StoreError(GenesisError):
    """Base of all errors about saved state: an unknown id, component or scheme, a store in use."""


class SchemaError(StoreError):
    """State does not fit its class; refused when written, and when it is newer than the code that reads it.

    Attributes:
        component: Whose state it is, where several were to be saved together; else None.
    """

    component: str | None = None


class CorruptError(StoreError):
    """Stored bytes do not match their digest, or something that was acknowledged is missing."""


class FencedError(StoreError):
    """Another holder took the store over: stop acting at once."""


class PoisonedError(StoreError):
    """The store has seen an I/O error: it acknowledges nothing more, while reads still work."""


class OutcomeUnknownError(StoreError):
    """An effect or a commit was begun and not confirmed: it may or may not have happened."""


class EffectFailedError(GenesisError):
    """The recorded failure of an effect run by ``once``, told again instead of running it a second time."""


class ConfigError(GenesisError):
    """A setting that cannot work: names file, key path, value and what is allowed; also an impossible tree."""


class PluginError(GenesisError):
    """A plugin could not be used: names plugin, distribution and version, and the reason."""
