"""What the tests of supervision share: a log of events, and backoffs without jitter."""

from genesis_trio.events import Event
from genesis_trio.supervision.backoff import Backoff

EXACT = Backoff(jitter="none")


class Log:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def named(self, *names: str) -> list[Event]:
        return [event for event in self.events if event.name in names]

    def times(self, name: str) -> list[float]:
        return [event.time for event in self.events if event.name == name]
