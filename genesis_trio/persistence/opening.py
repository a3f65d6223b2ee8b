"""`open_store`, and which engine a URL names."""

import contextlib
import errno
import math
import os
import socket
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import trio

from genesis_trio._interrupts import undisturbed, uninterrupted
from genesis_trio._runtime import run_blocking, utcnow
from genesis_trio.errors import GenesisError, PluginError, StoreError
from genesis_trio.events import describe_error
from genesis_trio.persistence._draft import Draft
from genesis_trio.persistence._ledger import Ledger
from genesis_trio.persistence._telling import tell_damage
from genesis_trio.persistence._writer import Writer
from genesis_trio.persistence.engine import StoreEngine
from genesis_trio.persistence.store import Store

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "open_engine", "open_store", "open_store_over"]

SCOPE = "main"

GROUP = "genesis_trio.engines"
BUILT_IN = ("memory", "sqlite")


@uninterrupted
@contextlib.asynccontextmanager
async def open_store(
    url: str, *, commit_timeout: float = 10.0, code_version: str | None = None
) -> AsyncIterator[Store]:
    """Open the store that *url* names, for the block; make it when it is not there.

    ``sqlite:desk.db`` is a file, durable against a crash of the process and of the machine.  ``memory:`` is gone
    at the end of the block; ``memory:desk`` stays in the process, so that a restart can be played.  Other schemes
    come from plugins, which are loaded only when named.

    Leaving the block writes what is queued, whatever the reason for leaving, and raises the body's own exception.

    Args:
        url: Scheme and place: ``sqlite:desk.db``, ``memory:``, or ``memory:name``, which outlives the block.
        commit_timeout: Seconds after which a commit that has not come back counts as unknown, and the store is poisoned.
        code_version: The version of your code, for the metadata; default: that of genesis_trio.

    Raises:
        StoreError: unknown scheme; in use, by whom; foreign or newer file.
        CorruptError: the file cannot be read at all.
        PluginError: the engine is installed, and cannot be loaded.

    Trio checkpoint: on entering and on leaving, always.
    Cancellation: seen before anything is opened; leaving is shielded, and bounded by the commit under way.
    """
    if not isinstance(url, str):
        raise TypeError(f"a store is named by a string such as 'sqlite:desk.db', got {url!r}")
    if isinstance(commit_timeout, bool) or not isinstance(commit_timeout, int | float):
        raise TypeError(f"commit_timeout must be seconds as a number, got {commit_timeout!r}")
    if not (commit_timeout > 0 and math.isfinite(commit_timeout)):
        raise ValueError(f"commit_timeout must be positive and finite seconds, got {commit_timeout!r}")
    async with open_store_over(partial(open_engine, url), url, commit_timeout, code_version) as store:
        yield store


@uninterrupted
@contextlib.asynccontextmanager
async def open_store_over(
    make_engine: Callable[[], StoreEngine], url: str, commit_timeout: float = 10.0, code_version: str | None = None
) -> AsyncIterator[Store]:
    """`open_store` over the engine that *make_engine* opens, in a blocking call; *url* is what messages call it."""
    ledger = await run_blocking(_open_ledger, make_engine, url, utcnow())
    try:
        writer = Writer(ledger, url, commit_timeout)
        store = Store(writer, url, code_version if code_version is not None else _own_version())
        tell_damage(url, ledger.damage)
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            try:
                yield store
            except BaseException as error:  # noqa: ASYNC103, RUF100 - raised again below, outside of the nursery, bare
                failure = error
            finally:
                writer.close()
                interrupt = await undisturbed(writer.finished.wait)  # noqa: ASYNC102 - shields itself
        failure = interrupt or failure
        if failure is not None:
            raise failure
    finally:
        interrupt = await undisturbed(partial(run_blocking, _close_ledger, ledger))  # noqa: ASYNC102
        if interrupt is not None:
            raise interrupt


def _open_ledger(make_engine: Callable[[], StoreEngine], url: str, now: datetime) -> Ledger:
    try:
        engine = make_engine()
    except OSError as error:
        raise _cannot_open(url, error) from error
    try:
        holder = f"process {os.getpid()} on {socket.gethostname()}, since {now.isoformat(timespec='seconds')}"
        ledger = Ledger(engine, SCOPE, holder)
        incidents = ledger.open()
        if incidents:
            draft = Draft(ledger)
            for incident in incidents:
                draft.note(incident)
            with contextlib.suppress(OSError):  # a full disk; they are known, and will be found again
                draft.commit()
    except OSError as error:
        engine.close()
        raise _cannot_open(url, error) from error
    except BaseException:
        engine.close()
        raise
    return ledger


_ADVICE = {
    errno.ENOSPC: "free some space on its disk",
    errno.EDQUOT: "free some space, or raise the quota of its user",
    errno.EACCES: "give the user of this process the right to read and to write it, and its folder",
    errno.EPERM: "give the user of this process the right to read and to write it, and its folder",
    errno.EROFS: "its disk is mounted read-only: remount it, or choose another place",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


def _cannot_open(url: str, error: OSError) -> StoreError:
    advice = _ADVICE.get(error.errno or 0, "look at its disk and its mount (dmesg), then try again")
    return StoreError(f"cannot open the store {url}: {error}; {advice}")


def _close_ledger(ledger: Ledger) -> None:
    try:
        with contextlib.suppress(StoreError, OSError):
            ledger.engine.release(ledger.scope, ledger.token)
    finally:
        ledger.engine.close()


def _own_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"genesis_trio {version('genesis_trio')}"
    except PackageNotFoundError:
        return "genesis_trio, not installed"


def open_engine(url: str) -> StoreEngine:
    """Open the engine for *url*; only the one that is named is imported.

    Raises:
        StoreError: no such scheme, or the engine cannot open the location.
        PluginError: an installed engine could not be loaded; says which, and why.
    """
    scheme, colon, location = url.partition(":")
    if not colon:
        raise StoreError(f"a store is named by scheme and place, as in 'sqlite:{url}' or 'memory:'; got {url!r}")
    if scheme == "memory":
        from genesis_trio.persistence.engines.memory import MemoryEngine

        return MemoryEngine.open(location)
    if scheme == "sqlite":
        from genesis_trio.persistence.engines.sqlite import SqliteEngine

        return SqliteEngine.open(location)
    return _open_plugin(scheme, location)


def _open_plugin(scheme: str, location: str) -> StoreEngine:
    engine_type, origin = _load_plugin(scheme)
    try:
        engine = engine_type.open(location)
    except (GenesisError, OSError):
        raise
    except Exception as error:
        raise PluginError(
            f"the engine {scheme!r} of {origin} failed to open {location!r}, and not with a StoreError or an OSError: "
            f"{describe_error(error)}"
        ) from error
    if not isinstance(engine, StoreEngine):
        raise PluginError(
            f"the engine {scheme!r} of {origin} opened {location!r} as {engine!r}, which is no StoreEngine"
        )
    return engine


def _load_plugin(scheme: str) -> tuple[type[StoreEngine], str]:
    from importlib.metadata import entry_points

    known = entry_points(group=GROUP)
    found = [entry for entry in known if entry.name == scheme]
    if not found:
        schemes = sorted({*BUILT_IN, *(entry.name for entry in known)})
        raise StoreError(f"no engine for the scheme {scheme!r}; installed are {', '.join(schemes)}")
    if len({entry.value for entry in found}) > 1:
        several = ", ".join(f"{entry.value} of {_origin(entry)}" for entry in found)
        raise PluginError(f"there are several engines for the scheme {scheme!r}: {several}; uninstall all but one")
    entry, origin = found[0], _origin(found[0])
    try:
        engine = entry.load()
    except (Exception, SystemExit) as error:  # a module that ends the process when it is imported is broken as well
        raise PluginError(
            f"the engine {scheme!r} of {origin} could not be loaded from {entry.value}: {describe_error(error)}"
        ) from error
    if not (isinstance(engine, type) and issubclass(engine, StoreEngine)):
        raise PluginError(
            f"the engine {scheme!r} of {origin} is no subclass of StoreEngine: {entry.value} is {engine!r}"
        )
    return engine, origin


def _origin(entry: "EntryPoint") -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "an unknown distribution"
