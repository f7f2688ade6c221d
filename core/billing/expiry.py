"""Expiry: what is left in a lot past its date is posted as expired, once its days are all in."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg

from core.clock import day_of
from core.db.queries import queries_beside

_SQL = queries_beside(__file__)
WAIT_MAX = timedelta(hours=72)
"""For late hours of the days before a lot's date; then it expires whatever is missing."""
LOTS_MAX = 10_000
"""Posted in one run; what is left is taken up by the next."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Expired:
    """What one run posted: lots that were past their date, and how many of them held something."""

    lots: int
    emptied: int


def expire_due(connection: Connection, now: datetime) -> Expired:
    """Post every lot that is past its date and waits for no hour any more, each by itself."""
    today = day_of(now)
    values = {"today": today, "limit": LOTS_MAX}
    ready: dict[date, bool] = {}
    lots = emptied = 0
    for lot, account, expires_on in connection.execute(_SQL["lots_past_date"], values).fetchall():
        if expires_on not in ready:
            ready[expires_on] = _waited(expires_on, now) or _settled(connection, expires_on)
        if not ready[expires_on]:
            continue
        row = connection.execute(
            "SELECT hopsmeter.expire_lot(%s, %s, %s)", [account, lot, today]
        ).fetchone()
        lots += 1
        emptied += bool(row and row[0])
    return Expired(lots, emptied)


def _waited(expires_on: date, now: datetime) -> bool:
    return now >= datetime(expires_on.year, expires_on.month, expires_on.day, tzinfo=UTC) + WAIT_MAX


def _settled(connection: Connection, expires_on: date) -> bool:
    row = connection.execute(_SQL["settled_before"], {"day": expires_on}).fetchone()
    return bool(row and row[0])
