"""Every change of who owns what, and the revision of the stored hours that it touches.

Changes of who pays by which plan are its twin, `assignments`. All of them take the advisory lock
ATTRIBUTION exclusively, write the periods, and revise the stored hours in the same transaction: so no
hour is ever stored by the old rule after the new one was written, and what was absorbed as unmapped
is charged from the hour the admin says.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from core.audit.trail import record
from core.clock import floor_hour, hour_text
from core.db.locks import Lock, take
from core.db.queries import queries_beside
from core.errors import Conflict, InputFault, Unknown
from core.identity.accounts import settle_currency
from core.identity.principal import Principal
from core.metering.reattribute import reattribute

_SQL = queries_beside(__file__)
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class OwnershipChange:
    """What a change of owner does to the books: `hours` revised, `cost_nano` that moved."""

    cluster: str
    namespace: str
    user: str | None
    """The owner from `from_hour` on, None for nobody."""
    from_hour: datetime
    until_hour: datetime | None
    hours: int
    cost_nano: int
    currency: str
    replaced: tuple[str, ...] = ()
    """Whose periods ended or vanished by it."""


@dataclass(frozen=True)
class _Cluster:
    id: int
    name: str
    currency: str
    system: frozenset[str]
    metering_since: datetime


@dataclass(frozen=True)
class _Period:
    id: int
    user_no: int
    since: datetime
    until: datetime | None
    source: str


def map_namespace(
    connection: Connection,
    principal: Principal,
    *,
    cluster: str,
    namespace: str,
    user: str,
    from_hour: datetime | None,
    why: str,
    now: datetime,
    project: str = "",
) -> OwnershipChange:
    """Give a namespace to a user from an hour on, and charge him what is stored since.

    `user` is an id or an unambiguous e-mail address. Without `from_hour`: the first stored hour
    that is nobody's since the last owner, else the hour that runs now. A period that holds
    `from_hour` ends there; one that begins later stays.
    """
    principal.require_admin("map namespaces")
    take(connection, Lock.ATTRIBUTION)
    place = _cluster(connection, cluster)
    _require_ownable(place, namespace)
    user_id, user_no = _user(connection, user)
    settle_currency(connection, user_no, place.currency, f"The cluster {cluster} bills")
    since = _since(connection, place, namespace, from_hour, now)
    periods = _periods(connection, place, namespace, since)
    holding = [each for each in periods if each.since <= since]
    if any(each.user_no == user_no for each in holding):
        raise Conflict(
            f"{cluster}/{namespace} belongs to {user_id} at {hour_text(since)} already."
            " Nothing was changed."
        )
    for each in holding:
        _end(connection, each, since)
    until = min((each.since for each in periods if each.since > since), default=None)
    connection.execute(
        _SQL["add_period"],
        {
            "cluster_id": place.id,
            "namespace": namespace,
            "user_no": user_no,
            "project": project,
            "since": since,
            "until": until,
            "source": "hand",
            "by": principal.actor,
        },
    )
    change = _revise(connection, place, namespace, user_id, since, until, holding)
    _audit(connection, principal, "namespace.map", change, why)
    return change


def unmap_namespace(
    connection: Connection,
    principal: Principal,
    *,
    cluster: str,
    namespace: str,
    from_hour: datetime | None,
    why: str,
    now: datetime,
) -> OwnershipChange:
    """End the ownership of a namespace from an hour on; without one, from the hour that runs now."""
    principal.require_admin("unmap namespaces")
    place = _cluster(connection, cluster)
    take(connection, Lock.ATTRIBUTION)
    since = floor_hour(from_hour or now)
    periods = _periods(connection, place, namespace, since)
    if not periods:
        raise Unknown(
            f"{cluster}/{namespace} belongs to nobody from {hour_text(since)} on."
            " Nothing was changed."
        )
    for each in periods:
        _end(connection, each, since)
    change = _revise(connection, place, namespace, None, since, None, periods)
    _audit(connection, principal, "namespace.unmap", change, why)
    return change


def reattribute_cluster(
    connection: Connection, principal: Principal, cluster_id: int, *, why: str
) -> tuple[int, int]:
    """Revise all stored hours of a cluster by the rules as they stand; return (hours, nano).

    For a change of its system namespaces, which holds for all its hours.
    """
    principal.require_admin("change a cluster's system namespaces")
    take(connection, Lock.ATTRIBUTION)
    moved = reattribute(connection, cluster_id, None, None, None, why)
    return moved.hours, moved.cost_nano


def _cluster(connection: Connection, name: str) -> _Cluster:
    row = connection.execute(
        "SELECT id, name, currency, system_namespaces, metering_since"
        " FROM hopsmeter.hopsworks_clusters WHERE name = %s",
        [name],
    ).fetchone()
    if row is None:
        raise Unknown(
            f"There is no cluster {name!r}; `hopsmeter cluster list` shows them."
            " Nothing was changed."
        )
    return _Cluster(row[0], row[1], row[2], frozenset(row[3]), row[4])


def _require_ownable(place: _Cluster, namespace: str) -> None:
    if not _NAMESPACE.fullmatch(namespace):
        raise InputFault(f"{namespace!r} is no name of a namespace. Nothing was changed.")
    if namespace in place.system:
        raise Conflict(
            f"{namespace} is a system namespace of {place.name}, which nobody pays for; take it"
            " off that list first (`hopsmeter cluster edit`). Nothing was changed."
        )


def _user(connection: Connection, user: str) -> tuple[str, int]:
    rows = connection.execute(
        "SELECT id, no FROM hopsmeter.users"
        " WHERE (id = %(user)s OR lower(email) = lower(%(user)s)) AND status <> 'deleted'",
        {"user": user},
    ).fetchall()
    if not rows:
        raise Unknown(
            f"There is no user {user!r}; `hopsmeter user list` shows them. Nothing was changed."
        )
    if len(rows) > 1:
        raise Conflict(
            f"{len(rows)} users have the address {user}; name the one you mean by id:"
            f" {', '.join(row[0] for row in rows)}. Nothing was changed."
        )
    user_id, user_no = rows[0]
    return user_id, user_no


def _since(
    connection: Connection,
    place: _Cluster,
    namespace: str,
    from_hour: datetime | None,
    now: datetime,
) -> datetime:
    if from_hour is not None:
        if floor_hour(from_hour) != from_hour:
            raise InputFault("Ownership goes by whole hours. Nothing was changed.")
        return from_hour
    row = connection.execute(
        _SQL["first_unowned_hour"], {"cluster_id": place.id, "namespace": namespace}
    ).fetchone()
    return row[0] if row and row[0] else floor_hour(now)


def _periods(
    connection: Connection, place: _Cluster, namespace: str, since: datetime
) -> list[_Period]:
    values = {"cluster_id": place.id, "namespace": namespace, "since": since}
    rows = connection.execute(_SQL["periods_touching"], values).fetchall()
    return [_Period(*row) for row in rows]


def _end(connection: Connection, period: _Period, until: datetime) -> None:
    if period.since >= until:
        connection.execute(_SQL["drop_period"], {"id": period.id})
    else:
        connection.execute(_SQL["end_period"], {"id": period.id, "until": until})


def _revise(
    connection: Connection,
    place: _Cluster,
    namespace: str,
    user_id: str | None,
    since: datetime,
    until: datetime | None,
    replaced: list[_Period],
) -> OwnershipChange:
    why = f"owner: {user_id or 'nobody'}"
    moved = reattribute(connection, place.id, [namespace], since, until, why)
    numbers = [each.user_no for each in replaced]
    owners = connection.execute(
        "SELECT id FROM hopsmeter.users WHERE no = ANY (%s) ORDER BY id", [numbers]
    ).fetchall()
    return OwnershipChange(
        cluster=place.name,
        namespace=namespace,
        user=user_id,
        from_hour=since,
        until_hour=until,
        hours=moved.hours,
        cost_nano=moved.cost_nano,
        currency=place.currency,
        replaced=tuple(row[0] for row in owners),
    )


def _audit(
    connection: Connection,
    principal: Principal,
    action: str,
    change: OwnershipChange,
    why: str,
) -> None:
    record(
        connection,
        principal,
        action,
        f"namespace {change.cluster}/{change.namespace}",
        before={"owners": list(change.replaced)},
        after={
            "owner": change.user,
            "from": hour_text(change.from_hour),
            "until": hour_text(change.until_hour) if change.until_hour else None,
            "hours_revised": change.hours,
            "cost_nano": change.cost_nano,
        },
        why=why,
    )
