"""A desk whose ledger's state can be spoilt, and the world outside of it, for the tests of the recovery ladder.

The ledger crashes before its first message while its state holds ``poisoned``; ``Switches`` is what the outside does.
"""

import contextlib
import enum
from types import MappingProxyType

import attrs
import pytest
import trio
import trio.testing

from genesis_trio import (
    ChildSpec,
    Component,
    Recovery,
    Topic,
    observe,
    open_store,
    open_supervisor,
    schema,
)
from supervision.desk import EXACT, QUIET, Log

LEDGER = "desk/ledger"
EMPTY = MappingProxyType({})
# Quantities that mean something else: spoil the state, change it without a record, crash, wait, be recorded and not applied.
SPOIL, NOTE, POISON, SLOW, UNFIT = 100, 200, 300, 400, 500


@schema("test.ladder.fill", version=1)
@attrs.frozen
class Fill:
    quantity: int


@schema("test.ladder.book", version=1)
@attrs.define
class Book:
    position: int = 0
    notes: int = 0
    poisoned: bool = False

    def apply(self, fill: Fill) -> None:
        if fill.quantity == UNFIT:
            raise ValueError("no such quantity")
        self.position += fill.quantity


FILLS = Topic("ladder.fills", Fill)


class Hang(enum.Enum):
    """Where a run of the ledger waits for ever."""

    STARTING = "before it is ready"
    READY = "once it is ready"
    OUTSIDE = "before it is ready, for bytes of a socket"


@attrs.define
class Switches:
    """What the world outside does; shared by all incarnations."""

    is_fixed: bool = False
    is_down: bool = False
    down_with: type[Exception] = LookupError
    dies_after: float = 0.0
    starts: list[tuple[int, bool]] = attrs.Factory(list)
    handled: list[int] = attrs.Factory(list)
    gate: trio.Event | None = None
    records_its_start: bool = False
    hang: Hang | None = None  # what a spoilt book does instead of a crash
    is_hanging: bool = False  # and every other one as well


class Ledger(Component[Book]):
    """Records each fill, but for a note; one of them spoils the state beside that."""

    def __init__(self, switches):
        self.switches = switches

    async def run(self, ctx):
        switches = self.switches
        switches.starts.append((self.state.position, self.state.poisoned))
        if switches.dies_after:
            ctx.ready()
            await trio.sleep(switches.dies_after)
        if switches.hang is not None and (self.state.poisoned or switches.is_hanging):
            await hang(ctx, switches.hang)
        if switches.is_down:
            raise switches.down_with("down")
        if self.state.poisoned and not switches.is_fixed:
            raise ValueError("the book is spoilt")
        if switches.records_its_start:
            await ctx.record(Fill(1))
        async with ctx.subscribe(FILLS) as fills:
            ctx.ready()
            async for fill in fills:
                if fill.quantity == POISON:
                    raise ValueError("bad message")
                if fill.quantity == SLOW and switches.gate is not None:
                    await switches.gate.wait()
                if fill.quantity == NOTE:
                    self.state.notes += 1
                else:
                    await ctx.record(fill)
                self.state.poisoned |= fill.quantity == SPOIL
                switches.handled.append(fill.quantity)


async def hang(ctx, where):
    if where is Hang.OUTSIDE:
        here, there = trio.socket.socketpair()
        with here, there:
            await here.recv(1)
    if where is Hang.READY:
        ctx.ready()
    await trio.sleep_forever()


class Feed:
    """A child that publishes what the test says."""

    async def __call__(self, ctx):
        self.ctx = ctx
        ctx.ready()
        await ctx.wait_stopping()

    async def say(self, *quantities):
        for quantity in quantities:
            self.ctx.publish(FILLS, Fill(quantity))
        await trio.testing.wait_all_tasks_blocked()


def state_of(child):
    return child.incarnation.component.state


@attrs.define
class Desk:
    """One process of it: a store, a supervisor, and the ledger."""

    store: object
    supervisor: object
    world: "World"

    @property
    def ledger(self):
        return self.supervisor.children["ledger"]

    @property
    def state(self):
        return state_of(self.ledger)

    @property
    def scope(self):
        return self.supervisor.scope

    async def save(self):
        return await self.supervisor.create_checkpoint()

    async def crash(self):
        """Let the ledger meet its saved state anew; its next runs are the supervisor's."""
        self.world.switches.starts.clear()
        with pytest.raises((ValueError, LookupError, OSError)):
            await self.ledger.restart()

    async def spoil(self):
        """Save a good state, position 1, and a spoilt one, position 103, and let the ledger meet that; returns both checkpoints."""
        await self.world.say(1)
        good = await self.save()
        await self.world.say(2, SPOIL)
        bad = await self.save()
        await self.crash()
        return good, bad

    async def quarantined(self):
        """The id of each checkpoint in quarantine, with the reason."""
        return {info.id: info.quarantined for info in await self.store.list_checkpoints() if info.quarantined}


@attrs.define
class World:
    """What outlives a process: the store's files, the outside, and the log of all events."""

    url: str
    switches: Switches = attrs.Factory(Switches)
    feed: Feed = attrs.Factory(Feed)
    log: Log = attrs.Factory(Log)

    async def say(self, *quantities):
        await self.feed.say(*quantities)

    @contextlib.asynccontextmanager
    async def open(
        self, *, recovery=Recovery.COVERED, raises=True, code_version=None, component=Ledger, spec=EMPTY, **options
    ):
        """A process from its start to its clean end; *raises* is whether a first start that fails is an error or a parked child."""
        arguments = () if component is not Ledger else (self.switches,)
        ledger = ChildSpec(component, *arguments, name="ledger", recovery=recovery, **spec)
        with observe(self.log):
            async with (
                open_store(self.url, code_version=code_version) as store,
                open_supervisor("desk", store=store, checkpoint=QUIET, backoff=EXACT, **options) as desk,
            ):
                await desk.start(self.feed, name="feed")
                if raises:
                    await desk.start(ledger)
                else:
                    await desk.start_all([ledger])
                yield Desk(store, desk, self)
                await desk.stop()
