"""Month ends: what is billed, when it is final, and what becomes of money that does not come."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from stripe import CardError, Invoice, StripeClient, Subscription

from sandbox.clock import WorldClock
from sandbox.stripe.world import StripeWorld
from tests.sandbox.stripe.shop import Shop

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def ada(shop: Shop, stripe: StripeWorld) -> str:
    customer = shop.customer()
    stripe.people.add_card(customer)
    return customer


@pytest.fixture
def subscription(shop: Shop, ada: str) -> Subscription:
    return shop.subscribe(ada)


@pytest.fixture
def declined(
    shop: Shop, ada: str, subscription: Subscription, stripe: StripeWorld, clock: WorldClock
) -> Invoice:
    """March is over, and the card that is to pay it is declined."""
    shop.use(ada, 2_000_000)
    stripe.people.decline_cards(ada)
    clock.freeze(APRIL + timedelta(hours=2))
    (invoice,) = shop.invoices(subscription.id)
    return invoice


def buy_credits(client: StripeClient, stripe: StripeWorld, customer: str) -> None:
    session = client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "customer": customer,
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
            "invoice_creation": {"enabled": True},
        }
    )
    stripe.people.pay(session.id)


def kinds(stripe: StripeWorld) -> list[str]:
    return [event["type"] for event in stripe.all("event")]


def test_subscription_begins_with_an_invoice_over_nothing_and_ends_its_month_at_midnight_utc(
    client: StripeClient, subscription: Subscription
) -> None:
    first = client.v1.invoices.retrieve(str(subscription.latest_invoice))
    assert (first.billing_reason, first.total, first.status) == ("subscription_create", 0, "paid")
    item = subscription["items"].data[0]
    assert item.current_period_end == APRIL.timestamp()
    assert item.current_period_start == subscription.start_date


def test_month_is_billed_once_it_is_over_and_rounded_once_on_its_line(
    shop: Shop, ada: str, subscription: Subscription, clock: WorldClock
) -> None:
    shop.use(ada, 1_234_500, clock())
    shop.use(ada, 4_999, clock() + timedelta(days=-1))  # before the subscription: never invoiced
    clock.freeze(APRIL + timedelta(hours=2))
    (invoice,) = shop.invoices(subscription.id)
    (line,) = invoice.lines.data
    assert (line.quantity, line.amount) == (1_234_500, 123)
    assert (invoice.status, invoice.total, invoice.amount_paid) == ("paid", 123, 123)
    assert line.period.end == APRIL.timestamp() == invoice.period_end
    assert line.pricing is not None
    assert line.pricing.unit_amount_decimal == Decimal("0.0001")
    assert invoice.parent is not None
    assert invoice.parent.subscription_details is not None
    assert invoice.parent.subscription_details.subscription == subscription.id


def test_half_a_cent_is_rounded_up(
    shop: Shop, ada: str, subscription: Subscription, clock: WorldClock
) -> None:
    shop.use(ada, 1_005_000)
    clock.freeze(APRIL + timedelta(hours=2))
    assert shop.invoices(subscription.id)[0].total == 101


def test_late_usage_counts_until_the_grace_is_over_and_not_after(
    shop: Shop, ada: str, subscription: Subscription, stripe: StripeWorld, clock: WorldClock
) -> None:
    stripe.settings.invoice_grace = timedelta(hours=72)
    clock.freeze(APRIL + timedelta(hours=71))
    shop.use(ada, 2_000_000, APRIL - timedelta(hours=1))
    (draft,) = shop.invoices(subscription.id)
    assert (draft.status, draft.total) == ("draft", 200)
    clock.freeze(APRIL + timedelta(hours=72))
    shop.use(ada, 9_000_000, APRIL - timedelta(hours=1))
    (final,) = shop.invoices(subscription.id)
    assert (final.status, final.total) == ("paid", 200)


def test_total_below_zero_bills_nothing_and_carries_nothing_over(
    shop: Shop, ada: str, subscription: Subscription, clock: WorldClock
) -> None:
    shop.use(ada, -5_000_000)
    clock.freeze(APRIL + timedelta(days=3))
    shop.use(ada, 3_000_000)
    clock.freeze(MAY + timedelta(hours=2))
    assert [one.total for one in shop.invoices(subscription.id)] == [300, 0]


def test_leap_over_many_months_makes_each_of_their_invoices(
    shop: Shop, ada: str, subscription: Subscription, clock: WorldClock
) -> None:
    clock.freeze(datetime(2027, 3, 1, 3, tzinfo=UTC))
    made = [datetime.fromtimestamp(one.created, UTC) for one in shop.invoices(subscription.id)]
    assert made == sorted(
        (datetime(2026 + (m > 12), (m - 1) % 12 + 1, 1, tzinfo=UTC) for m in range(4, 16)),
        reverse=True,
    )


def test_invoice_that_is_not_paid_is_tried_again_and_the_subscription_given_up(
    shop: Shop,
    declined: Invoice,
    subscription: Subscription,
    stripe: StripeWorld,
    client: StripeClient,
    clock: WorldClock,
) -> None:
    assert (declined.status, declined.attempt_count) == ("open", 1)
    assert declined.next_payment_attempt == (APRIL + timedelta(hours=1, days=3)).timestamp()
    assert client.v1.subscriptions.retrieve(subscription.id).status == "past_due"
    clock.advance(timedelta(days=16))
    assert shop.invoices(subscription.id)[0].attempt_count == 4
    assert client.v1.subscriptions.retrieve(subscription.id).status == "unpaid"
    stripe.people.pay_invoice(str(declined.id))
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"
    assert kinds(stripe).count("invoice.payment_failed") == 4


def test_subscription_that_is_unpaid_gets_drafts_that_stay_drafts(
    shop: Shop, ada: str, subscription: Subscription, stripe: StripeWorld, clock: WorldClock
) -> None:
    shop.use(ada, 2_000_000)
    stripe.people.remove_card(ada)
    clock.freeze(MAY + timedelta(days=5))
    newest, oldest = shop.invoices(subscription.id)
    assert (oldest.status, newest.status, newest.auto_advance) == ("open", "draft", False)


def test_bank_that_wants_to_see_the_payer_is_told_of_as_action_required(
    shop: Shop, ada: str, subscription: Subscription, stripe: StripeWorld, clock: WorldClock
) -> None:
    shop.use(ada, 2_000_000)
    stripe.people.challenge_cards(ada)
    clock.freeze(APRIL + timedelta(hours=2))
    assert shop.invoices(subscription.id)[0].status == "open"
    wanted = ["invoice.payment_action_required", "invoice.payment_failed"]
    assert [kind for kind in kinds(stripe) if kind in wanted] == wanted


def test_invoice_whose_finalisation_fails_stays_a_draft(
    shop: Shop,
    ada: str,
    subscription: Subscription,
    stripe: StripeWorld,
    client: StripeClient,
    clock: WorldClock,
) -> None:
    shop.use(ada, 2_000_000)
    clock.freeze(APRIL)
    draft = str(shop.invoices(subscription.id)[0].id)
    stripe.people.block_invoice(draft)
    clock.advance(timedelta(days=1))
    assert client.v1.invoices.retrieve(draft).status == "draft"
    assert "invoice.finalization_failed" in kinds(stripe)
    assert client.v1.invoices.finalize_invoice(draft).status == "paid"


def test_account_may_cancel_after_the_last_try(
    shop: Shop, ada: str, subscription: Subscription, stripe: StripeWorld, clock: WorldClock
) -> None:
    stripe.settings.after_retries = "canceled"
    stripe.settings.retry_after = (timedelta(days=1),)
    stripe.people.decline_cards(ada)
    shop.use(ada, 2_000_000)
    clock.freeze(APRIL + timedelta(days=3))
    (ended,) = stripe.all("subscription")
    assert (ended["status"], ended["cancellation_details"]["reason"]) == (
        "canceled",
        "payment_failed",
    )
    assert "customer.subscription.deleted" in kinds(stripe)


def test_canceling_bills_open_usage_only_when_asked_to(
    shop: Shop, ada: str, client: StripeClient, clock: WorldClock
) -> None:
    silent, billed = shop.subscribe(ada), shop.subscribe(ada)
    shop.use(ada, 1_000_000)
    clock.advance(timedelta(minutes=1))
    client.v1.subscriptions.cancel(silent.id)
    client.v1.subscriptions.cancel(billed.id, {"invoice_now": True})
    clock.advance(timedelta(hours=2))
    totals = {
        one: [i.total for i in client.v1.invoices.list({"subscription": one}).data]
        for one in (silent.id, billed.id)
    }
    assert totals == {silent.id: [0], billed.id: [100, 0]}


def test_subscription_that_ends_with_its_period_bills_it_and_begins_no_other(
    shop: Shop, ada: str, subscription: Subscription, client: StripeClient, clock: WorldClock
) -> None:
    client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    shop.use(ada, 1_000_000)
    clock.freeze(MAY + timedelta(days=2))
    assert [(one.status, one.total) for one in shop.invoices(subscription.id)] == [("paid", 100)]
    ended = client.v1.subscriptions.retrieve(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", APRIL.timestamp())


@pytest.mark.parametrize("takes", [True, False])
def test_late_usage_of_a_subscription_that_ended_with_its_period_counts_until_the_grace_is_over(
    shop: Shop,
    ada: str,
    subscription: Subscription,
    stripe: StripeWorld,
    clock: WorldClock,
    *,
    takes: bool,
) -> None:
    """Or not, where somebody wants to see what follows from a Stripe that does it otherwise."""
    stripe.settings.invoice_grace = timedelta(hours=72)
    stripe.settings.ended_drafts_take = takes
    shop.client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    shop.use(ada, 1_000_000)
    clock.freeze(APRIL + timedelta(hours=71))
    assert shop.client.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    shop.use(ada, 2_000_000, APRIL - timedelta(hours=1))
    (draft,) = shop.invoices(subscription.id)
    assert (draft.status, draft.total) == ("draft", 300 if takes else 100)
    clock.freeze(APRIL + timedelta(hours=72))
    shop.use(ada, 9_000_000, APRIL - timedelta(hours=1))
    (final,) = shop.invoices(subscription.id)
    assert (final.status, final.total) == ("paid", 300 if takes else 100)


def test_deleting_a_customer_ends_his_subscriptions(
    ada: str, subscription: Subscription, client: StripeClient, stripe: StripeWorld
) -> None:
    client.v1.customers.delete(ada)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    assert kinds(stripe)[-2:] == ["customer.subscription.deleted", "customer.deleted"]
    assert client.v1.customers.retrieve(ada).deleted


def test_pause_of_collection_ends_by_itself_when_told_to(
    subscription: Subscription, client: StripeClient, clock: WorldClock
) -> None:
    until = int((clock() + timedelta(days=3)).timestamp())
    client.v1.subscriptions.update(
        subscription.id, {"pause_collection": {"behavior": "keep_as_draft", "resumes_at": until}}
    )
    clock.advance(timedelta(days=4))
    assert client.v1.subscriptions.retrieve(subscription.id).pause_collection is None


def test_collection_may_be_paused_and_its_invoices_voided(
    shop: Shop, ada: str, subscription: Subscription, client: StripeClient, clock: WorldClock
) -> None:
    client.v1.subscriptions.update(subscription.id, {"pause_collection": {"behavior": "void"}})
    shop.use(ada, 1_000_000)
    clock.freeze(APRIL + timedelta(hours=2))
    assert [one.status for one in shop.invoices(subscription.id)] == ["void"]
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"


def test_paused_subscription_makes_no_invoices_until_it_is_resumed(
    shop: Shop, ada: str, subscription: Subscription, stripe: StripeWorld, clock: WorldClock
) -> None:
    stripe.people.pause_subscription(subscription.id)
    clock.freeze(APRIL + timedelta(days=1))
    assert shop.invoices(subscription.id) == []
    stripe.people.resume_subscription(subscription.id)
    shop.use(ada, 3_000_000)
    clock.freeze(MAY + timedelta(hours=2))
    assert [one.total for one in shop.invoices(subscription.id)] == [300]
    assert {"customer.subscription.paused", "customer.subscription.resumed"} <= set(kinds(stripe))


def test_second_subscription_bills_the_same_usage_a_second_time(
    shop: Shop, ada: str, subscription: Subscription, stripe: StripeWorld, clock: WorldClock
) -> None:
    twin = stripe.people.duplicate_subscription(subscription.id)
    shop.use(ada, 1_000_000)
    clock.freeze(APRIL + timedelta(hours=2))
    bills = [shop.invoices(one)[0].total for one in (subscription.id, twin["id"])]
    assert bills == [100, 100]


def test_amount_too_small_to_charge_is_owed_with_the_next_invoice(
    shop: Shop, ada: str, subscription: Subscription, stripe: StripeWorld, clock: WorldClock
) -> None:
    shop.use(ada, 300_000)
    clock.freeze(APRIL + timedelta(days=1))
    buy_credits(shop.client, stripe, ada)  # its receipt leaves the balance alone
    shop.use(ada, 1_000_000)
    clock.freeze(MAY + timedelta(hours=2))
    second, first = shop.invoices(subscription.id)
    assert (first.total, first.amount_due, first.ending_balance) == (30, 0, 30)
    assert (second.total, second.starting_balance, second.amount_paid) == (100, 30, 130)


def test_preview_says_what_the_month_would_cost_now(
    shop: Shop, ada: str, subscription: Subscription, client: StripeClient
) -> None:
    shop.use(ada, 7_000_000)
    assert client.v1.invoices.create_preview({"subscription": subscription.id}).total == 700
    assert shop.invoices(subscription.id) == []


def test_paying_with_a_declined_card_is_told_as_402(
    ada: str, declined: Invoice, stripe: StripeWorld, client: StripeClient
) -> None:
    invoice = str(declined.id)
    with pytest.raises(CardError):
        client.v1.invoices.pay(invoice)
    stripe.people.decline_cards(ada, declines=False)
    assert client.v1.invoices.pay(invoice).status == "paid"
