"""What systemd is told: the protocol of ``sd_notify``, a few lines of text in a datagram.

With ``Type=notify`` the unit counts as started once every child has begun, and with ``WatchdogSec=`` the service is
restarted when its loop stands still.
"""

import contextlib
import logging
import math
import os
import socket
from collections.abc import Iterator, Mapping

import trio

__all__ = ["Notifier"]

logger = logging.getLogger("genesis_trio")


class Notifier:
    """Whoever started the process and wants to be told; it may be nobody.

    Args:
        address: ``NOTIFY_SOCKET``: a path, or ``@`` and an abstract name.  None: nobody.
        watchdog: Seconds after which silence means that the service hangs.
    """

    def __init__(self, address: str | None, *, watchdog: float = math.inf) -> None:
        self.watchdog = watchdog
        self._socket: socket.socket | None = None
        self._address = address
        if address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Notifier":
        """As ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` say.

        An address of another kind (``vsock:``) and a watchdog that is meant for another process are left alone.
        """
        address = environment.get("NOTIFY_SOCKET", "")
        if address[:1] not in ("/", "@"):
            return cls(None)
        watchdog = math.inf
        if environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            with contextlib.suppress(ValueError):
                watchdog = int(environment.get("WATCHDOG_USEC", "")) / 1e6
        return cls(address, watchdog=watchdog if watchdog > 0 else math.inf)

    def __bool__(self) -> bool:
        return self._socket is not None

    def tell(self, **fields: object) -> None:
        """Send *fields*, as in ``tell(READY=1, STATUS="3 of 3 ready")``; never waits and never raises.

        Trio checkpoint: never.
        """
        if self._socket is None or self._address is None:
            return
        # A line break would begin another field.
        lines = (f"{key}={' '.join(str(value).split())}" for key, value in fields.items())
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            self._socket.sendto("\n".join(lines).encode(), address)
        except BlockingIOError:
            pass  # whoever listens is slow; the next one is as good
        except OSError as error:
            logger.warning("NOTIFY_SOCKET %s cannot be told anything: %s", self._address, error)
            self.close()

    async def feed_watchdog(self) -> None:
        """Say ``WATCHDOG=1`` at half of the watchdog's time, for ever: it stops when the loop stands still.

        Trio checkpoint: always.
        """
        while True:
            self.tell(WATCHDOG=1)
            await trio.sleep(self.watchdog / 2)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @contextlib.contextmanager
    def open(self) -> Iterator["Notifier"]:
        """Close it at the end of the block."""
        try:
            yield self
        finally:
            self.close()
