"""The tables of hours: who owned what, which hours are there, what was said, what it came to.

They are written in sets (queries.sql) and by binary COPY (store), never an object at a time.
"""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import ARRAY, Index, PrimaryKeyConstraint, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import TSTZRANGE
from sqlmodel import Field

from core.clusters.tables import HopsworksCluster
from core.db.table import (
    Big,
    Bytes,
    Said,
    Small,
    Table,
    Words,
    column_of,
    numbered,
    stamped,
)
from core.identity.tables import User


class UserProject(Table, table=True):
    """Whose a namespace is, from when to when, in whole hours."""

    __tablename__ = "user_projects"
    __table_args__ = (
        Index("user_projects_user", "user_no"),
        Index("user_projects_cluster", "cluster_id"),
    )

    id: int | None = numbered(big=True)
    cluster_id: int = Field(foreign_key=column_of(HopsworksCluster, "id"))
    namespace: Words
    user_no: int = Field(foreign_key=column_of(User, "no"))
    project: Words = ""
    valid: Annotated[Any, Field(sa_type=TSTZRANGE)]
    source: Words = "hand"
    created_at: datetime | None = stamped()
    created_by: Words


class OwnershipEpoch(Table, table=True):
    """One row, raised by everything that changes who owns what."""

    __tablename__ = "ownership_epoch"

    one: bool = Field(default=True, primary_key=True)
    epoch: Big


class CollectionWindow(Table, table=True):
    """The ledger of hours."""

    __tablename__ = "collection_windows"
    __table_args__ = (
        PrimaryKeyConstraint("cluster_id", "hour"),
        Index("windows_due", "next_try_at", postgresql_where=text("next_try_at IS NOT NULL")),
        Index("windows_leased", "lease_until", postgresql_where=text("lease_until IS NOT NULL")),
        Index("windows_unposted", "hour", postgresql_where=text("stored_no <> posted_no")),
        Index(
            "windows_unsettled", "cluster_id", "state", postgresql_where=text("state <> 'settled'")
        ),
    )

    cluster_id: int = Field(foreign_key=column_of(HopsworksCluster, "id"))
    hour: datetime
    state: Words = "due"
    tries: int = 0
    next_try_at: datetime | None = None
    fault: Said = None
    why: Words = ""
    accepted: bool = False
    decided_by: Said = None
    flags: list[str] = Field(default_factory=list, sa_type=ARRAY(Text))
    revision: int = 0
    raw_sha256: Bytes = None
    row_count: int = 0
    total_nano: Big = 0
    pending_sha256: Bytes = None
    collected_at: datetime | None = None
    settled_at: datetime | None = None
    stored_no: Big = 0
    posted_no: Big = 0
    lease_token: UUID | None = None
    lease_until: datetime | None = None
    lease_pid: int | None = None
    lease_by: Said = None


class RawAnswer(Table, table=True):
    """What OpenCost said, once per distinct answer; in monthly partitions."""

    __tablename__ = "raw_answers"
    __table_args__ = (PrimaryKeyConstraint("hour", "cluster_id", "sha256"),)

    hour: datetime
    cluster_id: int
    sha256: bytes
    size_bytes: int
    body: Bytes = None
    asked_at: datetime
    verdict: Words


class Facts(Table):
    """What one namespace used and cost in one hour: the columns of a fact and of its history."""

    hour: datetime
    namespace_id: int
    cluster_id: int
    kind: Small
    flags: Small
    revision: int
    user_no: int | None = None
    account_no: int | None = None
    plan_version_id: int | None = None
    cpu_nano: Big
    gpu_nano: Big
    ram_nano: Big
    pv_nano: Big
    network_nano: Big
    load_balancer_nano: Big
    shared_nano: Big
    external_nano: Big
    adjustment_nano: Big
    rounding_nano: Big
    total_nano: Big
    cpu_core_hours_micro: Big
    gpu_hours_micro: Big
    ram_byte_hours: Big
    pv_byte_hours: Big
    network_transfer_bytes: Big
    network_receive_bytes: Big
    minutes_micro: Big
    efficiency_ppm: int


class Allocation(Facts, table=True):
    """The current revision; in monthly partitions."""

    __tablename__ = "allocations"
    __table_args__ = (PrimaryKeyConstraint("hour", "namespace_id"),)


class AllocationHistory(Facts, table=True):
    """The revisions that were replaced; append-only."""

    __tablename__ = "allocation_history"
    __table_args__ = (PrimaryKeyConstraint("hour", "namespace_id", "revision"),)

    replaced_at: datetime | None = stamped()
    replaced_why: Words
    raw_sha256: Bytes = None


class AllocationKind(Table, table=True):
    """The words for `kind`; migrations fill it."""

    __tablename__ = "allocation_kinds"

    kind: int = Field(primary_key=True, sa_type=SmallInteger)
    name: str = Field(sa_type=Text, unique=True)
