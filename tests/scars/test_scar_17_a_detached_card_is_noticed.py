"""`payment_method.detached` names no customer: the account stayed active."""

import json
from collections.abc import Iterator

import pytest

from core.billing.stripe.reading import read_event
from core.webhooks.store import store
from sandbox.stripe.world import StripeWorld
from tests.daemon.hooked import at_stripe
from tests.database import Connection, Database


@pytest.fixture
def stripe() -> Iterator[StripeWorld]:
    with StripeWorld(seed=7) as stripe:
        yield stripe


@pytest.fixture
def connection(database: Database) -> Connection:
    return database.connect()


def test_a_card_that_goes_is_about_the_customer_who_had_it(
    stripe: StripeWorld, connection: Connection
) -> None:
    customer = at_stripe(stripe, "/v1/customers", {"name": "Anna"})["id"]
    stripe.people.add_card(customer)
    stripe.people.remove_card(customer)
    (event,) = [one for one in stripe.all("event") if one["type"] == "payment_method.detached"]
    assert event["data"]["object"]["customer"] is None
    store(connection, [read_event(json.loads(json.dumps(event)), live=False)])
    row = connection.execute(
        "SELECT subject, about->>'customer_before', state FROM webhook_events"
    ).fetchone()
    assert row == (customer, customer, "due")
