"""A service as a process: its sockets, its store, its signals, its tree."""

import contextlib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import trio

from genesis_trio._runtime import current_run
from genesis_trio.errors import ConfigError, StoreError
from genesis_trio.events import Event, emit, observe
from genesis_trio.modes import ModePolicy
from genesis_trio.service._events import Listening, SignalReceived
from genesis_trio.service.address import parse_address
from genesis_trio.service.admin import AdminSocket, Orders, open_admin
from genesis_trio.service.last_resort import LastResort
from genesis_trio.service.notify import Notifier
from genesis_trio.service.signals import StopSignals
from genesis_trio.service.stall import measure_stall
from genesis_trio.service.state import Phase, ServiceState
from genesis_trio.supervision._limits import describe_limits
from genesis_trio.supervision._order import check_requirements, levels
from genesis_trio.supervision._settings import check_kinds, check_settings
from genesis_trio.supervision.component import ChildSpec
from genesis_trio.supervision.supervisor import Supervisor, open_supervisor

__all__ = ["Service", "run", "run_service", "serve"]

CHECKED = ("strategy", "max_restarts", "within", "shutdown_timeout", "escalate_after", "stall_limit")


class Service:
    """A whole service, described: what runs, where its state is, how it is reached.

    Args:
        name: The supervisor's name.
        children: What it runs.
        store: Where its state is: ``sqlite:desk.db``, ``memory:``.
        admin: Path of its admin socket; None: it has none.
        http: Where ``/livez``, ``/readyz`` and ``/metrics`` answer: ``127.0.0.1:9100``; port 0 is any free one, None: nowhere.
        instruments: Functions of one event that see all that happens, from before the store is opened; see `observe`.
        supervisor: Anything else that `open_supervisor` takes.  A service has a `ModePolicy` by default.
    """

    def __init__(
        self,
        name: str,
        children: Sequence[ChildSpec] = (),
        *,
        store: str = "sqlite:genesis.db",
        admin: str | None = None,
        http: str | None = None,
        instruments: Sequence[Callable[[Event], None]] = (),
        **supervisor: Any,
    ) -> None:
        for what, members in (("children", children), ("instruments", instruments)):
            if not isinstance(members, Iterable):
                raise TypeError(f"{what} of service {name!r} are a list, as in {what}=[…], got {members!r}")
        children = tuple(children)
        for child in children:
            if not isinstance(child, ChildSpec):
                raise TypeError(f"children of service {name!r} are ChildSpecs, got {child!r}")
        for what, value in (("store", store), ("admin", admin), ("http", http)):
            if not isinstance(value, str) and (value is not None or what == "store"):
                raise TypeError(f"{what} of service {name!r} is a text, got {value!r}")
        if http is not None:
            parse_address(http)
        instruments = tuple(instruments)
        for hook in instruments:
            if not callable(hook):
                raise TypeError(f"instruments of service {name!r} are functions of one event, got {hook!r}")
        self.name = name
        self.children = children
        self.store = store
        self.admin = admin
        self.http = http
        self.instruments = instruments
        self.supervisor = {"mode_policy": ModePolicy(), **supervisor}
        self._check()

    def _check(self) -> None:
        """Refuse what cannot work here, and not when sockets are open and the store is held."""
        if ":" not in self.store:
            raise StoreError(
                f"a store is named by scheme and place, as in 'sqlite:desk.db' or 'memory:'; got {self.store!r}"
            )
        for setting in self.supervisor.keys() - _supervisor_defaults().keys():
            from genesis_trio.service._tables import near

            allowed = ["store", "admin", "http", "instruments", *_supervisor_defaults()]
            raise TypeError(
                f"a service has no setting {setting!r}{near(setting, allowed)}; allowed are: {', '.join(allowed)}"
            )
        settings = _supervisor_defaults() | self.supervisor
        check_settings(self.name, **{key: settings[key] for key in CHECKED})
        check_kinds(settings["backoff"], settings["mode_policy"], settings["rng"], None, settings["checkpoint"])
        criticality = {child.name: child.criticality for child in self.children}
        requires = {child.name: child.requires for child in self.children}
        if len(requires) < len(self.children):
            names = [child.name for child in self.children]
            taken = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"service {self.name!r} has a child {taken!r} already; names are unique in a supervisor")
        check_requirements(requires, criticality, supervisor=self.name, existing={})
        levels(requires, supervisor=self.name)

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
    order, also while they are being started; the second one hurries.  ``task_status.started`` gets the `Supervisor`,
    once every child has begun.  systemd is told when ``NOTIFY_SOCKET`` is set.

    A stop that a signal began, in the main thread and in real time, ends: if something keeps it up a second longer than
    ``shutdown_timeout``, what can be saved is saved, and the process exits with status 70 and a report.

    Raises:
        StoreError: the store cannot be opened.
        ConfigError: an impossible tree, or an address or a socket that cannot be used.

    Trio checkpoint: always.
    Cancellation: the children are stopped in order first, within ``shutdown_timeout``.
    """
    await _run(service, begun=lambda supervisor: task_status.started(supervisor))


def _tell_nobody(supervisor: Supervisor) -> None: ...


async def _run(
    service: Service, *, begun: Callable[[Supervisor], None] = _tell_nobody, is_process: bool = False
) -> None:
    if not isinstance(service, Service):
        raise TypeError(
            f"run_service() takes a Service, got {service!r}; make one: Service(name, [ChildSpec(component, name=…)])"
        )
    current_run()  # without one it says so, before signals do
    signals = StopSignals()
    with signals.caught():
        await serve(service, signals, begun=begun, is_process=is_process)


async def serve(
    service: Service,
    signals: StopSignals,
    *,
    begun: Callable[[Supervisor], None] = _tell_nobody,
    is_process: bool = False,
) -> None:
    """`run_service`, with *signals* that the caller catches; one that came before the store is open lets nothing begin.

    Args:
        begun: Told once every child has begun.
        is_process: The service is all that the process is for, so that whatever begins its stop, the process has to end.
    """
    from genesis_trio.persistence.opening import open_store

    async with contextlib.AsyncExitStack() as stack:
        for hook in service.instruments:
            stack.enter_context(observe(hook))
        settings = _supervisor_defaults() | service.supervisor
        resort = LastResort(service.name, service.store, settings["shutdown_timeout"])
        stack.enter_context(resort.watch())
        signals.on_arrival = resort.begin
        stack.enter_context(signals.heard())
        stack.enter_context(measure_stall())
        notifier = stack.enter_context(Notifier.from_environment().open())
        # Before the store is opened: nothing is saved by a service that nobody can reach where it should be.
        http = None
        if service.http is not None:
            from genesis_trio.service.web import open_http

            http = await stack.enter_async_context(await open_http(service.http))
        admin = None
        if service.admin is not None:
            admin = await stack.enter_async_context(open_admin(service.admin))
        store = await stack.enter_async_context(open_store(service.store))
        promise = str(await store.read_promise())
        if signals.received:
            return
        async with open_supervisor(service.name, store=store, **service.supervisor) as supervisor:
            resort.supervisor = supervisor
            running = _Running(supervisor, signals, notifier)
            running.state.promise = promise
            running.answer(http, admin)
            try:
                await running.through(service.children, begun)
            finally:
                if is_process:
                    resort.begin()
            await running.end()


class _Running:
    """One supervisor on its way from the first child's start to the last one's end."""

    def __init__(self, supervisor: Supervisor, signals: StopSignals, notifier: Notifier) -> None:
        self.state = ServiceState(supervisor)
        self._supervisor = supervisor
        self._signals = signals
        self._notifier = notifier
        self._going_on = trio.CancelScope()
        supervisor.start_service(self._obey_signals)
        if notifier.watchdog < math.inf:
            supervisor.start_service(notifier.feed_watchdog)
        if notifier:
            supervisor.start_service(self._tell_mode)

    def answer(self, http: trio.SocketListener | None, admin: AdminSocket | None) -> None:
        """Let the service be asked from now on: while it starts, and until its last child has ended."""
        if http is not None:
            from genesis_trio.service.web import address_of, serve_http

            listener = http
            self.state.http = address_of(http)
            self._supervisor.start_service(lambda: serve_http(listener, self.state))
            self._emit(Listening, what="http", address=self.state.http)
        if admin is not None:
            orders = Orders(self.state, self.stop)
            socket = admin
            self.state.admin = admin.path
            self._supervisor.start_service(lambda: socket.serve(orders))
            self._emit(Listening, what="admin", address=admin.path)

    async def through(self, children: Sequence[ChildSpec], begun: Callable[[Supervisor], None]) -> None:
        """Start, and wait for the end of all children or for the order to stop."""
        told = False
        with self._going_on:
            await self._supervisor.start_all(children)
            self.state.phase = Phase.RUNNING
            self._notifier.tell(READY=1, STATUS=self.state.in_a_line())
            told = True
            begun(self._supervisor)
            await self._supervisor.wait_finished()
        if not told:  # whoever waits for the start goes on, with a supervisor that stops
            begun(self._supervisor)

    async def end(self) -> None:
        """Stop what still runs."""
        self.state.phase = Phase.STOPPING
        self._notifier.tell(STOPPING=1, STATUS=self.state.in_a_line())
        await self._supervisor.stop()

    def stop(self) -> None:
        """Begin to stop, whatever is under way."""
        self.state.phase = Phase.STOPPING
        # What start_all() has begun stays, to be stopped with all others.
        self._supervisor.is_stopping = True
        self._going_on.cancel(reason="the service was asked to stop")

    async def _obey_signals(self) -> None:
        for action, carry_out in (("stop", self.stop), ("hurry", self._supervisor.hurry)):
            number = 1 if action == "stop" else 2
            await self._signals.wait(number)
            self._emit(SignalReceived, signal=self._signals.received[number - 1].name, action=action)
            carry_out()

    async def _tell_mode(self) -> None:
        async for _ in self._supervisor.scope.changes():
            self._notifier.tell(STATUS=self.state.in_a_line())

    def _emit(self, event: type[Event], **fields: Any) -> None:
        if self._supervisor.tree.hooks:
            emit(self._supervisor.tree, event, **fields)


def run(service: Service) -> None:
    """Run *service* as this process's work: `run_service` in a ``trio.run``.

    In the main thread it ends, whatever began its stop: see `run_service` for the last resort.

    Raises:
        RuntimeError: called inside of a running Trio loop.
        BaseException: what `run_service` raised.
    """
    if trio.lowlevel.in_trio_run():
        raise RuntimeError(
            "run() starts a trio.run of its own and was called inside of one; here write `await run_service(service)`"
        )
    trio.run(partial(_run, service, is_process=True))


def _supervisor_defaults() -> dict[str, Any]:
    """What a service may give to `open_supervisor`, with the defaults."""
    parameters = inspect.signature(open_supervisor).parameters
    return {name: setting.default for name, setting in parameters.items() if name not in ("name", "store")}


def limits_of(service: Service) -> Iterator[str]:
    """What the settings of *service* amount to, in words: restarts, groups, and the time that a stop takes."""
    given = _supervisor_defaults() | service.supervisor
    by_name = {child.name: child for child in service.children}
    order = levels({child.name: child.requires for child in service.children}, supervisor=service.name)
    return describe_limits(
        [by_name[name] for level in order for name in level],
        **{name: given[name] for name in ("strategy", "max_restarts", "within", "shutdown_timeout")},
    )
