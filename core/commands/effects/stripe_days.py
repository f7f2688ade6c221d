"""What is told to Stripe, day by day: told now, settled, told again, decided, fetched to be compared."""

import asyncio
from datetime import datetime
from typing import Any, Final

from core.billing.stripe.bills.settle import settle_bill
from core.billing.stripe.bills.settle_days import settle_days
from core.billing.stripe.fetch import Fetched, fetch_summaries
from core.billing.stripe.gateway import Gateway
from core.billing.stripe.reporting import again as telling
from core.billing.stripe.reporting.paused import paused
from core.billing.stripe.reporting.run import Reported, report
from core.billing.stripe.site import (
    Site,
    read_site,
    require_door,
    require_same,
    require_site,
)
from core.billing.stripe.their_time import clock_beside
from core.clock import monotonic_s, parse_day
from core.commands.arguments import (
    StripeAgain,
    StripeDecide,
    StripeFetch,
    StripeReport,
    StripeSettle,
)
from core.commands.kinds import Result, Task
from core.errors import InputFault
from core.identity.accounts import find_account
from core.money import exact_from_nano
from core.reports.stripe.due import due, unread

BY_ITSELF = ("to report", "to move")
"""Reasons for which nobody has to decide anything."""
_BECAME: Final[dict[telling.Outcome, str]] = {
    "arrived": "counts as arrived",
    "told anew": "is sent anew by the next run",
    "given up": "is given up, since Stripe takes it no more: what it would have told is due again",
}
REPORT_MAX_S = 120.0
"""Of one command; what is left then is told by the hourly run."""


def report_now(task: Task[StripeReport]) -> Reported | None:
    """Tell Stripe what is due, and what waits in its pause, for two minutes at most.

    Each batch is kept by itself. A key that is refused is seen also where nothing is due: the run asks first.
    """
    require_site(task.connection)
    door = require_door(task.works.stripe.open_door())
    if task.dry_run:
        return None
    until_s = monotonic_s() + REPORT_MAX_S

    async def run() -> Reported:
        return await report(
            task.connection,
            door,
            task.works.clock,
            hurried=True,
            stopping=lambda: monotonic_s() > until_s,
        )

    return asyncio.run(run())


def reported(task: Task[StripeReport]) -> Result:
    done: Reported | None = task.gathered
    if done is None:
        return _would_be_told(task)
    sent = done.sent
    if sent.stopped:
        more = " more" if sent.accepted or sent.refused or sent.again else ""
        raise InputFault(f"{sent.stopped.message} Nothing{more} was sent.")
    said = f"Stripe took {sent.accepted} report{'' if sent.accepted == 1 else 's'}"
    if sent.refused:
        said += f"; {sent.refused} were refused, and their accounts parked"
    waits = paused(task.connection, task.works.clock())
    if waits.count and waits.until:
        said += (
            f"; {_number(waits.count)} for the next try, until {waits.until:%H:%MZ} at the latest:"
            f" {waits.why}"
        )
    details = {
        "accepted": sent.accepted,
        "again": sent.again,
        "waits": waits.count,
        "why": waits.why,
        "refused": sent.refused,
        "moved": done.prepared.moved,
        "late": done.prepared.late,
    }
    return Result(f"{said.rstrip('.')}.", details=details)


def _number(count: int) -> str:
    return "1 report waits" if count == 1 else f"{count} reports wait"


def _would_be_told(task: Task[StripeReport]) -> Result:
    """As of the last run: what was posted since is read by the next one, and is named apart."""
    found = due(task.connection, task.principal, task.now, everything=True)
    mine = [each for each in found if each.reason in BY_ITSELF]
    amounts: dict[str, int] = {}
    for each in mine:
        amounts[each.currency] = amounts.get(each.currency, 0) + (each.amount_nano or 0)
    waits = paused(task.connection, task.now)
    details: dict[str, Any] = {"waits": waits.count, "why": waits.why}
    again = ""
    if waits.count:
        again = f"{_number(waits.count)} for the next try and would be sent now: {waits.why}."
    hidden = unread(task.connection, task.principal, task.now)
    if not mine:
        of = "Nothing that is read" if hidden else "Nothing"
        said = again or f"{of} is due that Stripe would be told now."
        return Result(f"{said} {hidden}".rstrip(), details=details)
    money = ", ".join(f"{exact_from_nano(nano)} {code}" for code, nano in sorted(amounts.items()))
    number = len({each.account_id for each in mine})
    of = "1 account" if number == 1 else f"{number} accounts"
    said = f"Stripe would be told {money}, of {of}."
    said = " ".join(filter(None, (said, again, hidden)))
    return Result(said, details={**details, "amounts_nano": amounts})


def settle(task: Task[StripeSettle]) -> Result:
    given = task.arguments
    if given.invoice:
        return _settle_bill(task, given.invoice)
    if given.how == "put-right":
        raise InputFault("Only an invoice is put right in Stripe: name it with --invoice.")
    done = settle_days(
        task.connection,
        task.principal,
        account=given.account,
        day=parse_day(given.day) if given.day else None,
        how=given.how,
        why=task.why,
        now=task.gathered,
    )
    amount = f"{exact_from_nano(done.amount_nano)} {done.currency}"
    days = "1 day" if len(done.days) == 1 else f"{len(done.days)} days"
    where = "outside of Stripe" if given.how == "outside" else "with the open day"
    details: dict[str, Any] = {
        "account": done.account,
        "currency": done.currency,
        "amount_nano": done.amount_nano,
        "days": {str(day): nano for day, nano in done.days},
    }
    return Result(f"{amount} of {days} of {done.account} are settled {where}.", details=details)


def _settle_bill(task: Task[StripeSettle], invoice: str) -> Result:
    given = task.arguments
    if given.day:
        raise InputFault("Name a day or an invoice, not both. Nothing was changed.")
    done = settle_bill(
        task.connection,
        task.principal,
        account=given.account,
        invoice=invoice,
        how=given.how,
        why=task.why,
        now=task.gathered,
    )
    details = {
        "account": done.account,
        "currency": done.currency,
        "invoice": done.invoice_id,
        "amount_nano": done.amount_nano,
    }
    if done.amount_nano is None:
        said = f"Invoice {invoice} of {done.account} counts as put right in Stripe."
        return Result(said, details=details)
    amount = f"{exact_from_nano(done.amount_nano)} {done.currency}"
    where = "outside of Stripe" if given.how == "outside" else "with the open day"
    said = f"{amount} of invoice {invoice} of {done.account} are settled {where}."
    return Result(said, details=details)


def again(task: Task[StripeAgain]) -> Result:
    given = task.arguments
    done = telling.tell_again(
        task.connection,
        task.principal,
        account=given.account,
        day=parse_day(given.day),
        why=task.why,
        now=task.now,
    )
    said = f"Of {done.day} Stripe has {done.said} of {done.accepted} units of {done.account}; " + (
        "the next run tells it again."
        if done.due
        else "that is written down, and what it lacks was due already: nothing more is."
    )
    return Result(said, {"units": [done.accepted, done.said]}, {"account": done.account})


def time_at_stripe(task: Task[StripeDecide]) -> datetime:
    """Return the time, by Stripe's clock where ours is far off.

    Whether its sums can have the last try hangs on it, and what is taken for lost too early is billed twice.
    """
    if task.arguments.arrived:
        return task.now
    return _time_of(task, require_site(task.connection))


def time_to_settle(task: Task[StripeSettle]) -> datetime:
    """Return the time, by Stripe's clock where ours is far off; by ours before set-up, and without a key.

    What goes by itself, and what is too old for that, hangs on it; and nobody takes back what was settled.
    """
    site = read_site(task.connection)
    if site is None or task.works.stripe.open_door() is None:
        return task.now
    return _time_of(task, site)


def _time_of(task: Task[Any], site: Site) -> datetime:
    async def ask(gateway: Gateway) -> datetime:
        await require_same(gateway, site)
        return clock_beside(gateway, lambda: task.now)()

    return task.works.stripe.ask(ask)


def decide(task: Task[StripeDecide]) -> Result:
    given = task.arguments
    done = telling.decide(
        task.connection,
        task.principal,
        account=given.account,
        day=parse_day(given.day),
        has_arrived=given.arrived,
        why=task.why,
        now=task.gathered,
    )
    said = f"The report of {done.account} for {given.day} {_BECAME[done.outcome]}."
    return Result(said, details={"account": done.account, "outcome": done.outcome})


def fetch(task: Task[StripeFetch]) -> Fetched:
    """Ask Stripe what it has."""
    site = require_site(task.connection)
    only = (
        find_account(task.connection, task.arguments.account).no if task.arguments.account else None
    )

    async def ask(gateway: Gateway) -> Fetched:
        await require_same(gateway, site)
        return await fetch_summaries(task.connection, gateway, task.now, account_no=only)

    return Fetched() if task.dry_run else task.works.stripe.ask(ask)


def fetched(task: Task[StripeFetch]) -> Result:
    done: Fetched = task.gathered
    if done.stopped:
        raise InputFault(f"{done.stopped.message} Nothing more was fetched.")
    of = "1 account" if done.accounts == 1 else f"{done.accounts} accounts"
    said = f"Fetched what Stripe has of {of}"
    if done.away or done.refused:
        said += f"; {done.away + done.refused} could not be asked about"
    details = {"accounts": done.accounts, "away": done.away, "refused": done.refused}
    return Result(f"{said}.", details=details)
