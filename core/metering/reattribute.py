"""Stored hours follow the rules: each change of an owner or of a plan ends here.

The caller holds the lock ATTRIBUTION exclusively and has written the periods: no hour is stored by
the old rule after the new one was written, and those stored before become revisions.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from core.db.queries import queries_beside

_SQL = queries_beside(__file__)
_REATTRIBUTE = _SQL["reattribute"].replace(
    "{expected}", _SQL["expected_attribution"].removesuffix(";")
)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Moved:
    """The stored `hours` of a cluster that were revised: what they cost, and what is charged."""

    hours: int
    cost_nano: int
    charge_before_nano: int
    charge_after_nano: int


def raise_epoch(connection: Connection) -> None:
    """Let every store resolve anew whose an hour is and what prices it."""
    connection.execute(_SQL["raise_epoch"])


def reattribute(
    connection: Connection,
    cluster_id: int,
    names: list[str] | None,
    since: datetime | None,
    until: datetime | None,
    why: str,
) -> Moved:
    """Revise what the rules now say otherwise of a cluster's stored hours in [since, until).

    `names` are the namespaces that may be touched, None for all. Of several clusters, call it in
    the order of their ids, in which everybody locks windows.
    """
    raise_epoch(connection)
    values = {
        "cluster_id": cluster_id,
        "names": names,
        "since": since or "-infinity",
        "until": until or "infinity",
        "why": why,
    }
    connection.execute(_SQL["lock_windows"], values)
    row = connection.execute(_REATTRIBUTE, values).fetchone()
    assert row is not None
    connection.execute("SELECT pg_notify('hopsmeter_books', 'ownership')")
    # Lifetimes of a small currency fit no bigint, and come as Decimal.
    return Moved(*map(int, row))
