"""What is counted, in the text format of Prometheus.

Plain integers are read when somebody asks; nothing is paid on the hot path, and no library is needed.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping

from genesis_trio._runtime import utcnow
from genesis_trio.modes import Mode
from genesis_trio.policies.breaker import BREAKERS, BreakerState
from genesis_trio.policies.guard import GUARDS, GuardStatistics
from genesis_trio.service.stall import stall_meter
from genesis_trio.supervision.component import Lifecycle
from genesis_trio.supervision.supervisor import Supervisor

__all__ = ["render"]

Sample = tuple[Mapping[str, str], float]

#: What a component may not call its own counters and gauges, because the framework does.
TAKEN = {"restarts", "status"}


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    # Not :g, which keeps six digits: a Unix time would be off by an hour, and a counter would stand still.
    return str(int(value)) if isinstance(value, int) else repr(float(value))


def _own_name(name: str) -> str:
    """What a component calls *name*, in the letters that Prometheus allows."""
    allowed = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return f"own_{allowed}" if allowed in TAKEN else allowed


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    lines = []
    for labels, value in samples:
        inner = ",".join(f'{key}="{_escape(label)}"' for key, label in labels.items())
        lines.append(f"{name}{{{inner}}} {_number(value)}" if inner else f"{name} {_number(value)}")
    if lines:
        yield f"# HELP {name} {text}"
        yield f"# TYPE {name} {kind}"
        yield from lines


def render(supervisor: Supervisor) -> str:
    """Everything that is known about the tree of *supervisor*, and about guards and breakers, as text.

    Trio checkpoint: never.
    """
    lines: list[str] = []
    lines += _guards()
    lines += _breakers()
    lines += _children(supervisor)
    lines += _modes(supervisor)
    lines += _mailboxes(supervisor)
    lines += _checkpoints(supervisor)
    lines += _stall()
    return "\n".join(lines) + "\n"


def _guards() -> Iterator[str]:
    totals: dict[str, list[GuardStatistics]] = {}
    for name, guards in GUARDS.by_name().items():
        for guard in guards:
            with contextlib.suppress(RuntimeError):  # another trio.run of this process uses it, and tells of it there
                totals.setdefault(name, []).append(guard.statistics())
    for field, text in (
        ("calls", "Guarded calls."),
        ("failures", "Guarded calls that failed."),
        ("rejected", "Guarded calls that were refused."),
        ("retries", "Retries that were scheduled."),
        ("retry_successes", "Calls that succeeded after a retry."),
        ("exhausted", "Calls whose retries were spent."),
        ("timeouts", "Attempts that took too long."),
    ):
        yield from _family(
            f"genesis_guard_{field}_total",
            "counter",
            text,
            [({"guard": name}, sum(getattr(one, field) for one in all_)) for name, all_ in totals.items()],
        )


def _breakers() -> Iterator[str]:
    samples: list[Sample] = []
    for name, breakers in BREAKERS.by_name().items():
        states = []
        for breaker in breakers:
            with contextlib.suppress(RuntimeError):  # another trio.run of this process uses it, and tells of it there
                states.append(breaker.state)
        samples += [({"breaker": name, "state": state.value}, states.count(state)) for state in BreakerState]
    yield from _family("genesis_breaker_state", "gauge", "How many breakers of a name are in a state.", samples)


def _children(supervisor: Supervisor) -> Iterator[str]:
    children = supervisor.tree.children
    yield from _family(
        "genesis_component_restarts_total",
        "counter",
        "Restarts of a component.",
        [({"component": path}, child.restarts) for path, child in children.items()],
    )
    yield from _family(
        "genesis_component_status",
        "gauge",
        "1 for the status that a component is in.",
        [
            ({"component": path, "status": status.value}, child.status is status)
            for path, child in children.items()
            for status in Lifecycle
        ],
    )
    for what, kind in (("counters", "counter"), ("gauges", "gauge")):
        own: dict[str, dict[str, float]] = {}
        for path, child in children.items():
            for given, value in getattr(child, what).items():
                values = own.setdefault(_own_name(given), {})
                values[path] = values.get(path, 0) + value
        for name, values in sorted(own.items()):
            suffix = "_total" if kind == "counter" else ""
            yield from _family(
                f"genesis_component_{name}{suffix}",
                kind,
                "Counted by the component itself.",
                [({"component": path}, value) for path, value in values.items()],
            )


def _modes(supervisor: Supervisor) -> Iterator[str]:
    scopes = list(supervisor.scope.walk())
    yield from _family(
        "genesis_mode",
        "gauge",
        "1 for the effective mode of a scope.",
        [({"scope": scope.path, "mode": mode.name}, scope.mode is mode) for scope in scopes for mode in Mode],
    )
    yield from _family(
        "genesis_mode_cause_since_seconds",
        "gauge",
        "Since when a cause is held, as Unix time.",
        [
            ({"scope": cause.scope, "owner": cause.owner, "reason": cause.reason}, cause.since.timestamp())
            for scope in scopes
            for cause in scope.causes
        ],
    )


def _mailboxes(supervisor: Supervisor) -> Iterator[str]:
    boxes = [
        ({"component": path, "mailbox": key}, mailbox.statistics())
        for path, child in supervisor.tree.children.items()
        for key, mailbox in child.mailboxes.items()
    ]
    yield from _family(
        "genesis_mailbox_waiting", "gauge", "Messages that wait.", [(k, box.waiting) for k, box in boxes]
    )
    for field, text in (
        ("delivered", "Messages handed out."),
        ("dropped", "Messages dropped or replaced."),
        ("missed", "Messages missed while parked or suspended."),
        ("redelivered", "Messages handed out again."),
        ("dead", "Messages put aside."),
        ("refused", "Messages refused because it was full."),
    ):
        yield from _family(
            f"genesis_mailbox_{field}_total", "counter", text, [(k, getattr(box, field)) for k, box in boxes]
        )


def _checkpoints(supervisor: Supervisor) -> Iterator[str]:
    store, saver = supervisor.tree.store, supervisor.tree.saver
    if store is None or saver is None:
        return
    known = store.statistics()
    now = utcnow()
    yield from _family(
        "genesis_checkpoints",
        "gauge",
        "Saved checkpoints of a component.",
        [({"component": path}, number) for path, number in known.checkpoints.items()],
    )
    yield from _family(
        "genesis_checkpoint_age_seconds",
        "gauge",
        "Age of the newest saved checkpoint of a component.",
        [({"component": path}, (now - at).total_seconds()) for path, at in known.newest.items()],
    )
    yield from _family(
        "genesis_checkpoints_saved_total", "counter", "Saved checkpoints in this run.", [({}, saver.saved)]
    )
    if saver.last is not None:
        yield from _family(
            "genesis_checkpoint_stall_seconds",
            "gauge",
            "How long the loop stood still for the newest.",
            [({}, saver.last.stall)],
        )
    yield from _family(
        "genesis_store_poisoned", "gauge", "1 once nothing more is acknowledged.", [({}, known.poisoned)]
    )


def _stall() -> Iterator[str]:
    meter = stall_meter()
    if meter is not None:
        yield from _family(
            "genesis_loop_stall_seconds",
            "gauge",
            "The longest time in which the loop stood still.",
            [({}, meter.longest)],
        )
