"""What is counted, as families of samples that are read when somebody asks.

Plain integers are read where they are kept, so nothing is paid on the hot path.  How a family is written, or handed on, is the
business of the modules beside this one: ``prometheus`` and ``opentelemetry``.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import attrs

from genesis_trio._runtime import utcnow
from genesis_trio.modes import Mode
from genesis_trio.policies.breaker import BREAKERS, BreakerState
from genesis_trio.policies.guard import GUARDS, GuardStatistics
from genesis_trio.service.stall import stall_meter
from genesis_trio.supervision._tree import ServiceTree
from genesis_trio.supervision.component import Lifecycle

__all__ = ["Family", "Sample", "families"]

Labels = Mapping[str, str]
Sample = tuple[Labels, float]

#: What a component may not call its own counters and gauges, because the framework does.
TAKEN = frozenset({"restarts", "restarts_total", "status"})


@attrs.frozen
class Family:
    """Samples of one kind.

    Attributes:
        name: Without an ending such as ``_total``.
        kind: A counter only grows while the process lives.
        text: What it means, in one sentence.
        samples: Labels and value of each; the labels are few, and never an id or a text of a message.
    """

    name: str
    kind: Literal["counter", "gauge"]
    text: str
    samples: Sequence[Sample]


def families(tree: ServiceTree) -> Iterator[Family]:
    """Everything that is known about *tree*, and about the guards and breakers of this process; none is without samples.

    Trio checkpoint: never.
    """
    for family in _all(tree):
        if family.samples:
            yield family


def _all(tree: ServiceTree) -> Iterator[Family]:
    yield from _guards()
    yield from _breakers()
    yield from _children(tree)
    yield from _modes(tree)
    yield from _mailboxes(tree)
    yield from _checkpoints(tree)
    yield from _stall()


def _guards() -> Iterator[Family]:
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
        samples = [({"guard": name}, sum(getattr(one, field) for one in all_)) for name, all_ in totals.items()]
        yield Family(f"genesis_guard_{field}", "counter", text, samples)


def _breakers() -> Iterator[Family]:
    samples: list[Sample] = []
    for name, breakers in BREAKERS.by_name().items():
        states = []
        for breaker in breakers:
            with contextlib.suppress(RuntimeError):  # another trio.run of this process uses it, and tells of it there
                states.append(breaker.state)
        samples += [({"breaker": name, "state": state.value}, states.count(state)) for state in BreakerState]
    yield Family("genesis_breaker_state", "gauge", "How many breakers of a name are in a state.", samples)


def _children(tree: ServiceTree) -> Iterator[Family]:
    children = tree.children
    restarts = [({"component": path}, child.restarts) for path, child in children.items()]
    yield Family("genesis_component_restarts", "counter", "Restarts of a component.", restarts)
    statuses = [
        ({"component": path, "status": status.value}, child.status is status)
        for path, child in children.items()
        for status in Lifecycle
    ]
    yield Family("genesis_component_status", "gauge", "1 for the status that a component is in.", statuses)
    counters = {path: child.counters for path, child in children.items()}
    yield from _own("counter", counters, TAKEN)
    # A gauge must not be called as a counter is called when it is written: its ending makes them one name, given twice.
    written = {f"{_own_name(name, TAKEN)}_total" for names in counters.values() for name in names}
    yield from _own("gauge", {path: child.gauges for path, child in children.items()}, TAKEN | written)


def _own(
    kind: Literal["counter", "gauge"], given: Mapping[str, Mapping[str, float]], taken: frozenset[str]
) -> Iterator[Family]:
    """What the components themselves count, one family a name."""
    own: dict[str, dict[str, float]] = {}
    for path, numbers in given.items():
        for name, number in numbers.items():
            values = own.setdefault(_own_name(name, taken), {})
            values[path] = values.get(path, 0) + number
    for name, values in sorted(own.items()):
        samples = [({"component": path}, value) for path, value in values.items()]
        yield Family(f"genesis_component_{name}", kind, "Counted by the component itself.", samples)


def _own_name(name: str, taken: frozenset[str]) -> str:
    """What a component calls *name*, in the letters that Prometheus allows, and not as one of *taken*."""
    allowed = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    while allowed in taken:
        allowed = f"own_{allowed}"
    return allowed


def _modes(tree: ServiceTree) -> Iterator[Family]:
    scopes = list(tree.scope.walk())
    modes = [({"scope": scope.path, "mode": mode.name}, scope.mode is mode) for scope in scopes for mode in Mode]
    yield Family("genesis_mode", "gauge", "1 for the effective mode of a scope.", modes)
    causes = [
        ({"scope": cause.scope, "owner": cause.owner, "reason": cause.reason}, cause.since.timestamp())
        for scope in scopes
        for cause in scope.causes
    ]
    yield Family("genesis_mode_cause_since_seconds", "gauge", "Since when a cause is held, as Unix time.", causes)


def _mailboxes(tree: ServiceTree) -> Iterator[Family]:
    boxes = [
        ({"component": path, "mailbox": key}, mailbox.statistics())
        for path, child in tree.children.items()
        for key, mailbox in child.mailboxes.items()
    ]
    waiting = [(labels, box.waiting) for labels, box in boxes]
    yield Family("genesis_mailbox_waiting", "gauge", "Messages that wait.", waiting)
    for field, text in (
        ("delivered", "Messages handed out."),
        ("dropped", "Messages dropped or replaced."),
        ("missed", "Messages missed while parked or suspended."),
        ("redelivered", "Messages handed out again."),
        ("dead", "Messages put aside."),
        ("refused", "Messages refused because it was full."),
    ):
        samples = [(labels, getattr(box, field)) for labels, box in boxes]
        yield Family(f"genesis_mailbox_{field}", "counter", text, samples)
    aside = [
        ({"component": path, "mailbox": key}, len(saved.entries))
        for path, child in tree.children.items()
        for key, saved in child.unopened.items()
    ]
    yield Family(
        "genesis_mailbox_set_aside", "gauge", "Saved messages of a mailbox that no run has opened again.", aside
    )


def _checkpoints(tree: ServiceTree) -> Iterator[Family]:
    if tree.store is None or tree.saver is None:
        return
    known = tree.store.statistics()
    now = utcnow()
    numbers = [({"component": path}, number) for path, number in known.checkpoints.items()]
    yield Family("genesis_checkpoints", "gauge", "Saved checkpoints of a component.", numbers)
    ages = [({"component": path}, (now - at).total_seconds()) for path, at in known.newest.items()]
    yield Family("genesis_checkpoint_age_seconds", "gauge", "Age of the newest saved checkpoint of a component.", ages)
    records = [({"component": path}, number) for path, number in known.journal.items()]
    yield Family("genesis_journal_records", "gauge", "Records that are kept of a component.", records)
    keys = [({"component": path}, number) for path, number in known.keys.items()]
    yield Family("genesis_journal_keys", "gauge", "Keys given to record(), which stay.", keys)
    yield _single("genesis_checkpoints_saved", "counter", "Saved checkpoints in this run.", tree.saver.saved)
    if tree.saver.last is not None:
        text = "How long the loop stood still for the newest."
        yield _single("genesis_checkpoint_stall_seconds", "gauge", text, tree.saver.last.stall)
    yield _single("genesis_store_poisoned", "gauge", "1 once nothing more is acknowledged.", known.poisoned)


def _stall() -> Iterator[Family]:
    meter = stall_meter()
    if meter is not None:
        text = "The longest time in which the loop stood still."
        yield _single("genesis_loop_stall_seconds", "gauge", text, meter.longest)


def _single(name: str, kind: Literal["counter", "gauge"], text: str, value: float) -> Family:
    return Family(name, kind, text, [({}, value)])
