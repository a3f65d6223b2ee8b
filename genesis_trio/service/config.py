"""``service.toml``: the tree as a file.

::

    name = "desk"
    store = "sqlite:desk.db"
    admin = "desk.sock"
    instruments = ["my_desk:count_events"]

    [http]
    address = "127.0.0.1:9100"

    [supervisor]
    strategy = "one_for_one"
    max_restarts = 3
    within = 5.0

    [[children]]
    name = "ledger"
    component = "my_desk:Ledger"
    criticality = "CRITICAL"

    [[children]]
    name = "strategy"
    component = "my_desk:strategy"
    requires = ["ledger"]
    options = { symbol = "BTC/USD" }
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from genesis_trio.errors import ConfigError, PluginError
from genesis_trio.events import Event
from genesis_trio.service.plugins import load_component, load_exception, load_instrument
from genesis_trio.supervision._order import check_requirements, levels
from genesis_trio.supervision.backoff import Backoff, check_reachable
from genesis_trio.supervision.component import ChildSpec, OnCrash

__all__ = ["read_admin", "read_toml"]


def read_toml(path: str) -> dict[str, Any]:
    """The arguments of a `Service` from the file at *path*.

    Everything that is wrong is told together, a line each, beginning with the file.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or says something that is not allowed.
        PluginError: nothing else is wrong, but components cannot be loaded.
    """
    # Not above: cattrs takes a tenth of a second to import, and who only asks a service does not need it.
    from genesis_trio.service._tables import ServiceTable, structure

    table = _load(path)
    found, wrong = structure(table, ServiceTable, "")
    raw = table.get("children")
    tables = list(raw) if isinstance(raw, list) else []
    children = _Children()
    for number, child in enumerate(tables):
        if isinstance(child, dict):
            children.add(f"children[{number}]", child)
    wrong += children.wrong
    if found is None:
        raise _told(path, wrong, children.unloadable)
    instruments, unloadable = _instruments(found.instruments)
    unloadable += children.unloadable
    settings = _given(found.supervisor)
    wrong += _check_store(found.store) if found.store is not None else []
    wrong += _attempt("supervisor", lambda: _check_restarts(settings))
    if not wrong and not unloadable:
        wrong += _check_order(found.name, children.specs)
    if wrong or unloadable:
        raise _told(path, wrong, unloadable)
    top: dict[str, Any] = {
        key: value for key, value in (("store", found.store), ("admin", found.admin)) if value is not None
    }
    if found.http is not None:
        top["http"] = found.http.address
    if instruments:
        top["instruments"] = instruments
    return {"name": found.name, "children": children.specs, **top, **settings}


def _instruments(names: Sequence[str]) -> tuple[list[Callable[[Event], None]], list[str]]:
    """The instruments of these names, and what is wrong with those that cannot be loaded."""
    found: list[Callable[[Event], None]] = []
    unloadable: list[str] = []
    for number, name in enumerate(names):
        try:
            found.append(load_instrument(name))
        except PluginError as error:
            unloadable.append(f"instruments[{number}]: {error}")
    return found, unloadable


def read_admin(path: str) -> str:
    """The admin socket that the file at *path* names, seen from here or from the file, whatever else is in the file.

    Raises:
        ConfigError: the file cannot be read, or names none.
    """
    if not Path(path).exists():
        raise ConfigError(f"{path}: there is no such file here; name the file of the service, or give --socket")
    admin = _load(path).get("admin")
    if not isinstance(admin, str) or not admin:
        raise ConfigError(f'{path}: it names no admin socket; add admin = "desk.sock" to it, or give --socket')
    # A service resolves it where it was started, which is most often here or where its file is.
    beside = Path(path).parent / admin
    return str(beside) if not Path(admin).exists() and beside.exists() else admin


def _load(path: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if isinstance(error, tomllib.TOMLDecodeError):
            raise ConfigError(f"{path}: is no TOML: {error}") from error
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: cannot be read: {reason}") from error


def _told(path: str, wrong: Sequence[str], unloadable: Sequence[str]) -> ConfigError | PluginError:
    """The one error for everything that is wrong with the file."""
    lines = [f"{path}: {problem}" for problem in (*wrong, *unloadable)]
    return (ConfigError if wrong else PluginError)("\n".join(lines))


def _given(table: Any) -> dict[str, Any]:
    """The fields of *table* that were given."""
    return {
        field.name: value for field in attrs.fields(type(table)) if (value := getattr(table, field.name)) is not None
    }


class _Children:
    """The children of a file: those that are well described, and what is wrong with the others."""

    def __init__(self) -> None:
        self.specs: list[ChildSpec] = []
        self.wrong: list[str] = []
        self.unloadable: list[str] = []

    def add(self, where: str, table: Mapping[str, Any]) -> None:
        from genesis_trio.service._tables import ChildTable, structure

        found, wrong = structure(table, ChildTable, where)
        self.wrong += wrong
        name = table.get("component")
        component = self._component(where, name) if isinstance(name, str) and name else None
        if component is None:
            return
        if found is None:
            self._check_what_it_takes(where, component, table.get("args"), table.get("options"))
            return
        fields = _given(found)
        del fields["component"]
        args = fields.pop("args")
        if found.rules is not None:
            fields["rules"] = self._rules(f"{where}.rules", found.rules)
        try:
            spec = ChildSpec(component, *args, **fields)
        except (TypeError, ValueError) as error:
            self.wrong.append(f"{where}.component is {name!r}: {error}")
            return
        self.specs.append(spec)
        self._check_what_it_takes(where, component, args, found.options)

    def _check_what_it_takes(self, where: str, component: Any, args: Any, options: Any) -> None:
        """What has another shape than args and options have is wrong already."""
        if isinstance(args, list | tuple | None) and callable(component):
            self.wrong += _attempt(f"{where}.args", lambda: _check_args(component, args or ()))
        if isinstance(options, Mapping | None):
            self.wrong += _attempt(f"{where}.options", lambda: _check_options(component, options))

    def _rules(self, where: str, rules: Mapping[str, OnCrash]) -> dict[type[BaseException], OnCrash]:
        found: dict[type[BaseException], OnCrash] = {}
        for name, follows in rules.items():
            try:
                found[load_exception(name)] = follows
            except PluginError as error:
                self.unloadable.append(f"{where}: {error}")
        return found

    def _component(self, where: str, name: str) -> Any:
        try:
            return load_component(name)
        except PluginError as error:
            self.unloadable.append(f"{where}.component: {error}")
            return None


def _attempt(where: str, check: Callable[[], object]) -> Iterator[str]:
    try:
        check()
    except (TypeError, ValueError, ConfigError) as error:
        yield f"{where}: {error}"


def _check_args(component: Any, args: Sequence[Any]) -> None:
    try:
        signature = inspect.signature(component)
    except ValueError:
        return  # written in C; it will tell by itself
    try:
        signature.bind(*args) if isinstance(component, type) else signature.bind(None, *args)
    except TypeError as error:
        context = "" if isinstance(component, type) else " after ctx"
        raise ConfigError(
            f"{list(args)!r} is not what {component.__name__}{signature} takes{context}: {error}"
        ) from None


def _check_options(component: Any, options: Mapping[str, Any] | None) -> None:
    options_type = getattr(component, "options_type", None)
    if options_type is not None:
        from genesis_trio.supervision._options import structure_options

        structure_options(options or {}, options_type, where="it")


def _check_restarts(settings: Mapping[str, Any]) -> None:
    limits = {"max_restarts": settings.get("max_restarts", 3), "within": settings.get("within", 5.0)}
    check_reachable(settings.get("backoff", Backoff()), **limits)


def _check_store(url: str) -> list[str]:
    from importlib.metadata import entry_points

    from genesis_trio.persistence.opening import BUILT_IN, GROUP
    from genesis_trio.service._tables import near

    scheme = url.partition(":")[0]
    known = sorted({*BUILT_IN, *(entry.name for entry in entry_points(group=GROUP))})
    if scheme in known:
        return []
    return [f"store is {url!r}, but its scheme must be one of {', '.join(known)}{near(scheme, known)}"]


def _check_order(supervisor: str, specs: Sequence[ChildSpec]) -> list[str]:
    """What is wrong between children: names that are taken or missing, cycles, less critical requirements."""
    from genesis_trio.service._tables import near

    wrong: list[str] = []
    names: set[str] = set()
    criticality = {spec.name: spec.criticality for spec in specs}
    for number, spec in enumerate(specs):
        if spec.name in names:
            wrong.append(f"children[{number}].name is {spec.name!r}, which another child has already")
        names.add(spec.name)
        for other in spec.requires:
            hint = near(other, criticality) if other not in criticality else ""
            one = partial(check_requirements, {spec.name: [other]}, criticality, supervisor=supervisor, existing={})
            wrong += [problem + hint for problem in _attempt(f"children[{number}].requires", one)]
    if not wrong:
        requires = {spec.name: spec.requires for spec in specs}
        wrong += _attempt("children", partial(levels, requires, supervisor=supervisor))
    return wrong
