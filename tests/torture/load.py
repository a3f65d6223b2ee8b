"""The work that is disturbed: a supervised tree of desks that record, act on the outside and save, as fast as they can."""

import attrs
import trio

from genesis_trio import CheckpointPolicy, ChildSpec, Component, Lifecycle, Restart, open_store, open_supervisor, schema
from genesis_trio.errors import OutcomeUnknownError
from genesis_trio.persistence.effects import EffectStatus

DESKS = tuple(f"desk/{number}" for number in range(4))


@schema("torture.fill")
@attrs.frozen
class Fill:
    """The n-th fill."""

    number: int


@schema("torture.book")
@attrs.define
class Book:
    """Knows whether every fill came exactly once, in order."""

    last: int = 0
    wrong: int = 0
    text: str = ""

    def apply(self, fill: Fill) -> None:
        self.wrong += fill.number != self.last + 1
        self.last = fill.number
        self.text = f"{fill.number} " * 100


class Desk(Component[Book]):
    """Records fills, and places an order after every third."""

    def __init__(self, tell, limit):
        self.tell = tell
        self.limit = limit

    async def run(self, ctx):
        self.tell(f"loaded {ctx.path} {self.state.last} {self.state.wrong}")
        ctx.ready()
        # A restarted service asks for what it did last, and must not do it again.
        for number in range(max(1, self.state.last - 6), self.state.last + 1):
            await self.order(ctx, number)
        if self.state.last:
            again = await ctx.record(Fill(self.state.last), key=f"trade {self.state.last}")
            if again != self.state.last:
                self.tell(f"twice {ctx.path} trade {self.state.last}")
        for _ in range(self.limit):
            if ctx.stopping:
                return
            number = self.state.last + 1
            sequence = await ctx.record(Fill(number), key=f"trade {number}")
            self.tell(f"record {ctx.path} {sequence}")
            await self.order(ctx, number)
            await ctx.safe_point()

    async def order(self, ctx, number):
        if number % 3 == 0:
            try:
                await ctx.once(f"order {number}", self.place, ctx.path, number)
            except OutcomeUnknownError:
                return
            self.tell(f"done {ctx.path} {number}")

    async def place(self, path: str, number: int) -> int:
        self.tell(f"effect {path} {number}")
        await trio.lowlevel.checkpoint()
        return number


async def work(url, tell, *, limit=10**9, saves=10**9):
    """Run the desks until each has recorded *limit* fills; save all the time."""
    async with open_store(url) as store:
        tell(f"opened {len(store.damage)} {'; '.join(store.damage)[:200]}")
        saved = await store.list_checkpoints()
        tell(f"newest {saved[0].sequence if saved else 0}")
        policy = CheckpointPolicy(every=None, messages=None)
        async with open_supervisor("desk", store=store, checkpoint=policy) as desk:
            children = []
            for path in DESKS:
                spec = ChildSpec(Desk, tell, limit, name=path.removeprefix("desk/"), restart=Restart.TEMPORARY)
                children.append(await desk.start(spec))
            while any(child.status is not Lifecycle.STOPPED for child in children):
                if saves:
                    info = await desk.create_checkpoint()
                    tell(f"saved {info.sequence}")
                    await store.prune(keep=3)
                    await store.shorten_journal()
                    saves -= 1
                await trio.sleep(0.0005)


async def look(url, tell, *, effects=()):
    """Tell what is in a store, without working on it."""
    async with open_store(url) as store:
        tell(f"opened {len(store.damage)} {'; '.join(store.damage)[:200]}")
        saved = await store.list_checkpoints()
        tell(f"newest {saved[0].sequence if saved else 0}")
        for path in DESKS:
            loaded = await store.load(path, Book, make=Book)
            told = loaded.lost != 0 or bool(loaded.fell_back_from)
            tell(
                f"loaded {path} {loaded.state.last} {loaded.state.wrong + told + (loaded.journal != loaded.state.last)}"
            )
        for path, number in effects:
            found = await store.begin_effect(path, f"order {number}")
            if found.status is EffectStatus.NEW:
                tell(f"effect {path} {number}")
        report = await store.verify()
        tell(f"verified {int(report.ok)} {'; '.join(report.problems)[:200]}")


class Tally:
    """What was acknowledged, and what came back of it."""

    def __init__(self):
        self.acknowledged = dict.fromkeys(DESKS, 0)
        self.saved = 0
        self.effects = set()
        self.records = self.checkpoints = self.done = 0
        self.lost = self.gaps = self.twice = self.lost_saves = self.damage = self.errors = 0
        self.notes = []
        self.where = ""

    def take(self, line):
        word, *rest = line.split(" ")
        if word == "record":
            self.records += 1
            self.acknowledged[rest[0]] = max(self.acknowledged[rest[0]], int(rest[1]))
        elif word == "saved":
            self.checkpoints += 1
            self.saved = max(self.saved, int(rest[0]))
        elif word == "effect":
            self.done += 1
            self.twice += tuple(rest) in self.effects
            self.effects.add(tuple(rest))
        elif word == "twice":
            self.twice += 1
        elif word == "loaded":
            missing = self.acknowledged[rest[0]] - int(rest[1])
            if missing > 0:
                self.notes.append(f"{self.where}: {rest[0]} came back as {rest[1]}, {missing} are missing")
                self.lost += missing
                self.acknowledged[rest[0]] = int(rest[1])
            self.gaps += int(rest[2])
        elif word == "newest":
            if int(rest[0]) < self.saved:
                self.lost_saves += 1
                self.saved = int(rest[0])
        elif word == "opened":
            self.damage += int(rest[0])
        elif word == "verified":
            self.damage += 1 - int(rest[0])
        elif word == "error":
            self.errors += 1
        if word == "error" or (word == "opened" and rest[0] != "0") or (word == "verified" and rest[0] != "1"):
            self.notes.append(line)

    @property
    def violations(self):
        return self.lost + self.gaps + self.twice + self.lost_saves + self.damage + self.errors

    def report(self, report, of=""):
        report.add(of + "records acknowledged", self.records)
        report.add(of + "saved checkpoints acknowledged", self.checkpoints)
        report.add(of + "effects", self.done)
        for note in self.notes[:5]:
            report.add(of + "note", note)
        report.require(of + "acknowledged records lost", self.lost)
        report.require(of + "gaps and repetitions in state", self.gaps)
        report.require(of + "effects done twice", self.twice)
        report.require(of + "acknowledged checkpoints lost", self.lost_saves)
        report.require(of + "damage told without damage", self.damage)
        report.require(of + "errors", self.errors)
