"""A desk that is interrupted by Ctrl-C: run as a process, which forks one desk for each moment.

Each line that it prints is the report on one desk, as JSON: the moment, the exit status, what was acknowledged, what
stopped in which order, and what the store says afterwards.
"""

import contextlib
import dis
import faulthandler
import itertools
import json
import os
import random
import select
import signal
import sys
import time
import traceback
from pathlib import Path

import attrs
import trio

import genesis_trio
from genesis_trio import Backoff, Component, Topic, observe, open_store, open_supervisor, schema

PACKAGE = str(Path(genesis_trio.__file__).parent)
WATCHED = (PACKAGE, contextlib.__file__, __file__)
ORDER = ["desk/ledger", "desk/flaky", "desk/host", "desk/feed"]
QUICK = Backoff(base_delay=0.002, max_delay=0.002, jitter="none")


@schema("interrupted.fill")
@attrs.frozen
class Fill:
    number: int


@schema("interrupted.book")
@attrs.define
class Book:
    numbers: list[int] = attrs.Factory(list)

    def apply(self, fill: Fill) -> None:
        self.numbers.append(fill.number)


FILLS = Topic("interrupted.fills", Fill)

#: Seconds after Ctrl-C; one that is still there then hangs, and says where.
PATIENCE = 20.0

AWAITING = {"SEND", "YIELD_VALUE", "RESUME", "JUMP_BACKWARD_NO_INTERRUPT", "END_SEND", "ASYNC_GEN_WRAP"}


class Desk:
    """What one desk does, and what it says about it in the end."""

    def __init__(self, report: int) -> None:
        self.report = report
        self.stopped: list[str] = []
        self.crashed: set[int] = set()

    def say(self, *words: object) -> None:
        os.write(self.report, (" ".join(map(str, words)) + "\n").encode())

    def note(self, event: object) -> None:
        if event.name == "child_stopped":
            self.stopped.append(event.child)

    async def main(self, url: str) -> None:
        desk = self

        class Ledger(Component[Book]):
            async def run(self, ctx):
                async with ctx.subscribe(FILLS) as fills:
                    ctx.ready()
                    async for fill in fills:
                        await ctx.record(fill)
                        desk.say("ack", fill.number)
                        if fill.number % 7 == 0 and fill.number not in desk.crashed:
                            desk.crashed.add(fill.number)
                            raise OSError("the ledger failed")

        async def flaky(ctx):
            ctx.ready()
            await trio.sleep(0.003)
            raise OSError("it does that")

        async def leaf(ctx):
            ctx.ready()
            await ctx.wait_stopping()

        async def host(ctx):
            async with open_supervisor("inner") as inner:
                await inner.start(leaf, name="leaf")
                ctx.ready()
                await ctx.wait_stopping()

        async def feed(ctx):
            ctx.ready()
            for number in itertools.count(1):
                await ctx.send(FILLS, Fill(number))
                await trio.sleep(0.0005)
                if ctx.stopping:
                    return

        settings = {"max_restarts": 100, "within": 0.21, "backoff": QUICK, "shutdown_timeout": 5.0}
        async with open_store(url) as store, open_supervisor("desk", store=store, **settings) as supervisor:
            await supervisor.start(Ledger, name="ledger")
            await supervisor.start(flaky, name="flaky")
            await supervisor.start(host, name="host")
            await supervisor.start(feed, name="feed")
            self.say("running")
            while True:
                await trio.sleep(0.01)
                await supervisor.create_checkpoint()


def run(desk: Desk, url: str) -> int:
    """The desk, as a program's main function would run it; the exit status."""
    with observe_in_run(desk):
        try:
            trio.run(desk.main, url)
        except KeyboardInterrupt:
            desk.say("stopped", json.dumps(desk.stopped))
            return 130
        except BaseException:
            desk.say("raised", json.dumps(traceback.format_exc()))
            return 1
    return 0


@contextlib.contextmanager
def observe_in_run(desk: Desk):
    plain = desk.main

    async def main(url):
        with observe(desk.note):
            await plain(url)

    desk.main = main
    yield


def is_waiting(frame) -> bool:
    """True if *frame* is about to wake, or to be woken by, what it awaits.

    The interpreter looks for signals at none of these instructions, so only a tracer can raise there: it
    would leave the coroutine inside suspended for good, with its nurseries open.
    """
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] in AWAITING


def interrupt_at_line(moment: int, desk: Desk) -> None:
    """Send SIGINT before the *moment*-th line of ours, of contextlib or of the desk is run."""
    left = moment

    def trace(frame, what, argument):
        nonlocal left
        if not frame.f_code.co_filename.startswith(WATCHED):
            return None
        if what != "line" or is_waiting(frame):
            return trace
        left -= 1
        if left == 0:
            sys.settrace(None)
            desk.say("struck")
            os.kill(os.getpid(), signal.SIGINT)
        return trace

    sys.settrace(trace)


def one(folder: str, name: str, line: int | None, delay: float) -> dict[str, object]:
    """Fork a desk, interrupt it, and look at what it left."""
    url = f"sqlite:{folder}/{name}.db"
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        status = 70
        try:
            faulthandler.register(signal.SIGUSR1, file=writing)
            desk = Desk(writing)
            desk.say("go")
            if line is not None:
                interrupt_at_line(line, desk)
            status = run(desk, url)
        except KeyboardInterrupt:
            status = 130  # before the loop began, or after its end
        finally:
            os._exit(status)
    os.close(writing)
    # A line that does not come on a slow machine is no interruption lost: then the signal comes from here.
    begun = hear(reading, b"go\n", 20.0)
    if line is None:
        time.sleep(delay)
        os.kill(pid, signal.SIGINT)
    else:
        begun = hear(reading, b"struck\n", 3.0, begun)
        if b"struck\n" not in begun:
            os.kill(pid, signal.SIGINT)
    began = time.monotonic()
    said = hear(reading, None, PATIENCE, begun)
    stacks = ""
    if time.monotonic() - began >= PATIENCE:
        os.kill(pid, signal.SIGUSR1)
        stacks = hear(reading, None, 2.0).decode()
    os.kill(pid, signal.SIGKILL)  # when it hangs; otherwise it has ended
    os.close(reading)
    lines = said.decode().splitlines(keepends=True)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    acknowledged = [int(text.split()[1]) for text in lines if text.startswith("ack ")]
    stopped = next((json.loads(text.split(" ", 1)[1]) for text in lines if text.startswith("stopped ")), None)
    raised = next((json.loads(text.split(" ", 1)[1]) for text in lines if text.startswith("raised ")), None)
    ok, numbers = trio.run(look, url)
    return {
        "moment": line if line is not None else delay,
        "status": status,
        "running": "running\n" in lines,
        "stopped": stopped,
        "raised": raised or stacks,
        "acknowledged": acknowledged,
        "ok": ok,
        "numbers": numbers,
    }


def hear(pipe: int, until: bytes | None, seconds: float, heard: bytes = b"") -> bytes:
    """What came through *pipe*, up to a word, its end or so many seconds."""
    deadline = time.monotonic() + seconds
    while until is None or until not in heard:
        if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            break
        more = os.read(pipe, 65536)
        if not more:
            break
        heard += more
    return heard


async def look(url: str) -> tuple[bool, list[int]]:
    async with open_store(url) as store:
        loaded = await store.load("desk/ledger", Book, make=Book)
        return (await store.verify()).ok, loaded.state.numbers


def main() -> None:
    folder, kind, moments, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    rng = random.Random(seed)
    for number in range(moments):
        if kind == "line":
            # Half of them while it starts, where most of the lines that run only once are.
            line = rng.randrange(1, 4_000) if number % 2 else rng.randrange(4_000, 12_000)
            report = one(folder, f"line{number}", line, 0.0)
        else:
            report = one(folder, f"time{number}", None, rng.uniform(0.0, 0.3))
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
