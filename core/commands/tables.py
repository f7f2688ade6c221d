"""The table of what people ask for."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from core.db.table import Json, Name, Said, Table, Words, numbered, stamped


class Command(Table, table=True):
    """One command. Terminals and leases write it in plain SQL: rights go by column, locks by row."""

    __tablename__ = "commands"
    __table_args__ = (
        Index("commands_open", "id", postgresql_where=text("state IN ('submitted', 'working')")),
    )

    id: int | None = numbered(big=True)
    key: UUID = Field(unique=True)
    role: Name | None = stamped("session_user")
    person: Said = None
    name: Words
    arguments: dict[str, Any] = Field(default_factory=dict, sa_type=JSONB)
    sealed: Json = None
    dry_run: bool = False
    why: Words = ""
    state: Words = "submitted"
    result: Json = None
    error: Said = None
    tries: int = 0
    lease_token: UUID | None = None
    lease_until: datetime | None = None
    lease_pid: int | None = None
    submitted_at: datetime | None = stamped()
    ended_at: datetime | None = None
