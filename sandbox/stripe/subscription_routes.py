"""What may be asked of subscriptions by API; their life itself is in `subscriptions`."""

from collections.abc import Iterable

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.errors import StripeError
from sandbox.stripe.form import (
    Form,
    boolean,
    hash_of,
    integer,
    merge_metadata,
    one_of,
    required,
)
from sandbox.stripe.invoice_shape import Billed
from sandbox.stripe.invoices import Invoices
from sandbox.stripe.page import page, page_of, within
from sandbox.stripe.periods import instant
from sandbox.stripe.route import PAGING, Call, Route, owned
from sandbox.stripe.subscription_shape import item_of
from sandbox.stripe.subscriptions import LIVE, Subscriptions

CREATE = (
    "customer items collection_method days_until_due default_payment_method metadata description"
    " billing_cycle_anchor_config billing_mode payment_behavior off_session proration_behavior"
    " payment_settings currency cancel_at_period_end"
)
UPDATE = (
    "metadata description default_payment_method cancel_at_period_end pause_collection"
    " collection_method days_until_due proration_behavior payment_behavior off_session"
)


class SubscriptionRoutes:
    def __init__(self, account: Account, subscriptions: Subscriptions, invoices: Invoices) -> None:
        self._account, self._subscriptions, self._invoices = account, subscriptions, invoices

    def routes(self) -> list[Route]:
        path = "/v1/subscriptions"
        return [
            Route("POST", path, self._create, CREATE),
            Route(
                "GET", path, self._list, f"{PAGING} customer price status created collection_method"
            ),
            Route("GET", path + "/{id}", self._retrieve),
            Route("POST", path + "/{id}", self._update, UPDATE),
            Route(
                "DELETE", path + "/{id}", self._cancel, "invoice_now prorate cancellation_details"
            ),
            Route("POST", path + "/{id}/pause", self._pause, "type invoicing_behavior bill_for"),
            Route(
                "POST",
                path + "/{id}/resume",
                self._resume,
                "billing_cycle_anchor proration_behavior payment_behavior",
            ),
            Route("POST", "/v1/invoices/create_preview", self._preview, "customer subscription"),
            Route("GET", "/v1/subscription_items", self._list_items, f"{PAGING} subscription"),
        ]

    def _create(self, call: Call) -> Thing:
        return self._subscriptions.create(call.form)

    def _list(self, call: Call) -> Thing:
        form = call.form
        wanted = owned(
            customer=form.get("customer"), collection_method=form.get("collection_method")
        )
        found = [
            one
            for one in self._account.all("subscription")
            if wanted(one)
            and _has_status(one, form.get("status"))
            and form.get("price") in (None, "", *_price_ids(one))
            and within(form, "created", one["created"])
        ]
        return page(self._account, call, found)

    def _retrieve(self, call: Call) -> Thing:
        return self._account.get("subscription", call.id)

    def _list_items(self, call: Call) -> Thing:
        subscription = self._account.named(
            "subscription", required(call.form, "subscription"), "subscription"
        )
        return page_of(call, subscription["items"]["data"])

    def _update(self, call: Call) -> Thing:
        account, form = self._account, call.form
        subscription = self._retrieve(call)
        if subscription["status"] not in LIVE:
            raise StripeError(
                "A canceled subscription can only update its cancellation_details and metadata.",
                code="resource_missing",
            )
        draft: Thing = {"metadata": merge_metadata(subscription["metadata"], form)}
        for name in ("description", "default_payment_method"):
            if name in form:
                draft[name] = form[name] or None
        if draft.get("default_payment_method"):
            account.named(
                "payment_method", draft["default_payment_method"], "default_payment_method"
            )
        if "cancel_at_period_end" in form:
            ends = boolean(form, "cancel_at_period_end")
            draft |= {
                "cancel_at_period_end": ends,
                "cancel_at": item_of(subscription)["current_period_end"] if ends else None,
                "canceled_at": account.stamp if ends else None,
            }
        if "pause_collection" in form:
            draft["pause_collection"] = _pause_collection(form)
            self._plan_resumption(subscription, draft["pause_collection"])
        if "collection_method" in form:
            draft["collection_method"] = form["collection_method"]
            draft["days_until_due"] = integer(form, "days_until_due")
        return account.change(subscription, "customer.subscription.updated", **draft)

    def _plan_resumption(self, subscription: Thing, pause: Thing | None) -> None:
        """Take collection up again at `resumes_at`, unless the pause was changed meanwhile."""
        if pause is None or pause["resumes_at"] is None:
            return

        def resume() -> None:
            if subscription["pause_collection"] == pause:
                self._account.change(
                    subscription, "customer.subscription.updated", pause_collection=None
                )

        self._account.agenda.plan(instant(pause["resumes_at"]), resume)

    def _cancel(self, call: Call) -> Thing:
        invoice_now = boolean(call.form, "invoice_now")
        return self._subscriptions.cancel(
            self._retrieve(call), invoice_now=invoice_now, why="cancellation_requested"
        )

    def _pause(self, call: Call) -> Thing:
        subscription = self._retrieve(call)
        start = item_of(subscription)["current_period_start"]
        self._subscriptions.pause(subscription)
        if call.form.get("invoicing_behavior") == "invoice":
            self._subscriptions.draft(
                subscription, "subscription_update", start, self._account.stamp
            )
        return subscription

    def _resume(self, call: Call) -> Thing:
        anchor = hash_of(call.form, "billing_cycle_anchor").get("type", "now")
        return self._subscriptions.resume(self._retrieve(call), anchor_now=anchor == "now")

    def _preview(self, call: Call) -> Thing:
        name = required(call.form, "subscription")
        subscription = self._account.named("subscription", name, "subscription")
        item = item_of(subscription)
        start, end = item["current_period_start"], item["current_period_end"]
        return self._invoices.preview(Billed(subscription, start, end))


def _has_status(subscription: Thing, asked: str | None) -> bool:
    if asked == "all":
        return True
    if asked == "ended":
        return bool(subscription["status"] == "canceled")
    if asked:
        return bool(subscription["status"] == asked)
    return bool(subscription["status"] != "canceled")


def _price_ids(subscription: Thing) -> Iterable[str]:
    return [item["price"]["id"] for item in subscription["items"]["data"]]


def _pause_collection(form: Form) -> Thing | None:
    pause = hash_of(form, "pause_collection")
    if not pause:
        return None
    behaviors = ("keep_as_draft", "mark_uncollectible", "void")
    return {
        "behavior": one_of(pause, "behavior", behaviors),
        "resumes_at": integer(pause, "resumes_at"),
    }
