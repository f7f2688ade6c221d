"""The tables of rates: plans, their dated versions, and which account pays by which plan."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from sqlalchemy import Index, Numeric, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import TSTZRANGE
from sqlmodel import Field

from core.db.table import Said, Table, Words, column_of, numbered, stamped
from core.identity.tables import User

Factor = Annotated[Decimal | None, Field(sa_type=Numeric(12, 6))]
Price = Annotated[Decimal | None, Field(sa_type=Numeric(15, 9))]
Included = Annotated[Decimal | None, Field(sa_type=Numeric(16, 6))]


class RatePlan(Table, table=True):
    __tablename__ = "rate_plans"
    __table_args__ = (
        Index("rate_plans_default", "is_default", unique=True, postgresql_where=text("is_default")),
    )

    id: int | None = numbered()
    name: str = Field(sa_type=Text, unique=True)
    kind: Words
    is_default: bool = False
    currency: Said = None
    """Of its prices; None: that of whatever cluster the cost is of."""


class RatePlanVersion(Table, table=True):
    """A plan from a moment on; a trigger sees to it that it never changes.

    A factor, and those of single kinds of cost; or prices, and what is free in a month.
    """

    __tablename__ = "rate_plan_versions"
    __table_args__ = (UniqueConstraint("plan_id", "valid_from"),)

    id: int | None = numbered()
    plan_id: int = Field(foreign_key=column_of(RatePlan, "id"))
    valid_from: datetime
    factor: Factor = None
    cpu_factor: Factor = None
    gpu_factor: Factor = None
    ram_factor: Factor = None
    pv_factor: Factor = None
    network_factor: Factor = None
    load_balancer_factor: Factor = None
    shared_factor: Factor = None
    external_factor: Factor = None
    cpu_price: Price = None
    gpu_price: Price = None
    ram_price: Price = None
    pv_price: Price = None
    network_price: Price = None
    cpu_included: Included = None
    gpu_included: Included = None
    ram_included: Included = None
    pv_included: Included = None
    network_included: Included = None


class PlanAssignment(Table, table=True):
    """Which plan an account pays by, from when to when, in whole hours."""

    __tablename__ = "plan_assignments"
    __table_args__ = (Index("plan_assignments_plan", "plan_id"),)

    id: int | None = numbered(big=True)
    account_no: int = Field(foreign_key=column_of(User, "no"))
    plan_id: int = Field(foreign_key=column_of(RatePlan, "id"))
    valid: Annotated[Any, Field(sa_type=TSTZRANGE)]
    created_at: datetime | None = stamped()
    created_by: Words
