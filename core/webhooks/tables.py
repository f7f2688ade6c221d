"""The table of events from outside."""

import datetime as dt
from typing import Any
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB

from core.db.table import Bytes, Said, Table, Words, numbered, stamped


class WebhookEvent(Table, table=True):
    """A verified delivery, kept before it is answered; ids alone, since all else is fetched."""

    __tablename__ = "webhook_events"
    __table_args__ = (
        UniqueConstraint("source", "event_id"),
        Index("webhook_events_due", "next_try_at", postgresql_where=text("state = 'due'")),
        Index(
            *("webhook_events_open", "state", "received_at"),
            postgresql_where=text("state <> 'done'"),
        ),
        Index("webhook_events_held", "subject", postgresql_where=text("lease_token IS NOT NULL")),
    )

    id: int | None = numbered(big=True)
    source: Words
    event_id: Words
    type: Words
    subject: Words
    created_at: dt.datetime | None = None
    received_at: dt.datetime | None = stamped("clock_timestamp()")
    deliveries: int = 1
    came: Words = "delivered"
    livemode: bool | None = None
    api_version: Said = None
    about: Any = stamped("'{}'", sa_type=JSONB)
    body_sha256: Bytes = None
    note: Said = None
    state: Words = "due"
    tries: int = 0
    next_try_at: dt.datetime | None = stamped("clock_timestamp()")
    done_at: dt.datetime | None = None
    said: Said = None
    error: Said = None
    lease_token: UUID | None = None
    lease_until: dt.datetime | None = None
