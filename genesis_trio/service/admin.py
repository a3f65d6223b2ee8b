"""Questions and orders to a running service, over a Unix socket that only its owner can open.

One JSON object a line in each direction: ``{"do": "status"}`` gives ``{"ok": ...}`` or ``{"error": "..."}``.
"""

import contextlib
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio

from genesis_trio.errors import ConfigError
from genesis_trio.events import describe_error
from genesis_trio.modes import Mode, ModeScope
from genesis_trio.policies.breaker import BREAKERS, CircuitBreaker
from genesis_trio.supervision.child import Child
from genesis_trio.supervision.supervisor import Supervisor

__all__ = ["AdminServer", "ask", "serve_admin"]

MAX_LINE = 65536


def _find_scope(supervisor: Supervisor, path: str) -> ModeScope:
    scopes = {scope.path: scope for scope in supervisor.scope.walk()}
    if path not in scopes:
        raise LookupError(f"there is no scope {path!r}; there are: {', '.join(scopes)}")
    return scopes[path]


def _find_child(supervisor: Supervisor, path: str) -> Child:
    children = supervisor.tree.children
    if path not in children:
        raise LookupError(f"there is no child {path!r}; there are: {', '.join(children) or 'none'}")
    return children[path]


def _find_breakers(name: str) -> list[CircuitBreaker]:
    known = BREAKERS.by_name()
    if name not in known:
        raise LookupError(f"there is no circuit breaker {name!r}; there are: {', '.join(known) or 'none'}")
    return known[name]


class Orders:
    """What may be asked of a service; each method is one order."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def status(self) -> dict[str, Any]:
        supervisor = self._supervisor
        saver = supervisor.tree.saver
        last = saver.last if saver is not None else None
        return {
            "name": supervisor.name,
            "mode": supervisor.scope.mode.name,
            "causes": [
                {"owner": cause.owner, "reason": cause.reason, "mode": cause.mode.name, "latched": cause.latched}
                for cause in supervisor.scope.causes
            ],
            "children": {
                path: {
                    "status": child.status.value,
                    "generation": child.generation,
                    "restarts": child.restarts,
                    "mode": child.scope.mode.name,
                    "last_error": describe_error(child.last_error) if child.last_error is not None else None,
                }
                for path, child in supervisor.tree.children.items()
            },
            "checkpoint": None if last is None else {"id": last.id, "at": last.created_at.isoformat()},
        }

    async def why(self, path: str) -> str:
        if path in self._supervisor.tree.children:
            return _find_child(self._supervisor, path).why()
        return _find_scope(self._supervisor, path).why()

    async def hold(self, path: str, mode: str, reason: str, by: str = "operator") -> str:
        if mode.upper() not in Mode.__members__:
            raise LookupError(f"there is no mode {mode!r}; there are: {', '.join(Mode.__members__)}")
        scope = _find_scope(self._supervisor, path)
        scope.hold(Mode[mode.upper()], owner=by, reason=reason, latched=True)
        await scope.settled()
        return scope.why()

    async def clear(self, path: str, owner: str, reason: str, by: str = "operator") -> str:
        scope = _find_scope(self._supervisor, path)
        scope.clear(owner, reason, by=by)
        await scope.settled()
        return scope.why()

    async def restart(self, path: str) -> str:
        child = _find_child(self._supervisor, path)
        await child.restart()
        return child.why()

    async def stop(self) -> str:
        self._supervisor.start_service(self._supervisor.stop)
        return "stopping its children in the reverse order of their start"

    async def trip(self, breaker: str) -> str:
        for one in _find_breakers(breaker):
            one.trip()
        return f"circuit breaker {breaker!r} is open"

    async def reset(self, breaker: str) -> str:
        for one in _find_breakers(breaker):
            one.reset()
        return f"circuit breaker {breaker!r} is closed"

    async def checkpoint(self, label: str | None = None) -> str:
        return (await self._supervisor.create_checkpoint(label=label)).id

    async def metrics(self) -> str:
        # Not above: instrumentation is an edge, and only asked for here.
        import importlib

        return str(importlib.import_module("genesis_trio.instrumentation.prometheus").render(self._supervisor))


class AdminServer:
    """The admin socket of one service."""

    async def open(self, path: str) -> trio.SocketListener:
        """Bind the socket at *path*; what a killed service left there is replaced.

        Raises:
            ConfigError: another service answers there, or the path cannot be used.
        """
        try:
            if stat.S_ISSOCK(os.stat(path).st_mode):
                await self._replace_stale(path)
        except FileNotFoundError:
            pass
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The mask is the whole process's: no await stands between, so no other task ever makes a file under it.
        before = os.umask(0o177)
        try:
            bound.bind(path)
        except OSError as error:
            bound.close()
            raise ConfigError(f"the admin socket {path!r} cannot be opened: {error}") from error
        finally:
            os.umask(before)
        bound.listen(8)
        return trio.SocketListener(trio.socket.from_stdlib_socket(bound))

    async def _replace_stale(self, path: str) -> None:
        probe = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            await probe.connect(path)
        except OSError:
            os.unlink(path)
        else:
            raise ConfigError(f"a service answers on the admin socket {path!r} already; stop it, or give another path")
        finally:
            probe.close()

    async def __call__(self, listener: trio.SocketListener, path: str, supervisor: Supervisor) -> None:
        """Serve until cancelled; then the socket file is removed."""
        orders = Orders(supervisor)
        try:
            async with trio.open_nursery() as nursery:
                await trio.serve_listeners(partial(_converse, orders=orders), [listener], handler_nursery=nursery)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


serve_admin = AdminServer()


async def _converse(stream: trio.SocketStream, *, orders: Orders) -> None:
    received = b""
    try:
        async with stream:
            while len(received) <= MAX_LINE:
                chunk = await stream.receive_some()
                if not chunk:
                    return
                received += chunk
                *lines, received = received.split(b"\n")
                for line in lines:
                    await stream.send_all(json.dumps(await _carry_out(orders, line)).encode() + b"\n")
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return  # the other side is gone; there is nobody to tell


async def _carry_out(orders: Orders, line: bytes) -> dict[str, Any]:
    try:
        order = json.loads(line)
        name = order.pop("do")
        method: Callable[..., Awaitable[Any]] | None = getattr(orders, name, None) if name.isidentifier() else None
        if method is None or name.startswith("_"):
            known = ", ".join(name for name in vars(Orders) if not name.startswith("_"))
            return {"error": f"there is no order {name!r}; there are: {known}"}
        return {"ok": await method(**order)}
    except Exception as error:
        # Whatever went wrong is the answer: the operator sees it, and the service goes on.
        return {"error": describe_error(error)}


async def ask(path: str, order: str, /, **arguments: Any) -> Any:
    """Give *order* to the service whose admin socket is at *path*, and return its answer.

    Raises:
        ConfigError: nobody answers there.
        LookupError: the service refused, in its words.
    """
    try:
        stream = await trio.open_unix_socket(path)
    except OSError as error:
        raise ConfigError(f"no service answers on the admin socket {path!r}: {error}") from error
    async with stream:
        await stream.send_all(json.dumps({"do": order, **arguments}).encode() + b"\n")
        received = b""
        while not received.endswith(b"\n"):
            chunk = await stream.receive_some()
            if not chunk:
                raise ConfigError(f"the service on the admin socket {path!r} hung up")
            received += chunk
    answer = json.loads(received)
    if "error" in answer:
        raise LookupError(answer["error"])
    return answer["ok"]
