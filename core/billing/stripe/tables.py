"""The tables of Stripe: what is owed and reported by day, what came back, who pays how."""

import datetime as dt
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Computed,
    Index,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    text,
)
from sqlmodel import Field

from core.db.table import Big, Said, Table, Words, column_of, numbered, stamped
from core.identity.tables import User

USER_NO = column_of(User, "no")


class StripeMeter(Table, table=True):
    """A meter at Stripe: `daily` (the last event of a customer's day counts) or `sum`."""

    __tablename__ = "stripe_meters"

    kind: str = Field(primary_key=True, sa_type=Text)
    meter_id: str = Field(sa_type=Text, unique=True)
    event_name: Words
    product_id: Words
    created_at: dt.datetime | None = stamped()


class StripePrice(Table, table=True):
    __tablename__ = "stripe_prices"
    __table_args__ = (PrimaryKeyConstraint("kind", "currency"),)

    kind: str = Field(sa_type=Text, foreign_key=column_of(StripeMeter, "kind"))
    currency: Words
    price_id: str = Field(sa_type=Text, unique=True)
    created_at: dt.datetime | None = stamped()


class StripeSite(Table, table=True):
    """Which Stripe account all of it belongs to; one row, or none before `stripe setup`."""

    __tablename__ = "stripe_site"

    single: bool = Field(default=True, primary_key=True)
    stripe_account: Words
    livemode: bool
    default_meter: str = Field(sa_type=Text, foreign_key=column_of(StripeMeter, "kind"))
    set_up_at: dt.datetime | None = stamped()
    events_read_to: dt.datetime | None = None


class StripeAccount(Table, table=True):
    """An account at Stripe, as last fetched, and what follows for it."""

    __tablename__ = "stripe_accounts"

    account_no: int = Field(
        primary_key=True, foreign_key=USER_NO, sa_column_kwargs={"autoincrement": False}
    )
    meter: str = Field(sa_type=Text, foreign_key=column_of(StripeMeter, "kind"))
    linked_at: dt.datetime | None = stamped()
    item_id: Said = None
    subscription_status: Said = None
    billed_from: dt.datetime | None = None
    period_start: dt.datetime | None = None
    period_end: dt.datetime | None = None
    collection_paused: bool = False
    has_card: bool = False
    customer_deleted: bool = False
    fetched_at: dt.datetime | None = None
    remainder_nano: Big = 0
    parked_at: dt.datetime | None = None
    parked_why: Said = None
    unpaid_since: dt.datetime | None = None
    ended_since: dt.datetime | None = None
    paused_since: dt.datetime | None = None
    no_card_since: dt.datetime | None = None
    standing: Words = "good"
    standing_since: dt.datetime | None = None
    standing_why: Words = ""


class StripeDay(Table, table=True):
    """What the receivable of an account's day came to, and what of it was reported."""

    __tablename__ = "stripe_days"
    __table_args__ = (
        PrimaryKeyConstraint("account_no", "day"),
        Index(
            "stripe_days_due",
            *("day", "account_no"),
            postgresql_where=text("posted_nano + moved_nano <> snapshot_nano"),
        ),
    )

    account_no: int = Field(foreign_key=USER_NO)
    day: dt.date
    posted_nano: Big = 0
    moved_nano: Big = 0
    snapshot_nano: Big = 0
    units: Big = 0
    seq: int = 0
    due_nano: int | None = Field(
        default=None,
        sa_type=BigInteger,
        nullable=False,
        sa_column_args=[Computed("posted_nano + moved_nano - snapshot_nano", persisted=True)],
    )


class StripeDayRead(Table, table=True):
    """Up to which posting of a day the ledger was added up."""

    __tablename__ = "stripe_days_read"

    day: dt.date = Field(primary_key=True)
    posting_no: int


class StripeReport(Table, table=True):
    """One thing said to Stripe about an account's day; written before it is sent."""

    __tablename__ = "stripe_reports"
    __table_args__ = (
        UniqueConstraint("account_no", "day", "seq"),
        Index(
            "stripe_reports_one",
            "account_no",
            unique=True,
            postgresql_where=text("state IN ('due', 'in flight', 'unknown', 'refused')"),
        ),
        Index(
            "stripe_reports_open",
            "next_try_at",
            postgresql_where=text("state IN ('due', 'in flight', 'unknown')"),
        ),
    )

    id: int | None = numbered(big=True)
    account_no: int = Field(foreign_key=USER_NO)
    day: dt.date
    seq: int
    meter: Words
    snapshot_nano: Big
    units: Big
    units_before: Big
    remainder_nano: Big
    unit_nano: Big
    identifier: str = Field(sa_type=Text, unique=True)
    event_at: dt.datetime
    state: Words = "due"
    made_at: dt.datetime | None = stamped()
    sent_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    tries: int = 0
    next_try_at: dt.datetime | None = stamped()
    error: Said = None
    lease_token: UUID | None = None
    lease_until: dt.datetime | None = None
    entry_id: int | None = Field(default=None, sa_type=BigInteger)
    value: int | None = Field(default=None, sa_type=BigInteger)


class StripeMove(Table, table=True):
    """What was taken from one day to another, or settled by hand."""

    __tablename__ = "stripe_moves"
    __table_args__ = (
        UniqueConstraint("account_no", "ref"),
        Index("stripe_moves_days", "account_no", "from_day"),
    )

    id: int | None = numbered(big=True)
    account_no: int = Field(foreign_key=USER_NO)
    from_day: dt.date
    to_day: dt.date | None = None
    amount_nano: Big
    kind: Words
    ref: Words
    invoice_id: Said = None
    entry_id: int | None = Field(default=None, sa_type=BigInteger)
    at: dt.datetime | None = stamped("clock_timestamp()")
    by: Words
    why: Words = ""


class StripeSummary(Table, table=True):
    """What Stripe says it has of an account's day, as last fetched."""

    __tablename__ = "stripe_summaries"
    __table_args__ = (PrimaryKeyConstraint("account_no", "day"),)

    account_no: int = Field(foreign_key=USER_NO)
    day: dt.date
    units: Big
    fetched_at: dt.datetime


class StripeInvoice(Table, table=True):
    """An invoice as last fetched; amounts in the currency's smallest unit."""

    __tablename__ = "stripe_invoices"
    __table_args__ = (
        Index("stripe_invoices_account", "account_no", "usage_start"),
        Index(
            "stripe_invoices_beside_day",
            *("account_no", "beside_day"),
            postgresql_where=text("beside_units <> 0"),
        ),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    account_no: int = Field(foreign_key=USER_NO)
    subscription_id: Said = None
    number: Said = None
    status: Words
    currency: Words
    usage_start: dt.datetime | None = None
    usage_end: dt.datetime | None = None
    units: int | None = Field(default=None, sa_type=BigInteger)
    line_minor: int | None = Field(default=None, sa_type=BigInteger)
    total_minor: Big
    paid_minor: Big = 0
    created_at: dt.datetime
    finalized_at: dt.datetime | None = None
    attempted: bool = False
    fetched_at: dt.datetime
    compared_at: dt.datetime | None = None
    beside_day: dt.date | None = None
    beside_units: Big = 0


class StripePutRight(Table, table=True):
    """What a person said of an invoice: put right in Stripe, as it was then."""

    __tablename__ = "stripe_put_right"
    __table_args__ = (Index("stripe_put_right_invoice", "invoice_id"),)

    id: int | None = numbered(big=True)
    invoice_id: str = Field(sa_type=Text, foreign_key=column_of(StripeInvoice, "id"))
    what: Words
    status: Words
    units: Big
    line_minor: int | None = Field(default=None, sa_type=BigInteger)
    at: dt.datetime | None = stamped("clock_timestamp()")
    by: Words
    why: Words


class StripePurchase(Table, table=True):
    """Credits that somebody buys: one Checkout session, and what became of it."""

    __tablename__ = "stripe_purchases"
    __table_args__ = (Index("stripe_purchases_account", "account_no"),)

    id: int | None = numbered(big=True)
    key: str = Field(sa_type=Text, unique=True)
    account_no: int = Field(foreign_key=USER_NO)
    currency: Words
    asked_minor: Big
    session_id: str | None = Field(default=None, sa_type=Text, unique=True)
    payment_intent_id: str | None = Field(default=None, sa_type=Text, unique=True)
    state: Words = "open"
    lot_expires_on: dt.date | None = None
    amount_nano: int | None = Field(default=None, sa_type=BigInteger)
    entry_id: int | None = Field(default=None, sa_type=BigInteger)
    refunded_nano: Big = 0
    created_at: dt.datetime | None = stamped()
    created_by: Words
    expires_at: dt.datetime | None = None
    fetched_at: dt.datetime | None = None


class StripeClaim(Table, table=True):
    """A refund or a dispute of a purchase, as last fetched; `holds` while the money is gone."""

    __tablename__ = "stripe_claims"
    __table_args__ = (Index("stripe_claims_purchase", "purchase_id"),)

    id: str = Field(primary_key=True, sa_type=Text)
    purchase_id: int = Field(sa_type=BigInteger, foreign_key=column_of(StripePurchase, "id"))
    kind: Words
    minor: Big
    status: Words
    holds: bool
    created_at: dt.datetime
    fetched_at: dt.datetime
