"""Single bits flipped anywhere in the files of a store, after a clean close and after a kill.

Proved: every answer is right, or damage is told with it.  Not proved: an adversary, who could make the digests
anew; more than one bit at a time.
Control: a store that does not look at digests.
"""

import contextlib
import random
import shutil
from pathlib import Path

import trio

from genesis_trio import open_store
from genesis_trio.errors import GenesisError
from persistence.desk import Fill, Ledger, Note, book

from .lab import Violated, fresh, main, run_victim

A = "desk/ledger"


async def fill(url):
    """Everything that a store can hold; the store is left open by a copy in the middle."""
    ledger = Ledger()
    async with open_store(url) as store:
        for number in range(1, 21):
            await book(store, ledger, number, key=f"trade {number}")
            await store.append("desk/other", [Fill(number)])
            if number % 5 == 0:
                await store.create_checkpoint({A: ledger, "desk/note": Note(f"{number} " * 100)})
            if number < 5:
                await store.begin_effect(A, f"order {number}")
                await store.end_effect(A, f"order {number}", result=b"ack")
                await store.put_control(f"latch {number}", b"held").wait()
            if number == 12:
                await store._writer.read(store._ledger.engine._write_back)
        path = Path(url.removeprefix("sqlite:"))
        killed = path.parent.parent / "killed"
        killed.mkdir()
        for ending in ("", "-wal", ".head"):
            shutil.copy(f"{path}{ending}", killed)
    closed = path.parent.parent / "closed"
    closed.mkdir()
    for ending in ("", ".head"):
        shutil.copy(f"{path}{ending}", closed)


async def look(url):
    """What a user sees: question to (answer, whether something was told along with it)."""
    answers = {}

    async def ask(name, question):
        try:
            answers[name] = await question()
        except GenesisError as error:
            answers[name] = (type(error), True)

    async def load(name):
        loaded = await store.load(name, Ledger, make=Ledger)
        return (loaded.state, loaded.journal), loaded.lost != 0 or loaded.fell_back_from != ()

    async def note():
        restored = await store.restore_latest("desk/note", Note)
        return restored.state, restored.lost != 0 or restored.fell_back_from != ()

    async def replay():
        async with store.replay("desk/other", Fill) as records:
            return [record async for record in records], False

    async def effect(key):
        found = await store.begin_effect(A, key)
        return (found.status, found.result), found.status.value == "unknown"

    async def record():
        return await store.record(A, Fill(7), key="trade 7", apply=lambda sequence: None), False

    async def control():
        return dict(await store.read_control()), False

    async def checkpoints():
        return list(await store.list_checkpoints()), False

    async with open_store(url) as store:
        told = bool(store.damage)
        await ask("ledger", lambda: load(A))
        await ask("other", lambda: load("desk/other"))
        await ask("note", note)
        await ask("replay", replay)
        await ask("control", control)
        await ask("checkpoints", checkpoints)
        await ask("known effect", lambda: effect("order 3"))
        await ask("new effect", lambda: effect("order 9"))
        await ask("known key", record)
    return {name: (answer, told or noticed) for name, (answer, noticed) in answers.items()}


async def look_at(source, place, where):
    """Look at a copy of the files in *source*, with one bit flipped."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(source, place)
    if where is not None:
        name, offset, bit = where
        data = bytearray((place / name).read_bytes())
        data[offset] ^= 1 << bit
        (place / name).write_bytes(data)
    try:
        return await look(f"sqlite:{place / 'desk.db'}")
    except GenesisError:
        return None


def flip_and_look(folder, n, rng, tell):
    """Flip *n* bits, one at a time; tell how often something was told, and what was wrong in silence."""
    right = {}
    for kind in ("killed", "closed"):
        right[kind] = trio.run(look_at, folder / kind, folder / "probe", None)
        if right[kind] is None or any(noticed for _, noticed in right[kind].values()):
            raise Violated(f"the whole store is not whole: {right[kind]}")
    for _ in range(n):
        kind = rng.choice(("killed", "closed"))
        files = {file.name: file.stat().st_size for file in sorted((folder / kind).iterdir())}
        name = rng.choice(list(files))
        where = (name, rng.randrange(files[name]), rng.randrange(8))
        answers = trio.run(look_at, folder / kind, folder / "probe", where)
        if answers is None:
            tell("told")  # refused as a whole
            continue
        for question, (answer, noticed) in answers.items():
            if not noticed and answer != right[kind][question][0]:
                tell(f"silent {question} at {kind} {where}")
        if any(noticed for _, noticed in answers.values()):
            tell("told")


def play(folder, n, rng, *, spoil=contextlib.nullcontext):
    folder = fresh(folder / "flips")

    def live(tell):
        with spoil():
            trio.run(fill, f"sqlite:{folder / 'whole' / 'desk.db'}")
            flip_and_look(folder, n, rng, tell)

    lines, _ = run_victim(live)
    return lines.count("told"), [line for line in lines if line.startswith(("silent", "error"))]


def run(report, n, rng, folder):
    told = 0
    silent = []
    for begin in range(0, n, BITS_OF_A_VICTIM):
        more, wrong = play(folder, min(BITS_OF_A_VICTIM, n - begin), random.Random(rng.random()))
        told, silent = told + more, silent + wrong
    report.add("flipped bits", n)
    report.add("told as damage", told)
    for line in silent[:5]:
        report.add("note", line)
    report.require("wrong in silence", len(silent))
    report.control("bits that are told at all", told)
    silent = []
    for _ in range(8):  # only some of the bits matter
        silent += play(folder, BITS_OF_A_VICTIM, random.Random(rng.random()), spoil=no_digests)[1]
        if len(silent) > n // 200:
            break
    report.control("no digests: wrong in silence", len(silent))


@contextlib.contextmanager
def no_digests():
    """Believe what is read."""
    from genesis_trio.errors import CorruptError
    from genesis_trio.persistence import _envelope
    from genesis_trio.persistence._ledger import Ledger as Books

    def read_unchecked(self, digest):
        body = self.engine.read_part(self.scope, digest)
        if body is None:
            raise CorruptError("a part is missing")
        return body

    _envelope._digest_row = lambda *_: bytes(16)
    _envelope._link = lambda *_: bytes(16)
    Books.read_part = read_unchecked
    yield


BITS_OF_A_VICTIM = 100


if __name__ == "__main__":
    main("flips", run, n=1000)
