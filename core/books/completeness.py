"""Which hours of a time are not in the books, or not for good, cluster by cluster and with the reason."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from core.clock import HOUR
from core.db.queries import queries_beside

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class HourSpan:
    """Hours of one cluster that follow each other and are in one state, for one reason."""

    state: str
    """As the ledger of hours has it; `missing` where it has no row."""
    why: str
    first: datetime
    last: datetime
    hours: int


@dataclass(frozen=True)
class ClusterHours:
    """One cluster's hours in a time: how many there are, how many are stored, and the others."""

    cluster: str
    hours: int
    stored: int
    spans: tuple[HourSpan, ...]


def hours_of(
    connection: Connection, since: datetime, until: datetime, newest: datetime
) -> tuple[ClusterHours, ...]:
    """Return every cluster that was metered in [since, until), by name; `newest` is the last closed."""
    values = {"since": since, "until": until, "newest": newest}
    counted = connection.execute(_SQL["hours_counted"], values).fetchall()
    spans: dict[str, list[HourSpan]] = defaultdict(list)
    for cluster, hour, state, why in connection.execute(_SQL["hours_unsettled"], values).fetchall():
        known = spans[cluster]
        if known and (known[-1].state, known[-1].why, known[-1].last + HOUR) == (state, why, hour):
            before = known.pop()
            known.append(HourSpan(state, why, before.first, hour, before.hours + 1))
        else:
            known.append(HourSpan(state, why, hour, hour, 1))
    return tuple(
        ClusterHours(cluster, hours, stored, tuple(spans[cluster]))
        for cluster, hours, stored in counted
    )


def clusters_of(
    connection: Connection, accounts: Sequence[int], since: datetime, until: datetime
) -> dict[int, frozenset[str]]:
    """Return for each account the clusters on which somebody of it had a namespace, or a charge."""
    values = {"accounts": list(accounts), "since": since, "until": until}
    found: dict[int, set[str]] = {account: set() for account in accounts}
    for account_no, cluster in connection.execute(_SQL["clusters_of"], values).fetchall():
        found[account_no].add(cluster)
    return {account: frozenset(names) for account, names in found.items()}
