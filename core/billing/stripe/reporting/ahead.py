"""What a clock of ours that was ahead has left, put right by Stripe's: without that nobody could wait it out."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from core.billing.stripe.moments import ahead_of
from core.billing.stripe.reporting.given_up import give_up
from core.billing.stripe.reporting.limits import FORGOTTEN
from core.billing.stripe.reporting.send import LEASE_S, PAUSES_S
from core.clock import day_of
from core.db.locks import Lock, take
from core.db.queries import queries_beside

_SQL = queries_beside(__file__)
BROUGHT_MAX: Final = 10_000
"""In one run; so many reports, and so many days."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class _ToCome:
    account_no: int
    day: date
    due_nano: int
    moves: int


def bring_back(connection: Connection, theirs: datetime) -> int:
    """Let nothing wait for a moment that only a clock ahead can have meant; return how many days were moved.

    `theirs` is the time by Stripe's clock. It refuses whatever is more than five minutes to come, so a
    report that still is never arrived, whatever its tries came to: it is given up. What was brought to a day
    to come goes to the one that runs.
    """
    with connection.transaction():
        take(connection, Lock.REPORTING)
        _shorten_waits(connection, theirs)
        values = {"ahead": ahead_of(theirs), "limit": BROUGHT_MAX}
        found = connection.execute(_SQL["reports_to_come"], values).fetchall()
        if found:
            give_up(connection, [row[0] for row in found], theirs)
        return _move(connection, day_of(theirs))


def _shorten_waits(connection: Connection, theirs: datetime) -> None:
    values = {
        "now": theirs,
        "ahead": ahead_of(theirs),
        "waits_until": ahead_of(theirs) + timedelta(seconds=PAUSES_S[-1]),
        "long_ago": theirs - FORGOTTEN,
        "lease_s": LEASE_S,
    }
    connection.execute(_SQL["shorten_waits"], values)


def _move(connection: Connection, today: date) -> int:
    with connection.cursor(row_factory=class_row(_ToCome)) as cursor:
        values = {"today": today, "limit": BROUGHT_MAX}
        found = cursor.execute(_SQL["days_to_come"], values).fetchall()
    for each in found:
        move = {
            "account_no": each.account_no,
            "from_day": each.day,
            "to_day": today,
            "amount_nano": each.due_nano,
            "kind": "late",
            "ref": f"to come {each.day} {each.moves}",
            "invoice_id": None,
            "by": "daemon",
            "why": f"a clock that was ahead brought it to {each.day}",
        }
        connection.execute(_SQL["move"], move)
    return len(found)
