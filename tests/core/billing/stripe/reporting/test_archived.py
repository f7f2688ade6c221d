"""A meter that somebody archived: nobody is parked for it, and nothing is lost once it is back."""

import asyncio
from typing import Any

import pytest

from core.billing.stripe.gateway import Door
from core.billing.stripe.reporting.run import report
from core.secret import Secret
from tests.core.billing.stripe.reporting.conftest import product_till as till
from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.billing.stripe.reporting.till import Till
from tests.core.billing.stripe.test_answers import answering, json_body

__all__ = ["till"]

pytestmark = pytest.mark.long


def parked(till: Till) -> int:
    return int(till.value("SELECT count(*) FROM stripe_accounts WHERE parked_at IS NOT NULL"))


def test_an_archived_meter_stops_reporting_and_parks_nobody(till: ProductTill) -> None:
    anna, bert = till.account(), till.account("bert")
    for user in (anna, bert):
        till.charge(user, till.day(0), 5_000_000)
    till.at(1)
    till.client.v1.billing.meters.deactivate(till.meter_of(anna))
    sent = till.run()
    assert (sent.accepted, sent.refused, parked(till)) == (0, 0, 0)
    assert sent.stopped is not None
    assert "is archived. Reactivate the meter in Stripe's dashboard" in sent.stopped.message
    till.client.v1.billing.meters.reactivate(till.meter_of(anna))
    till.later(hours=3)
    sent = till.run()
    assert (sent.accepted, sent.stopped) == (2, None)
    for user in (anna, bert):
        assert till.receivable(user) == 0
        till.must_add_up(user)


@pytest.mark.parametrize("archived", [True, False])
def test_whether_the_meter_is_archived_is_looked_at_whatever_the_refusal_says(
    till: ProductTill, archived: bool
) -> None:
    anna = till.account()
    till.charge(anna, till.day(0), 5_000_000)
    till.at(1)
    if archived:
        till.client.v1.billing.meters.deactivate(till.meter_of(anna))
    till.stripe.faults.add("declined", path="/v1/billing/meter_events")
    sent = till.run()
    assert (sent.stopped is not None, sent.refused) == (archived, 0 if archived else 1)
    if sent.stopped is not None:
        assert sent.stopped.message.startswith("Stripe counts nothing: Your card was declined. ")
    assert parked(till) == (0 if archived else 1)


def test_what_a_twin_of_the_meter_took_is_told_again(till: ProductTill) -> None:
    """The way that `stripe setup` and `stripe show` name."""
    anna = till.account()
    mine = till.meter_of(anna)
    meters = till.client.v1.billing.meters
    meters.deactivate(mine)
    name = f"hopsmeter_{till.meter}"
    made: Any = {
        "display_name": "twin",
        "event_name": name,
        "default_aggregation": {"formula": "sum"},
        "event_time_window": "day",
    }
    twin = meters.create(made if till.meter == "daily" else made | {"event_time_window": ""})
    till.charge(anna, till.day(0), 5_000_000)
    till.at(1)
    assert till.run().accepted == 1
    assert till.told(anna, 0) == 0
    meters.deactivate(twin.id)
    meters.reactivate(mine)
    till.later(hours=2)
    till.fetch_summaries()
    till.tell_again(anna, till.day(0))
    assert till.run().accepted == 1
    till.later(hours=2)
    assert till.told(anna, 0) == 5_000
    till.must_add_up(anna)


@pytest.mark.parametrize(
    ("error", "stops"),
    [
        ({"code": "archived_meter"}, True),
        ({"code": "no_meter"}, True),
        ({"param": "event_name"}, True),
        ({"code": "resource_missing", "param": "payload[stripe_customer_id]"}, False),
        ({"param": "payload[value]"}, False),
        ({}, False),
    ],
)
def test_what_is_said_of_the_meter_stops_and_all_else_parks(
    till: ProductTill, error: dict[str, str], stops: bool
) -> None:
    anna = till.account()
    till.charge(anna, till.day(0), 5_000_000)
    till.at(1)
    till.connection.execute("DELETE FROM hopsmeter.stripe_site")  # nobody is asked who he is
    body = json_body({"type": "invalid_request_error", "message": "It will not do.", **error})
    with answering(400, body, "application/json") as url:
        door = Door(url, Secret(till.stripe.api_key))
        sent = asyncio.run(report(till.connection, door, till.clock)).sent
    assert (sent.stopped is not None, sent.refused, parked(till)) == (
        stops,
        0 if stops else 1,
        0 if stops else 1,
    )
