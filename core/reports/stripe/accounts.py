"""How accounts stand at Stripe, as last fetched, and what was bought there."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from core.db.queries import queries_beside
from core.identity.principal import Principal

_SQL = queries_beside(__file__)
LINES_MAX = 10_000

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class StripeLine:
    """An account at Stripe; `due_nano` is what Stripe was not told of yet, for whatever reason.

    `beside` names the subscriptions that had an invoice over the same usage as its own, if any.
    """

    account_id: str
    email: str
    currency: str
    customer_id: str
    subscription_id: str
    subscription_status: str
    meter: str
    has_card: bool
    standing: str
    standing_since: datetime | None
    why: str
    parked_at: datetime | None
    parked_why: str
    due_nano: int
    unpaid_invoices: int
    billed_from: datetime | None
    period_end: datetime | None
    fetched_at: datetime | None
    beside: str = ""

    @property
    def billed_twice(self) -> str:
        """Say which other subscription may bill the same usage, and what to do; nothing of none."""
        if not self.beside:
            return ""
        return (
            f"beside its own subscription {self.subscription_id} there is {self.beside}, which had an"
            " invoice over the same usage: cancel it in Stripe, if it still lives"
        )


@dataclass(frozen=True)
class PurchaseLine:
    """Credits that somebody buys; amounts in nano-units, None before they are paid."""

    id: int
    account_id: str
    email: str
    currency: str
    state: str
    asked_minor: int
    amount_nano: int | None
    refunded_nano: int
    expires_on: date | None
    created_at: datetime
    until: datetime | None
    session_id: str
    key: str
    account_deleted: bool = False

    @property
    def to_refund(self) -> bool:
        """Whether a person is to look: who paid is deleted, and some of it was not taken back."""
        return self.account_deleted and (self.amount_nano or 0) > self.refunded_nano


def stripe_accounts(connection: Connection, principal: Principal) -> tuple[StripeLine, ...]:
    """Return every account that is, or begins to be, a customer at Stripe; worst standing first."""
    principal.require_admin("see how accounts stand at Stripe")
    with connection.cursor(row_factory=class_row(StripeLine)) as cursor:
        return tuple(cursor.execute(_SQL["stripe_accounts"], {"account": None, "limit": LINES_MAX}))


def stripe_line(connection: Connection, principal: Principal, account_id: str) -> StripeLine | None:
    """Return one account at Stripe, None where it is no customer there."""
    principal.require_reader(account_id)
    with connection.cursor(row_factory=class_row(StripeLine)) as cursor:
        return cursor.execute(
            _SQL["stripe_accounts"], {"account": account_id, "limit": 1}
        ).fetchone()


def stripe_purchases(
    connection: Connection, principal: Principal, account_id: str | None = None
) -> tuple[PurchaseLine, ...]:
    """Return what was bought or is being bought, newest first, of one account or of all."""
    if account_id is None:
        principal.require_admin("see what everybody buys")
    else:
        principal.require_reader(account_id)
    values = {"account": account_id, "limit": LINES_MAX}
    with connection.cursor(row_factory=class_row(PurchaseLine)) as cursor:
        found = cursor.execute(_SQL["stripe_purchases"], values).fetchall()
    ids = [list({each.account_id for each in found})]
    gone = {
        row[0]
        for row in connection.execute(
            "SELECT id FROM hopsmeter.users WHERE status = 'deleted' AND id = ANY (%s)", ids
        )
    }
    return tuple(replace(each, account_deleted=each.account_id in gone) for each in found)
