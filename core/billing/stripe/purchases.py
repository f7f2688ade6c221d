"""Credits that are bought: a session of Checkout, credited once when Stripe has it as paid.

Whatever tells of a payment (a webhook, the hourly look), the same is done: the session is fetched
with all that was taken back of it, and the books are brought to that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.rows import dict_row
from stripe import RequestOptions, StripeClient

from core.audit.trail import record
from core.billing.credits import AMOUNT_MAX_NANO
from core.billing.keys import reference_of
from core.billing.stripe.asking import MARK, find_or_make, instant
from core.billing.stripe.customers import SLACK
from core.billing.stripe.gateway import Gateway
from core.billing.stripe.linking import ensure_customer, look_at_customer
from core.billing.stripe.payments import (
    CREDITS,
    PURCHASE,
    fetch_payment,
    find_session,
    ours,
    sessions_since,
)
from core.billing.stripe.settling import settle_payment
from core.billing.stripe.site import require_same, require_site
from core.billing.stripe.units import minor_max, minor_of_nano, nano_of_minor, require_billable
from core.clock import DAY, day_of
from core.db.queries import queries_beside
from core.errors import Conflict, InputFault, StripeFault, StripeRefused
from core.identity.accounts import Account, find_account, require_currency, settle_currency
from core.identity.principal import Principal
from core.money import exact_from_nano, text_from_nano

if TYPE_CHECKING:
    from stripe.checkout import Session
    from stripe.params.checkout import SessionCreateParams

_SQL = queries_beside(__file__)
PRODUCT_NAME: Final = "Hopsworks credits"
UNPAID: Final = ("open", "processing")
JOINED_MAX: Final = 5
"""Purchases that one command finds unpaid in our rows, and ended at Stripe."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Wish:
    """Credits that somebody wants to buy; they will pay the days before `expires_on`."""

    account: str
    amount_nano: int
    expires_on: date | None = None
    key: str | None = None
    currency: str | None = None


@dataclass(frozen=True)
class Sale:
    """A purchase, and the page to pay it on; `state` and what it says are those of our row."""

    account: Account
    currency: str
    amount_nano: int
    expires_on: date | None
    purchase_id: int | None
    state: str
    url: str | None
    until: datetime | None


async def buy(
    gateway: Gateway,
    connection: Connection,
    principal: Principal,
    wish: Wish,
    *,
    return_url: str,
    why: str,
    now: datetime,
    dry_run: bool,
) -> Sale:
    """Write the purchase down, then have Stripe make its page; once per key, however often asked.

    Without a key, one of the same account, amount, currency and date that is not paid yet is what is
    meant: asking again is trying again. The connection is in autocommit and in no transaction.
    """
    principal.require_admin("sell credits")
    site = require_site(connection)
    account = find_account(connection, wish.account)
    currency = require_billable(require_currency(account, wish.currency))
    minor = _amount(wish, currency)
    if wish.expires_on is not None and wish.expires_on <= day_of(now):
        raise InputFault(
            f"{wish.expires_on} is no day to come: credits pay the days before the one they expire"
            f" on, so name {day_of(now) + DAY} or a later one. Nothing was changed."
        )
    terms = _Terms(account, currency, minor, wish, reference_of(principal, wish.key))
    try:
        await require_same(gateway, site)
        await look_at_customer(gateway, connection, principal, account, now)
    except StripeFault as fault:
        raise _nothing_begun(fault) from None
    if dry_run:
        return _planned(connection, terms)
    for _ in range(JOINED_MAX):
        row, is_joined = _write_down(connection, principal, terms, why, now)
        if row["state"] not in UNPAID:
            return _sale(account, wish, row, None)
        try:
            customer_id = await ensure_customer(
                gateway, connection, principal, account, site.default_meter, why=why, now=now
            )
            session = await _session(gateway, row, customer_id, return_url, now)
            connection.execute(
                _SQL["keep_session"],
                {"id": row["id"], "session": session.id, "until": instant(session.expires_at)},
            )
            if session.status != "open":
                row = await _settled(gateway, connection, row, session, now)
        except StripeFault as fault:
            raise _left(fault, terms, row) from None
        if not is_joined or row["state"] in UNPAID:
            return _sale(account, wish, row, session)
    raise Conflict(
        f"More than {JOINED_MAX} purchases of {account.label} ended just now; see `hopsmeter stripe"
        " purchases`, and try again."
    )


def _nothing_begun(fault: StripeFault) -> StripeFault:
    said = f"{fault.message.rstrip('.')}. No purchase was begun; once this is mended or over, repeat the same command."
    return StripeFault(said, code=fault.code, request=fault.request)


def _left(fault: StripeFault, terms: _Terms, row: dict[str, Any]) -> StripeFault:
    """Return a fault of Stripe's with what is left of the purchase, and how it goes on."""
    amount = f"{exact_from_nano(terms.wish.amount_nano)} {terms.currency}"
    stands = "stands open" if row["state"] == "open" else f"is {row['state']}"
    with_key = f", with the same --key {terms.wish.key}," if terms.wish.key is not None else ""
    said = f"{fault.message.rstrip('.')}. The purchase {row['id']} of {amount} {stands}: "
    if isinstance(fault, StripeRefused):
        said += (
            f"mend what Stripe names and repeat the same command{with_key or ','} or leave it, and it"
            " expires by itself; another amount is another purchase"
            f"{', with another --key' if with_key else ''}."
        )
    else:
        said += f"once this is over, repeat the same command{with_key} and it goes on."
    return StripeFault(said, code=fault.code, request=fault.request)


async def _settled(
    gateway: Gateway, connection: Connection, row: dict[str, Any], session: Session, now: datetime
) -> dict[str, Any]:
    """Return a purchase whose page is closed as it stands now: no webhook may have told of that."""
    payment = await fetch_payment(gateway, session.id)
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        settle_payment(connection, payment, now)
        found = cursor.execute(_SQL["purchase_of_key"], {"key": row["key"]}).fetchone()
    assert found is not None
    return found


def _planned(connection: Connection, terms: _Terms) -> Sale:
    with connection.cursor(row_factory=dict_row) as cursor:
        row = terms.known(cursor) or terms.joined(cursor)
    number, state = (row["id"], row["state"]) if row else (None, "open")
    wish = terms.wish
    return Sale(
        terms.account,
        terms.currency,
        wish.amount_nano,
        wish.expires_on,
        number,
        state,
        None,
        None,
    )


@dataclass(frozen=True)
class _Terms:
    """What a purchase is of, and the key that a new one of it gets."""

    account: Account
    currency: str
    minor: int
    wish: Wish
    key: str

    def known(self, cursor: psycopg.Cursor[dict[str, Any]]) -> dict[str, Any] | None:
        """Return the purchase that the key stands for, if any; Conflict where that is of something else."""
        found = cursor.execute(_SQL["purchase_of_key"], {"key": self.key}).fetchone()
        same = (
            ("account_no", self.account.no),
            ("asked_minor", self.minor),
            ("lot_expires_on", self.wish.expires_on),
        )
        if found is not None and any(found[column] != value for column, value in same):
            raise Conflict(
                f"The key {self.key} stands for another purchase; use one of its own. Nothing was"
                " changed."
            )
        return found

    def joined(self, cursor: psycopg.Cursor[dict[str, Any]]) -> dict[str, Any] | None:
        """Return the unpaid purchase that is meant where no key says which; else None."""
        if self.wish.key is not None:
            return None
        values = {
            "account": self.account.no,
            "currency": self.currency,
            "minor": self.minor,
            "expires": self.wish.expires_on,
        }
        return cursor.execute(_SQL["unpaid_purchase"], values).fetchone()


def _amount(wish: Wish, currency: str) -> int:
    if not 0 < wish.amount_nano <= AMOUNT_MAX_NANO:
        raise InputFault(
            "An amount of credits is more than zero, and no more than"
            f" {text_from_nano(AMOUNT_MAX_NANO, 0)} {currency}. Nothing was changed."
        )
    minor = minor_of_nano(wish.amount_nano, currency)
    most = minor_max(currency)
    if minor > most:
        raise InputFault(
            f"Stripe takes at most {exact_from_nano(nano_of_minor(most, currency))} {currency} in one"
            " payment; is it a slip of the keyboard? Nothing was changed."
        )
    return minor


def _write_down(
    connection: Connection, principal: Principal, terms: _Terms, why: str, now: datetime
) -> tuple[dict[str, Any], bool]:
    """Return the purchase that is meant, made where there is none, and whether it is another key's."""
    wish, account = terms.wish, terms.account
    values = {
        "key": terms.key,
        "account": account.no,
        "currency": terms.currency,
        "minor": terms.minor,
        "expires": wish.expires_on,
        "now": now,
        "by": principal.actor,
    }
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        # Two who ask at once for the same take turns, or each would make one.
        cursor.execute(_SQL["hold_account"], values)
        known = terms.known(cursor)
        # With the purchase or not at all: it is for good.
        settle_currency(connection, account.no, terms.currency, "These credits are")
        joined = None if known else terms.joined(cursor)
        if joined is not None:
            return joined, True
        made = None if known else cursor.execute(_SQL["begin_purchase"], values).fetchone()
        if made is not None:
            record(
                connection,
                principal,
                "credits.buy",
                f"account {account.id}",
                after={
                    "amount_nano": wish.amount_nano,
                    "currency": terms.currency,
                    "expires_on": str(wish.expires_on) if wish.expires_on else None,
                    "key": terms.key,
                },
                why=why,
            )
            return made, False
        # Another account's command may have taken the key meanwhile.
        known = known or terms.known(cursor)
    assert known is not None
    return known, False


async def _session(
    gateway: Gateway, row: dict[str, Any], customer_id: str, return_url: str, now: datetime
) -> Session:
    metadata = {MARK: CREDITS, PURCHASE: str(row["id"])}
    params: SessionCreateParams = {
        "mode": "payment",
        "customer": customer_id,
        "line_items": [
            {
                "price_data": {
                    "currency": row["currency"].lower(),
                    "unit_amount": row["asked_minor"],
                    "product_data": {"name": PRODUCT_NAME},
                },
                "quantity": 1,
            }
        ],
        "metadata": metadata,
        "payment_intent_data": {"metadata": metadata},
        # A receipt for whoever paid: an invoice of no subscription, which bills no usage.
        "invoice_creation": {"enabled": True, "invoice_data": {"metadata": metadata}},
        "success_url": return_url,
    }

    async def look() -> Session | None:
        if row["session_id"] is not None:
            return await find_session(gateway, row["session_id"])
        known = await sessions_since(gateway, customer_id, row["created_at"] - SLACK)
        return next((each for each in known if ours(each) == row["id"]), None)

    async def make(client: StripeClient, options: RequestOptions) -> Session:
        return await client.v1.checkout.sessions.create_async(params, options)

    key = ("purchase", customer_id, row["id"], row["key"])
    found, _ = await find_or_make(gateway, look, make, *key, now=now)
    return found


def _sale(account: Account, wish: Wish, row: dict[str, Any], session: Session | None) -> Sale:
    open_one = session if session is not None and session.status == "open" else None
    return Sale(
        account,
        row["currency"],
        wish.amount_nano,
        wish.expires_on,
        row["id"],
        row["state"],
        open_one.url if open_one else None,
        instant(open_one.expires_at) if open_one else None,
    )
