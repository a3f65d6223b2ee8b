"""Killed at every statement and at every system call while files are made, and while old state is brought up.

A store's tables are made in one transaction; state of an older version is brought up when it is loaded, and is
written in its new form by the next saved checkpoint.
Proved: after a kill anywhere in between, the next start finds either what was before or what came after, and goes on.
Not proved: changes of the file's own format, of which there is one so far.
Control: making the tables without a transaction.
"""

import contextlib
import os
import shutil
import sqlite3
from functools import partial

import attrs
import trio

from .lab import ANY, DIE, Violated, fresh, main, run_victim, shim
from .load import Tally, work


async def only_open(url, tell):
    from genesis_trio import open_store

    async with open_store(url):
        tell("there")


def die_at_statement(number):
    """Let this process end at its *number*-th SQL statement."""
    counter = [0]

    class Counting(sqlite3.Connection):
        def execute(self, *args):
            counter[0] += 1
            if counter[0] == number:
                os._exit(9)
            return super().execute(*args)

    connect = sqlite3.connect
    sqlite3.connect = lambda *args, **options: connect(*args, factory=Counting, **options)


def make_and_die(folder, at, how, spoil):
    """Whether the process came to the end of making a store; then another one works with what is there."""
    store = fresh(folder / "store")
    url = f"sqlite:{store / 'desk.db'}"

    def live(tell):
        with spoil():
            if how == "statement":
                die_at_statement(at)
            else:
                shim().lab_arm(ANY, DIE, 0, at)
            trio.run(only_open, url, tell)

    _, code = run_victim(live, folder=store)
    tally = Tally()
    for line in run_victim(lambda tell: trio.run(partial(work, url, tell, limit=2, saves=1)))[0]:
        tally.take(line)
    return code == 0, tally


def make_everywhere(folder, how, step, *, spoil=contextlib.nullcontext, until_bad=False):
    at, died, bad, notes = 1, 0, 0, []
    while True:
        is_whole, tally = make_and_die(folder, at, how, spoil)
        works = tally.records == 8 and not tally.violations
        bad += not works
        notes += tally.notes
        if is_whole or (until_bad and bad):
            return died, bad, notes
        died += 1
        at += step


# ------------------------------------------------------------------ state of an older version


def define_old():
    from genesis_trio import schema

    @schema("torture.position")
    @attrs.define
    class Position:
        amount: int = 0

    return Position


def define_new():
    from genesis_trio import migrates, schema

    @schema("torture.position", version=2)
    @attrs.define
    class Position:
        amount: int = 0
        history: list[str] = attrs.Factory(list)

    @migrates("torture.position", 1)
    def add_history(old: dict) -> dict:
        return {**old, "history": [f"was {old['amount']}"]}

    return Position


async def save_old(url, tell):
    from genesis_trio import open_store

    async with open_store(url) as store:
        for number in range(20):
            await store.create_checkpoint({f"position/{number}": define_old()(number)})
        tell("there")


async def bring_up(url, tell):
    """Load every state of the old version in the new one, and save it so."""
    from genesis_trio import open_store

    new = define_new()
    async with open_store(url) as store:
        for number in range(20):
            path = f"position/{number}"
            state = (await store.restore_latest(path, new)).state
            if state != new(number, [f"was {number}"]):
                tell(f"wrong {path} {state}")
            await store.create_checkpoint({path: state})
            await store.prune(keep=1)
        tell("up")


def bring_up_everywhere(folder, step):
    """Kill it at each of its system calls; what is then found must be whole."""
    source = fresh(folder / "old")
    run_victim(lambda tell: trio.run(save_old, f"sqlite:{source / 'desk.db'}", tell))
    store = folder / "store"
    url = f"sqlite:{store / 'desk.db'}"
    at, died, bad = 1, 0, 0

    def live(tell, at=0):
        if at:
            shim().lab_arm(ANY, DIE, 0, at)
        trio.run(bring_up, url, tell)

    while True:
        shutil.copytree(source, fresh(store), dirs_exist_ok=True)
        _, code = run_victim(partial(live, at=at), folder=store)
        lines, _ = run_victim(live)
        bad += lines != ["up"]
        if code == 0:
            return died, bad
        died += 1
        at += step


def run(report, n, rng, folder):
    step = max(1, n)
    died, bad, notes = make_everywhere(folder, "statement", max(1, step // 8))
    report.add("kills at a statement of making a store", died)
    report.require("stores that were of no use afterwards", bad)
    died, bad, notes = make_everywhere(folder, "call", step)
    report.add("kills at a system call of making a store", died)
    if bad:
        raise Violated(f"migration: {notes[:3]}")
    report.require("stores that were of no use after that", bad)
    died, bad = bring_up_everywhere(folder, step * 2)
    report.add("kills while old state was brought up", died)
    report.require("states that were wrong or refused afterwards", bad)
    _, bad, _ = make_everywhere(folder, "statement", 3, spoil=without_transaction, until_bad=True)
    report.control("without a transaction: stores of no use", bad)


@contextlib.contextmanager
def without_transaction():
    from genesis_trio.persistence.engines.sqlite import SqliteEngine

    @contextlib.contextmanager
    def transaction(self):
        yield self._db

    SqliteEngine._transaction = transaction
    yield


if __name__ == "__main__":
    main("migration", run, n=1, needs_shim=True)
