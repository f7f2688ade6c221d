"""The ledger of hours: open them, claim them, and write down what came of asking.

Nothing else says what is missing, so a clock that missed a beat loses nothing: every hour since
metering began has a row, and any number of daemons may work through them.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import psycopg

from core.clock import HOUR, hour_text, last_closed_hour
from core.db.queries import queries_beside
from core.errors import LeaseLost
from core.metering.hours import Claim, RawAnswer, key_of, keys_of
from core.metering.policy import Policy, pause
from core.metering.store import keep_raw
from core.opencost.answer import Complaint

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class ClusterWork:
    """A cluster with hours to ask for."""

    cluster_id: int
    cluster: str
    oldest: datetime
    waiting: int


def open_windows(connection: Connection, now: datetime, policy: Policy) -> int:
    """Give every closed hour of every cluster its row; return how many are new."""
    newest = last_closed_hour(now, policy.delay)
    opened = 0
    for cluster_id, status, why, since in connection.execute(
        _SQL["clusters_to_open"], {"newest": newest}
    ).fetchall():
        opened += open_span(
            connection, cluster_id, since, newest, waived=why if status == "paused" else None
        )
    return opened


def open_span(
    connection: Connection,
    cluster_id: int,
    since: datetime,
    until: datetime,
    *,
    waived: str | None = None,
) -> int:
    """Open the hours from `since` to `until` of one cluster; waived ones say why.

    None while somebody else changes the cluster: who removes it waives what it finds, once.
    """
    span = {"since": since, "until": until}
    with connection.transaction():
        if connection.execute(_SQL["opened_cluster"], {"cluster_id": cluster_id}).rowcount == 0:
            return 0
        connection.execute(_SQL["ensure_partitions"], span)
        return connection.execute(
            _SQL["open_windows"],
            {
                **span,
                "cluster_id": cluster_id,
                "paused": waived is not None,
                "why": waived or "",
            },
        ).rowcount


def give_up_hours(connection: Connection, cluster_id: int, why: str, now: datetime) -> int:
    """Ask for no hour of a removed cluster again; return how many are waived.

    What is stored and waits to be read again is settled, else no month with it could be closed. A
    visit under way loses its leases: what it stored later, another registration of the same
    Kubernetes may have metered by then.
    """
    values = {"cluster_id": cluster_id, "why": f"the cluster was removed: {why}", "now": now}
    waived = connection.execute(_SQL["waive_missing"], values).rowcount
    connection.execute(_SQL["end_asking"], values)
    return waived


def end_frozen_owners(connection: Connection) -> int:
    """End the backends of leases that ran out; return how many.

    A client frozen inside COPY keeps its row locks for ever: no timeout of the server's ends it.
    """
    ended = 0
    for pid, name, until in connection.execute(_SQL["frozen_owners"]).fetchall():
        values = {"pid": pid, "name": name, "until": until}
        ended += len(connection.execute(_SQL["end_backend"], values).fetchall())
    return ended


def free_own(connection: Connection, name: str) -> int:
    """Give back what an earlier process of this same daemon left claimed; `name` as in claim.

    For the start: a killed daemon's hours need not wait for their leases to end. Only one process
    may run under a name, which the lock on its state folder sees to.
    """
    connection.execute(_SQL["end_namesakes"], {"name": name})
    return connection.execute(_SQL["free_own"], {"name": name}).rowcount


def free_lost(connection: Connection, name: str, clusters: list[int]) -> int:
    """Give back what this daemon's ended visits to these clusters left claimed."""
    values = {"name": name, "clusters": clusters}
    return connection.execute(_SQL["free_lost"], values).rowcount


def clusters_with_work(connection: Connection, now: datetime, limit: int) -> list[ClusterWork]:
    """Return clusters with hours to ask for, the one that waits longest first."""
    rows = connection.execute(_SQL["clusters_with_work"], {"now": now, "limit": limit})
    return [ClusterWork(*row) for row in rows.fetchall()]


def claim(
    connection: Connection,
    cluster_id: int,
    now: datetime,
    *,
    policy: Policy,
    store_backend: tuple[int, str],
    limit: int = 1,
) -> list[Claim]:
    """Take the oldest due hours of one cluster; `store_backend` is (pid, application name)."""
    pid, name = store_backend
    rows = connection.execute(
        _SQL["claim"],
        {
            "cluster_id": cluster_id,
            "now": now,
            "limit": limit,
            "lease_s": policy.lease_s,
            "pid": pid,
            "name": name,
        },
    ).fetchall()
    return sorted((Claim(*row) for row in rows), key=lambda each: each.hour)


def release(connection: Connection, claims: list[Claim]) -> None:
    """Give hours back as they were; for a stop, or a cluster that cannot be reached at all."""
    if claims:
        connection.execute(_SQL["release"], keys_of(claims))


def unchanged(connection: Connection, claims: list[Claim], now: datetime, policy: Policy) -> None:
    """The same bytes came again: nothing is written but that they were seen."""
    values = {**keys_of(claims), "now": now, "settle": policy.settle}
    if connection.execute(_SQL["unchanged"], values).rowcount != len(claims):
        raise LeaseLost


def fail(
    connection: Connection, claimed: Claim, fault: str, why: str, next_try_at: datetime
) -> None:
    """Write down that no answer came, and when it is tried again."""
    connection.execute(
        _SQL["fail"],
        {
            **key_of(claimed),
            "fault": fault,
            "why": why,
            "next": next_try_at,
        },
    )
    _tell(connection)


def refuse(
    connection: Connection,
    claimed: Claim,
    raw: RawAnswer,
    complaint: Complaint,
    now: datetime,
    policy: Policy,
) -> Literal["refused", "failed", "gap"]:
    """Write down that the answer cannot be believed, and keep it for a person.

    An answer with nothing in it is no refusal: it is tried again, and an hour that is old and was
    answered so several times is a gap, since the source no longer has it.
    """
    if complaint.fault == "no-data":
        return _nothing(connection, claimed, complaint, now, policy)
    with connection.transaction():
        values = {
            "hour": claimed.hour,
            "cluster_id": claimed.cluster_id,
            "keep": raw.sha256,
            "token": claimed.token,
            "fault": complaint.fault,
            "why": complaint.message,
            "next": now + pause(claimed.tries),
            "pending": raw.sha256,
        }
        # The window first, as whoever decides about it does: two orders would be a deadlock.
        if connection.execute(_SQL["refuse"], values).rowcount != 1:
            raise LeaseLost
        keep_raw(connection, [(claimed, raw)], "refused")
        connection.execute(_SQL["forget_raw"], values)
        _tell(connection)
    return "refused"


def _nothing(
    connection: Connection, claimed: Claim, complaint: Complaint, now: datetime, policy: Policy
) -> Literal["failed", "gap"]:
    """An empty answer is no gap by itself: a source that answers nothing at all may yet be back."""
    seen = {**key_of(claimed), "fresh": now - policy.gap_evidence}
    row = connection.execute(_SQL["nothings"], seen).fetchone()
    if row is None:
        raise LeaseLost
    nothings, source_works = row
    old = now - claimed.hour >= policy.gap_after + HOUR
    if nothings < policy.gap_tries or not old or not source_works:
        wait = max(pause(nothings), policy.gap_pause) if old else pause(nothings)
        fail(connection, claimed, complaint.fault, complaint.message, now + wait)
        return "failed"
    why = (
        f"OpenCost answered {nothings} times with nothing for {hour_text(claimed.hour)}, and"
        " with data for newer hours; it no longer has this hour."
    )
    values = {**key_of(claimed), "why": why, "now": now}
    connection.execute(_SQL["source_gone"], values)
    _tell(connection)
    return "gap"


def answered(connection: Connection, cluster_id: int, now: datetime) -> None:
    """Keep that a cluster answers, while its visit goes on."""
    connection.execute(_SQL["answered"], {"cluster_id": cluster_id, "now": now})


def visited(
    connection: Connection,
    cluster_id: int,
    now: datetime,
    *,
    answered: bool,
    outcome: str,
    next_visit_at: datetime | None = None,
    failed: bool = False,
) -> None:
    """Keep what a visit to a cluster came to; `outcome` is a sentence for people."""
    connection.execute(
        _SQL["visited"],
        {
            "cluster_id": cluster_id,
            "now": now,
            "answered": answered,
            "outcome": outcome,
            "failed": failed,
            "next": next_visit_at,
        },
    )
    _tell(connection)


def cluster_pause(failures: int) -> timedelta:
    """Return how long a cluster is left alone after `failures` failed visits in a row."""
    return min(pause(failures), timedelta(minutes=30))


def _tell(connection: Connection) -> None:
    connection.execute("SELECT pg_notify('hopsmeter_books', 'window')")
