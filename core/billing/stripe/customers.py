"""Customers: one per account, made once whatever happens in between.

An idempotency key protects a write for a day; after that a customer whose answer was lost is found
again by what stands in its metadata, among those made since the account's linking began.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from stripe.params import CustomerListParams

from core.billing.stripe.asking import MARK, every, find_or_make, id_of, is_gone, marked
from core.billing.stripe.gateway import Gateway
from core.errors import Conflict, StripeRefused, Unknown
from core.identity.accounts import Account

if TYPE_CHECKING:
    from stripe import Customer, SetupIntent
    from stripe.params import CustomerCreateParams
    from stripe.params.checkout import SessionCreateParams

SLACK: Final = timedelta(hours=1)
"""By which Stripe's clock and ours may differ."""


@dataclass(frozen=True)
class CustomerSeen:
    """A customer as Stripe has it; `card` is the payment method that invoices are paid with."""

    id: str
    deleted: bool = False
    card: str | None = None
    belongs_to: str = ""
    """The account that its metadata names."""


async def find_customer(gateway: Gateway, customer_id: str) -> CustomerSeen | None:
    """Return a customer, None where Stripe has none of that id (of this account, in this mode)."""
    try:
        found = await gateway.ask(lambda client: client.v1.customers.retrieve_async(customer_id))
    except StripeRefused as fault:
        if is_gone(fault):
            return None
        raise
    return seen(found)


def seen(found: Customer) -> CustomerSeen:
    """Return what we keep of a customer; of a deleted one Stripe tells the id alone."""
    if getattr(found, "deleted", False):
        return CustomerSeen(found.id, deleted=True)
    settings = found.invoice_settings
    card = id_of(settings.default_payment_method) if settings else None
    return CustomerSeen(
        found.id, card=card or id_of(found.default_source), belongs_to=marked(found)
    )


async def require_customer(gateway: Gateway, customer_id: str, account: Account) -> CustomerSeen:
    """Return a customer that a person named; refused where it is gone, or another account's."""
    found = await find_customer(gateway, customer_id)
    if found is None or found.deleted:
        raise Unknown(f"Stripe has no customer {customer_id}.")
    if found.belongs_to not in ("", account.id):
        raise Conflict(
            f"The customer {customer_id} belongs to {found.belongs_to} by its metadata, not to"
            f" {account.label}."
        )
    return found


async def find_or_make_customer(
    gateway: Gateway, account: Account, name: str, *, since: datetime, now: datetime
) -> CustomerSeen:
    """Return the account's customer, made now unless it is found among those made since then."""
    params: CustomerCreateParams = {"metadata": {MARK: account.id}}
    known, is_new = await find_or_make(
        gateway,
        lambda: _find(gateway, account, since),
        lambda client, options: client.v1.customers.create_async(params, options),
        "customer",
        account.id,
        now=now,
    )
    if is_new:
        known = await _require_living(gateway, known.id, account)
    # Beside the making, not in it: the same key takes the same parameters, and addresses change.
    found = await gateway.ask(
        lambda client: client.v1.customers.update_async(
            known.id, {"email": account.email, "name": name}
        )
    )
    return seen(found)


async def _find(gateway: Gateway, account: Account, since: datetime) -> Customer | None:
    made_since = int((since - SLACK).timestamp())
    found = await every(
        gateway,
        lambda client, params: client.v1.customers.list_async(params),
        CustomerListParams(created={"gte": made_since}),
        "customers",
    )
    return next((each for each in found if marked(each) == account.id), None)


async def _require_living(gateway: Gateway, customer_id: str, account: Account) -> Customer:
    """A key is answered for a day with the customer that it made, whatever became of him."""
    found = await gateway.ask(lambda client: client.v1.customers.retrieve_async(customer_id))
    if getattr(found, "deleted", False):
        raise Conflict(
            f"The customer {customer_id} of {account.label} was deleted at Stripe within the last"
            " day; try again tomorrow, or make one there and name it (--customer)."
        )
    return found


async def mark_customer(gateway: Gateway, customer_id: str, account: Account) -> None:
    """Write whose it is into the metadata of a customer that a person named."""
    await gateway.ask(
        lambda client: client.v1.customers.update_async(
            customer_id, {"metadata": {MARK: account.id}}
        )
    )


async def card_page(
    gateway: Gateway, customer_id: str, currency: str, return_url: str, key: str
) -> str:
    """Return the address of Stripe's own page on which a person leaves a payment method."""
    params: SessionCreateParams = {
        "mode": "setup",
        "customer": customer_id,
        "currency": currency.lower(),
        "success_url": return_url,
        "metadata": {MARK: "card"},
    }
    made = await gateway.ask(
        lambda client: client.v1.checkout.sessions.create_async(params, {"idempotency_key": key})
    )
    assert made.url is not None, "an open session on a page of Stripe's has an address"
    return made.url


async def take_card(gateway: Gateway, setup_intent_id: str) -> str | None:
    """Let what a setup intent left be what invoices are paid with; return its customer, if it has one.

    Setting a payment method up makes it nobody's default, and an invoice is paid with the default.
    """
    intent: SetupIntent = await gateway.ask(
        lambda client: client.v1.setup_intents.retrieve_async(setup_intent_id)
    )
    customer, method = id_of(intent.customer), id_of(intent.payment_method)
    if customer is None or method is None or intent.status != "succeeded":
        return customer
    try:
        await gateway.ask(
            lambda client: client.v1.customers.update_async(
                customer, {"invoice_settings": {"default_payment_method": method}}
            )
        )
    except StripeRefused as fault:
        # Detached again meanwhile, or the customer is gone: what is fetched next will say so.
        if not is_gone(fault):
            raise
    return customer
