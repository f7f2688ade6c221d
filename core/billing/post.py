"""Post: bring the daily rows and the ledger of touched days to what their allocations say.

Apart from the store, and as a difference: so it is the same whether it runs once or twice, after
every hour or after a crash. Each hour's `posted_no` takes the `stored_no` that was posted, in the
same transaction as the daily rows and the entries; what the daily rows change by is what is entered.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg

from core.billing.enter import enter_changes
from core.billing.marks import mark_accounts
from core.clock import day_of
from core.db.locks import Lock, take, try_take
from core.db.queries import queries_beside
from core.errors import PostingStuck

_SQL = queries_beside(__file__)
DAYS_MAX = 400
"""Days posted in one run; what is left stays marked and is taken up by the next."""
STUCK_NAMED_MAX = 3
FROZEN_S = 150.0
"""Above the longest statement: a poster whose backend waits for it so long is frozen."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class PostReport:
    """What one run of posting did: days, hours posted, daily rows and entries written, days closed."""

    days: int = 0
    hours: int = 0
    rows: int = 0
    closed: int = 0
    entries: int = 0


def post_due(connection: Connection, now: datetime, *, frozen_s: float = FROZEN_S) -> PostReport:
    """Post every touched day, one transaction each, and close the days that are over.

    Another poster is waited for; one whose process is frozen is ended after `frozen_s`.
    """
    days = connection.execute(_SQL["days_to_post"], {"limit": DAYS_MAX}).fetchall()
    hours = rows = entries = 0
    stuck: list[str] = []
    for (day,) in days:
        try:
            done = _post_day(connection, day, now, frozen_s)
        except psycopg.DataError as error:
            # Figures that nobody can add up: of this day alone, whatever let them in.
            stuck.append(f"{day}: {error.diag.message_primary}")
            continue
        hours += done.hours
        rows += done.rows
        entries += done.entries
    closed = _close_over(connection, now, frozen_s, stuck)
    mark_accounts(connection, now)
    if stuck:
        raise PostingStuck(
            f"These days cannot be posted or closed ({'; '.join(stuck[:STUCK_NAMED_MAX])});"
            " all others are. `hopsmeter books check` names the hours; have them read again with"
            " `hopsmeter collect CLUSTER --hour HOUR`."
        )
    return PostReport(len(days), hours, rows, closed, entries)


def _take_turn(connection: Connection, frozen_s: float) -> None:
    """Win the lock of posting, of which no timeout of the server's deprives every frozen holder.

    Its timeouts end one that is idle, or at a statement that takes too long; not one that is frozen
    while the server sends it an answer.
    """
    if not try_take(connection, Lock.POSTING):
        values = {"lock": int(Lock.POSTING), "frozen_s": frozen_s}
        connection.execute(_SQL["end_frozen_poster"], values)
        take(connection, Lock.POSTING)


@dataclass(frozen=True)
class _Posted:
    """What the posting of one day did."""

    rows: int = 0
    hours: int = 0
    entries: int = 0


def _post_day(connection: Connection, day: date, now: datetime, frozen_s: float) -> _Posted:
    """Post one day.

    The hours are read first, and only they and those posted before are summed: what is stored
    meanwhile is left to the next posting.
    """
    with connection.transaction():
        _take_turn(connection, frozen_s)
        seen = connection.execute(_SQL["unposted"], {"day": day}).fetchall()
        if not seen:
            return _Posted()
        clusters = sorted({cluster_id for cluster_id, *_ in seen})
        connection.execute(_SQL["changes"])
        connection.execute(_SQL["plan_for_sets"])
        written = _write_usage(connection, day, seen)
        connection.execute(_SQL["plan_as_usual"])
        entered = enter_changes(connection, day, day_of(now))
        ids, hours, numbers, _, revisions = (list(column) for column in zip(*seen, strict=True))
        marks = {"ids": ids, "hours": hours, "numbers": numbers, "revisions": revisions}
        number = {"no": entered.number, "entries": entered.entries}
        connection.execute(_SQL["posted"], {**marks, **number, "day": day, "clusters": clusters})
        if day < day_of(now):
            over = clusters
        else:
            rows = connection.execute(_SQL["closed_clusters"], {"day": day, "clusters": clusters})
            over = [row[0] for row in rows.fetchall()]
        if over:
            _close(connection, day, over, now)
        return _Posted(written, len(seen), entered.entries)


def _write_usage(connection: Connection, day: date, seen: list[tuple[Any, ...]]) -> int:
    """Add hours that were never posted; compute anew the day of a cluster with a revised one."""
    revised = {cluster_id for cluster_id, _, _, posted_no, _ in seen if posted_no}
    anew = [(each[0], each[1]) for each in seen if each[0] in revised]
    added = [(each[0], each[1]) for each in seen if each[0] not in revised]
    written = 0
    if anew:
        ids, hours = (list(column) for column in zip(*anew, strict=True))
        values = {"day": day, "clusters": sorted(revised), "ids": ids, "hours": hours}
        written += _count(connection.execute(_SQL["post_usage"], values))
    if added:
        ids, hours = (list(column) for column in zip(*added, strict=True))
        values = {
            "day": day,
            "ids": ids,
            "hours": hours,
            # Each once: the planner thinks of as many rows for each as there are in the array.
            "clusters": sorted(set(ids)),
            "each_hour": sorted(set(hours)),
        }
        written += _count(connection.execute(_SQL["add_usage"], values))
    return written


def _count(cursor: psycopg.Cursor[Any]) -> int:
    row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def _close_over(connection: Connection, now: datetime, frozen_s: float, stuck: list[str]) -> int:
    values = {"today": day_of(now), "limit": DAYS_MAX}
    closed = 0
    for day, clusters in connection.execute(_SQL["days_to_close"], values).fetchall():
        try:
            with connection.transaction():
                _take_turn(connection, frozen_s)
                _close(connection, day, clusters, now)
        except psycopg.DataError as error:
            stuck.append(f"{day}: {error.diag.message_primary}")
            continue
        closed += len(clusters)
    return closed


def _close(connection: Connection, day: date, clusters: list[int], now: datetime) -> None:
    values = {"day": day, "clusters": clusters, "now": now}
    connection.execute(_SQL["plan_for_sets"])
    for name in ("clear_cost_daily", "write_cost_daily", "write_breakdown", "close_days"):
        connection.execute(_SQL[name], values)
    connection.execute(_SQL["plan_as_usual"])
