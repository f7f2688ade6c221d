"""What the outside is told of accounts: an event that waits until it is delivered, and its audit."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from core.audit.trail import record
from core.identity.principal import DAEMON


def tell_outside(
    connection: psycopg.Connection[Any],
    account_no: int,
    account: str,
    kind: str,
    data: Mapping[str, Any],
    now: datetime,
    *,
    after: Mapping[str, Any],
) -> None:
    """Leave an event about an account, and a row in the trail with what is so then (`after`)."""
    payload = {
        "type": kind,
        "timestamp": now.isoformat(),
        "data": {"account": account, **data},
    }
    connection.execute(
        "INSERT INTO hopsmeter.outgoing_events (type, account_no, payload) VALUES (%s, %s, %s)",
        [kind, account_no, Jsonb(payload)],
    )
    record(connection, DAEMON, kind, f"account {account}", after=after)
