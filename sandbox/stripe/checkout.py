"""Checkout sessions: a hosted page on which a person pays, or leaves a card; what that begins."""

from datetime import timedelta

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.catalogue import Catalogue
from sandbox.stripe.checkout_shape import new_line, new_session
from sandbox.stripe.customers import Customers, new_customer
from sandbox.stripe.errors import StripeError, missing_param
from sandbox.stripe.form import Form, hash_of, hashes_of, integer, merge_metadata, one_of, required
from sandbox.stripe.invoices import Invoices
from sandbox.stripe.page import list_object, page, page_of, within
from sandbox.stripe.payment_methods import PaymentMethods
from sandbox.stripe.payments import MINIMUM_CENTS, Payments
from sandbox.stripe.periods import instant
from sandbox.stripe.route import PAGING, Call, Route, owned
from sandbox.stripe.setup_intents import SetupIntents

EXPIRY = timedelta(hours=24)
EXPIRY_MIN = timedelta(minutes=30)
TAKES = (
    "mode line_items customer customer_email client_reference_id metadata"
    " success_url cancel_url currency payment_method_types payment_intent_data setup_intent_data"
    " invoice_creation expires_at submit_type ui_mode locale"
)


class Checkout:
    def __init__(
        self,
        account: Account,
        customers: Customers,
        catalogue: Catalogue,
        methods: PaymentMethods,
        payments: Payments,
        setups: SetupIntents,
        invoices: Invoices,
    ) -> None:
        self._account, self._customers, self._catalogue = account, customers, catalogue
        self._methods, self._payments = methods, payments
        self._setups, self._invoices = setups, invoices
        self._lines: dict[str, list[Thing]] = {}
        self._intent_data: dict[str, Form] = {}
        account.includable["checkout.session", "line_items"] = self._line_list

    def routes(self) -> list[Route]:
        path = "/v1/checkout/sessions"
        return [
            Route("POST", path, self._create, TAKES),
            Route(
                "GET",
                path,
                self._list,
                f"{PAGING} customer payment_intent status created",
            ),
            Route("GET", path + "/{id}", self._retrieve),
            Route("GET", path + "/{id}/line_items", self._list_lines, PAGING),
            Route("POST", path + "/{id}/expire", self._expire),
        ]

    def complete(self, session: Thing, kind: str = "card", *, succeeds: bool = True) -> Thing:
        """Let a person fill in the page; a delayed `kind` completes it unpaid, and settles later.

        With `succeeds=False` a card is declined, the session stays open, and 402 is what the
        person sees; a delayed method fails days later.
        """
        if session["status"] != "open":
            raise StripeError(f"The session is {session['status']}; only an open one can be used.")
        if session["mode"] == "setup":
            return self._complete_setup(session, kind, succeeds=succeeds)
        return self._complete_payment(session, kind, succeeds=succeeds)

    def settle(self, session: Thing, *, succeeds: bool) -> Thing:
        """Let the delayed payment of a completed session end now."""
        intent = self._account.get("payment_intent", session["payment_intent"] or "")
        self._payments.settle(intent, succeeds=succeeds)
        return session

    def expire(self, session: Thing) -> Thing:
        if session["status"] != "open":
            raise StripeError(
                'Only Checkout Sessions with a status in ["open"] can be expired.'
                f" This Checkout Session has a status of `{session['status']}`."
            )
        session |= {"status": "expired", "url": None}
        self._account.emit("checkout.session.expired", session, None)
        return session

    def _create(self, call: Call) -> Thing:
        account, form = self._account, call.form
        mode = one_of(form, "mode", ("payment", "setup"), "payment")
        if not form.get("success_url"):
            raise missing_param("success_url")
        if form.get("customer"):
            self._customers.live(form["customer"])
        stamp = integer(form, "expires_at")
        expires_at = instant(stamp) if stamp else account.at + EXPIRY
        # Stripe's own clock ticks while a request is under way; a second is no matter.
        until = expires_at - account.at + timedelta(seconds=1)
        if not EXPIRY_MIN <= until <= EXPIRY + timedelta(seconds=2):
            raise StripeError(
                "The `expires_at` timestamp must be at least 30 minutes and less than 24 hours"
                " from Checkout Session creation.",
                param="expires_at",
            )
        session = new_session(account, form | {"mode": mode}, expires_at)
        if mode == "payment":
            self._price_up(session, form)
        else:
            self._begin_setup(session, form)
        account.add("checkout.session", session)
        account.agenda.plan(expires_at, lambda: self._expire_if_open(session))
        return session

    def _price_up(self, session: Thing, form: Form) -> None:
        entries = hashes_of(form, "line_items")
        if not entries:
            raise missing_param("line_items")
        lines = [self._line(entry, at) for at, entry in enumerate(entries)]
        total = sum(line["amount_total"] for line in lines)
        if 0 < total < MINIMUM_CENTS:
            raise StripeError(
                "The Checkout Session's total amount due must add up to at least $0.50 usd.",
                code="amount_too_small",
            )
        session |= {
            "amount_subtotal": total,
            "amount_total": total,
            "currency": lines[0]["currency"],
            "payment_status": "unpaid" if total else "no_payment_required",
            "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        }
        self._lines[session["id"]] = lines
        self._intent_data[session["id"]] = hash_of(form, "payment_intent_data")

    def _line(self, entry: Form, at: int) -> Thing:
        account = self._account
        quantity = integer(entry, "quantity", 1) or 0
        if quantity < 1:
            raise StripeError("This value must be greater than or equal to 1.", param="quantity")
        if entry.get("price"):
            price = account.named("price", entry["price"], f"line_items[{at}][price]")
        else:
            price = self._price_of(required(entry, "price_data"))
        if price["recurring"]:
            raise StripeError(
                "You specified `payment` mode but passed a recurring price.",
                param=f"line_items[{at}]",
            )
        name = account.tables["product"][price["product"]]["name"]
        return new_line(account, price, quantity, name)

    def _price_of(self, data: Form) -> Thing:
        form = dict(data)
        product_data = hash_of(form, "product_data")
        form.pop("product_data", None)
        if product_data:
            form["product"] = self._catalogue.add_product(product_data)["id"]
        price = self._catalogue.add_price(form)
        price["active"] = False
        return price

    def _begin_setup(self, session: Thing, form: Form) -> None:
        if not form.get("currency") and not form.get("payment_method_types"):
            raise missing_param("currency")
        data = hash_of(form, "setup_intent_data")
        intent = self._setups.make(
            session["customer"],
            session["payment_method_types"],
            merge_metadata({}, data),
            "off_session",
        )
        session["setup_intent"] = intent["id"]

    def _complete_setup(self, session: Thing, kind: str, *, succeeds: bool) -> Thing:
        intent = self._account.get("setup_intent", session["setup_intent"])
        if not succeeds:
            self._setups.fail(intent)
            return session
        if session["customer"] is None:
            session["customer"] = intent["customer"] = self._add_customer(session)
        self._setups.succeed(intent, self._methods.make(kind))
        return self._finish(session)

    def _complete_payment(self, session: Thing, kind: str, *, succeeds: bool) -> Thing:
        if session["amount_total"] == 0:
            return self._finish(session)
        intent = self._payment_intent(session)
        method = self._methods.make(kind, declines=not succeeds)
        # Not attached, as nothing is kept: it only counts as the payer's own.
        method["customer"] = intent["customer"]
        self._payments.attempt(intent, method, lambda done: self._hear(session, done))
        method["customer"] = None
        if intent["status"] == "processing":
            self._finish(session)
        return session

    def _expire_if_open(self, session: Thing) -> None:
        if session["status"] == "open":
            self.expire(session)

    def _payment_intent(self, session: Thing) -> Thing:
        """Return the session's intent; it is made when a person first tries to pay."""
        if session["payment_intent"]:
            return self._account.get("payment_intent", session["payment_intent"])
        data = self._intent_data[session["id"]]
        intent = self._payments.intend(
            session["amount_total"],
            session["currency"],
            customer=session["customer"],
            metadata=merge_metadata({}, data),
            description=data.get("description"),
        )
        session["payment_intent"] = intent["id"]
        return intent

    def _hear(self, session: Thing, intent: Thing) -> None:
        later, paid = session["status"] == "complete", intent["status"] == "succeeded"
        if not paid:
            if later:
                self._account.emit("checkout.session.async_payment_failed", session, None)
            return
        session["payment_status"] = "paid"
        if (session["invoice_creation"] or {}).get("enabled") and session["customer"]:
            session["invoice"] = self._receipt(session, intent)["id"]
        if later:
            self._account.emit("checkout.session.async_payment_succeeded", session, None)
        else:
            self._finish(session)

    def _receipt(self, session: Thing, intent: Thing) -> Thing:
        customer = self._account.tables["customer"][session["customer"]]
        sold = [
            (line["price"], line["quantity"], line["description"])
            for line in self._lines[session["id"]]
        ]
        metadata = session["invoice_creation"]["invoice_data"]["metadata"]
        return self._invoices.receipt(customer, sold, intent, metadata)

    def _finish(self, session: Thing) -> Thing:
        customer = self._account.tables["customer"].get(session["customer"] or "", {})
        session |= {
            "status": "complete",
            "url": None,
            "customer_details": {
                "address": None,
                "business_name": None,
                "email": customer.get("email") or session["customer_email"] or "payer@example.com",
                "individual_name": None,
                "name": customer.get("name"),
                "phone": None,
                "tax_exempt": "none",
                "tax_ids": [],
            },
        }
        self._account.emit("checkout.session.completed", session, None)
        return session

    def _add_customer(self, session: Thing) -> str:
        customer = new_customer(self._account, {"email": session["customer_email"]})
        self._account.add("customer", customer)
        self._account.emit("customer.created", customer, None)
        return str(customer["id"])

    def _list(self, call: Call) -> Thing:
        form = call.form
        wanted = owned(
            customer=form.get("customer"),
            payment_intent=form.get("payment_intent"),
            status=form.get("status"),
        )
        found = [
            session
            for session in self._account.all("checkout.session")
            if wanted(session) and within(form, "created", session["created"])
        ]
        return page(self._account, call, found)

    def _retrieve(self, call: Call) -> Thing:
        return self._account.get("checkout.session", call.id)

    def _list_lines(self, call: Call) -> Thing:
        self._retrieve(call)
        return page_of(call, self._lines.get(call.id, []))

    def _line_list(self, session: Thing) -> Thing:
        path = f"/v1/checkout/sessions/{session['id']}/line_items"
        return list_object(path, self._lines.get(session["id"], []))

    def _expire(self, call: Call) -> Thing:
        return self.expire(self._retrieve(call))
