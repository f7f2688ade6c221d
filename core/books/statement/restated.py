"""What was changed of a month's hours after their charge was posted, while the month was open.

A posting keeps which hours it brought, as of which revision. An hour that was brought again under a
later one is laid beside itself, allocation by allocation: restated by the source, mapped late, or
priced by another plan.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from core.books.statement.figures import Restated, RestatedDay
from core.db.queries import queries_beside

_SQL = queries_beside(__file__)
DAYS_MAX: Final = 100
"""Rows that a statement lists: a cluster that is restated each day of a month is 31 of them."""
NAMESPACES_MAX: Final = 5
"""Named in a row."""

Connection = psycopg.Connection[Any]


def restated(
    connection: Connection, accounts: Sequence[int], since: datetime, until: datetime
) -> dict[int, Restated]:
    """Return what was changed of the hours in [since, until), for each account that has any."""
    values = {"accounts": list(accounts), "since": since, "until": until}
    found: dict[int, list[RestatedDay]] = defaultdict(list)
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(_SQL["restated"], values, prepare=False):
            found[row["account_no"]].append(_day(row))
    return {account: _bounded(days) for account, days in found.items()}


def _day(row: dict[str, Any]) -> RestatedDay:
    names = row["namespaces"]
    return RestatedDay(
        day=row["day"],
        cluster=row["cluster"],
        what=row["what"],
        namespaces=tuple(names[:NAMESPACES_MAX]),
        namespaces_more=max(0, len(names) - NAMESPACES_MAX),
        hours=tuple(row["hours"]),
        moved_nano=None if row["shares_free"] else row["moved_nano"],
    )


def _bounded(days: list[RestatedDay]) -> Restated:
    rest = days[DAYS_MAX:]
    return Restated(tuple(days[:DAYS_MAX]), len(rest), sum(each.moved_nano or 0 for each in rest))
