"""A head whose write was torn at every byte, and a log that was cut off at every place.

Proved: a torn head leaves the one before, and never makes a whole store look damaged; a log without its end is told
as damage and never taken for the whole.  Not proved: two heads torn at once, which takes two writes that one power
cut reaches; each lies in a sector of its own.
Controls: a head with one slot, and a store that does not look at its head.
"""

import shutil
from functools import partial

import trio

from .lab import fresh, main, run_victim
from .load import DESKS, Book, Fill, Tally, look

RECORDS = 8


async def prepare(url):
    """One record for each commit, and two saved checkpoints; left as a killed process leaves it."""
    from genesis_trio import open_store

    source = url.removeprefix("sqlite:")
    async with open_store(url) as store:
        books = {path: Book() for path in DESKS}
        for number in range(1, RECORDS + 1):
            for path, book in books.items():
                fill = Fill(number)
                await store.record(path, fill, key=f"trade {number}", apply=lambda _, b=book, f=fill: b.apply(f))
            if number % 4 == 0:
                await store.create_checkpoint(books)
        copy = fresh(_folder_of(source).with_name("whole"))
        for ending in ("", "-wal", ".head"):
            shutil.copy(f"{source}{ending}", copy)


def _folder_of(path):
    from pathlib import Path

    return Path(path).parent


def look_at(image):
    tally = Tally()
    tally.acknowledged, tally.saved = dict.fromkeys(DESKS, RECORDS), 2
    lines, _ = run_victim(lambda tell: trio.run(partial(look, f"sqlite:{image / 'desk.db'}", tell)))
    for line in lines:
        tally.take(line)
    return tally


def heads(folder, n, rng):
    """The newest head, torn at every byte in both directions: how many were told as damage, or not read at all."""
    from genesis_trio.persistence._head import _SLOT, HeadFile

    data = (folder / "whole" / "desk.db.head").read_bytes()
    newest = max((0, 1), key=lambda slot: int.from_bytes(data[slot * _SLOT + 8 : slot * _SLOT + 16], "little"))
    begin = newest * _SLOT
    size = len(data[begin : begin + _SLOT].rstrip(b"\0"))
    old = bytes(rng.randrange(256) for _ in range(_SLOT))  # whatever stood there before
    wrong = unreadable = 0
    places = [(at, side) for at in range(size + 1) for side in (0, 1)]
    for at, side in places if not 0 < n < len(places) else rng.sample(places, n):
        slot = data[begin : begin + _SLOT]
        torn = (slot[:at] + old[at:], old[:at] + slot[at:])[side]
        image = fresh(folder / "image")
        shutil.copytree(folder / "whole", image, dirs_exist_ok=True)
        (image / "desk.db.head").write_bytes(data[:begin] + torn + data[begin + _SLOT :])
        file = HeadFile(str(image / "desk.db.head"))
        unreadable += file.read() is None
        file.close()
        tally = look_at(image)
        wrong += tally.lost + tally.gaps + tally.lost_saves + tally.errors
    return len(places), unreadable, wrong


def one_slot(folder):
    """The same head in a file with one slot: places at which nothing can be read any more."""
    from genesis_trio.persistence._head import _SLOT, HeadFile

    data = (folder / "whole" / "desk.db.head").read_bytes()
    unreadable = 0
    for at in range(0, 90, 10):
        path = folder / "single.head"
        path.write_bytes(data[:at] + b"\x55" * (_SLOT - at) + bytes(_SLOT))
        file = HeadFile(str(path))
        unreadable += file.read() is None
        file.close()
    return unreadable


def shortened(folder, n, rng, *, looks=True):
    """The log cut off at every frame and beside it: how many were told, and how many were taken for whole."""
    log = (folder / "whole" / "desk.db-wal").read_bytes()
    frame = 24 + int.from_bytes(log[8:12], "big")
    places = sorted({place + off for place in range(32, len(log), frame) for off in (0, 1, 24, 200)})
    silent = told = 0
    for at in places if not 0 < n < len(places) else rng.sample(places, n):
        image = fresh(folder / "image")
        shutil.copytree(folder / "whole", image, dirs_exist_ok=True)
        (image / "desk.db-wal").write_bytes(log[:at])
        if not looks:
            # As a store that keeps no head outside of its database, and does not miss it either.
            (image / "desk.db.head").unlink()
        tally = look_at(image)
        missing = tally.lost or tally.lost_saves
        # Without a head every start says that it is missing; a store that does not look would not.
        is_told = tally.damage > 0 and looks
        told += bool(missing) and (is_told or tally.errors > 0)
        silent += bool(missing) and not is_told and not tally.errors
    return len(places), told, silent


def run(report, n, rng, folder):
    fresh(folder / "store")
    run_victim(lambda tell: trio.run(prepare, f"sqlite:{folder / 'store' / 'desk.db'}"))
    places, unreadable, wrong = heads(folder, n, rng)
    report.add("torn heads", n if 0 < n < places else places)
    report.require("torn heads that left none", unreadable)
    report.require("torn heads that made data wrong or missing", wrong)
    report.control("one slot: heads that left none", one_slot(folder))
    places, told, silent = shortened(folder, n, rng)
    report.add("shortened logs", n if 0 < n < places else places)
    report.add("shortened logs that were told", told)
    report.require("shortened logs taken for whole", silent)
    _, _, silent = shortened(folder, 10, rng, looks=False)
    report.control("no head: shortened logs taken for whole", silent)


if __name__ == "__main__":
    main("torn", run, n=0)
