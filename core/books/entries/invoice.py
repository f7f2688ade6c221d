"""From an invoice down to the days that it bills, what Stripe was told of each, and their entries."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from core.billing.stripe.units import NOT_TAKEN, UNIT_NANO, minor_nano
from core.books.entries.entry import Line
from core.books.stripe.reported import ReportedDay, reported_days
from core.books.words import entry_words
from core.db.queries import queries_beside
from core.errors import Unknown
from core.identity.principal import Principal

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class InvoiceDay:
    """A day on an invoice: what Stripe was told of it, and the entries of the receivable it came of."""

    told: ReportedDay
    entries: tuple[Line, ...]


@dataclass(frozen=True)
class InvoiceStory:
    """An invoice and the days it bills; its amounts in nano-units of `currency`, as whole coins."""

    id: str
    number: str | None
    account: str
    email: str
    status: str
    currency: str
    usage_start: datetime | None
    usage_end: datetime | None
    units: int | None
    """Of its metered line; None: it has none."""
    unit_nano: int
    line_nano: int | None
    total_nano: int | None
    """None where Stripe bills the currency in steps that we do not know."""
    paid_nano: int | None
    created_at: datetime
    finalized_at: datetime | None
    compared_at: datetime | None
    fetched_at: datetime
    counted_units: int
    """What counts as told of its days, as far as it is to bill it."""
    beside_day: date | None
    """On which its subscription began, and of which another invoice bills the rest."""
    beside_units: int
    days: tuple[InvoiceDay, ...]

    @property
    def exact_nano(self) -> int:
        """What its units come to, before Stripe rounds the line."""
        return (self.units or 0) * self.unit_nano

    @property
    def elsewhere_units(self) -> int:
        """What other invoices bill of its days, beside it."""
        return sum(each.told.units for each in self.days) + self.beside_units - self.counted_units

    @property
    def agrees(self) -> bool:
        """Say whether it bills what is counted for its days."""
        return self.units is None or self.units == self.counted_units


def explain_invoice(connection: Connection, principal: Principal, invoice: str) -> InvoiceStory:
    """Explain an invoice by Stripe's id of it; Unknown where it was never fetched."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SQL["invoice"], {"invoice": invoice}).fetchone()
    if row is None:
        raise Unknown(
            f"No invoice {invoice!r} was fetched from Stripe. Name it by its id, `in_…`; those of"
            " accounts that are linked are fetched by the daemon."
        )
    principal.require_reader(row["account"])
    currency = row["currency"]
    return InvoiceStory(
        id=row["id"],
        number=row["number"],
        account=row["account"],
        email=row["email"],
        status=row["status"],
        currency=currency,
        usage_start=row["usage_start"],
        usage_end=row["usage_end"],
        units=row["units"],
        unit_nano=UNIT_NANO,
        line_nano=_nano(row["line_minor"], currency),
        total_nano=_nano(row["total_minor"], currency),
        paid_nano=_nano(row["paid_minor"], currency),
        created_at=row["created_at"],
        finalized_at=row["finalized_at"],
        compared_at=row["compared_at"],
        fetched_at=row["fetched_at"],
        counted_units=row["counted_units"],
        beside_day=row["beside_day"],
        beside_units=row["beside_units"],
        days=_days(connection, row) if row["first"] else (),
    )


def _nano(minor: int | None, currency: str) -> int | None:
    return None if minor is None or currency in NOT_TAKEN else minor * minor_nano(currency)


def _days(connection: Connection, row: dict[str, Any]) -> tuple[InvoiceDay, ...]:
    first, after = row["first"], row["after"]
    entries = _entries(connection, row["account_no"], first, after)
    return tuple(
        InvoiceDay(each, tuple(entries[each.day]))
        for each in reported_days(connection, row["account_no"], first, after)
    )


def _entries(
    connection: Connection, account_no: int, first: date, after: date
) -> dict[date, list[Line]]:
    values = {"account_no": account_no, "first": first, "after": after}
    found: dict[date, list[Line]] = defaultdict(list)
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(_SQL["receivable_of_days"], values):
            day = row.pop("day")
            what = entry_words(row["book"], row["contra"], row["amount_nano"])
            found[day].append(Line(what=what, draws=(), **row))
    return found
