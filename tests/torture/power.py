"""Power cuts: at a random moment what was not synced is dropped, kept, or torn by the sector.

The system calls of the process that change files (pwrite, write, ftruncate, unlink, open, fsync, fdatasync) are
recorded by a preloaded library, its acknowledgements among them; `images` makes the files that a cut may leave.
Proved: what was acknowledged before the cut is in every such image.  Not proved: a disk or hypervisor that tells a
sync was done and lies, more than one file system (the model is stricter than ext4: no order between writes at all).
Control: ``synchronous=NORMAL``, which syncs the log only now and then.
"""

import contextlib
from functools import partial

import trio

from .images import Disk
from .lab import Victim, fresh, main, run_victim
from .load import Tally, look, work

CUTS_OF_A_RUN = 60


def record_run(folder, spoil):
    """The calls of a process that opens a store, works, closes it, and does all of it again."""
    store = fresh(folder / "recorded")
    url = f"sqlite:{store / 'desk.db'}"

    def live(tell):
        with spoil():
            for _ in range(2):
                trio.run(partial(work, url, tell, limit=12, saves=4))

    victim = Victim(live, folder=store)
    calls = list(victim.calls())
    victim.wait()
    return store, calls


def play(n, rng, folder, *, spoil=contextlib.nullcontext):
    found = Tally()
    syncs = 0
    while n > 0:
        store, calls = record_run(folder, spoil)
        opened = next(at for at, call in enumerate(calls) if call[0] == "A")
        cuts = sorted(rng.choices(range(opened, len(calls) + 1), k=min(n, CUTS_OF_A_RUN)))
        n -= len(cuts)
        syncs += sum(call[0] == "S" for call in calls)
        disk, before = Disk(store), Tally()
        for at, call in enumerate([*calls, None]):
            while cuts and cuts[0] == at:
                cuts.pop(0)
                check_cut(found, before, disk, rng, fresh(folder / "image"))
            if call is None:
                break
            disk.take(*call)
            if call[0] == "A":
                before.take(call[3].decode())
        for name in ("records", "checkpoints", "done", "errors"):
            setattr(found, name, getattr(found, name) + getattr(before, name))
        found.notes += before.notes
    return found, syncs


def check_cut(found, before, disk, rng, image):
    disk.cut(rng, image)
    effects = sorted(before.effects)
    lines, _ = run_victim(lambda tell: trio.run(partial(look, f"sqlite:{image / 'desk.db'}", tell, effects=effects)))
    tally = Tally()
    tally.acknowledged, tally.saved = dict(before.acknowledged), before.saved
    tally.effects = set(before.effects)  # one that begins anew would be done a second time
    for line in lines:
        tally.take(line)
    for name in ("lost", "gaps", "twice", "lost_saves", "damage", "errors"):
        setattr(found, name, getattr(found, name) + getattr(tally, name))
    found.notes += tally.notes


def run(report, n, rng, folder):
    tally, syncs = play(n, rng, folder)
    report.add("power cuts", n)
    report.add("syncs in the recorded runs", syncs)
    tally.report(report)
    broken, _ = play(max(12, n // 10), rng, folder, spoil=synchronous_normal)
    report.control("synchronous=NORMAL: records lost", broken.lost)


@contextlib.contextmanager
def synchronous_normal():
    from genesis_trio.persistence.engines.sqlite import SqliteEngine

    before = SqliteEngine._open_database

    def open_carelessly(self):
        before(self)
        self._db.execute("pragma synchronous = normal")

    SqliteEngine._open_database = open_carelessly
    yield


if __name__ == "__main__":
    main("power", run, n=600, needs_shim=True)
