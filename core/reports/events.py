"""What waits to be told to the outside, and what could not be."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from core.db.queries import queries_beside

_SQL = queries_beside(__file__)
LATELY: Final = timedelta(days=14)
"""How long somebody is reminded of events that were given up."""


@dataclass(frozen=True)
class Outgoing:
    """Events on their way out; `fault` is the newest reason why one did not arrive."""

    waiting: int
    waiting_since: datetime | None
    unsent: int
    """Put aside, since no webhook was set; the log and the audit trail have them."""
    given_up: int
    fault: str


def outgoing(connection: psycopg.Connection[Any], now: datetime) -> Outgoing:
    """Return how many events wait, were put aside, or were given up lately."""
    with connection.cursor(row_factory=class_row(Outgoing)) as cursor:
        row = cursor.execute(_SQL["outgoing_events"], {"now": now, "lately": LATELY}).fetchone()
    assert row is not None
    return row
