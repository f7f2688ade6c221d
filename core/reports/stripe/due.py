"""What Stripe was not told, of whom and why: what goes by itself, and what a person must decide."""

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from core.billing.stripe.bills.astray import Bill, bills_astray
from core.billing.stripe.bills.span import Asked
from core.billing.stripe.units import UNIT_NANO
from core.clock import day_of
from core.db.queries import queries_beside
from core.identity.principal import Principal
from core.identity.users import find_user

_SQL = queries_beside(__file__)
REPORTABLE: Final = timedelta(days=34)
FORGOTTEN: Final = timedelta(hours=23)
"""As in core.billing.stripe.reporting, which a screen does not import; a test holds them together."""
AT_MIDNIGHT: Final = timedelta(minutes=10)
"""A day that begins so soon may have begun by the clock of whoever brought something to it."""

WHY: Final = {
    "not linked": ("not linked to Stripe", "stripe link, or settle"),
    "deleted": (
        "its customer was deleted at Stripe",
        "stripe link with a new --customer, then settle on the open day; or outside",
    ),
    "ended": ("its subscription ended", "link it anew, then settle on the open day; or outside"),
    "parked": ("parked", "mend what Stripe refused, then stripe unpark"),
    "before": ("before its subscription began", "settle on the open day, or outside"),
    "below zero": (
        "less than its invoice billed",
        "waits for usage; or a credit note, then settle",
    ),
    "too old": ("older than Stripe takes", "settle on the open day, or outside"),
    "refused": ("refused by Stripe", "mend it, then stripe unpark; or settle"),
    "unknown": (
        "nobody knows whether it arrived",
        "look at its events in Stripe, then stripe decide",
    ),
    "to come": (
        "of a day to come: this machine's clock was ahead, or is behind",
        "set the clock of this machine right; the next run tells it, or brings it to the day that runs",
    ),
    "to report": ("is reported by the next run", ""),
    "to move": ("goes to the open day with the next run", ""),
    "under way": ("is being reported", ""),
}
"""Of each reason what it means, and what a person does; invoices say it themselves."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Due:
    """Days of one account that wait for one reason, or an invoice; the amount in nano-units of `currency`.

    It is what is owed and on no invoice, less than nothing where Stripe bills too much, and None where
    nobody knows it: of days that two invoices bill.
    """

    account_id: str
    email: str
    currency: str
    reason: str
    days: int
    first_day: date
    last_day: date
    amount_nano: int | None
    parked_why: str | None
    customer_deleted: bool = False
    invoice_id: str | None = None
    cause: str = ""
    """Of an invoice, or days on none, what is wrong; and what a person does."""
    to_do: str = ""

    @property
    def why(self) -> str:
        why = self._told[0]
        if self.reason not in ("parked", "refused") or not self.parked_why:
            return why
        return f"{why}: {self.parked_why.removeprefix('Stripe refuses: ')}"

    @property
    def next_step(self) -> str:
        return self._told[1]

    @property
    def _told(self) -> tuple[str, str]:
        if self.cause:
            return self.cause, self.to_do
        return WHY["deleted" if self.reason == "ended" and self.customer_deleted else self.reason]


def due(
    connection: Connection,
    principal: Principal,
    now: datetime,
    *,
    account: str | None = None,
    everything: bool = False,
    each_day: bool = False,
) -> list[Due]:
    """Return what a person must decide, and with `everything` what goes by itself as well.

    Days first, by account; then invoices, each in one line whatever `each_day` says, and days that were
    told and are on none.
    """
    principal.require_admin("see what is due at Stripe")
    account_no = find_user(connection, account).no if account else None
    values = {
        "oldest": day_of(now) - REPORTABLE,
        "forgotten": now - FORGOTTEN,
        "begun": day_of(now + AT_MIDNIGHT),
        "account_no": account_no,
        "everything": everything,
        "each_day": each_day,
    }
    with connection.cursor(row_factory=class_row(Due)) as cursor:
        days = cursor.execute(_SQL["due"], values).fetchall()
    bills = bills_astray(connection, Asked(account_no=account_no))
    return [*days, *(each for bill in bills for each in _of_bill(bill, each_day=each_day))]


def _of_bill(bill: Bill, *, each_day: bool) -> list[Due]:
    whole = Due(
        bill.account_id,
        bill.email,
        bill.currency,
        bill.what,
        bill.days,
        bill.day,
        bill.last_day,
        bill.due_nano,
        parked_why=None,
        invoice_id=bill.invoice_id,
        cause=bill.cause,
        to_do=bill.next_step,
    )
    if not (each_day and bill.by_day):
        return [whole]
    return [
        replace(whole, days=1, first_day=day, last_day=day, amount_nano=units * UNIT_NANO)
        for day, units in bill.by_day
    ]


def unread(
    connection: Connection,
    principal: Principal,
    now: datetime,
    *,
    account: str | None = None,
    since: date | None = None,
) -> str:
    """Say of how many days that are over nobody knows yet what of them is owed; nothing if of none.

    Their postings are added up by the next run of reporting, and no list has them before.
    """
    principal.require_admin("see what is due at Stripe")
    values = {
        "today": day_of(now),
        "since": since,
        "account_no": find_user(connection, account).no if account else None,
    }
    row = connection.execute(_SQL["unread"], values).fetchone()
    if row is None or not row[0]:
        return ""
    of = "1 day" if row[0] == 1 else f"{row[0]} days"
    return (
        f"Postings of {of} are not read yet; the next run (`hopsmeter stripe report`) reads them."
    )
