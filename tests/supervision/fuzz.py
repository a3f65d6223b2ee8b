"""Random trees that are made to fail in every way, inside simulate(): the rules that must hold in all of them.

    python tests/supervision/fuzz.py --trees 10000 --first 1

Each tree follows from its seed.  A violation names the seed, and the command line shows the one tree again.
"""

import argparse
import random
import sys
import time
from collections import deque
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import attrs
import trio

from genesis_trio import (
    Backoff,
    CheckpointPolicy,
    ChildSpec,
    Component,
    Criticality,
    Lifecycle,
    Mode,
    ModePolicy,
    Restart,
    Strategy,
    Topic,
    current_scope,
    observe,
    open_store,
    open_supervisor,
    schema,
)
from genesis_trio.testing import simulate

STEPS = 25
WITHIN = 5.0


class Violation(AssertionError):
    """A rule was broken."""


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


class World:
    """What one tree does, and what was seen of it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"plan {seed}")
        self.events: list[object] = []
        self.running: set[str] = set()
        self.broken: list[str] = []  # rules, by components, whose own errors are only crashes
        self.calm = False  # no more crashes from here on
        self.sent: list[int] = []
        self.reader_was_stopped = False
        self.stop_begins_at: int | None = None
        self.max_restarts = self.rng.randint(1, 4)

    def entered(self, ctx) -> None:
        if ctx.path in self.running:
            self.broken.append(f"two incarnations of {ctx.path} at once")
        self.running.add(ctx.path)

    def check_scope(self, ctx, scope) -> None:
        if current_scope() is not (scope or ctx.scope):
            self.broken.append(f"a task of {ctx.path} has scope {current_scope()!r}")

    def crash_perhaps(self, ctx, chance: float, scope=None) -> None:
        self.check_scope(ctx, scope)
        if not self.calm and ctx.rng.random() < chance:
            if ctx.rng.random() < 0.2:
                raise ExceptionGroup("several", [Planned(ctx.path), Planned("again")])
            raise Planned(ctx.path)

    # ------------------------------------------------------------ components

    async def leaf(self, ctx) -> None:
        self.entered(ctx)
        try:
            await trio.sleep(ctx.rng.choice([0.0, 0.01, 0.5]))
            self.crash_perhaps(ctx, 0.1)
            ctx.ready()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.helper, ctx)
                while not ctx.stopping:
                    await trio.sleep(ctx.rng.random() * 2)
                    self.crash_perhaps(ctx, 0.1)
                    if ctx.rng.random() < 0.03:
                        break
                nursery.cancel_scope.cancel()
            if ctx.stopping and ctx.rng.random() < 0.1:
                raise Planned("while stopping")
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(ctx.rng.choice([0.0, 0.0, 0.3]))
            self.running.discard(ctx.path)

    async def helper(self, ctx) -> None:
        while True:
            await trio.sleep(ctx.rng.random() * 5)
            self.crash_perhaps(ctx, 0.05)

    async def host(self, ctx) -> None:
        self.entered(ctx)
        try:
            async with open_supervisor("inner", backoff=Backoff(base_delay=0.1), shutdown_timeout=5.0) as inner:
                await inner.start_all(
                    [
                        ChildSpec(self.leaf, name=f"n{n}", unpark_after=5.0, stop_grace=0.5)
                        for n in range(ctx.rng.randint(1, 3))
                    ]
                )
                ctx.ready()
                while not ctx.stopping:
                    await trio.sleep(ctx.rng.random() * 3)
                    self.crash_perhaps(ctx, 0.05, inner.scope)
        finally:
            below = [path for path in self.running if path.startswith(f"{ctx.path}/")]
            self.running.discard(ctx.path)
            if below:
                self.broken.append(f"{ctx.path} ended before {below}")

    async def feed(self, ctx) -> None:
        self.entered(ctx)
        try:
            ctx.ready()
            while not ctx.stopping and len(self.sent) < 60:
                await trio.sleep(ctx.rng.random() * 0.5)
                number = len(self.sent) + 1
                self.sent.append(number)
                ctx.publish(FILLS, Fill(number))
                self.crash_perhaps(ctx, 0.02)
            await ctx.wait_stopping()
        finally:
            self.running.discard(ctx.path)

    def reader(self) -> type:
        world = self

        class Reader(Component[Book]):
            async def run(self, ctx) -> None:
                world.entered(ctx)
                try:
                    async with ctx.subscribe(FILLS) as fills:
                        ctx.ready()
                        async for fill in fills:
                            world.crash_perhaps(ctx, 0.02)
                            await ctx.record(fill, key=str(fill.number) if fill.number % 2 else None)
                            world.crash_perhaps(ctx, 0.02)
                            await trio.sleep(ctx.rng.random() * 0.05)
                finally:
                    world.running.discard(ctx.path)

        return Reader

    # ------------------------------------------------------------ the plan

    async def main(self) -> None:
        tasks = trio.lowlevel.current_statistics().tasks_living
        with observe(self.events.append):
            async with open_store("memory:") as store:
                try:
                    await self.tree(store)
                except Planned as error:
                    if str(error) != "the body":
                        raise Violation(f"{error!r} of a child came out of the block") from error
                book = await store.restore_latest("desk/reader", Book)
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

    async def tree(self, store) -> None:
        rng = self.rng
        settings = {
            "strategy": rng.choice(list(Strategy)),
            "max_restarts": self.max_restarts,
            "within": WITHIN,
            "backoff": Backoff(base_delay=rng.choice([0.0, 0.05, 0.2]), jitter=rng.choice(["none", "full"])),
            "mode_policy": rng.choice([None, ModePolicy()]),
            "checkpoint": CheckpointPolicy(every=rng.choice([None, 1.0]), messages=rng.choice([None, 5])),
            "shutdown_timeout": 20.0,
        }
        with trio.CancelScope() as outer:
            async with open_supervisor("desk", store=store, **settings) as desk:
                specs = [
                    ChildSpec(self.reader(), name="reader", unpark_after=4.0, criticality=Criticality.CRITICAL),
                    ChildSpec(self.feed, name="feed", unpark_after=4.0, stop_grace=0.5),
                ]
                for number in range(rng.randint(1, 4)):
                    requires = [spec.name for spec in specs[1:] if rng.random() < 0.2]
                    specs.append(
                        ChildSpec(
                            rng.choice([self.leaf, self.leaf, self.host]),
                            name=f"c{number}",
                            requires=requires,
                            restart=rng.choice(
                                [Restart.PERMANENT, Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY]
                            ),
                            stop_grace=rng.choice([0.0, 0.5]),
                            unpark_after=rng.choice([None, 4.0]),
                        )
                    )
                await desk.start_all(specs)
                for _ in range(STEPS):
                    await trio.sleep(rng.random())
                    await self.disturb(desk)
                ending = rng.choice(["stop", "stop", "raise", "cancel"])
                if ending == "stop":
                    await self.calm_down(desk)
                self.stop_begins_at = len(self.events)
                order = list(desk.children)
                try:
                    if ending == "raise":
                        raise Planned("the body")
                    if ending == "cancel":
                        outer.cancel()
                        await trio.sleep_forever()
                    await desk.stop()
                finally:
                    self.order = order
        self.check_order(settings["shutdown_timeout"])

    async def disturb(self, desk) -> None:
        rng = self.rng
        child = rng.choice(list(desk.children.values()))
        match rng.randrange(8):
            case 0:
                with trio.move_on_after(rng.random() * 3):
                    try:
                        await child.restart()
                    except (Planned, ExceptionGroup):
                        pass
            case 1:
                if child.name not in ("feed", "reader") or rng.random() < 0.1:
                    self.reader_was_stopped |= child.name == "reader"
                    await child.stop()
            case 2:
                with trio.move_on_after(2):
                    try:
                        await desk.start(self.leaf, name=f"d{len(desk.children)}", stop_grace=0.5, unpark_after=4.0)
                    except (Planned, ExceptionGroup):
                        pass
            case 3:
                with desk.scope.hold(rng.choice([Mode.SAFE, Mode.EMERGENCY]), owner="fuzz", reason="plan"):
                    await trio.sleep(rng.random() * 2)
            case 4:
                await desk.create_checkpoint()

    async def calm_down(self, desk) -> None:
        """Let everything come back, and all messages be handled."""
        self.calm = True
        await trio.sleep(15)
        reader = desk.children["reader"]
        if self.reader_was_stopped or reader.incarnation is None or reader.status is not Lifecycle.READY:
            return
        dead = {fill.number for box in reader.mailboxes.values() for fill in box.dead_letters}
        numbers = reader.incarnation.component.state.numbers
        if set(numbers) | dead != set(self.sent):
            raise Violation(f"sent {self.sent}, recorded {numbers}, dead {sorted(dead)}")

    # ------------------------------------------------------------ what was seen

    def check_order(self, limit: float) -> None:
        """Those that the stop ended did so in reverse order, and within the limit."""
        stops = [event for event in self.events[self.stop_begins_at :] if event.name == "child_stopped"]
        ended = [
            event.child.removeprefix("desk/")
            for event in stops
            if event.reason == "stopped" and event.child.count("/") == 1
        ]
        expected = [name for name in reversed(self.order) if name in ended]
        if ended != expected:
            raise Violation(f"stopped in the order {ended}, not {expected}")

    def check_budgets(self) -> None:
        """Parked at the crash that was one too many, and at no other."""
        crashes: dict[str, deque[float]] = {}
        trials: set[str] = set()
        due: dict[str, str] = {}
        for event in self.events:
            child = getattr(event, "child", "")
            if child.count("/") != 1:
                continue
            if event.name == "child_trial":
                trials.add(child)
            elif event.name == "child_unparked":
                trials.discard(child)
            elif event.name == "child_crashed":
                counted = crashes.setdefault(child, deque())
                while counted and counted[0] <= event.time - WITHIN:
                    counted.popleft()
                if child in trials or len(counted) >= self.max_restarts:
                    due[child] = "child_parked"
                    counted.clear()
                    trials.discard(child)
                else:
                    counted.append(event.time)
                    due[child] = "restart_scheduled"
            elif event.name in ("child_parked", "restart_scheduled") and child in due:
                if event.name != due.pop(child):
                    raise Violation(f"{child} at {event.time}: {event.name} is not what its budget says")
            elif event.name == "child_stopped":
                due.pop(child, None)  # temporary, or a first start that start() raised


def run_tree(seed: int) -> World:
    world = World(seed)
    simulate(world.main, seed=seed)
    return world


def main() -> int:
    parser = argparse.ArgumentParser(description="Random trees, and the rules that hold in all of them.")
    parser.add_argument("--trees", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--first", type=int, default=1, help="the first seed (default: 1)")
    arguments = parser.parse_args()
    began = time.monotonic()
    broken = 0
    for seed in range(arguments.first, arguments.first + arguments.trees):
        try:
            run_tree(seed)
        except Exception as error:
            broken += 1
            print(f"seed {seed}: {error!r}")
    print(f"{arguments.trees} trees in {time.monotonic() - began:.1f} s, {broken} with a broken rule")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
