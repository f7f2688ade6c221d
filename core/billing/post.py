"""Post: bring the daily rows of touched days to what their allocations say.

Apart from the store, and as a difference: so it is the same whether it runs once or twice, after
every hour or after a crash. `posted_no` takes the `stored_no` that the statement's snapshot saw;
a store that commits meanwhile is seen by the next posting.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg

from core.clock import day_of
from core.db.locks import Lock, take
from core.db.queries import queries_beside

_SQL = queries_beside(__file__)
DAYS_MAX = 400
"""Days posted in one run; what is left stays marked and is taken up by the next."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class PostReport:
    """What one run of posting did: days and hours posted, daily rows written, days closed."""

    days: int = 0
    hours: int = 0
    rows: int = 0
    closed: int = 0


def post_due(connection: Connection, now: datetime) -> PostReport:
    """Post every touched day, one transaction each, and close the days that are over."""
    days = connection.execute(_SQL["days_to_post"], {"limit": DAYS_MAX}).fetchall()
    hours = rows = 0
    for (day,) in days:
        written, marked = _post_day(connection, day, now)
        hours += marked
        rows += written
    return PostReport(len(days), hours, rows, _close_over(connection, now))


def _post_day(connection: Connection, day: date, now: datetime) -> tuple[int, int]:
    with connection.transaction():
        take(connection, Lock.POSTING)
        row = connection.execute(_SQL["post_usage"], {"day": day}).fetchone()
        assert row is not None
        written, marked, clusters = row
        if not marked:
            return 0, 0
        connection.execute(_SQL["posting_no"], {"day": day})
        if day < day_of(now):
            _close(connection, day, clusters, now)
        connection.execute("SELECT pg_notify('hopsmeter_books', 'posted')")
        return written, marked


def _close_over(connection: Connection, now: datetime) -> int:
    values = {"today": day_of(now), "limit": DAYS_MAX}
    closed = 0
    for day, clusters in connection.execute(_SQL["days_to_close"], values).fetchall():
        with connection.transaction():
            take(connection, Lock.POSTING)
            _close(connection, day, clusters, now)
        closed += len(clusters)
    return closed


def _close(connection: Connection, day: date, clusters: list[int], now: datetime) -> None:
    values = {"day": day, "clusters": clusters, "now": now}
    for name in ("clear_cost_daily", "write_cost_daily", "write_breakdown", "close_days"):
        connection.execute(_SQL[name], values)
