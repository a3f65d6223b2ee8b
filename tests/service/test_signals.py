"""Signals: the first one stops in order, whatever is under way, and the second hurries."""

import contextlib
import signal
import threading
import time

import pytest
import trio

from genesis_trio import ChildSpec, Lifecycle, Service, observe, run_service
from genesis_trio.service.signals import StopSignals
from service.parts import worker


async def never_ready(ctx):
    await ctx.wait_stopping()


async def stubborn(ctx):
    ctx.ready()
    await trio.sleep_forever()


@contextlib.contextmanager
def handlers_kept():
    """Both handlers are at the end what they were before."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def run_with_signals(children, *times, **settings):
    """Run a service, send SIGTERM at each of *times*, and return what happened with its time."""
    seen = []
    began = trio.current_time()

    def note(event):
        seen.append((round(event.time - began, 6), event.name, getattr(event, "child", getattr(event, "action", ""))))

    async def kill():
        for at in times:
            await trio.sleep_until(began + at)
            signal.raise_signal(signal.SIGTERM)

    with observe(note), handlers_kept():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            await run_service(Service("desk", children, store="memory:", **settings))
    return [event for event in seen if event[1] in ("child_ready", "child_stopped", "signal_received")]


async def test_signal_first_stops_children_in_reverse_order(autojump_clock):
    """One SIGTERM: the last started ends first, and run_service returns."""
    children = [ChildSpec(worker, name="a"), ChildSpec(worker, name="b", requires=["a"])]

    assert await run_with_signals(children, 3) == [
        (0, "child_ready", "desk/a"),
        (0, "child_ready", "desk/b"),
        (3, "signal_received", "stop"),
        (3, "child_stopped", "desk/b"),
        (3, "child_stopped", "desk/a"),
    ]


async def test_signal_second_hurries_a_child_that_takes_its_time(autojump_clock):
    """The grace of a child that does not end by itself is cut short by the second signal."""
    happened = await run_with_signals([ChildSpec(stubborn, name="a", stop_grace=20)], 3, 5)

    assert happened[1:] == [
        (3, "signal_received", "stop"),
        (5, "signal_received", "hurry"),
        (5, "child_stopped", "desk/a"),
    ]


async def test_signal_during_the_start_stops_at_once_what_has_begun(autojump_clock):
    """Children that wait for one that is not ready are never started, and are not waited for."""
    children = [
        ChildSpec(worker, name="a"),
        ChildSpec(never_ready, name="b", requires=["a"]),
        ChildSpec(worker, name="c", requires=["b"]),
    ]

    assert await run_with_signals(children, 3) == [
        (0, "child_ready", "desk/a"),
        (3, "signal_received", "stop"),
        (3, "child_stopped", "desk/b"),
        (3, "child_stopped", "desk/a"),
    ]


async def test_signal_during_the_start_waits_for_no_grace_of_those_that_are_not_ready(autojump_clock):
    """Twenty that wait for their venue are gone at once, and who was ready has its grace."""

    async def connecting(ctx):
        await trio.sleep_forever()

    children = [ChildSpec(stubborn, name="ready", stop_grace=2)]
    children += [ChildSpec(connecting, name=f"c{n}", requires=["ready"], start_timeout=60) for n in range(20)]
    happened = await run_with_signals(children, 3)

    assert [at for at, name, _ in happened if name == "child_stopped"] == [3] * 20 + [5]


async def test_signal_during_the_start_lets_whoever_waits_for_it_go_on(autojump_clock):
    """`nursery.start` returns the supervisor, which stops, instead of failing."""
    async with trio.open_nursery() as nursery:

        async def kill():
            await trio.sleep(3)
            signal.raise_signal(signal.SIGTERM)

        nursery.start_soon(kill)
        desk = await nursery.start(run_service, Service("desk", [ChildSpec(never_ready, name="a")], store="memory:"))
        assert trio.current_time() == 3
    assert desk.children["a"].status is Lifecycle.STOPPED


async def test_signal_before_the_store_is_open_lets_nothing_begin(autojump_clock):
    """What came first counts: no child is started after somebody asked to stop."""
    from genesis_trio.service.running import serve

    signals = StopSignals()
    seen = []
    with signals.caught(), observe(seen.append):
        signal.raise_signal(signal.SIGTERM)
        await serve(Service("desk", [ChildSpec(worker, name="a")], store="memory:"), signals)

    assert seen == []


def test_signal_before_the_loop_runs_is_noted_and_raises_nothing():
    """Whoever waits for it hears of it later; the first one says what the process ends with."""
    signals = StopSignals()
    with handlers_kept(), signals.caught():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)

    assert signals.received == [signal.SIGINT, signal.SIGTERM]
    assert signals.interrupted


def test_signal_in_another_thread_is_somebody_elses():
    """A service that is embedded in a thread runs, and touches no handler."""
    outcome = []

    async def job(ctx):
        await trio.lowlevel.checkpoint()

    def embedded():
        trio.run(run_service, Service("desk", [ChildSpec(job, name="job")], store="memory:"))
        outcome.append("ended")

    with handlers_kept():
        thread = threading.Thread(target=embedded)
        thread.start()
        thread.join()

    assert outcome == ["ended"]


def test_signal_breaks_code_that_blocks_the_loop():
    """When the loop has not heard of Ctrl-C for a second, the next one is raised in the code that blocks it."""

    reached = []

    async def blocking(ctx):
        ctx.ready()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # too soon: it may hear yet
        reached.append("still here")
        time.sleep(1.1)  # blocks the loop on purpose, longer than the limit
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")

    with pytest.raises(KeyboardInterrupt):
        trio.run(run_service, Service("desk", [ChildSpec(blocking, name="a")], store="memory:"))

    assert reached == ["still here"]
