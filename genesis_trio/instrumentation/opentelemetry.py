"""Events, recoveries and numbers for `OpenTelemetry <https://opentelemetry.io>`_.

Three parts, each used alone::

    instruments = [
        "genesis_trio.instrumentation.opentelemetry:count_event",
        "genesis_trio.instrumentation.opentelemetry:trace_recovery",
    ]

    [[children]]
    name = "telemetry"
    component = "genesis_trio.instrumentation.opentelemetry:Metrics"

They use the API only: the program that sets a meter or tracer provider decides where it goes.
"""

import weakref
from collections.abc import Iterator, Mapping, Sequence

import attrs
import trio

from genesis_trio.events import Event, Severity
from genesis_trio.instrumentation.families import Family, Sample, families
from genesis_trio.modes import Criticality
from genesis_trio.supervision.component import Component
from genesis_trio.supervision.context import Context

try:
    from opentelemetry import metrics, trace
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "OpenTelemetry gets events and numbers only where its API is installed: pip install 'genesis_trio[otel]'",
        name="opentelemetry",
    ) from error

__all__ = ["Metrics", "MetricsOptions", "count_event", "trace_recovery"]

SCOPE = "genesis_trio"
#: What says where something happened, and is one of few; ids and texts would make a series each.
PLACES = ("child", "guard", "breaker", "scope", "topic")


# ---------------------------------------------------------------- events


def count_event(event: Event) -> None:
    """A hook for `observe`: adds one to ``genesis.events``, with its name, its severity and where it happened."""
    metrics.get_meter(SCOPE).create_counter("genesis.events", description="What happened.").add(1, _attributes(event))


def _attributes(event: Event) -> dict[str, str]:
    found = {"event": event.name, "severity": event.severity.name.lower(), "tree": event.tree}
    for place in PLACES:
        value = getattr(event, place, "")
        if value:
            found[place] = value
    return found


# ---------------------------------------------------------------- recoveries

_RECOVERIES: trio.lowlevel.RunVar[dict[tuple[str, str], trace.Span]] = trio.lowlevel.RunVar("genesis_trio.recoveries")


def trace_recovery(event: Event) -> None:
    """A hook for `observe`: one span ``genesis.recovery`` from a child's crash until it is ready again, or stopped.

    What happens to the child meanwhile, a second crash, parking, its trial, are events of the span.  A child that is not ready
    when the run ends leaves no span.
    """
    child = getattr(event, "child", None)
    if child is None:
        return
    try:
        recoveries = _RECOVERIES.get()
    except LookupError:
        recoveries = {}
        _RECOVERIES.set(recoveries)
    key = event.tree, child
    span = recoveries.get(key)
    if span is None:
        if event.name != "child_crashed":
            return
        span = trace.get_tracer(SCOPE).start_span("genesis.recovery", attributes={"tree": event.tree, "child": child})
        recoveries[key] = span
    span.add_event(
        event.name, {name: value for name, value in event.as_dict().items() if name not in ("event", "time")}
    )
    if event.severity >= Severity.ERROR:
        span.set_status(trace.StatusCode.ERROR, event.name)
    if event.name in ("child_ready", "child_stopped"):
        if event.name == "child_ready":
            span.set_status(trace.StatusCode.OK)
        del recoveries[key]
        span.end()


# ---------------------------------------------------------------- numbers


class _Exported:
    """The observable instruments of one meter provider, made once each, and what they show.

    Readers call them from threads of their own, so they are never let near the tree: they see what its loop has read.
    """

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._latest: Mapping[str, Sequence[Sample]] = {}

    def show(self, found: list[Family], meter: metrics.Meter) -> None:
        self._latest = {family.name: family.samples for family in found}
        for family in found:
            if family.name not in self._known:
                self._known.add(family.name)
                self._create(family, meter)

    def _create(self, family: Family, meter: metrics.Meter) -> None:
        def read(options: metrics.CallbackOptions) -> Iterator[metrics.Observation]:
            for labels, value in self._latest.get(family.name, ()):
                yield metrics.Observation(value, dict(labels))

        create = meter.create_observable_counter if family.kind == "counter" else meter.create_observable_gauge
        create(family.name, callbacks=[read], description=family.text)

    def show_nothing(self) -> None:
        self._latest = {}


#: OpenTelemetry keeps an instrument for as long as its provider lives, and takes a second one of its name for a mistake.
_EXPORTED: weakref.WeakKeyDictionary[metrics.MeterProvider, _Exported] = weakref.WeakKeyDictionary()


@attrs.frozen
class MetricsOptions:
    """How the numbers are read.

    Attributes:
        every: Seconds from one reading to the next.
    """

    every: float = attrs.field(default=5.0, validator=attrs.validators.gt(0))


class Metrics(Component[None]):
    """Hands the numbers of ``/metrics`` to OpenTelemetry, under the same names.

    They are read in the loop, every few seconds, and what a reader gets is the newest reading.
    """

    options_type = MetricsOptions
    criticality = Criticality.OPTIONAL

    async def run(self, ctx: Context) -> None:
        provider = metrics.get_meter_provider()
        exported = _EXPORTED.setdefault(provider, _Exported())
        every: float = ctx.options.every
        try:
            while not ctx.stopping:
                exported.show(list(families(ctx._child.tree)), provider.get_meter(SCOPE))
                ctx.ready()
                with trio.move_on_after(every):
                    await ctx.wait_stopping()
        finally:
            exported.show_nothing()
