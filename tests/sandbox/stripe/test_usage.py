"""Meter events and summaries, as the facts have them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from stripe import InvalidRequestError, RateLimitError, StripeClient

from sandbox.clock import WorldClock
from sandbox.stripe.world import StripeWorld
from tests.sandbox.stripe.shop import DAY_S, EVENT, Shop

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def ada(shop: Shop) -> str:
    return shop.customer()


def refused(shop: Shop, ada: str, **changes: Any) -> InvalidRequestError:
    payload = {"stripe_customer_id": ada, "value": "1"}
    with pytest.raises(InvalidRequestError) as refusal:
        shop.client.v1.billing.meter_events.create(
            {"event_name": EVENT, "payload": payload} | changes  # type: ignore[arg-type]  # on purpose
        )
    return refusal.value


def test_day_meter_counts_what_it_received_last_for_a_customer_and_day(
    shop: Shop, ada: str, clock: WorldClock
) -> None:
    shop.use(ada, 900, clock() - timedelta(days=2))
    shop.use(ada, 500, clock())
    shop.use(
        ada, 300, clock() - timedelta(hours=9)
    )  # an earlier instant of the day, but later received
    assert shop.total(ada, clock()) == 300
    assert shop.total(ada, clock() - timedelta(days=2)) == 900


def test_sum_meter_adds_all_up_corrections_below_zero_too(
    client: StripeClient, clock: WorldClock
) -> None:
    shop = Shop(client, clock, window=None)
    ada = shop.customer()
    for value in (500, 300, -100):
        shop.use(ada, value)
    assert shop.total(ada, clock()) == 700


def test_identifier_is_taken_once_in_24_hours_and_free_again_after(
    shop: Shop, ada: str, clock: WorldClock
) -> None:
    name = shop.use(ada, 5)
    clock.advance(timedelta(hours=23, minutes=59))
    with pytest.raises(InvalidRequestError, match=f"already exists with identifier {name}") as told:
        shop.use(ada, 7, name=name)
    assert told.value.headers["stripe-should-retry"] == "false"  # type: ignore[index]  # it has headers
    clock.advance(timedelta(minutes=1))
    shop.use(ada, 7, name=name)
    assert shop.total(ada, clock()) == 7


def test_timestamps_reach_35_days_back_and_5_minutes_ahead(
    shop: Shop, ada: str, clock: WorldClock
) -> None:
    shop.use(ada, 1, clock() - timedelta(days=35))
    shop.use(ada, 1, clock() + timedelta(minutes=5))
    early = int((clock() - timedelta(days=36)).timestamp())
    late = int((clock() + timedelta(minutes=6)).timestamp())
    assert refused(shop, ada, timestamp=early).code == "timestamp_too_far_in_past"
    assert refused(shop, ada, timestamp=late).code == "timestamp_in_future"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("1.5", "meter_event_invalid_value"),
        ("1e3", "meter_event_invalid_value"),
        ("", "meter_event_invalid_value"),
        ("1" * 16, "meter_event_value_too_many_digits"),
    ],
)
def test_values_are_whole_numbers_of_15_digits_at_most(
    shop: Shop, ada: str, value: str, code: str
) -> None:
    payload = {"stripe_customer_id": ada, "value": value}
    assert refused(shop, ada, payload=payload).code == code
    shop.use(ada, 10**15 - 1)
    assert shop.total(ada, shop.now()) == 10**15 - 1


def test_unknown_event_names_are_refused_at_once(shop: Shop, ada: str) -> None:
    assert refused(shop, ada, event_name="other").code == "no_meter"
    shop.client.v1.billing.meters.deactivate(shop.meter)
    assert refused(shop, ada).code == "archived_meter"


def test_unknown_customer_is_accepted_and_told_of_by_thin_event(
    shop: Shop, stripe: StripeWorld, client: StripeClient
) -> None:
    shop.use("cus_nobody", 5, name="lost")
    stripe.catch_up()
    event: Any = client.v2.core.events.list().data[0]
    assert event.type == "v1.billing.meter.error_report_triggered"
    assert event.related_object.id == shop.meter
    (kind,) = event.data.reason.error_types
    assert (kind.code, kind.error_count) == ("meter_event_customer_not_found", 1)
    assert kind.sample_errors[0].request.identifier == "lost"


def test_two_calls_at_once_for_one_customer_and_meter_collide(
    shop: Shop, ada: str, stripe: StripeWorld
) -> None:
    bob = shop.customer()
    stripe.settings.latency_s = 0.2
    with ThreadPoolExecutor(3) as pool:
        calls = [
            pool.submit(shop.use, who, 1, name=f"n{n}") for n, who in enumerate((ada, ada, bob))
        ]
        errors = [error for call in calls if (error := call.exception())]
    (error,) = errors
    assert isinstance(error, RateLimitError)
    assert error.error.code == "lock_timeout"  # type: ignore[union-attr]  # it has a body
    assert error.headers["stripe-should-retry"] == "true"  # type: ignore[index]  # it has headers


def test_summaries_lag_behind_but_invoices_do_not(
    shop: Shop, ada: str, stripe: StripeWorld, clock: WorldClock
) -> None:
    stripe.settings.aggregation_lag = timedelta(minutes=10)
    shop.use(ada, 5)
    assert shop.total(ada, clock()) == 0
    clock.advance(timedelta(minutes=10))
    assert shop.total(ada, clock()) == 5


def test_summaries_come_by_day_newest_first_in_pages(
    shop: Shop, ada: str, client: StripeClient, clock: WorldClock
) -> None:
    today = int(clock().timestamp()) // DAY_S * DAY_S
    for back in range(5):
        shop.use(ada, 10 + back, clock() - timedelta(days=back))
    found = client.v1.billing.meters.event_summaries.list(
        shop.meter,
        {
            "customer": ada,
            "start_time": today - 30 * DAY_S,
            "end_time": today + DAY_S,
            "value_grouping_window": "day",
            "limit": 2,
        },
    )
    assert found.has_more
    days = list(found.auto_paging_iter())
    assert [day.start_time for day in days] == [today - back * DAY_S for back in range(5)]
    assert [day.aggregated_value for day in days] == [10.0, 11.0, 12.0, 13.0, 14.0]


def test_windows_that_are_not_aligned_are_refused(
    shop: Shop, ada: str, client: StripeClient, clock: WorldClock
) -> None:
    start = int(clock().timestamp()) // DAY_S * DAY_S
    with pytest.raises(InvalidRequestError, match="aligned"):
        client.v1.billing.meters.event_summaries.list(
            shop.meter,
            {
                "customer": ada,
                "start_time": start + 3_600,
                "end_time": start + DAY_S,
                "value_grouping_window": "day",
            },
        )
