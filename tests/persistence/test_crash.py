"""Kills and flipped bits: nothing acknowledged is lost, and nothing wrong is believed."""

import logging
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from genesis_trio import open_store
from genesis_trio.errors import GenesisError
from persistence.desk import Fill, Ledger, Note, book

A = "desk/ledger"
ROOT = Path(__file__).parents[2]

# Eight components record and one saves, as fast as they can; every acknowledgement is printed.
LOAD = """
import sys, trio
sys.path.insert(0, "tests")
from genesis_trio import open_store
from persistence.desk import Fill, Ledger

async def work(store, name):
    ledger = (await store.load(name, Ledger, make=Ledger)).state
    ledgers[name] = ledger
    while True:
        fill = Fill(len(ledger.entries) + 1)
        key = f"{name} {fill.quantity}"
        sequence = await store.record(name, fill, key=key, apply=lambda _, fill=fill: ledger.apply(fill))
        print("record", name, sequence, flush=True)

async def save(store):
    while True:
        info = await store.create_checkpoint(dict(ledgers))
        print("saved", "-", info.sequence, flush=True)
        await store.prune(keep=3)

async def main(url):
    async with open_store(url) as store, trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(work, store, f"desk/{number}")
        while len(ledgers) < 8:
            await trio.sleep(0.001)
        nursery.start_soon(save, store)

ledgers = {}
trio.run(main, sys.argv[1])
"""


def run_until_killed(url, lines):
    """Kill the load once it has acknowledged so much; what it acknowledged, component to last sequence."""
    acknowledged, saved = {}, 0
    with subprocess.Popen([sys.executable, "-c", LOAD, url], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        for _ in range(lines):
            line = process.stdout.readline()
            assert line, "the load ended by itself"
        process.send_signal(signal.SIGKILL)
        # What it had printed before it died counts, too.
        for text in [line, *process.stdout]:
            parts = text.split()
            if len(parts) == 3 and text.endswith("\n"):
                kind, name, number = parts
                if kind == "record":
                    acknowledged[name] = max(acknowledged.get(name, 0), int(number))
                else:
                    saved = max(saved, int(number))
    return acknowledged, saved


async def test_crash_kill_under_load_loses_nothing_acknowledged(tmp_path):
    """After each kill -9 every acknowledged record is there, once, and the newest acknowledged checkpoint as well."""
    url = f"sqlite:{tmp_path / 'desk.db'}"
    for lines in (150, 400, 650):
        acknowledged, saved = run_until_killed(url, lines)
        assert acknowledged
        async with open_store(url) as store:
            assert store.damage == ()
            for name, sequence in acknowledged.items():
                loaded = await store.load(name, Ledger, make=Ledger)
                assert loaded.journal >= sequence
                assert loaded.state.entries == list(range(1, loaded.journal + 1))
                assert (loaded.lost, loaded.fell_back_from) == (0, ())
            assert (await store.list_checkpoints())[0].sequence >= saved
            assert (await store.verify()).ok


# ------------------------------------------------------------------ flipped bits


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


async def test_crash_flipped_bits_are_never_believed(autojump_clock, tmp_path, caplog):
    """Over hundreds of flipped bits in database, WAL and head, every answer is right, or something is told with it."""
    caplog.set_level(logging.CRITICAL)
    await fill(f"sqlite:{tmp_path / 'whole' / 'desk.db'}")
    rng = random.Random(20261124)
    right = {kind: await look_at(tmp_path / kind, tmp_path / "probe", None) for kind in ("killed", "closed")}
    assert not any(noticed for answers in right.values() for _, noticed in answers.values())
    told = 0
    for _ in range(300):
        kind = rng.choice(("killed", "closed"))
        files = {file.name: file.stat().st_size for file in sorted((tmp_path / kind).iterdir())}
        name = rng.choice(list(files))
        where = (name, rng.randrange(files[name]), rng.randrange(8))
        answers = await look_at(tmp_path / kind, tmp_path / "probe", where)
        if answers is None:
            told += 1  # refused as a whole
            continue
        for question, (answer, noticed) in answers.items():
            assert noticed or answer == right[kind][question][0], f"{question} is wrong in silence, at {kind} {where}"
        told += any(noticed for _, noticed in answers.values())
    assert told > 30  # else the bits hit nothing that matters


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


@pytest.fixture(autouse=True)
def _small_reserve(monkeypatch):
    """Hundreds of stores are opened here: their reserves would only take time."""
    monkeypatch.setattr("genesis_trio.persistence.engines.sqlite.SqliteEngine.recover_room", lambda self, size: True)
