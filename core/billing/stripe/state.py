"""An account as Stripe has it: fetched, never believed; and how it stands by that."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from core.billing.outgoing import tell_outside
from core.billing.stripe.asking import is_gone
from core.billing.stripe.customers import find_customer
from core.billing.stripe.gateway import Gateway
from core.billing.stripe.invoices import (
    InvoiceSeen,
    Known,
    find_invoice,
    forget_drafts,
    invoices_left,
    invoices_of,
    keep_gone,
    keep_invoice,
)
from core.billing.stripe.moments import ahead_of, moments_since, right
from core.billing.stripe.reporting.limits import REPORTABLE
from core.billing.stripe.standing import Facts, Standing, standing_of
from core.billing.stripe.subscriptions import SubscriptionSeen, bills_twice, subscriptions_of
from core.clock import DAY, day_of
from core.db.queries import queries_beside
from core.errors import Conflict, StripeAway, StripeFault, StripeRefused, StripeStopped

_SQL = queries_beside(__file__)
ACCOUNTS_MAX: Final = 2_000
"""Fetched in one run, those whose state is oldest first; webhooks tell of what is urgent."""
TOGETHER: Final = 8
ASKED_MAX: Final = 10
"""Invoices of an account asked about by their ids in one look; of more each has its turn."""
FETCH_MAX_S: Final = 300.0
"""For all of an account: what takes longer may be overtaken by what is taken for earlier (moments)."""
STALE: Final = timedelta(minutes=50)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class AccountSeen:
    """A customer with its subscriptions and invoices, at the moment `at` or a little later.

    Of invoices all that were made `since` then, and such as were asked about by their ids: these may be of
    a customer before, and those that are `gone` Stripe has no more.
    """

    customer_id: str
    at: datetime
    since: datetime
    deleted: bool
    card: str | None = None
    subscriptions: tuple[SubscriptionSeen, ...] = ()
    invoices: tuple[InvoiceSeen, ...] = ()
    gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refreshed:
    """What a run over many accounts did; `faults` and `twice` are sentences by account.

    `twice` are those whose usage several live subscriptions bill.
    """

    fetched: int = 0
    changed: int = 0
    faults: dict[str, str] = field(default_factory=dict)
    twice: dict[str, str] = field(default_factory=dict)


NOTHING_KNOWN: Final = Known()


async def fetch_account(
    gateway: Gateway, customer_id: str, at: datetime, known: Known = NOTHING_KNOWN
) -> AccountSeen:
    """Ask Stripe for all of a customer that says how the account stands."""
    since = known.listed_since(at)
    customer = await find_customer(gateway, customer_id)
    if customer is None or customer.deleted:
        seen = AccountSeen(customer_id, at, since, deleted=True)
        listed = await _left_by(gateway, customer_id, since)
    else:
        found = tuple(await subscriptions_of(gateway, customer_id))
        seen = AccountSeen(customer_id, at, since, False, customer.card, found)
        listed = await invoices_of(gateway, customer_id, since)
    listed += [each for name in known.before for each in await invoices_left(gateway, name, since)]
    ids = {each.id for each in listed}
    asked = {each: await find_invoice(gateway, each) for each in known.not_over if each not in ids}
    return replace(
        seen,
        invoices=(*listed, *(each for each in asked.values() if each is not None)),
        gone=tuple(name for name, each in asked.items() if each is None),
    )


async def _fetch_in_time(
    gateway: Gateway, customer_id: str, at: datetime, known: Known
) -> AccountSeen:
    try:
        async with asyncio.timeout(FETCH_MAX_S):
            return await fetch_account(gateway, customer_id, at, known)
    except TimeoutError:
        raise StripeAway(
            f"Stripe did not tell all of {customer_id} within {FETCH_MAX_S:g} s; try again later."
        ) from None


async def _left_by(gateway: Gateway, customer_id: str, since: datetime) -> list[InvoiceSeen]:
    """Return the invoices of a customer that was deleted, as far as Stripe still has them."""
    try:
        return await invoices_of(gateway, customer_id, since)
    except StripeRefused as fault:
        if not is_gone(fault):
            raise
        return []


def keep_account(connection: Connection, seen: AccountSeen, grace: timedelta) -> str:
    """Write it down, and mark how the account stands; return in a sentence what it came to.

    Only the account's own subscription counts: what becomes of another one is none of its matter. But
    one that lives beside it and bills the same usage is named.
    """
    said, twice = _keep(connection, seen, grace)
    return "; ".join(filter(None, (said, twice)))


def _keep(connection: Connection, seen: AccountSeen, grace: timedelta) -> tuple[str, str]:
    """Write it down; return what it came to, and what beside it bills the same usage."""
    with connection.cursor(row_factory=dict_row) as cursor:
        kept = cursor.execute(
            _SQL["account_of_customer"], {"customer": seen.customer_id}
        ).fetchone()
    price_ids = _price_ids(connection)
    if kept is None:
        return _keep_left(connection, seen, price_ids, grace), ""
    # What is known of a later moment stays, but for what only a clock that was ahead can have left.
    for invoice in seen.invoices:
        is_left = invoice.customer_id != seen.customer_id
        keep_invoice(connection, kept["account_no"], invoice, price_ids, seen.at, is_left=is_left)
    keep_gone(connection, kept["account_no"], seen.gone, seen.at)
    own = next((each for each in seen.subscriptions if each.id == kept["subscription_id"]), None)
    values = _values(seen, own, price_ids, linked=kept["subscription_id"] is not None)
    if not connection.execute(
        _SQL["keep_account"], {"account": kept["account_no"], **values}
    ).rowcount:
        return f"{kept['id']} is known of a later moment", ""
    if seen.deleted:
        forget_drafts(connection, kept["account_no"], seen.at)
    connection.execute(_SQL["keep_unpaid"], {"account": kept["account_no"]})
    changed = mark_standings(connection, seen.at, grace, [kept["account_no"]])
    word = own.status if own else "no subscription of its own"
    if seen.deleted:
        word = f"{seen.customer_id} was deleted"
    standing = f", now {changed[kept['account_no']]}" if changed else ""
    return f"{kept['id']}: {word}{standing}", bills_twice(seen.subscriptions, own, price_ids)


def _keep_left(
    connection: Connection, seen: AccountSeen, price_ids: set[str], grace: timedelta
) -> str:
    """Write down what became of the invoices of a customer that was an account's before.

    A customer is another's place taken only once it was deleted, so whose one of them is, all are.
    """
    values = {
        "ids": [each.id for each in seen.invoices],
        # Of a stranger no line has our price, and nobody is looked for.
        "subscriptions": sorted(
            {
                each.subscription_id
                for each in seen.invoices
                if each.subscription_id and any(line.price_id in price_ids for line in each.lines)
            }
        ),
    }
    row = connection.execute(_SQL["account_of_left"], values).fetchone() if values["ids"] else None
    if row is None:
        return f"{seen.customer_id} is no account's customer"
    account_no, account_id = row
    for invoice in seen.invoices:
        keep_invoice(connection, account_no, invoice, price_ids, seen.at, is_left=True)
    connection.execute(_SQL["keep_unpaid"], {"account": account_no})
    changed = mark_standings(connection, seen.at, grace, [account_no])
    standing = f", now {changed[account_no]}" if changed else ""
    return f"{account_id}: invoices of {seen.customer_id}, its customer before{standing}"


def _price_ids(connection: Connection) -> set[str]:
    rows = connection.execute("SELECT price_id FROM hopsmeter.stripe_prices").fetchall()
    return {row[0] for row in rows}


def _values(
    seen: AccountSeen, own: SubscriptionSeen | None, price_ids: set[str], *, linked: bool
) -> dict[str, Any]:
    item = own.item_of(price_ids) if own else None
    ended = linked and (seen.deleted or own is None or not own.is_live)
    card = bool(seen.card or (own and own.card))
    needs_card = own.needs_card if own else linked
    return {
        "at": seen.at,
        "since": seen.since,
        "ahead": ahead_of(seen.at),
        "deleted": seen.deleted,
        "has_card": card,
        "item": item.id if item else None,
        "status": own.status if own else None,
        "billed_from": own.billed_from if own else None,
        "period_start": item.period_start if item else None,
        "period_end": item.period_end if item else None,
        "collection_paused": bool(own and own.collection_paused),
        "ended": ended,
        "ended_at": own.ended_at if own else None,
        "paused": bool(own and own.is_live and own.is_paused),
        "no_card": linked and needs_card and not card and not seen.deleted,
    }


def mark_standings(
    connection: Connection,
    now: datetime,
    grace: timedelta,
    accounts: Sequence[int] | None = None,
) -> dict[int, str]:
    """Bring the standing of accounts, or of all, to what is known of them; return what changed.

    A new one is told to the outside once; who marks an account holds its row.
    """
    changed: dict[int, str] = {}
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        named = {"accounts": None if accounts is None else [*accounts]}
        rows = cursor.execute(_SQL["standings_to_judge"], named).fetchall()
        waiting = _still_to_be_told(connection, rows, now, grace)
        for row in rows:
            standing = standing_of(_facts(row, waits=row["account_no"] in waiting), now, grace)
            if (standing.word, standing.why) == (row["standing"], row["standing_why"]):
                continue
            _mark(connection, row, standing, now)
            if standing.word != row["standing"]:
                changed[row["account_no"]] = standing.word
    return changed


def _still_to_be_told(
    connection: Connection, rows: list[dict[str, Any]], now: datetime, grace: timedelta
) -> set[int]:
    """Return those who are to stop unless Stripe is to be told of what they owe, and is."""
    to_stop = [
        row["account_no"] for row in rows if standing_of(_facts(row), now, grace).word == "suspend"
    ]
    if not to_stop:
        return set()
    today = day_of(now)
    values = {"accounts": to_stop, "today": today, "oldest": today - REPORTABLE}
    return {no for (no,) in connection.execute(_SQL["still_to_be_told"], values)}


def _facts(row: dict[str, Any], *, waits: bool = False) -> Facts:
    return Facts(
        row["unpaid_since"],
        row["ended_since"],
        row["paused_since"],
        row["no_card_since"],
        waits,
        row["customer_deleted"],
    )


def _mark(connection: Connection, row: dict[str, Any], standing: Standing, now: datetime) -> None:
    is_new = standing.word != row["standing"]
    values = {
        "account": row["account_no"],
        "word": standing.word,
        "why": standing.why,
        "since": now if is_new else row["standing_since"],
    }
    connection.execute(_SQL["mark_standing"], values)
    if not is_new:
        return
    kind = _EVENTS[standing.word]
    data = {
        "standing": standing.word,
        "why": standing.why,
        "until": standing.until.isoformat() if standing.until else None,
    }
    before = {"standing": row["standing"], "why": row["standing_why"]}
    tell_outside(
        connection, row["account_no"], row["id"], kind, data, now, after={**data, "before": before}
    )


_EVENTS: Final = {
    "good": "account.settled",
    "warned": "account.payment_due",
    "suspend": "account.to_suspend",
}


async def refresh(
    connection: Connection,
    gateway: Gateway,
    now: datetime,
    grace: timedelta,
    *,
    accounts_max: int = ACCOUNTS_MAX,
    stopping: Callable[[], bool] = lambda: False,
) -> Refreshed:
    """Fetch the accounts whose state is oldest, some at once, and write each down by itself.

    Where Stripe answers for none of some, it is away, and the next run goes on. For one alone that it
    never answers for the others do not wait, though he stays the oldest.
    """
    now = right(now, gateway.time)
    values = {
        "before": now - STALE,
        "ahead": ahead_of(now),
        "limit": accounts_max,
        "asked": ASKED_MAX,
        "begun_since": now - DAY,
    }
    rows = connection.execute(_SQL["accounts_to_fetch"], values).fetchall()
    moment = moments_since(now)
    done = 0
    faults: dict[str, str] = {}
    twice: dict[str, str] = {}
    for first in range(0, len(rows), TOGETHER):
        if stopping():
            break
        some, away = rows[first : first + TOGETHER], 0
        at = right(moment(), gateway.time)
        answers = await asyncio.gather(
            *(
                _fetch_in_time(
                    gateway, customer, at, Known(looked_at, tuple(not_over), tuple(before))
                )
                for _, customer, looked_at, not_over, before in some
            ),
            return_exceptions=True,
        )
        for (account, *_), answer in zip(some, answers, strict=True):
            if isinstance(answer, AccountSeen):
                with connection.transaction():
                    _, twice_said = _keep(connection, answer, grace)
                if twice_said:
                    twice[account] = twice_said
                done += 1
            elif isinstance(answer, StripeFault | Conflict):
                faults[account] = answer.message
                away += isinstance(answer, StripeAway)
                if isinstance(answer, StripeStopped):
                    raise answer
            else:
                raise answer
        if away == len(some):
            break
    changed = mark_standings(connection, right(moment(), gateway.time), grace)
    return Refreshed(done, len(changed), faults, twice)
