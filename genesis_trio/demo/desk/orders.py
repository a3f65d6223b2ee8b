"""Orders: written down before they are sent, and never left without knowing what became of them."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from genesis_trio import (
    NOT_DONE,
    AttemptTimeoutError,
    BreakerOpenError,
    Capability,
    CircuitBreaker,
    Component,
    Context,
    Criticality,
    GenesisError,
    Guard,
    ModeRefusedError,
    Retry,
    schema,
)
from genesis_trio.demo.desk.quoting import needs
from genesis_trio.demo.desk.topics import APPROVED, UPDATES, WORKING, Decision, Working
from genesis_trio.demo.trading.link import VenueBusyError, VenueLink
from genesis_trio.demo.trading.records import Order, OrderState, Status

__all__ = ["Execution", "ExecutionState", "Outcome"]

Tell = Callable[[Mapping[str, Any]], None]

TRANSIENT = (OSError, VenueBusyError, AttemptTimeoutError)
ATTEMPT = 0.5  # seconds that the venue has for an answer


@schema("desk.outcome")
@attrs.frozen
class Outcome:
    """What became of an order, as far as the venue has told."""

    client_id: str
    status: Status


@schema("desk.execution")
@attrs.define
class ExecutionState:
    """The orders that are not over, and those of them that the venue has said nothing about."""

    working: dict[str, Order] = attrs.field(factory=dict)
    unanswered: set[str] = attrs.field(factory=set)

    def apply(self, event: Order | Outcome) -> None:
        match event:
            case Order(client_id=client_id):
                self.working[client_id] = event
                self.unanswered.add(client_id)
            case Outcome(client_id=client_id, status=status):
                self.unanswered.discard(client_id)
                if status is not Status.OPEN:
                    self.working.pop(client_id, None)


class Execution(Component[ExecutionState]):
    """Write down what is meant, send it, write down the answer."""

    criticality = Criticality.CRITICAL

    def __init__(self, venue: VenueLink, tell: Tell) -> None:
        self.venue = venue
        self.tell = tell
        self.after: str | None = None
        breaker = CircuitBreaker(
            "venue.orders", failure_threshold=5, recovery_timeout=0.5, max_recovery_timeout=0.5, failure_on=TRANSIENT
        )
        patient = Retry(on=(*TRANSIENT, BreakerOpenError), max_retries=None, base_delay=0.05, max_delay=1.0)
        self.guards = {
            capability: Guard(
                f"venue.orders.{capability.name}",
                retry=Retry(on=TRANSIENT, max_retries=3, base_delay=0.05, max_delay=1.0),
                breaker=breaker,
                attempt_timeout=ATTEMPT,
                needs=capability,
                # No answer is not a no: before another attempt, the venue is asked whether it has the order.
                repeatable=False,
                reconcile=self.find,
            )
            for capability in (Capability.OPEN, Capability.REDUCE)
        }
        self.asking = Guard("venue.questions", retry=patient, breaker=breaker, attempt_timeout=ATTEMPT)
        self.alive = Guard("venue.alive", breaker=breaker, attempt_timeout=ATTEMPT)

    async def run(self, ctx: Context) -> None:
        await self.reconcile(ctx)
        async with ctx.subscribe(APPROVED, UPDATES) as inbox:
            self.publish(ctx)
            ctx.ready()
            async for message in inbox:
                match message:
                    case Decision():
                        await self.carry_out(ctx, message)
                    case OrderState():
                        await self.hear(ctx, message)
        for client_id in list(self.state.working):
            await self.cancel(ctx, client_id)  # whoever stops leaves nothing behind that trades

    async def reconcile(self, ctx: Context) -> None:
        """Before anything else: learn what became of every order that was meant when we died."""
        known = list(self.state.working)
        for client_id in known:
            await self.ask(ctx, client_id)
        for stray in await self.asking.execute(self.venue.open_orders):
            if stray.client_id not in self.state.working:
                await self.asking.execute(self.venue.cancel, stray.client_id)

    async def carry_out(self, ctx: Context, decision: Decision) -> None:
        for client_id in decision.cancels:
            await self.cancel(ctx, client_id)
        for order in decision.orders:
            await ctx.record(order, key=order.client_id)
            if order.client_id in self.state.unanswered:  # else it came again, and is dealt with
                await self.place(ctx, order)
        self.after = decision.name
        self.publish(ctx)
        if decision.sequence:
            try:
                await self.alive.execute(self.venue.show_life, decision.sequence)
            except (*TRANSIENT, GenesisError):
                ctx.count("signs_of_life_lost")

    async def place(self, ctx: Context, order: Order) -> None:
        self.tell({"event": "intent", "client_id": order.client_id})
        try:
            state = await self.guards[needs(order)].execute(self.venue.place, order)
        except (ModeRefusedError, BreakerOpenError):
            await self.write_down(ctx, order.client_id, Status.REFUSED)  # and it was never sent
        except TRANSIENT:
            await self.ask(ctx, order.client_id)
        else:
            await self.write_down(ctx, order.client_id, state.status)

    async def find(self, order: Order) -> object:
        return await self.asking.execute(self.venue.find, order.client_id) or NOT_DONE

    async def cancel(self, ctx: Context, client_id: str) -> None:
        if client_id in self.state.working:
            state = await self.asking.execute(self.venue.cancel, client_id)
            await self.write_down(ctx, client_id, state.status if state is not None else Status.REFUSED)

    async def ask(self, ctx: Context, client_id: str) -> None:
        """Ask until the venue says what became of an order; one that it does not have never got there."""
        with ctx.unhealthy(f"the venue has not said what became of {client_id}"):
            state = await self.asking.execute(self.venue.find, client_id)
        await self.write_down(ctx, client_id, state.status if state is not None else Status.REFUSED)

    async def hear(self, ctx: Context, state: OrderState) -> None:
        """The venue says by itself what becomes of an order; sometimes late, sometimes twice."""
        if state.client_id in self.state.working:
            await self.write_down(ctx, state.client_id, state.status)
            self.publish(ctx)
        elif state.status is Status.OPEN:
            now = await self.asking.execute(self.venue.find, state.client_id)
            if now is not None and now.status is Status.OPEN:
                await self.asking.execute(self.venue.cancel, state.client_id)

    async def write_down(self, ctx: Context, client_id: str, status: Status) -> None:
        await ctx.record(Outcome(client_id, status), key=f"{client_id} {status.value}")
        self.tell({"event": "outcome", "client_id": client_id, "status": status.value})

    def publish(self, ctx: Context) -> None:
        ctx.publish(WORKING, Working(tuple(self.state.working.values()), self.after))
