"""How a connection is opened: timeouts on the server's side, UTC, a name that pg_stat shows."""

import os
import socket
from typing import Any, Final
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from core.errors import DatabaseFault

CONNECT_TIMEOUT_S = 5
LOCK_TIMEOUT_MS = 10_000
STATEMENT_TIMEOUT_MS = 120_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 60_000
"""All three below the usual lease, so that the server ends a lost client before its lease does."""

SEND_BUFFER_BYTES = 2**20
"""For a server on this machine: what we write while it is busy with what we wrote before."""
KEEPALIVE_IDLE_S = 15
KEEPALIVE_INTERVAL_S = 5
KEEPALIVE_TRIES_MAX = 3
UNANSWERED_MAX_MS = 30_000
"""A server that vanished without a word (power, firewall, failover) is known to be gone after half a
minute, whether we wait for its answer or it owes the receipt of what we sent. Left to the kernel it
takes two hours for the first and a quarter of an hour for the second."""
_LOST_SERVER: Final = {
    "keepalives_idle": KEEPALIVE_IDLE_S,
    "keepalives_interval": KEEPALIVE_INTERVAL_S,
    "keepalives_count": KEEPALIVE_TRIES_MAX,
    "tcp_user_timeout": UNANSWERED_MAX_MS,
}
OURS: Final = {"client_encoding": "UTF8"}
"""What no URL decides either: psycopg reads and writes other text only where it must."""
NO_OPTIONS: Final = {"options": ""}
"""Said, and empty, it keeps libpq from taking PGOPTIONS, and nothing is sent."""
STYLES: Final = (
    "set_config('timezone', 'UTC', false),"
    " set_config('datestyle', 'ISO, MDY', false),"
    " set_config('intervalstyle', 'postgres', false)"
)
"""What psycopg can read. libpq sends PGDATESTYLE and PGTZ after all options, and roles and databases
have settings of their own, so this is said once the connection is open."""
_NEVER_WRITES: Final = ", set_config('default_transaction_read_only', 'on', false)"
_OPENINGS: Final = ("connection failed: ", "connection is bad: ")


def connect(
    url: str, *, name: str, read_only: bool = False, autocommit: bool = True
) -> psycopg.Connection[TupleRow]:
    """Open one connection; DatabaseFault (without the password) where that is not possible.

    The settings are sent as statements, not as start-up options: poolers refuse the latter. What
    the URL itself says about a lost server goes first; what PGOPTIONS, PGCLIENTENCODING, PGDATESTYLE
    and PGTZ say is not asked for.
    """
    try:
        said = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # Its text quotes what it stumbled over, and that may be half of a password.
        raise DatabaseFault(
            "The database URL cannot be read; write it like postgresql://user@host/name."
        ) from None
    try:
        connection = psycopg.connect(
            make_conninfo("", **{**_LOST_SERVER, **NO_OPTIONS, **said, **OURS}),
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name=name,
        )
    except psycopg.OperationalError as error:
        raise unreachable(url, error) from None
    connection.execute(
        f"SELECT {STYLES},"
        " set_config('lock_timeout', %s, false),"
        " set_config('statement_timeout', %s, false),"
        " set_config('idle_in_transaction_session_timeout', %s, false)"
        # psycopg says it at BEGIN alone, and a statement by itself has none.
        f"{_NEVER_WRITES if read_only else ''}",
        [str(LOCK_TIMEOUT_MS), str(STATEMENT_TIMEOUT_MS), str(IDLE_IN_TRANSACTION_TIMEOUT_MS)],
    )
    _widen(connection)
    connection.read_only = read_only or None
    connection.autocommit = autocommit
    return connection


def _widen(connection: psycopg.Connection[Any]) -> None:
    """Let a local socket hold more than the kernel's 200 kB; TCP finds its size by itself."""
    if not connection.info.host.startswith("/"):
        return
    with socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)


def unreachable(url: str, error: psycopg.Error) -> DatabaseFault:
    """Return what is to be told where no connection could be opened."""
    return DatabaseFault(f"{place(url)} cannot be reached: {_reason(error)}")


def place(url: str) -> str:
    """Say where a database is, without user or password."""
    parts = conninfo_to_dict(url)
    host = parts.get("host") or "the local socket"
    return f"database {parts.get('dbname', '?')} at {host}"


def _reason(error: psycopg.Error) -> str:
    """Return what libpq says first; below it stand advice, and one try after the other."""
    first = str(error).strip().partition("\n")[0]
    for opening in _OPENINGS:
        first = first.removeprefix(opening)
    return first or "no reason given"


def sqlalchemy_url(url: str) -> str:
    """Turn a psycopg conninfo or URL into one that SQLAlchemy hands to psycopg unchanged."""
    parts: dict[str, Any] = conninfo_to_dict(make_conninfo(url))
    query = "&".join(f"{key}={quote(str(value), safe='')}" for key, value in parts.items())
    return f"postgresql+psycopg://?{query}"
