"""kill -9 under load, at a random moment or in the middle of a random system call.

Each victim opens the store that the one before left, checks what it finds there, and works until it is killed.
Proved: nothing acknowledged to another process is lost, nothing is applied or done twice.  Not proved: anything
about power, the kernel or the disk, which survive a kill.
Control: a store that commits only every eighth time, and effects whose intent is not written first.
"""

import contextlib
from functools import partial

import trio

from .lab import ANY, DIE, Victim, fresh, main, run_victim, shim
from .load import Tally, look, work

SAME_STORE = 25  # victims; then a new one, as journals and keys grow with every life


def play(report_to, n, rng, folder, *, spoil=contextlib.nullcontext):
    tally = report_to
    for number in range(n):
        if number % SAME_STORE == 0:
            fresh(folder / "store")
            tally.acknowledged = dict.fromkeys(tally.acknowledged, 0)
            tally.saved = 0
            tally.effects = set()
        url = f"sqlite:{folder / 'store' / 'desk.db'}"
        at_call = rng.randrange(1, 400) if number % 2 else 0
        lines = rng.randrange(5, 250)

        def live(tell, url=url, at_call=at_call):
            if at_call:
                shim().lab_arm(ANY, DIE, 0, at_call)
            with spoil():
                trio.run(work, url, tell)

        tally.where = f"victim {number}, killed at {f'call {at_call}' if at_call else f'line {lines}'}"
        victim = Victim(live, folder=folder / "store")
        for count, line in enumerate(victim.lines(), 1):
            tally.take(line)
            if not at_call and count == lines:
                victim.kill()
        victim.wait()
        if number % SAME_STORE == SAME_STORE - 1 or number == n - 1:
            found, _ = run_victim(lambda tell, url=url: trio.run(partial(look, url, tell)))
            for line in found:
                tally.take(line)


@contextlib.contextmanager
def lazy_commits():
    """Commit only every eighth time."""
    from genesis_trio.persistence.engines.sqlite import SqliteEngine

    @contextlib.contextmanager
    def transaction(self, counter=[0]):  # noqa: B006
        if not self._db.in_transaction:
            self._db.execute("begin immediate")
        yield self._db
        counter[0] += 1
        if counter[0] % 8 == 0:
            self._db.execute("commit")

    SqliteEngine._transaction = transaction
    yield


@contextlib.contextmanager
def effects_without_intent():
    """Write an effect down only once it was done."""
    from genesis_trio import Store
    from genesis_trio.persistence._ledger import EFFECT
    from genesis_trio.persistence.effects import Effect, EffectStatus

    begin, end = Store.begin_effect, Store.end_effect

    async def begin_nothing(self, component, key):
        row = await self._writer.read(self._ledger.engine.read_row, "main", EFFECT, component, key)
        return await begin(self, component, key) if row is not None else Effect(EffectStatus.NEW)

    async def end_both(self, component, key, **outcome):
        await begin(self, component, key)
        await end(self, component, key, **outcome)

    Store.begin_effect, Store.end_effect = begin_nothing, end_both
    yield


def run(report, n, rng, folder):
    tally = Tally()
    play(tally, n, rng, folder)
    report.add("kills", n)
    tally.report(report)
    report.control("late commits: records lost", spoiled(folder, rng, lazy_commits, "lost"))
    report.control("no intent: effects done twice", spoiled(folder, rng, effects_without_intent, "twice"))


def spoiled(folder, rng, spoil, what):
    """How often *what* was counted with *spoil*: a few victims at a time, until there is something."""
    broken = Tally()
    for _ in range(40):
        play(broken, 4, rng, folder, spoil=spoil)
        if getattr(broken, what):
            break
    return getattr(broken, what)


if __name__ == "__main__":
    main("kill", run, n=1000, needs_shim=True)
