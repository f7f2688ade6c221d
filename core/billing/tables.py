"""The tables of the daily rows, which are derived from facts in sets (queries.sql)."""

import datetime as dt

from sqlalchemy import Index, PrimaryKeyConstraint, text
from sqlmodel import Field

from core.clusters.tables import HopsworksCluster
from core.db.table import Big, Json, Small, Table, column_of, stamped
from core.identity.tables import User


class Posting(Table, table=True):
    __tablename__ = "postings"
    __table_args__ = (PrimaryKeyConstraint("day", "no"),)

    day: dt.date
    no: int
    at: dt.datetime | None = stamped()


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
    __tablename__ = "usage_daily"
    __table_args__ = (PrimaryKeyConstraint("date", "cluster_id", "user_no", "account_no"),)

    user_no: int = Field(foreign_key=column_of(User, "no"))
    account_no: int = Field(foreign_key=column_of(User, "no"))
    cluster_id: int = Field(foreign_key=column_of(HopsworksCluster, "id"))
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
