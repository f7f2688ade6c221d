"""Events from outside: what came, and what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from core.db.queries import queries_beside
from core.errors import Unknown
from core.identity.principal import Principal

_SQL = queries_beside(__file__)
LINES_MAX: Final = 10_000
STATES: Final = ("due", "done", "unknown", "given up")

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class EventLine:
    """One event, newest first in a list. `deliveries` is how often it came; 0: only fetched.

    `said` is what it came to, `error` why its last try failed, `note` what is odd of it.
    """

    event_id: str
    source: str
    type: str
    state: str
    subject: str
    about: dict[str, str]
    created_at: datetime | None
    received_at: datetime
    done_at: datetime | None
    came: str
    deliveries: int
    tries: int
    next_try_at: datetime | None
    """Of one that is due."""
    said: str
    error: str
    note: str
    livemode: bool | None
    api_version: str
    body_sha256: str


@dataclass(frozen=True)
class Wanted:
    """Which events; None: any. `type` may end with `*`, `since` is when they came."""

    state: str | None = None
    type: str | None = None
    since: datetime | None = None


def event_lines(
    connection: Connection, principal: Principal, wanted: Wanted, limit: int
) -> list[EventLine]:
    """Return the newest events that are wanted; for admins."""
    principal.require_admin("read events from outside")
    pattern = None
    if wanted.type is not None:
        escaped = wanted.type.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
        pattern = escaped.replace("*", "%")
    values = {"state": wanted.state, "type": pattern, "since": wanted.since, "limit": limit}
    with connection.cursor(row_factory=class_row(EventLine)) as cursor:
        return cursor.execute(_SQL["webhook_events"], values).fetchall()


def event_line(connection: Connection, principal: Principal, event_id: str) -> EventLine:
    """Return one event by its sender's id; Unknown where there is none."""
    principal.require_admin("read events from outside")
    with connection.cursor(row_factory=class_row(EventLine)) as cursor:
        found = cursor.execute(_SQL["webhook_event"], {"event_id": event_id}).fetchone()
    if found is None:
        raise Unknown(
            f"There is no event {event_id!r}; `hopsmeter webhooks list` has those that came."
        )
    return found


@dataclass(frozen=True)
class Waiting:
    """Of a state: how many, and since when the oldest waits (of those that are due)."""

    state: str
    count: int
    oldest_s: float


def waiting(connection: Connection) -> Sequence[Waiting]:
    """Return the events that are not done by state; those done are too many to count again and again."""
    with connection.cursor(row_factory=class_row(Waiting)) as cursor:
        return cursor.execute(_SQL["webhook_events_waiting"]).fetchall()
