"""Partitions made ahead, and raw answers that are past their time dropped, a month at a time.

The proof outlives the bytes: a window keeps the SHA-256 and the sums of its answer.
"""

from datetime import datetime, timedelta
from typing import Any

import psycopg

from core.db.queries import queries_beside

_SQL = queries_beside(__file__)
AHEAD = timedelta(days=32)

Connection = psycopg.Connection[Any]


def prepare_months(connection: Connection, now: datetime) -> None:
    """Make sure that this month's and the coming month's partitions are there."""
    connection.execute(_SQL["ensure_partitions"], {"since": now, "until": now + AHEAD})


def drop_old_answers(connection: Connection, now: datetime, *, keep_days: int) -> list[str]:
    """Drop the partitions of raw answers that ended `keep_days` ago; return them, as 2026-03.

    A month with an hour that still waits for a person keeps its answers.
    """
    before = now - timedelta(days=keep_days)
    dropped = []
    for (month,) in connection.execute(_SQL["old_raw_months"], {"before": before}).fetchall():
        connection.execute("SELECT hopsmeter.drop_raw_answers(%s)", [month])
        dropped.append(f"{month:%Y-%m}")
    return dropped
