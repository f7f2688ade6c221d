"""Subscriptions whose cycles begin within a day: the day between two of their invoices is on both."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from core.billing.stripe.bills.span import Asked
from core.db.queries import queries_beside

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class BegunWithin:
    """An account whose cycle begins at the instant `at` (UTC), of `day`, which is no midnight."""

    account_id: str
    email: str
    currency: str
    subscription_id: str
    at: datetime
    day: date

    @property
    def cause(self) -> str:
        return (
            f"the cycles of {self.subscription_id} begin at {self.at:%H:%M:%S} UTC, within a day: two"
            f" invoices bill {self.day}, and what that is too much is taken off only later"
        )

    @property
    def next_step(self) -> str:
        return (
            f"cancel {self.subscription_id} in Stripe with a last invoice, then hopsmeter stripe link"
            f" '{self.account_id}' makes one that begins at 00:00 UTC"
        )


def begun_within(connection: Connection, asked: Asked) -> list[BegunWithin]:
    """Return the accounts whose own subscription lives, and has cycles that begin within a day of UTC."""
    with connection.cursor(row_factory=class_row(BegunWithin)) as cursor:
        return cursor.execute(_SQL["begun_within"], asked.values).fetchall()
