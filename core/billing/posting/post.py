"""Post: bring the daily rows and the ledger of touched days to what their allocations say.

Apart from the store, and as a difference: so it is the same whether it runs once or twice, after
every hour or after a crash. Each hour's `posted_no` takes the `stored_no` that was posted, in the
same transaction as the daily rows and the entries; what the daily rows change by is what is entered.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg

from core.billing.posting.enter import Turn, enter_changes, enter_later_days
from core.billing.posting.included import accounts_with_included, charge_anew
from core.clock import day_of
from core.db.begin import beginning_with
from core.db.locks import Lock, take, trying
from core.db.queries import queries_beside
from core.errors import PostingStuck

_SQL = queries_beside(__file__)
_BEGIN = _SQL["changes"] + _SQL["plan_for_sets"] + _SQL["made_again_if_lost"]
DAYS_MAX = 400
"""Days posted in one run; what is left stays marked and is taken up by the next."""
STUCK_NAMED_MAX = 3
FROZEN_S = 150.0
"""Above the longest statement: a poster whose backend waits for it so long is frozen."""
_STUCK = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.RaiseException,
    psycopg.errors.NoDataFound,
)
"""Figures that nobody can add up, or books that somebody changed by hand: trouble of one day alone,
whatever let it in, and no reason to keep all others from being posted."""

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
    limits = {"limit": DAYS_MAX, "today": day_of(now)}
    due = connection.execute(_SQL["days_due"], limits).fetchall()
    days = [day for day, to_post in due if to_post]
    done: list[_Posted] = []
    stuck: list[str] = []
    for day in days:
        try:
            done.append(_post_day(connection, day, now, frozen_s))
        except _STUCK as error:
            stuck.append(f"{day}: {error.diag.message_primary}")
    # Days that are posted now, and over, are closed with that.
    closed = _close_over(connection, now, frozen_s, stuck) if len(due) > len(days) else 0
    if stuck:
        raise PostingStuck(
            f"These days cannot be posted or closed ({'; '.join(stuck[:STUCK_NAMED_MAX])});"
            " all others are. `hopsmeter books check` names the hours or accounts; have hours read"
            " again with `hopsmeter collect CLUSTER --hour HOUR`."
        )
    return PostReport(
        len(days),
        sum(each.hours for each in done),
        sum(each.rows for each in done),
        closed,
        sum(each.entries for each in done),
    )


@contextmanager
def _in_turn(connection: Connection, frozen_s: float, *, then: str = "") -> Iterator[None]:
    """Hold a transaction and the lock of posting, of which no server's timeout deprives every frozen holder.

    The server's timeouts end one that is idle, or at a statement that takes too long; not one that is
    frozen while the server sends it an answer. `then` are statements without parameters, on the same way.
    """
    with beginning_with(connection, trying(Lock.POSTING) + then.encode()) as cursor:
        if cursor.fetchone() != (True,):
            values = {"lock": int(Lock.POSTING), "frozen_s": frozen_s}
            connection.execute(_SQL["end_frozen_poster"], values)
            take(connection, Lock.POSTING)
        yield


@dataclass(frozen=True)
class _Seen:
    """An hour that was stored, or changed, since it was posted."""

    cluster_id: int
    hour: datetime
    stored_no: int
    posted_no: int
    revision: int


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
    with _in_turn(connection, frozen_s, then=_BEGIN):
        at = {"day": day, "today": max(day, day_of(now))}
        rows = sorted(connection.execute(_SQL["unposted"], at).fetchall())
        if not rows:
            return _Posted()
        seen = [_Seen(*row[:5]) for row in rows]
        turn = Turn(day, max(day, day_of(now)), number=rows[0][5], posted_on=rows[0][6])
        some_included: bool = rows[0][7]
        clusters = sorted({each.cluster_id for each in seen})
        had = accounts_with_included(connection, day, clusters) if some_included else frozenset()
        written = _write_usage(connection, day, seen)
        anew = _write_included(connection, day, seen, had) if some_included else {}
        entries = enter_changes(connection, turn)
        later = enter_later_days(connection, turn) if anew else 0
        closed = _mark_posted(connection, turn, seen, clusters, entries)
        over = clusters if day < day_of(now) else closed
        if over:
            _close(connection, day, over, now)
        for each, touched in anew.items():
            others = [cluster for cluster in touched if each != day or cluster not in over]
            _close_again(connection, each, others, now)
        return _Posted(written, len(seen), entries + later)


def _write_included(
    connection: Connection, day: date, seen: list[_Seen], had: frozenset[int]
) -> dict[date, list[int]]:
    """Bring the charges of who has something included to what is free; return what that changed.

    Of `had` the daily rows of these hours may be gone, and what was free of them is free again.
    """
    ids = [each.cluster_id for each in seen]
    accounts = had | accounts_with_included(connection, day, sorted(set(ids)))
    hours = [each.hour for each in seen]
    return charge_anew(connection, day, accounts, ids, hours) if accounts else {}


def _mark_posted(
    connection: Connection, turn: Turn, seen: list[_Seen], clusters: list[int], entries: int
) -> list[int]:
    """Note which hours are posted; return those of the clusters whose day is closed already."""
    row = connection.execute(
        _SQL["posted"],
        {
            "ids": [each.cluster_id for each in seen],
            "hours": [each.hour for each in seen],
            "numbers": [each.stored_no for each in seen],
            "revisions": [each.revision for each in seen],
            "no": turn.number,
            "entries": entries,
            "day": turn.day,
            "clusters": clusters,
        },
    ).fetchone()
    assert row is not None
    closed: list[int] = row[1]
    return closed


def _write_usage(connection: Connection, day: date, seen: list[_Seen]) -> int:
    """Add hours that were never posted; compute anew the day of a cluster with a revised one."""
    revised = {each.cluster_id for each in seen if each.posted_no}
    anew = [each for each in seen if each.cluster_id in revised]
    written = 0
    if anew:
        values = {
            "day": day,
            "clusters": sorted(revised),
            "ids": [each.cluster_id for each in anew],
            "hours": [each.hour for each in anew],
        }
        written += _count(connection.execute(_SQL["post_usage"], values))
    added = [each for each in seen if each.cluster_id not in revised]
    for hours, clusters in _alike(added).items():
        values = {"day": day, "hours": list(hours), "clusters": clusters}
        written += connection.execute(_SQL["add_usage"], values).rowcount
    return written


def _alike(seen: list[_Seen]) -> dict[tuple[datetime, ...], list[int]]:
    """Return clusters by the hours that each has: mostly there is one hour, and all have it."""
    by_cluster: dict[int, list[datetime]] = {}
    for each in seen:
        by_cluster.setdefault(each.cluster_id, []).append(each.hour)
    found: dict[tuple[datetime, ...], list[int]] = {}
    for cluster_id, hours in by_cluster.items():
        found.setdefault(tuple(sorted(hours)), []).append(cluster_id)
    return found


def _count(cursor: psycopg.Cursor[Any]) -> int:
    row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def _close_over(connection: Connection, now: datetime, frozen_s: float, stuck: list[str]) -> int:
    values = {"today": day_of(now), "limit": DAYS_MAX}
    closed = 0
    for day, clusters in connection.execute(_SQL["days_to_close"], values).fetchall():
        try:
            with _in_turn(connection, frozen_s):
                _close(connection, day, clusters, now)
        except _STUCK as error:
            stuck.append(f"{day}: {error.diag.message_primary}")
            continue
        closed += len(clusters)
    return closed


def _close_again(connection: Connection, day: date, clusters: list[int], now: datetime) -> None:
    """Write the rows of those clusters anew whose day is closed."""
    values = {"day": day, "clusters": clusters}
    over = [row[0] for row in connection.execute(_SQL["closed_clusters"], values).fetchall()]
    if over:
        _close(connection, day, over, now)


def _close(connection: Connection, day: date, clusters: list[int], now: datetime) -> None:
    values = {"day": day, "clusters": clusters, "now": now}
    connection.execute(_SQL["plan_for_sets"])
    for name in ("clear_cost_daily", "write_cost_daily", "write_breakdown", "close_days"):
        connection.execute(_SQL[name], values)
    connection.execute(_SQL["plan_as_usual"])
