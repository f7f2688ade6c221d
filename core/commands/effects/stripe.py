"""Stripe: set up, looked at, accounts linked to it. What asks Stripe runs before the transaction."""

from dataclasses import asdict
from datetime import datetime
from typing import Any, Protocol, TypeVar

import psycopg

from core.billing.stripe import catalogue, linking, overview, purchases
from core.billing.stripe.catalogue import Found
from core.billing.stripe.currencies import Currencies, currencies_in_use
from core.billing.stripe.gateway import Gateway
from core.billing.stripe.linking import Linked, Wish
from core.billing.stripe.overview import Overview
from core.billing.stripe.purchases import Sale
from core.billing.stripe.site import mode_word
from core.billing.stripe.state import keep_account
from core.clock import day_of, parse_day
from core.commands.arguments import CreditsBuy, StripeLink, StripeSetup, StripeShow, StripeUnpark
from core.commands.kinds import Result, Task
from core.identity.principal import Principal
from core.money import exact_from_nano, nano_from_text
from core.reports.stripe.accounts import stripe_accounts

Done_co = TypeVar("Done_co", covariant=True)
Wished_contra = TypeVar("Wished_contra", contravariant=True)


class Steps(Protocol[Wished_contra, Done_co]):
    """What goes on step by step at Stripe, and keeps each."""

    async def __call__(
        self,
        gateway: Gateway,
        connection: psycopg.Connection[Any],
        principal: Principal,
        wish: Wished_contra,
        *,
        return_url: str,
        why: str,
        now: datetime,
        dry_run: bool,
    ) -> Done_co: ...


def _gone_through(
    task: Task[Any], steps: Steps[Wished_contra, Done_co], wish: Wished_contra
) -> Done_co:
    """Go through steps as far as they get, as the command says."""
    return task.works.stripe.ask(
        lambda gateway: steps(
            gateway,
            task.connection,
            task.principal,
            wish,
            return_url=task.works.stripe.return_url,
            why=task.why,
            now=task.now,
            dry_run=task.dry_run,
        ),
    )


def build(task: Task[StripeSetup]) -> tuple[Found, Currencies]:
    """Make at Stripe what is missing there, for all currencies that it can bill."""
    needed = currencies_in_use(task.connection, task.arguments.currencies)
    found = task.works.stripe.ask(
        lambda gateway: catalogue.build(
            gateway, task.connection, needed.taken, dry_run=task.dry_run
        ),
    )
    return found, needed


def set_up(task: Task[StripeSetup]) -> Result:
    """Keep the ids of what is there now, and say what is left out."""
    found: Found
    needed: Currencies
    found, needed = task.gathered
    said = catalogue.told(found, dry_run=task.dry_run)
    left_out = "".join(f" {each}" for each in needed.left_out)
    details = {
        "stripe_account": found.stripe_account,
        "livemode": found.livemode,
        "made": found.made,
        "left_out": list(needed.left_out),
        "prices": {f"{kind} {money}": price for (kind, money), price in found.prices.items()},
    }
    if task.dry_run and found.made:
        return Result(f"{said}{left_out}", details=details)
    done = catalogue.write_down(
        task.connection, task.principal, found, meter=task.arguments.meter, why=task.why
    )
    difference: dict[str, list[Any]] = {}
    if done.default_before != done.default_meter:
        difference["default_meter"] = [done.default_before, done.default_meter]
    if not done.written and not found.made:
        said += " Nothing had to be changed."
    return Result(f"{said}{left_out}", difference, {**details, "meter": done.default_meter})


def look(task: Task[StripeShow]) -> Overview:
    return task.works.stripe.ask(lambda gateway: overview.look(gateway, task.connection))


def show(task: Task[StripeShow]) -> Result:
    found: Overview = task.gathered
    where = f"{found.stripe_account} ({mode_word(found.livemode)})"
    word = "is set up" if found.set_up else "is not set up yet"
    if found.faults:
        word = "was set up, and something of it is archived"
    twice = [
        f"{each.email or each.account_id}: {each.billed_twice}."
        for each in stripe_accounts(task.connection, task.principal)
        if each.beside
    ]
    details = {**asdict(found), "remarks": [*found.remarks, *twice]}
    return Result(f"The Stripe account {where} {word}.", details=details)


def go(task: Task[StripeLink]) -> Linked:
    """Go on with the link as far as it gets; each step is kept by itself."""
    given = task.arguments
    wish = Wish(given.account, given.customer, given.subscription, given.meter, given.currency)
    return _gone_through(task, linking.link, wish)


def link(task: Task[StripeLink]) -> Result:
    """Say where the account stands at Stripe."""
    done: Linked = task.gathered
    if done.seen is not None:
        keep_account(task.connection, done.seen, task.works.stripe.grace)
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


def buy(task: Task[CreditsBuy]) -> Sale:
    """Write the purchase down and have Stripe make its page."""
    given = task.arguments
    wish = purchases.Wish(
        given.account,
        nano_from_text(given.amount),
        parse_day(given.expires_on) if given.expires_on else None,
        given.key,
        given.currency,
    )
    return _gone_through(task, purchases.buy, wish)


def bought(task: Task[CreditsBuy]) -> Result:
    """Say where it is paid."""
    sale: Sale = task.gathered
    amount = f"{exact_from_nano(sale.amount_nano)} {sale.currency} of credits"
    if task.dry_run and sale.purchase_id is not None:
        said = (
            f"{sale.account.label} would get the page of the purchase {sale.purchase_id} of {amount},"
            f" which is {sale.state}."
        )
    elif task.dry_run:
        said = f"{sale.account.label} would get a page to pay {amount} on."
    elif sale.url:
        said = f"{sale.account.label} pays {amount} here, until {sale.until:%Y-%m-%d %H:%MZ}: {sale.url}"
    else:
        said = (
            f"The purchase {sale.purchase_id} of {amount} is {sale.state}: nothing is to be paid for"
            " it (any more); another one needs another key."
        )
    row = task.connection.execute(
        "SELECT hopsmeter.mode_on(%s, %s)", [sale.account.no, day_of(task.now)]
    ).fetchone()
    if row is not None and row[0] == "postpaid":
        # Before the address, which ends the line so that it can be copied.
        said = f"An account that pays postpaid, as this one today, does not use its credits. {said}"
    details = {
        "account": sale.account.id,
        "purchase": sale.purchase_id,
        "amount_nano": sale.amount_nano,
        "currency": sale.currency,
        "state": sale.state,
        "url": sale.url,
        "until": sale.until.isoformat() if sale.until else None,
    }
    return Result(said, details=details)


def unpark(task: Task[StripeUnpark]) -> Result:
    if task.arguments.account is None:
        freed = linking.unpark_all(task.connection, task.principal, why=task.why)
        of = "1 account is" if len(freed) == 1 else f"{len(freed)} accounts are"
        return Result(f"{of} reported again.", details={"accounts": freed})
    account, why = linking.unpark(
        task.connection, task.principal, account=task.arguments.account, why=task.why
    )
    said = f"{account.label} is reported again; it was parked since: {why}"
    return Result(said, {"parked": [why, None]}, {"account": account.id})
