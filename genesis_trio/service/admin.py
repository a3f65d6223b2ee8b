"""Questions and orders to a running service, over a Unix socket that only its owner can open.

One JSON object a line in each direction: ``{"do": "status"}`` gives ``{"ok": ...}``, or ``{"error": "...", "kind": ...}``
where *kind* is ``refused`` (the order makes no sense here) or ``failed`` (it does, and did not work).
"""

import contextlib
import inspect
import json
import math
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import attrs
import trio

from genesis_trio.errors import ConfigError, GenesisError
from genesis_trio.events import describe_error
from genesis_trio.modes import Mode, ModeScope
from genesis_trio.policies.breaker import BREAKERS, CircuitBreaker
from genesis_trio.service.state import ServiceState
from genesis_trio.supervision.child import Child
from genesis_trio.supervision.supervisor import Supervisor

__all__ = ["AdminSocket", "OrderFailedError", "Orders", "ask", "open_admin"]

MAX_LINE = 65536
PROBE_TIMEOUT = 1.0


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


class OrderFailedError(GenesisError):
    """The order made sense and did not work, or no answer came in time: not the fault of who gave it."""

    failed = True


class Orders:
    """What may be asked of a service; each method is one order.

    Args:
        state: The service.
        stop: Begins to stop it, as a signal would.
    """

    def __init__(self, state: ServiceState, stop: Callable[[], None]) -> None:
        self._state = state
        self._stop = stop
        self._supervisor = state.supervisor

    async def status(self) -> dict[str, Any]:
        supervisor = self._supervisor
        saver = supervisor.tree.saver
        last = saver.last if saver is not None else None
        return {
            "name": supervisor.name,
            "pid": os.getpid(),
            "phase": self._state.phase.value,
            "http": self._state.http,
            "mode": supervisor.scope.mode.name,
            "causes": [
                {
                    "scope": scope.path,
                    "owner": cause.owner,
                    "reason": cause.reason,
                    "mode": cause.mode.name,
                    "latched": cause.latched,
                }
                for scope in supervisor.scope.walk()
                for cause in scope.causes
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
            "store": self._state.promise,
        }

    async def why(self, path: str) -> str:
        if path in self._supervisor.tree.children:
            return _find_child(self._supervisor, path).why()
        return _find_scope(self._supervisor, path).why()

    async def hold(self, path: str, mode: str, reason: str, by: str = "operator") -> str:
        if mode.upper() not in Mode.__members__:
            raise LookupError(f"there is no mode {mode!r}; there are: {', '.join(Mode.__members__)}")
        if Mode[mode.upper()] is Mode.NORMAL:
            raise LookupError(
                "NORMAL is what is left when no cause is held, so holding it would change nothing; "
                f"clear the causes instead, which `genesis why {path}` lists"
            )
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
        try:
            await child.restart()
        except Exception as error:
            # Its own error, of whatever type: the order was right.
            raise OrderFailedError(f"{path!r} did not start: {describe_error(error)}") from error
        return child.why()

    async def stop(self) -> str:
        self._stop()
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
        return self._state.metrics()


@attrs.frozen
class AdminSocket:
    """A bound admin socket: its listener, and which file is its own."""

    path: str
    listener: trio.SocketListener
    inode: tuple[int, int]

    async def serve(self, orders: Orders) -> None:
        """Carry out orders until cancelled."""
        async with trio.open_nursery() as nursery:
            await trio.serve_listeners(partial(_converse, orders=orders), [self.listener], handler_nursery=nursery)

    def unlink(self) -> None:
        """Remove the file, unless a newer service has bound the path meanwhile."""
        with contextlib.suppress(OSError):
            if _inode(self.path) == self.inode:
                os.unlink(self.path)


def _inode(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


@contextlib.asynccontextmanager
async def open_admin(path: str) -> AsyncIterator[AdminSocket]:
    """Bind the socket at *path* for the block; what a killed service left there is replaced.

    Raises:
        ConfigError: another service answers there, or the path cannot be used.

    Trio checkpoint: if something is at *path* already.
    """
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            await _remove_stale(path)
    except OSError:
        pass  # binding tells whatever is wrong
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mask is the whole process's: no await stands between, so no other task ever makes a file under it.
    before = os.umask(0o177)
    try:
        bound.bind(path)
        bound.listen(8)
        inode = _inode(path)
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"the admin socket {path!r} cannot be opened: {error.strerror or error}; give another path in admin"
        ) from error
    finally:
        os.umask(before)
    bound.setblocking(False)
    admin = AdminSocket(path, trio.SocketListener(trio.socket.from_stdlib_socket(bound)), inode)
    try:
        yield admin
    finally:
        admin.unlink()  # before it is closed: nobody then finds a socket at which nobody answers
        admin.listener.socket.close()


async def _remove_stale(path: str) -> None:
    probe = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with trio.move_on_after(PROBE_TIMEOUT):  # a service whose loop stands still answers as well, only later
            await probe.connect(path)
        raise ConfigError(f"a service answers on the admin socket {path!r} already; stop it, or give another path")
    except ConnectionRefusedError:
        os.unlink(path)
    finally:
        probe.close()


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
                    answer = await _carry_out(orders, line)
                    await stream.send_all(json.dumps(answer).encode() + b"\n")
            await stream.send_all(json.dumps(_refuse(f"an order has at most {MAX_LINE} bytes")).encode() + b"\n")
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return  # the other side is gone; there is nobody to tell


async def _carry_out(orders: Orders, line: bytes) -> dict[str, Any]:
    try:
        order = json.loads(line)
    except (ValueError, RecursionError) as error:
        return _refuse(f'an order is a JSON object, as in {{"do": "status"}}: {error}')
    name = order.pop("do", None) if isinstance(order, dict) else None
    method = KNOWN.get(name) if isinstance(name, str) else None
    if method is None:
        return _refuse(f"there is no order {name!r}; there are: {', '.join(KNOWN)}")
    try:
        inspect.signature(method).bind(orders, **order)
    except TypeError as error:
        return _refuse(f"order {name!r}: {error}")
    for key, value in order.items():
        if not isinstance(value, str) and not (value is None and key == "label"):
            return _refuse(f"order {name!r}: {key} is a text, got {value!r}")
    try:
        return {"ok": await method(orders, **order)}
    except (LookupError, ValueError) as error:
        return _refuse(str(error.args[0] if error.args else error))
    except OrderFailedError as error:
        return {"error": str(error), "kind": "failed"}
    except Exception as error:
        # Whatever went wrong is the answer: the operator sees it, and the service goes on.
        return {"error": describe_error(error), "kind": "failed"}


def _refuse(why: str) -> dict[str, Any]:
    return {"error": why, "kind": "refused"}


KNOWN: dict[str, Callable[..., Awaitable[Any]]] = {
    name: method for name, method in vars(Orders).items() if not name.startswith("_")
}


async def ask(path: str, order: str, /, *, timeout: float = math.inf, **arguments: Any) -> Any:
    """Give *order* to the service whose admin socket is at *path*, and return its answer.

    Args:
        timeout: Seconds to wait for the answer; infinity: for ever.

    Raises:
        ConfigError: nobody answers there.
        LookupError: the service refused, in its words.
        OrderFailedError: the order was tried and failed, or there was no answer in time.

    Trio checkpoint: always.
    Cancellation: passes; what the service has begun goes on.
    """
    try:
        with trio.fail_after(timeout):
            answer = await _exchange(path, {"do": order, **arguments})
    except trio.TooSlowError:
        raise OrderFailedError(
            f"the service on the admin socket {path!r} has not answered {order!r} within {timeout:g} s: it may still do it, or its "
            f"loop is blocked"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"no service answers on the admin socket {path!r}: {error.strerror or error}; start it, or give its socket"
        ) from error
    except trio.BrokenResourceError as error:
        raise ConfigError(f"the service on the admin socket {path!r} hung up") from error
    if "error" in answer:
        raise (LookupError if answer.get("kind") == "refused" else OrderFailedError)(answer["error"])
    return answer["ok"]


async def _exchange(path: str, order: dict[str, Any]) -> dict[str, Any]:
    received = b""
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(json.dumps(order).encode() + b"\n")
        while not received.endswith(b"\n"):
            chunk = await stream.receive_some()
            if not chunk:
                raise trio.BrokenResourceError("the service hung up")
            received += chunk
    answer: dict[str, Any] = json.loads(received)
    return answer
