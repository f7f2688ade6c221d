"""Customers: who pays, and with what by default."""

from collections.abc import Callable

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.errors import StripeError
from sandbox.stripe.form import Form, hash_of, merge_metadata
from sandbox.stripe.page import list_object, page, within
from sandbox.stripe.route import PAGING, Call, Route, owned

TAKES = "name email description phone metadata invoice_settings payment_method address"
PREFIX_LETTERS = 8
EMAIL_LETTERS_MAX = 512


class Customers:
    def __init__(self, account: Account) -> None:
        self._account = account
        self.on_deleted: Callable[[str], None] = lambda _customer_id: None
        account.includable["customer", "subscriptions"] = self._subscriptions

    def routes(self) -> list[Route]:
        path = "/v1/customers"
        return [
            Route("POST", path, self._create, TAKES),
            Route("GET", path, self._list, f"{PAGING} email created"),
            Route("GET", path + "/{id}", self._retrieve),
            Route("POST", path + "/{id}", self._update, TAKES),
            Route("DELETE", path + "/{id}", self._delete),
        ]

    def live(self, name: str, param: str = "customer") -> Thing:
        """Return a customer that a parameter names; a deleted one is refused."""
        return self._account.named("customer", name, param)

    def _create(self, call: Call) -> Thing:
        account, form = self._account, call.form
        customer = new_customer(account, form)
        _settings(account, customer, form)
        account.add("customer", customer)
        if form.get("payment_method"):
            method = account.named("payment_method", form["payment_method"], "payment_method")
            method["customer"] = customer["id"]
        account.emit("customer.created", customer, None)
        return customer

    def _list(self, call: Call) -> Thing:
        wanted = owned(email=call.form.get("email"))
        found = [
            customer
            for customer in self._account.all("customer")
            if not customer.get("deleted")
            and wanted(customer)
            and within(call.form, "created", customer["created"])
        ]
        return page(self._account, call, found)

    def _retrieve(self, call: Call) -> Thing:
        return self._account.get("customer", call.id)

    def _update(self, call: Call) -> Thing:
        account, form = self._account, call.form
        customer = account.get("customer", call.id)
        if customer.get("deleted"):
            raise StripeError(
                f"No such customer: '{call.id}'", status=404, code="resource_missing", param="id"
            )
        draft = customer | {
            name: form[name] or None
            for name in ("name", "email", "description", "phone")
            if name in form
        }
        draft["invoice_settings"] = dict(customer["invoice_settings"])
        draft["metadata"] = merge_metadata(customer["metadata"], form)
        _settings(account, draft, form)
        return account.change(customer, "customer.updated", **draft)

    def _delete(self, call: Call) -> Thing:
        account = self._account
        customer = account.get("customer", call.id)
        if not customer.get("deleted"):
            self.on_deleted(call.id)
            account.emit("customer.deleted", customer, None)
        gone = {"id": call.id, "object": "customer", "deleted": True}
        account.tables["customer"][call.id] = gone
        return gone

    def _subscriptions(self, customer: Thing) -> Thing:
        living = [
            one
            for one in self._account.all("subscription")
            if one["customer"] == customer["id"] and one["status"] != "canceled"
        ]
        return list_object(f"/v1/customers/{customer['id']}/subscriptions", living[::-1])


def _settings(account: Account, customer: Thing, form: Form) -> None:
    """Set the default payment method, which must be attached to this very customer."""
    settings = hash_of(form, "invoice_settings")
    if "default_payment_method" not in settings:
        return
    name = settings["default_payment_method"] or None
    if name is not None:
        param = "invoice_settings[default_payment_method]"
        method = account.named("payment_method", name, param)
        if method["customer"] != customer["id"] and form.get("payment_method") != name:
            raise StripeError(
                "The customer does not have a payment method with the ID "
                f"{name}. The payment method must be attached to the customer.",
                code="resource_missing",
                param=param,
            )
    customer["invoice_settings"]["default_payment_method"] = name


def new_customer(account: Account, form: Form) -> Thing:
    email = form.get("email") or None
    if email and ("@" not in email or len(email) > EMAIL_LETTERS_MAX):
        raise StripeError(f"Invalid email address: {email}", code="email_invalid", param="email")
    return {
        "id": account.new_id("cus", 14),
        "object": "customer",
        "address": hash_of(form, "address") or None,
        "balance": 0,
        "created": account.stamp,
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": form.get("description") or None,
        "discount": None,
        "email": email,
        "invoice_prefix": account.secret(PREFIX_LETTERS).upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": merge_metadata({}, form),
        "name": form.get("name") or None,
        "next_invoice_sequence": 1,
        "phone": form.get("phone") or None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }
