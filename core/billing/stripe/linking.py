"""Linking an account: a customer, a subscription, and the page where its payment method is left.

All of it is looked at first, as a dry run does, so that what is refused leaves nothing. Then each step is found
or made at Stripe, and written down in a transaction of its own; whoever comes again, after whatever, goes on
where it ended.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

import psycopg

from core.audit.trail import record
from core.billing.stripe.asking import idempotency_key
from core.billing.stripe.customers import (
    CustomerSeen,
    card_page,
    find_customer,
    find_or_make_customer,
    mark_customer,
    require_customer,
)
from core.billing.stripe.gateway import Gateway
from core.billing.stripe.invoices import forget_drafts
from core.billing.stripe.site import MeterKind, price_of, require_same, require_site
from core.billing.stripe.state import AccountSeen, fetch_account
from core.billing.stripe.subscriptions import (
    SubscriptionSeen,
    find_or_make_subscription,
    require_subscription,
    require_whole_days,
    subscriptions_of,
    the_live_one,
)
from core.billing.stripe.units import require_billable
from core.db.queries import queries_beside
from core.errors import Conflict, HopsmeterError, InputFault, StripeFault
from core.identity.accounts import Account, find_account, require_currency, settle_currency
from core.identity.principal import Principal

_SQL = queries_beside(__file__)
Connection = psycopg.Connection[Any]
Fault = TypeVar("Fault", bound=HopsmeterError)


@dataclass(frozen=True)
class Wish:
    """What a person asks for; ids of what exists already, where it does."""

    account: str
    customer: str | None = None
    subscription: str | None = None
    meter: MeterKind | None = None
    currency: str | None = None
    """For who has none yet, since nothing of his was metered; it stays with him."""


@dataclass(frozen=True)
class Kept:
    """What our rows say of an account at Stripe."""

    meter: MeterKind | None
    begun_at: datetime | None
    customer_id: str | None
    subscription_id: str | None
    name: str


@dataclass(frozen=True)
class Linked:
    """Where an account stands at Stripe after its link; ids that a dry run would make are None."""

    account: Account
    currency: str
    meter: MeterKind
    customer_id: str | None
    subscription: SubscriptionSeen | None
    has_card: bool
    card_url: str | None
    before: Kept
    seen: AccountSeen | None = None
    """Fetched afterwards, to be kept; None in a dry run."""

    @property
    def made(self) -> dict[str, list[str | None]]:
        """Return the ids that are other ones than before."""
        subscription_id = self.subscription.id if self.subscription else None
        pairs: dict[str, list[str | None]] = {
            "customer": [self.before.customer_id, self.customer_id],
            "subscription": [self.before.subscription_id, subscription_id],
            "meter": [self.before.meter, self.meter],
        }
        return {what: pair for what, pair in pairs.items() if pair[0] != pair[1]}


async def link(
    gateway: Gateway,
    connection: Connection,
    principal: Principal,
    wish: Wish,
    *,
    return_url: str,
    why: str,
    now: datetime,
    dry_run: bool,
) -> Linked:
    """Do, or go on with, all of it; the connection is in autocommit and in no transaction.

    What is refused, or not answered, before anything is written down says that nothing was changed; later,
    that what was done is kept.
    """
    principal.require_admin("link accounts to Stripe")
    site = require_site(connection)
    account = find_account(connection, wish.account)
    currency = require_billable(require_currency(account, wish.currency))
    before = read_kept(connection, account)
    if wish.subscription and not (wish.customer or before.customer_id):
        raise InputFault(
            f"A subscription that is there is a customer's: name whose {wish.subscription} is as well"
            " (--customer cus_…). Nothing was changed."
        )
    meter = _meter(wish, before, account) or site.default_meter
    price_id = price_of(connection, meter, currency)
    step = _Step(gateway, connection, principal, account, why, now, dry_run=True)
    try:
        await require_same(gateway, site)
        customer = await step.customer(before, wish, now)
        subscription = await step.subscription(before, wish, customer, price_id)
    except (StripeFault, InputFault) as fault:
        raise _ending(fault, "Nothing was changed.") from None
    if dry_run:
        card = _has_card(customer, subscription)
        found_id = customer.id if customer else None
        return Linked(account, currency, meter, found_id, subscription, card, None, before)
    step = replace(step, dry_run=False)
    with connection.transaction():
        settle_currency(connection, account.no, currency, "Stripe is to bill")
        begun = step.begin(meter)
    try:
        customer = await step.customer(before, wish, begun)
        assert customer is not None
        subscription = await step.subscription(before, wish, customer, price_id)
        card, url = _has_card(customer, subscription), None
        if not card:
            key = idempotency_key("card", account.id, customer.id, principal.command_id, now)
            url = await card_page(gateway, customer.id, currency, return_url, key)
        seen = await fetch_account(gateway, customer.id, now)
    except (StripeFault, InputFault) as fault:
        raise _ending(
            fault,
            f"What was done until then is kept: `hopsmeter stripe link '{account.id}'` goes on from there.",
        ) from None
    return Linked(account, currency, meter, customer.id, subscription, card, url, before, seen)


def _has_card(customer: CustomerSeen | None, subscription: SubscriptionSeen | None) -> bool:
    return customer is not None and bool(customer.card or (subscription and subscription.card))


def read_kept(connection: Connection, account: Account) -> Kept:
    """Return what our rows say of an account at Stripe."""
    row = connection.execute(_SQL["kept_of_account"], {"account": account.no}).fetchone()
    assert row is not None
    return Kept(*row)


async def look_at_customer(
    gateway: Gateway, connection: Connection, principal: Principal, account: Account, now: datetime
) -> None:
    """Refuse an account whose customer was deleted, before anything is made or written down for it."""
    before = read_kept(connection, account)
    try:
        await _Step(gateway, connection, principal, account, "", now, dry_run=True).customer(
            before, Wish(account.id), now
        )
    except InputFault as fault:
        raise _ending(fault, "Nothing was changed.") from None


async def ensure_customer(
    gateway: Gateway,
    connection: Connection,
    principal: Principal,
    account: Account,
    meter: MeterKind,
    *,
    why: str,
    now: datetime,
) -> str:
    """Return the account's customer, made and written down where it has none: for who buys only."""
    before = read_kept(connection, account)
    step = _Step(gateway, connection, principal, account, why, now, dry_run=False)
    begun = step.begin(before.meter or meter)
    found = await step.customer(before, Wish(account.id), begun)
    assert found is not None
    return found.id


def _meter(wish: Wish, before: Kept, account: Account) -> MeterKind | None:
    if before.subscription_id and wish.meter and wish.meter != before.meter:
        raise Conflict(
            f"{account.label} is billed by the {before.meter} meter, under {before.subscription_id}:"
            " what was reported there stays there. Nothing was changed."
        )
    return wish.meter or before.meter


def require_to_take_over(
    connection: Connection, account: Account, found: SubscriptionSeen, price_id: str
) -> None:
    """Refuse a subscription of which it could not be told which usage it bills."""
    require_whole_days(found, price_id, account)
    values = {"account": account.no, "since": found.billed_from, "customer": found.customer_id}
    row = connection.execute(_SQL["told_to_another"], values).fetchone()
    if row is not None and row[0] is not None:
        raise Conflict(
            f"{found.id} had begun when Stripe was told of {row[0]} under the customer before, which it"
            " does not bill. Cancel it in Stripe, and leave it to `hopsmeter stripe link"
            f" '{account.id}' --customer {found.customer_id}` to make one."
        )


def _ending(fault: Fault, left: str) -> Fault:
    """Return the same fault, which says what is left of the command."""
    said = fault.message if fault.message.endswith((".", "!", "?")) else f"{fault.message}."
    fault.message = said if said.endswith(left) else f"{said} {left}"
    fault.args = (fault.message,)
    return fault


@dataclass(frozen=True)
class _Step:
    """One account's way to Stripe; each method is a step that may be taken again."""

    gateway: Gateway
    connection: Connection
    principal: Principal
    account: Account
    why: str
    now: datetime
    dry_run: bool

    def begin(self, meter: MeterKind) -> datetime:
        """Write down that it begins, before anything is made: from then on it is looked for."""
        with self.connection.transaction():
            row = self.connection.execute(
                _SQL["begin_account"], {"account": self.account.no, "meter": meter, "now": self.now}
            ).fetchone()
        assert row is not None
        begun: datetime = row[0]
        return begun

    async def customer(self, before: Kept, wish: Wish, begun: datetime) -> CustomerSeen | None:
        if before.customer_id and wish.customer in (None, before.customer_id):
            found = await find_customer(self.gateway, before.customer_id)
            if found is None or found.deleted:
                raise Conflict(
                    f"The customer {before.customer_id} of {self.account.label} was deleted at"
                    " Stripe. Make another one there, and name it: `hopsmeter stripe link"
                    f" '{self.account.id}' --customer cus_…`."
                )
            return found
        if wish.customer:
            return await self._given_customer(before, wish.customer)
        if self.dry_run:
            return None
        found = await find_or_make_customer(
            self.gateway, self.account, before.name, since=begun, now=self.now
        )
        self._keep_customer(before, found.id)
        return found

    async def _given_customer(self, before: Kept, customer_id: str) -> CustomerSeen:
        found = await require_customer(self.gateway, customer_id, self.account)
        if before.customer_id:
            old = await find_customer(self.gateway, before.customer_id)
            if old is not None and not old.deleted:
                raise Conflict(
                    f"{self.account.label} is the customer {before.customer_id}, which is there"
                    " still; delete it at Stripe first, if another one is to take its place."
                )
        values = {"customer": customer_id, "account": self.account.no}
        if self.connection.execute(_SQL["customer_of_another"], values).fetchone():
            raise _anothers(customer_id, "customer")
        if not self.dry_run:
            await mark_customer(self.gateway, customer_id, self.account)
            self._keep_customer(before, customer_id)
        return replace(found, belongs_to=self.account.id)

    async def subscription(
        self, before: Kept, wish: Wish, customer: CustomerSeen | None, price_id: str
    ) -> SubscriptionSeen | None:
        if customer is None:
            return None
        known = await subscriptions_of(self.gateway, customer.id)
        kept = next((each for each in known if each.id == before.subscription_id), None)
        if wish.subscription:
            found = require_subscription(known, wish.subscription, price_id, customer.id)
            if found.id != before.subscription_id:
                require_to_take_over(self.connection, self.account, found, price_id)
            if kept is not None and kept.is_live and kept.id != found.id:
                raise Conflict(
                    f"{self.account.label} is billed under {kept.id}, which is {kept.status}; cancel"
                    " it at Stripe first, if another one is to take its place."
                )
        elif kept is not None and kept.is_live:
            return kept
        else:
            live = the_live_one(known, price_id, self.account)
            if live is not None:
                require_to_take_over(self.connection, self.account, live, price_id)
            if self.dry_run:
                return live
            ended = sum(not each.is_live for each in known)
            found = live or await find_or_make_subscription(
                self.gateway, self.account, customer.id, price_id, ended=ended, now=self.now
            )
        if not self.dry_run:
            self._keep_subscription(before, found.id)
        return found

    def _keep_customer(self, before: Kept, customer_id: str) -> None:
        self._keep("keep_customer", "customer", before.customer_id, customer_id)
        if before.customer_id not in (None, customer_id):
            # The one before was deleted, and nothing may have told of it.
            forget_drafts(self.connection, self.account.no, self.now)

    def _keep_subscription(self, before: Kept, subscription_id: str) -> None:
        if before.subscription_id != subscription_id:
            self._keep("keep_subscription", "subscription", before.subscription_id, subscription_id)

    def _keep(self, query: str, what: str, old: str | None, new: str) -> None:
        """Write an id down, unless somebody else wrote another one meanwhile."""
        values = {"account": self.account.no, "old": old, "new": new}
        try:
            with self.connection.transaction():
                if not self.connection.execute(_SQL[query], values).rowcount:
                    raise Conflict(
                        f"Somebody else linked {self.account.label} at this moment; look at"
                        " `hopsmeter stripe accounts`, and try again."
                    )
                record(
                    self.connection,
                    self.principal,
                    f"stripe.{what}",
                    f"account {self.account.id}",
                    before={what: old},
                    after={what: new},
                    why=self.why,
                )
        except psycopg.errors.UniqueViolation:
            raise _anothers(new, what) from None


def _anothers(id_: str, what: str) -> Conflict:
    return Conflict(
        f"{id_} is another account's {what} already (`hopsmeter stripe accounts` says whose)."
    )


def unpark(
    connection: Connection, principal: Principal, *, account: str, why: str
) -> tuple[Account, str]:
    """Let a parked account be reported again; return it and why it was parked."""
    principal.require_admin("unpark accounts")
    payer = find_account(connection, account)
    freed = _unpark(connection, principal, payer.no, why)
    if not freed:
        raise Conflict(f"{payer.label} is not parked. Nothing was changed.")
    return payer, freed[payer.id]


def unpark_all(connection: Connection, principal: Principal, *, why: str) -> list[str]:
    """Let every parked account be reported again, as what parked them was mended; return their ids."""
    principal.require_admin("unpark accounts")
    freed = _unpark(connection, principal, None, why)
    if not freed:
        raise Conflict("Nobody is parked. Nothing was changed.")
    return list(freed)


def _unpark(
    connection: Connection, principal: Principal, account_no: int | None, why: str
) -> dict[str, str]:
    """Return why each was parked, by its account's id."""
    freed = dict(connection.execute(_SQL["unpark"], {"account": account_no}).fetchall())
    for account_id, parked_why in freed.items():
        record(
            connection,
            principal,
            "stripe.unpark",
            f"account {account_id}",
            before={"parked_why": parked_why},
            after={"parked_why": None},
            why=why,
        )
    return freed
