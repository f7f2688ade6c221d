"""Partitions made ahead, and raw answers that are past their time dropped, a month at a time.

The proof outlives the bytes: a window keeps the SHA-256 and the sums of its answer. And the month
outlives both: an hour of it may be read late, or again, and its answer then needs a place.
"""

from datetime import datetime, timedelta
from typing import Any

import psycopg

from core.db.queries import queries_beside

_SQL = queries_beside(__file__)
AHEAD = timedelta(days=32)

Connection = psycopg.Connection[Any]


def prepare_months(connection: Connection, now: datetime) -> None:
    """Make sure that there are partitions for all that is metered, this month and the coming one."""
    row = connection.execute(_SQL["first_metered"]).fetchone()
    since = row[0] if row and row[0] else now
    connection.execute(_SQL["ensure_partitions"], {"since": min(since, now), "until": now + AHEAD})


def drop_old_answers(connection: Connection, now: datetime, *, keep_days: int) -> list[str]:
    """Drop the raw answers of months that ended `keep_days` ago; return those, as 2026-03.

    A month with an hour that still waits for a person keeps its answers.
    """
    before = now - timedelta(days=keep_days)
    dropped = []
    for (month,) in connection.execute(_SQL["old_raw_months"], {"before": before}).fetchall():
        with connection.transaction():
            connection.execute(_SQL["lock_partitions"])
            connection.execute("SELECT hopsmeter.drop_raw_answers(%s)", [month])
            connection.execute("SELECT hopsmeter.ensure_partitions(%s)", [month])
        dropped.append(f"{month:%Y-%m}")
    return dropped
