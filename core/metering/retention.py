"""How long OpenCost's own answers are kept, by whole months; facts and daily rows stay.

A dropped month loses the last link of its proof chain and no figure: each window keeps the
SHA-256 and the total of the answer that its allocations come from.
"""

from datetime import date, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from core.clock import DAY

_DROP_LOCK_TIMEOUT_MS = 4000
"""Dropping a partition locks the table for a moment; collecting must not queue up behind it."""
_MONTHS = """
SELECT child.relname
FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
WHERE inhparent = 'hopsmeter.raw_answers'::regclass ORDER BY child.relname
"""
_AWAITED = """
SELECT EXISTS (SELECT FROM hopsmeter.collection_windows
               WHERE pending_raw_id IS NOT NULL AND hour >= %s AND hour < %s)
"""


def prepare_months(connection: psycopg.Connection[Any], now: datetime) -> None:
    """Make the partitions of this month and the next, so that no collector waits for them."""
    for month in (now, now.replace(day=1) + timedelta(days=32)):
        connection.execute("SELECT hopsmeter.ensure_partitions(%s)", [month])


def drop_old_answers(
    connection: psycopg.Connection[Any], now: datetime, *, keep_days: int
) -> list[str]:
    """Drop each month that ended `keep_days` ago; return those dropped, like `2026-03`.

    A month with an answer that waits for a person's decision is kept until that is made.
    """
    dropped = []
    for name in [row[0] for row in connection.execute(_MONTHS)]:
        year, number = (int(part) for part in name.rsplit("_", 2)[1:])
        first = date(year, number, 1)
        end = (first + timedelta(days=32)).replace(day=1)
        if end > (now - keep_days * DAY).date():
            continue
        with connection.transaction():
            connection.execute(
                "SELECT set_config('lock_timeout', %s, true)", [str(_DROP_LOCK_TIMEOUT_MS)]
            )
            awaited = connection.execute(_AWAITED, [first, end]).fetchone()
            if awaited is None or awaited[0]:
                continue
            connection.execute(sql.SQL("DROP TABLE hopsmeter.{}").format(sql.Identifier(name)))
        dropped.append(f"{year}-{number:02d}")
    return dropped
