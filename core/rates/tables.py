"""The tables of rates: plans, their dated versions, and which account pays by which plan."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from sqlalchemy import Index, Numeric, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import TSTZRANGE
from sqlmodel import Field

from core.db.table import Table, Words, column_of, numbered, stamped
from core.identity.tables import User


class RatePlan(Table, table=True):
    __tablename__ = "rate_plans"
    __table_args__ = (
        Index("rate_plans_default", "is_default", unique=True, postgresql_where=text("is_default")),
    )

    id: int | None = numbered()
    name: str = Field(sa_type=Text, unique=True)
    kind: Words
    is_default: bool = False


class RatePlanVersion(Table, table=True):
    """A plan from a moment on; a trigger sees to it that it never changes."""

    __tablename__ = "rate_plan_versions"
    __table_args__ = (UniqueConstraint("plan_id", "valid_from"),)

    id: int | None = numbered()
    plan_id: int = Field(foreign_key=column_of(RatePlan, "id"))
    valid_from: datetime
    factor: Decimal = Field(sa_type=Numeric(12, 6))


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
