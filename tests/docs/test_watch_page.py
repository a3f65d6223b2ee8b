"""The page about numbers names what there is, and the alert rules ask for nothing else."""

import re
from pathlib import Path

import attrs
import pytest

from genesis_trio import CircuitBreaker, Component, Guard, Mode, Topic, open_store, open_supervisor
from genesis_trio.instrumentation.families import families
from genesis_trio.service.plugins import load_instrument
from genesis_trio.service.stall import measure_stall

HOW_TO = Path(__file__).parent.parent.parent / "docs" / "how-to"
PAGE = (HOW_TO / "watch-a-service.md").read_text(encoding="utf-8")
RULES = (HOW_TO / "alerts.yml").read_text(encoding="utf-8")
PRICES = Topic("prices", float)
FORMER_PRICES = Topic("former prices", float)


@attrs.define
class Position:
    lots: int = 0


class Desk(Component[Position]):
    """Has one of everything that is counted."""

    def __init__(self, topic):
        self.topic = topic

    async def run(self, ctx):
        async with ctx.subscribe(self.topic):
            ctx.ready()
            await ctx.wait_stopping()


async def counted():
    """Every family of a service that uses all there is."""
    guard = Guard("watch.orders", breaker=CircuitBreaker("watch.venue"))
    with measure_stall():
        async with open_store("memory:") as store:
            async with open_supervisor("desk", store=store) as desk:
                await desk.start(Desk, FORMER_PRICES, name="desk")
                await desk.stop()
            async with open_supervisor("desk", store=store) as desk:
                await desk.start(Desk, PRICES, name="desk")
                await desk.create_checkpoint()
                with desk.scope.hold(Mode.SAFE, reason="drill"):
                    found = {family.name: family for family in families(desk.tree)}
                await desk.stop()
    assert guard.name == "watch.orders"
    return found


async def test_page_table_is_what_is_counted(autojump_clock):
    """Every family stands in the table, with its kind and its labels, and nothing else does."""
    rows = re.findall(r"^\| `(genesis_\w+)` \| (\w+) \| (.*?) \|", PAGE, re.MULTILINE)
    shown = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}

    there_is = {name: (family.kind, tuple(family.samples[0][0])) for name, family in (await counted()).items()}

    assert shown == there_is


async def test_alert_rules_ask_for_what_is_counted(autojump_clock):
    """A rule on a name, a label or a label's value that does not exist would never fire."""
    found = await counted()
    exposed = {f"{name}_total" if one.kind == "counter" else name: one for name, one in found.items()}
    asked = re.findall(r"(genesis_\w+)(?:\{(\w+)=\"(\w+)\"\})?", "\n".join(re.findall(r"expr: (.+)", RULES)))

    assert len(asked) >= 11
    for name, label, value in asked:
        assert name in exposed
        assert not label or value in {labels[label] for labels, _ in exposed[name].samples}


@pytest.mark.parametrize("name", re.findall(r"^\| `(genesis_trio[\w.]+:\w+)`", PAGE, re.MULTILINE))
def test_page_instrument_is_one(name):
    """Whoever copies the name into `service.toml` gets it."""
    assert callable(load_instrument(name))
