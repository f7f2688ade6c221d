"""What users, accounts and namespaces cost. Two currencies are never added up.

Days come from `cost_by_day`: closed ones as they were written down, open ones from their hours.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any, Literal, LiteralString, TypeVar

import psycopg
from psycopg.rows import class_row, dict_row

from core.db.queries import queries_beside
from core.errors import Unknown
from core.rates.terms import terms_of, terms_text
from core.reports.clusters import ClusterLine

_SQL = queries_beside(__file__)
Record = TypeVar("Record")

Kind = Literal["unmapped", "user", "system", "idle", "unmounted"]


@dataclass(frozen=True)
class PersonCost:
    """What a user's (or an account's) namespaces cost in one currency."""

    user_id: str
    email: str
    name: str
    currency: str
    day_nano: int
    hour_nano: int


@dataclass(frozen=True)
class NamespaceCost:
    """What a namespace cost under one owner over some days; `day_nano` on the last of them."""

    cluster: str
    namespace: str
    kind: Kind
    user_id: str
    email: str
    currency: str
    hours: int
    cpu_nano: int
    gpu_nano: int
    ram_nano: int
    pv_nano: int
    network_nano: int
    other_nano: int
    total_nano: int
    charge_nano: int
    day_nano: int
    first_hour: datetime
    last_hour: datetime


@dataclass(frozen=True)
class Unmapped:
    """A namespace with cost and no owner: nobody pays for it yet.

    Of a `removed` cluster too: its hours can be given to somebody as long as they are kept.
    """

    cluster: str
    namespace: str
    currency: str
    hours: int
    total_nano: int
    first_hour: datetime
    last_hour: datetime
    removed: bool = False


@dataclass(frozen=True)
class NamespaceHour:
    """What a namespace cost in one hour; flags as in `allocations`."""

    hour: datetime
    kind: Kind
    user_id: str
    email: str
    currency: str
    revision: int
    cpu_nano: int
    gpu_nano: int
    ram_nano: int
    pv_nano: int
    network_nano: int
    other_nano: int
    total_nano: int
    flags: int


@dataclass(frozen=True)
class Totals:
    """All clusters of one currency: today, the newest hour in the books, and what nobody pays."""

    currency: str
    today_nano: int
    newest_nano: int
    unmapped_nano: int
    unmapped_namespaces: int


def _all(
    connection: psycopg.Connection[Any],
    record: type[Record],
    query: LiteralString,
    parameters: dict[str, Any],
) -> tuple[Record, ...]:
    """Run a query whose columns are the record's fields."""
    with connection.cursor(row_factory=class_row(record)) as cursor:
        return tuple(cursor.execute(query, parameters))


def cost_by_user(
    connection: psycopg.Connection[Any], day: date, hour: datetime | None
) -> tuple[PersonCost, ...]:
    """Return what each user's namespaces cost on `day` and in `hour`, dearest first."""
    return _all(connection, PersonCost, _SQL["cost_by_user"], {"day": day, "hour": hour})


def cost_by_account(
    connection: psycopg.Connection[Any], day: date, hour: datetime | None
) -> tuple[PersonCost, ...]:
    """Return what each account pays for on `day` and in `hour`, dearest first."""
    return _all(connection, PersonCost, _SQL["cost_by_account"], {"day": day, "hour": hour})


def namespaces(
    connection: psycopg.Connection[Any],
    since: date,
    day: date,
    *,
    cluster: str | None = None,
    user_id: str | None = None,
) -> tuple[NamespaceCost, ...]:
    """Return the namespaces with cost from `since` to `day`, both included, dearest first."""
    return _all(
        connection,
        NamespaceCost,
        _SQL["namespaces"],
        {"since": since, "day": day, "cluster": cluster, "user_id": user_id},
    )


def unmapped(
    connection: psycopg.Connection[Any], since: date | None = None, *, cluster: str | None = None
) -> tuple[Unmapped, ...]:
    """Return the namespaces that cost and have no owner, since a day or since ever."""
    return _all(connection, Unmapped, _SQL["unmapped"], {"since": since, "cluster": cluster})


def namespace_hours(
    connection: psycopg.Connection[Any],
    cluster: str,
    namespace: str,
    since: datetime,
    until: datetime,
) -> tuple[NamespaceHour, ...]:
    """Return one namespace's hours in [since, until), newest first."""
    return _all(
        connection,
        NamespaceHour,
        _SQL["namespace_hours"],
        {"cluster": cluster, "namespace": namespace, "since": since, "until": until},
    )


def totals(
    lines: Iterable[ClusterLine], nobodys: Iterable[Unmapped], newest_hour: datetime | None
) -> tuple[Totals, ...]:
    """Add up clusters by currency, the currency with the most of today first.

    A cluster that has not got `newest_hour` yet adds nothing to it.
    """
    today: dict[str, int] = {}
    newest: dict[str, int] = {}
    for line in lines:
        today[line.currency] = today.get(line.currency, 0) + line.today_nano
        if line.newest_hour == newest_hour:
            newest[line.currency] = newest.get(line.currency, 0) + line.newest_nano
    lost: dict[str, list[int]] = {}
    for each in nobodys:
        lost.setdefault(each.currency, []).append(each.total_nano)
    found = (
        Totals(
            currency,
            today.get(currency, 0),
            newest.get(currency, 0),
            sum(lost.get(currency, ())),
            len(lost.get(currency, ())),
        )
        for currency in {**today, **lost}
    )
    return tuple(sorted(found, key=lambda each: (-each.today_nano, each.currency)))


@dataclass(frozen=True)
class OneHour:
    """Everything kept of one namespace in one hour. Owner fields are None where it has none."""

    cluster: str
    namespace: str
    hour: datetime
    currency: str
    kind: Kind
    user_id: str | None
    user_email: str | None
    account_id: str | None
    account_email: str | None
    plan: str | None
    charges: str
    """What the plan's version charges, in words."""
    charge_nano: int | None
    flags: int
    revision: int
    cpu_nano: int
    gpu_nano: int
    ram_nano: int
    pv_nano: int
    network_nano: int
    load_balancer_nano: int
    shared_nano: int
    external_nano: int
    adjustment_nano: int
    rounding_nano: int
    total_nano: int
    cpu_core_hours_micro: int
    gpu_hours_micro: int
    ram_byte_hours: int
    pv_byte_hours: int
    network_transfer_bytes: int
    network_receive_bytes: int
    minutes_micro: int
    efficiency_ppm: int
    state: str
    sha256: str
    hour_nano: int
    hour_namespaces: int
    collected_at: datetime | None
    settled_at: datetime | None
    hour_flags: str
    accepted: bool
    decided_by: str


def one_hour(
    connection: psycopg.Connection[Any], cluster: str, namespace: str, hour: datetime
) -> OneHour:
    """Return what the books hold of one namespace in one hour; Unknown where they hold nothing."""
    at = {"cluster": cluster, "namespace": namespace, "hour": hour}
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SQL["one_hour"], at).fetchone()
    if row is None:
        raise Unknown(f"The books hold nothing of {cluster}/{namespace} in that hour.")
    charges = terms_text(terms_of(row), row["plan_currency"]) if row["plan"] else ""
    told = {each.name: row[each.name] for each in fields(OneHour) if each.name in row}
    return OneHour(**told, charges=charges)
