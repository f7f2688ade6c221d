"""How a connection is opened: timeouts on the server's side, UTC, a name that pg_stat shows."""

from typing import Any
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from core.errors import DatabaseFault

CONNECT_TIMEOUT_S = 5
LOCK_TIMEOUT_MS = 10_000
STATEMENT_TIMEOUT_MS = 120_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 60_000
"""All three below a lease, so that the server ends a lost client before its lease does."""


def connect(
    url: str, *, name: str, read_only: bool = False, autocommit: bool = True
) -> psycopg.Connection[TupleRow]:
    """Open one connection; DatabaseFault (without the password) where that is not possible.

    The settings are sent as statements, not as start-up options: poolers refuse the latter.
    """
    try:
        connection = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name=name,
        )
    except psycopg.OperationalError as error:
        raise DatabaseFault(f"{place(url)} cannot be reached: {_reason(error)}") from None
    connection.execute(
        "SELECT set_config('timezone', 'UTC', false),"
        " set_config('lock_timeout', %s, false),"
        " set_config('statement_timeout', %s, false),"
        " set_config('idle_in_transaction_session_timeout', %s, false)",
        [str(LOCK_TIMEOUT_MS), str(STATEMENT_TIMEOUT_MS), str(IDLE_IN_TRANSACTION_TIMEOUT_MS)],
    )
    connection.read_only = read_only or None
    connection.autocommit = autocommit
    return connection


def place(url: str) -> str:
    """Say where a database is, without user or password."""
    parts = conninfo_to_dict(url)
    host = parts.get("host") or "the local socket"
    return f"database {parts.get('dbname', '?')} at {host}"


def _reason(error: psycopg.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else "no reason given"


def sqlalchemy_url(url: str) -> str:
    """Turn a psycopg conninfo or URL into one that SQLAlchemy hands to psycopg unchanged."""
    parts: dict[str, Any] = conninfo_to_dict(make_conninfo(url))
    query = "&".join(f"{key}={quote(str(value), safe='')}" for key, value in parts.items())
    return f"postgresql+psycopg://?{query}"
