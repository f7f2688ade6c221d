"""The table of the trail."""

from datetime import datetime

from sqlalchemy import BigInteger, Index
from sqlmodel import Field

from core.db.table import Json, Name, Table, Words, numbered, stamped


class AuditEntry(Table, table=True):
    """One row; `trail.record` writes it in one plain statement, which asks for nothing back."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("audit_log_subject", "subject", "id"),)

    id: int | None = numbered(big=True)
    at: datetime | None = stamped()
    actor: Words
    via: Words
    role: Name | None = stamped("session_user")
    command_id: int | None = Field(default=None, sa_type=BigInteger)
    action: Words
    subject: Words
    before: Json = None
    after: Json = None
    why: Words = ""
