"""ENOSPC from the n-th write on, for every n, until somebody makes room; half of the failing write is done.

Giving up the reserve makes room for some writes, as on a real disk.
Proved: nothing acknowledged is lost, the store is not poisoned, state can be saved once more while the disk is full,
and it goes on by itself once there is room.  Not proved: quotas that are told at the close of a file (NFS).
Control: an engine that takes a full disk for success.
"""

import contextlib
import errno
from functools import partial

import trio

from genesis_trio import open_store
from genesis_trio.errors import PoisonedError, StoreError

from .lab import FAIL_ON, WRITE, Victim, fresh, main, run_victim, shim
from .load import DESKS, Book, Fill, Tally, look

RECORDS = 6
SMALL_RESERVE = 256 * 1024
CONTROLS = 12  # at most; the first or the second one mostly shows it


async def fill_up(url, tell):
    """Record and save, again and again until it works; make room only once a save has worked while there was none."""
    while True:
        try:
            async with open_store(url) as store, trio.open_nursery() as nursery:
                books = {path: (await store.load(path, Book, make=Book)).state for path in DESKS}
                for path, book in books.items():
                    nursery.start_soon(record, store, path, book, tell)
                nursery.start_soon(save, store, books, tell)
            return
        except* StoreError as group:
            if group.subgroup(PoisonedError) is not None:
                tell("poisoned")
            shim().lab_arm(WRITE, FAIL_ON, errno.ENOSPC, 0)  # it could not be opened: somebody makes room


async def record(store, path, book, tell):
    while book.last < RECORDS:
        fill = Fill(book.last + 1)
        try:
            sequence = await store.record(path, fill, key=f"trade {fill.number}", apply=lambda _, f=fill: book.apply(f))
        except PoisonedError:
            raise
        except StoreError:
            await trio.sleep(0.005)
        else:
            tell(f"record {path} {sequence}")


async def save(store, books, tell):
    """Save until all is recorded; whoever sees that the disk is full saves once more, and then makes room."""
    for _ in range(3):
        was_full = not store.statistics().room
        try:
            info = await store.create_checkpoint(books)
        except PoisonedError:
            raise
        except StoreError:
            try:
                info = await store.create_checkpoint(books)
            except StoreError as error:
                tell(f"unsaved {error}")
                shim().lab_arm(WRITE, FAIL_ON, errno.ENOSPC, 0)
                continue
            was_full = True
        tell(f"saved {info.sequence}")
        if was_full:
            tell("squeezed")
            shim().lab_arm(WRITE, FAIL_ON, errno.ENOSPC, 0)
        await trio.sleep(0.002)
    shim().lab_arm(WRITE, FAIL_ON, errno.ENOSPC, 0)


def run_with_fault(folder, at, spoil):
    store = fresh(folder / "store")
    url = f"sqlite:{store / 'desk.db'}"

    def live(tell):
        use_small_reserve()
        with spoil():
            shim().lab_arm(WRITE, FAIL_ON, errno.ENOSPC, at)
            trio.run(fill_up, url, tell)
            tell(f"writes {shim().lab_calls()}")

    victim = Victim(live, folder=store)
    lines = list(victim.lines())
    victim.wait()
    return url, lines


def use_small_reserve():
    from genesis_trio.persistence import _writer
    from genesis_trio.persistence.engines.sqlite import SqliteEngine

    SqliteEngine.recover_room = SqliteEngine.real_recover_room
    SqliteEngine.__init__.__kwdefaults__["reserve"] = SMALL_RESERVE
    _writer.LOOK_FOR_ROOM_EVERY = 0.02


def play(folder, numbers, *, spoil=contextlib.nullcontext):
    tally = Tally()
    poisoned = unsaved = squeezed = unfinished = early = 0
    for at in numbers:
        url, lines = run_with_fault(folder, at, spoil)
        for line in lines:
            tally.take(line)
        poisoned += "poisoned" in lines
        squeezed += "squeezed" in lines
        # Where the disk was full before there was a reserve, nothing can be promised.
        with_reserve = [line for line in lines if line.startswith("unsaved") and "no reserve is left" not in line]
        unsaved += len(with_reserve)
        early += any("no reserve is left" in line for line in lines)
        tally.notes += [f"write {at}: {line}" for line in with_reserve]
        unfinished += not any(line.startswith("writes") for line in lines)
        for line in run_victim(lambda tell, url=url: trio.run(partial(look, url, tell)))[0]:
            tally.take(line)
        tally.acknowledged = dict.fromkeys(DESKS, 0)
        tally.saved = 0
    return tally, poisoned, unsaved, squeezed, unfinished, early


def run(report, n, rng, folder):
    _, lines = run_with_fault(folder, 0, contextlib.nullcontext)
    writes = next(int(line.split()[1]) for line in lines if line.startswith("writes"))
    report.add("writes of the work", writes)
    numbers = range(1, writes + 1) if not 0 < n < writes else sorted(rng.sample(range(1, writes + 1), n))
    tally, poisoned, unsaved, squeezed, unfinished, early = play(folder, numbers)
    report.add("full disks, one in each run", len(numbers))
    report.add("saves while it was full", squeezed)
    report.add("full before there was a reserve, or once more after it was used", early)
    tally.report(report)
    report.require("poisoned by a full disk", poisoned)
    report.require("could not save once more", unsaved)
    report.require("did not go on when there was room", unfinished)
    report.control("a full disk taken for success: records lost", lost_when_taken_for_success(folder, rng, writes))


def lost_when_taken_for_success(folder, rng, writes):
    """Fill the disk in the middle of the work, again and again until something is lost: not each write is one that matters."""
    lost = 0
    for at in rng.sample(range(writes // 3, writes // 2), CONTROLS):
        broken, *_ = play(folder, [at], spoil=taken_for_success)
        lost += broken.lost + broken.gaps
        if lost:
            break
    return lost


@contextlib.contextmanager
def taken_for_success():
    from genesis_trio.persistence.engines.sqlite import SqliteEngine

    before = SqliteEngine.commit_cut

    def commit_cut(self, scope, token, parts, batch):
        try:
            return before(self, scope, token, parts, batch)
        except OSError:
            return self._position

    SqliteEngine.commit_cut = commit_cut
    yield


if __name__ == "__main__":
    main("full", run, n=0, needs_shim=True)
