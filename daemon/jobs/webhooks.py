"""Handles the events that came from outside, and fetches those that should have."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from core.billing.stripe import missed
from core.billing.stripe.gateway import Door, door_of
from core.billing.stripe.handlers import stripe_handlers
from core.billing.stripe.reading import SOURCE
from core.billing.stripe.site import gateway_of, read_site
from core.webhooks.handle import TRIES_MAX, End, Handled, handle_due
from daemon import log
from daemon.deps import Deps, Report


def run(deps: Deps) -> Report:
    """Handle what is due; without a key to Stripe it waits."""
    door = door_of(deps.settings)
    if door is None:
        return Report()
    ends = _in_a_loop(_handle(deps, door))
    return Report({end.replace(" ", "_"): count for end, count in ends.items()})


def fetch_missed(deps: Deps) -> Report:
    """Store what Stripe lists and never reached us; its handling follows at once."""
    door = door_of(deps.settings)
    if door is None:
        return Report()
    found = _in_a_loop(_fetch_missed(deps, door))
    if found.gap is not None:
        first, last = found.gap
        log.get("webhooks").error(
            "events of Stripe's from so long ago are not to be had any more",
            since=first.isoformat(),
            until=last.isoformat(),
            cure="compare by `hopsmeter stripe reconcile`; accounts, invoices of late and every purchase"
            " that may still be refunded or disputed are looked at again, the longest unseen first",
        )
    if found.new:
        deps.arrived.set()
    return Report({"listed": found.listed, "new": found.new} if found.new else {})


async def _handle(deps: Deps, door: Door) -> dict[End, int]:
    with deps.connect("webhooks") as connection:
        async with gateway_of(door, read_site(connection)) as gateway:
            return await handle_due(
                connection,
                SOURCE,
                stripe_handlers(timedelta(days=deps.settings.stripe_grace_days)),
                gateway,
                deps.clock,
                tell=lambda handled: _tell(deps, handled),
                stopping=deps.stopping.is_set,
            )


async def _fetch_missed(deps: Deps, door: Door) -> missed.Missed:
    with deps.connect("missed") as connection:
        async with gateway_of(door, read_site(connection)) as gateway:
            return await missed.fetch_missed(connection, gateway, stopping=deps.stopping.is_set)


def _in_a_loop(work: Coroutine[Any, Any, Any]) -> Any:
    """Run it in a loop of this thread's own, which waits on Stripe and on nothing else."""
    return asyncio.run(work)


def _tell(deps: Deps, handled: Handled) -> None:
    event = handled.event
    deps.tally.handled.labels(event.source, handled.end).inc()
    facts: dict[str, Any] = {
        "event_id": event.event_id,
        "type": event.type,
        "subject": event.subject,
        "said": handled.said,
    }
    tell = log.get("webhooks").info
    if handled.end in ("failed", "given up"):
        worst = handled.end == "given up" or handled.bug
        tell = log.get("webhooks").error if worst else log.get("webhooks").warning
        facts |= {"tries": event.tries, "of": TRIES_MAX}
    if handled.bug:
        facts["bug"] = handled.bug
    tell(f"event {handled.end}", **facts)
