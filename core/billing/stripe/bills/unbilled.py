"""What Stripe was told of days whose cycle is over, and that is on no final invoice: on a draft, or on none."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from core.billing.stripe.bills.span import Asked
from core.billing.stripe.units import UNIT_NANO
from core.db.queries import queries_beside
from core.money import exact_from_nano

_SQL = queries_beside(__file__)

MADE_WITHIN: Final = timedelta(hours=24)
"""After the end of a cycle Stripe makes its invoice within about an hour; the rest is slack."""
FINAL_WITHIN: Final = timedelta(hours=72 + 24)
"""The grace of invoices that an account is to have (docs/stripe.md), and a day of slack."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Unbilled:
    """Days [(day, units), …] of an account, the oldest first, that Stripe was told of and does not bill.

    They are on the draft `invoice_id`, made at `drafted_at`, which it does not make final; or on no
    invoice, and then both are None.
    """

    account_id: str
    email: str
    currency: str
    invoice_id: str | None
    drafted_at: datetime | None
    days: tuple[tuple[date, int], ...]

    @property
    def units(self) -> int:
        return sum(units for _, units in self.days)

    @property
    def cause(self) -> str:
        amount = f"{self.units} units ({exact_from_nano(self.units * UNIT_NANO)} {self.currency})"
        if self.drafted_at:
            return (
                f"invoice {self.invoice_id} is a draft since {self.drafted_at:%Y-%m-%d}, and Stripe"
                f" does not make it final: nobody is asked for its {amount}"
            )
        first, last = self.days[0][0], self.days[-1][0]
        span = f"{first}" if first == last else f"{first} to {last}"
        return f"told, and on no invoice though their cycle is over: {amount} of {span}"

    @property
    def next_step(self) -> str:
        ways = (
            "--on-open-day bills them with the day that runs; --outside says that they are billed"
            " otherwise, or given up"
        )
        if self.invoice_id:
            return (
                f"make {self.invoice_id} final in Stripe; or stripe settle --invoice"
                f" {self.invoice_id}: {ways}"
            )
        return f"look at its subscription in Stripe (was it paused?), then stripe settle: {ways}"


def unbilled(connection: Connection, asked: Asked) -> list[Unbilled]:
    """Return what was told and is on no final invoice, though there was time enough; by account.

    What a subscription that ended, or was followed by another, left without an invoice is due again
    by itself (`reporting.make`), and not in here.
    """
    values = {**asked.values, "made_within": MADE_WITHIN, "final_within": FINAL_WITHIN}
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_SQL["unbilled"], values).fetchall()
    found = []
    for _, of_it in groupby(rows, key=lambda row: (row["account_id"], row["invoice_id"])):
        mine = list(of_it)
        days = tuple((row.pop("day"), row.pop("units")) for row in mine)
        each = Unbilled(**mine[0], days=days)
        if each.units:
            found.append(each)
    return found
