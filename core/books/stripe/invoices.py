"""Days that two invoices bill."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from core.db.queries import queries_beside

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class BilledTwice:
    """Days [day, last_day] that two invoices of an account bill.

    The other is not of the account's own subscription, unless neither is (then `is_own` is False),
    or both are.
    """

    account_id: str
    email: str
    day: date
    last_day: date
    invoice_id: str
    other_id: str
    subscription_id: str | None
    other_subscription_id: str | None
    is_own: bool
    other_status: str

    @property
    def span(self) -> str:
        if self.day == self.last_day:
            return str(self.day)
        return f"{self.day} to {self.last_day}"


def billed_twice(
    connection: Connection, since: datetime, until: datetime, limit: int
) -> list[BilledTwice]:
    """Return the days in [since, until) that two invoices of an account bill, drafts among them."""
    values = {"since": since, "until": until, "limit": limit}
    with connection.cursor(row_factory=class_row(BilledTwice)) as cursor:
        return cursor.execute(_SQL["billed_twice"], values).fetchall()
