"""The trail of who did what, in the transaction that does it: no trail, no change."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

import msgspec
import psycopg


class Actor(Protocol):
    """What the trail asks of a Principal; audit is the lowest room and imports nobody."""

    @property
    def actor(self) -> str: ...
    @property
    def via(self) -> str: ...
    @property
    def command_id(self) -> int | None: ...


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"the trail cannot keep a {type(value).__name__}")


def _json(values: Mapping[str, Any] | None) -> str | None:
    if values is None:
        return None
    return msgspec.json.encode(dict(values), enc_hook=_plain).decode()


def record(
    connection: psycopg.Connection[Any],
    who: Actor,
    action: str,
    subject: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    why: str = "",
) -> None:
    """Add one row: `action` was done to `subject`; never a secret in `before` or `after`."""
    connection.execute(
        "INSERT INTO hopsmeter.audit_log"
        " (actor, via, command_id, action, subject, before, after, why)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        [who.actor, who.via, who.command_id, action, subject, _json(before), _json(after), why],
    )
