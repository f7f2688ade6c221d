"""Checkout, cards, refunds and disputes: what people do, and what we hear of it."""

from datetime import timedelta
from typing import Any

import pytest
from stripe import InvalidRequestError, StripeClient

from sandbox.clock import WorldClock
from sandbox.stripe.errors import StripeError
from sandbox.stripe.world import StripeWorld
from tests.sandbox.stripe.shop import Shop


@pytest.fixture
def ada(shop: Shop) -> str:
    return shop.customer()


@pytest.fixture
def session(client: StripeClient, ada: str) -> str:
    return open_session(client, ada)


def open_session(client: StripeClient, customer: str, **changes: Any) -> str:
    form: Any = {
        "mode": "payment",
        "customer": customer,
        "client_reference_id": "account-7",
        "success_url": "https://example.org/done",
        "line_items": [
            {
                "price_data": {
                    "currency": "usd",
                    "unit_amount": 5_000,
                    "product_data": {"name": "Credits"},
                },
                "quantity": 2,
            }
        ],
        "metadata": {"order": "1"},
        "payment_intent_data": {"metadata": {"order": "1"}},
    }
    return client.v1.checkout.sessions.create(form | changes).id


def kinds(stripe: StripeWorld, prefix: str) -> list[str]:
    return [one["type"] for one in stripe.all("event") if one["type"].startswith(prefix)]


def test_card_pays_at_once_with_all_that_names_the_order(
    client: StripeClient, stripe: StripeWorld, session: str
) -> None:
    assert client.v1.checkout.sessions.retrieve(session).payment_status == "unpaid"
    stripe.people.pay(session)
    paid: Any = client.v1.checkout.sessions.retrieve(session, {"expand": ["payment_intent"]})
    assert (paid.status, paid.payment_status) == ("complete", "paid")
    assert (paid.amount_total, paid.currency) == (10_000, "usd")
    assert (paid.client_reference_id, paid.metadata["order"]) == ("account-7", "1")
    assert paid.payment_intent.metadata["order"] == "1"
    assert paid.payment_intent.amount_received == 10_000
    assert kinds(stripe, "checkout.") == ["checkout.session.completed"]
    with pytest.raises(InvalidRequestError):
        client.v1.checkout.sessions.expire(session)


@pytest.mark.parametrize(
    ("succeeds", "word", "then"), [(True, "succeeded", "paid"), (False, "failed", "unpaid")]
)
def test_delayed_method_completes_unpaid_and_is_settled_days_later(
    client: StripeClient,
    stripe: StripeWorld,
    session: str,
    clock: WorldClock,
    succeeds: bool,
    word: str,
    then: str,
) -> None:
    stripe.people.pay(session, "sepa_debit", succeeds=succeeds)
    done = client.v1.checkout.sessions.retrieve(session)
    assert (done.status, done.payment_status) == ("complete", "unpaid")
    clock.advance(timedelta(days=5))
    assert client.v1.checkout.sessions.retrieve(session).payment_status == then
    assert kinds(stripe, "checkout.") == [
        "checkout.session.completed",
        f"checkout.session.async_payment_{word}",
    ]


def test_declined_card_leaves_the_session_open_for_another(
    client: StripeClient, stripe: StripeWorld, session: str
) -> None:
    stripe.people.pay(session, succeeds=False)
    assert client.v1.checkout.sessions.retrieve(session).status == "open"
    assert kinds(stripe, "payment_intent.")[-1] == "payment_intent.payment_failed"
    stripe.people.pay(session)
    assert client.v1.checkout.sessions.retrieve(session).payment_status == "paid"


def test_session_expires_by_the_clock_unless_used(
    client: StripeClient, stripe: StripeWorld, session: str, ada: str, clock: WorldClock
) -> None:
    soon = int((clock() + timedelta(minutes=30)).timestamp())
    short = open_session(client, ada, expires_at=soon)
    clock.advance(timedelta(minutes=31))
    assert client.v1.checkout.sessions.retrieve(short).status == "expired"
    assert client.v1.checkout.sessions.retrieve(session).status == "open"
    clock.advance(timedelta(hours=24))
    assert client.v1.checkout.sessions.retrieve(session).status == "expired"
    with pytest.raises(InvalidRequestError):
        open_session(client, ada, expires_at=int(clock().timestamp()) + 60)


def test_receipt_is_made_where_it_was_asked_for(
    client: StripeClient, stripe: StripeWorld, ada: str
) -> None:
    session = open_session(client, ada, invoice_creation={"enabled": True})
    stripe.people.pay(session)
    paid: Any = client.v1.checkout.sessions.retrieve(session, {"expand": ["invoice"]})
    assert (paid.invoice.status, paid.invoice.total, paid.invoice.amount_paid) == (
        "paid",
        10_000,
        10_000,
    )


def test_setup_attaches_a_card_and_makes_it_nobodys_default(
    client: StripeClient, stripe: StripeWorld, ada: str
) -> None:
    session: Any = client.v1.checkout.sessions.create(
        {"mode": "setup", "customer": ada, "currency": "usd", "success_url": "https://example.org"}
    )
    stripe.people.complete_setup(session.id)
    intent = client.v1.setup_intents.retrieve(session.setup_intent)
    (card,) = client.v1.payment_methods.list({"customer": ada}).data
    assert (intent.status, intent.payment_method) == ("succeeded", card.id)
    settings: Any = client.v1.customers.retrieve(ada).invoice_settings
    assert settings.default_payment_method is None
    client.v1.customers.update(ada, {"invoice_settings": {"default_payment_method": card.id}})
    assert kinds(stripe, "setup_intent.") == ["setup_intent.created", "setup_intent.succeeded"]


def test_detached_card_names_its_customer_in_previous_attributes_alone(
    client: StripeClient, stripe: StripeWorld, ada: str
) -> None:
    card = stripe.people.add_card(ada)["id"]
    client.v1.payment_methods.detach(card)
    event = next(one for one in stripe.all("event") if one["type"] == "payment_method.detached")
    assert event["data"]["object"]["customer"] is None
    assert event["data"]["previous_attributes"] == {"customer": ada}
    settings: Any = client.v1.customers.retrieve(ada).invoice_settings
    assert settings.default_payment_method is None
    assert client.v1.payment_methods.list({"customer": ada}).data == []


def test_renewed_card_is_the_same_method_with_a_later_end(
    client: StripeClient, stripe: StripeWorld, ada: str
) -> None:
    card: Any = client.v1.payment_methods.retrieve(stripe.people.add_card(ada)["id"])
    stripe.people.renew_cards(ada)
    later: Any = client.v1.payment_methods.retrieve(card.id)
    assert later.card.exp_year > card.card.exp_year
    assert kinds(stripe, "payment_method.")[-1] == "payment_method.automatically_updated"


def test_refunds_come_in_parts_up_to_what_was_paid(
    client: StripeClient, stripe: StripeWorld, session: str
) -> None:
    stripe.people.pay(session)
    intent = str(client.v1.checkout.sessions.retrieve(session).payment_intent)
    charge = str(client.v1.payment_intents.retrieve(intent).latest_charge)
    client.v1.refunds.create({"charge": charge, "amount": 3_000})
    assert not client.v1.charges.retrieve(charge).refunded
    with pytest.raises(InvalidRequestError, match="greater than unrefunded"):
        client.v1.refunds.create({"payment_intent": intent, "amount": 7_001})
    stripe.people.refund(charge)
    after: Any = client.v1.charges.retrieve(charge, {"expand": ["refunds"]})
    assert (after.refunded, after.amount_refunded) == (True, 10_000)
    assert [refund.amount for refund in after.refunds.data] == [7_000, 3_000]
    assert kinds(stripe, "charge.refunded") == ["charge.refunded"] * 2


def test_a_refund_to_a_bank_account_is_pending_and_may_fail_after_it_arrived(
    client: StripeClient, stripe: StripeWorld, clock: WorldClock, session: str
) -> None:
    stripe.people.pay(session, "sepa_debit")
    stripe.people.settle(session)
    intent = str(client.v1.checkout.sessions.retrieve(session).payment_intent)
    refund = client.v1.refunds.create({"payment_intent": intent, "amount": 4_000})
    assert (refund.status, refund.pending_reason) == ("pending", "processing")
    clock.advance(timedelta(days=6))
    arrived = client.v1.refunds.retrieve(refund.id)
    assert arrived.status == "succeeded"
    stripe.people.fail_refund(refund.id, "declined")
    failed = client.v1.refunds.retrieve(refund.id)
    assert (failed.status, failed.failure_reason) == ("failed", "declined")
    assert kinds(stripe, "refund.") == [
        "refund.created",
        "refund.updated",
        "refund.updated",
        "refund.failed",
    ]
    assert kinds(stripe, "charge.refund.") == ["charge.refund.updated"] * 2
    charge = client.v1.charges.retrieve(str(refund.charge))
    assert (charge.refunded, charge.amount_refunded) == (False, 0)
    with pytest.raises(StripeError, match="The refund is failed"):
        stripe.people.fail_refund(refund.id)


def test_a_refund_is_pending_on_demand_and_can_be_cancelled_until_it_arrives(
    client: StripeClient, stripe: StripeWorld, session: str
) -> None:
    stripe.people.pay(session)
    intent = str(client.v1.checkout.sessions.retrieve(session).payment_intent)
    charge = str(client.v1.payment_intents.retrieve(intent).latest_charge)
    first, second = (stripe.people.refund(charge, 1_000, pending=True)["id"] for _ in range(2))
    stripe.people.cancel_refund(first)
    assert client.v1.refunds.retrieve(first).status == "canceled"
    stripe.people.arrive_refund(second)
    with pytest.raises(StripeError, match="it must be pending"):
        stripe.people.cancel_refund(second)
    assert client.v1.charges.retrieve(charge).amount_refunded == 1_000


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_disputes_are_opened_and_closed_by_the_bank(
    client: StripeClient, stripe: StripeWorld, session: str, outcome: Any
) -> None:
    stripe.people.pay(session)
    intent = client.v1.checkout.sessions.retrieve(session).payment_intent
    charge = str(client.v1.payment_intents.retrieve(str(intent)).latest_charge)
    dispute = stripe.people.open_dispute(charge)["id"]
    assert client.v1.charges.retrieve(charge).disputed
    stripe.people.close_dispute(dispute, outcome)
    assert client.v1.disputes.retrieve(dispute).status == outcome
    events = kinds(stripe, "charge.dispute.")
    assert events[:2] == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    assert ("charge.dispute.funds_reinstated" in events) == (outcome == "won")
    assert "charge.dispute.closed" in events
