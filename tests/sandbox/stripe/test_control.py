"""The sandbox Stripe from another process, as the demo has it."""

from datetime import timedelta

import pytest
from stripe import RequestsClient, StripeClient

from sandbox.clock import WorldClock
from sandbox.remote import world_process
from sandbox.stripe.control import actions
from sandbox.world import World
from tests.sandbox.stripe.conftest import NOW
from tests.sandbox.stripe.shop import Shop


def test_demo_drives_a_stripe_of_another_process_by_control() -> None:
    http = RequestsClient(timeout=10)
    with world_process("--clusters", "1", "--stripe", "--now", NOW.isoformat()) as world:
        stripe = world.stripe
        client = StripeClient(
            stripe.api_key,
            base_addresses={"api": stripe.url, "meter_events": stripe.url},
            http_client=http,
        )
        shop = Shop(client, lambda: NOW)
        ada = shop.customer()
        subscription = shop.subscribe(ada)
        stripe.do("add_card", customer=ada)
        shop.use(ada, 2_000_000)
        stripe.set(invoice_grace=3_600 * 72)
        world.advance(timedelta(days=25).total_seconds())
        (billed,) = shop.invoices(subscription.id)
        assert (billed.status, billed.total) == ("paid", 200)
        assert [one["id"] for one in stripe.all("customer")] == [ada]
        assert stripe.requests("/v1/billing/meter_events")[0]["status"] == 200
        stripe.add_fault("outage", from_at=NOW, to_at=NOW + timedelta(days=99), times=1)
        with pytest.raises(Exception, match="unknown error"):
            client.v1.customers.list()
        assert stripe.faults()[0]["taken"] == 1
        stripe.clear_faults()
        assert stripe.deliver(paused=True, drop={"times": 1}) == {"outstanding": 0}
        assert stripe.deliveries()["paused"]
        with pytest.raises(ValueError, match="nobody does"):
            stripe.do("rob")
    http.close()  # type: ignore[no-untyped-call]  # the SDK has no annotation there


def test_stripe_of_a_world_lives_by_the_worlds_clock() -> None:
    with World(clusters=[], now=WorldClock(NOW), stripe=True) as world:
        world.stripe.people.lose_meter("gone")
        world.clock.advance(timedelta(days=31))
        (event,) = world.stripe.all("v2.core.event")
        assert event["created"] == "2026-03-10T09:30:00.000Z"
        assert world.stripe.now() == NOW + timedelta(days=31)
    with World(clusters=[]) as other, pytest.raises(AssertionError, match="without Stripe"):
        _ = other.stripe


def test_control_offers_what_people_do() -> None:
    wanted = {"pay", "settle", "abandon", "complete_setup", "remove_card", "decline_cards"}
    wanted |= {
        "pay_invoice",
        "refund",
        "fail_refund",
        "open_dispute",
        "close_dispute",
        "roll_secret",
    }
    wanted |= {"cancel_subscription", "pause_subscription", "resume_subscription"}
    assert wanted <= set(actions())
