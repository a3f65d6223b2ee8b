"""Venue and desk under a virtual clock: each fault alone, many seeds, and what a broken desk does to the invariants."""

import random
from decimal import Decimal

import pytest

from genesis_trio.demo.capture import COINS, DOLLARS, Instant, MarketOrder, MarketTrade
from genesis_trio.demo.desk.money import LedgerState
from genesis_trio.demo.desk.orders import Execution
from genesis_trio.demo.faults import KINDS, Fault, draw_plan, parse_plan
from genesis_trio.demo.harness.invariants import judge
from genesis_trio.demo.harness.measure import measure
from genesis_trio.demo.simulation import play_simulated
from genesis_trio.demo.trading.records import Status

LEVELS = range(1, 6)


def walk(seconds, seed=0):
    """A market that wanders a dollar at a time, with a trade at one of its best prices twice a second."""
    rng = random.Random(seed)
    middle = 1000
    orders = [level_order(middle, level, side, 2) for level in LEVELS for side in (-1, 1)]
    yield Instant(0.0, [], orders)
    for step in range(1, int(seconds * 10)):
        orders, trades = [], []
        if rng.random() < 0.6:
            old, middle = middle, middle + rng.choice((-1, 1))
            orders = [level_order(old, level, side, 0) for level in LEVELS for side in (-1, 1)]
            orders += [level_order(middle, level, side, 2) for level in LEVELS for side in (-1, 1)]
        if step % 5 == 0:
            side = rng.choice((-1, 1))
            trades = [MarketTrade(f"t{step}", side > 0, (middle + side) * DOLLARS, 3 * COINS)]
        yield Instant(step / 10, trades, orders)


def level_order(middle, level, side, quantity):
    price = middle + side * level
    return MarketOrder(f"{price}{'b' if side < 0 else 'a'}", side < 0, price * DOLLARS, quantity * COINS)


def play(plan, seconds, tmp_path, seed=1):
    return play_simulated(
        list(walk(seconds + 5, seed)), plan, start=0.0, speed=1.0, seconds=seconds, seed=seed, folder=tmp_path
    )


def broken(recording):
    return [str(rule) for rule in judge(recording, measure(recording)) if not rule.holds]


def test_simulation_quiet_run_is_available_and_equal(tmp_path):
    """Without faults the desk is there all the time, trades, and knows what the venue knows."""
    recording = play((), 20.0, tmp_path)
    figures = measure(recording)

    assert broken(recording) == []
    assert figures.availability == 1.0
    assert figures.intents > 10
    assert figures.venue_fills > 5
    assert figures.mode_seconds["SAFE"] == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_simulation_each_fault_alone_is_overcome(kind, tmp_path):
    """Every way to fail takes effect, is overcome within its bound, and leaves nothing lost and nothing double."""
    recording = play((Fault(5.0, KINDS[kind], KINDS[kind].seconds or 0.0),), 13.0, tmp_path)

    assert broken(recording) == []
    assert [injection.kind for injection in recording.injections if injection.began is not None] == [kind]


PLAN = parse_plan("\n".join(f'[[fault]]\nkind = "{kind}"' for kind in KINDS), "all kinds")


@pytest.mark.untraced
@pytest.mark.parametrize("seed", range(20))
def test_simulation_twenty_seeds_keep_every_invariant(seed, tmp_path):
    """Three faults of any kinds within seconds of each other, twenty times over."""
    entries = random.Random(seed).sample(PLAN, 3)
    recording = play(draw_plan(entries, seed=seed, window=21.0), 21.0, tmp_path, seed)

    assert broken(recording) == []


@pytest.mark.untraced
def test_simulation_same_seed_is_the_same_run(tmp_path):
    """What a seed shows once, it shows again: every sign of life, every intent, every fill at the same time."""
    plan = (Fault(4.0, KINDS["desk.kill"], 0.0), Fault(8.0, KINDS["link.dropped"], 0.0))
    runs = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        runs.append(play(plan, 12.0, folder, seed=7))

    assert runs[0] == runs[1]


# ------------------------------------------------------------------ a desk that is broken on purpose


def test_simulation_ledger_that_books_twice_is_found(tmp_path, monkeypatch):
    """A desk whose books are wrong breaks the invariants of position, cash and fills."""
    apply = LedgerState.apply

    def apply_sometimes_twice(self, fill):
        apply(self, fill)
        if fill.sequence == 2:
            apply(self, fill)

    monkeypatch.setattr(LedgerState, "apply", apply_sometimes_twice)
    found = " ".join(broken(play((), 12.0, tmp_path)))

    assert "the desk's position is the venue's: off by" in found
    assert "the desk knows every fill once" in found


def test_simulation_desk_that_does_not_ask_is_found(tmp_path, monkeypatch):
    """A desk that takes no answer for a no has orders that it does not know of."""

    async def assume_refused(self, ctx, client_id):
        await self.write_down(ctx, client_id, Status.REFUSED)

    async def fail(self, order):
        raise ConnectionError("did not ask")

    async def ignore(self, ctx, state):
        pass

    monkeypatch.setattr(Execution, "ask", assume_refused)
    monkeypatch.setattr(Execution, "find", fail)
    monkeypatch.setattr(Execution, "hear", ignore)
    found = " ".join(broken(play((Fault(5.0, KINDS["orders.lost_reply"], 0.0),), 16.0, tmp_path)))

    assert "no order is lost" in found


def test_position_stays_within_its_limit(tmp_path):
    """What is in hand and what may still be filled never exceed the limit, whatever is filled when."""
    recording = play((), 20.0, tmp_path, seed=3)
    position = Decimal(0)
    for fill in recording.ledger.fills:
        position += fill.quantity if fill.side == "buy" else -fill.quantity
        assert abs(position) <= Decimal("0.05")
