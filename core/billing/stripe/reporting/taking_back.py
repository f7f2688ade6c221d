"""Units that counted as told and do not any more, or the other way round: a report that is not sent says so."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg

from core.clock import day_of
from core.db.queries import queries_beside

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Has:
    """What Stripe has of a day, or has more of a sum, for an instant of it."""

    value: int
    event_at: datetime


def take_back(
    connection: Connection,
    account_no: int,
    unheard: dict[date, int],
    ref: str,
    memo: str,
    now: datetime,
    *,
    has: Has | None = None,
) -> None:
    """Count units of days as unreported again, under the lock REPORTING; the next run goes on from there.

    A report that is not sent says so, and what was posted as accepted is taken back. `has`: what it says
    that Stripe has, where that was seen; else it has what it had.
    """
    values = {"account_no": account_no, "days": sorted(unheard)}
    posted_on = posting_date(connection, day_of(now))
    for day, seq, meter, unit, remainder, entry_id in connection.execute(
        _SQL["newest_reports"], values
    ).fetchall():
        late = {
            "account_no": account_no,
            "day": day,
            "late": unheard[day],
            "unit": unit,
            "remainder": remainder,
            "meter": meter,
            "ref": f"{ref} {day} {account_no}:{seq + 1}",
            "memo": memo,
            "reverses": entry_id,
            "posted_on": posted_on,
            "value": has.value if has else None,
            "event_at": has.event_at if has else now,
            "now": now,
        }
        connection.execute(_SQL["take_back"], late)


def posting_date(connection: Connection, today: date) -> date:
    """Return the date on which what is posted today stands."""
    row = connection.execute("SELECT hopsmeter.posting_date(%s, %s)", [today, today]).fetchone()
    assert row is not None
    on: date = row[0]
    return on
