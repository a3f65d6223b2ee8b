"""What is written down while a run goes on; its end is a `Recording`.

Times come in as the machine's monotonic ones and are kept so; the recording counts from the opening.
"""

from collections import Counter
from decimal import Decimal
from typing import Any

import attrs

from genesis_trio.demo.faults import Fault
from genesis_trio.demo.harness.recording import (
    Alive,
    Exit,
    Injection,
    Intent,
    Ledger,
    LedgerFill,
    LedgerOrder,
    Position,
    Recording,
    Span,
)

__all__ = ["Recorder"]


@attrs.define
class _Injection:
    fault: Fault
    began: float | None = None
    over: float | None = None


@attrs.define
class Recorder:
    """Hears everything that happens in one run.

    Attributes:
        restart_seconds: What the machine needs to start a desk, as its first start showed.  A killed desk is gone for as
            long by the nature of things, as a killed venue is: the fault is over, and its bound begins, after it.
    """

    side: str
    plan: tuple[Fault, ...] = ()
    opened: float | None = None
    alive: list[Alive] = attrs.field(factory=list)
    intents: dict[str, Intent] = attrs.field(factory=dict)
    modes: list[tuple[float, str]] = attrs.field(factory=list)
    exits: list[Exit] = attrs.field(factory=list)
    venue_down: list[Span] = attrs.field(factory=list)
    position: Position | None = None
    ledger: Ledger | None = None
    fills: int = 0
    guard_calls: int = 0
    guard_nanoseconds: float | None = None
    counts: Counter[str] = attrs.field(factory=Counter)
    problems: list[str] = attrs.field(factory=list)
    lag: float = 0.0
    restart_seconds: float = 0.0
    heard: list[tuple[float, str, dict[str, Any]]] = attrs.field(factory=list)
    mode: str = "NORMAL"
    ready: bool = False
    _injections: list[_Injection] = attrs.field(init=False)
    _down_since: float | None = None

    def __attrs_post_init__(self) -> None:
        self._injections = [_Injection(fault) for fault in self.plan]

    # ------------------------------------------------------------ faults

    def fault_began(self, kind: str, at: float) -> None:
        """The earliest fault of this kind that has not begun has now."""
        waiting = (each for each in self._injections if each.fault.kind.name == kind and each.began is None)
        if (found := next(waiting, None)) is not None:
            found.began = at
            if kind == "desk.kill":
                found.over = at + self.restart_seconds
            elif not found.fault.seconds or found.fault.kind.by == "desk":
                found.over = at + found.fault.seconds
        if kind == "link.refused":
            self.venue_went_down(at)

    def fault_over(self, kind: str, at: float) -> None:
        """The latest of this kind that lasts is over."""
        going_on = (each for each in self._injections if each.fault.kind.name == kind and each.began is not None)
        for found in going_on:
            if found.over is None:
                found.over = at
                break
        if kind == "link.refused":
            self.venue_came_up(at)

    @property
    def venue_is_down(self) -> bool:
        return self._down_since is not None

    @property
    def faults_begun(self) -> list[tuple[float, Fault]]:
        """What has taken effect until now, and when, in the order of the plan."""
        return [(each.began, each.fault) for each in self._injections if each.began is not None]

    def venue_went_down(self, at: float) -> None:
        if self._down_since is None:
            self._down_since = at

    def venue_came_up(self, at: float) -> None:
        if self._down_since is not None:
            self.venue_down.append(Span(self._down_since, at))
            self._down_since = None

    # ------------------------------------------------------------ the venue

    def hear_venue(self, event: dict[str, Any], now: float) -> None:
        self.heard.append((now, "venue", event))
        at = float(event.get("at", now))
        match event:
            case {"event": "alive", "age": age}:
                self.alive.append(Alive(at, float(age)))
            case {"event": "fault", "kind": str(kind)}:
                self.fault_began(kind, at)
            case {"event": "fault_over", "kind": str(kind)}:
                self.fault_over(kind, at)
            case {"event": "fill"}:
                self.fills += 1
            case {"event": "ledger"}:
                self.ledger = _read_ledger(event)
            case {"event": "garbled", "text": text}:
                self.problems.append(f"the venue said what is no event: {text}")
            case {"event": "refused", "error": error}:
                self.problems.append(f"the venue refused an order of the harness: {error}")

    # ------------------------------------------------------------ the desk

    def desk_started(self) -> None:
        self.mode = "NORMAL"
        self.counts["desk_started"] += 1

    def desk_ended(self, at: float, status: int, *, wanted: bool) -> None:
        self.exits.append(Exit(at, status, wanted))
        self.ready = False
        self.modes.append((at, "down"))

    def hear_desk(self, event: dict[str, Any], now: float) -> None:
        self.heard.append((now, "desk", event))
        match event:
            case {"event": "intent", "client_id": str(client_id)}:
                wish = event.get("wish")
                self.intents.setdefault(client_id, Intent(client_id, now, wish=None if wish is None else str(wish)))
            case {"event": "outcome", "client_id": str(client_id), "status": str(status)}:
                self._hear_outcome(client_id, status, now)
            case {"event": "position", "position": position, "cash": cash, "fills": fills}:
                self.position = Position(Decimal(position), Decimal(cash), int(fills))
            case {"event": "guard", "calls": calls, "nanoseconds_per_call": nanoseconds}:
                self.guard_calls, self.guard_nanoseconds = int(calls), float(nanoseconds)
            case {"event": "mode_raised" | "mode_lowered", "scope": str(scope), "mode": mode} if "/" not in scope:
                self.mode = str(mode)
                if self.ready:
                    self.modes.append((now, self.mode))
            case {"event": "desk_ready"}:
                self.ready = True
                self.modes.append((now, self.mode))
            case {"event": "garbled", "text": text}:
                self.problems.append(f"the desk said what is no event: {text}")
        self.counts[str(event.get("event"))] += 1

    def _hear_outcome(self, client_id: str, status: str, now: float) -> None:
        # An outcome without an intent happens too: of an order that is known from the venue alone.
        intent = self.intents.get(client_id) or Intent(client_id, now)
        known = status != "unknown"
        told = now if known and intent.told is None else intent.told
        self.intents[client_id] = attrs.evolve(
            intent, told=told, status=status if known or not intent.known else intent.status
        )

    # ------------------------------------------------------------ the end

    def everything(self) -> list[dict[str, Any]]:
        """All that was heard, by time: for whoever wants to know why."""
        opened = self.opened or 0.0
        return [
            {"side": self.side, "since_opening": round(at - opened, 4), "from": who, **event}
            for at, who, event in self.heard
        ]

    def finish(self, seconds: float) -> Recording:
        """The recording of a market that was open for so many *seconds*."""
        opened = self.opened or 0.0
        if self._down_since is not None:
            self.venue_came_up(opened + seconds)

        def since(at: float) -> float:
            return round(at - opened, 6)

        return Recording(
            side=self.side,
            seconds=seconds,
            alive=tuple(Alive(since(each.at), each.age) for each in self.alive),
            venue_down=tuple(Span(since(span.start), since(span.end)) for span in self.venue_down),
            injections=tuple(
                Injection(
                    each.fault.kind.name,
                    each.fault.at,
                    None if each.began is None else since(each.began),
                    None if each.over is None else since(each.over),
                )
                for each in self._injections
            ),
            intents=tuple(
                attrs.evolve(each, at=since(each.at), told=None if each.told is None else since(each.told))
                for each in self.intents.values()
            ),
            modes=tuple((since(at), mode) for at, mode in self.modes),
            exits=tuple(attrs.evolve(each, at=since(each.at)) for each in self.exits),
            position=self.position,
            ledger=self.ledger,
            guard_calls=self.guard_calls,
            guard_nanoseconds=self.guard_nanoseconds,
            counts=dict(self.counts),
            problems=tuple(self.problems),
            lag=round(self.lag, 3),
        )


def _read_ledger(event: dict[str, Any]) -> Ledger:
    return Ledger(
        orders=tuple(LedgerOrder(str(order["client_id"]), str(order["status"])) for order in event["orders"]),
        fills=tuple(
            LedgerFill(
                str(fill["client_id"]),
                str(fill["trade_id"]),
                str(fill["side"]),
                Decimal(fill["quantity"]),
                Decimal(fill["price"]),
            )
            for fill in event["fills"]
        ),
        position=Decimal(event["position"]),
        cash=Decimal(event["cash"]),
        conflicts=tuple(map(str, event["conflicts"])),
        repeated=int(event["repeated"]),
    )
