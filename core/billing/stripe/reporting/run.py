"""One run of reporting: what is owed is prepared, what was unknown for too long decided, all told.

By Stripe's clock, where ours is far from it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from core.billing.stripe.gateway import Door
from core.billing.stripe.reporting.ahead import bring_back
from core.billing.stripe.reporting.decide import decide_forgotten
from core.billing.stripe.reporting.make import Prepared, prepare, read_days
from core.billing.stripe.reporting.paused import end_pauses
from core.billing.stripe.reporting.send import Sent, report_due
from core.billing.stripe.site import gateway_of, read_site
from core.billing.stripe.their_time import clock_beside
from core.clock import Clock
from core.errors import StripeFault

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Reported:
    """What a run prepared and sent; `undecided` reports of sum meters wait for a person."""

    prepared: Prepared
    sent: Sent
    undecided: int


async def report(
    connection: Connection,
    door: Door,
    clock: Clock,
    *,
    hurried: bool = False,
    stopping: Callable[[], bool] = lambda: False,
) -> Reported:
    """Bring what Stripe was told to what is owed; each part again, or after a crash, changes nothing.

    `hurried`: what waits in its pause is tried as well. Stripe is asked first, for what time it is there: by
    a clock of ours that is wrong, days would be told too early, or never. Where it does not answer, the
    ledger is read, and nothing is decided that hangs on a date.
    """
    async with gateway_of(door, read_site(connection)) as gateway:
        try:
            await gateway.look_first()
        except StripeFault as fault:
            return Reported(Prepared(read_days(connection)), Sent(stopped=fault), 0)
        if gateway.time is not None:
            bring_back(connection, gateway.time)
        clock = clock_beside(gateway, clock)
        prepared = prepare(connection, clock())
        if hurried:
            end_pauses(connection, clock())
        undecided = await decide_forgotten(connection, gateway, clock())
        sent = await report_due(connection, gateway, clock, stopping=stopping)
    return Reported(prepared, sent, undecided)
