"""What a checkout session and its line items look like."""

from datetime import datetime

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.form import Form, boolean, hash_of, merge_metadata
from sandbox.stripe.invoice_shape import cents


def new_session(account: Account, form: Form, expires_at: datetime) -> Thing:
    name = account.new_id("cs_test", 58)
    mode = form["mode"]
    return {
        "id": name,
        "object": "checkout.session",
        "adaptive_pricing": {"enabled": False},
        "after_expiration": None,
        "allow_promotion_codes": None,
        "amount_subtotal": None,
        "amount_total": None,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "billing_address_collection": None,
        "cancel_url": form.get("cancel_url") or None,
        "client_reference_id": form.get("client_reference_id") or None,
        "client_secret": None,
        "collected_information": None,
        "consent": None,
        "consent_collection": None,
        "created": account.stamp,
        "currency": (form.get("currency") or "").lower() or None,
        "currency_conversion": None,
        "custom_fields": [],
        "custom_text": {
            "after_submit": None,
            "shipping_address": None,
            "submit": None,
            "terms_of_service_acceptance": None,
        },
        "customer": form.get("customer") or None,
        "customer_account": None,
        "customer_creation": None if form.get("customer") else "if_required",
        "customer_details": None,
        "customer_email": form.get("customer_email") or None,
        "discounts": [],
        "expires_at": int(expires_at.timestamp()),
        "invoice": None,
        "invoice_creation": _invoice_creation(form) if mode == "payment" else None,
        "livemode": False,
        "locale": None,
        "metadata": merge_metadata({}, form),
        "mode": mode,
        "origin_context": None,
        "payment_intent": None,
        "payment_link": None,
        "payment_method_collection": "if_required" if mode == "payment" else "always",
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": form.get("payment_method_types") or ["card"],
        "payment_status": "unpaid" if mode == "payment" else "no_payment_required",
        "permissions": None,
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "saved_payment_method_options": None,
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": "open",
        "submit_type": None,
        "subscription": None,
        "success_url": form.get("success_url") or None,
        "total_details": None,
        "ui_mode": form.get("ui_mode") or "hosted_page",
        "url": f"https://checkout.stripe.com/c/pay/{name}",
        "wallet_options": None,
    }


def new_line(account: Account, price: Thing, quantity: int, description: str) -> Thing:
    amount = cents(quantity, price["unit_amount_decimal"])
    return {
        "id": account.new_id("li"),
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": description,
        "metadata": {},
        "price": dict(price),
        "quantity": quantity,
    }


def _invoice_creation(form: Form) -> Thing:
    asked = hash_of(form, "invoice_creation")
    return {
        "enabled": boolean(asked, "enabled"),
        "invoice_data": {
            "account_tax_ids": None,
            "custom_fields": None,
            "description": None,
            "footer": None,
            "issuer": None,
            "metadata": merge_metadata({}, hash_of(asked, "invoice_data")),
            "rendering_options": None,
        },
    }
