"""The human way out of a refused or held hour: accept, keep, or give it up as a gap.

Accept takes the answer that was kept, where only judgement was against it; keep stays with what
the books hold; gap gives up an hour of which nothing is stored. Each is audited with its reason.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import psycopg
import zstandard

from core.audit.trail import record
from core.clock import hour_text
from core.db.locks import Lock, take
from core.db.queries import queries_beside
from core.errors import AnswerRefused, Conflict, InputFault, Unknown
from core.identity.principal import Principal
from core.metering.attribution import Attribution
from core.metering.hours import Claim, Fetched, RawAnswer
from core.metering.policy import Policy
from core.metering.store import store_within
from core.opencost.answer import Limits
from core.opencost.read import read_answer

_SQL = queries_beside(__file__)
ANSWER_MAX_BYTES = 2**30
"""What a kept answer may unpack to."""

Connection = psycopg.Connection[Any]
Word = Literal["accept", "keep", "gap"]


@dataclass(frozen=True)
class Decision:
    """What a decision did to the books of one hour, in nano-units of `currency`."""

    cluster: str
    hour: datetime
    decision: Word
    state_before: str
    state: str
    cost_before_nano: int
    cost_nano: int
    currency: str


@dataclass(frozen=True)
class _Window:
    limits: Limits
    cluster_id: int
    cluster: str
    currency: str
    state: str
    revision: int
    total_nano: int
    raw_sha256: bytes | None
    pending_sha256: bytes | None


def decide(
    connection: Connection,
    principal: Principal,
    cluster: str,
    hour: datetime,
    decision: Word,
    why: str,
    now: datetime,
    policy: Policy | None = None,
) -> Decision:
    """Decide about one hour, inside the caller's transaction; `why` is kept and must be given."""
    principal.require_admin("decide about hours")
    if not why.strip():
        raise InputFault("Say why, with --reason: it is kept with the hour. Nothing was changed.")
    take(connection, Lock.ATTRIBUTION, shared=True)
    window = _window(connection, cluster, hour)
    _require_metered(connection, window)
    if decision == "accept":
        _accept(connection, principal, window, hour, why, now, policy or Policy())
    elif decision == "keep":
        _keep(connection, principal, window, hour, why, now)
    else:
        _gap(connection, principal, window, hour, why)
    after = _window(connection, cluster, hour)
    made = Decision(
        cluster,
        hour,
        decision,
        window.state,
        after.state,
        window.total_nano,
        after.total_nano,
        window.currency,
    )
    record(
        connection,
        principal,
        f"hours.{decision}",
        f"hour {cluster} {hour_text(hour)}",
        before={"state": made.state_before, "cost_nano": made.cost_before_nano},
        after={"state": made.state, "cost_nano": made.cost_nano},
        why=why,
    )
    return made


def ask_again(
    connection: Connection,
    principal: Principal,
    cluster: str | None,
    *,
    hour: datetime | None,
    since: datetime | None,
    now: datetime,
) -> list[tuple[str, datetime]]:
    """Make closed hours due now, whatever their state; return them as (cluster, hour), in order.

    With neither `hour` nor `since`: those that are not in the books yet. Of hours since one, those
    that were waived stay so.
    """
    principal.require_admin("have hours collected")
    if cluster is not None:
        _require_active(connection, cluster)
    connection.execute(_SQL["asked_clusters"], {"cluster": cluster})
    rows = connection.execute(
        _SQL["ask_again"], {"cluster": cluster, "hour": hour, "since": since, "now": now}
    ).fetchall()
    wanted = hour or since
    if wanted is not None and not rows:
        word = "is no hour that is metered" if hour else "and later there is no metered hour"
        raise Unknown(
            f"{hour_text(wanted)} {word}: it has not ended, ended a few minutes ago, or is from"
            " before metering began. Nothing was changed."
        )
    clusters = sorted({row[0] for row in rows})
    connection.execute(_SQL["visit_now"], {"clusters": clusters})
    record(
        connection,
        principal,
        "hours.collect",
        f"cluster {cluster or '(all)'}",
        after={
            "hours": len(rows),
            "hour": hour_text(hour) if hour else None,
            "since": hour_text(since) if since else None,
        },
    )
    return sorted((row[1], row[2]) for row in rows)


def _require_active(connection: Connection, cluster: str) -> None:
    status = _require_known(connection, cluster)
    if status == "active":
        return
    row = connection.execute(
        "SELECT status_why FROM hopsmeter.hopsworks_clusters WHERE name = %s", [cluster]
    ).fetchone()
    assert row is not None
    if status == "removed":
        raise Conflict(
            f"The cluster {cluster} was removed ({row[0]}), and is not asked any more."
            " Nothing was changed."
        )
    raise Conflict(
        f"The cluster {cluster} is paused ({row[0]}), and is not asked until"
        f" `hopsmeter cluster resume {cluster}`. Nothing was changed."
    )


def _require_known(connection: Connection, name: str) -> str:
    """Return a cluster's status; Unknown where there is none of that name."""
    row = connection.execute(
        "SELECT status FROM hopsmeter.hopsworks_clusters WHERE name = %s", [name]
    ).fetchone()
    if row is None:
        raise Unknown(
            f"There is no cluster {name!r}; `hopsmeter cluster list` shows them."
            " Nothing was changed."
        )
    return str(row[0])


def _require_metered(connection: Connection, window: _Window) -> None:
    """A removed cluster's hours are waived where nothing is stored: another registration of the
    same Kubernetes may have them by now, and to store them here would count them twice.
    """
    if window.revision == 0 and _require_known(connection, window.cluster) == "removed":
        raise Conflict(
            f"The cluster {window.cluster} was removed, and its hours that were never stored are"
            " waived for good. Nothing was changed."
        )


def _window(connection: Connection, cluster: str, hour: datetime) -> _Window:
    row = connection.execute(_SQL["decided_window"], {"cluster": cluster, "hour": hour}).fetchone()
    if row is None:
        _require_known(connection, cluster)
        raise Unknown(f"{cluster} has no hour {hour_text(hour)}. Nothing was changed.")
    *columns, cost, cores, gpus, ram, sentinel, source = row
    return _Window(Limits(cost, cores, gpus, ram, sentinel, source), *columns)


def _accept(
    connection: Connection,
    principal: Principal,
    window: _Window,
    hour: datetime,
    why: str,
    now: datetime,
    policy: Policy,
) -> None:
    if window.pending_sha256 is None:
        raise Conflict(
            f"{hour_text(hour)} of {window.cluster} is {window.state}: no answer waits for a"
            " decision. Nothing was changed."
        )
    raw, body = _pending(connection, window, hour)
    try:
        answer = read_answer(body, hour, window.limits)
        answer.require_believable(accepted=True)
    except AnswerRefused as refused:
        other = (
            "stay with what the books hold (`hopsmeter hours keep`)"
            if window.revision
            else "give it up (`hopsmeter hours gap`)"
        )
        raise Conflict(
            f"This answer cannot be stored at all: {refused.message} Have the hour read again"
            f" (`hopsmeter collect`), or {other}. Nothing was changed."
        ) from None
    claim = _claim(connection, window, hour, policy)
    accepted = Fetched(claim, answer, raw, principal.actor, why)
    store_within(connection, [accepted], Attribution(), policy, now)


def _claim(connection: Connection, window: _Window, hour: datetime, policy: Policy) -> Claim:
    row = connection.execute(
        _SQL["claim_hour"],
        {
            "cluster_id": window.cluster_id,
            "hour": hour,
            "lease_s": policy.lease_s,
            "name": connection.info.parameter_status("application_name"),
        },
    ).fetchone()
    if row is None:
        raise Conflict(
            f"{hour_text(hour)} of {window.cluster} is being collected right now; try again in"
            " a minute. Nothing was changed."
        )
    token: UUID = row[3]
    return Claim(row[0], row[1], row[2], token, row[4], row[5], row[6], row[7])


def _pending(connection: Connection, window: _Window, hour: datetime) -> tuple[RawAnswer, bytes]:
    row = connection.execute(
        _SQL["raw_answer"],
        {"hour": hour, "cluster_id": window.cluster_id, "sha256": window.pending_sha256},
    ).fetchone()
    if row is None or row[1] is None:
        raise Conflict(
            f"The answer for {hour_text(hour)} was too large to keep; have the hour read again"
            " (`hopsmeter collect`). Nothing was changed."
        )
    size_bytes, packed, asked_at = row
    body = zstandard.ZstdDecompressor().decompress(packed, max_output_size=ANSWER_MAX_BYTES)
    assert window.pending_sha256 is not None
    return RawAnswer(window.pending_sha256, size_bytes, packed, asked_at), body


def _keep(
    connection: Connection,
    principal: Principal,
    window: _Window,
    hour: datetime,
    why: str,
    now: datetime,
) -> None:
    if window.revision == 0 or window.pending_sha256 is None:
        raise Conflict(
            f"{hour_text(hour)} of {window.cluster} is {window.state}: there is no stored answer"
            " to keep against another. Nothing was changed."
        )
    values = {"why": why, "by": principal.actor, "now": now}
    _decided(connection, "keep_stored", window, hour, values)


def _gap(
    connection: Connection, principal: Principal, window: _Window, hour: datetime, why: str
) -> None:
    if window.revision > 0 or window.state not in ("due", "failed", "refused"):
        raise Conflict(
            f"{hour_text(hour)} of {window.cluster} is {window.state}; only an hour of which"
            " nothing is stored can be given up. Nothing was changed."
        )
    _decided(connection, "give_up", window, hour, {"why": why, "by": principal.actor})


def _decided(
    connection: Connection, name: str, window: _Window, hour: datetime, values: dict[str, Any]
) -> None:
    at = {"cluster_id": window.cluster_id, "hour": hour}
    if connection.execute(_SQL[name], {**values, **at}).rowcount != 1:
        raise Conflict(
            f"{hour_text(hour)} of {window.cluster} is being collected right now; try again in"
            " a minute. Nothing was changed."
        )
    connection.execute("SELECT pg_notify('hopsmeter_books', 'window')")
