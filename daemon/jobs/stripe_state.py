"""Looks hourly at what webhooks may not have told: how accounts stand, what is paid for."""

import asyncio
from typing import Final

from core.billing.stripe.gateway import Gateway
from core.billing.stripe.looking import Looked, look_at_purchases
from core.billing.stripe.shop import shop_of
from core.billing.stripe.site import read_site, require_same
from core.billing.stripe.state import Refreshed, refresh
from core.clock import monotonic_s
from daemon import log
from daemon.deps import Deps, Report

ACCOUNTS_MAX_S: Final = 1_500.0
"""Then the round ends by itself, before its time limit ends it; the next one goes on with the oldest."""


def accounts(deps: Deps) -> Report:
    """Fetch how accounts stand at Stripe; without a key, or before the set-up, nothing is done."""
    shop = shop_of(deps.settings)
    door = shop.open_door()
    if door is None:
        return Report()

    until_s = monotonic_s() + ACCOUNTS_MAX_S

    def stopping() -> bool:
        return deps.stopping.is_set() or monotonic_s() > until_s

    async def run() -> Refreshed:
        with deps.connect("stripe accounts") as connection:
            site = read_site(connection)
            if site is None:
                return Refreshed()
            async with Gateway(door) as gateway:
                await require_same(gateway, site)
                now = deps.clock()
                return await refresh(connection, gateway, now, shop.grace, stopping=stopping)

    done = asyncio.run(run())
    for account, why in done.faults.items():
        log.get("stripe").warning("an account could not be fetched", account=account, why=why)
    for account, why in done.twice.items():
        log.get("stripe").warning("an account is billed twice", account=account, why=why)
    facts = {"fetched": done.fetched, "changed": done.changed, "faults": len(done.faults)}
    if done.twice:
        facts["billed_twice"] = len(done.twice)
    return Report(facts if any(facts.values()) else {})


def purchases(deps: Deps) -> Report:
    """Ask about purchases that are open, and refunds and disputes of others that may still change."""
    door = shop_of(deps.settings).open_door()
    if door is None:
        return Report()

    async def run() -> Looked:
        with deps.connect("stripe purchases") as connection:
            site = read_site(connection)
            if site is None:
                return Looked()
            async with Gateway(door) as gateway:
                await require_same(gateway, site)
                return await look_at_purchases(connection, gateway, deps.clock())

    done = asyncio.run(run())
    for purchase, why in done.faults.items():
        log.get("stripe").warning("a purchase could not be settled", purchase=purchase, why=why)
    facts = {"looked_at": done.looked_at, "settled": done.settled, "faults": len(done.faults)}
    return Report(facts if any(facts.values()) else {})
