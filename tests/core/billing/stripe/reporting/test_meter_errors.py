"""What Stripe accepted and could not count after all: of that account it is told no more."""

import asyncio
from typing import Any
from uuid import uuid4

from core.billing.stripe.gateway import Door, Gateway
from core.billing.stripe.handlers import stripe_handlers
from core.billing.stripe.linking import unpark
from core.secret import Secret
from core.webhooks.event import Event
from tests.core.billing.stripe.reporting.till import Till
from tests.core.metering.site import ADMIN


def handled(till: Till, letter: dict[str, Any]) -> str:
    """Handle a thin event as the daemon's inbox does."""
    event = Event(
        1, "stripe", letter["id"], letter["type"], "", {}, None, till.now, False, 1, uuid4()
    )
    handler = stripe_handlers()[letter["type"]]

    async def fetch() -> Any:
        async with Gateway(Door(till.stripe.url, Secret(till.stripe.api_key))) as gateway:
            return await handler.fetch(gateway, event)

    fetched = asyncio.run(fetch())
    with till.connection.transaction():
        return handler.apply(till.connection, fetched, event, till.now)


def test_only_the_account_of_the_event_is_parked(till: Till) -> None:
    anna, bert = till.account("anna"), till.account("bert")
    for user in (anna, bert):
        till.charge(user, till.day(0), 5_000)
    till.client.v1.customers.delete(till.customer(anna))
    till.at(1)
    assert till.tell().sent.accepted == 2  # Stripe takes it, and finds out later
    till.later(minutes=5)
    (letter,) = till.stripe.all("v2.core.event")
    assert handled(till, letter) == "1 events were not counted; 1 accounts parked"
    assert handled(till, letter) == "1 events were not counted; 0 accounts parked"
    why = till.value("SELECT parked_why FROM stripe_accounts WHERE account_no = %s", anna.no)
    assert "meter_event_customer_not_found" in why
    assert str(till.day(0)) in why
    for user in (anna, bert):
        till.charge(user, till.day(1), 3_000)
    till.at(2)
    assert till.tell().sent.accepted == 1
    assert till.due(anna) == {1: (3_000, "parked")}
    assert till.told(bert, 1) == 3


def test_events_of_nobody_are_told_of_and_park_nobody(till: Till) -> None:
    anna = till.account()
    letter = till.stripe.people.lose_meter("hopsmeter_other", "somebody:else")
    assert handled(till, letter) == "1 events were not counted; 0 accounts parked"
    assert (
        till.value("SELECT parked_why FROM stripe_accounts WHERE account_no = %s", anna.no) is None
    )


def test_what_was_refused_is_tried_again_once_it_is_unparked(till: Till) -> None:
    anna = till.account()
    till.charge(anna, till.day(0), 10**18)
    till.at(1)
    assert till.tell().sent.refused == 1
    till.later(hours=1)
    with till.connection.transaction():
        unpark(till.connection, ADMIN, account=anna.id, why="mended")
    assert till.tell().sent.refused == 1
    till.must_add_up(anna)
