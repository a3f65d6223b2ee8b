"""Events, recoveries and numbers for structlog and OpenTelemetry."""

import importlib
import sys

import attrs
import pytest
import structlog
import trio
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from genesis_trio import (
    Backoff,
    ChildSpec,
    CircuitBreaker,
    Guard,
    PluginError,
    Service,
    observe,
    open_supervisor,
)
from genesis_trio.instrumentation.opentelemetry import Metrics, count_event, trace_recovery
from genesis_trio.instrumentation.prometheus import render
from genesis_trio.instrumentation.structlog import log_event
from genesis_trio.service.plugins import load_instrument
from service.numbers import values_of
from service.parts import broken, worker


@attrs.define
class Flaky:
    """A component that crashes *times* times, a second after it was ready, and then stays."""

    times: int

    async def __call__(self, ctx):
        ctx.ready()
        if self.times > 0:
            self.times -= 1
            await trio.sleep(1)
            raise OSError("no venue")
        await ctx.wait_stopping()


# ---------------------------------------------------------------- structlog


async def test_structlog_event_has_its_severity_and_its_fields(autojump_clock):
    """A crash is a warning with child and error as keys, and without Trio's own time."""
    with structlog.testing.capture_logs() as lines, observe(log_event):
        async with open_supervisor("desk", backoff=Backoff(jitter="none")) as desk:
            await desk.start(Flaky(1), name="flaky")
            await trio.sleep(2)
            await desk.stop()

    (crash,) = [line for line in lines if line["event"] == "child_crashed"]
    assert crash == {
        "event": "child_crashed",
        "log_level": "warning",
        "tree": "desk",
        "child": "desk/flaky",
        "generation": 1,
        "error": "OSError: no venue",
    }


# ---------------------------------------------------------------- OpenTelemetry


@pytest.fixture
def meters(monkeypatch):
    """A reader of everything that is exported, with nothing left of other tests."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: provider)
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    yield reader
    provider.shutdown()


@pytest.fixture
def spans(monkeypatch):
    """What was traced, in the order of its end."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    yield exporter.get_finished_spans
    provider.shutdown()


def exported(reader):
    """Name and attribute values to number, as `values_of` makes them of the text of Prometheus."""
    data = reader.get_metrics_data()
    return {
        (metric.name, *sorted(point.attributes.values())): point.value
        for resource in (data.resource_metrics if data is not None else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


def ours(values):
    """Without guards and breakers of other tests, which the garbage collector may take at any time."""
    others = {"genesis_guard", "genesis_breaker"}
    return {
        key: value
        for key, value in values.items()
        if "_".join(key[0].split("_")[:2]) not in others or any(part.startswith("telemetry.") for part in key[1:])
    }


async def test_count_event_counts_by_name_severity_and_place(autojump_clock, meters):
    """Two crashes of one child are one series with the value two; no error text is part of it."""
    with observe(count_event):
        async with open_supervisor("desk", backoff=Backoff(jitter="none")) as desk:
            await desk.start(Flaky(2), name="flaky")
            await trio.sleep(5)
            await desk.stop()

    counted = exported(meters)
    assert counted["genesis.events", "child_crashed", "desk", "desk/flaky", "warning"] == 2
    assert counted["genesis.events", "child_ready", "desk", "desk/flaky", "info"] == 3


async def test_trace_recovery_is_a_span_from_crash_to_ready(autojump_clock, spans):
    """What happened to the child meanwhile is in the span, and a healthy start is no recovery."""
    with observe(trace_recovery):
        async with open_supervisor("desk", backoff=Backoff(jitter="none")) as desk:
            await desk.start(worker, name="worker")
            await desk.start(Flaky(1), name="flaky")
            await trio.sleep(5)
            await desk.stop()

    (span,) = spans()
    assert (span.name, dict(span.attributes)) == ("genesis.recovery", {"tree": "desk", "child": "desk/flaky"})
    happened = [event.name for event in span.events]
    assert happened == ["child_crashed", "restart_scheduled", "child_starting", "child_ready"]
    assert span.events[0].attributes["error"] == "OSError: no venue"
    assert span.status.status_code is trace.StatusCode.OK


async def test_trace_recovery_of_a_child_that_stays_parked_ends_when_it_is_stopped(autojump_clock, spans):
    """A recovery that did not succeed says so."""
    with observe(trace_recovery):
        async with open_supervisor("desk") as desk:
            await desk.start_all([ChildSpec(broken, name="broken", unpark_after=None)])
            await desk.stop()

    (span,) = spans()
    assert span.events[-1].name == "child_stopped"
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, "child_parked")


async def test_metrics_are_those_that_prometheus_gets(autojump_clock, meters):
    """Same names but for ``_total``, same labels, same values, read by another thread."""
    guard = Guard("telemetry.orders", breaker=CircuitBreaker("telemetry.venue"))

    async def call():
        return 1

    async with open_supervisor("desk") as desk:
        await desk.start(worker, name="worker")
        await guard.execute(call)
        await desk.start(Metrics, name="telemetry")
        await trio.sleep(5)
        expected = {(key[0].removesuffix("_total"), *key[1:]): value for key, value in values_of(render(desk)).items()}
        found = await trio.to_thread.run_sync(exported, meters)
        await desk.stop()

    assert found["genesis_guard_calls", "telemetry.orders"] == 1
    assert found["genesis_component_work", "desk/worker"] == 1
    assert ours(found) == ours(expected)


async def test_metrics_are_read_every_so_often(autojump_clock, meters):
    """What a reader gets is the newest reading, at most `every` seconds old."""

    async def busy(ctx):
        ctx.ready()
        await trio.sleep(0.5)
        while not ctx.stopping:
            ctx.count("ticks")
            await trio.sleep(1)

    async with open_supervisor("desk") as desk:
        await desk.start(busy, name="busy")
        await desk.start(Metrics, name="telemetry", options={"every": 10.0})
        await trio.sleep(9)
        early = exported(meters)
        await trio.sleep(2)
        late = exported(meters)
        await desk.stop()

    assert (early.get(("genesis_component_ticks", "desk/busy"), 0), late["genesis_component_ticks", "desk/busy"]) == (
        0,
        10,
    )


async def test_metrics_of_a_restarted_exporter_are_counted_once(autojump_clock, meters, caplog):
    """A second incarnation shows its numbers through the instruments of the first; after the last there are none."""
    async with open_supervisor("desk") as desk:
        child = await desk.start(Metrics, name="telemetry")
        await child.restart()
        assert exported(meters)["genesis_component_restarts", "desk/telemetry"] == 1
        await desk.stop()

    assert exported(meters) == {}
    assert caplog.records == []


# ---------------------------------------------------------------- as part of a service


@pytest.mark.parametrize("name", ["opentelemetry:count_event", "opentelemetry:trace_recovery", "structlog:log_event"])
def test_instrument_of_the_package_is_found_by_its_name(name):
    """They need no entry point."""
    assert callable(load_instrument(f"genesis_trio.instrumentation.{name}"))


@pytest.mark.parametrize(("module", "needs", "extra"), [("opentelemetry", "opentelemetry", "otel"), ("structlog",) * 3])
def test_instrument_without_its_library_names_the_extra(monkeypatch, module, needs, extra):
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, needs, None)
    monkeypatch.delitem(sys.modules, f"genesis_trio.instrumentation.{module}")
    with pytest.raises(PluginError, match=rf"pip install 'genesis_trio\[{extra}\]'"):
        load_instrument(f"genesis_trio.instrumentation.{module}:log_event")


def test_service_file_may_name_the_exporter(tmp_path):
    """Its options are checked like those of any component."""
    file = tmp_path / "service.toml"
    file.write_text(
        'name = "desk"\nstore = "memory:"\n'
        'instruments = ["genesis_trio.instrumentation.structlog:log_event"]\n'
        '[[children]]\nname = "telemetry"\noptions = { every = 1.0 }\n'
        'component = "genesis_trio.instrumentation.opentelemetry:Metrics"\n'
    )
    (child,) = Service.from_toml(str(file)).children
    assert child.component is importlib.import_module("genesis_trio.instrumentation.opentelemetry").Metrics
