"""Final invoices beside what is counted for their days."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from core.billing.stripe.bills.span import Asked
from core.billing.stripe.units import NOT_TAKEN, UNIT_NANO, minor_nano
from core.db.queries import queries_beside
from core.money import exact_from_nano

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class FinalInvoice:
    """What a final invoice bills of days [day, last_day], and how many units count as told of them.

    `line_minor` in the currency's smallest unit. Pending until it is compared. Put right, or
    given back since another bills its days: by a person, as it is now.
    """

    invoice_id: str
    account_id: str
    email: str
    currency: str
    day: date
    last_day: date
    units: int
    counted: int
    line_minor: int | None
    fetched_at: datetime
    is_void: bool
    is_pending: bool
    is_put_right: bool
    is_given_back: bool

    @property
    def fault(self) -> str:
        """Say what it bills that is not so; nothing where it agrees, is void or not compared yet."""
        if self.is_void or self.is_pending:
            return ""
        if self.units != self.counted:
            return (
                f"invoice {self.invoice_id} bills {self.units} units, its days have {self.counted}"
            )
        if not self._over_nano:
            return ""
        return (
            f"invoice {self.invoice_id} bills {exact_from_nano(self._line_nano)} {self.currency} for"
            f" {self.units} units, which are {exact_from_nano(self.units * UNIT_NANO)}"
        )

    @property
    def is_by_hand(self) -> bool:
        """Whether a person settled in Stripe what is wrong with it."""
        return self.is_given_back or (bool(self.fault) and self.is_put_right)

    @property
    def due_nano(self) -> int:
        """What is owed and not billed by it, in nano-units; less than nothing where it bills too much."""
        if self.units != self.counted:
            return (self.counted - self.units) * UNIT_NANO
        return -self._over_nano

    @property
    def _line_nano(self) -> int:
        return (self.line_minor or 0) * minor_nano(self.currency)

    @property
    def _over_nano(self) -> int:
        """By how much its line is above the price of its units, where that is more than rounding."""
        if self.line_minor is None or self.currency in NOT_TAKEN:
            return 0
        over = self._line_nano - self.units * UNIT_NANO
        # Rounded once, on the line; which way a half goes is Stripe's.
        return over if 2 * abs(over) > minor_nano(self.currency) else 0


def final_invoices(connection: Connection, asked: Asked) -> list[FinalInvoice]:
    """Return the final invoices over usage, void ones among them, the oldest first."""
    with connection.cursor(row_factory=class_row(FinalInvoice)) as cursor:
        return cursor.execute(_SQL["final"], asked.values).fetchall()
