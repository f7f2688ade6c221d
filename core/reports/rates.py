"""Plans, their versions, who pays by them, and what that makes of a cost."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import class_row

from core.clock import hour_text
from core.db.queries import queries_beside
from core.errors import Unknown
from core.identity.users import find_user

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class PlanLine:
    """A plan as it stands: `factor` is None where its first version is still to begin."""

    plan: str
    kind: str
    is_default: bool
    factor: Decimal | None
    since: datetime | None
    next_factor: Decimal | None
    next_since: datetime | None
    accounts: int
    """Assigned to it now; those without an assignment, who pay by the default plan, are not counted."""


@dataclass(frozen=True)
class PlanVersion:
    """What a plan charges for one unit of cost in [since, until)."""

    factor: Decimal
    since: datetime
    until: datetime | None


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
    is_default: bool
    factor: Decimal
    version_since: datetime
    version_until: datetime | None
    assigned_since: datetime | None
    assigned_until: datetime | None
    charge_of_one_nano: int
    """What 1.00 of cost is charged as."""


def plans(connection: Connection, now: datetime) -> tuple[PlanLine, ...]:
    """Return every plan, the default one first."""
    with connection.cursor(row_factory=class_row(PlanLine)) as cursor:
        return tuple(cursor.execute(_SQL["rate_plans"], {"now": now}))


def plan_story(connection: Connection, plan: str, now: datetime) -> PlanStory:
    """Return one plan with its versions and accounts; Unknown where there is none."""
    line = next((each for each in plans(connection, now) if each.plan == plan), None)
    if line is None:
        raise Unknown(f"There is no plan {plan!r}; `hopsmeter rates list` shows all.")
    with connection.cursor(row_factory=class_row(PlanVersion)) as cursor:
        versions = tuple(cursor.execute(_SQL["rate_plan_versions"], {"plan": plan}))
    with connection.cursor(row_factory=class_row(PlanAccount)) as cursor:
        accounts = tuple(cursor.execute(_SQL["rate_plan_accounts"], {"plan": plan}))
    return PlanStory(line, versions, accounts)


def quote(connection: Connection, account: str, hour: datetime) -> Quote:
    """Return what prices an account (id or e-mail) in an hour, as a store would freeze it in."""
    user = find_user(connection, account)
    with connection.cursor(row_factory=class_row(Quote)) as cursor:
        row = cursor.execute(_SQL["rate_quote"], {"account": user.id, "hour": hour}).fetchone()
    if row is None:
        raise Unknown(f"No plan has a price for {hour_text(hour)}; the first begin in 2000.")
    return row
