"""Invoices as Stripe has them, with what their metered line says; kept as they were last fetched."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
from stripe.params import InvoiceLineItemListParams, InvoiceListParams

from core.billing.stripe.asking import every, id_of, instant, is_gone
from core.billing.stripe.gateway import Gateway
from core.billing.stripe.moments import ahead_of
from core.clock import DAY
from core.db.queries import queries_beside
from core.errors import StripeRefused

if TYPE_CHECKING:
    from stripe import Invoice, InvoiceLineItem

_SQL = queries_beside(__file__)
RECENT: Final = timedelta(days=70)
"""Made since then they are listed whatever their state: two cycles, and their grace. Where the look before
is longer ago, from that on, so that none is never seen."""
SLACK: Final = timedelta(minutes=5)
"""By which the end of a cycle may lie after the making of its invoice."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Line:
    """What one line bills; instants are [start, end)."""

    price_id: str | None
    quantity: int
    minor: int
    start: datetime
    end: datetime


@dataclass(frozen=True)
class InvoiceSeen:
    """An invoice, amounts in the currency's smallest unit."""

    id: str
    customer_id: str
    subscription_id: str | None
    number: str | None
    status: str
    currency: str
    lines: tuple[Line, ...]
    total_minor: int
    paid_minor: int
    created_at: datetime
    finalized_at: datetime | None
    attempted: bool
    due_at: datetime | None


@dataclass(frozen=True)
class Known:
    """What is known of an account's invoices: all that were made up to a look, and which are not over.

    `not_over` are neither paid nor void, those not asked about for the longest first; `before` are
    subscriptions that were the account's, maybe of another customer, and may have left one since.
    """

    looked_at: datetime | None = None
    not_over: tuple[str, ...] = ()
    before: tuple[str, ...] = ()

    def listed_since(self, at: datetime) -> datetime:
        """Return since when invoices are listed in a look at that moment."""
        recent = at - RECENT
        return recent if self.looked_at is None else min(recent, self.looked_at - DAY)


async def find_invoice(gateway: Gateway, invoice_id: str) -> InvoiceSeen | None:
    """Return an invoice, None where there is none (a draft that was deleted)."""
    try:
        found = await gateway.ask(lambda client: client.v1.invoices.retrieve_async(invoice_id))
    except StripeRefused as fault:
        if is_gone(fault):
            return None
        raise
    return await _seen(gateway, found)


async def invoices_of(gateway: Gateway, customer_id: str, since: datetime) -> list[InvoiceSeen]:
    """Return a customer's invoices made since then, and older ones that are still to be paid."""
    recent = int(since.timestamp())
    return await _listed(
        gateway,
        {"customer": customer_id, "created": {"gte": recent}},
        {"customer": customer_id, "status": "open", "created": {"lt": recent}},
    )


async def invoices_left(
    gateway: Gateway, subscription_id: str, since: datetime
) -> list[InvoiceSeen]:
    """Return the invoices of a subscription made since then, whosever customer it had."""
    made: InvoiceListParams = {
        "subscription": subscription_id,
        "created": {"gte": int(since.timestamp())},
    }
    try:
        return await _listed(gateway, made)
    except StripeRefused as fault:
        if not is_gone(fault):
            raise
        return []


async def _listed(gateway: Gateway, *asked: InvoiceListParams) -> list[InvoiceSeen]:
    found = [
        each
        for params in asked
        for each in await every(
            gateway,
            lambda client, which: client.v1.invoices.list_async(which),
            params,
            "invoices",
        )
    ]
    return [await _seen(gateway, each) for each in found]


async def _seen(gateway: Gateway, found: Invoice) -> InvoiceSeen:
    lines = found.lines.data
    if found.lines.has_more:
        lines = await every(
            gateway,
            lambda client, params: client.v1.invoices.line_items.list_async(found.id, params),
            InvoiceLineItemListParams(),
            "lines of an invoice",
        )
    parent = found.parent
    details = parent.subscription_details if parent else None
    return InvoiceSeen(
        id=found.id,
        customer_id=id_of(found.customer) or "",
        subscription_id=id_of(details.subscription) if details else None,
        number=found.number,
        status=found.status or "draft",
        currency=found.currency.upper(),
        lines=tuple(_line(each) for each in lines),
        total_minor=found.total,
        paid_minor=found.amount_paid,
        created_at=datetime.fromtimestamp(found.created, UTC),
        finalized_at=instant(found.status_transitions.finalized_at),
        attempted=found.attempted,
        due_at=instant(found.due_date),
    )


def _line(found: InvoiceLineItem) -> Line:
    details = found.pricing.price_details if found.pricing else None
    return Line(
        price_id=id_of(details.price) if details else None,
        quantity=found.quantity or 0,
        minor=found.amount,
        start=datetime.fromtimestamp(found.period.start, UTC),
        end=datetime.fromtimestamp(found.period.end, UTC),
    )


def keep_invoice(
    connection: Connection,
    account_no: int,
    invoice: InvoiceSeen,
    price_ids: Collection[str],
    at: datetime,
    *,
    is_left: bool = False,
) -> bool:
    """Keep an invoice as it was at that moment; False where it is known of a later one.

    One that a customer left who was deleted bills nothing as long as it is a draft, as `forget_drafts` has it.
    """
    is_dead = is_left and invoice.status == "draft"
    metered = [
        line
        for line in ([] if is_dead else invoice.lines)
        # What is used is billed when it is over; a first invoice may name the month to come. A receipt, or
        # what somebody made by hand, is of no subscription, and bills none whatever its lines say.
        if invoice.subscription_id is not None
        and line.price_id in price_ids
        and line.end <= invoice.created_at + SLACK
    ]
    overdue = invoice.due_at is not None and invoice.due_at <= at
    values = {
        "id": invoice.id,
        "account": account_no,
        "subscription": invoice.subscription_id,
        "number": invoice.number,
        "status": invoice.status,
        "currency": invoice.currency,
        "usage_start": min((line.start for line in metered), default=None),
        "usage_end": max((line.end for line in metered), default=None),
        "units": sum(line.quantity for line in metered) if metered else None,
        "line_minor": sum(line.minor for line in metered) if metered else None,
        "total_minor": invoice.total_minor,
        "paid_minor": invoice.paid_minor,
        "created_at": invoice.created_at,
        "finalized_at": invoice.finalized_at,
        "attempted": invoice.attempted or overdue,
        "at": at,
        "ahead": ahead_of(at),
    }
    return bool(connection.execute(_SQL["keep_invoice"], values).rowcount)


def keep_gone(connection: Connection, account_no: int, ids: Collection[str], at: datetime) -> None:
    """Keep of invoices that Stripe has no more that it was asked; a draft of these is over."""
    values = {"account": account_no, "ids": [*ids], "at": at, "ahead": ahead_of(at)}
    connection.execute(_SQL["keep_gone"], values)


def forget_drafts(connection: Connection, account_no: int, at: datetime) -> None:
    """Let the drafts of a customer that was deleted bill nothing: Stripe makes none of them final.

    Their days would wait for an invoice for ever; so they are on none, and a person decides. One that
    is made final by hand is fetched as such, and counts.
    """
    values = {"account": account_no, "at": at, "ahead": ahead_of(at)}
    connection.execute(_SQL["forget_drafts"], values)
