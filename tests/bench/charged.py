"""What a bench charges everybody, so that there is something to tell Stripe."""

from datetime import datetime, timedelta
from typing import Any

import psycopg

from core.clock import day_of


def charge_everybody(connection: psycopg.Connection[Any], now: datetime) -> None:
    """Let a posting of yesterday charge every account."""
    yesterday = day_of(now) - timedelta(days=1)
    with connection.transaction():
        connection.execute(
            "INSERT INTO hopsmeter.postings (day, no, entries) SELECT %(day)s,"
            " coalesce((SELECT max(no) FROM hopsmeter.postings WHERE day = %(day)s), 0) + 1,"
            " (SELECT count(*) FROM hopsmeter.users)",
            {"day": yesterday},
        )
        connection.execute(
            "SELECT count(hopsmeter.write_entry(u.no, 2::smallint, 11::smallint, -1234567 - u.no,"
            " %(day)s, %(day)s, p.no, NULL, NULL, NULL)) FROM hopsmeter.users u,"
            " (SELECT max(no) AS no FROM hopsmeter.postings WHERE day = %(day)s) p",
            {"day": yesterday},
        )
    connection.execute("ANALYZE")
