"""What an invoice and its lines look like, and the one place where cents are rounded."""

import copy
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from sandbox.stripe.account import Account, Thing

SELF: Thing = {"type": "self"}


@dataclass(frozen=True)
class Billed:
    """What a subscription's invoice is about: usage over [start, end), as Unix instants."""

    subscription: Thing
    start: int
    end: int


def cents(quantity: int, unit_amount_decimal: str) -> int:
    """Return a line's amount: exact, then rounded once."""
    exact = quantity * Decimal(unit_amount_decimal)
    return int(exact.quantize(Decimal(1), ROUND_HALF_UP))


_EMPTY: Thing = {
    "account_tax_ids": None,
    "amount_due": 0,
    "amount_overpaid": 0,
    "amount_paid": 0,
    "amount_paid_off_stripe": 0,
    "amount_remaining": 0,
    "amount_shipping": 0,
    "application": None,
    "attempt_count": 0,
    "automatically_finalizes_at": None,
    "custom_fields": None,
    "customer_account": None,
    "customer_shipping": None,
    "customer_tax_ids": [],
    "default_payment_method": None,
    "default_source": None,
    "default_tax_rates": [],
    "description": None,
    "discounts": [],
    "due_date": None,
    "effective_at": None,
    "ending_balance": None,
    "footer": None,
    "from_invoice": None,
    "hosted_invoice_url": None,
    "invoice_pdf": None,
    "last_finalization_error": None,
    "latest_revision": None,
    "next_payment_attempt": None,
    "number": None,
    "on_behalf_of": None,
    "parent": None,
    "post_payment_credit_notes_amount": 0,
    "pre_payment_credit_notes_amount": 0,
    "receipt_number": None,
    "rendering": None,
    "shipping_cost": None,
    "shipping_details": None,
    "starting_balance": 0,
    "statement_descriptor": None,
    "subtotal": 0,
    "subtotal_excluding_tax": 0,
    "test_clock": None,
    "total": 0,
    "total_discount_amounts": [],
    "total_excluding_tax": 0,
    "total_pretax_credit_amounts": [],
    "total_taxes": [],
}
"""What an invoice does not have, or not yet."""


def new_invoice(account: Account, customer: Thing, reason: str, start: int, end: int) -> Thing:
    return copy.deepcopy(_EMPTY) | {
        "id": account.new_id("in"),
        "object": "invoice",
        "account_country": "US",
        "account_name": "hopsmeter sandbox",
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "created": account.stamp,
        "currency": "usd",
        "customer": customer["id"],
        "customer_address": customer.get("address"),
        "customer_email": customer.get("email"),
        "customer_name": customer.get("name"),
        "customer_phone": customer.get("phone"),
        "customer_tax_exempt": "none",
        "issuer": SELF,
        "livemode": False,
        "metadata": {},
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "period_end": end,
        "period_start": start,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "webhooks_delivered_at": account.stamp,
    }


def subscription_parent(subscription: Thing) -> Thing:
    return {
        "quote_details": None,
        "subscription_details": {
            "metadata": dict(subscription["metadata"]),
            "subscription": subscription["id"],
        },
        "type": "subscription_details",
    }


def subscription_of(invoice: Thing) -> str | None:
    details = (invoice["parent"] or {}).get("subscription_details") or {}
    return details.get("subscription")


def stamp(invoice: Thing, transition: str, at: int) -> None:
    """Note when an invoice came into a state: `stamp(invoice, "paid_at", now)`."""
    invoice["status_transitions"] = invoice["status_transitions"] | {transition: at}


def usage_line(name: str, invoice_id: str, item: Thing, billed: Billed, quantity: int) -> Thing:
    """Return the line of a metered item, or of a licensed one at its own quantity."""
    price = item["price"]
    line = _line(name, invoice_id, price, quantity)
    return line | {
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": billed.subscription["id"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"end": billed.end, "start": billed.start},
        "subscription": billed.subscription["id"],
    }


def sale_line(name: str, invoice: Thing, price: Thing, quantity: int, description: str) -> Thing:
    """Return the line of something bought once, as in a checkout."""
    at = invoice["created"]
    return _line(name, invoice["id"], price, quantity) | {
        "description": description,
        "parent": {
            "invoice_item_details": {
                "invoice_item": name.replace("il_", "ii_"),
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": None,
            },
            "subscription_item_details": None,
            "type": "invoice_item_details",
        },
        "period": {"end": at, "start": at},
    }


def _line(name: str, invoice_id: str, price: Thing, quantity: int) -> Thing:
    amount = cents(quantity, price["unit_amount_decimal"])
    return {
        "id": name,
        "object": "line_item",
        "amount": amount,
        "currency": price["currency"],
        "description": f"{quantity} × {price['nickname'] or price['product']}",
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice_id,
        "livemode": False,
        "metadata": {},
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "subscription": None,
        "subtotal": amount,
        "taxes": [],
    }
