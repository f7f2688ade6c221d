"""Plans and their versions: found, begun, followed by the next; never changed."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from sqlmodel import col, select

from core.clock import HOUR, floor_hour, hour_text, month_start
from core.db.ride import session_on
from core.errors import Conflict, InputFault, Unknown
from core.rates import tables
from core.rates.terms import PlanKind, Terms, terms_of, terms_text

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
"""From when a plan's first version holds where nobody says; the default plan's does too."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_KIND_WORDS = {
    "cost_plus": "cost-plus, whose versions have a factor",
    "rate_card": "a rate card, whose versions have prices",
}

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Version:
    """What a plan charges from `since` on, until its next version."""

    id: int
    since: datetime
    terms: Terms


@dataclass(frozen=True)
class Plan:
    """A plan and its versions, oldest first; there is always one.

    `currency` is that of its prices, None where it charges in whatever the cost is in.
    """

    id: int
    name: str
    kind: PlanKind
    currency: str | None
    is_default: bool
    versions: tuple[Version, ...]

    def version_at(self, hour: datetime) -> Version | None:
        """Return the version of an hour, None before the first."""
        found = [each for each in self.versions if each.since <= hour]
        return found[-1] if found else None


def plan_named(connection: Connection, name: str) -> Plan | None:
    """Return the plan of that name; inside a transaction, since it is read as objects."""
    with session_on(connection) as session:
        plan = session.exec(
            select(tables.RatePlan).where(col(tables.RatePlan.name) == name)
        ).first()
        if plan is None:
            return None
        version = tables.RatePlanVersion
        rows = session.exec(
            select(version).where(version.plan_id == plan.id).order_by(col(version.valid_from))
        ).all()
    assert plan.id is not None
    return Plan(
        plan.id,
        plan.name,
        "rate_card" if plan.kind == "rate_card" else "cost_plus",
        plan.currency,
        plan.is_default,
        tuple(
            Version(row.id, row.valid_from, terms_of(row.model_dump()))
            for row in rows
            if row.id is not None
        ),
    )


def find_plan(connection: Connection, name: str) -> Plan:
    """Return the plan of that name; Unknown where there is none."""
    found = plan_named(connection, name)
    if found is None:
        raise Unknown(
            f"There is no plan {name[:80]!r}; `hopsmeter rates list` shows all. Nothing was changed."
        )
    return found


def begin_of_version(
    plan: Plan | None, from_hour: datetime | None, terms: Terms, *, charged: bool, now: datetime
) -> datetime:
    """Return the hour with which a new version begins, or say why it cannot begin then.

    A plan that somebody is charged by (`charged`) gets versions of hours to come only: what was
    charged stays what it was. Without `from_hour`: a first version holds for any hour, another one
    from the coming hour on.
    """
    coming = floor_hour(now) + HOUR
    since = from_hour or (coming if plan else BEGINNING)
    if floor_hour(since) != since:
        raise InputFault("A version begins with a whole hour. Nothing was changed.")
    require_month(terms, since, "such a version begins")
    if plan is None:
        return since
    if charged and since < coming:
        raise Conflict(
            f"Hours are charged by the plan {plan.name} already, so a new version of it begins"
            f" with {hour_text(coming)} at the earliest. Nothing was changed."
        )
    for each in plan.versions:
        if each.since == since:
            raise Conflict(
                f"The plan {plan.name} has a version from {hour_text(since)} on"
                f" ({terms_text(each.terms, plan.currency)}), and none is ever changed: let the new"
                " one begin another hour. Nothing was changed."
            )
    current = plan.version_at(since)
    if current and current.terms == terms:
        raise Conflict(
            f"The plan {plan.name} charges {terms_text(terms, plan.currency)} from"
            f" {hour_text(since)} on already. Nothing was changed."
        )
    return since


def require_month(terms: Terms, since: datetime, what: str) -> None:
    """See to it that what is free in a month is free in whole months, from a 1st on."""
    if terms.included and month_start(since) != since:
        raise InputFault(
            f"What is included is free in a whole month, so {what} with a 1st, 00:00 UTC, such as"
            f" --from {month_start(since):%Y-%m-%d}, and not with {hour_text(since)}. Nothing was"
            " changed."
        )


def currency_of_version(plan: Plan | None, terms: Terms, currency: str | None) -> str | None:
    """Return the currency that a version charges in, or say why it cannot be one of the plan.

    A plan keeps its kind and its currency; a rate card has one from the beginning.
    """
    if currency is not None and not _CURRENCY.fullmatch(currency):
        raise InputFault(
            f"{currency[:40]!r} is no currency; write it like USD. Nothing was changed."
        )
    if plan is None:
        if terms.kind == "rate_card" and currency is None:
            raise InputFault(
                "Prices are in a currency: say which (--currency EUR). Nothing was changed."
            )
        return currency
    if terms.kind != plan.kind:
        raise Conflict(
            f"The plan {plan.name} is {_KIND_WORDS[plan.kind]}, and it stays that: make a plan of"
            " another name. Nothing was changed."
        )
    if currency not in (None, plan.currency):
        charges = plan.currency or "each cluster's own currency"
        raise Conflict(
            f"The plan {plan.name} charges in {charges}, and keeps to it: make a plan of another"
            f" name for {currency}. Nothing was changed."
        )
    return plan.currency


def add_version(
    connection: Connection,
    plan: Plan | None,
    name: str,
    since: datetime,
    terms: Terms,
    currency: str | None,
) -> Plan:
    """Write a version down, with its plan where there is none yet; return the plan as it is then."""
    if plan is None and not _NAME.fullmatch(name):
        raise InputFault(
            f"{name[:80]!r} is no name for a plan: small letters, digits and hyphens, at most 63."
            " Nothing was changed."
        )
    with session_on(connection) as session:
        plan_id = plan.id if plan else None
        if plan_id is None:
            row = tables.RatePlan(name=name, kind=terms.kind, currency=currency)
            session.add(row)
            session.flush()
            assert row.id is not None
            plan_id = row.id
        version = tables.RatePlanVersion(plan_id=plan_id, valid_from=since, **terms.columns())
        session.add(version)
    return find_plan(connection, name)
