"""Entry actions over restarts of the process: what was done is done, and what nobody knows is said."""

import os
import select
import subprocess
import sys
import textwrap
import time

import pytest
import trio

from genesis_trio import Mode, observe, open_store, open_supervisor
from modes.entry_actions import NAMES, Flatten
from supervision.desk import QUIET, Log, saved_desk


async def restart_with(url, flatten, log, *, hold=False, clear=False):
    with observe(log):
        async with saved_desk(url) as desk:
            desk.scope.on_enter(Mode.EMERGENCY, flatten)
            if hold:
                desk.scope.hold(Mode.EMERGENCY, owner="risk", reason="kill switch", latched=True)
            await trio.sleep(1)
            if clear:
                desk.scope.clear("risk", "kill switch", by="operator")
                await desk.scope.settled()
            mode = desk.scope.mode
            await desk.stop()
            return mode


async def test_on_enter_restart_in_the_mode_runs_nothing_again(autojump_clock, tmp_path):
    """The latch comes back and the action does not, until the mode was left and entered anew."""
    url, flatten, log = f"sqlite:{tmp_path / 'desk.db'}", Flatten(), Log()

    assert await restart_with(url, flatten, log, hold=True) is Mode.EMERGENCY
    assert await restart_with(url, flatten, log) is Mode.EMERGENCY
    assert len(flatten.began) == 1
    assert await restart_with(url, flatten, log, clear=True) is Mode.NORMAL
    assert await restart_with(url, flatten, log, hold=True) is Mode.EMERGENCY
    assert len(flatten.began) == 2
    assert [event.name for event in log.named(*NAMES)] == ["entry_action_started", "entry_action_done"] * 2


async def test_on_enter_restart_after_an_unfinished_run_says_so(autojump_clock, tmp_path):
    """Nobody knows what a run did that was killed: it is not repeated, and an error event asks for a human."""
    url, flatten, log = f"sqlite:{tmp_path / 'desk.db'}", Flatten(), Log()
    await restart_with(url, flatten, Log(), hold=True)
    async with open_store(url) as store:
        await store.put_control('entry/["desk", "EMERGENCY", "desk", "flatten"]', b"begun").wait()

    await restart_with(url, flatten, log)

    assert len(flatten.began) == 1
    (event,) = log.named(*NAMES)
    assert (event.name, event.scope, event.mode, event.action) == (
        "entry_action_unknown",
        "desk",
        "EMERGENCY",
        "flatten",
    )


async def test_on_enter_note_without_its_latch_is_forgotten(autojump_clock, tmp_path):
    """A note of an episode that is over does not keep the next one from its action."""
    url, flatten = f"sqlite:{tmp_path / 'desk.db'}", Flatten()
    async with open_store(url) as store:
        await store.put_control('entry/["desk", "EMERGENCY", "desk", "flatten"]', b"done").wait()

    await restart_with(url, flatten, Log(), hold=True)

    assert len(flatten.began) == 1


async def test_on_enter_old_note_does_not_hide_an_entry_before_the_registration(autojump_clock, tmp_path):
    """A note counts for the episode it was made in, also for who registers late in the next one."""
    url, flatten = f"sqlite:{tmp_path / 'desk.db'}", Flatten()
    async with open_store(url) as store:
        await store.put_control('entry/["desk", "EMERGENCY", "desk", "flatten"]', b"done").wait()

    async with saved_desk(url) as desk:
        desk.scope.hold(Mode.EMERGENCY, owner="risk", reason="kill switch", latched=True)
        desk.scope.on_enter(Mode.EMERGENCY, flatten)
        await trio.sleep(1)
        await desk.stop()

    assert len(flatten.began) == 1


async def test_on_enter_leaving_the_mode_leaves_no_note(autojump_clock):
    """The store does not fill with what is over, whether it was left during the run or after it."""
    flatten = Flatten(2)
    async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        desk.scope.on_enter(Mode.EMERGENCY, flatten)
        for seconds in (1, 5):
            with desk.scope.hold(Mode.EMERGENCY, reason="limit"):
                await trio.sleep(seconds)
            await trio.sleep(5)
            assert dict(await store.read_control()) == {}
        await desk.stop()
    assert flatten.ended == [2.0, 8.0]


async def test_on_enter_latch_without_a_note_runs_the_action(autojump_clock, tmp_path):
    """Killed between the write of the cause and the beginning of the action, the action is still to be done."""
    url, flatten = f"sqlite:{tmp_path / 'desk.db'}", Flatten()
    await restart_with(url, Flatten(), Log(), hold=True)
    async with open_store(url) as store:
        await store.put_control('entry/["desk", "EMERGENCY", "desk", "flatten"]', None).wait()

    await restart_with(url, flatten, Log())

    assert len(flatten.began) == 1


KILLED = """
    import sys
    import trio
    from genesis_trio import CheckpointPolicy, Mode, open_store, open_supervisor

    url, actions, acknowledged = sys.argv[1:]

    def say(path, text):
        with open(path, "a") as file:
            file.write(text + "\\n")

    async def flatten():
        say(actions, "begun")
        await trio.sleep(0.01)
        say(actions, "done")

    async def main():
        async with open_store(url) as store:
            async with open_supervisor("desk", store=store, checkpoint=CheckpointPolicy(every=None)) as desk:
                desk.scope.on_enter(Mode.EMERGENCY, flatten, name="flatten")
                print("up", desk.scope.mode.name, flush=True)
                await trio.sleep(0.002)
                desk.scope.hold(Mode.EMERGENCY, owner="risk", reason="kill switch", latched=True)
                await desk.scope.settled()
                say(acknowledged, "latched")
                print("latched", flush=True)
                await trio.sleep(60)

    trio.run(main)
"""


def read_line(process):
    """What the process says next; it has half a minute for that."""
    line = b""
    while not line.endswith(b"\n"):
        assert select.select([process.stdout], [], [], 30)[0], f"the process says nothing after {line!r}"
        line += os.read(process.stdout.fileno(), 1)
    return line.decode()


@pytest.mark.slow
def test_on_enter_killed_at_many_points_latch_is_kept_and_flatten_runs_once(tmp_path):
    """SIGKILL at any moment: what was acknowledged is latched, and no restart flattens twice."""
    script = tmp_path / "desk.py"
    script.write_text(textwrap.dedent(KILLED), encoding="utf-8")
    begun = []
    for number in range(4):
        url, actions, acknowledged = (
            f"sqlite:{tmp_path / f'{number}.db'}",
            tmp_path / f"{number}.a",
            tmp_path / f"{number}.k",
        )
        for delay in (0.008 * number, None, None):
            was_acknowledged = acknowledged.exists()
            with subprocess.Popen(
                [sys.executable, str(script), url, str(actions), str(acknowledged)], stdout=subprocess.PIPE
            ) as process:
                try:
                    said = read_line(process)
                    if delay is None:
                        read_line(process)
                    pause = 0.03 if delay is None else delay
                    time.sleep(pause)  # no event tells the moment of a kill: that is what varies here
                finally:
                    process.kill()
            if was_acknowledged:
                assert said == "up EMERGENCY\n"
        lines = actions.read_text(encoding="utf-8").split() if actions.exists() else []
        begun.append(lines.count("begun"))

    assert set(begun) <= {0, 1}
    assert 1 in begun
