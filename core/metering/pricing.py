"""New versions of plans: what an hour to come is charged, and what no hour was charged by yet."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from core.audit.trail import record
from core.clock import hour_text
from core.db.locks import Lock, take
from core.db.queries import queries_beside
from core.errors import Conflict
from core.identity.principal import Principal
from core.metering.reattribute import raise_epoch
from core.rates.plans import (
    Plan,
    add_version,
    begin_of_version,
    currency_of_version,
    plan_named,
)
from core.rates.terms import Terms, terms_text

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class VersionAdded:
    """A new version of a plan: what it charges from `since` on."""

    plan: str
    currency: str | None
    since: datetime
    until: datetime | None
    """When a later version, known already, follows it."""
    terms: Terms
    terms_before: Terms | None
    """At that hour, until now; None where the plan had no version then."""
    is_new: bool
    """The plan itself is."""


def new_version(
    connection: Connection,
    principal: Principal,
    *,
    plan: str,
    terms: Terms,
    currency: str | None = None,
    from_hour: datetime | None,
    why: str,
    now: datetime,
) -> VersionAdded:
    """Let a plan charge by `terms` from an hour on; a plan of a new name is made.

    Where hours are charged by the plan already, that hour is one to come.
    """
    principal.require_admin("change rates")
    take(connection, Lock.ATTRIBUTION)
    known = plan_named(connection, plan)
    money = currency_of_version(known, terms, currency)
    charged = _charged(connection, known)
    since = begin_of_version(known, from_hour, terms, charged=charged, now=now)
    if known and charged:
        _require_unstored(connection, known, since)
    _require_whole_months(connection, known, terms, since)
    before = known.version_at(since) if known else None
    made = add_version(connection, known, plan, since, terms, money)
    raise_epoch(connection)
    record(
        connection,
        principal,
        "rates.new",
        f"plan {plan}",
        before={"terms": terms_text(before.terms, money)} if before else None,
        after={"terms": terms_text(terms, money), "from": hour_text(since)},
        why=why,
    )
    until = min((each.since for each in made.versions if each.since > since), default=None)
    return VersionAdded(
        plan,
        money,
        since,
        until,
        terms,
        before.terms if before else None,
        is_new=known is None,
    )


def _require_unstored(connection: Connection, plan: Plan, since: datetime) -> None:
    """Keep one version per hour: a clock that is behind calls an hour to come what is stored."""
    values = {"versions": [each.id for each in plan.versions], "since": since}
    row = connection.execute(_SQL["charged_since"], values).fetchone()
    if row is not None and row[0] is not None:
        raise Conflict(
            f"{hour_text(row[0])} is charged by the plan {plan.name} already, by the clock of whoever"
            " collects; this one is behind it. Let the version begin later. Nothing was changed."
        )


def _require_whole_months(
    connection: Connection, plan: Plan | None, terms: Terms, since: datetime
) -> None:
    """Refuse what is free in a month to a plan that somebody is assigned to within a month."""
    if plan is None or not terms.included:
        return
    until = min((each.since for each in plan.versions if each.since > since), default=None)
    values = {"plan_id": plan.id, "since": since, "until": until}
    row = connection.execute(_SQL["assigned_within_a_month"], values).fetchone()
    if row is not None:
        raise Conflict(
            f"What is included is free in a whole month, and {row[0]} pays by the plan"
            f" {plan.name} from {hour_text(row[1])} on: assign them from a 1st on, or let the"
            " version begin later. Nothing was changed."
        )


def _charged(connection: Connection, plan: Plan | None) -> bool:
    """Say whether a stored hour is priced by any version of the plan."""
    if plan is None:
        return False
    values = {"plan_id": plan.id, "versions": [each.id for each in plan.versions]}
    names = ["plan_charged", *(["default_charged"] if plan.is_default else [])]
    rows = (connection.execute(_SQL[name], values).fetchone() for name in names)
    return any(row is not None and row[0] for row in rows)
