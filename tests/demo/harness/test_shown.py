"""What people see: the table in 40 columns, the page and its picture, the view while a run goes on."""

import io
import itertools
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from xml.etree import ElementTree

import attrs
import pytest
import trio

from demo.harness.made_recordings import GOOD, signs_of_life
from genesis_trio.demo.faults import DEFAULT_PLAN, Fault, draw_plan, parse_plan, read_plan
from genesis_trio.demo.harness import live
from genesis_trio.demo.harness.drawing import Scale, ticks
from genesis_trio.demo.harness.glance import Glance
from genesis_trio.demo.harness.live import PlainLines, RichView, Silence, draw, make_view
from genesis_trio.demo.harness.measure import State
from genesis_trio.demo.harness.page import as_html, as_picture
from genesis_trio.demo.harness.recorder import Recorder
from genesis_trio.demo.harness.recording import Injection, Intent, Recording, Span
from genesis_trio.demo.harness.result import Result, as_json, make_result
from genesis_trio.demo.harness.run import Market
from genesis_trio.demo.harness.table import as_text

POSITION = GOOD.position
assert POSITION is not None
BARE = attrs.evolve(
    GOOD,
    side="bare",
    alive=signs_of_life(5.0),
    venue_down=(Span(8.0, 9.0),),
    position=attrs.evolve(POSITION, cash=Decimal("-123456.78901234")),
    intents=(*GOOD.intents, Intent("<b>", 4.0), Intent("late", 5.0, 12.0, "open")),
    guard_calls=0,
)
PLAN = draw_plan(parse_plan('[[fault]]\nkind = "feed.silent"\nat = 5\n', "p"), seed=1, window=20.0)


def result(
    recordings: dict[str, Recording] | None = None, plan: tuple[Fault, ...] = PLAN, plan_name: str = "the default plan"
) -> Result:
    return make_result(
        Market(start_minute=10.0, minutes=20.0, speed=60.0),
        recordings or {"protected": attrs.evolve(GOOD, guard_calls=5, guard_nanoseconds=250.0), "bare": BARE},
        seed=7,
        plan_name=plan_name,
        plan=plan,
        date=datetime(2026, 11, 24, 12, 0, tzinfo=UTC),
    )


# ------------------------------------------------------------------ the table


@pytest.mark.parametrize("width", [20, 40, 59, 60, 80, 200])
def test_table_fits_the_terminal(width: int) -> None:
    """No line is wider than the terminal, nor than 40 columns where that is narrower."""
    text = as_text(result(), width)

    assert max(map(len, text.splitlines())) <= max(width, 40)


def test_table_says_what_a_reader_asks() -> None:
    """Window, seed, both sides, and what is broken by whom."""
    text = as_text(result(), 80)

    assert text.startswith("Bitstamp BTC/USD, minutes 10 to 30 of 30, at 60 times its pace; seed 7; 1 faults")
    assert re.search(r"^available +94\.87 % +27\.02 %$", text, re.MULTILINE)
    assert re.search(r"^outcome known +100\.00 % +80\.00 %$", text, re.MULTILINE)
    assert re.search(r"^cash +equal +off -123356\.79$", text, re.MULTILINE)
    assert re.search(r"^feed\.silent +1\.5 +1\.5 +never +never! +2\.0$", text, re.MULTILINE)
    assert re.search(r"^guard, a call +0\.2 µs +–$", text, re.MULTILINE)
    assert "protected: 11 of 11 invariants held" in text
    assert "  broken: the desk's cash is the venue's: off by -123356.78901234" in text


def test_table_what_is_not_whole_never_looks_whole() -> None:
    """Shares are cut, not rounded: one outcome of many that is missing is seen."""
    intents = tuple(Intent(str(number), 1.0, 1.1, "open") for number in range(99_999))
    recording = attrs.evolve(GOOD, intents=(*intents, Intent("x", 1.0)))

    assert re.search(r"^outcome known +99\.99 %$", as_text(result({"protected": recording})), re.MULTILINE)


def test_table_of_a_busy_machine_says_so() -> None:
    """Times that were measured on a busy machine are not taken for the desk's."""
    quiet, busy = (as_text(result({"protected": attrs.evolve(GOOD, lag=lag)}), 40) for lag in (0.2, 0.75))

    assert "busy" not in quiet
    assert "the machine was busy: the harness itself\nwas up to 0.8 s late" in busy


def test_table_of_nothing_has_dashes() -> None:
    """A run in which nothing was heard is shown, not an error."""
    text = as_text(result({"protected": Recording("protected", 20.0)}, plan=()), 40)

    assert re.search(r"^order p50 +–$", text, re.MULTILINE)
    assert re.search(r"^position +unknown$", text, re.MULTILINE)
    assert re.search(r"^fills known +\? of \?$", text, re.MULTILINE)
    assert "recovery" not in text


# ------------------------------------------------------------------ figures for machines


def test_json_is_plain_and_exact() -> None:
    """Money is text, what never ended is null, and the whole can be encoded without exceptions."""
    shown = json.loads(json.dumps(as_json(result()), allow_nan=False))

    assert shown["held"] is True
    assert shown["market"] == {"start_minute": 10.0, "minutes": 20.0, "speed": 60.0, "seconds": 20.0}
    assert shown["runs"]["protected"]["availability"] == 185 / 195
    assert shown["runs"]["bare"]["cash"] == {"desk": "-123456.78901234", "venue": "-100"}
    assert shown["runs"]["bare"]["recoveries"] == [{"kind": "feed.silent", "at": 5.0, "seconds": None, "bound": 2.0}]
    assert {each["rule"]: each["holds"] for each in shown["runs"]["bare"]["invariants"]}[
        "no order is duplicated"
    ] is True


# ------------------------------------------------------------------ the page


class Checker(HTMLParser):
    """Every element that opens closes, and nothing comes from elsewhere."""

    VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert not {name for name, _ in attributes} & {"src", "href", "xlink:href", "onclick", "onload"}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    "shown",
    [
        result(),
        result({"bare": BARE}),
        result({"protected": Recording("protected", 20.0)}, plan=()),
        result(plan=draw_plan(read_plan(DEFAULT_PLAN), seed=1, window=66.0)),
    ],
    ids=["both", "one side", "nothing", "many faults"],
)
def test_page_is_whole_and_needs_nothing_else(shown: Result) -> None:
    """Well formed, without scripts, and without an address to load from: it can be sent to anybody."""
    page = as_html(shown)
    checker = Checker()
    checker.feed(page)

    assert checker.open == []
    assert not checker.seen & {"script", "link", "img", "iframe"}
    assert "://" not in page
    assert "@import" not in page
    assert "url(" not in page.replace("url(#hatch)", "")
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)


def test_page_has_what_is_needed_to_have_it_again() -> None:
    """Seed, plan, window, machine, date and versions are on it, and both sides of everything."""
    page = as_html(result())

    for words in ("feed.silent", "2026-11-24 12:00 UTC", "minutes 10 to 30 of 30", "trio", "cores", "never"):
        assert words in page
    assert "<dt>seed</dt><dd>7</dd>" in page
    assert "Every invariant of the protected desk held." in page


def test_page_names_what_is_broken() -> None:
    """A page of a failed run says so at its head, with the seed."""
    broken = attrs.evolve(GOOD, intents=(*GOOD.intents, Intent("x", 1.0)))

    page = as_html(result({"protected": broken}))

    assert "Broken, with seed 7: every order intent has an outcome: x." in page


def test_page_foreign_text_is_escaped() -> None:
    """Names of files and orders are text, whatever they look like."""
    page = as_html(result(plan_name="<script>alert(1)</script>.toml"))

    assert "<script>" not in page
    assert "<b>," not in page
    assert "&lt;b&gt;" in page


def test_picture_is_one_well_formed_svg() -> None:
    """For a page of somebody else: colours and patterns are in it."""
    root = ElementTree.fromstring(as_picture(result()))

    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "lives through one fault" in "".join(root.itertext())


@pytest.mark.parametrize(("last", "most"), [(66.0, 8), (1800.0, 5), (0.3, 5), (6.5, 8)])
def test_ticks_are_round_few_and_within(last: float, most: int) -> None:
    """Axes have round numbers, and not too many."""
    values = ticks(last, most)

    assert values[0] == 0
    assert 2 <= len(values) <= most
    assert values[-1] <= last + 1e-6


def test_scale_stays_within_its_ends() -> None:
    """What lies outside is drawn at the edge; nothing between the ends is no division by zero."""
    assert [Scale(0, 10, 100, 200)(value) for value in (-5, 0, 5, 10, 50)] == [100, 100, 150, 200, 200]
    assert Scale(1, 1, 100, 200)(1) == 100


# ------------------------------------------------------------------ while it goes on


def recorder(side: str = "protected") -> Recorder:
    found = Recorder(side, PLAN)
    found.desk_started()
    return found


def alive(each: Recorder, at: float) -> None:
    each.hear_venue({"event": "alive", "sequence": 1, "age": 0.0, "at": at}, at)


def test_glance_samples_by_the_rule_of_the_measurement() -> None:
    """Up with a sign of life within half a second, down without, neither while the venue is down."""
    seen = recorder()
    glance = Glance(seen, 1.5)
    glance.advance(99.0)
    assert (glance.state, glance.availability) == (None, None)

    seen.opened = 100.0
    alive(seen, 100.2)
    glance.advance(101.0)
    assert glance.states == [State.UP] * 3 + [State.DOWN] * 3
    seen.venue_went_down(101.05)
    glance.advance(101.2)
    assert (glance.state, glance.availability) == (State.VENUE_DOWN, 0.5)
    glance.advance(110.0)
    assert len(glance.states) == 10  # to the close, and not on


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The view looks at Trio's clock, which is virtual here, instead of the machine's."""
    monkeypatch.setattr(live, "monotonic", trio.current_time)


async def live_through(seen: Recorder) -> None:
    """Two seconds before the opening, a fault at 5 s, silence until 7 s."""
    await trio.sleep(2.0)
    seen.hear_desk({"event": "desk_ready"}, trio.current_time())
    seen.opened = opened = trio.current_time()
    for number in itertools.count():
        now = trio.current_time()
        if number == 50:
            seen.hear_venue({"event": "fault", "kind": "feed.silent", "at": now}, now)
        if not 50 <= number < 70:
            alive(seen, now)
        await trio.sleep_until(opened + (number + 1) / 10)


async def test_plain_lines_tell_each_change_once(autojump_clock: trio.testing.MockClock, clock: None) -> None:
    """Opening, fault, going and coming back: a line each, with times since the opening."""
    lines: list[str] = []
    seen = recorder()

    with trio.move_on_after(11.9):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(live_through, seen)
            nursery.start_soon(PlainLines(lines.append).follow, [seen], 20.0)

    assert lines[:2] == ["starting the processes", "the market is open for 20 s"]
    assert [re.sub(r"[\d.]+ s", "T", line).strip() for line in lines[2:]] == [
        "T  protected: feed.silent, market data stays connected and says nothing",
        "T  protected: not available",
        "T  protected: available again after T",
    ]
    assert [float(line.split()[0]) for line in lines[2:]] == pytest.approx([5.0, 5.5, 7.0], abs=0.35)


@pytest.mark.parametrize("width", [40, 100])
async def test_rich_view_fits_and_leaves_nothing(
    autojump_clock: trio.testing.MockClock, clock: None, width: int
) -> None:
    """The picture fits the terminal, with both sides and the last fault."""
    from rich.console import Console

    seen, other = recorder(), recorder("bare")
    output = io.StringIO()
    console = Console(file=output, width=width, force_terminal=True, color_system=None)

    with trio.move_on_after(8.0):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(live_through, seen)
            nursery.start_soon(RichView(console).follow, [seen, other], 20.0)

    plain = Console(width=width, color_system=None, file=io.StringIO(), record=True)
    glances = [Glance(seen, 20.0), Glance(other, 20.0)]
    other.opened = seen.opened
    for glance in glances:
        glance.advance(trio.current_time())
    plain.print(draw(glances, trio.current_time(), 20.0, width))
    text = plain.export_text()
    assert max(len(line) for line in text.splitlines()) <= width
    for words in ("protected", "bare", "NORMAL", "no process", "feed.silent", "of 20 s"):
        assert words in text
    assert "feed.silent" in output.getvalue()


def test_make_view_chooses_by_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing for machines, lines without a terminal or without rich, else the picture."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(make_view(headless=False, silent=True), Silence)
    assert isinstance(make_view(headless=False, silent=False, stream=io.StringIO()), PlainLines)
    assert isinstance(make_view(headless=True, silent=False, stream=Terminal()), PlainLines)
    assert isinstance(make_view(headless=False, silent=False, stream=Terminal()), RichView)
    monkeypatch.setitem(__import__("sys").modules, "rich.console", None)
    assert isinstance(make_view(headless=False, silent=False, stream=Terminal()), PlainLines)


async def test_silence_shows_nothing(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """It follows until it is cancelled, without a word."""
    with trio.move_on_after(1.0) as scope:
        await Silence().follow([recorder()], 20.0)

    assert scope.cancelled_caught
    assert capsys.readouterr() == ("", "")


def test_recorder_injection_that_was_not_planned_is_no_fault() -> None:
    """An effect of nothing that was planned, or a second one, changes nothing."""
    seen = recorder()
    seen.opened = 100.0
    seen.fault_began("desk.kill", 101.0)
    seen.fault_began("feed.silent", 105.0)
    seen.fault_began("feed.silent", 106.0)

    assert seen.finish(20.0).injections == (Injection("feed.silent", 5.0, 5.0, 5.0),)
