"""Webhooks: signed, tried again, in any order, doubled, lost, and found in the list of events."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from stripe import RequestsClient, SignatureVerificationError, StripeClient

from core.clock import utc_now
from sandbox.clock import WorldClock
from sandbox.stripe.world import StripeWorld
from tests.sandbox.stripe.inbox import Inbox
from tests.sandbox.stripe.shop import Shop


@pytest.fixture
def now() -> datetime:
    return utc_now()


@pytest.fixture
def clock() -> WorldClock:
    """Real time: the SDK's own check of a signature's age goes by the host."""
    return WorldClock()


@pytest.fixture
def endpoint(client: StripeClient, inbox: Inbox) -> Any:
    return client.v1.webhook_endpoints.create(
        {"url": inbox.url, "enabled_events": ["*"], "api_version": "2026-10-28.endive"}
    )


def make_customers(client: StripeClient, number: int) -> None:
    for n in range(number):
        client.v1.customers.create({"name": str(n)})


def test_webhook_is_signed_and_read_by_the_sdk(
    client: StripeClient, stripe: StripeWorld, inbox: Inbox, endpoint: Any
) -> None:
    customer = client.v1.customers.create({"name": "Ada"}, {"idempotency_key": "k"})
    stripe.deliveries.await_idle()
    ((body, signature),) = inbox.letters
    event: Any = client.construct_event(body, signature, endpoint.secret)
    assert (event.type, event.data.object.id) == ("customer.created", customer.id)
    assert (event.request.idempotency_key, event.pending_webhooks) == ("k", 1)
    assert event.api_version == "2026-10-28.endive"
    with pytest.raises(SignatureVerificationError):
        client.construct_event(body + b" ", signature, endpoint.secret)
    assert client.v1.events.retrieve(event.id).pending_webhooks == 0


def test_signature_goes_by_the_world_or_by_the_host() -> None:
    with StripeWorld(now=WorldClock(datetime(2026, 3, 1, tzinfo=UTC))) as stripe:
        http = RequestsClient(timeout=5)
        addresses: Any = stripe.base_addresses
        client = StripeClient(stripe.api_key, base_addresses=addresses, http_client=http)
        endpoint: Any = client.v1.webhook_endpoints.create(
            {"url": "http://127.0.0.1:9/", "enabled_events": ["*"]}
        )
        stripe.deliveries.pause()
        make_customers(client, 1)
        body = stripe.deliveries.collect()[0][0]
        old = stripe.deliveries.signature(endpoint.id, body)
        stripe.settings.signed_by = "host"
        new = stripe.deliveries.signature(endpoint.id, body)
        http.close()  # type: ignore[no-untyped-call]  # the SDK has no annotation there
    assert client.construct_event(body, new, endpoint.secret).type == "customer.created"
    with pytest.raises(SignatureVerificationError, match="tolerance"):
        client.construct_event(body, old, endpoint.secret)


def test_rolled_secret_signs_beside_the_old_one_for_a_day(
    client: StripeClient, stripe: StripeWorld, inbox: Inbox, endpoint: Any, clock: WorldClock
) -> None:
    fresh = stripe.people.roll_secret(endpoint.id)["secret"]
    make_customers(client, 1)
    stripe.deliveries.await_idle()
    for secret in (endpoint.secret, fresh):
        assert client.construct_event(*inbox.letters[0], secret).type == "customer.created"
    clock.advance(timedelta(hours=25))
    make_customers(client, 1)
    stripe.deliveries.await_idle()
    assert client.construct_event(*inbox.letters[1], fresh).type == "customer.created"
    with pytest.raises(SignatureVerificationError):
        client.construct_event(*inbox.letters[1], endpoint.secret)


def test_refused_webhook_is_tried_again_and_then_given_up(
    client: StripeClient, stripe: StripeWorld, inbox: Inbox, endpoint: Any
) -> None:
    stripe.settings.delivery_pauses_s = (0.01, 0.02)
    inbox.answer = lambda number: 500 if number < 3 else 204
    make_customers(client, 1)
    stripe.deliveries.await_idle()
    assert len(inbox.letters) == 3
    inbox.answer = lambda _number: 500
    client.v1.customers.create({"name": "late"})
    stripe.deliveries.await_idle()
    assert len(inbox.letters) == 6
    (undelivered,) = client.v1.events.list({"delivery_success": False}).data
    assert undelivered.data.object["name"] == "late"
    assert [attempt.status for attempt in stripe.deliveries.log] == [500, 500, 204, 500, 500, 500]


def test_lost_webhooks_stand_in_the_list_of_events(
    client: StripeClient, stripe: StripeWorld, inbox: Inbox, endpoint: Any
) -> None:
    stripe.deliveries.drop(2, "customer.*")
    make_customers(client, 3)
    stripe.deliveries.await_idle()
    assert inbox.types == ["customer.created"]
    seen = client.v1.events.list({"limit": 1}).data[0].id
    lost = client.v1.events.list({"delivery_success": False, "starting_after": seen})
    assert [event.data.object["name"] for event in lost.data] == ["1", "0"]
    assert len(client.v1.events.list({"types": ["customer.created"]}).data) == 3


def test_webhooks_come_doubled_shuffled_and_late_on_demand(
    client: StripeClient, stripe: StripeWorld, inbox: Inbox, endpoint: Any
) -> None:
    stripe.deliveries.doubled = stripe.deliveries.shuffled = True
    make_customers(client, 8)
    stripe.deliveries.await_idle()
    names = [json.loads(body)["data"]["object"]["name"] for body, _ in inbox.letters]
    assert sorted(names) == sorted("01234567" * 2)
    assert names != sorted(names)
    stripe.deliveries.reset()
    stripe.deliveries.pause()
    make_customers(client, 1)
    assert stripe.deliveries.outstanding == 1
    stripe.deliveries.flush()
    stripe.deliveries.await_idle()
    assert len(inbox.letters) == 17


def test_webhooks_may_be_collected_instead_of_sent(
    client: StripeClient, stripe: StripeWorld, inbox: Inbox, endpoint: Any
) -> None:
    stripe.deliveries.pause()
    make_customers(client, 2)
    taken = [client.construct_event(*one, endpoint.secret) for one in stripe.deliveries.collect()]
    assert [event.data.object["name"] for event in taken] == ["0", "1"]
    assert client.v1.events.list({"delivery_success": False}).data == []
    stripe.deliveries.flush()
    stripe.deliveries.await_idle()
    assert inbox.letters == []


def test_endpoint_hears_what_it_asked_for_and_nothing_once_it_is_gone(
    client: StripeClient, stripe: StripeWorld, inbox: Inbox
) -> None:
    endpoint = client.v1.webhook_endpoints.create(
        {"url": inbox.url, "enabled_events": ["customer.deleted"]}
    )
    customer = client.v1.customers.create({"name": "Ada"})
    client.v1.customers.delete(customer.id)
    stripe.deliveries.await_idle()
    assert inbox.types == ["customer.deleted"]
    client.v1.webhook_endpoints.update(endpoint.id, {"disabled": True})
    client.v1.customers.delete(client.v1.customers.create().id)
    stripe.deliveries.await_idle()
    assert len(inbox.letters) == 1


def test_meter_errors_reach_a_thin_destination(
    client: StripeClient, stripe: StripeWorld, inbox: Inbox, shop: Shop
) -> None:
    destination: Any = client.v2.core.event_destinations.create(
        {
            "name": "meters",
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": [
                "v1.billing.meter.error_report_triggered",
                "v1.billing.meter.no_meter_found",
            ],
            "webhook_endpoint": {"url": inbox.url},
            "include": ["webhook_endpoint.signing_secret"],
        }
    )
    secret = destination.webhook_endpoint.signing_secret
    shop.use("cus_nobody", 5, name="lost")
    stripe.catch_up()
    stripe.people.lose_meter("gone", "x-1")
    stripe.deliveries.await_idle()
    told: list[Any] = [client.parse_event_notification(*one, secret) for one in inbox.letters]
    by_type = {one.type.rpartition(".")[2]: one for one in told}
    assert by_type["error_report_triggered"].fetch_related_object().id == shop.meter
    full = by_type["no_meter_found"].fetch_event()
    assert full.data.reason.error_types[0].sample_errors[0].request.identifier == "x-1"
    with pytest.raises(ValueError, match="thin event"):
        client.construct_event(*inbox.letters[0], secret)


def test_events_are_kept_for_thirty_days(client: StripeClient, clock: WorldClock) -> None:
    make_customers(client, 1)
    clock.advance(timedelta(days=29))
    assert len(client.v1.events.list().data) == 1
    clock.advance(timedelta(days=1, seconds=1))
    assert client.v1.events.list().data == []
