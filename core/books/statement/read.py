"""The statement of an account for a month: the frozen figures of a closed one, else as it stands now."""

from datetime import datetime
from typing import Any

import psycopg

from core.books.readers import readable_payer
from core.books.statement.build import build, is_closed
from core.books.statement.figures import Presented, read
from core.clock import last_closed_hour, month_bounds
from core.db.queries import queries_beside
from core.errors import InputFault
from core.identity.principal import Principal

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


def statement(
    connection: Connection, principal: Principal, account: str, month: str, now: datetime
) -> Presented:
    """Return an account's (id or e-mail) statement for a month such as 2026-03, of one snapshot."""
    first, after = month_bounds(month)
    if first > now.date():
        raise InputFault(f"{month} has not begun; there is nothing to state.")
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        payer = readable_payer(connection, principal, account)
        values = {"account_no": payer.no, "first": first}
        frozen = connection.execute(_SQL["frozen"], values).fetchone()
        if frozen is not None:
            body, sha256, closed_at = frozen
            return Presented(read(body), sha256.hex(), closed_at)
        built = build(
            connection,
            [payer.no],
            first,
            after,
            last_closed_hour(now),
            is_closed=is_closed(connection, first),
        )
        return Presented(built[payer.no], None, None)
