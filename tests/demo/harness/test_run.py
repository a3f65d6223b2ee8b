"""Runs against small processes that speak the same lines: real processes and real seconds, few of them."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

from genesis_trio.demo.faults import draw_plan, parse_plan
from genesis_trio.demo.harness import keepers
from genesis_trio.demo.harness import run as run_module
from genesis_trio.demo.harness.invariants import judge
from genesis_trio.demo.harness.measure import measure
from genesis_trio.demo.harness.processes import open_child
from genesis_trio.demo.harness.recorder import Recorder
from genesis_trio.demo.harness.recording import Recording
from genesis_trio.demo.harness.run import BARE, PROTECTED, Market, RunError, play

FAKES = Path(__file__).parent / "fakes"
DESK, VENUE = (sys.executable, str(FAKES / "desk.py")), (sys.executable, str(FAKES / "venue.py"))
FAKE_PROTECTED = attrs.evolve(PROTECTED, desk=DESK, exchange=VENUE)
FAKE_BARE = attrs.evolve(BARE, desk=DESK, exchange=VENUE, restart_delay=0.3)

pytestmark = pytest.mark.slow  # processes take real time


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fakes are quick, so what waits for them need not wait long."""
    monkeypatch.setattr(run_module, "SETTLE", 0.2)
    monkeypatch.setattr(run_module, "BEFORE_OPENING", 0.3)


def children_of_ours() -> set[int]:
    """Processes that this one has started and that still are."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.add(int(entry.name))
    return found


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """However a test ends, no process outlives it."""
    before = children_of_ours()
    yield
    assert children_of_ours() <= before


async def play_fakes(
    folder: Path, plan: str = "", *, seconds: float = 1.5, sides: tuple[run_module.Side, ...] = (FAKE_PROTECTED,)
) -> dict[str, Recording]:
    faults = draw_plan(parse_plan(plan, "plan"), seed=1, window=seconds)
    market = Market(start_minute=10.0, minutes=seconds, speed=60.0)
    return await play(market, faults, seed=7, folder=folder, sides=sides)


#: What depends on who else uses the machine; with hand-made recordings, test_invariants has these to the sample.
TIMING = {"every fault is overcome within its bound", "without a fault the desk is available"}


def broken(recording: Recording, *, timing: bool = False) -> list[str]:
    rules = judge(recording, measure(recording))
    return [str(each) for each in rules if not each.holds and (timing or each.rule not in TIMING)]


async def test_play_quiet_run_is_recorded_whole(tmp_path: Path) -> None:
    """Without faults everything holds, and modes, orders, positions and costs have been heard."""
    recording = (await play_fakes(tmp_path))["protected"]

    assert broken(recording) == []
    assert (measure(recording).availability or 0.0) > 0.3
    assert 0 < recording.lag < 5
    assert recording.ledger is not None
    assert len(recording.intents) == len(recording.ledger.fills) >= 5
    assert recording.position is not None
    assert recording.position.fills == len(recording.ledger.fills)
    assert (recording.guard_calls, recording.guard_nanoseconds) == (10, 250.0)
    assert [mode for _, mode in recording.modes] == ["NORMAL", "SAFE", "NORMAL", "down"]
    assert [(each.status, each.wanted) for each in recording.exits] == [(0, True)]


async def test_play_two_sides_run_at_the_same_time_with_their_own_venues(tmp_path: Path) -> None:
    """Protected and bare open at the same moment, and neither sees the other's orders; only one has a store."""
    recordings = await play_fakes(tmp_path, sides=(FAKE_PROTECTED, FAKE_BARE))

    assert [(name, broken(recording)) for name, recording in recordings.items()] == [("protected", []), ("bare", [])]
    names = [{intent.client_id.split("-")[0] for intent in recording.intents} for recording in recordings.values()]
    assert len(names[0] | names[1]) == 2
    assert (tmp_path / "protected" / "desk.db").exists()
    assert not (tmp_path / "bare" / "desk.db").exists()


async def test_play_refused_links_are_the_venue_s_time(tmp_path: Path) -> None:
    """While connections are refused the venue is down, from the effect to its end."""
    recording = (
        await play_fakes(tmp_path, '[[fault]]\nkind = "link.refused"\nseconds = 0.6\nat = 0.5\n', seconds=2.0)
    )["protected"]

    (span,) = recording.venue_down
    (injection,) = recording.injections
    assert (injection.began, injection.over) == (span.start, span.end)
    assert 0.5 <= span.start < 1.5
    assert 0.6 <= span.seconds < 3.0
    assert broken(recording) == []


async def test_play_killed_venue_goes_on_from_its_journal_on_the_same_ports(tmp_path: Path) -> None:
    """SIGKILL of the venue is survived twice: same ports, same ledger, and down until it listens again."""
    plan = '[[fault]]\nkind = "venue.kill"\nseconds = 0.1\nat = 0.5\n[[fault]]\nkind = "venue.kill"\nseconds = 0.1\nat = 2.5\n'

    recording = (await play_fakes(tmp_path, plan, seconds=4.0))["protected"]

    assert len(recording.venue_down) == 2
    assert [(each.began, each.over) for each in recording.injections] == [
        (each.start, each.end) for each in recording.venue_down
    ]
    assert all(span.seconds > 0.1 for span in recording.venue_down)
    assert broken(recording) == []


async def test_play_killed_desk_is_started_again_with_its_store(tmp_path: Path) -> None:
    """SIGKILL of the desk is wanted, it comes back, and what it had saved is there."""
    recording = (await play_fakes(tmp_path, '[[fault]]\nkind = "desk.kill"\nat = 0.5\n', seconds=3.0))["protected"]

    assert [(each.status, each.wanted) for each in recording.exits] == [(-9, True), (0, True)]
    assert recording.counts["desk_started"] == 2
    (kill,) = recording.injections
    assert kill.began is not None
    assert kill.over is not None
    assert 0.1 < kill.over - kill.began < 10  # what the machine needed for the first start, and the pause before it
    assert broken(recording) == []
    assert measure(recording).mode_seconds["down"] > 0.1


@pytest.mark.parametrize("kind", ["raise", "hang", "block"])
async def test_play_sabotage_reaches_the_desk(tmp_path: Path, kind: str) -> None:
    """What the harness cannot do from outside, the desk is told to do to itself."""
    seconds = "seconds = 0.8\n" if kind == "block" else ""

    recording = (await play_fakes(tmp_path, f'[[fault]]\nkind = "desk.{kind}"\n{seconds}at = 0.5\n', seconds=2.5))[
        "protected"
    ]

    began = recording.injections[0].began
    assert began is not None
    assert 0.5 <= began < 2.4
    assert broken(recording) == []
    if kind != "raise":
        assert measure(recording).availability < 1.0


async def test_play_desk_that_forgets_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A desk that loses its state at a kill has another position than the venue."""
    monkeypatch.setenv("FAKE_DESK", "forgets")

    recording = (await play_fakes(tmp_path, '[[fault]]\nkind = "desk.kill"\nat = 0.5\n', seconds=2.5))["protected"]

    rules = [line.partition(":")[0] for line in broken(recording)]
    assert "the desk's position is the venue's" in rules
    assert "the desk knows every fill once" in rules


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("loses", "no order is lost"),
        ("stale", "without a fault the desk is available"),
        ("restless", "the desk ends only when it is told to or killed"),
    ],
)
async def test_play_what_is_wrong_with_a_desk_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, expected: str
) -> None:
    """Each way to be wrong breaks its rule, over real processes too."""
    monkeypatch.setenv("FAKE_DESK", wrong)

    recording = (await play_fakes(tmp_path))["protected"]

    assert expected in [line.partition(":")[0] for line in broken(recording, timing=True)]


async def test_play_desk_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of standard input is the order to stop; who does not follow it is killed, and it is said."""
    monkeypatch.setenv("FAKE_DESK", "deaf")
    monkeypatch.setattr(keepers, "STOP_LIMIT", 0.3)

    recording = (await play_fakes(tmp_path))["protected"]

    assert recording.problems == ("the desk did not stop within 0.3 s",)
    assert [(each.status, each.wanted) for each in recording.exits] == [(-9, False)]


async def test_play_desk_that_is_never_ready_does_not_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A market opens whether a desk is ready or not, and the faults that need one do not take effect."""
    monkeypatch.setenv("FAKE_DESK", "late")
    monkeypatch.setattr(run_module, "START_LIMIT", 1.0)
    monkeypatch.setattr(run_module, "READY_LIMIT", 0.2)

    recording = (await play_fakes(tmp_path, '[[fault]]\nkind = "desk.kill"\nat = 0.5\n'))["protected"]

    assert recording.problems == ("the desk was not ready within 1 s",)
    assert "every fault of the plan took effect: desk.kill at 0.5 s" in broken(recording)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("broken", "the venue ended by itself, with status 1: venue: there is no market today"),
        ("dies", "the venue ended by itself, with status 1: SystemExit: the market went up in smoke"),
        ("mute", "the venue did not listen within 1 s"),
    ],
)
async def test_play_venue_that_fails_ends_the_run_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, expected: str
) -> None:
    """Without a venue there is nothing to measure: the error has its last words, and nothing is left running."""
    monkeypatch.setenv("FAKE_VENUE", wrong)
    if wrong == "mute":
        monkeypatch.setattr(run_module, "LISTEN_LIMIT", 1.0)

    with pytest.raises(RunError) as caught:
        await play_fakes(tmp_path, sides=(FAKE_PROTECTED, FAKE_BARE))

    assert str(caught.value) == expected


@pytest.mark.parametrize("after", [0.05, 0.5, 1.5])
async def test_play_cancelled_leaves_nothing(tmp_path: Path, after: float) -> None:
    """Cancelled while processes start, or run, it kills and waits; the fixture looks."""
    with trio.move_on_after(after) as scope:
        await play_fakes(tmp_path, seconds=20.0, sides=(FAKE_PROTECTED, FAKE_BARE))

    assert scope.cancelled_caught


# ------------------------------------------------------------------ one child


def script(tmp_path: Path, source: str) -> list[str]:
    (tmp_path / "child.py").write_text(source)
    return [sys.executable, str(tmp_path / "child.py")]


async def test_child_garbled_lines_are_told_not_fatal(tmp_path: Path) -> None:
    """What is no JSON object arrives as an event that says so, and the next line is heard."""
    heard: list[dict[str, object]] = []
    command = script(tmp_path, "print('hello'); print('[1]'); print('{\"event\": \"x\"}')")

    async with open_child(command, errors=tmp_path / "errors") as child:
        assert await child.listen(heard.append) == 0

    assert [each["event"] for each in heard] == ["garbled", "garbled", "x"]


async def test_child_last_words_are_of_this_process(tmp_path: Path) -> None:
    """The last line of standard error is quoted, not that of a process before it in the same file."""
    errors = tmp_path / "errors"
    errors.write_text("of the one before\n")

    async with open_child(script(tmp_path, "pass"), errors=errors) as silent:
        await silent.listen(print)
        assert silent.last_words() == "it said nothing about it"
    async with open_child(script(tmp_path, "raise ValueError('why')"), errors=errors) as child:
        assert await child.listen(print) == 1
        assert child.last_words() == "ValueError: why"


async def test_child_that_is_gone_cannot_be_told(tmp_path: Path) -> None:
    """Telling a dead process something is answered by False, not by an error."""
    async with open_child(script(tmp_path, "pass"), errors=tmp_path / "errors") as child:
        await child.listen(print)
        await child.close_stdin()
        assert not await child.tell({"op": "close"})


# ------------------------------------------------------------------ the recorder


def test_recorder_outcome_of_an_unknown_order_is_an_intent() -> None:
    """A desk may learn from the venue of an order that it forgot; it is known then."""
    recorder = Recorder("protected")

    recorder.hear_desk({"event": "outcome", "client_id": "a", "status": "open"}, 5.0)

    (intent,) = recorder.finish(10.0).intents
    assert (intent.client_id, intent.status, intent.told) == ("a", "open", 5.0)


def test_recorder_unknown_after_known_is_not_forgotten() -> None:
    """What the desk once knew it knows; the first time counts for its latency, the last word for its status."""
    recorder = Recorder("protected")
    recorder.opened = 100.0
    recorder.hear_desk({"event": "intent", "client_id": "a"}, 101.0)
    for at, status in ((102.0, "unknown"), (103.0, "open"), (104.0, "unknown"), (105.0, "filled")):
        recorder.hear_desk({"event": "outcome", "client_id": "a", "status": status}, at)

    (intent,) = recorder.finish(10.0).intents

    assert (intent.at, intent.told, intent.status) == (1.0, 3.0, "filled")


def test_recorder_killed_desk_is_gone_for_as_long_as_a_start_takes() -> None:
    """The bound of a kill begins when this machine can have started another desk; in virtual time that is at once."""
    (fault,) = draw_plan(parse_plan('[[fault]]\nkind = "desk.kill"\nat = 1\n', "plan"), seed=1, window=10.0)
    real, simulated = Recorder("protected", (fault,), restart_seconds=1.5), Recorder("protected", (fault,))

    for recorder in (real, simulated):
        recorder.opened = 100.0
        recorder.fault_began("desk.kill", 101.0)

    assert [each.over for each in (*real.finish(10.0).injections, *simulated.finish(10.0).injections)] == [2.5, 1.0]


def test_recorder_venue_that_stays_down_is_down_until_the_end() -> None:
    """An outage that is not over at the close lasts until the close."""
    recorder = Recorder("protected")
    recorder.opened = 100.0
    recorder.venue_went_down(104.0)

    (span,) = recorder.finish(10.0).venue_down

    assert (span.start, span.end) == (4.0, 10.0)
