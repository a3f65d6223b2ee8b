"""How far a service is: what the admin socket, the probes and systemd tell of it."""

import enum
import importlib
from typing import Any

import attrs

from genesis_trio.modes import Mode
from genesis_trio.supervision.component import Lifecycle
from genesis_trio.supervision.supervisor import Supervisor

__all__ = ["Phase", "ServiceState"]

BEGUN = (Lifecycle.READY, Lifecycle.STOPPED)


class Phase(enum.Enum):
    """Between the first child's start and the last one's end."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


@attrs.define
class ServiceState:
    """One running service.

    Attributes:
        supervisor: Its tree.
        phase: How far it is.
        http: The address its probes are bound to, or None.
        admin: The path of its admin socket, or None.
        promise: What its store survives, in a line, as it was when the service began: asking again would wait for a disk
            that does not answer, and status must not.
    """

    supervisor: Supervisor
    phase: Phase = Phase.STARTING
    http: str | None = None
    admin: str | None = None
    promise: str | None = None

    def readiness(self) -> dict[str, Any]:
        """Whether it does its work, and if not, who does not and why; plain values."""
        supervisor = self.supervisor
        mode = supervisor.scope.mode
        children = supervisor.tree.children.items()
        why = [
            {"child": path, "status": child.status.value, "why": child.why()}
            for path, child in children
            if child.status not in BEGUN
        ]
        ready = self.phase is Phase.RUNNING and mode is not Mode.EMERGENCY and not why
        return {
            "ready": ready,
            "phase": self.phase.value,
            "mode": mode.name,
            "mode_why": supervisor.scope.why(),
            "not_ready": why,
        }

    def in_a_line(self) -> str:
        """Phase, mode and how many children are ready."""
        children = self.supervisor.tree.children.values()
        ready = sum(child.status in BEGUN for child in children)
        return f"{self.phase.value}, {self.supervisor.scope.mode.name}, {ready} of {len(children)} children ready"

    def metrics(self) -> str:
        """Everything that is counted, in the text format of Prometheus."""
        # By its name: instrumentation is an edge above this room, and is loaded only when somebody asks.
        return str(importlib.import_module("genesis_trio.instrumentation.prometheus").render(self.supervisor))
