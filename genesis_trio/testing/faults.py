"""Things that go wrong when a test says so: a call to the outside, and the engine below a store.

Both follow a plan that is told in order, one entry for each call or each write::

    venue = FaultyCall(send)
    venue.succeed(2)
    venue.fail(ConnectionError("reset"), times=3)  # the third to the fifth call
    venue.lose_reply(ConnectionError("reset"))     # the sixth one is carried out, and nobody learns of it

What comes after the plan goes well, or goes wrong at random (`fail_randomly`), from the tree's own source of
randomness: the same seed gives the same faults.
"""

import errno
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

import attrs
import trio
import trio.testing

from genesis_trio._runtime import current_tree
from genesis_trio.persistence._envelope import digest_part
from genesis_trio.persistence.engine import Batch, StoreEngine
from genesis_trio.persistence.engines.memory import MemoryEngine
from genesis_trio.persistence.opening import open_store_over
from genesis_trio.persistence.store import Store

__all__ = ["FaultyCall", "FaultyEngine", "open_store_on"]

P = ParamSpec("P")
T = TypeVar("T")

Fault = BaseException | type[BaseException]


@attrs.frozen
class _Step:
    """What happens to one call.

    Attributes:
        error: What it raises; None: nothing.
        delay: Seconds before anything else happens; infinite: it waits until it is cancelled.
        is_carried_out: It happens all the same.
    """

    error: Fault | None = None
    delay: float = 0.0
    is_carried_out: bool = True


class _Plan:
    """What happens to the next calls, in order, and then by chance."""

    def __init__(self, rng: random.Random | None) -> None:
        self._steps: deque[_Step] = deque()
        self._rng = rng
        self._random: tuple[Fault, float] | None = None

    def succeed(self, times: int = 1) -> None:
        """Let the next *times* calls go well: what is told after this concerns those behind them."""
        self._add(_Step(), times)

    def fail(self, error: Fault, *, times: int = 1) -> None:
        """Let the next *times* calls raise *error*, an exception or a class, before anything is done."""
        self._add(_Step(error, is_carried_out=False), times)

    def lose_reply(self, error: Fault, *, times: int = 1) -> None:
        """Let the next *times* calls be carried out and raise *error* then: nobody knows that they were."""
        self._add(_Step(error), times)

    def delay(self, seconds: float, *, times: int = 1) -> None:
        """Let the next *times* calls take *seconds* longer."""
        if not seconds >= 0:
            raise ValueError(f"a delay is at least 0 seconds, got {seconds!r}")
        self._add(_Step(delay=seconds), times)

    def fail_randomly(self, error: Fault, probability: float) -> None:
        """Let each call behind the plan raise *error* with *probability*, from 0 to 1."""
        if not 0 <= probability <= 1:
            raise ValueError(f"a probability lies from 0 to 1, got {probability!r}")
        self._random = error, probability

    def heal(self) -> None:
        """Forget the plan, and what happens by chance: all goes well from now on."""
        self._steps.clear()
        self._random = None

    def _add(self, step: _Step, times: int) -> None:
        if isinstance(times, bool) or not isinstance(times, int) or times < 1:
            raise ValueError(f"times is a whole number from 1 on, got {times!r}")
        self._steps.extend([step] * times)

    def _next(self) -> _Step:
        if self._steps:
            return self._steps.popleft()
        if self._random is not None:
            error, probability = self._random
            rng = self._rng if self._rng is not None else current_tree().rng
            if rng.random() < probability:
                return _Step(error, is_carried_out=False)
        return _Step()


class FaultyCall(_Plan, Generic[P, T]):
    """An async function that goes wrong as it is told; it takes the place of *fn* in a test.

    Args:
        fn: What is called when a call is carried out.
        rng: Where chance comes from; None: from the tree of the caller.

    Attributes:
        calls: How often it was called.
        carried_out: How often *fn* was.
    """

    def __init__(self, fn: Callable[P, Awaitable[T]], *, rng: random.Random | None = None) -> None:
        super().__init__(rng)
        self.fn = fn
        self.calls = 0
        self.carried_out = 0

    def __repr__(self) -> str:
        return f"<FaultyCall of {self.fn!r}, {self.calls} calls, {len(self._steps)} planned>"

    def hang(self, *, times: int = 1) -> None:
        """Let the next *times* calls wait until they are cancelled."""
        self._add(_Step(delay=float("inf")), times)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call *fn*, or do what the plan says.

        Raises:
            BaseException: what the plan says, or what *fn* raises.

        Trio checkpoint: always.
        Cancellation: seen before *fn* is called, and during a delay.
        """
        self.calls += 1
        step = self._next()
        await trio.sleep(step.delay)
        if step.error is not None and not step.is_carried_out:
            raise step.error
        self.carried_out += 1
        result = await self.fn(*args, **kwargs)
        if step.error is not None:
            raise step.error
        return result


def _passed_on(name: str) -> Any:
    def method(self: "FaultyEngine", *args: Any, **kwargs: Any) -> Any:
        return getattr(self.engine, name)(*args, **kwargs)

    method.__name__ = name
    return method


class FaultyEngine(_Plan, StoreEngine):
    """A storage engine whose writes go wrong as they are told; `open_store_on` opens a store over it.

    A `fail` with an ``OSError(errno.EIO)`` poisons the store, `lose_reply` too, and leaves what was written; `fill`
    makes the disk full.  In virtual time a `delay` is a loop that stands still, and so is not seen by ``commit_timeout``;
    in real time it is.  What it holds outlives the block of the store, so that a restart can be played.

    Args:
        engine: Where the bytes are; None: in memory.
        rng: Where chance comes from; None: a source of its own, the same each time.

    Attributes:
        writes: How often something was to be written.
    """

    def __init__(self, engine: StoreEngine | None = None, *, rng: random.Random | None = None) -> None:
        # Not the tree's: writes are made in threads, which belong to no tree.
        super().__init__(rng if rng is not None else random.Random(0))
        self.engine = engine if engine is not None else MemoryEngine()
        # What a class says of its engines is said here of this one.
        self.keeps_witness = self.engine.keeps_witness  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        self.writes = 0
        self._has_room = True
        self._saves_of_a_reserve = self._saves_left = 0
        self._reserve = True
        self._newest: tuple[str, int, Mapping[bytes, bytes]] | None = None
        self._names: dict[bytes, set[bytes]] = {}  # digest to where its copies are

    @classmethod
    def open(cls, location: str) -> "FaultyEngine":
        """One over ``memory:`` with the name *location*."""
        return cls(MemoryEngine.open(location))

    # -- what goes wrong

    def fill(self, *, saves: int = 1) -> None:
        """Let the disk be full, until `make_room`; once its reserve is released, *saves* writes still have room."""
        self._has_room = False
        self._saves_of_a_reserve = saves

    def make_room(self) -> None:
        """Let the disk have room again."""
        self._has_room = True

    def damage_newest(self) -> None:
        """Flip a bit in each state of the newest saved checkpoint, as the next start will find it.

        Both copies of a state that saved checkpoints share are damaged, so older ones that hold the same are as well.

        Raises:
            ValueError: nothing was saved yet.
        """
        if self._newest is None:
            raise ValueError("nothing was saved yet that could be damaged; save a checkpoint first")
        scope, token, parts = self._newest
        stored = set(self.engine.list_parts(scope))
        flipped = {
            name: body[:-1] + bytes([body[-1] ^ 1])
            for body in parts.values()
            for name in self._names[digest_part(body)] & stored
        }
        head = self.engine.read_head(scope)
        assert head is not None
        self.engine.commit_cut(scope, token, flipped, Batch(head))

    # -- writing

    def append(self, scope: str, token: int, batch: Batch) -> int:
        return self._write(partial(self.engine.append, scope, token, batch))

    def commit_cut(self, scope: str, token: int, parts: Mapping[bytes, bytes], batch: Batch) -> int:
        position = self._write(partial(self.engine.commit_cut, scope, token, parts, batch))
        if parts:
            self._newest = scope, token, dict(parts)
            for name, body in parts.items():
                self._names.setdefault(digest_part(body), set()).add(name)
        return position

    def remove(
        self,
        scope: str,
        token: int,
        batch: Batch,
        *,
        parts: Sequence[bytes] = (),
        records: Mapping[str, int] | None = None,
    ) -> None:
        self._write(partial(self.engine.remove, scope, token, batch, parts=parts, records=records))

    def _write(self, write: Callable[[], T]) -> T:
        self.writes += 1
        step = self._next()
        if step.delay:
            _pass(step.delay)
        if not self._has_room:
            if not self._saves_left:
                raise OSError(errno.ENOSPC, "the disk is full, as the test wants it")
            self._saves_left -= 1
        if step.error is not None and not step.is_carried_out:
            raise step.error
        result = write()
        if step.error is not None:
            raise step.error
        return result

    def relieve(self) -> bool:
        released, self._reserve = self._reserve, False
        self._saves_left = self._saves_of_a_reserve if released else 0
        return released

    def recover_room(self, size: int) -> bool:
        self._reserve = self._reserve or self._has_room
        return self._has_room

    # -- what does not

    acquire = _passed_on("acquire")
    renew = _passed_on("renew")
    release = _passed_on("release")
    read_head = _passed_on("read_head")
    read_witness = _passed_on("read_witness")
    read_records = _passed_on("read_records")
    read_rows = _passed_on("read_rows")
    read_row = _passed_on("read_row")
    read_part = _passed_on("read_part")
    list_parts = _passed_on("list_parts")
    idle = _passed_on("idle")
    quarantine = _passed_on("quarantine")
    promise = _passed_on("promise")
    check = _passed_on("check")

    def close(self) -> None:
        """Nothing is given back: what was written is to be found by the next one who opens it."""


def _pass(seconds: float) -> None:
    """Block for so long: in virtual time the clock goes on, as it does for any blocking work."""
    if trio.lowlevel.in_trio_run():
        clock = trio.lowlevel.current_clock()
        if isinstance(clock, trio.testing.MockClock):
            clock.jump(seconds)
            return
    time.sleep(seconds)  # in the thread of the store's writer, which is what a slow disk holds up


def open_store_on(engine: StoreEngine, *, commit_timeout: float = 10.0) -> AbstractAsyncContextManager[Store]:
    """`open_store` over an engine that is there already, and is what the next one is opened over, too.

    Raises:
        StoreError: as `open_store`.

    Trio checkpoint: on entering and on leaving, always.
    Cancellation: as `open_store`.
    """
    return open_store_over(lambda: engine, "testing:", commit_timeout)
