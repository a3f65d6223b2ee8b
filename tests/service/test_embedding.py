"""A service inside a program that is not its own: a Trio program, a sync one, one on asyncio."""

import asyncio
import subprocess
import sys
import textwrap
import threading

import pytest
import trio
from anyio.from_thread import start_blocking_portal

from genesis_trio import (
    ChildSpec,
    Mode,
    Service,
    StoreError,
    Topic,
    current_mode,
    current_scope,
    mode_scope,
    open_supervisor,
    run_service,
)

QUESTIONS = Topic("embedding.questions", str)


async def answerer(ctx):
    """Answers what it is asked, until it is to stop."""
    async with ctx.requests(QUESTIONS) as requests:
        ctx.ready()
        async for request in requests:
            request.reply(f"{request.message}!")


async def door(ctx):
    """What the program outside uses to speak with the inside."""
    ctx.ready(ctx)
    await ctx.wait_stopping()


def describe(log=None):
    async def stops_in_order(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        if log is not None:
            log.append(ctx.name)

    return Service(
        "desk",
        [
            ChildSpec(stops_in_order, name="first"),
            ChildSpec(answerer, name="answerer"),
            ChildSpec(door, name="door", requires=["answerer"]),
            ChildSpec(stops_in_order, name="last"),
        ],
        store="memory:",
    )


async def ask(supervisor, question):
    ctx = supervisor.children["door"].incarnation.context
    return await ctx.request(QUESTIONS, question, timeout=5.0)


# ------------------------------------------------------------------ in a Trio program


async def test_embedded_service_in_a_foreign_nursery_stops_in_order_when_that_is_cancelled(autojump_clock):
    """`nursery.start` gives the supervisor; the end of the nursery is an orderly stop."""
    log = []
    async with trio.open_nursery() as nursery:
        supervisor = await nursery.start(run_service, describe(log))
        assert await ask(supervisor, "hello") == "hello!"
        assert current_mode() is Mode.NORMAL
        nursery.cancel_scope.cancel()
    assert log == ["last", "first"]


async def test_embedded_service_failing_beside_a_foreign_task_is_stopped_in_order(autojump_clock):
    """The host's crash cancels the nursery, and the service still stops as it should."""
    log = []

    async def host():
        await trio.sleep(3)
        raise ValueError("the host failed")

    with pytest.RaisesGroup(ValueError):
        async with trio.open_nursery() as nursery:
            await nursery.start(run_service, describe(log))
            nursery.start_soon(host)
    assert log == ["last", "first"]
    assert trio.current_time() == 3.0


async def test_embedded_supervisor_leaves_the_context_of_its_host_alone(autojump_clock):
    """Inside the block the scope is the supervisor's; tasks started before, and those after it, have their own."""
    seen = []

    async def bystander(begin, end):
        await trio.sleep(begin)
        seen.append(current_scope().path)
        await trio.sleep(end - begin)
        seen.append(current_scope().path)

    with mode_scope("host") as host:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bystander, 1, 5)
            async with open_supervisor("desk") as desk:
                assert desk.scope.path == "host/desk"
                await desk.start(door, name="door")
                await trio.sleep(2)
                await desk.stop()
            assert current_scope() is host
        assert seen == ["host", "host"]


async def test_embedded_supervisor_opened_beside_another_has_its_bus_alone_and_the_mode_above(autojump_clock):
    """Two services in one program do not hear each other; who is opened in another's block obeys its mode as well."""
    async with open_supervisor("one") as one:
        await one.start(answerer, name="answerer")
        async with open_supervisor("two") as two:
            await two.start(door, name="door")
            assert two.scope.path == "one/two"
            one.scope.hold(Mode.SAFE, owner="test", reason="r")
            assert two.scope.mode is Mode.SAFE
            with pytest.raises(TimeoutError, match="no answer"):
                await ask(two, "anybody there?")
            await two.stop()
        await one.stop()


# ------------------------------------------------------------------ in a thread of another program


@pytest.mark.slow
def test_embedded_service_in_a_sync_program_through_a_portal():
    """A thread runs Trio; plain functions call into it, and leaving the block stops the service in order."""
    log = []
    with start_blocking_portal("trio") as portal:
        ended, supervisor = portal.start_task(run_service, describe(log))
        assert portal.call(ask, supervisor, "hello") == "hello!"
        hold = portal.call(lambda: supervisor.scope.hold(Mode.SAFE, owner="program", reason="maintenance"))
        assert supervisor.scope.mode is Mode.SAFE
        portal.call(hold.release)
        portal.call(supervisor.stop)
        assert ended.result(timeout=10) is None
    assert log == ["last", "first"]


@pytest.mark.slow
def test_embedded_service_in_a_sync_program_is_stopped_by_its_future():
    """Cancelling the future cancels the service, which stops in order before the thread ends."""
    log = []
    with start_blocking_portal("trio") as portal:
        ended, _ = portal.start_task(run_service, describe(log))
        ended.cancel()
    assert log == ["last", "first"]


@pytest.mark.slow
def test_embedded_supervisor_as_a_block_of_a_sync_program():
    """`wrap_async_context_manager` enters and leaves in one task, as a supervisor needs it."""
    with start_blocking_portal("trio") as portal:
        with portal.wrap_async_context_manager(open_supervisor("desk")) as desk:
            portal.call(lambda: desk.start(answerer, name="answerer"))
            portal.call(lambda: desk.start(door, name="door"))
            assert portal.call(ask, desk, "hello") == "hello!"
            portal.call(desk.stop)
    assert desk.statistics().ready == 0


@pytest.mark.slow
def test_embedded_service_in_an_asyncio_program():
    """asyncio runs in the main thread, Trio in another; futures connect them, and neither loop blocks."""
    log = []

    async def program():
        with start_blocking_portal("trio") as portal:
            ended, supervisor = await asyncio.to_thread(portal.start_task, run_service, describe(log))
            answers = await asyncio.gather(
                *(asyncio.wrap_future(portal.start_task_soon(ask, supervisor, name)) for name in "abc")
            )
            await asyncio.wrap_future(portal.start_task_soon(supervisor.stop))
            await asyncio.wrap_future(ended)
            return answers

    assert asyncio.run(program()) == ["a!", "b!", "c!"]
    assert log == ["last", "first"]


@pytest.mark.slow
def test_embedded_service_that_fails_raises_in_the_program():
    """What `run_service` raises comes out of its future, with its own type."""
    broken = Service("desk", [ChildSpec(door, name="door")], store="nowhere:")
    with start_blocking_portal("trio") as portal, pytest.raises(StoreError, match="no engine for the scheme 'nowhere'"):
        portal.start_task(run_service, broken)


HOST = """
    import os, signal
    import trio
    from genesis_trio import open_supervisor

    async def part(ctx):
        ctx.ready()
        await ctx.wait_stopping()

    async def main():
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async with open_supervisor("desk") as desk:
                await desk.start(part, name="x")
                os.kill(os.getpid(), signal.SIGTERM)
                async for _ in signals:
                    print("the host decides", desk.statistics().ready)
                    await desk.stop()
                    break

    trio.run(main)
"""


@pytest.mark.slow
def test_embedded_supervisor_leaves_signals_to_its_host():
    """Only `run_service` and `run` are about signals; a supervisor is a block like any other."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HOST)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "the host decides 1\n"


def test_embedded_call_that_fails_or_is_cancelled_ends_so_in_the_program():
    """An error keeps its type on the way out of the portal; a future that is cancelled withdraws the request."""
    begun = threading.Event()
    answers = []

    async def moody(ctx):
        async with ctx.requests(QUESTIONS) as requests:
            ctx.ready()
            async for request in requests:
                if request.message == "how much":
                    request.fail(LookupError("not traded"))
                elif request.message == "wait":
                    begun.set()
                    while request.is_open:  # noqa: ASYNC110 - no event tells that who asked is gone
                        await trio.sleep(0.001)
                    answers.append("withdrawn")
                else:
                    request.reply(f"{request.message}!")

    children = [ChildSpec(moody, name="answerer"), ChildSpec(door, name="door")]
    with start_blocking_portal("trio") as portal:
        ended, supervisor = portal.start_task(run_service, Service("desk", children, store="memory:"))
        with pytest.raises(LookupError, match="not traded"):
            portal.call(ask, supervisor, "how much")
        waiting = portal.start_task_soon(ask, supervisor, "wait")
        assert begun.wait(timeout=60)
        assert waiting.cancel()
        assert portal.call(ask, supervisor, "still there") == "still there!"
        assert answers == ["withdrawn"]
        portal.call(supervisor.stop)
        ended.result(timeout=60)


CTRL_C_HOST = """
    import asyncio, signal
    from anyio.from_thread import start_blocking_portal
    from genesis_trio import ChildSpec, Service, run_service

    async def part(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        print(ctx.name, flush=True)

    def service():
        return Service("desk", [ChildSpec(part, name="first"), ChildSpec(part, name="last")], store="memory:")

    def sync_program():
        with start_blocking_portal("trio") as portal:
            ended, _ = portal.start_task(run_service, service())
            signal.raise_signal(signal.SIGINT)
            ended.result()

    async def asyncio_program():
        with start_blocking_portal("trio") as portal:
            ended, _ = await asyncio.to_thread(portal.start_task, run_service, service())
            signal.raise_signal(signal.SIGINT)
            await asyncio.wrap_future(ended)

    try:
        {main}
    except KeyboardInterrupt:
        print("the host was interrupted")
"""


@pytest.mark.slow
@pytest.mark.parametrize("main", ["sync_program()", "asyncio.run(asyncio_program())"])
def test_embedded_service_ctrl_c_of_its_host_stops_it_in_order(main):
    """It reaches the program in the main thread; leaving the portal's block stops the service, last child first."""
    program = textwrap.dedent(CTRL_C_HOST).replace("{main}", main)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["last", "first", "the host was interrupted"]
