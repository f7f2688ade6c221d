"""Where Stripe, as last fetched, says or bills something else than the books: cause and next step of each."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from core.billing.stripe.bills.astray import Bill, bills_astray
from core.billing.stripe.bills.span import Asked
from core.billing.stripe.lag import LAG
from core.clock import day_start
from core.db.queries import queries_beside

_SQL = queries_beside(__file__)
DIFFERENCES_MAX: Final = 1_000

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Difference:
    """A day of which Stripe says something else than the books."""

    account_id: str
    email: str
    currency: str
    day: date
    ours: int
    theirs: int
    fetched_at: datetime
    identifier: str | None
    invoice_id: str | None
    """The final invoice that the day is on."""

    @property
    def cause(self) -> str:
        apart = abs(self.theirs - self.ours)
        if self.theirs < self.ours:
            return (
                f"Stripe has {apart} units fewer than it accepted: an event was lost or cancelled"
            )
        if self.identifier is None:
            return (
                f"Stripe has {apart} units of a day that was never reported: sent by somebody else"
            )
        return (
            f"Stripe has {apart} units more than it accepted: somebody else sends to this customer"
        )

    @property
    def next_step(self) -> str:
        if self.invoice_id:
            return (
                f"{self.day} is on invoice {self.invoice_id}, which is final and is compared by itself:"
                f" hopsmeter explain --invoice {self.invoice_id}"
            )
        return f"hopsmeter stripe again '{self.account_id}' --day {self.day}"


def differences(connection: Connection, since: date) -> list[Difference | Bill]:
    """Return where Stripe, as last fetched, differs from what was accepted since a day.

    And the invoices of days since then about which a person decides.
    """
    bills = bills_astray(connection, Asked(since=day_start(since)))[:DIFFERENCES_MAX]
    return [*bills, *_differing(connection, since)]


def _differing(connection: Connection, since: date) -> list[Difference]:
    values = {"since": since, "lag_s": LAG.total_seconds(), "limit": DIFFERENCES_MAX}
    with connection.cursor(row_factory=class_row(Difference)) as cursor:
        return cursor.execute(_SQL["differences"], values).fetchall()
