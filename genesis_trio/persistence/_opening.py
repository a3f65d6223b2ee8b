"""Which engine a URL names."""

from genesis_trio.errors import PluginError, StoreError
from genesis_trio.persistence.engine import StoreEngine

__all__ = ["GROUP", "open_engine"]

GROUP = "genesis_trio.engines"
BUILT_IN = ("memory", "sqlite")


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
    return _load_plugin(scheme).open(location)


def _load_plugin(scheme: str) -> type[StoreEngine]:
    from importlib.metadata import entry_points

    known = entry_points(group=GROUP)
    for entry in known:
        if entry.name == scheme:
            break
    else:
        schemes = sorted({*BUILT_IN, *(entry.name for entry in known)})
        raise StoreError(f"no engine for the scheme {scheme!r}; installed are {', '.join(schemes)}")
    origin = f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "an unknown distribution"
    try:
        engine = entry.load()
    except Exception as error:
        raise PluginError(
            f"the engine {scheme!r} of {origin} could not be loaded from {entry.value}: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(engine, type) and issubclass(engine, StoreEngine)):
        raise PluginError(
            f"the engine {scheme!r} of {origin} is no subclass of StoreEngine: {entry.value} is {engine!r}"
        )
    return engine
