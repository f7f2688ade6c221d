"""One run of reporting: what is owed is prepared, what was unknown for too long decided, all told."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from core.billing.stripe.gateway import Door
from core.billing.stripe.reporting.decide import decide_forgotten
from core.billing.stripe.reporting.make import Prepared, prepare
from core.billing.stripe.reporting.paused import end_pauses
from core.billing.stripe.reporting.send import Sent, report_due
from core.billing.stripe.site import gateway_of, read_site
from core.clock import Clock

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

    `hurried`: what waits in its pause is tried as well.
    """
    prepared = prepare(connection, clock())
    if hurried:
        end_pauses(connection, clock())
    async with gateway_of(door, read_site(connection)) as gateway:
        undecided = await decide_forgotten(connection, gateway, clock())
        sent = await report_due(connection, gateway, clock, stopping=stopping)
    return Reported(prepared, sent, undecided)
