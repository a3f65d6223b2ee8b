"""What a component sees while it runs."""

import contextlib
import math
import random
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from genesis_trio._interrupts import uninterrupted
from genesis_trio._runtime import utcnow
from genesis_trio.errors import MailboxFullError, StoreError
from genesis_trio.messaging.pump import ItemSink, ItemSource, pump_items, sender_of
from genesis_trio.messaging.requests import Request, RequestReader
from genesis_trio.messaging.subscription import Subscription
from genesis_trio.messaging.topic import Overflow, Sender, Topic, check_topic
from genesis_trio.modes import ModeScope
from genesis_trio.policies._outcome import RetryRule
from genesis_trio.supervision._depth import watch_depth
from genesis_trio.supervision._first_mistakes import check_count, check_gauge
from genesis_trio.supervision._subscribing import (
    check_capacity,
    check_seconds,
    check_subscription,
    open_mailbox,
    watch_age,
)

if TYPE_CHECKING:
    from genesis_trio.persistence.checkpoints import CheckpointInfo
    from genesis_trio.persistence.store import Store
    from genesis_trio.supervision._incarnation import Incarnation

__all__ = ["Context"]

T = TypeVar("T")


class Context:
    """The world of one incarnation: given to ``run``, of no use after it has ended.

    Attributes:
        name: The child's name.
        path: Its path in the tree, as ``desk/ledger``.
        scope: Its own mode scope: a cause held there binds this component alone.
        generation: Which incarnation this is, from 1.
        options: What the configuration gave it.
    """

    __slots__ = ("__weakref__", "_bus", "_child", "_incarnation", "_rng", "_sender", "generation", "scope")

    def __init__(self, incarnation: "Incarnation") -> None:
        child = incarnation.child
        self._incarnation = incarnation
        self._child = child
        self._bus = child.tree.bus
        self.scope: ModeScope = child.scope
        self.generation: int = incarnation.number
        self._rng: random.Random | None = None
        self._sender: Sender | None = None

    def __repr__(self) -> str:
        return f"<Context of {self.path!r}, generation {self.generation}>"

    @property
    def name(self) -> str:
        return self._child.name

    @property
    def path(self) -> str:
        return self._child.path

    @property
    def supervisor_scope(self) -> ModeScope:
        """The mode scope of its supervisor: a cause held there binds all the children, as a limit of the desk has to."""
        return self._child.supervisor.scope

    @property
    def options(self) -> Any:
        return self._child.options

    @property
    def rng(self) -> random.Random:
        """Its own source of randomness, derived from the tree's."""
        if self._rng is None:
            # When asked for, since it is 2.5 kB and 10 us.  By name and number, not drawn: what one child uses must not move
            # what another sees.
            self._rng = random.Random(f"{self._child.seed}/{self.generation}")
        return self._rng

    # ------------------------------------------------------------ life

    @property
    def stopping(self) -> bool:
        """True once the component is to end.  Subscriptions end by themselves then; other loops look here."""
        return self._incarnation.stopping

    @trio.lowlevel.enable_ki_protection
    async def wait_stopping(self) -> None:
        """Wait until the component is to end.

        Trio checkpoint: always.
        """
        await trio.lowlevel.checkpoint()
        await self._incarnation.wait_stopping()

    def utcnow(self) -> datetime:
        """The wall time: Trio's clock plus an offset taken once per run.  The only wall clock there is.

        Trio checkpoint: never.
        """
        return utcnow()

    @trio.lowlevel.enable_ki_protection
    def ready(self, value: object = None) -> None:
        """Say that the component works: ``start()`` returns, and those that require it may start.

        Again has no effect.

        Trio checkpoint: never.
        """
        self._incarnation.ready(value)

    def healthy(self) -> None:
        """Say that the trouble is over: the restart delay starts anew.

        Trio checkpoint: never.
        """
        self._child.forget_crashes()

    def unhealthy(self, reason: str) -> AbstractContextManager[None]:
        """Count as failing while inside the block; *reason* says in words what does not work.

        Trio checkpoint: never.
        """
        return self._incarnation.unhealthy(reason)

    def heartbeat(self) -> None:
        """Say that there is progress; asking for the next message says it too.

        Trio checkpoint: never.
        """
        self._incarnation.beat()

    def count(self, name: str, n: int = 1) -> None:
        """Add *n*, a whole number that is not negative, to the component's counter *name*."""
        child = self._child
        if name.__class__ is not str or n.__class__ is not int or n < 0:
            check_count(child.path, name, n)
        child.counters = child.counters or {}
        child.counters[name] = child.counters.get(name, 0) + n

    def gauge(self, name: str, value: float) -> None:
        """Set the component's gauge *name* to *value*, a number."""
        child = self._child
        if name.__class__ is not str or value.__class__ is not float:
            value = check_gauge(child.path, name, value)
        child.gauges = child.gauges or {}
        child.gauges[name] = value

    # ------------------------------------------------------------ messages

    @trio.lowlevel.enable_ki_protection
    def publish(self, topic: Topic[T], message: T, *, retry_of: MailboxFullError | None = None) -> None:
        """Put *message* into every mailbox of *topic* now; never waits.

        Args:
            retry_of: What it was refused with before: it goes only to those who refused it, as that message, also to `record`.

        Raises:
            MailboxFullError: BLOCK or REJECT mailboxes were full, and are named; all others have the message.
            RuntimeError: it is called from another thread; no mailbox has the message.

        Trio checkpoint: never.
        """
        bus = self._bus
        # Some 70 ns of 400, for what is done by mistake in the callbacks of other libraries: a reader that is woken from
        # a foreign thread ends the whole run later, by an internal error of Trio's.
        if get_ident() != bus.thread:
            raise RuntimeError(
                f"{self.path!r} called publish() from another thread than that of its trio.run; from there use "
                f"trio.from_thread.run_sync(ctx.publish, topic, message)"
            )
        sender = self._sender or self._make_sender()
        if retry_of is None:
            bus.publish(topic, message, sender)
        else:
            bus.publish_again(topic, message, sender, retry_of)

    @trio.lowlevel.enable_ki_protection
    async def send(self, topic: Topic[T], message: T, *, retry_of: MailboxFullError | None = None) -> None:
        """Put *message* into every mailbox of *topic*, once the BLOCK ones have room.

        Args:
            retry_of: As for `publish`.

        Raises:
            MailboxFullError: REJECT mailboxes were full, and are named; all others have the message.

        Trio checkpoint: always.
        Cancellation: the message is in no mailbox.
        """
        await self._child.tree.bus.send(topic, message, self._sender or self._make_sender(), retry_of)

    @trio.lowlevel.enable_ki_protection
    async def send_all(self, topic: Topic[T], messages: Sequence[T]) -> None:
        """Put *messages* into every mailbox of *topic*, in their order, as fast as the BLOCK ones have room.

        What ``batches()`` is for reading: one Trio checkpoint, and one step for all that there is room for.  With no
        message it only yields.

        Raises:
            MailboxFullError: a REJECT mailbox was full; all others have the message, those before it are sent, those
                after it are not.
            TypeError: one of them is not what the topic carries; nothing was sent.

        Trio checkpoint: always.
        Cancellation: only while it waits for room; what there was room for before is sent.
        """
        await self._child.tree.bus.send_all(topic, messages, self._sender or self._make_sender())

    def _make_sender(self) -> Sender:
        """Who this is to those who read its messages: made for the first one, as many components only read."""
        self._sender = Sender(self.path, f"{self._child.sender_prefix}.{self.generation}")
        return self._sender

    async def pump(
        self,
        source: "Subscription[Any] | ItemSource | AsyncIterable[Any]",
        target: "Topic[Any] | ItemSink",
        *,
        convert: Callable[[Any], Any] | None = None,
    ) -> int:
        """Move items from *source* to *target*, one after the other, until the source ends or the component is to stop.

        This is how the streams of other libraries meet mailboxes: Trio's channels, anyio's object streams, and anything
        with the same methods.  From a subscription, an item is in hand until *target* has taken it, so that it comes again
        after a crash.  Into a topic, it waits for room like `send`.  Each item counts as progress, like `heartbeat`.

        Args:
            source: A subscription, an object with ``async def receive()``, or what can be iterated over.
            target: A topic, or an object with ``async def send(item)``.  Neither is closed here.
            convert: A function of an item that gives what is put into *target*, or None for an item to be left out.

        Returns:
            How many items *target* got.

        Raises:
            Exception: what *source*, *target* or *convert* raised, bare.

        Trio checkpoint: always, if *source* has one.
        Cancellation: passes; an item that came from a stream and is in no mailbox yet is lost with it.
        """
        send = partial(self.send, target) if isinstance(target, Topic) else sender_of(target)
        return await pump_items(source, send, convert, beat=self.heartbeat, wait_stopping=self.wait_stopping)

    @uninterrupted
    @contextlib.asynccontextmanager
    async def subscribe(
        self,
        *topics: Topic[Any],
        capacity: int = 1024,
        overflow: Overflow = Overflow.BLOCK,
        every: float | None = None,
        max_age: float | None = None,
        max_depth: int | None = None,
    ) -> AsyncIterator[Subscription[Any]]:
        """One inbox for the messages of *topics*, in the order of their arrival.

        The mailbox belongs to the supervisor: it fills while the component restarts, and is there again
        for the next incarnation.  That of a component in a nested supervisor does so also while its host restarts, is parked or
        suspended; it is closed once the host has been ready for its ``start_timeout`` without starting that component again.
        So is one that the next incarnation does not open: `MailboxClosed` says how many messages go with it, or, where the state is
        saved, how many are kept until it is opened again.

        A message is in hand from its delivery until the reader asks for the next one, or leaves the block: leaving it
        normally, also by ``return``, means that the message is handled, or the whole batch; leaving it by an error or a
        cancellation means that it comes again.  ``break`` alone asks for nothing, so that what is done in the block
        after the loop still belongs to the message.

        Args:
            topics: At least one.
            capacity: How many messages may wait.
            overflow: What happens to one more.  A BLOCK or REJECT mailbox holds senders back only while the component is
                ready or between restarts.  In its first start, and while it stops, it takes more than *capacity*; while it
                is parked or suspended, it keeps the newest and counts the rest as missed.
            every: Seconds between `Timer` items; None: none.
            max_age: Seconds without a message after which the component counts as failing; None: never.
            max_depth: How many messages may wait before the component counts as failing, until no more than half as many
                do; smaller than *capacity*.  None: any number.

        Raises:
            ValueError: the component has a subscription to one of the topics already.

        Trio checkpoint: always, on entering.
        """
        check_subscription(topics, capacity, overflow, every, max_age, max_depth)
        await trio.lowlevel.checkpoint()
        incarnation = self._incarnation
        mailbox = open_mailbox(self._child, topics, capacity=capacity, overflow=overflow)
        subscription: Subscription[Any] = Subscription(mailbox, incarnation, every=every)
        incarnation.open(subscription)
        try:
            with watch_age(self._child, mailbox, max_age), watch_depth(self.unhealthy, mailbox, max_depth):
                yield subscription
            mailbox.settle()  # it left by itself: what it had in hand is done
        except BaseException as error:
            # The mailbox keeps what was in hand; it comes again.
            mailbox.left_by_error = isinstance(error, Exception)
            raise
        finally:
            incarnation.close(subscription)

    @trio.lowlevel.enable_ki_protection
    async def request(self, topic: Topic[T], message: T, *, timeout: float | None = None) -> Any:
        """Ask *message* on *topic* and return the answer.

        It waits as long as somebody may answer: a responder that crashed, restarts, is suspended or parked gets it again.
        A component that is to end before its responders begin again, because they restart together, is told at once.

        Args:
            timeout: Seconds to wait for it; None: as long as there is a responder, and 30 s for a first one to come.

        Raises:
            TotalTimeoutError: no answer within *timeout*.
            NoResponderError: the last responder was stopped for good, no other one came, or this component has to end
                first; says whether it had begun.
            MailboxFullError: as many requests wait as the responder has *capacity* for.
            Exception: what the responder gave to ``fail``.

        Trio checkpoint: always.
        Cancellation: passes; the request is withdrawn if nobody has begun with it.
        """
        if timeout is not None:
            check_seconds("timeout", timeout, math.inf)
        await trio.lowlevel.checkpoint()
        return await self._child.tree.bus.requests(topic).ask(message, timeout, self.path)

    @uninterrupted
    @contextlib.asynccontextmanager
    async def requests(self, topic: Topic[T], *, capacity: int = 1024) -> AsyncIterator[AsyncIterator[Request[T]]]:
        """The requests on *topic*, to be answered with ``reply`` or ``fail``.

        What was taken and is not answered when the block is left goes back to the topic.

        Args:
            capacity: How many may wait.

        Raises:
            ValueError: the component answers requests on that topic already.

        Trio checkpoint: always, on entering.
        """
        check_capacity(capacity, "requests")
        check_topic(topic)
        await trio.lowlevel.checkpoint()
        incarnation = self._incarnation
        queue = self._child.tree.bus.requests(topic)
        incarnation.check_no_reader_of(queue)
        queue.capacity = capacity
        queue.begin_to_answer(self.path)
        reader: RequestReader[T] = RequestReader(queue, incarnation)
        incarnation.open(reader)
        try:
            yield reader
        except BaseException as error:
            # What was taken is not given back yet: the supervisor knows whether this is a crash.
            incarnation.leave(reader, error)
            raise
        reader.close(None)
        incarnation.close(reader)
        if not incarnation.stopping:
            queue.pause_answering(self.path)

    # ------------------------------------------------------------ state

    def _store(self, what: str) -> "Store":
        store = self._child.tree.store
        if store is None:
            raise StoreError(f"{what} needs a store; open the supervisor with open_supervisor(..., store=store)")
        return store

    @trio.lowlevel.enable_ki_protection
    async def safe_point(self) -> None:
        """Say that the state is whole here: what it shows is in every later saved checkpoint.

        Raises:
            RuntimeError: a message is in hand; its effect on the state would be half.

        Trio checkpoint: always.
        """
        if self._incarnation.in_hand():
            raise RuntimeError(
                f"{self.path!r} called safe_point() with a message in hand; the state is whole once it asks for the next one"
            )
        if self._child.is_saved:
            self._incarnation.capture()
        await trio.lowlevel.checkpoint()

    def changed(self) -> None:
        """Say that the state has changed; for components with ``tracks_changes``.

        Trio checkpoint: never.
        """
        self._incarnation.touch()

    @trio.lowlevel.enable_ki_protection
    async def create_checkpoint(self, *, label: str | None = None) -> "CheckpointInfo":
        """Save a cut of the whole tree now; durable on return.

        Outside of a message it is a safe point of this component; with a message in hand the component contributes
        its last whole state and the messages since.

        Args:
            label: A name by which it can be restored, and which keeps it from being pruned.

        Trio checkpoint: always.
        Cancellation: before it begins; then the true outcome is returned.
        """
        self._store("create_checkpoint()")
        if self._child.is_saved and not self._incarnation.in_hand():
            self._incarnation.capture()
        saver = self._child.tree.saver
        assert saver is not None  # there is one where there is a store
        return await saver.save_now(label)

    @trio.lowlevel.enable_ki_protection
    async def record(self, event: object, *, key: str | None = None) -> int:
        """Write *event* to the component's journal, then apply it: ``state.apply(event)``.

        On return it is durable and applied.  A *key* that was recorded before returns its sequence and applies nothing;
        the default key is the message in hand and the number of the record for it, so that a message that comes again records
        nothing twice.  A given key is known for ever, a default one for as long as a checkpoint can bring its message again.

        Returns:
            The sequence in the component's journal, from 1, without gaps.

        Raises:
            TypeError: ``apply`` is annotated, and not with a class of *event*; nothing was written.
            RuntimeError: there is no *key*, and several messages are in hand, or one that another task reads: a task works
                on the message that it read, and so do those in nurseries that it opened since; nothing was written.
            StoreError: it is not durable; OutcomeUnknownError: it may be.
            Exception: what ``apply`` raised; the event stays recorded, and the component crashes, also if it catches this.

        Trio checkpoint: always.
        Cancellation: before it begins; then it is shielded until the outcome is known.
        """
        store = self._store("record()")
        sequence = await self._incarnation.recording.record(store, event, key)
        if self._child.tree.saver is not None:
            self._child.tree.saver.journal_grew()
        return sequence

    @trio.lowlevel.enable_ki_protection
    async def once(
        self,
        key: str,
        fn: Callable[..., Awaitable[T]],
        *args: Any,
        result_type: Any = None,
        not_sent: RetryRule | None = None,
    ) -> T:
        """Run ``fn(*args)``, an effect on the outside, at most once for *key*, across restarts.

        The intent is durable before it begins, the result before this returns; a later call with the same key returns the
        recorded result.

        Args:
            key: What tells this effect from every other one of the component, for ever: the id of the order.
            result_type: What the result is restored as; None: the return annotation of *fn*.
            not_sent: Errors that mean that nothing happened outside, as for a retry; they leave the key free.
                Refusals of ours (mode, breaker, rate limit, bulkhead) always do.

        Raises:
            EffectFailedError: an earlier call with this key failed; the recorded failure in words.
            OutcomeUnknownError: it was begun and not confirmed, and the component has no ``reconcile_once``.
            TypeError: no result type is known; nothing was run.

        Trio checkpoint: always.
        Cancellation: passes; the effect then counts as begun and not confirmed.
        """
        from genesis_trio.supervision._once import run_once

        return await run_once(
            self._store("once()"), self._incarnation, key, fn, args, result_type=result_type, not_sent=not_sent
        )
