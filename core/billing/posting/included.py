"""Charge anew what is free in a month: what was used on a day moves what is free on the later ones.

The statements of a posting charge as if nothing were free. For the accounts that have something
included, and use on the posted day, this brings the daily rows of that day and of all later ones of
its month to what they are with it; the difference is entered like any other.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import psycopg

from core.db.queries import queries_beside

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


def accounts_with_included(
    connection: Connection, day: date, clusters: Sequence[int]
) -> frozenset[int]:
    """Return who has something included in the day's month, or had, and a row of these clusters.

    Before the daily rows are written it tells who had one, afterwards who has.
    """
    values = {"day": day, "clusters": list(clusters)}
    rows = connection.execute(_SQL["accounts_with_included"], values)
    return frozenset(row[0] for row in rows)


def charge_anew(
    connection: Connection,
    day: date,
    accounts: frozenset[int],
    ids: Sequence[int],
    hours: Sequence[datetime],
) -> dict[date, list[int]]:
    """Bring the charges of these accounts, from `day` to its month's end, to what is free of them.

    `ids` (of clusters) and `hours` are those that are being posted. Returns the days whose charges
    changed, with their clusters; what changed of an account's day is laid down.
    """
    values: dict[str, Any] = {"day": day, "accounts": sorted(accounts)}
    values |= {"ids": list(ids), "hours": list(hours)}
    connection.execute(_SQL["keep_used"], values)
    row = connection.execute(_SQL["last_day_charged"], values).fetchone()
    assert row is not None
    values["last"] = row[0] or day
    found: dict[date, list[int]] = {}
    for changed, cluster_id in connection.execute(_SQL["charge_anew"], values):
        found.setdefault(changed, []).append(cluster_id)
    return found
