"""What Stripe says it has of a customer's days: the sums of its meter, fetched."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from stripe import ListObject
from stripe.params.billing import MeterEventSummaryListParams

from core.billing.stripe.gateway import Gateway
from core.billing.stripe.lag import LAG
from core.errors import StripeRefused

if TYPE_CHECKING:
    from stripe.billing import MeterEventSummary

__all__ = ["LAG", "fetch_units", "whole"]

PAGE = 100
PAGES_MAX = 20
DAY = timedelta(days=1)


async def fetch_units(
    gateway: Gateway, *, meter_id: str, customer: str, since: date, until: date
) -> dict[date, int]:
    """Return the units of each UTC day in [since, until) for which Stripe has any; StripeFault."""
    found: dict[date, int] = {}
    after = ""
    for _ in range(PAGES_MAX):
        page = await _page(gateway, meter_id, customer, since, until, after)
        for each in page.data:
            day = datetime.fromtimestamp(each.start_time, UTC).date()
            found[day] = found.get(day, 0) + whole(each)
        if not page.has_more:
            return found
        after = page.data[-1].id
    raise StripeRefused(f"Stripe lists more than {PAGE * PAGES_MAX} days for {customer}.")


async def _page(
    gateway: Gateway, meter_id: str, customer: str, since: date, until: date, after: str
) -> ListObject[MeterEventSummary]:
    params: MeterEventSummaryListParams = {
        "customer": customer,
        "start_time": _stamp(since),
        "end_time": _stamp(until),
        "value_grouping_window": "day",
        "limit": PAGE,
    }
    if after:
        params["starting_after"] = after
    return await gateway.ask(
        lambda it: it.v1.billing.meters.event_summaries.list_async(meter_id, params)
    )


def whole(summary: MeterEventSummary) -> int:
    """Return its value, which goes over the wire as a float: up to 2⁵³ each whole number has one."""
    value = int(summary.aggregated_value)
    if value != summary.aggregated_value:
        raise StripeRefused(f"Stripe counts {summary.aggregated_value} units; we send whole ones.")
    return value


def _stamp(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())
