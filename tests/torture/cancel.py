"""Callers cancelled at a random moment while what they asked for is on its way to the disk.

Proved: a caller that got a sequence finds its record, one that was cancelled does not, and nothing is applied that is
not recorded.  Not proved: anything about processes that are killed, for which nobody is told an outcome.
Control: a store whose callers are not shielded.
"""

import contextlib
from functools import partial

import trio

from genesis_trio import open_store

from .lab import fresh, main, run_victim
from .load import Fill

A = "desk/0"
AT_ONCE = 8


async def cancel_at_random(url, tell, n, rng):
    """Tell what each of *n* callers was told, and then what there is."""
    applied = set()

    async def call(store, number, begin, steps, pause):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_later, scope, steps, pause)
                told = "cancelled"
                # A caller that is not shielded is cancelled here, and knows nothing.
                with contextlib.suppress(trio.Cancelled):
                    await take_steps(begin)
                    await store.record(A, Fill(number), key=str(number), apply=lambda _: applied.add(number))
                    told = "recorded"
                nursery.cancel_scope.cancel()
        tell(f"{told} {number}")

    async with open_store(url) as store:
        for begin in range(0, n, AT_ONCE):
            if begin == AT_ONCE:
                # The first keyed record has the keys of its component checked, which a cancellation cuts.  On a busy machine
                # that would be every one: from here on it is done, and Trio's steps alone decide who is in time.
                await store.record(A, Fill(n), key=str(n), apply=lambda _: applied.add(n))
            async with trio.open_nursery() as nursery:
                for number in range(begin, min(n, begin + AT_ONCE)):
                    pause = rng.choice((0.0, 0.0, rng.uniform(0, 0.001)))
                    nursery.start_soon(call, store, number, rng.randrange(4), rng.randrange(12), pause)
        async with store.replay(A, Fill) as records:
            async for _, fill in records:
                tell(f"found {fill.number}")
    for number in applied:
        tell(f"applied {number}")


async def take_steps(count):
    for _ in range(count):
        await trio.lowlevel.checkpoint()


async def cancel_later(scope, steps, pause):
    await take_steps(steps)
    if pause:
        await trio.sleep(pause)
    scope.cancel()


def play(folder, n, rng, *, spoil=contextlib.nullcontext):
    url = f"sqlite:{fresh(folder / 'store') / 'desk.db'}"

    def live(tell):
        with spoil():
            trio.run(partial(cancel_at_random, url, tell, n, rng))

    lines, _ = run_victim(live)
    known = {word: set() for word in ("recorded", "cancelled", "found", "applied", "error")}
    for line in lines:
        word, _, rest = line.partition(" ")
        known[word].add(rest)
    return known


def run(report, n, rng, folder):
    known = play(folder, n, rng)
    report.add("calls", n)
    report.add("recorded", len(known["recorded"]))
    report.add("cancelled", len(known["cancelled"]))
    report.require("without an answer", n - len(known["recorded"]) - len(known["cancelled"]))
    report.require("told as recorded and not there", len(known["recorded"] - known["found"]))
    report.require("told as cancelled and there all the same", len(known["cancelled"] & known["found"]))
    report.require("applied and not there, or the other way round", len(known["applied"] ^ known["found"]))
    report.require("errors", len(known["error"]))
    report.control("calls of each kind", min(len(known["recorded"]), len(known["cancelled"])))
    broken = play(folder, max(200, n // 4), rng, spoil=without_shield)
    report.control("no shield: cancelled and there all the same", len(broken["cancelled"] & broken["found"]))


@contextlib.contextmanager
def without_shield():
    from genesis_trio.persistence._writer import Request

    async def wait(self):
        while not self.is_done:
            await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        return self.operation.outcome

    Request.wait = wait
    yield


if __name__ == "__main__":
    main("cancel", run, n=5000)
