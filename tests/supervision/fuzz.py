"""Random trees that are made to fail in every way, inside simulate(): what a tree does; `fuzz_rules` has what must hold in all.

    python tests/supervision/fuzz.py --trees 100000 --first 1

Each tree follows from its seed.  A violation names the seed, and the command line shows the one tree again.

The trees are small: what goes wrong between children goes wrong between few of them, and many small trees find it
sooner than few large ones.  One in seven has a store, and a reader that records what a feed sends.
"""

import argparse
import random
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import attrs
import trio

from genesis_trio import (
    Backoff,
    Capability,
    CheckpointPolicy,
    ChildSpec,
    Component,
    ConfigError,
    Criticality,
    Lifecycle,
    Mode,
    ModePolicy,
    ModeRefusedError,
    Restart,
    StartTimeoutError,
    Strategy,
    Topic,
    current_scope,
    observe,
    open_store,
    open_supervisor,
    require,
    schema,
)
from genesis_trio.testing import simulate
from supervision.fuzz_rules import CALM, CLEANUP, NESTED_SHUTDOWN, WITHIN, Rules, Violation

STEPS = 6
MESSAGES = 12


class Planned(Exception):
    """A crash that the plan asked for."""


@schema("fuzz.fill")
@attrs.frozen
class Fill:
    number: int


@schema("fuzz.book")
@attrs.define
class Book:
    numbers: list[int] = attrs.Factory(list)

    def apply(self, fill: Fill) -> None:
        self.numbers.append(fill.number)


FILLS = Topic("fuzz.fills", Fill)


class World(Rules):
    """What one tree does."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = rng = random.Random(f"plan {seed}")
        self.calm = False  # no more crashes from here on
        self.sent: list[int] = []
        self.has_store = rng.random() < 0.15
        self.max_restarts = rng.choice([0, 1, 1, 2])
        self.shutdown_timeout = rng.choice([1.0, 20.0, 20.0])
        self.ending = rng.choice(["stop", "stop", "stop", "raise", "cancel", "interrupt", "interrupt the body"])
        self.interrupts = False  # the next component that may crash meets Ctrl-C

    def awaited(self, ctx, chance: float = 0.12, scope=None) -> None:
        """After every await of a component: it has the scope that it should have, and perhaps it crashes."""
        if current_scope() is not (scope or ctx.scope):
            self.broken.append(f"a task of {ctx.path} has scope {current_scope()!r}")
        if self.calm or self.is_struck(ctx.path):
            return  # an error while Ctrl-C unwinds it would take its place
        drawn = ctx.rng.random()
        if self.interrupts and drawn < 0.3:
            self.interrupts = False
            self.strike(ctx.path)
            raise KeyboardInterrupt
        if drawn < chance:
            if drawn < chance / 5:
                raise ExceptionGroup("several", [Planned(ctx.path), Planned("again")])
            raise Planned(ctx.path)

    # ------------------------------------------------------------ components

    async def leaf(self, ctx) -> None:
        self.entered(ctx)
        draw = ctx.rng.random
        try:
            if not self.calm:
                await trio.sleep(ctx.rng.choice([0.0, 0.0, 0.01, 0.4, 1.2]))  # the last is longer than some may take
            self.awaited(ctx)
            ctx.ready()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.helper, ctx)
                while not ctx.stopping:
                    with trio.move_on_after(CALM if self.calm else draw() * 2):
                        if draw() < 0.8:
                            await ctx.wait_stopping()
                        else:  # it does not look whether it should stop
                            await trio.sleep_forever()
                    self.awaited(ctx)
                    if not self.calm and draw() < 0.1:
                        require(Capability.OPEN)  # and it does not catch what that raises
                    if draw() < 0.05:
                        break
                nursery.cancel_scope.cancel()
            self.awaited(ctx)
        finally:
            try:
                with trio.CancelScope(shield=True):
                    await trio.sleep(ctx.rng.choice([0.0, 0.0, CLEANUP]))
            finally:
                self.left(ctx)
            self.awaited(ctx)

    async def helper(self, ctx) -> None:
        while True:
            await trio.sleep(CALM if self.calm else ctx.rng.random() * 5)
            self.awaited(ctx)

    async def host(self, ctx) -> None:
        self.entered(ctx)
        inner = None
        entered = begin = len(self.events)
        try:
            async with open_supervisor(
                "inner", backoff=Backoff(base_delay=0.1), shutdown_timeout=NESTED_SHUTDOWN
            ) as inner:
                try:
                    await inner.start_all(self.below(ctx))
                    self.awaited(ctx, scope=inner.scope)
                    ctx.ready()
                    while not ctx.stopping:
                        with trio.move_on_after(CALM if self.calm else ctx.rng.random() * 3):
                            await ctx.wait_stopping()
                        self.awaited(ctx, scope=inner.scope)
                finally:
                    begin = len(self.events)
        finally:
            if inner is not None:
                # Its host may have begun to stop it while its body still ran, and somebody may have been late then.
                was_late = any(event.name == "child_unstopped" for event in self.events[entered:begin])
                if not was_late:
                    self.check_order(inner.path, begin, list(inner.children))
            self.left(ctx)

    def below(self, ctx) -> list[ChildSpec]:
        can_host = ctx.path.count("/") == 1
        return [
            ChildSpec(
                self.host if can_host and ctx.rng.random() < 0.1 else self.leaf,
                name=f"n{number}",
                unpark_after=2.0,
                stop_grace=0.5,
            )
            for number in range(ctx.rng.randint(1, 2))
        ]

    async def feed(self, ctx) -> None:
        self.entered(ctx)
        try:
            ctx.ready()
            while not ctx.stopping and len(self.sent) < MESSAGES:
                await trio.sleep(ctx.rng.random() * 0.5)
                number = len(self.sent) + 1
                self.sent.append(number)
                ctx.publish(FILLS, Fill(number))
                self.awaited(ctx, 0.05)
            await ctx.wait_stopping()
            self.awaited(ctx)
        finally:
            self.left(ctx)

    def reader(self) -> type:
        world = self

        class Reader(Component[Book]):
            async def run(self, ctx) -> None:
                world.entered(ctx)
                try:
                    async with ctx.subscribe(FILLS) as fills:
                        world.awaited(ctx, 0.02)
                        ctx.ready()
                        async for fill in fills:
                            world.awaited(ctx, 0.04)
                            await ctx.record(fill, key=str(fill.number) if fill.number % 2 else None)
                            world.awaited(ctx, 0.04)
                            await trio.sleep(ctx.rng.random() * 0.1)
                            world.awaited(ctx, 0.04)
                    world.awaited(ctx)
                finally:
                    world.left(ctx)

        return Reader

    # ------------------------------------------------------------ the plan

    async def main(self) -> None:
        tasks = trio.lowlevel.current_statistics().tasks_living
        book = None
        with observe(self.note):
            if self.has_store:
                async with open_store("memory:") as store:
                    await self.tree(store)
                    book = await store.restore_latest("desk/reader", Book)
            else:
                await self.tree(None)
        self.check_stop()
        if self.broken:
            raise Violation("; ".join(self.broken))
        if self.running:
            raise Violation(f"still running after the end: {sorted(self.running)}")
        left = trio.lowlevel.current_statistics().tasks_living
        if left != tasks:
            raise Violation(f"{left - tasks} tasks are left")
        if book is not None and len(set(book.state.numbers)) != len(book.state.numbers):
            raise Violation(f"recorded twice: {book.state.numbers}")
        self.check_budgets()

    def settings(self) -> dict[str, object]:
        rng = self.rng
        settings = {
            "strategy": rng.choice(list(Strategy)),
            "max_restarts": self.max_restarts,
            "within": WITHIN,
            "backoff": Backoff(base_delay=rng.choice([0.0, 0.05, 0.2]), jitter=rng.choice(["none", "full"])),
            "mode_policy": rng.choice([None, ModePolicy(trigger_after=0.5, recover_after=2.0)]),
            "shutdown_timeout": self.shutdown_timeout,
            "escalate_after": 1 if rng.random() < 0.1 else None,
        }
        if self.has_store:
            settings["checkpoint"] = CheckpointPolicy(every=rng.choice([None, 4.0]), messages=rng.choice([None, 4]))
        return settings

    def specs(self) -> list[ChildSpec]:
        rng = self.rng
        specs = []
        if self.has_store:
            specs.append(ChildSpec(self.reader(), name="reader", unpark_after=2.0, criticality=Criticality.CRITICAL))
            specs.append(ChildSpec(self.feed, name="feed", unpark_after=2.0, stop_grace=0.5))
        for number in range(rng.randint(0, 2) if self.has_store else rng.randint(1, 4)):
            criticality = rng.choice(list(Criticality))
            specs.append(
                ChildSpec(
                    rng.choice([self.leaf, self.leaf, self.leaf, self.host]),
                    name=f"c{number}",
                    requires=[spec.name for spec in specs if spec.criticality >= criticality and rng.random() < 0.25],
                    criticality=criticality,
                    restart=rng.choice([Restart.PERMANENT, Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY]),
                    start_timeout=rng.choice([1.0, 30.0]),
                    stop_grace=rng.choice([0.0, 0.5]),
                    unpark_after=rng.choice([None, 2.0]),
                )
            )
        return specs

    async def tree(self, store) -> None:
        """Run one, and see that what comes out of the block is what went into it."""
        try:
            with trio.CancelScope() as outer:
                await self.block(store, outer)
        except (Planned, StartTimeoutError, ModeRefusedError) as error:
            if str(error) != "the body" and not self.was("child_escalated"):
                raise Violation(f"{error!r} of a child came out of the block") from error
        except BaseExceptionGroup as error:
            if error.split(KeyboardInterrupt)[0] is None and not self.was("child_escalated"):
                raise Violation(f"{error!r} came out of the block") from error
        except KeyboardInterrupt:
            if not self.ending.startswith("interrupt"):
                raise
        else:
            if self.was("child_escalated") or self.ending in ("raise", "interrupt", "interrupt the body"):
                raise Violation(f"nothing came out of the block, in spite of {self.ending}")

    async def block(self, store, outer) -> None:
        rng = self.rng
        async with open_supervisor("desk", store=store, **self.settings()) as desk:
            self.desk = desk
            await desk.start_all(self.specs())
            for _ in range(STEPS):
                await trio.sleep(rng.random() * 1.5)
                await self.disturb(desk)
            if self.ending == "stop":
                await self.calm_down(desk)
            if self.ending == "interrupt":
                self.interrupts = True
                await trio.sleep(3)
            self.stop_begins()
            if self.ending == "raise":
                raise Planned("the body")
            if self.ending.startswith("interrupt"):
                raise KeyboardInterrupt
            if self.ending == "cancel":
                outer.cancel()
                await trio.sleep_forever()
            await desk.stop()

    async def disturb(self, desk) -> None:
        rng = self.rng
        if not desk.children:
            return  # all were temporary
        child = rng.choice(list(desk.children.values()))
        match rng.randrange(7):
            case 0:
                with trio.move_on_after(rng.random() * 2):
                    try:
                        await child.restart()
                    except (Planned, ExceptionGroup, ModeRefusedError, StartTimeoutError, RuntimeError):
                        pass  # the last: it is gone
            case 1:
                if child.name not in ("feed", "reader") or rng.random() < 0.1:
                    self.stopped_by_hand.add(child.name)
                    with trio.move_on_after(rng.random()):
                        await child.stop()
            case 2:
                requires = [child.name] if child.spec.criticality > Criticality.OPTIONAL and rng.random() < 0.5 else []
                spec = ChildSpec(
                    self.leaf, name=f"d{len(self.events)}", requires=requires, stop_grace=0.5, unpark_after=2.0
                )
                with trio.move_on_after(rng.random() * 2):
                    try:
                        await desk.start(spec)
                    except (Planned, ExceptionGroup, ModeRefusedError, ConfigError):  # the last: it is gone
                        pass
            case 3 | 4:
                with desk.scope.hold(rng.choice([Mode.SAFE, Mode.EMERGENCY]), owner="fuzz", reason="plan"):
                    await trio.sleep(rng.random() * 2)
            case 5:
                if self.has_store:
                    await desk.create_checkpoint()

    async def calm_down(self, desk) -> None:
        """Let everything come back, and all messages be handled."""
        self.calm = True
        await trio.sleep(CALM)
        for child in desk.children.values():
            self.check_came_back(desk, child)
        reader = desk.children.get("reader")
        if reader is None or "reader" in self.stopped_by_hand or reader.status is not Lifecycle.READY:
            return
        dead = {fill.number for box in reader.mailboxes.values() for fill in box.dead_letters}
        numbers = reader.incarnation.component.state.numbers
        if set(numbers) | dead != set(self.sent):
            raise Violation(f"sent {self.sent}, recorded {numbers}, dead {sorted(dead)}")


def run_tree(seed: int) -> World:
    world = World(seed)
    simulate(world.main, seed=seed)
    return world


def main() -> int:
    parser = argparse.ArgumentParser(description="Random trees, and the rules that hold in all of them.")
    parser.add_argument("--trees", type=int, default=100_000, help="how many (default: 100000)")
    parser.add_argument("--first", type=int, default=1, help="the first seed (default: 1)")
    arguments = parser.parse_args()
    began = time.monotonic()
    broken = 0
    for seed in range(arguments.first, arguments.first + arguments.trees):
        try:
            run_tree(seed)
        except Exception as error:
            broken += 1
            print(f"seed {seed}: {error!r}", flush=True)
    print(f"{arguments.trees} trees in {time.monotonic() - began:.1f} s, {broken} with a broken rule")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
