"""All months: open or closed, and of each that is over and open, what stands in its way."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from core.books.months.obstacles import Obstacle, obstacles
from core.books.months.untold import Unlinked, unlinked
from core.clock import day_of
from core.db.queries import queries_beside

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Month:
    """One month of the books; `is_closed` without `closed_at`: a later one is closed."""

    month: str
    entries: int
    accounts: int
    statements: int
    is_closed: bool
    closed_at: datetime | None
    closed_by: str | None
    why: str
    obstacles: tuple[Obstacle, ...]
    unlinked: tuple[Unlinked, ...] = ()
    """Accounts that owe something of it and are not linked to Stripe: they hold nothing up."""


def months(connection: Connection, now: datetime) -> tuple[Month, ...]:
    """Return every month with entries or metered hours, the newest first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_SQL["months"], {"today": day_of(now)}).fetchall()
    return tuple(_month(connection, row, now) for row in rows)


def _month(connection: Connection, row: dict[str, Any], now: datetime) -> Month:
    first: date = row.pop("month")
    after = (first + timedelta(days=32)).replace(day=1)
    in_the_way = () if row["is_closed"] else obstacles(connection, first, after, now)
    beside = () if row["is_closed"] else unlinked(connection, first, after, now)
    return Month(month=f"{first:%Y-%m}", obstacles=in_the_way, unlinked=beside, **row)
