"""Three ways beside each other: what OpenCost said, what the books say, what Stripe says it has."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from core.db.queries import queries_beside
from core.identity.principal import Principal
from core.identity.users import find_user

_SQL = queries_beside(__file__)
LINES_MAX: Final = 50_000

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class DayLine:
    """An account's day; amounts in nano-units of `currency`, `units` in the meter's.

    `receivable_nano` is what of the charge went to the receivable; the rest was paid by credits, or
    stands as arrears. `stripe_units` is None where nothing was fetched.
    """

    account_id: str
    email: str
    currency: str
    day: date
    cost_nano: int
    charge_nano: int
    receivable_nano: int
    moved_nano: int
    due_nano: int
    units: int
    stripe_units: int | None
    fetched_at: datetime | None
    accepted_at: datetime | None


def days(
    connection: Connection,
    principal: Principal,
    *,
    account: str | None,
    since: date,
    until: date,
) -> list[DayLine]:
    """Return each account's days in [since, until), all three ways beside each other."""
    principal.require_admin("compare the books with Stripe")
    values = {
        "account_no": find_user(connection, account).no if account else None,
        "since": since,
        "until": until,
        "limit": LINES_MAX,
    }
    with connection.cursor(row_factory=class_row(DayLine)) as cursor:
        return cursor.execute(_SQL["days"], values).fetchall()
