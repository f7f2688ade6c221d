"""What may be asked of invoices by API; their life itself is in `invoices`."""

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.collection import Collection
from sandbox.stripe.errors import declined
from sandbox.stripe.form import boolean, merge_metadata
from sandbox.stripe.invoice_shape import subscription_of
from sandbox.stripe.invoices import Invoices
from sandbox.stripe.page import page, page_of, within
from sandbox.stripe.route import PAGING, Call, Route, owned


class InvoiceRoutes:
    def __init__(self, account: Account, invoices: Invoices, collection: Collection) -> None:
        self._account, self._invoices, self._collection = account, invoices, collection

    def routes(self) -> list[Route]:
        path = "/v1/invoices"
        one = path + "/{id}"
        return [
            Route(
                "GET",
                path,
                self._list,
                f"{PAGING} customer subscription status created collection_method",
            ),
            Route("GET", one, self._retrieve),
            Route("GET", one + "/lines", self._lines, PAGING),
            Route("POST", one, self._update, "auto_advance metadata description"),
            Route("POST", one + "/finalize", self._finalize, "auto_advance"),
            Route("POST", one + "/pay", self._pay, "payment_method paid_out_of_band off_session"),
            Route("POST", one + "/void", self._void),
            Route("POST", one + "/mark_uncollectible", self._mark_uncollectible),
            Route("GET", "/v1/invoice_payments", self._payments, f"{PAGING} invoice status"),
            Route("GET", "/v1/invoice_payments/{id}", self._payment),
        ]

    def _list(self, call: Call) -> Thing:
        form = call.form
        wanted = owned(
            customer=form.get("customer"),
            status=form.get("status"),
            collection_method=form.get("collection_method"),
        )
        found = [
            self._invoices.refresh(invoice)
            for invoice in self._account.all("invoice")
            if wanted(invoice)
            and form.get("subscription") in (None, "", subscription_of(invoice))
            and within(form, "created", invoice["created"])
        ]
        return page(self._account, call, found)

    def _retrieve(self, call: Call) -> Thing:
        return self._invoices.refresh(self._account.get("invoice", call.id))

    def _lines(self, call: Call) -> Thing:
        return page_of(call, self._invoices.lines(self._account.get("invoice", call.id)))

    def _update(self, call: Call) -> Thing:
        invoice, form = self._retrieve(call), call.form
        return self._account.change(
            invoice,
            "invoice.updated",
            auto_advance=boolean(form, "auto_advance", invoice["auto_advance"]),
            description=form.get("description", invoice["description"]),
            metadata=merge_metadata(invoice["metadata"], form),
        )

    def _finalize(self, call: Call) -> Thing:
        invoice = self._retrieve(call)
        invoice["auto_advance"] = boolean(call.form, "auto_advance", invoice["auto_advance"])
        return self._invoices.finalize(invoice)

    def _pay(self, call: Call) -> Thing:
        invoice, name = self._retrieve(call), call.form.get("payment_method")
        if boolean(call.form, "paid_out_of_band"):
            return self._collection.pay_elsewhere(invoice)
        account = self._account
        method = account.named("payment_method", name, "payment_method") if name else None
        self._collection.attempt(invoice, method)
        intent = self._collection.intent_of(invoice)
        if intent["status"] == "requires_payment_method":
            raise declined()
        return invoice

    def _void(self, call: Call) -> Thing:
        return self._invoices.void(self._retrieve(call))

    def _mark_uncollectible(self, call: Call) -> Thing:
        return self._invoices.mark_uncollectible(self._retrieve(call))

    def _payments(self, call: Call) -> Thing:
        wanted = owned(invoice=call.form.get("invoice"), status=call.form.get("status"))
        return page(
            self._account,
            call,
            [one for one in self._account.all("invoice_payment") if wanted(one)],
        )

    def _payment(self, call: Call) -> Thing:
        return self._account.get("invoice_payment", call.id)
