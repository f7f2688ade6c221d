"""The tables of people, and of who they log in as."""

from datetime import datetime

from sqlalchemy import Index, Text, text
from sqlmodel import Field

from core.db.table import Name, Said, Table, Words, column_of, numbered, stamped


class User(Table, table=True):
    __tablename__ = "users"
    __table_args__ = (
        Index("users_email", text("lower(email)")),
        Index("users_stripe_customer", "stripe_customer_id", unique=True),
        Index("users_stripe_subscription", "stripe_subscription_id", unique=True),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    no: int | None = numbered(key=False)
    email: Words
    name: Words = ""
    account_owner_id: str | None = Field(
        default=None, sa_type=Text, foreign_key="hopsmeter.users.id"
    )
    is_admin: bool = False
    status: Words = "active"
    billing_mode: Words = "postpaid"
    stripe_customer_id: Said = None
    stripe_subscription_id: Said = None
    hopsworks_username: Said = None
    created_at: datetime | None = stamped()
    currency: Said = None


class Login(Table, table=True):
    __tablename__ = "logins"

    role: Name = Field(primary_key=True)
    user_id: str = Field(sa_type=Text, foreign_key=column_of(User, "id"))
    may_assert: bool = False
    created_at: datetime | None = stamped()
