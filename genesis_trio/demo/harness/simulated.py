"""Many seeds in virtual time: each a run of desk and venue in one process, as many at once as there are processors."""

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path

from genesis_trio.demo.capture import Instant, find_capture, read_instants
from genesis_trio.demo.faults import Entry, Fault, draw_plan
from genesis_trio.demo.harness.recording import Recording
from genesis_trio.demo.harness.run import Market
from genesis_trio.demo.simulation import play_simulated

__all__ = ["play_seeds"]

#: What a worker works on.  It is inherited, not sent: the market alone is some hundred thousand records.
_work: tuple[Market, tuple[Entry, ...], list[Instant]]


def play_seeds(market: Market, entries: Sequence[Entry], seeds: Sequence[int]) -> Iterator[tuple[int, Recording]]:
    """Play *market* once for each of *seeds*, with the faults that the seed draws; give the recordings as they come.

    A seed decides all of a run: its plan, the order in which tasks run, and what the desk draws.

    Raises:
        CaptureError: there is no recording, or it cannot be read.
        PlanError: the plan does not fit the window.
    """
    global _work
    ends = 60 * (market.start_minute + market.minutes)
    recording = read_instants(market.capture or find_capture())
    _work = (market, tuple(entries), list(takewhile(lambda instant: instant.at < ends, recording)))
    _draw(seeds[0])  # what does not fit is said before anything starts
    # The folder is ours, so that it goes even when a worker is ended in the middle.
    with tempfile.TemporaryDirectory(prefix="genesis-demo-") as place:
        play = partial(_play, Path(place))
        if len(seeds) == 1:
            yield play(seeds[0])
            return
        # Forked before there is a loop or a thread, so that the market is shared; Ctrl-C is for us alone.
        context = multiprocessing.get_context("fork")
        with context.Pool(min(len(seeds), os.cpu_count() or 1), signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
            yield from pool.imap(play, seeds)


def _draw(seed: int) -> tuple[Fault, ...]:
    market, entries, _ = _work
    return draw_plan(entries, seed=seed, window=market.seconds)


def _play(place: Path, seed: int) -> tuple[int, Recording]:
    market, _, instants = _work
    with tempfile.TemporaryDirectory(dir=place) as folder:
        recording = play_simulated(
            instants,
            _draw(seed),
            start=60 * market.start_minute,
            speed=market.speed,
            seconds=market.seconds,
            seed=seed,
            folder=Path(folder),
        )
    return seed, recording
