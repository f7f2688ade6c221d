"""Void invoices that no other one stands for: what Stripe was told of their days nobody owes any more."""

from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

import psycopg
from psycopg.rows import dict_row

from core.billing.stripe.bills.span import Asked
from core.billing.stripe.units import UNIT_NANO
from core.db.queries import queries_beside
from core.money import exact_from_nano

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class VoidDay:
    """Units that count as told of a day, and are on no invoice; `is_beside`: another has the day."""

    day: date
    units: int
    is_beside: bool


@dataclass(frozen=True)
class VoidInvoice:
    """An invoice that is void, and the days for which no other one stands, the oldest first.

    Pending until what it did not hear of was taken off its days.
    """

    invoice_id: str
    account_id: str
    email: str
    currency: str
    is_pending: bool
    days: tuple[VoidDay, ...]

    @property
    def units(self) -> int:
        return sum(each.units for each in self.days)

    @property
    def cause(self) -> str:
        return (
            f"invoice {self.invoice_id} is void: nobody owes its {self.units} units"
            f" ({exact_from_nano(self.units * UNIT_NANO)} {self.currency}) any more"
        )

    @property
    def next_step(self) -> str:
        return (
            f"stripe settle --invoice {self.invoice_id}: --on-open-day bills them with the day that"
            " runs; --outside says that they are billed otherwise, or given up"
        )


def void_invoices(connection: Connection, asked: Asked) -> list[VoidInvoice]:
    """Return the void invoices whose days count units as told that nobody is asked to pay."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_SQL["void"], asked.values).fetchall()
    rows.sort(key=lambda row: row["invoice_id"])
    found = []
    for invoice, of_it in groupby(rows, key=lambda row: row["invoice_id"]):
        mine = list(of_it)
        names = ("account_id", "email", "currency", "is_pending")
        days = tuple(VoidDay(row["day"], row["units"], row["is_beside"]) for row in mine)
        void = VoidInvoice(invoice, **{name: mine[0][name] for name in names}, days=days)
        if void.units:
            found.append(void)
    return sorted(found, key=lambda each: (each.email, each.account_id, each.days[0].day))
