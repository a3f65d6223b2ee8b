"""A service as a process: its store, its signals, its admin socket, its tree."""

import signal
from collections.abc import Sequence
from typing import Any

import trio

from genesis_trio.errors import ConfigError
from genesis_trio.modes import ModePolicy
from genesis_trio.service.admin import serve_admin
from genesis_trio.service.stall import measure_stall
from genesis_trio.supervision.component import ChildSpec
from genesis_trio.supervision.supervisor import Supervisor, open_supervisor

__all__ = ["Service", "run", "run_service"]


class Service:
    """A whole service, described: what runs, where its state is, how it is reached.

    Args:
        name: The supervisor's name.
        children: What it runs.
        store: Where its state is: ``sqlite:desk.db``, ``memory:``.
        admin: Path of its admin socket; None: it has none.
        supervisor: Anything else that `open_supervisor` takes.  A service has a `ModePolicy` by default.
    """

    def __init__(
        self,
        name: str,
        children: Sequence[ChildSpec] = (),
        *,
        store: str = "sqlite:genesis.db",
        admin: str | None = None,
        **supervisor: Any,
    ) -> None:
        for child in children:
            if not isinstance(child, ChildSpec):
                raise TypeError(f"children of service {name!r} are ChildSpecs, got {child!r}")
        if "store" in supervisor:
            raise ConfigError("a service opens its store itself; give its URL")
        self.name = name
        self.children = tuple(children)
        self.store = store
        self.admin = admin
        self.supervisor = {"mode_policy": ModePolicy(), **supervisor}

    @classmethod
    def from_toml(cls, path: str) -> "Service":
        """Read a service from a file; see `genesis_trio.service.config`.

        Raises:
            ConfigError: with file, key path, value and what is allowed.
            PluginError: a component that cannot be loaded.
        """
        from genesis_trio.service.config import read_toml

        arguments = read_toml(path)
        return cls(arguments.pop("name"), arguments.pop("children"), **arguments)


async def run_service(service: Service, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
    """Run *service* until its children are done, it is cancelled, or a signal stops it.

    A first start that fails backs off and parks like any crash.  The first SIGINT or SIGTERM stops the children in
    order, the second one hurries.  ``task_status.started`` gets the `Supervisor`, once every child has begun.

    Raises:
        StoreError: the store cannot be opened.
        ConfigError: an impossible tree.

    Trio checkpoint: always.
    Cancellation: the children are stopped in order first, within ``shutdown_timeout``.
    """
    from genesis_trio.persistence.opening import open_store

    with measure_stall():
        async with (
            open_store(service.store) as store,
            open_supervisor(service.name, store=store, **service.supervisor) as supervisor,
        ):
            signals = supervisor.start_service(lambda: _obey_signals(supervisor))
            if service.admin is not None:
                admin = service.admin
                listener = await serve_admin.open(admin)
                supervisor.start_service(lambda: serve_admin(listener, admin, supervisor))
            await supervisor.start_all(service.children)
            task_status.started(supervisor)
            await supervisor.wait_finished()
            signals.cancel(reason="all children have ended")


async def _obey_signals(supervisor: Supervisor) -> None:
    try:
        receiver = trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM)
        with receiver as signals:
            asked = False
            async for _ in signals:
                if asked:
                    supervisor.hurry()
                else:
                    asked = True
                    supervisor.start_service(supervisor.stop)
    except RuntimeError:
        # Python delivers signals to the main thread only; embedded elsewhere, whoever owns that one stops us.
        return


def run(service: Service) -> None:
    """Run *service* as this process's work: ``trio.run(run_service, service)``."""
    trio.run(run_service, service)
