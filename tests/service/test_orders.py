"""What an operator orders and reads: breakers, stopping, numbers; and the tables of a service's file."""

import contextlib
import time
from pathlib import Path

import pytest
import trio

from genesis_trio import Backoff, ChildSpec, CircuitBreaker, ConfigError, Mode, ModePolicy, Service, run_service
from genesis_trio.instrumentation.prometheus import render
from genesis_trio.persistence.policy import CheckpointPolicy
from genesis_trio.policies.breaker import BreakerState
from genesis_trio.service.admin import ask
from genesis_trio.service.stall import measure_stall, stall_meter
from service.numbers import values_of
from service.parts import Keeper, worker

TABLES = """
name = "desk"
store = "memory:"
[supervisor.backoff]
base_delay = 0.5
[supervisor.mode_policy]
safe_at = 0.3
critical_failure = "safe"
[supervisor.checkpoint]
every = 10
[[children]]
name = "keeper"
component = "service.parts:Keeper"
checkpoint = { messages = 5 }
"""


@contextlib.asynccontextmanager
async def running(service):
    async with trio.open_nursery() as nursery:
        yield await nursery.start(run_service, service)
        nursery.cancel_scope.cancel()


async def test_orders_trip_and_reset_a_breaker(tmp_path):
    """A breaker is named by its name; an unknown one is answered with those that there are."""
    breaker = CircuitBreaker("venue.orders")
    socket = str(tmp_path / "desk.sock")
    async with running(Service("desk", [ChildSpec(worker, name="worker")], store="memory:", admin=socket)):
        assert "open" in await ask(socket, "trip", breaker="venue.orders")
        assert breaker.state is BreakerState.OPEN
        assert "closed" in await ask(socket, "reset", breaker="venue.orders")
        assert breaker.state is BreakerState.CLOSED
        with pytest.raises(LookupError, match=r"no circuit breaker 'venue.order'; there are: .*venue.orders"):
            await ask(socket, "trip", breaker="venue.order")


async def test_orders_hold_of_normal_is_refused(tmp_path):
    """Whoever asks for it wants a cause cleared; a cause that does nothing, and survives, would hide that it was not."""
    socket = str(tmp_path / "desk.sock")
    async with running(Service("desk", [ChildSpec(worker, name="worker")], store="memory:", admin=socket)) as desk:
        with pytest.raises(LookupError, match=r"clear the causes instead, which `genesis why desk` lists"):
            await ask(socket, "hold", path="desk", mode="normal", reason="all is well")
        assert desk.scope.causes == ()


async def test_status_lists_the_causes_of_every_scope(tmp_path):
    """What keeps one child from working is held on its own scope, and not on the root."""
    socket = str(tmp_path / "desk.sock")
    async with running(Service("desk", [ChildSpec(worker, name="worker")], store="memory:", admin=socket)) as desk:
        desk.children["worker"].scope.hold(Mode.SAFE, owner="ana", reason="wide prices")
        desk.scope.hold(Mode.SAFE, owner="bob", reason="maintenance", latched=True)

        status = await ask(socket, "status")

        assert status["causes"] == [
            {"scope": "desk", "owner": "bob", "reason": "maintenance", "mode": "SAFE", "latched": True},
            {"scope": "desk/worker", "owner": "ana", "reason": "wide prices", "mode": "SAFE", "latched": False},
        ]


async def test_status_names_the_checkpoint_of_an_earlier_process(tmp_path):
    """The newest in the store is what a restart would take, whoever saved it."""
    service = Service(
        "desk",
        [ChildSpec(Keeper, name="keeper")],
        store=f"sqlite:{tmp_path}/desk.db",
        admin=str(tmp_path / "desk.sock"),
        checkpoint=CheckpointPolicy(every=None, messages=None),
    )
    seen = []
    for _ in range(2):
        async with running(service):
            seen.append((await ask(service.admin, "status"))["checkpoint"])

    assert seen[0] is None
    assert seen[1]["id"] == "cp-000001"  # of the first stop


async def test_orders_stop_ends_the_service(tmp_path):
    """The answer comes first, then the children stop and the service returns by itself."""
    socket = str(tmp_path / "desk.sock")
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            service = Service("desk", [ChildSpec(worker, name="worker")], store="memory:", admin=socket)
            await nursery.start(run_service, service)
            assert "stopping" in await ask(socket, "stop")


async def test_render_large_numbers_keep_every_digit():
    """Six digits would make a counter stand still, and a Unix time wrong by an hour."""

    async def busy(ctx):
        ctx.count("ticks", 123_456_789)
        ctx.gauge("price", 64_123.4567)
        ctx.ready()
        await ctx.wait_stopping()

    async with running(Service("desk", [ChildSpec(busy, name="busy")], store="memory:")) as desk:
        with desk.scope.hold(Mode.SAFE, owner="me", reason="test") as hold:
            values = values_of(render(desk))

    assert values["genesis_component_ticks_total", "desk/busy"] == 123_456_789
    assert values["genesis_component_price", "desk/busy"] == 64_123.4567
    assert values["genesis_mode_cause_since_seconds", "desk", "me", "test"] == hold.since.timestamp()


async def test_render_own_names_stay_valid_and_apart():
    """What a component calls its numbers is neither broken text nor mistaken for what the framework counts."""

    async def busy(ctx):
        ctx.count("orders sent")
        ctx.count("restarts", 7)
        ctx.gauge("orders_sent_total", 2.5)
        ctx.gauge("restarts_total", 3.5)
        ctx.ready()
        await ctx.wait_stopping()

    async with running(Service("desk", [ChildSpec(busy, name="busy")], store="memory:")) as desk:
        text = render(desk)
        values = values_of(text)

    types = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types))  # a second one, and Prometheus takes nothing of the whole page
    assert values["genesis_component_orders_sent_total", "desk/busy"] == 1
    assert values["genesis_component_own_orders_sent_total", "desk/busy"] == 2.5
    assert values["genesis_component_own_restarts_total", "desk/busy"] == 7
    assert values["genesis_component_own_own_restarts_total", "desk/busy"] == 3.5
    assert values["genesis_component_restarts_total", "desk/busy"] == 0


async def test_render_tells_number_and_age_of_saved_checkpoints(autojump_clock):
    """For each component, also of those that an earlier run saved."""
    service = Service(
        "desk", [ChildSpec(Keeper, name="keeper")], store="memory:ages", checkpoint=CheckpointPolicy(every=None)
    )
    async with running(service):
        pass
    async with running(service) as desk:
        await trio.sleep(20)
        values = values_of(render(desk))

    assert values["genesis_checkpoints", "desk/keeper"] == 1
    assert values["genesis_checkpoint_age_seconds", "desk/keeper"] == pytest.approx(20)
    assert values["genesis_store_poisoned",] == 0
    assert values["genesis_loop_stall_seconds",] == 0


async def test_stall_is_the_longest_time_between_two_looks_at_the_world():
    """A step that holds the loop is seen as long as it took, on the clock of Trio; then nothing is measured any more."""
    with measure_stall() as meter:
        await trio.lowlevel.checkpoint()
        with measure_stall() as inner:
            assert inner is meter
        assert stall_meter() is meter
        time.sleep(0.05)  # blocks the loop on purpose
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()

    assert 0.05 <= meter.longest < 5
    assert stall_meter() is None


def test_from_toml_tables_become_policies(tmp_path):
    """Backoff, mode policy and checkpoint policy are tables with the names of their arguments."""
    file = tmp_path / "service.toml"
    file.write_text(TABLES)

    service = Service.from_toml(str(file))

    assert service.supervisor["backoff"] == Backoff(base_delay=0.5)
    assert service.supervisor["mode_policy"] == ModePolicy(safe_at=0.3, critical_failure=Mode.SAFE)
    assert service.supervisor["checkpoint"] == CheckpointPolicy(every=10)
    assert service.children[0].checkpoint == CheckpointPolicy(messages=5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("base_delay", "base_dely"),
            r"unknown key supervisor.backoff.base_dely \(did you mean 'base_delay'\?\)",
        ),
        (("safe_at = 0.3", "safe_at = 3"), r"supervisor.mode_policy is .*safe_at is a share in \(0, 1\], got 3"),
        (
            ('"safe"', '"saef"'),
            r"supervisor.mode_policy.critical_failure is 'saef', but must be one of normal, safe, emergency \(did you mean 'safe'",
        ),
        (("every = 10", "every = 0"), r"supervisor.checkpoint is .*positive and finite"),
        (("messages = 5", "messages = true"), r"children\[0\].checkpoint.messages is True, but must be a whole number"),
    ],
)
def test_from_toml_wrong_tables_are_told(tmp_path, change, message):
    """File, key, value, what is allowed, and what was probably meant."""
    file = Path(tmp_path / "service.toml")
    file.write_text(TABLES.replace(*change))

    with pytest.raises(ConfigError, match=message) as caught:
        Service.from_toml(str(file))

    assert "service.toml" in str(caught.value)
