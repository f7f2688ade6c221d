"""The map of completeness: which hours are in the books, and what is the matter with the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row

from core.db.queries import queries_beside

_SQL = queries_beside(__file__)

HourState = Literal[
    "due",
    "collecting",
    "collected",
    "settled",
    "failed",
    "refused",
    "held",
    "gap",
    "waived",
    "none",
]
"""As people see it: a window whose lease runs is `collecting`; `none` is before metering began."""


@dataclass(frozen=True)
class HourStrip:
    """The states of one cluster's hours from `since` on, one after the other."""

    cluster: str
    since: datetime
    states: tuple[HourState, ...]


@dataclass(frozen=True)
class HourLine:
    """One hour of one cluster; the hashes are those of the stored and of the waiting answer."""

    cluster: str
    hour: datetime
    state: HourState
    currency: str
    total_nano: int
    namespaces: int
    revision: int
    tries: int
    next_try_at: datetime | None
    fault: str
    why: str
    accepted: bool
    decided_by: str
    flags: str
    sha256: str
    pending_sha256: str
    collected_at: datetime | None
    settled_at: datetime | None


@dataclass(frozen=True)
class Elsewhere:
    """What a map that begins at some hour does not show of a cluster.

    Counts are of hours before it, `first` the oldest of them; `trouble` is what keeps the cluster
    from being asked, until `next_visit_at`, and empty while nothing does.
    """

    cluster: str
    failed: int
    refused: int
    held: int
    gaps: int
    due: int
    first: datetime | None
    trouble: str
    next_visit_at: datetime | None


Word = Literal["open", "kept", "held", "refused", "failed", "left alone", "gap", "waived"]


@dataclass(frozen=True)
class Span:
    """The hours of one cluster from `first` to `last`, both within."""

    cluster: str
    first: datetime
    last: datetime


@dataclass(frozen=True)
class AskedHours:
    """What became of hours that were asked for: `open` ones are not answered yet, those `left
    alone` wait for a cluster that failed; `why` is the oldest one's.
    """

    cluster: str
    word: Word
    hours: int
    oldest: datetime
    why: str


def hours_map(
    connection: psycopg.Connection[Any],
    since: datetime,
    until: datetime,
    now: datetime,
    *,
    cluster: str | None = None,
) -> tuple[HourStrip, ...]:
    """Return the states of the hours in [since, until) for each cluster, by name.

    Of a named `cluster` also where it was removed.
    """
    rows = connection.execute(
        _SQL["hours_map"], {"since": since, "until": until, "now": now, "cluster": cluster}
    ).fetchall()
    return tuple(
        HourStrip(name, since, tuple(state or "none" for state in states or ()))
        for name, states in rows
    )


def elsewhere(
    connection: psycopg.Connection[Any], before: datetime, *, cluster: str | None = None
) -> tuple[Elsewhere, ...]:
    """Return what a map from `before` on leaves out, for each cluster of which there is anything."""
    with connection.cursor(row_factory=class_row(Elsewhere)) as cursor:
        return tuple(cursor.execute(_SQL["elsewhere"], {"before": before, "cluster": cluster}))


def cluster_hours(
    connection: psycopg.Connection[Any],
    cluster: str,
    since: datetime,
    until: datetime,
    now: datetime,
) -> tuple[HourLine, ...]:
    """Return one cluster's hours in [since, until), newest first."""
    with connection.cursor(row_factory=class_row(HourLine)) as cursor:
        cursor.execute(
            _SQL["cluster_hours"], {"since": since, "until": until, "now": now, "cluster": cluster}
        )
        return tuple(cursor)


def asked_hours(
    connection: psycopg.Connection[Any], spans: Sequence[Span], asked_at: datetime
) -> tuple[AskedHours, ...]:
    """Return what became of these hours since somebody asked for them, by cluster and word."""
    values = {
        "clusters": [span.cluster for span in spans],
        "firsts": [span.first for span in spans],
        "lasts": [span.last for span in spans],
        "asked_at": asked_at,
    }
    with connection.cursor(row_factory=class_row(AskedHours)) as cursor:
        return tuple(cursor.execute(_SQL["asked_hours"], values))
