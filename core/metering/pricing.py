"""New versions of plans: what an hour to come is charged, and what no hour was charged by yet."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg

from core.audit.trail import record
from core.clock import hour_text
from core.db.locks import Lock, take
from core.db.queries import queries_beside
from core.identity.principal import Principal
from core.metering.reattribute import raise_epoch
from core.rates.factor import parse_factor
from core.rates.plans import Plan, add_version, begin_of_version, plan_named

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class VersionAdded:
    """A new version of a plan: one unit of cost is charged as `factor` from `since` on."""

    plan: str
    since: datetime
    until: datetime | None
    """When a later version, known already, follows it."""
    factor: Decimal
    factor_before: Decimal | None
    """At that hour, until now; None where the plan had no version then."""
    is_new: bool
    """The plan itself is."""


def new_version(
    connection: Connection,
    principal: Principal,
    *,
    plan: str,
    factor: str,
    from_hour: datetime | None,
    why: str,
    now: datetime,
) -> VersionAdded:
    """Let a plan charge `factor` from an hour on; a plan of a new name is made.

    Where hours are charged by the plan already, that hour is one to come.
    """
    principal.require_admin("change rates")
    number = parse_factor(factor)
    take(connection, Lock.ATTRIBUTION)
    known = plan_named(connection, plan)
    since = begin_of_version(known, from_hour, charged=_charged(connection, known), now=now)
    before = known.version_at(since) if known else None
    made = add_version(connection, known, plan, since, number)
    raise_epoch(connection)
    record(
        connection,
        principal,
        "rates.new",
        f"plan {plan}",
        before={"factor": before.factor} if before else None,
        after={"factor": number, "from": hour_text(since)},
        why=why,
    )
    until = min((each.since for each in made.versions if each.since > since), default=None)
    return VersionAdded(
        plan, since, until, number, before.factor if before else None, is_new=known is None
    )


def _charged(connection: Connection, plan: Plan | None) -> bool:
    """Say whether a stored hour is priced by any version of the plan."""
    if plan is None:
        return False
    values = {"plan_id": plan.id, "versions": [each.id for each in plan.versions]}
    names = ["plan_charged", *(["default_charged"] if plan.is_default else [])]
    rows = (connection.execute(_SQL[name], values).fetchone() for name in names)
    return any(row is not None and row[0] for row in rows)
