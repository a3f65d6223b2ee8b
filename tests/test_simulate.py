"""simulate(): one seed, one run."""

import contextlib
import json
import os
import random
import subprocess
import sys
import textwrap
import threading
import types
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
import trio.testing

from genesis_trio import Event, Mode, current_scope, observe
from genesis_trio._runtime import current_run, run_blocking, utcnow
from genesis_trio.events import CauseHeld
from genesis_trio.testing import _determinism, simulate


async def crowd() -> list[Any]:
    """Everything that has an order: ties, channels, locks, crashes, timeouts, and what is drawn in that order."""
    seen: list[Any] = []
    send, receive = trio.open_memory_channel[int](2)
    lock, event = trio.Lock(), trio.Event()

    async def sleeper(number: int) -> None:
        for _ in range(5):
            await trio.sleep(1)  # all at the same moment: only the scheduler decides
            seen.append((trio.current_time(), "sleeper", number, current_run().rng.random()))

    async def producer(number: int) -> None:
        async with send.clone() as own:
            for count in range(5):
                await own.send(10 * number + count)

    async def consumer(number: int) -> None:
        async with receive.clone() as own:
            async for item in own:
                seen.append((trio.current_time(), "consumer", number, item))
                await trio.sleep(current_run().rng.choice([0.0, 0.1, 0.1]))

    async def holder(number: int) -> None:
        await event.wait()
        async with lock:
            seen.append(("holder", number))
            await trio.lowlevel.checkpoint()

    async def failing(number: int) -> None:
        try:
            await trio.sleep(2)
        finally:
            seen.append(("failing", number))
        raise ValueError(number)

    async with trio.open_nursery() as nursery:
        for number in range(8):
            for fn in (sleeper, producer, consumer, holder):
                nursery.start_soon(fn, number)
        await trio.sleep(1)
        event.set()
        try:
            async with trio.open_nursery() as fragile:
                for number in range(4):
                    fragile.start_soon(failing, number)
        except* ValueError as group:
            seen.append(("group", [str(error) for error in group.exceptions]))
        await send.aclose()
        await receive.aclose()
    return seen


def in_a_process(seed: int, hash_seed: str) -> str:
    """The trace of `crowd` from a fresh interpreter with its own hashes and a heap laid out differently."""
    script = f"""
        import json, os, sys
        noise = [bytearray(size) for size in os.urandom(150)]
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from genesis_trio.testing import simulate
        from test_simulate import crowd
        print(json.dumps(simulate(crowd, seed={seed})))
    """
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


# ------------------------------------------------------------------ the promise


def test_simulate_same_seed_in_separate_processes_gives_the_same_trace() -> None:
    """Neither the hash seed nor the layout of memory shows in a run: the same seed, the same bytes."""
    traces = {in_a_process(7, hash_seed) for hash_seed in ("0", "1", "42", "random")}

    assert len(traces) == 1


def test_simulate_same_seed_in_this_process_gives_the_trace_of_another_one() -> None:
    """Nor does what this process did before."""
    here = simulate(crowd, seed=7)

    assert json.dumps(here) + "\n" == in_a_process(7, "3")


def test_simulate_different_seeds_give_different_orders() -> None:
    """Another seed is another run, also where only the order of ready tasks can differ."""

    async def order() -> tuple[int, ...]:
        woken: list[int] = []

        async def wake(number: int) -> None:
            await trio.sleep(1)
            woken.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(wake, number)
        return tuple(woken)

    orders = [simulate(order, seed=seed) for seed in (-1, 0, 1, 2, 2**70)]

    assert len(set(orders)) == len(orders)
    assert {tuple(sorted(each)) for each in orders} == {tuple(range(20))}


def test_simulate_same_seed_gives_the_same_events() -> None:
    """Observers see the same events at the same times."""

    async def degrade() -> list[dict[str, Any]]:
        events: list[Event] = []
        with observe(events.append):
            for number in range(3):
                await trio.sleep(current_run().rng.random())
                with current_scope().hold(Mode.SAFE, owner="test", reason=f"reason {number}"):
                    await trio.sleep(1)
        return [dict(event.as_dict()) for event in events]

    first, second = simulate(degrade, seed=1), simulate(degrade, seed=1)

    assert first == second
    assert sum(event["event"] == CauseHeld.name for event in first) == 3
    assert first != simulate(degrade, seed=2)


# ------------------------------------------------------------------ what main finds


def test_simulate_hours_pass_in_no_time() -> None:
    """Virtual time begins at 0 and jumps to the next deadline when all wait."""

    async def wait_a_day() -> tuple[float, float]:
        started = trio.current_time()
        await trio.sleep(86400.0)
        # Waiting a real moment before each jump would make long simulations slow and prove nothing.
        assert trio.lowlevel.current_clock().autojump_threshold == 0
        return started, trio.current_time()

    assert simulate(wait_a_day, seed=0) == (0.0, 86400.0)


def test_simulate_arguments_and_result_are_handed_through() -> None:
    """`main` gets the arguments, the caller gets its result."""

    async def main(*args: object) -> tuple[object, ...]:
        await trio.lowlevel.checkpoint()
        return args

    assert simulate(main, 1, "two", seed=0) == (1, "two")


def test_simulate_wall_clock_is_the_epoch_plus_virtual_time() -> None:
    """The wall clock begins at the epoch, whatever day it is, and moves with virtual time."""
    epoch = datetime(2031, 5, 17, 12, tzinfo=UTC)

    async def main() -> list[datetime]:
        before = utcnow()
        await trio.sleep(90.5)
        return [before, utcnow()]

    assert simulate(main, seed=0, epoch=epoch) == [epoch, epoch + timedelta(seconds=90.5)]
    assert simulate(main, seed=0) == simulate(main, seed=1)


def test_simulate_wall_clock_begins_with_the_run_not_with_the_first_look() -> None:
    """Whether somebody looked at it before does not move it: causes and messages carry its times."""
    epoch = datetime(2031, 5, 17, 12, tzinfo=UTC)

    async def main() -> datetime:
        await trio.sleep(4.0)
        return utcnow()

    assert simulate(main, seed=0, epoch=epoch) == epoch + timedelta(seconds=4)


def test_simulate_randomness_of_the_run_follows_the_seed() -> None:
    """The tree's source is a `random.Random` of that seed."""

    async def main() -> float:
        return current_run().rng.random()

    assert simulate(main, seed=3) == random.Random(3).random()


def test_simulate_blocking_work_runs_inline() -> None:
    """No thread is started for blocking work, so no virtual time passes meanwhile."""

    async def main() -> tuple[bool, float]:
        thread = await run_blocking(threading.current_thread)
        return thread is threading.current_thread(), trio.current_time()

    assert simulate(main, seed=0) == (True, 0.0)


def test_simulate_module_random_is_seeded_and_restored() -> None:
    """A library that draws from the module `random` is reproducible inside and undisturbed outside."""

    async def main() -> float:
        return random.random()

    before = random.getstate()

    first, second, other = simulate(main, seed=1), simulate(main, seed=1), simulate(main, seed=2)

    assert first == second != other
    assert random.getstate() == before


# ------------------------------------------------------------------ errors


def test_simulate_error_of_main_comes_out_bare() -> None:
    """What `main` raises is what the caller catches, the same object and in no group."""
    error = KeyError("order 1")

    async def main() -> None:
        await trio.sleep(1)
        raise error

    with pytest.raises(KeyError) as caught:
        simulate(main, seed=0)

    assert caught.value is error


def test_simulate_inside_of_a_run_is_refused() -> None:
    """Called from async code it says what to do instead; Trio's own message would not."""

    async def main() -> None:
        simulate(main, seed=0)

    with pytest.raises(RuntimeError, match=r"called inside of one; call it from a plain function"):
        trio.run(main)


def test_simulate_beside_another_thread_is_refused() -> None:
    """The scheduler's switch belongs to the process, so a second simulation at the same time would spoil both."""
    caught: list[BaseException] = []

    def second() -> None:
        try:
            simulate(trio.sleep, 0, seed=0)
        except RuntimeError as error:
            caught.append(error)

    async def main() -> None:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()

    simulate(main, seed=0)

    assert [str(error).split(",")[0] for error in caught] == ["simulate() is running in another thread"]


@pytest.mark.parametrize("seed", [1.0, "1", None, True])
def test_simulate_seed_of_wrong_type_is_a_type_error(seed: Any) -> None:
    """A seed is an int: a float or a bool hints at swapped arguments."""
    with pytest.raises(TypeError, match=r"seed must be an int, got"):
        simulate(trio.sleep, 0, seed=seed)


def test_simulate_epoch_of_wrong_type_is_a_type_error() -> None:
    """A timestamp is not a datetime."""
    with pytest.raises(TypeError, match=r"epoch must be a datetime, got 0\.0"):
        simulate(trio.sleep, 0, seed=0, epoch=0.0)  # type: ignore[arg-type]


def test_simulate_naive_epoch_is_a_value_error() -> None:
    """A naive datetime would mean another moment on each machine."""
    with pytest.raises(ValueError, match=r"epoch must be an aware datetime"):
        simulate(trio.sleep, 0, seed=0, epoch=datetime(2026, 1, 1))  # noqa: DTZ001 - the naive one is the case


# ------------------------------------------------------------------ Trio's private switch


def test_determinism_installed_trio_has_the_switch() -> None:
    """Fails loudly on a Trio whose scheduler is another one: simulate() then needs to be thought through again."""
    module = _determinism.scheduler()

    assert module is trio._core._run
    assert isinstance(module._ALLOW_DETERMINISTIC_SCHEDULING, bool)


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("switch", [False, True])
def test_determinism_switch_and_source_are_restored(fail: bool, switch: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the run Trio is as it was, also when the run failed."""
    run = trio._core._run
    monkeypatch.setattr(run, "_ALLOW_DETERMINISTIC_SCHEDULING", switch)  # pytest-trio sets it as well
    before = run._ALLOW_DETERMINISTIC_SCHEDULING, run._r, run._r.getstate()

    async def main() -> None:
        assert run._ALLOW_DETERMINISTIC_SCHEDULING is True
        assert run._r is not before[1]
        if fail:
            raise ValueError("as asked")

    with pytest.raises(ValueError) if fail else contextlib.nullcontext():
        simulate(main, seed=0)

    assert (run._ALLOW_DETERMINISTIC_SCHEDULING, run._r, run._r.getstate()) == before
    simulate(trio.sleep, 0, seed=0)  # and the next one may begin


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        ({}, "_ALLOW_DETERMINISTIC_SCHEDULING and _r"),
        ({"_r": random.Random()}, "_ALLOW_DETERMINISTIC_SCHEDULING"),
        ({"_ALLOW_DETERMINISTIC_SCHEDULING": False}, "_r"),
        ({"_ALLOW_DETERMINISTIC_SCHEDULING": False, "_r": object()}, "_r"),
    ],
)
def test_determinism_trio_without_the_switch_is_refused(
    names: dict[str, object], missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Trio that lacks a part is refused with the part's name and the versions that have it."""
    other = types.SimpleNamespace(unrolled_run=trio._core._run.unrolled_run, **names)
    monkeypatch.setattr(trio._core, "_run", other)

    with pytest.raises(RuntimeError) as caught:
        simulate(trio.sleep, 0, seed=0)

    assert f"its scheduler no longer uses {missing}, by which" in str(caught.value)
    assert trio.__version__ in str(caught.value)


def test_determinism_switch_that_the_loop_ignores_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that are left over while the loop has gone another way are not enough."""

    def unrolled_run() -> None:
        """A loop that orders its tasks in another way."""

    monkeypatch.setattr(trio._core._run, "unrolled_run", unrolled_run)

    with pytest.raises(RuntimeError, match=r"no longer uses _ALLOW_DETERMINISTIC_SCHEDULING and _r"):
        simulate(trio.sleep, 0, seed=0)
