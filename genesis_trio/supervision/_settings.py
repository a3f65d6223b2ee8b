"""The settings of `open_supervisor`, looked at before anything is opened."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Protocol

from genesis_trio._members import check_member
from genesis_trio.errors import ConfigError
from genesis_trio.modes import ModePolicy
from genesis_trio.supervision._order import check_requirements
from genesis_trio.supervision.backoff import Backoff
from genesis_trio.supervision.component import ChildSpec, Strategy, is_name

__all__ = ["check_kind", "check_kinds", "check_place", "check_settings", "check_specs"]


class Specified(Protocol):
    """A child, as far as those that are started beside it look at it."""

    @property
    def spec(self) -> ChildSpec: ...


def check_settings(
    name: str,
    strategy: object,
    max_restarts: object,
    within: object,
    shutdown_timeout: object,
    escalate_after: object,
    stall_limit: object,
) -> None:
    """Refuse what cannot work, with the value and what is allowed."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a supervisor is a text, got {name!r}")
    if not is_name(name):
        raise ValueError(f"the name of a supervisor is not empty and has no '/' or outer space, got {name!r}")
    check_member("strategy", strategy, Strategy)
    if isinstance(max_restarts, bool) or not isinstance(max_restarts, int):
        raise TypeError(f"max_restarts is a whole number, got {max_restarts!r}")
    if max_restarts < 0:
        raise ValueError(f"max_restarts is not negative, got {max_restarts!r}")
    for what, seconds in (("within", within), ("shutdown_timeout", shutdown_timeout)):
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise TypeError(f"{what} is a number of seconds, got {seconds!r}")
        if not 0 < seconds <= math.inf:
            raise ValueError(f"{what} is in seconds and positive, got {seconds!r}")
    if escalate_after is not None:
        if isinstance(escalate_after, bool) or not isinstance(escalate_after, int):
            raise TypeError(f"escalate_after is a whole number of crashes, or None, got {escalate_after!r}")
        if escalate_after < 0:
            raise ValueError(f"escalate_after is not negative, got {escalate_after!r}")
    if stall_limit is not None:
        if isinstance(stall_limit, bool) or not isinstance(stall_limit, (int, float)):
            raise TypeError(f"stall_limit is a number of seconds, or None, got {stall_limit!r}")
        if not 0 < stall_limit < math.inf:
            raise ValueError(f"stall_limit is in seconds, positive and finite, got {stall_limit!r}")


def check_kind(what: str, value: object, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{what} is a {kind.__name__}, or None, got {value!r}")


def check_kinds(backoff: object, mode_policy: object, rng: object, store: object, checkpoint: object) -> None:
    """Refuse what is no such object at all, such as the address of a store in place of the store."""
    check_kind("backoff", backoff, Backoff)
    check_kind("mode_policy", mode_policy, ModePolicy)
    check_kind("rng", rng, random.Random)
    if store is not None or checkpoint is not None:
        # Whoever has no store need not load what goes with it.
        from genesis_trio.persistence.policy import CheckpointPolicy
        from genesis_trio.persistence.store import Store

        if isinstance(store, str):
            raise TypeError(
                f"store is an open Store, got {store!r}; open it around the supervisor: `async with open_store({store!r})`"
            )
        check_kind("store", store, Store)
        check_kind("checkpoint", checkpoint, CheckpointPolicy)


def check_place(
    name: str, host: str | None, store: object, checkpoint: object, restore: object, only: object, stall_limit: object
) -> None:
    """Refuse what only the topmost supervisor has, or what only a store makes possible; *host* is the path of the child around it."""
    if stall_limit is not None and host is not None:
        raise ConfigError(
            f"supervisor {name!r} is opened inside {host!r}, and there is one event loop; give stall_limit= to the topmost supervisor"
        )
    if host is not None and (store is not None or checkpoint is not None or restore is not None):
        raise ConfigError(
            f"supervisor {name!r} is opened inside {host!r} and shares its tree's store; give store=, checkpoint= and restore= to "
            f"the topmost supervisor"
        )
    if only and restore is None:
        raise ConfigError(f"supervisor {name!r} has only={only!r} and no restore=, which it limits; give both, or none")
    if store is None and (checkpoint is not None or restore is not None):
        raise ConfigError(f"supervisor {name!r} has no store=, so there is nothing to save to or restore from")


def check_specs(specs: Sequence[ChildSpec], children: Mapping[str, Specified], *, supervisor: str) -> None:
    """Refuse children that cannot be started beside *children*, which may be thousands: only whom somebody requires is looked at."""
    names: set[str] = set()
    for spec in specs:
        if not isinstance(spec, ChildSpec):
            raise TypeError(f"start_all() takes ChildSpecs, got {spec!r}; write ChildSpec(component, name=…)")
        if spec.name in children or spec.name in names:
            raise ConfigError(
                f"supervisor {supervisor!r} has a child {spec.name!r} already; names are unique in a supervisor"
            )
        names.add(spec.name)
    if any(spec.requires for spec in specs):
        check_requirements(
            {spec.name: spec.requires for spec in specs},
            {spec.name: spec.criticality for spec in specs},
            supervisor=supervisor,
            existing={name: child.spec.criticality for name, child in children.items()},
        )
