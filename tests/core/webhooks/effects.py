"""Handlers whose effects a test can count: a row for each time that one was applied."""

import asyncio
import itertools
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from core.clock import Clock
from core.db.connect import connect
from core.errors import StripeAway
from core.webhooks.event import Connection, Delivery, Event, Handler
from core.webhooks.handle import LEASE_S, End, Handled, handle_due
from core.webhooks.store import store
from tests.database import Database
from tests.factories import NOW

KIND = "invoice.paid"
SAYS = "ready"


@dataclass
class Outside:
    """Somebody whose state has a version that only rises; `faults` are raised, one a fetch."""

    fetch_s: float = 0.0
    faults: list[Exception] = field(default_factory=list)
    _versions: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    async def state(self) -> int:
        with self._lock:
            if self.faults:
                raise self.faults.pop(0)
            version = next(self._versions)
        await asyncio.sleep(self.fetch_s)
        return version


async def fetch(outside: Outside, event: Event) -> int:
    return await outside.state()


def apply(connection: Connection, fetched: int, event: Event, at: datetime) -> str:
    connection.execute(
        "INSERT INTO public.effects (event_id, subject, version, at) VALUES (%s, %s, %s, %s)",
        [event.event_id, event.subject, fetched, at],
    )
    return f"version {fetched}"


HANDLERS: Mapping[str, Handler[Outside, Any]] = {KIND: Handler(fetch, apply)}


def prepare(connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "CREATE TABLE public.effects (no int GENERATED ALWAYS AS IDENTITY, event_id text,"
        " subject text, version int, at timestamptz)"
    )


def delivery(event_id: str = "evt_1", subject: str = "cus_1", **changes: Any) -> Delivery:
    given: dict[str, Any] = {"source": "stripe", "type": KIND, **changes}
    return Delivery(event_id=event_id, subject=subject, **given)


def put(connection: psycopg.Connection[Any], *event_ids: str, subject: str = "cus_1") -> None:
    store(connection, [delivery(event_id, subject) for event_id in event_ids])


def handle(
    database: Database,
    outside: Outside | None = None,
    handlers: Mapping[str, Handler[Outside, Any]] = HANDLERS,
    *,
    clock: Clock = lambda: NOW,
    lease_s: float = LEASE_S,
    told: list[Handled] | None = None,
) -> dict[End, int]:
    """Handle what is due once, on a connection of our own."""
    with connect(database.url, name="handler") as connection:
        return asyncio.run(
            handle_due(
                connection,
                "stripe",
                handlers,
                outside or Outside(),
                clock,
                tell=(told if told is not None else []).append,
                lease_s=lease_s,
            )
        )


def away() -> Exception:
    return StripeAway("Stripe gave no answer in time.")


def make_due(connection: psycopg.Connection[Any]) -> None:
    """Let all pauses be over."""
    connection.execute("UPDATE hopsmeter.webhook_events SET next_try_at = clock_timestamp()")


def _stuck(where: str) -> Handler[Outside, Any]:
    """Return a handler that says that it was reached, and never ends."""

    def stop() -> None:
        sys.stdout.write(f"{SAYS}\n")
        sys.stdout.flush()
        time.sleep(60)

    async def fetch_stuck(outside: Outside, event: Event) -> int:
        if where == "fetch":
            stop()
        return await fetch(outside, event)

    def apply_stuck(connection: Connection, fetched: int, event: Event, at: datetime) -> str:
        said = apply(connection, fetched, event, at)
        if where == "apply":
            stop()
        return said

    return Handler(fetch_stuck, apply_stuck)


def play(url: str, where: str, lease_s: float) -> None:
    """Handle what is due and stop for ever at `where`: for a process that is killed there."""
    with connect(url, name="to be killed") as connection:
        handlers = {KIND: _stuck(where)}
        asyncio.run(
            handle_due(connection, "stripe", handlers, Outside(), lambda: NOW, lease_s=lease_s)
        )


if __name__ == "__main__":
    play(sys.argv[1], sys.argv[2], float(sys.argv[3]))
