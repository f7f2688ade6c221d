"""Stripe: set up, looked at, accounts linked to it. What asks Stripe runs before the transaction."""

import asyncio
from dataclasses import asdict
from typing import Any

from core.billing.stripe import catalogue, linking, overview
from core.billing.stripe.catalogue import Found
from core.billing.stripe.linking import Linked, Wish
from core.billing.stripe.overview import Overview
from core.billing.stripe.site import mode_word
from core.commands.arguments import AccountNamed, StripeLink, StripeSetup, StripeShow
from core.commands.kinds import Result, Task


def build(task: Task[StripeSetup]) -> Found:
    """Make at Stripe what is missing there."""
    currencies = catalogue.currencies_in_use(task.connection, task.arguments.currencies)

    async def run() -> Found:
        async with task.works.stripe.gateway() as gateway:
            return await catalogue.build(gateway, task.connection, currencies, dry_run=task.dry_run)

    return asyncio.run(run())


def set_up(task: Task[StripeSetup]) -> Result:
    """Keep the ids of what is there now."""
    found: Found = task.gathered
    said = catalogue.told(found, dry_run=task.dry_run)
    details = {
        "stripe_account": found.stripe_account,
        "livemode": found.livemode,
        "made": found.made,
        "prices": {f"{kind} {money}": price for (kind, money), price in found.prices.items()},
    }
    if task.dry_run and found.made:
        return Result(said, details=details)
    done = catalogue.write_down(
        task.connection, task.principal, found, meter=task.arguments.meter, why=task.why
    )
    difference: dict[str, list[Any]] = {}
    if done.default_before != done.default_meter:
        difference["default_meter"] = [done.default_before, done.default_meter]
    if not done.written and not found.made:
        said += " Nothing had to be changed."
    return Result(said, difference, {**details, "meter": done.default_meter})


def look(task: Task[StripeShow]) -> Overview:
    async def run() -> Overview:
        async with task.works.stripe.gateway() as gateway:
            return await overview.look(gateway, task.connection)

    return asyncio.run(run())


def show(task: Task[StripeShow]) -> Result:
    found: Overview = task.gathered
    where = f"{found.stripe_account} ({mode_word(found.livemode)})"
    word = "is set up" if found.set_up else "is not set up yet"
    return Result(f"The Stripe account {where} {word}.", details=asdict(found))


def go(task: Task[StripeLink]) -> Linked:
    """Go on with the link as far as it gets; each step is kept by itself."""
    given = task.arguments
    wish = Wish(given.account, given.customer, given.subscription, given.meter)

    async def run() -> Linked:
        async with task.works.stripe.gateway() as gateway:
            return await linking.link(
                gateway,
                task.connection,
                task.principal,
                wish,
                return_url=task.works.stripe.return_url,
                why=task.why,
                now=task.now,
                dry_run=task.dry_run,
            )

    return asyncio.run(run())


def link(task: Task[StripeLink]) -> Result:
    """Say where the account stands at Stripe."""
    done: Linked = task.gathered
    subscription = done.subscription
    if task.dry_run and (done.customer_id is None or subscription is None):
        made = "a customer and a subscription" if done.customer_id is None else "a subscription"
        said = (
            f"{done.account.label} would get {made} in {done.currency}, by the {done.meter} meter"
        )
    else:
        assert subscription is not None, "a link that ended has a subscription"
        said = (
            f"{done.account.label} is the customer {done.customer_id}, billed in {done.currency}"
            f" under {subscription.id} ({subscription.status}) from"
            f" {subscription.billed_from:%Y-%m-%d %H:%MZ} on, by the {done.meter} meter"
        )
    if done.card_url:
        said += f". Its payment method is left here, within a day: {done.card_url}"
    elif done.has_card:
        said += "; it has a payment method."
    else:
        said += "; its payment method is still to be left."
    details = {
        "account": done.account.id,
        "customer": done.customer_id,
        "subscription": subscription.id if subscription else None,
        "status": subscription.status if subscription else None,
        "has_card": done.has_card,
        "url": done.card_url,
    }
    return Result(said, dict(done.made), details)


def unpark(task: Task[AccountNamed]) -> Result:
    account, why = linking.unpark(
        task.connection, task.principal, account=task.arguments.account, why=task.why
    )
    said = f"{account.label} is reported again; it was parked since: {why}"
    return Result(said, {"parked": [why, None]}, {"account": account.id})
