"""What happens to a service as a process, as frozen records."""

from typing import ClassVar

import attrs

from genesis_trio.events import Event, Severity

__all__ = ["LastResortTaken", "Listening", "SignalReceived"]


@attrs.frozen(kw_only=True)
class LastResortTaken(Event):
    """The stop of the service did not end in its time, as *children* go on; the process exits with *status*."""

    name: ClassVar[str] = "last_resort_taken"
    severity: ClassVar[Severity] = Severity.ERROR
    children: str
    status: int


@attrs.frozen(kw_only=True)
class Listening(Event):
    """The service can be asked at *address*: *what* is ``admin`` or ``http``."""

    name: ClassVar[str] = "listening"
    what: str
    address: str


@attrs.frozen(kw_only=True)
class SignalReceived(Event):
    """A signal asked the service to stop; *action* is what follows: ``stop`` in order, or ``hurry``."""

    name: ClassVar[str] = "signal_received"
    severity: ClassVar[Severity] = Severity.WARNING
    signal: str
    action: str
