"""Meter event summaries: what a meter says a customer used, whole or by hour or day."""

import hashlib

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.errors import StripeError
from sandbox.stripe.form import integer, one_of, required
from sandbox.stripe.page import page_of
from sandbox.stripe.route import PAGING, Call, Route
from sandbox.stripe.usage import Usage, aggregate

GRAIN_S = {None: 60, "hour": 3_600, "day": 86_400}


class Summaries:
    def __init__(self, account: Account, usage: Usage) -> None:
        self._account, self._usage = account, usage

    def routes(self) -> list[Route]:
        path = "/v1/billing/meters/{id}/event_summaries"
        takes = f"{PAGING} customer start_time end_time value_grouping_window"
        return [Route("GET", path, self._list, takes)]

    def _list(self, call: Call) -> Thing:
        form = call.form
        meter = self._account.get("billing.meter", call.id)
        customer = required(form, "customer")
        window = one_of(form, "value_grouping_window", ("day", "hour")) or None
        grain_s = GRAIN_S[window]
        start, end = _aligned(form, "start_time", grain_s), _aligned(form, "end_time", grain_s)
        if start >= end:
            raise StripeError("`end_time` must be after `start_time`.", param="end_time")
        readings = self._usage.seen(meter["id"], customer)
        if window is None:
            value = aggregate(meter, readings, start, end)
            return page_of(call, [_summary(meter, customer, start, end, value)])
        # Windows in which nothing happened are not listed.
        starts = {reading.at // grain_s * grain_s for reading in readings}
        return page_of(
            call,
            [
                _summary(
                    meter, customer, at, at + grain_s, aggregate(meter, readings, at, at + grain_s)
                )
                for at in sorted(starts, reverse=True)
                if start <= at < end
            ],
        )


def _aligned(form: Thing, name: str, grain_s: int) -> int:
    required(form, name)
    at = integer(form, name) or 0
    if at % grain_s:
        raise StripeError(
            f"`{name}` must be aligned with {grain_s} s boundaries (UTC).", param=name
        )
    return at


def _summary(meter: Thing, customer: str, start: int, end: int, value: int) -> Thing:
    digest = hashlib.sha256(f"{meter['id']} {customer} {start} {end}".encode()).hexdigest()
    return {
        "id": f"mtrusg_test_{digest[:24]}",
        "object": "billing.meter_event_summary",
        # A JSON number in Stripe's own protocol.
        "aggregated_value": float(value),
        "end_time": end,
        "livemode": False,
        "meter": meter["id"],
        "start_time": start,
    }
