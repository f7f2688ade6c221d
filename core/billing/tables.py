"""The tables of billing: daily rows derived from facts, the ledger, credits; written in sets."""

import datetime as dt
from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Computed,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import DATERANGE, JSONB
from sqlmodel import Field

from core.clusters.tables import HopsworksCluster
from core.db.table import Big, Json, Said, Small, Table, Words, column_of, numbered, stamped
from core.identity.tables import User
from core.rates.tables import RatePlanVersion


class Posting(Table, table=True):
    __tablename__ = "postings"
    __table_args__ = (PrimaryKeyConstraint("day", "no"),)

    day: dt.date
    no: int
    at: dt.datetime | None = stamped()
    entries: int


class PostedHour(Table, table=True):
    """An hour that a posting of its day brought to the books, and as of which revision."""

    __tablename__ = "posted_hours"
    __table_args__ = (PrimaryKeyConstraint("hour", "cluster_id", "posting_no"),)

    hour: dt.datetime
    cluster_id: int
    posting_no: int
    revision: int


class ClusterDay(Table, table=True):
    """A cluster's day that was posted; closed once it is over and its rows are written."""

    __tablename__ = "cluster_days"
    __table_args__ = (
        PrimaryKeyConstraint("cluster_id", "day"),
        Index("cluster_days_open", "day", postgresql_where=text("closed_at IS NULL")),
    )

    cluster_id: int = Field(foreign_key=column_of(HopsworksCluster, "id"))
    day: dt.date
    closed_at: dt.datetime | None = None


class UsageDaily(Table, table=True):
    """What a user used on a day of a cluster, and owes; without foreign keys, as allocations."""

    __tablename__ = "usage_daily"
    __table_args__ = (PrimaryKeyConstraint("date", "cluster_id", "user_no", "account_no"),)

    user_no: int
    account_no: int
    cluster_id: int
    date: dt.date
    opencost_cpu_nano: Big
    opencost_gpu_nano: Big
    opencost_ram_nano: Big
    opencost_pv_nano: Big
    opencost_network_nano: Big
    opencost_other_nano: Big
    opencost_total_nano: Big
    charge_nano: Big
    project_breakdown: Json = None


class IncludedUsedDaily(Table, table=True):
    """What an account used on a day under a plan version with something included."""

    __tablename__ = "included_used_daily"
    __table_args__ = (PrimaryKeyConstraint("date", "account_no", "plan_version_id"),)

    account_no: int = Field(foreign_key=column_of(User, "no"))
    date: dt.date
    plan_version_id: int = Field(foreign_key=column_of(RatePlanVersion, "id"))
    cpu_core_hours_micro: Big
    gpu_hours_micro: Big
    ram_byte_hours: Big
    pv_byte_hours: Big
    network_transfer_bytes: Big


class CostDaily(Table, table=True):
    """What every screen and report reads of a closed day; user 0 is nobody."""

    __tablename__ = "cost_daily"
    __table_args__ = (
        PrimaryKeyConstraint("date", "namespace_id", "user_no", "account_no", "kind"),
        Index("cost_daily_cluster", "cluster_id", "date"),
    )

    date: dt.date
    cluster_id: int
    namespace_id: int
    kind: Small
    user_no: int
    account_no: int
    hours: int
    cpu_nano: Big
    gpu_nano: Big
    ram_nano: Big
    pv_nano: Big
    network_nano: Big
    other_nano: Big
    total_nano: Big
    charge_nano: Big
    first_hour: dt.datetime
    last_hour: dt.datetime
    cpu_core_hours_micro: Big
    gpu_hours_micro: Big
    ram_byte_hours: Big
    pv_byte_hours: Big
    used_weighted_nano: Big


class BillingMode(Table, table=True):
    """How an account pays, from which day to which."""

    __tablename__ = "billing_modes"
    __table_args__ = (Index("billing_modes_account", "account_no", text("lower(valid)")),)

    id: int | None = numbered(big=True)
    account_no: int = Field(foreign_key=column_of(User, "no"))
    mode: Words
    valid: Annotated[Any, Field(sa_type=DATERANGE)]
    created_at: dt.datetime | None = stamped()
    created_by: Words


class UserCredits(Table, table=True):
    """An account's policy about its credits, and the marks of what was told."""

    __tablename__ = "user_credits"

    account_no: int = Field(
        primary_key=True,
        foreign_key=column_of(User, "no"),
        sa_column_kwargs={"autoincrement": False},
    )
    grace_nano: Big = 0
    low_nano: int | None = Field(default=None, sa_type=BigInteger)
    low_at: dt.datetime | None = None
    empty_at: dt.datetime | None = None
    beyond_at: dt.datetime | None = None


class LedgerCode(Table, table=True):
    __tablename__ = "ledger_codes"

    code: int = Field(
        primary_key=True, sa_type=SmallInteger, sa_column_kwargs={"autoincrement": False}
    )
    name: str = Field(sa_type=Text, unique=True)


class LedgerBalance(Table, table=True):
    __tablename__ = "ledger_balances"
    __table_args__ = (PrimaryKeyConstraint("account_no", "book"),)

    account_no: int = Field(foreign_key=column_of(User, "no"))
    book: Small
    balance_nano: Big = 0


class LedgerEntry(Table, table=True):
    """An amount that moved in one book against a code; never changed, never taken away."""

    __tablename__ = "ledger_entries"
    __table_args__ = (
        Index(
            "ledger_entries_posting",
            "account_no",
            "usage_day",
            "posting_no",
            "book",
            "contra",
            unique=True,
            postgresql_where=text("posting_no IS NOT NULL"),
        ),
        Index(
            "ledger_entries_ref",
            "account_no",
            "ref",
            unique=True,
            postgresql_where=text("ref IS NOT NULL"),
        ),
        Index("ledger_entries_payment", "ref", unique=True, postgresql_where=text("contra = 12")),
        Index("ledger_entries_days", "usage_day", "posted_on", postgresql_using="brin"),
        Index(
            "ledger_entries_moved",
            "posted_on",
            postgresql_where=text("posting_no IS NULL AND contra = 2"),
        ),
    )

    id: int | None = numbered(big=True)
    at: dt.datetime | None = stamped("clock_timestamp()")
    amount_nano: Big
    reverses: int | None = Field(default=None, sa_type=BigInteger)
    account_no: int
    book: Small
    contra: Small
    posted_on: dt.date
    usage_day: dt.date | None = None
    posting_no: int | None = None
    ref: Said = None
    memo: Said = None


class CreditLot(Table, table=True):
    """Credits as they came, and what is left of them."""

    __tablename__ = "credit_lots"
    __table_args__ = (
        Index(
            "credit_lots_open",
            *("account_no", "expires_on", "priority", "id"),
            postgresql_where=text("is_open"),
        ),
        Index("credit_lots_expiring", "expires_on", postgresql_where=text("expired_at IS NULL")),
    )

    id: int | None = numbered(big=True)
    account_no: int
    entry_id: int = Field(sa_type=BigInteger, unique=True)
    kind: Words
    amount_nano: Big
    remaining_nano: Big
    expires_on: dt.date | None = None
    priority: Small = 100
    expired_at: dt.datetime | None = None
    is_open: bool | None = Field(
        default=None, sa_column_args=[Computed("remaining_nano > 0", persisted=True)]
    )


class CreditDraw(Table, table=True):
    """What an entry took from a lot (negative), or gave back to it."""

    __tablename__ = "credit_draws"
    __table_args__ = (
        PrimaryKeyConstraint("entry_id", "lot_id"),
        Index("credit_draws_lot", "lot_id"),
    )

    entry_id: Big
    lot_id: Big
    amount_nano: Big


class ClosedMonth(Table, table=True):
    __tablename__ = "closed_months"

    month: dt.date = Field(primary_key=True)
    closed_at: dt.datetime | None = stamped()
    closed_by: Words
    why: Words = ""


class Statement(Table, table=True):
    """The figures of an account's month, as they were frozen when it was closed."""

    __tablename__ = "statements"
    __table_args__ = (PrimaryKeyConstraint("account_no", "month"),)

    account_no: int = Field(foreign_key=column_of(User, "no"))
    month: dt.date = Field(foreign_key=column_of(ClosedMonth, "month"))
    body: Annotated[Any, Field(sa_type=JSONB)]
    sha256: bytes = Field(sa_type=LargeBinary)


class OutgoingEvent(Table, table=True):
    """Something to tell the outside, kept until it arrived."""

    __tablename__ = "outgoing_events"
    __table_args__ = (
        Index("outgoing_events_due", "next_try_at", postgresql_where=text("state = 'due'")),
    )

    id: int | None = numbered(big=True)
    message_id: UUID | None = stamped("gen_random_uuid()", unique=True)
    type: Words
    account_no: int = Field(foreign_key=column_of(User, "no"))
    payload: Annotated[Any, Field(sa_type=JSONB)]
    created_at: dt.datetime | None = stamped()
    state: Words = "due"
    tries: int = 0
    next_try_at: dt.datetime | None = None
    delivered_at: dt.datetime | None = None
    error: Said = None
    lease_token: UUID | None = None
    lease_until: dt.datetime | None = None
