"""EIO at the n-th fsync and at the n-th write, for every n, once: as Linux reports it, and the next one succeeds again.

What a failed sync should have covered never reaches the disk (its pages count as clean from then on).  After the
victim has ended, only what was synced is left of its files.
Proved: whatever sync or write fails, nothing acknowledged is missing from that.  Not proved: errors of reading.
Control: an engine that takes a failed sync for success.
"""

import contextlib
import errno
from functools import partial

import trio

from .images import Disk
from .lab import FAIL_ONCE, SYNC, WRITE, Victim, fresh, main, run_victim, shim
from .load import Tally, look, work


def run_with_fault(folder, kind, at, spoil):
    """The calls of a process whose call number *at* of this kind fails, and how many of them it made."""
    store = fresh(folder / "store")

    def live(tell):
        shim().lab_arm(kind, FAIL_ONCE, errno.EIO, at)
        with spoil():
            try:
                for _ in range(2):
                    trio.run(partial(work, f"sqlite:{store / 'desk.db'}", tell, limit=4, saves=2))
            except BaseException as error:
                tell(f"ended {type(error).__name__}")
            tell(f"calls {shim().lab_calls()}")

    victim = Victim(live, folder=store)
    calls = list(victim.calls())
    victim.wait()
    made = [int(data.split()[1]) for told, _, _, data in calls if told == "A" and data.startswith(b"calls ")]
    return store, calls, made[0] if made else 0


def play(folder, kind, numbers, *, spoil=contextlib.nullcontext):
    tally = Tally()
    failed = 0
    for at in numbers:
        store, calls, _ = run_with_fault(folder, kind, at, spoil)
        failed += any(call[0] == "F" for call in calls)
        disk = Disk(store, failed_sync_drops=kind == SYNC)
        before = Tally()
        for call in calls:
            disk.take(*call)
            if call[0] == "A":
                before.take(call[3].decode())
        tally.records += before.records
        tally.checkpoints += before.checkpoints
        tally.done += before.done
        if not any(file.is_named for file in disk.files.values()):
            tally.lost += before.records  # there is no store, so nothing may have been acknowledged
            continue
        image = fresh(folder / "image")
        disk.only_durable(image)
        url, effects = f"sqlite:{image / 'desk.db'}", sorted(before.effects)
        lines, _ = run_victim(
            lambda tell, url=url, effects=effects: trio.run(partial(look, url, tell, effects=effects))
        )
        after = Tally()
        after.acknowledged, after.saved, after.effects = dict(before.acknowledged), before.saved, set(before.effects)
        for line in lines:
            after.take(line)
        for name in ("lost", "gaps", "twice", "lost_saves", "damage", "errors"):
            setattr(tally, name, getattr(tally, name) + getattr(after, name))
        tally.notes += [f"call {at}: {note}" for note in after.notes]
    return tally, failed


def run(report, n, rng, folder):
    for kind, name in ((SYNC, "syncs"), (WRITE, "writes")):
        _, _, made = run_with_fault(folder, kind, 0, contextlib.nullcontext)
        report.add(f"{name} of the work", made)
        numbers = range(1, made + 1) if not 0 < n < made else sorted(rng.sample(range(1, made + 1), n))
        tally, failed = play(folder, kind, numbers)
        report.add(f"{name} that failed, one in each run", failed)
        tally.report(report, f"{name}, ")
        middle = range(made // 4, made // 2, max(1, made // 40))
        broken, _ = play(folder, kind, middle, spoil=taken_for_success)
        report.control(f"failed {name} taken for success: violations", broken.violations)


@contextlib.contextmanager
def taken_for_success():
    from genesis_trio.persistence.engines.sqlite import SqliteEngine

    before = SqliteEngine.commit_cut

    def commit_cut(self, scope, token, parts, batch):
        try:
            return before(self, scope, token, parts, batch)
        except OSError:
            self._position += len(batch.records)
            return self._position

    SqliteEngine.commit_cut = commit_cut
    yield


if __name__ == "__main__":
    main("sync", run, n=0, needs_shim=True)
