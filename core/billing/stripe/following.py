"""Events that say something of an account or of a payment: what they are about is fetched, and kept."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg

from core.billing.stripe.customers import take_card
from core.billing.stripe.gateway import Gateway
from core.billing.stripe.invoices import find_invoice
from core.billing.stripe.moments import right
from core.billing.stripe.payments import Payment, fetch_payment, session_of
from core.billing.stripe.settling import settle_payment
from core.billing.stripe.state import AccountSeen, fetch_account, keep_account
from core.webhooks.event import Event, Handler

Connection = psycopg.Connection[Any]

ABOUT_ACCOUNTS: Final = (
    "customer.deleted",
    "customer.updated",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.updated",
    "invoice.created",
    "invoice.finalization_failed",
    "invoice.finalized",
    "invoice.marked_uncollectible",
    "invoice.overdue",
    "invoice.paid",
    "invoice.payment_action_required",
    "invoice.payment_failed",
    "invoice.voided",
    "payment_method.attached",
    "payment_method.automatically_updated",
    "payment_method.detached",
    "setup_intent.setup_failed",
    "setup_intent.succeeded",
)
ABOUT_PAYMENTS: Final = (
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.refund.updated",
    "charge.refunded",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "checkout.session.expired",
    "refund.failed",
    "refund.updated",
)


@dataclass(frozen=True)
class Fetched:
    """What Stripe has of what an event is about; neither where it is about nothing of ours.

    `begun_at` is when that was asked for by Stripe's clock, None where it had not told the time yet.
    """

    account: AccountSeen | None = None
    payment: Payment | None = None
    begun_at: datetime | None = None


Fetch = Callable[[Gateway, Event], Awaitable[Fetched]]


def handlers(grace: timedelta) -> Mapping[str, Handler[Gateway, Fetched]]:
    """Return what is done about these events, where an account may go on so long unpaid."""

    def apply(connection: Connection, fetched: Fetched, event: Event, at: datetime) -> str:
        del event
        said, at = [], right(at, fetched.begun_at)
        if fetched.account is not None:
            said.append(keep_account(connection, replace(fetched.account, at=at), grace))
        if fetched.payment is not None:
            said.append(settle_payment(connection, fetched.payment, at))
        return "; ".join(said) or "about nothing of ours"

    of_account = Handler(_dated(_fetch_account), apply)
    of_payment = Handler(_dated(_fetch_payment), apply)
    return {
        **dict.fromkeys(ABOUT_ACCOUNTS, of_account),
        **dict.fromkeys(ABOUT_PAYMENTS, of_payment),
    }


def _dated(fetch: Fetch) -> Fetch:
    async def fetch_dated(gateway: Gateway, event: Event) -> Fetched:
        await gateway.look_first()
        begun_at = gateway.time
        return replace(await fetch(gateway, event), begun_at=begun_at)

    return fetch_dated


async def _fetch_account(gateway: Gateway, event: Event) -> Fetched:
    about = event.about
    customer = about.get("customer") or about.get("customer_before")
    if event.type == "setup_intent.succeeded" and "setup_intent" in about:
        customer = await take_card(gateway, about["setup_intent"]) or customer
    if customer is None:
        return Fetched()
    seen = await fetch_account(gateway, customer, event.created_at or event.received_at)
    invoice_id = about.get("invoice")
    if invoice_id and all(each.id != invoice_id for each in seen.invoices):
        invoice = await find_invoice(gateway, invoice_id)
        if invoice is not None:
            seen = replace(seen, invoices=(*seen.invoices, invoice))
    return Fetched(account=seen)


async def _fetch_payment(gateway: Gateway, event: Event) -> Fetched:
    """A session in setup mode leaves a card; any other, and what is taken back, is a payment."""
    about = event.about
    if "setup_intent" in about:
        customer = await take_card(gateway, about["setup_intent"]) or about.get("customer")
        if customer is None:
            return Fetched()
        at = event.created_at or event.received_at
        return Fetched(account=await fetch_account(gateway, customer, at))
    session = about.get("session")
    if session is None and "payment_intent" in about:
        session = await session_of(gateway, about["payment_intent"])
    if session is None:
        return Fetched()
    return Fetched(payment=await fetch_payment(gateway, session))
