"""One walk through everything that the sandbox Stripe imitates, by way of the SDK."""

from datetime import UTC, datetime, timedelta
from typing import Any

from stripe import StripeClient

from sandbox.stripe.world import StripeWorld

DAY_S = 86_400


class Tour:
    """Things are made in the order in which we need them in real life."""

    def __init__(self, stripe: StripeWorld, client: StripeClient) -> None:
        self.stripe, self.v1, self.v2 = stripe, client.v1, client.v2
        self.event_name = "usage"

    def walk(self) -> None:
        self.set_up()
        self.endpoints()
        self.use()
        self.buy()
        self.leave_a_card()
        self.refund_and_dispute()
        self.bill()
        self.look_around()
        self.end()

    def set_up(self) -> None:
        v1 = self.v1
        v1.accounts.retrieve_current()
        self.customer = v1.customers.create(
            {"name": "Ada", "email": "ada@example.org", "metadata": {"user": "7"}}
        ).id
        v1.customers.update(self.customer, {"description": "first", "metadata": {"more": "1"}})
        self.meter = v1.billing.meters.create(
            {
                "display_name": "Usage",
                "event_name": self.event_name,
                "default_aggregation": {"formula": "sum"},
                "event_time_window": "day",
                "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
                "value_settings": {"event_payload_key": "value"},
            }
        ).id
        v1.billing.meters.update(self.meter, {"display_name": "Micro-dollars of usage"})
        product = v1.products.create({"name": "Usage", "unit_label": "micro-dollar"}).id
        v1.products.update(product, {"metadata": {"by": "hopsmeter"}})
        self.price = v1.prices.create(
            {
                "currency": "usd",
                "product": product,
                "unit_amount_decimal": "0.0001",  # type: ignore[typeddict-item]  # a Decimal is meant
                "recurring": {"interval": "month", "usage_type": "metered", "meter": self.meter},
                "lookup_key": "usage",
            }
        ).id
        self.subscription = v1.subscriptions.create(
            {
                "customer": self.customer,
                "items": [{"price": self.price}],
                "billing_cycle_anchor_config": {
                    "day_of_month": 1,
                    "hour": 0,
                    "minute": 0,
                    "second": 0,
                },
                "collection_method": "charge_automatically",
                "off_session": True,
                "metadata": {"account": "7"},
            }
        ).id

    def endpoints(self) -> None:
        v1, destinations = self.v1, self.v2.core.event_destinations
        hook = v1.webhook_endpoints.create(
            {
                "url": "http://127.0.0.1:9/webhooks/stripe",
                "enabled_events": ["invoice.paid"],
                "api_version": "2026-10-28.endive",
            }
        ).id
        v1.webhook_endpoints.update(hook, {"disabled": True})
        v1.webhook_endpoints.retrieve(hook)
        v1.webhook_endpoints.list()
        v1.webhook_endpoints.delete(hook)
        thin = destinations.create(
            {
                "name": "meters",
                "type": "webhook_endpoint",
                "event_payload": "thin",
                "enabled_events": ["v1.billing.meter.error_report_triggered"],
                "webhook_endpoint": {"url": "http://127.0.0.1:9/webhooks/stripe"},
                "include": ["webhook_endpoint.signing_secret", "webhook_endpoint.url"],
            }
        ).id
        destinations.retrieve(thin)
        destinations.list()
        destinations.delete(thin)

    def use(self) -> None:
        now = int(self.stripe.now().timestamp())
        for number, value in enumerate(("1500000", "2500000")):
            self.v1.billing.meter_events.create(
                {
                    "event_name": self.event_name,
                    "payload": {"stripe_customer_id": self.customer, "value": value},
                    "identifier": f"day-{number}",
                    "timestamp": now,
                }
            )
        self.v1.billing.meter_events.create(
            {
                "event_name": self.event_name,
                "payload": {"stripe_customer_id": "cus_unknown", "value": "1"},
            }
        )
        day = now // DAY_S * DAY_S
        window: Any = {"customer": self.customer, "start_time": day, "end_time": day + DAY_S}
        self.v1.billing.meters.event_summaries.list(self.meter, window)
        self.v1.billing.meters.event_summaries.list(
            self.meter, window | {"value_grouping_window": "day"}
        )

    def buy(self) -> None:
        self.session = self._session()
        self.stripe.people.pay(self.session)
        self.v1.checkout.sessions.retrieve(
            self.session, {"expand": ["line_items", "payment_intent.latest_charge", "invoice"]}
        )
        self.v1.checkout.sessions.line_items.list(self.session)
        for succeeds in (False, True):
            self.late = self._session()
            self.stripe.people.pay(self.late, "sepa_debit")
            self.stripe.people.settle(self.late, succeeds=succeeds)
        self.v1.checkout.sessions.expire(self._session())
        self.v1.checkout.sessions.list({"customer": self.customer})

    def _session(self) -> str:
        return self.v1.checkout.sessions.create(
            {
                "mode": "payment",
                "customer": self.customer,
                "client_reference_id": "account-7",
                "success_url": "https://example.org/done",
                "line_items": [
                    {
                        "price_data": {
                            "currency": "usd",
                            "unit_amount": 5_000,
                            "product_data": {"name": "Credits"},
                        },
                        "quantity": 1,
                    }
                ],
                "metadata": {"order": "1"},
                "payment_intent_data": {"metadata": {"order": "1"}},
                "invoice_creation": {"enabled": True},
            }
        ).id

    def leave_a_card(self) -> None:
        v1 = self.v1
        session = v1.checkout.sessions.create(
            {
                "mode": "setup",
                "customer": self.customer,
                "currency": "usd",
                "success_url": "https://example.org/done",
            }
        )
        self.stripe.people.complete_setup(session.id)
        intent = v1.setup_intents.retrieve(str(session.setup_intent))
        card = str(intent.payment_method)
        v1.customers.update(self.customer, {"invoice_settings": {"default_payment_method": card}})
        v1.subscriptions.update(self.subscription, {"default_payment_method": card})
        other = v1.payment_methods.attach("pm_card_visa", {"customer": self.customer})
        v1.payment_methods.detach(other.id)
        v1.payment_methods.list({"customer": self.customer, "type": "card"})
        v1.customers.payment_methods.list(self.customer)
        v1.customers.payment_methods.retrieve(self.customer, card)
        v1.payment_methods.retrieve(card)
        v1.payment_methods.update(card, {"metadata": {"of": "Ada"}})
        v1.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}})
        v1.customers.retrieve(
            self.customer, {"expand": ["invoice_settings.default_payment_method"]}
        )
        v1.setup_intents.list({"customer": self.customer})
        v1.setup_intents.cancel(v1.setup_intents.create({"customer": self.customer}).id)
        v1.billing_portal.sessions.create({"customer": self.customer})
        self.payment = v1.payment_intents.create(
            {
                "amount": 700,
                "currency": "usd",
                "customer": self.customer,
                "payment_method": card,
                "confirm": True,
                "off_session": True,
            }
        ).id
        v1.payment_intents.retrieve(self.payment)

    def refund_and_dispute(self) -> None:
        v1 = self.v1
        session = v1.checkout.sessions.retrieve(self.session)
        refund = v1.refunds.create({"payment_intent": str(session.payment_intent), "amount": 1_000})
        v1.refunds.retrieve(refund.id)
        v1.charges.retrieve(str(refund.charge), {"expand": ["refunds"]})
        dispute = self.stripe.people.open_dispute(str(refund.charge))["id"]
        v1.disputes.retrieve(dispute)
        self.stripe.people.close_dispute(dispute, "won")
        charge = v1.payment_intents.retrieve(self.payment).latest_charge
        v1.disputes.close(self.stripe.people.open_dispute(str(charge))["id"])
        v1.disputes.list()
        v1.refunds.list({"charge": str(refund.charge)})
        self.fail_refunds()

    def fail_refunds(self) -> None:
        v1, people = self.v1, self.stripe.people
        session = v1.checkout.sessions.retrieve(self.late)
        to_bank = {"payment_intent": str(session.payment_intent), "amount": 500}
        ids = [v1.refunds.create(to_bank).id for _ in range(3)]  # type: ignore[arg-type]  # a TypedDict, built by part
        v1.refunds.retrieve(ids[0])
        people.arrive_refund(ids[0])
        people.fail_refund(ids[0], "lost_or_stolen_card")
        people.fail_refund(ids[1])
        people.cancel_refund(ids[2])
        v1.refunds.list({"payment_intent": str(session.payment_intent)})

    def bill(self) -> None:
        v1, clock = self.v1, self.stripe.clock
        v1.invoices.create_preview({"subscription": self.subscription})
        clock.freeze(datetime(2026, 4, 1, 0, 30, tzinfo=UTC))
        draft = v1.invoices.list({"subscription": self.subscription, "status": "draft"}).data[0]
        v1.invoices.line_items.list(str(draft.id))
        clock.advance(timedelta(hours=1))
        v1.invoices.retrieve(str(draft.id), {"expand": ["payments", "parent"]})
        payment = v1.invoice_payments.list({"invoice": str(draft.id)}).data[0]
        v1.invoice_payments.retrieve(payment.id)
        self.stripe.people.decline_cards(self.customer)
        self.stripe.people.duplicate_subscription(self.subscription)
        self.use_next_month()
        clock.freeze(datetime(2026, 5, 1, 0, 30, tzinfo=UTC))
        drafts = v1.invoices.list({"status": "draft"}).data
        first, second = (str(draft.id) for draft in drafts)
        v1.invoices.update(first, {"auto_advance": False, "metadata": {"held": "yes"}})
        v1.invoices.finalize_invoice(first)
        v1.invoices.pay(first, {"paid_out_of_band": True})
        v1.invoices.finalize_invoice(second)
        failed = v1.invoices.list({"status": "open"}).data[0]
        v1.invoices.mark_uncollectible(str(failed.id))
        v1.invoices.void_invoice(str(failed.id))

    def use_next_month(self) -> None:
        self.v1.billing.meter_events.create(
            {
                "event_name": self.event_name,
                "payload": {"stripe_customer_id": self.customer, "value": "9000000"},
            }
        )

    def look_around(self) -> None:
        v1 = self.v1
        v1.customers.list({"email": "ada@example.org"})
        v1.prices.list({"lookup_keys": ["usage"], "expand": ["data.product"]})
        v1.products.list({"active": True})
        v1.billing.meters.list({"status": "active"})
        v1.billing.meters.retrieve(self.meter)
        v1.products.retrieve(str(v1.prices.retrieve(self.price).product))
        v1.prices.update(self.price, {"nickname": "usage"})
        v1.subscription_items.list({"subscription": self.subscription})
        v1.subscriptions.list({"customer": self.customer, "status": "all"})
        v1.subscriptions.retrieve(self.subscription, {"expand": ["latest_invoice"]})
        v1.charges.list({"customer": self.customer})
        v1.payment_intents.list({"customer": self.customer})
        events = v1.events.list({"types": ["invoice.finalized"], "delivery_success": True})
        v1.events.retrieve(events.data[0].id)
        for thin in self.v2.core.events.list().data:
            self.v2.core.events.retrieve(thin.id)

    def end(self) -> None:
        v1 = self.v1
        v1.subscriptions.update(self.subscription, {"pause_collection": {"behavior": "void"}})
        v1.subscriptions.update(self.subscription, {"cancel_at_period_end": True})
        v1.subscriptions.pause(self.subscription)
        v1.subscriptions.resume(self.subscription, {"billing_cycle_anchor": {"type": "unchanged"}})
        v1.subscriptions.cancel(self.subscription, {"invoice_now": True})
        v1.billing.meters.deactivate(self.meter)
        v1.billing.meters.reactivate(self.meter)
        v1.customers.delete(self.customer)
        v1.customers.retrieve(self.customer)
