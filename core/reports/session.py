"""Who is asking, on which database, and whether a daemon is at work on it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row

from core.db.queries import queries_beside

_SQL = queries_beside(__file__)

ALIVE_WITHIN = timedelta(minutes=1)
"""A daemon says that it lives every few seconds; after this it counts as silent."""

Life = Literal["alive", "silent", "stopped", "none"]


@dataclass(frozen=True)
class Session:
    """The database as this session sees it; `user_id` is None for a role without a user."""

    database: str
    role: str
    server_version: str
    read_only: bool
    user_id: str | None
    email: str | None
    is_admin: bool


@dataclass(frozen=True)
class Daemon:
    """One installation's heartbeat."""

    name: str
    pid: int
    version: str
    started_at: datetime
    seen_at: datetime
    stopped_at: datetime | None


def session(connection: psycopg.Connection[Any]) -> Session:
    """Return who this connection is."""
    with connection.cursor(row_factory=class_row(Session)) as cursor:
        row = cursor.execute(_SQL["session"]).fetchone()
    assert row is not None
    return row


def daemons(connection: psycopg.Connection[Any]) -> tuple[Daemon, ...]:
    """Return every daemon that ever worked on this database, the freshest first."""
    with connection.cursor(row_factory=class_row(Daemon)) as cursor:
        return tuple(cursor.execute(_SQL["daemons"]))


def life(known: tuple[Daemon, ...], now: datetime) -> Life:
    """Say in a word whether anybody collects."""
    if not known:
        return "none"
    if any(each.stopped_at is None and now - each.seen_at < ALIVE_WITHIN for each in known):
        return "alive"
    return "stopped" if known[0].stopped_at is not None else "silent"
