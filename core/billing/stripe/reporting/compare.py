"""Final invoices held against what is counted for their days: what one did not hear of is due again."""

from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row

from core.billing.stripe.reporting.billed import Told, not_billed
from core.billing.stripe.reporting.taking_back import take_back
from core.db.locks import Lock, take
from core.db.queries import queries_beside

_SQL = queries_beside(__file__)
INVOICES_MAX = 10_000
"""Compared in one run."""

Connection = psycopg.Connection[Any]


def compare(connection: Connection, now: datetime) -> int:
    """Hold each final invoice's quantity against what is counted for its days, once.

    Returns how many invoices had not heard all, or bill of a day that another has. One that fits no way
    is left to a person (core.billing.stripe.bills).
    """
    late = 0
    with connection.transaction():
        take(connection, Lock.REPORTING)
        with connection.cursor(row_factory=dict_row) as cursor:
            found = cursor.execute(_SQL["to_compare"], {"limit": INVOICES_MAX}).fetchall()
        for invoice in found:
            unheard = _unheard(connection, invoice)
            if unheard:
                ref, memo = f"late {invoice['id']}", f"too late for invoice {invoice['id']}"
                take_back(connection, invoice["account_no"], unheard, ref, memo, now)
                for day in unheard.keys() - _own(invoice, unheard):
                    count_beside(connection, invoice["id"], day, -unheard[day])
                late += 1
            connection.execute(_SQL["compared"], {"id": invoice["id"], "now": now})
    return late


def count_beside(connection: Connection, invoice_id: str, day: date, units: int) -> None:
    """Count units more as billed by an invoice of the day on which its subscription began, and another has."""
    values = {"id": invoice_id, "day": day, "units": units}
    connection.execute(_SQL["count_beside"], values)


def _unheard(connection: Connection, invoice: dict[str, Any]) -> dict[date, int] | None:
    """Return by day the units that are counted as told and the invoice did not count.

    Of the day on which its subscription began, and that the last invoice of the one before has, it bills
    what Stripe was told for it meanwhile: counted less than not at all, it lowers the open day.
    """
    with connection.cursor(row_factory=class_row(Told)) as rows:
        told = rows.execute(_SQL["told_of_days"], invoice).fetchall()
    counted = dict(connection.execute(_SQL["units_of_days"], invoice).fetchall())
    unheard = not_billed(told, counted, invoice["units"])
    if unheard is None:
        own = [each for each in told if each.day >= invoice["first"]]
        unheard = not_billed(own, counted, invoice["units"])
    return unheard


def _own(invoice: dict[str, Any], days: dict[date, int]) -> set[date]:
    return {day for day in days if day >= invoice["first"]}
