"""Tells Stripe what is owed, each hour; and each day holds what it says against what it was told."""

import asyncio
from datetime import timedelta

from core.billing.stripe.fetch import Fetched, fetch_summaries, fetched_since
from core.billing.stripe.gateway import Door, Gateway, door_of
from core.billing.stripe.reporting.run import report
from core.billing.stripe.site import read_site, require_same
from core.books.reconcile.differences import differences
from core.clock import day_of
from core.identity.principal import DAEMON
from core.reports.stripe.due import due
from daemon import log
from daemon.deps import Deps, Report

EVERY = timedelta(hours=23)
"""A day less what a run may take; the clock looks each hour, so that a restart costs no day."""
COMPARED = timedelta(days=40)
NAMED_MAX = 20
"""Differences that the log names; `hopsmeter stripe reconcile` has them all."""


def run(deps: Deps) -> Report:
    """Tell what is owed; without a key, or before set-up, there is nobody to tell."""
    door = door_of(deps.settings)
    if door is None:
        return Report()
    with deps.connect("stripe") as connection:
        if read_site(connection) is None:
            return Report()
        done = asyncio.run(report(connection, door, deps.clock, stopping=deps.stopping.is_set))
        waits = len(due(connection, DAEMON, deps.clock()))
    sent = done.sent
    if sent.stopped:
        raise sent.stopped
    facts = {
        "accepted": sent.accepted,
        "again": sent.again,
        "refused": sent.refused,
        "moved": done.prepared.moved,
        "late": done.prepared.late,
        "ended": done.prepared.ended,
        "waits_for_a_person": waits,
    }
    if sent.refused or done.undecided:
        log.get("stripe").warning(
            "what Stripe was not told waits for a person",
            refused=sent.refused,
            undecided=done.undecided,
            see="hopsmeter stripe due",
        )
    return Report({name: count for name, count in facts.items() if count})


def compare(deps: Deps) -> Report:
    """Fetch what Stripe says it has, and tell what differs."""
    door = door_of(deps.settings)
    if door is None:
        return Report()
    now = deps.clock()
    with deps.connect("stripe compare") as connection:
        site = read_site(connection)
        if site is None or fetched_since(connection, now - EVERY):
            return Report()

        async def fetch(door: Door) -> Fetched:
            async with Gateway(door) as gateway:
                await require_same(gateway, site)
                return await fetch_summaries(connection, gateway, now)

        done = asyncio.run(fetch(door))
        found = differences(connection, day_of(now) - COMPARED)
    for each in found[:NAMED_MAX]:
        log.get("stripe").warning(
            "Stripe and the books differ",
            account=each.account_id,
            day=str(each.day),
            cause=each.cause,
            next=each.next_step,
        )
    if done.stopped:
        raise done.stopped
    return Report({"accounts": done.accounts, "away": done.away, "differences": len(found)})
