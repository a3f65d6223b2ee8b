"""What goes wrong at the venue, and for how long."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from genesis_trio.demo.exchange.links import Links
from genesis_trio.demo.exchange.streams import Stream

__all__ = ["KINDS", "Faults", "UnknownFaultError"]

SKIPPED = 3  # messages that a gap is long
NONSENSE = "<html><body>502 Bad Gateway</body></html>"

KINDS = (
    "link.refused",
    "link.dropped",
    "feed.silent",
    "feed.gap",
    "feed.nonsense",
    "orders.error",
    "orders.busy",
    "orders.slow",
    "orders.lost_reply",
    "orders.repeated",
)


class UnknownFaultError(ValueError):
    """The venue cannot do that."""


class Faults:
    """What is wrong now: whoever answers or sends asks here."""

    def __init__(self, links: Links, market: Stream, tell: Callable[..., None]) -> None:
        self._links = links
        self._market = market
        self._tell = tell
        self._active: dict[str, int] = {}
        self._lost_replies: list[trio.Event] = []

    def is_active(self, kind: str) -> bool:
        return self._active.get(kind, 0) > 0

    async def carry_out(self, kind: str, seconds: float = 0.0) -> None:
        """Let *kind* happen, for so many *seconds* if it is one that lasts; return when it is over.

        It is told when it takes effect and when it is over.  A silent feed is over when the last of those who hear
        nothing has gone, a lost reply when it is lost.

        Raises:
            UnknownFaultError: there is no such kind.

        Trio checkpoint: for what lasts.
        Cancellation: it is over at once; listeners that hear nothing go on to hear nothing.
        """
        if kind not in KINDS:
            raise UnknownFaultError(f"the venue has no fault {kind!r}; it has: {', '.join(KINDS)}")
        try:
            await self._happen(kind, seconds)
        finally:
            self._tell("fault_over", kind=kind)

    async def _happen(self, kind: str, seconds: float) -> None:
        match kind:
            case "link.refused":
                try:
                    with self._active_for(kind):
                        self._links.refuse()
                        await trio.sleep(seconds)
                finally:
                    if not self.is_active(kind):  # two that overlap end with the later one
                        self._links.accept()
            case "orders.error" | "orders.busy" | "orders.slow" | "orders.repeated":
                with self._active_for(kind):
                    await trio.sleep(seconds)
            case "orders.lost_reply":
                await self._lose_a_reply()
            case "link.dropped":
                self._links.drop()
                self._tell("fault", kind=kind)
            case "feed.silent":
                listeners = list(self._market.listeners)
                for listener in listeners:
                    listener.is_silent = True
                self._tell("fault", kind=kind)
                for listener in listeners:
                    await listener.gone.wait()
            case "feed.gap":
                for listener in self._market.listeners:
                    listener.to_skip = SKIPPED
                self._tell("fault", kind=kind)
            case "feed.nonsense":
                self._market.publish(NONSENSE)
                self._tell("fault", kind=kind)

    async def _lose_a_reply(self) -> None:
        lost = trio.Event()
        self._lost_replies.append(lost)
        try:
            await lost.wait()
        finally:
            if not lost.is_set():
                self._lost_replies.remove(lost)
        self._tell("fault", kind="orders.lost_reply")

    def lose_this_reply(self) -> bool:
        """Whether the order that was just accepted gets no answer; each such fault takes one."""
        if not self._lost_replies:
            return False
        self._lost_replies.pop(0).set()
        return True

    @contextmanager
    def _active_for(self, kind: str) -> Iterator[None]:
        self._active[kind] = self._active.get(kind, 0) + 1
        self._tell("fault", kind=kind)
        try:
            yield
        finally:
            self._active[kind] -= 1
