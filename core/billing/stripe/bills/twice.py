"""Days that two invoices bill."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import class_row

from core.billing.stripe.bills.span import Asked
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
    currency: str
    day: date
    last_day: date
    invoice_id: str
    other_id: str
    subscription_id: str | None
    other_subscription_id: str | None
    is_own: bool
    other_status: str

    @property
    def cause(self) -> str:
        span = str(self.day) if self.day == self.last_day else f"{self.day} to {self.last_day}"
        said = f"invoices {self.invoice_id} and {self.other_id} both bill {span}"
        if self.subscription_id == self.other_subscription_id:
            return said
        return (
            f"{said}: two subscriptions with our price, {self.subscription_id or 'none'} and"
            f" {self.other_subscription_id or 'none'}"
        )

    @property
    def next_step(self) -> str:
        if self.subscription_id == self.other_subscription_id:
            return self._give_back
        which = self.other_subscription_id
        if not self.is_own:
            which = "the one that `hopsmeter stripe accounts --json` does not name"
        return f"cancel {which} in Stripe if it lives; {self._give_back}"

    @property
    def _give_back(self) -> str:
        if not self.is_own:
            return (
                "void the invoice that is one too many; or refund it, or give a credit note, then"
                f" stripe settle --invoice {self.other_id} --put-right, or the other"
            )
        if self.other_status == "draft":
            return f"{self.other_id} is a draft: void it as soon as it is final"
        settle = f"stripe settle --invoice {self.other_id} --put-right"
        if self.other_status == "paid":
            return f"refund {self.other_id}, or give a credit note for these days, then {settle}"
        return f"void {self.other_id}; or give a credit note for these days, then {settle}"


def billed_twice(connection: Connection, asked: Asked) -> list[BilledTwice]:
    """Return the days that two invoices of an account bill, drafts among them."""
    with connection.cursor(row_factory=class_row(BilledTwice)) as cursor:
        return cursor.execute(_SQL["twice"], asked.values).fetchall()
