"""Plans, their versions, who pays by them, and what that makes of a cost."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row

from core.clock import hour_text
from core.db.queries import queries_beside
from core.errors import Unknown
from core.identity.users import find_user
from core.money import NANO
from core.rates.charge import charge_nano
from core.rates.terms import Terms, terms_of, terms_text

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class PlanVersion:
    """What a plan charges in [since, until): in words, and in figures."""

    charges: str
    terms: Terms
    since: datetime
    until: datetime | None


@dataclass(frozen=True)
class PlanLine:
    """A plan as it stands: `now` is None where its first version is still to begin.

    `currency` is None where it charges in the currency of each cost.
    """

    plan: str
    kind: str
    currency: str | None
    is_default: bool
    charges: str
    since: datetime | None
    next_charges: str
    next_since: datetime | None
    accounts: int
    """Assigned to it now; those without an assignment, who pay by the default plan, are not counted."""
    now: PlanVersion | None
    next: PlanVersion | None


@dataclass(frozen=True)
class PlanAccount:
    """An account that pays by a plan in [since, until), and who said so."""

    account_id: str
    email: str
    since: datetime
    until: datetime | None
    created_by: str
    created_at: datetime


@dataclass(frozen=True)
class PlanStory:
    """A plan with all its versions and accounts, the newest first."""

    line: PlanLine
    versions: tuple[PlanVersion, ...]
    accounts: tuple[PlanAccount, ...]


@dataclass(frozen=True)
class Quote:
    """What prices an account in one hour; `assigned_since` is None where it is the default plan."""

    account_id: str
    email: str
    hour: datetime
    plan: str
    kind: str
    currency: str | None
    is_default: bool
    charges: str
    terms: Terms
    version_since: datetime
    version_until: datetime | None
    assigned_since: datetime | None
    assigned_until: datetime | None
    charge_of_one_nano: int | None
    """What 1.00 of cost is charged as (of a kind without a factor of its own); None on a rate card."""


def plans(connection: Connection, now: datetime) -> tuple[PlanLine, ...]:
    """Return every plan, the default one first."""
    known: dict[str, list[PlanVersion]] = {}
    for plan, version in _versions(connection, None):
        known.setdefault(plan, []).append(version)
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_SQL["rate_plans"], {"now": now}).fetchall()
    return tuple(_line(row, known[row["plan"]], now) for row in rows)


def _line(row: dict[str, Any], versions: list[PlanVersion], now: datetime) -> PlanLine:
    current = next((each for each in reversed(versions) if each.since <= now), None)
    coming = next((each for each in versions if each.since > now), None)
    return PlanLine(
        **row,
        charges=current.charges if current else "",
        since=current.since if current else None,
        next_charges=coming.charges if coming else "",
        next_since=coming.since if coming else None,
        now=current,
        next=coming,
    )


def _versions(connection: Connection, plan: str | None) -> list[tuple[str, PlanVersion]]:
    """Return the versions of a plan, or of all, with its name, oldest first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_SQL["rate_plan_versions"], {"plan": plan}).fetchall()
    found = []
    for row in rows:
        terms = terms_of(row)
        charges = terms_text(terms, row["currency"])
        found.append((row["plan"], PlanVersion(charges, terms, row["since"], row["until"])))
    return found


def plan_story(connection: Connection, plan: str, now: datetime) -> PlanStory:
    """Return one plan with its versions and accounts; Unknown where there is none."""
    line = next((each for each in plans(connection, now) if each.plan == plan), None)
    if line is None:
        raise Unknown(f"There is no plan {plan!r}; `hopsmeter rates list` shows all.")
    versions = tuple(each for _, each in reversed(_versions(connection, plan)))
    with connection.cursor(row_factory=class_row(PlanAccount)) as cursor:
        accounts = tuple(cursor.execute(_SQL["rate_plan_accounts"], {"plan": plan}))
    return PlanStory(line, versions, accounts)


def quote(connection: Connection, account: str, hour: datetime) -> Quote:
    """Return what prices an account (id or e-mail) in an hour, as a store would freeze it in."""
    user = find_user(connection, account)
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SQL["rate_quote"], {"account": user.id, "hour": hour}).fetchone()
    if row is None:
        raise Unknown(f"No plan has a price for {hour_text(hour)}; the first begin in 2000.")
    terms = terms_of(row)
    return Quote(
        account_id=row["account_id"],
        email=row["email"],
        hour=hour,
        plan=row["plan"],
        kind=row["kind"],
        currency=row["currency"],
        is_default=row["is_default"],
        charges=terms_text(terms, row["currency"]),
        terms=terms,
        version_since=row["version_since"],
        version_until=row["version_until"],
        assigned_since=row["assigned_since"],
        assigned_until=row["assigned_until"],
        charge_of_one_nano=_of_one(terms),
    )


def _of_one(terms: Terms) -> int | None:
    if terms.factor is None:
        return None
    return charge_nano({"total_nano": NANO}, Terms(terms.factor), {})
