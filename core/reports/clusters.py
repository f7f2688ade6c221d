"""Clusters as a list shows them: how they are, what is collected, what they cost."""

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row

from core.clock import HOUR, day_of, day_start
from core.db.queries import queries_beside

_SQL = queries_beside(__file__)

FAILING_FROM = 3
"""Asks that failed in a row, from which a cluster is said to fail and not just to be retried."""
NEWEST_HOURS = 3
"""So many of the newest hours failed or refused mean the same, though each visit ends well."""
BEHIND_AFTER = 2 * HOUR
"""An open hour older than this means that the cluster is still being caught up with."""

Health = Literal["ok", "catching up", "retrying", "failing", "decide", "paused", "new"]


@dataclass(frozen=True)
class HourCounts:
    """How many hours of a cluster stand in which state; collecting ones count there alone."""

    due: int
    collecting: int
    collected: int
    settled: int
    failed: int
    refused: int
    held: int
    gap: int
    waived: int

    @property
    def kept(self) -> int:
        """Hours whose cost is in the books."""
        return self.collected + self.settled + self.held

    @property
    def asked_for(self) -> int:
        """All hours but those that nobody will ask for."""
        return self.kept + self.due + self.collecting + self.failed + self.refused + self.gap


_COUNTED = tuple(field.name for field in fields(HourCounts) if field.name != "settled")


@dataclass(frozen=True)
class ClusterLine:
    """One cluster; `newest_nano` is the cost of `newest_hour`, the last one in the books.

    `faulted` hours failed and are tried again, the newest of them for `fault`; `rereads_refused`
    are in the books, but what OpenCost says of them now waits for a person.
    """

    id: int
    name: str
    currency: str
    status: str
    status_why: str
    transport: str
    metering_since: datetime
    last_asked_at: datetime | None
    last_answered_at: datetime | None
    last_outcome: str
    failures: int
    next_visit_at: datetime | None
    credentials_expire_at: datetime | None
    hours: HourCounts
    oldest_open: datetime | None
    newest_hour: datetime | None
    newest_nano: int
    today_nano: int
    rereads_refused: int
    faulted: int
    fault: str
    health: Health

    @property
    def undecided(self) -> int:
        """Hours that wait for a person."""
        return self.hours.refused + self.hours.held + self.rereads_refused

    @property
    def said(self) -> str:
        """Say why it is as it is."""
        if self.status == "paused":
            return self.status_why
        return self.outcome

    @property
    def outcome(self) -> str:
        """Say how the last visit ended, or what OpenCost has not told though it ended well."""
        if self.faulted and self.last_outcome in ("", "ok"):
            return f"{hours_text(self.faulted)} failed: {self.fault}"
        return self.last_outcome


def clusters(
    connection: psycopg.Connection[Any], now: datetime, *, cluster: str | None = None
) -> tuple[ClusterLine, ...]:
    """Return the clusters that are not removed (or the one of that name), by name.

    Costs come from the ledger of hours, whose totals equal their allocations (invariant 1).
    """
    day = day_start(day_of(now))
    with connection.cursor(row_factory=dict_row) as cursor:
        given = {"now": now, "day_start": day, "cluster": cluster, "newest": NEWEST_HOURS}
        cursor.execute(_SQL["clusters"], given)
        return tuple(_line(row, now) for row in cursor)


def _line(row: dict[str, Any], now: datetime) -> ClusterLine:
    counts = {name: row.pop(name) for name in _COUNTED}
    hours = HourCounts(settled=row.pop("span") - sum(counts.values()), **counts)
    oldest_open = row["oldest_open"]
    word = health(
        status=row["status"],
        # A first visit may take long, and is written down at its end.
        asked=row["last_asked_at"] is not None or hours.kept + hours.collecting > 0,
        failures=row["failures"],
        faulted=row["faulted"],
        newest_fail=row.pop("newest_fail"),
        undecided=hours.refused + hours.held + row["rereads_refused"],
        open_for=now - oldest_open if oldest_open else timedelta(0),
    )
    return ClusterLine(**row, hours=hours, health=word)


def health(
    *,
    status: str,
    asked: bool,
    failures: int,
    faulted: int,
    newest_fail: bool,
    undecided: int,
    open_for: timedelta,
) -> Health:
    """Say in a word how a cluster is; what needs a person most comes first.

    `failures` are visits that failed in a row, `faulted` hours that failed though the visit went
    on, `newest_fail` if the newest ones all did. `undecided` are hours refused or held, also by a
    re-read, `open_for` the age of the oldest hour not yet read.
    """
    if status == "paused":
        return "paused"
    if failures >= FAILING_FROM or newest_fail:
        return "failing"
    if undecided:
        return "decide"
    if failures or faulted:
        return "retrying"
    if not asked:
        return "new"
    return "catching up" if open_for > BEHIND_AFTER + HOUR else "ok"


def hours_text(count: int) -> str:
    """Return `1 hour` or `99 hours`."""
    return f"{count} hour{'' if count == 1 else 's'}"
