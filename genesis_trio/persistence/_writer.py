"""The one task that writes: it takes all that waits, and makes it durable in one commit.

::

    callers ──> queue ──> [plan and commit: one blocking call] ──> one step: apply, then wake the callers

While a commit is under way the next requests gather; so many components share one fsync, and nobody
waits longer than for the commit under way and its own.

Once a request is queued, its caller is shielded: it learns the true outcome.  A commit that is not back
within ``commit_timeout`` leaves its callers with OutcomeUnknownError and the store poisoned: nothing
that follows can be acknowledged when it is not known what stands before it.
"""

import logging
from collections.abc import Callable, Sequence
from itertools import chain
from math import inf
from typing import Any, NoReturn, TypeVar

import trio

from genesis_trio import events
from genesis_trio._runtime import Tree, current_tree, is_virtual_clock, run_blocking
from genesis_trio.errors import FencedError, OutcomeUnknownError, PoisonedError, StoreError
from genesis_trio.events import describe_error, emit
from genesis_trio.persistence._cut import Part
from genesis_trio.persistence._cut_operations import Rewind, SaveCut
from genesis_trio.persistence._draft import Draft
from genesis_trio.persistence._housekeeping import Remove
from genesis_trio.persistence._ledger import NO_ROOM, Ledger
from genesis_trio.persistence._operations import Append, Operation

__all__ = ["Request", "Writer"]

logger = logging.getLogger("genesis_trio")

T = TypeVar("T")

QUIET = 0.05  # seconds without a request, then the engine may tidy up
TIDY_EVERY = 64  # commits, then it may even though somebody waits
LOOK_FOR_ROOM_EVERY = 1.0  # seconds, while the disk is full


class Request:
    """An operation on its way to the disk, and then what became of it.

    Attributes:
        is_done: It is settled: durable, or refused, or not to be known.
        error: Why it failed, once that is known.
    """

    __slots__ = ("_waiting", "error", "is_done", "operation", "queued_at")

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.error: Exception | None = None
        self.is_done = False
        self.queued_at = trio.current_time()
        self._waiting: list[trio.lowlevel.Task] = []

    def settle(self, error: Exception | None = None) -> None:
        if not self.is_done:
            self.is_done, self.error = True, error
            for task in self._waiting:
                trio.lowlevel.reschedule(task)

    async def wait(self) -> Any:
        """Wait until it is durable; raise why it is not.

        Trio checkpoint: always.
        Cancellation: not seen here; the true outcome is, and it takes at most ``commit_timeout``.
        """
        if self.is_done:
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            # An event in a shielded scope would do the same, and take five times as long for each record.
            self._waiting.append(trio.lowlevel.current_task())
            await trio.lowlevel.wait_task_rescheduled(_refuse_to_be_cancelled)
        if self.error is not None:
            raise self.error
        return self.operation.outcome


def _refuse_to_be_cancelled(raise_cancel: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
    """Trio asks again at the next Trio checkpoint."""
    return trio.lowlevel.Abort.FAILED


class Writer:
    """Owns the ledger and the engine: every blocking call of an open store goes through here, one at a time.

    Attributes:
        trouble: Why nothing is acknowledged any more: a PoisonedError or a FencedError.
        tree: Whose observers see its events; None: those of the tree in which it was opened.
        is_full: True while only what uses the reserve is written.
        acknowledged: Component to the last sequence whose callers were told.
        finished: Set when `run` has ended.
    """

    def __init__(self, ledger: Ledger, url: str, commit_timeout: float) -> None:
        self.ledger = ledger
        self.url = url
        self.commit_timeout = commit_timeout
        self.trouble: Exception | None = None
        self.is_full = False
        self.on_trouble: list[Callable[[Exception], None]] = []
        self.tree: Tree | None = None
        self.acknowledged = {component: head.last for component, head in ledger.heads.items()}
        self.finished = trio.Event()
        self.journal_bytes = 0
        self.commits = self.records = self.cuts = self.largest_batch = 0
        self.commit_time = 0.0
        self._engine = ledger.engine
        self._queue: list[Request] = []
        self._under_way: list[Request] = []
        self._work = trio.Event()
        self._turn = trio.Lock()
        self._closing = False
        self._next_look = -inf
        self._patience = trio.CancelScope()  # of `_watch`; its deadline is that of the oldest request
        self._untidied = 0
        self._largest_cut = 0
        self._proved: dict[str, tuple[type, bytes]] = {}

    @property
    def waiting(self) -> int:
        return len(self._queue) + len(self._under_way)

    # -- for callers

    def submit(self, operation: Operation) -> Request:
        """Queue *operation* at once; never waits.  A refusal is in the request already."""
        request = Request(operation)
        refusal = self._refusal(operation)
        if refusal is not None:
            request.settle(refusal)
        else:
            self._queue.append(request)
            self._work.set()
            if self.waiting == 1:
                self._patience.deadline = self._deadline()
        return request

    @trio.lowlevel.enable_ki_protection
    async def write(self, operation: Operation) -> Any:
        """Queue *operation* and wait until it is durable.

        Trio checkpoint: always.
        Cancellation: seen before it is queued; then the true outcome is returned or raised.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        return await self.submit(operation).wait()

    async def read(self, fn: Callable[..., T], *args: Any) -> T:
        """Run a blocking function that reads, between two commits.

        Raises:
            StoreError: the store is closed, or could not be read.

        Trio checkpoint: always.
        Cancellation: seen while waiting for its turn, and once the function is back.
        """
        if self._under_way and self.trouble is not None:
            raise PoisonedError(
                f"{self.url}: a commit has not come back, so nothing can be read either"
            ) from self.trouble
        if self.finished.is_set():
            await trio.lowlevel.checkpoint()
            raise StoreError(f"the store {self.url} is closed; read inside its open_store() block")
        try:
            return await self._in_turn(fn, *args)
        except OSError as error:
            self._poison(error)
            raise PoisonedError(f"{self.url} could not be read: {error}") from error

    async def _in_turn(self, fn: Callable[..., T], *args: Any) -> T:
        """Run a blocking function once nobody else is at the engine."""
        try:
            # Where nobody is, entering the lock would be a Trio checkpoint more, for each commit.
            self._turn.acquire_nowait()
        except trio.WouldBlock:
            await self._turn.acquire()
        try:
            return await self._blocking(fn, *args)
        finally:
            self._turn.release()

    async def _blocking(self, fn: Callable[..., T], *args: Any) -> T:
        if self._engine.blocking:
            return await run_blocking(fn, *args)
        await trio.lowlevel.checkpoint()
        return fn(*args)

    def _refusal(self, operation: Operation) -> Exception | None:
        if self.trouble is not None:
            if isinstance(self.trouble, FencedError):
                return FencedError(str(self.trouble))
            return _with_cause(PoisonedError(str(self.trouble)), self.trouble.__cause__)
        if self._closing:
            return StoreError(f"the store {self.url} is closed; write inside its open_store() block")
        return None

    # -- the task

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Serve requests until `close`; then what is still queued is written."""
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch)
                    while self._queue or not self._closing:
                        if self._queue:
                            await self._serve(self._take_batch())
                        else:
                            await self._wait_for_work()
                    nursery.cancel_scope.cancel()
        finally:
            self.finished.set()

    def close(self) -> None:
        self._closing = True
        self._work.set()

    async def _wait_for_work(self) -> None:
        self._work = trio.Event()
        if self._untidied:
            # In virtual time quiet would pass at once, and be seen as time by everybody else.
            if not is_virtual_clock() and self._engine.blocking:
                with trio.move_on_after(QUIET):
                    await self._work.wait()
            if not self._work.is_set():
                await self._tidy()
            return
        await self._work.wait()

    async def _tidy(self) -> None:
        self._untidied = 0
        try:
            await self._in_turn(self._engine.idle)
        except OSError as error:
            if error.errno not in NO_ROOM:
                self._poison(error)
        except StoreError as error:
            self._poison(error)

    def _take_batch(self) -> list[Request]:
        if isinstance(self._queue[0].operation, Remove):
            return [self._queue.pop(0)]
        removals = [index for index, request in enumerate(self._queue) if isinstance(request.operation, Remove)]
        end = removals[0] if removals else len(self._queue)
        batch, self._queue = self._queue[:end], self._queue[end:]
        return batch

    async def _serve(self, batch: list[Request]) -> None:
        self._under_way = batch
        try:
            if self.is_full:
                batch = await self._admit_while_full(batch)
            if batch:
                await self._serve_now(batch)
        except BaseException as failure:  # an apply that exits: nobody is to wait for a writer that is gone
            self._refuse(batch, failure)
            raise
        finally:
            self._under_way = []
            self._patience.deadline = self._deadline()
        if self._untidied >= TIDY_EVERY:
            await self._tidy()

    async def _serve_now(self, batch: list[Request]) -> None:
        began = trio.current_time()
        try:
            errors = await self._in_turn(self._commit, [request.operation for request in batch])
        except Exception as failure:
            await self._fail(batch, failure)
        else:
            self._complete(batch, errors)
        self.commit_time = max(self.commit_time, trio.current_time() - began)

    def _commit(self, operations: list[Operation]) -> dict[Operation, Exception]:
        """In the blocking call: prove, plan, write.  Errors of one operation alone are returned."""
        errors: dict[Operation, Exception] = {}
        for operation in operations:
            try:
                operation.prove()
            except Exception as error:
                errors[operation] = error
        # One that fails in the middle of its plan may have left something in the draft: the others are planned anew.
        while True:
            draft = Draft(self.ledger)
            failed = _plan([operation for operation in operations if operation not in errors], draft)
            if not failed:
                break
            errors.update(failed)
        draft.commit()
        return errors

    def _complete(self, batch: list[Request], errors: dict[Operation, Exception]) -> None:
        """One step of the loop: first everything is applied, in journal order, then everybody learns of it."""
        self.commits += 1
        self._untidied += 1
        self.largest_batch = max(self.largest_batch, len(batch))
        outcomes: list[Exception | None] = []
        for request in batch:
            if request.is_done:  # its caller was told that the outcome is unknown, and has drawn its conclusions
                outcomes.append(request.error)
                continue
            error = errors.get(request.operation)
            if error is None:
                try:
                    request.operation.apply()
                except Exception as failure:
                    error = failure
                self._count(request.operation)
            outcomes.append(error)
        for request, error in zip(batch, outcomes, strict=True):
            request.settle(error)

    def _count(self, operation: Operation) -> None:
        if isinstance(operation, Append):
            self.records += len(operation.new)
            self.journal_bytes += operation.size
            if operation.new:
                self.acknowledged[operation.component] = operation.new[-1]
        elif isinstance(operation, SaveCut | Rewind):
            self.cuts += 1
            self._largest_cut = max(self._largest_cut, operation.size)

    # -- what is known to be readable

    def was_proved(self, part: Part) -> bool:
        """True if the very same bytes of that component were structured back before."""
        proved = self._proved.get(part.component)
        return proved is not None and proved[0] is part.state_type and proved[1] == part.body

    def remember_proved(self, parts: Sequence[Part]) -> None:
        self._proved.update((part.component, (part.state_type, part.body)) for part in parts)

    # -- when it goes wrong

    async def _fail(self, batch: list[Request], failure: Exception) -> None:
        if isinstance(failure, OSError) and failure.errno in NO_ROOM:
            await self._become_full(batch, failure)
        else:
            self._refuse(batch, failure)

    def _refuse(self, batch: list[Request], failure: BaseException) -> None:
        """Acknowledge nothing more, from *batch* on."""
        if isinstance(failure, FencedError):
            self._stop(failure)
        else:
            self._poison(failure)
        for request in batch:
            request.settle(self._refusal(request.operation))

    async def _become_full(self, batch: list[Request], failure: OSError) -> None:
        began = not self.is_full
        self.is_full = True
        self._next_look = trio.current_time() + LOOK_FOR_ROOM_EVERY
        released = await self._in_turn(self._engine.relieve)
        saved = "its reserve was released, so state can be saved once more" if released else "no reserve is left"
        text = f"the disk of {self.url} is full, and nothing of this was written; {saved}: free some space ({failure})"
        if began:
            self._tell(StoreError(text), events.StoreFull)
        # The one that finds the disk full may be the last save of a service that stops, or a mode that it holds.
        once_more = [request for request in batch if released and request.operation.uses_reserve]
        for request in batch:
            if request not in once_more:
                request.settle(_with_cause(StoreError(text), failure))
        if once_more:
            await self._serve_now(once_more)

    async def _admit_while_full(self, batch: list[Request]) -> list[Request]:
        now = trio.current_time()
        if now >= self._next_look:
            self._next_look = now + LOOK_FOR_ROOM_EVERY
            self.is_full = not await self._in_turn(self._engine.recover_room, self._largest_cut)
            if not self.is_full:
                return batch
        admitted = [request for request in batch if request.operation.uses_reserve]
        for request in batch:
            if not request.operation.uses_reserve:
                request.settle(
                    StoreError(
                        f"the disk of {self.url} is full: only saved checkpoints and what ends is still written; "
                        f"free some space, and it goes on within {LOOK_FOR_ROOM_EVERY:g} s"
                    )
                )
        return admitted

    @trio.lowlevel.enable_ki_protection
    async def _watch(self) -> None:
        """Give up a commit that does not come back: one deadline for all who wait, as the oldest has the earliest."""
        while True:
            with trio.CancelScope(deadline=self._deadline()) as self._patience:
                await trio.sleep_forever()
            if self._deadline() <= trio.current_time():  # else it came back in this very step
                self._give_up()

    def _deadline(self) -> float:
        waiting = (request for request in chain(self._under_way, self._queue) if not request.is_done)
        oldest = next(waiting, None)
        return oldest.queued_at + self.commit_timeout if oldest is not None else inf

    def _give_up(self) -> None:
        text = (
            f"a commit of {self.url} did not come back within {self.commit_timeout:g} s; "
            f"it may or may not be on disk: look before you repeat anything"
        )
        self._poison(OutcomeUnknownError(text))  # what was only queued is refused: it is known not to be written
        for request in self._under_way:
            request.settle(OutcomeUnknownError(text))

    def _poison(self, cause: BaseException) -> None:
        error = PoisonedError(
            f"the store {self.url} acknowledges nothing more, because it saw an error: {describe_error(cause)}; what was "
            f"being written may or may not be on disk. Reading still works; open it anew once the cause is gone"
        )
        error.__cause__ = cause
        self._stop(error)

    def _stop(self, error: Exception) -> None:
        if self.trouble is not None:
            return
        self.trouble = error
        queue, self._queue = self._queue, []
        for request in queue:
            request.settle(self._refusal(request.operation))
        self._tell(error, events.StorePoisoned)

    def _tell(self, error: Exception, event: type[events.StoreFull] | type[events.StorePoisoned]) -> None:
        logger.error("%s", error)
        tree = self.tree or current_tree()
        if tree.hooks:
            emit(tree, event, store=self.url, error=error)
        for listener in list(self.on_trouble):
            try:
                listener(error)
            except Exception:
                logger.exception("%r failed when it was told about the trouble of %s", listener, self.url)


def _plan(operations: list[Operation], draft: Draft) -> dict[Operation, Exception]:
    """The first operation that cannot be planned, if there is one."""
    for operation in operations:
        try:
            operation.plan(draft)
        except OSError:
            raise  # the medium, not the operation
        except Exception as error:
            return {operation: error}
    return {}


def _with_cause(error: Exception, cause: BaseException | None) -> Exception:
    error.__cause__ = cause
    return error
