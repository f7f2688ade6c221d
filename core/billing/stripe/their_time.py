"""What time it is by Stripe's clock: what is kept of its events, and what it is told, must not hang on ours."""

from datetime import datetime
from typing import Final

import httpx

from core.billing.stripe.asking import instant
from core.billing.stripe.gateway import Gateway
from core.billing.stripe.moments import date_of, right
from core.clock import Clock

ANSWER_S: Final = 5.0
"""For one answer to a person who waits."""


async def stripe_now(gateway: Gateway) -> datetime | None:
    """Return the time that Stripe's answers carry; without one, when its newest event was; else None."""
    newest = await gateway.ask(lambda it: it.v1.events.list_async({"limit": 1}))
    return gateway.time or (instant(newest.data[0].created) if newest.data else None)


def clock_beside(gateway: Gateway, clock: Clock) -> Clock:
    """Return what tells the time by our clock, and by Stripe's where ours is far off and Stripe's is known."""
    return lambda: right(clock(), gateway.time)


def time_at(url: str) -> datetime | None:
    """Return the Date of whatever answers there, asked without a key; None without a Date.

    httpx.HTTPError where nothing answers in time.
    """
    return date_of(httpx.head(url, timeout=ANSWER_S).headers)
