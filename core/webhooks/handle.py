"""Events are handled at our pace: claimed by lease, once, tried again with growing pauses, given up at last.

An event is claimed in a commit of its own, its state fetched with no transaction open, and its effects
commit with its mark. Of one subject one event is in work at a time, whoever works: what was fetched is
never overwritten by what was fetched before it, in whatever order deliveries came.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar
from uuid import uuid4

import psycopg
from psycopg.rows import class_row

from core.clock import Clock, monotonic_s
from core.db.locks import Lock, take
from core.db.queries import queries_beside
from core.errors import HopsmeterError, LeaseLost, place_of
from core.webhooks.event import Connection, Event, Handler

_SQL = queries_beside(__file__)
PAUSES_S = (5, 30, 120, 600, 1_800, 3_600, 10_800, 21_600, *(43_200,) * 14)
"""After each try that failed; a week from the first to the last, longer than any outage known of."""
TRIES_MAX = len(PAUSES_S) + 1
FETCH_MAX_S = 110.0
"""For all that one event asks; above what one question may take with its tries (4 × 25 s)."""
LEASE_S = 300
"""Above what may be fetched, locks that are waited for, and effects."""
RUN_MAX_S = 100.0
AT_ONCE = 16
"""Fetched side by side; then applied one after the other."""
FAILURES_MAX = 32
"""In a row; then the outside is left alone until the next run."""
SAID_CHARS_MAX = 500

End = Literal["done", "failed", "given up", "unknown", "lost"]
Outside = TypeVar("Outside")


@dataclass(frozen=True)
class Handled:
    """How one try ended: `said` is what it came to, or why it did not; `bug` is where it broke."""

    event: Event
    end: End
    said: str
    bug: str = ""


@dataclass(frozen=True)
class _Asked:
    """What the outside said of an event, or what kept it from saying anything."""

    event: Event
    at: datetime
    fetched: Any = None
    fault: Exception | None = None


async def handle_due(
    connection: Connection,
    source: str,
    handlers: Mapping[str, Handler[Outside, Any]],
    outside: Outside,
    clock: Clock,
    *,
    tell: Callable[[Handled], None] = lambda _: None,
    stopping: Callable[[], bool] = lambda: False,
    lease_s: float = LEASE_S,
) -> dict[End, int]:
    """Handle what is due of a source, for RUN_MAX_S at most; return how many ended how.

    The connection is in autocommit and nobody else's. psycopg.OperationalError where it is lost: the
    leases bring back what was claimed.
    """
    assert connection.autocommit
    ends: dict[End, int] = {}
    failures = 0
    begun_s = monotonic_s()
    while failures < FAILURES_MAX and monotonic_s() - begun_s < RUN_MAX_S and not stopping():
        claimed = _claim(connection, source, lease_s)
        if not claimed:
            break
        # Nothing else turns in this loop while effects are applied, so they may block it.
        for asked in await asyncio.gather(
            *(_ask(event, handlers.get(event.type), outside, clock) for event in claimed)
        ):
            handled = _apply(connection, asked, handlers.get(asked.event.type))
            tell(handled)
            ends[handled.end] = ends.get(handled.end, 0) + 1
            failures = failures + 1 if handled.end in ("failed", "given up") else 0
    return ends


def _claim(connection: Connection, source: str, lease_s: float) -> list[Event]:
    """Take what is due, one of each subject that nobody works on; by turns, so that none is doubled."""
    values = {
        "source": source,
        "token": uuid4(),
        "lease_s": lease_s,
        "lease_max_s": 2 * max(lease_s, LEASE_S),
        "pause_max_s": 2 * max(PAUSES_S),
        "limit": AT_ONCE,
    }
    with connection.transaction(), connection.cursor(row_factory=class_row(Event)) as cursor:
        take(connection, Lock.WEBHOOKS)
        return cursor.execute(_SQL["claim_events"], values).fetchall()


async def _ask(
    event: Event, handler: Handler[Outside, Any] | None, outside: Outside, clock: Clock
) -> _Asked:
    at = clock()
    if handler is None:
        return _Asked(event, at)
    try:
        async with asyncio.timeout(FETCH_MAX_S):
            return _Asked(event, at, fetched=await handler.fetch(outside, event))
    except Exception as fault:  # noqa: BLE001 - one event's fault is none of the others'
        return _Asked(event, at, fault=fault)


def _apply(connection: Connection, asked: _Asked, handler: Handler[Any, Any] | None) -> Handled:
    event = asked.event
    if handler is None:
        said = "nothing is done for this type"
        return _marked(connection, "event_unknown", event, "unknown", said)
    try:
        return _do(connection, asked, handler)
    except LeaseLost as lost:
        return Handled(event, "lost", str(lost))
    except HopsmeterError as fault:
        return _failed(connection, event, str(fault))
    except TimeoutError:
        return _failed(connection, event, f"Its state was not told within {FETCH_MAX_S:g} s.")
    except psycopg.OperationalError as fault:
        if connection.closed:
            raise
        return _failed(connection, event, f"The database refused: {type(fault).__name__}.")
    except Exception as bug:  # noqa: BLE001 - whatever it is, the event is tried again and told of
        why = f"hopsmeter failed at this ({type(bug).__name__}): a bug; the log has its place."
        return _failed(connection, event, why, bug=place_of(bug))


def _do(connection: Connection, asked: _Asked, handler: Handler[Any, Any]) -> Handled:
    """Let the effects and the mark commit together; whatever the fetch raised is raised here."""
    event = asked.event
    if asked.fault is not None:
        raise asked.fault
    with connection.transaction():
        _require_ours(connection, event)
        said = handler.apply(connection, asked.fetched, event, asked.at)
        handled = _marked(connection, "event_done", event, "done", said)
        if handled.end == "lost":
            raise LeaseLost
    return handled


def _require_ours(connection: Connection, event: Event) -> None:
    """Begin nothing where the lease ended meanwhile. What decides is the mark, the last statement: the
    row is locked for a moment only, so that the same event delivered again waits for no effects.
    """
    if connection.execute(_SQL["still_ours"], _key(event)).fetchone() is None:
        raise LeaseLost


def _failed(connection: Connection, event: Event, why: str, *, bug: str = "") -> Handled:
    if event.tries >= TRIES_MAX:
        return _marked(connection, "event_given_up", event, "given up", why, bug=bug)
    pause_s = PAUSES_S[event.tries - 1]
    return _marked(connection, "event_failed", event, "failed", why, bug=bug, pause_s=pause_s)


def _marked(
    connection: Connection,
    name: str,
    event: Event,
    end: End,
    said: str,
    *,
    bug: str = "",
    **more: Any,
) -> Handled:
    """Write the end down; another one's token means that our lease ended, and it is theirs now."""
    values = {**_key(event), "said": _short(said), **more}
    if not connection.execute(_SQL[name], values).rowcount:
        return Handled(event, "lost", str(LeaseLost()))
    return Handled(event, end, _short(said), bug)


def _key(event: Event) -> dict[str, Any]:
    return {"id": event.id, "token": event.token}


def _short(said: str) -> str:
    return said.replace("\0", "")[:SAID_CHARS_MAX]
