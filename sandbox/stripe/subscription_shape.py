"""What a subscription and its items look like."""

from datetime import datetime

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.form import Form, boolean, hash_of, integer, merge_metadata, one_of
from sandbox.stripe.invoice_shape import SELF

COLLECTIONS = ("charge_automatically", "send_invoice")


def new_subscription(
    account: Account, customer: Thing, form: Form, anchor: datetime, config: Form | None
) -> Thing:
    name = account.new_id("sub")
    return {
        "id": name,
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": int(anchor.timestamp()),
        "billing_cycle_anchor_config": _config(config),
        "billing_mode": {
            "flexible": {"proration_discounts": "included"},
            "type": "flexible",
            "updated_at": account.stamp,
        },
        "billing_schedules": [],
        "billing_thresholds": None,
        "cancel_at": None,
        "cancel_at_period_end": boolean(form, "cancel_at_period_end"),
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": one_of(form, "collection_method", COLLECTIONS, COLLECTIONS[0]),
        "created": account.stamp,
        "currency": "usd",
        "customer": customer["id"],
        "customer_account": None,
        "days_until_due": integer(form, "days_until_due"),
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": form.get("description") or None,
        "discounts": [],
        "ended_at": None,
        "invoice_settings": {"account_tax_ids": None, "issuer": SELF},
        "items": {
            "object": "list",
            "data": [],
            "has_more": False,
            "url": f"/v1/subscription_items?subscription={name}",
        },
        "latest_invoice": None,
        "livemode": False,
        "metadata": merge_metadata({}, form),
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": hash_of(form, "payment_settings").get(
                "save_default_payment_method", "off"
            ),
        },
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": account.stamp,
        "status": "active",
        "status_details": None,
        "test_clock": None,
        "transfer_data": None,
        "trial_end": None,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": None,
    }


def new_item(
    account: Account,
    subscription: Thing,
    price: Thing,
    entry: Form,
    period: tuple[datetime, datetime],
) -> Thing:
    item: Thing = {
        "id": account.new_id("si", 14),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": account.stamp,
        "current_period_end": int(period[1].timestamp()),
        "current_period_start": int(period[0].timestamp()),
        "discounts": [],
        "metadata": merge_metadata({}, entry),
        "plan": _plan(price),
        "price": dict(price),
        "subscription": subscription["id"],
        "tax_rates": [],
    }
    if price["recurring"]["usage_type"] == "licensed":
        item["quantity"] = integer(entry, "quantity", 1)
    return item


def item_of(subscription: Thing) -> Thing:
    """Return the first item; all items of a subscription share their periods here."""
    item: Thing = subscription["items"]["data"][0]
    return item


def _config(config: Form | None) -> Thing | None:
    if not config:
        return None
    names = ("day_of_month", "hour", "minute", "month", "second")
    return {name: integer(config, name) for name in names}


def _plan(price: Thing) -> Thing:
    """Return the price in the shape of plans, which items still carry beside it."""
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": "per_unit",
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": {},
        "meter": recurring["meter"],
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": recurring["usage_type"],
    }
