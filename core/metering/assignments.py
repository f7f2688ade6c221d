"""Every change of which plan an account pays by, and the revision of the stored hours it touches.

As `ownership` does for owners: under the advisory lock ATTRIBUTION, taken exclusively, the periods
are written and the stored hours that they touch are revised, in one transaction. A plan that is
dated back reprices them so, and the next posting brings the difference.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from core.audit.trail import record
from core.clock import floor_hour, hour_text
from core.db.locks import Lock, take
from core.db.queries import queries_beside
from core.errors import Conflict, InputFault, Unknown
from core.identity.accounts import Account, find_account, settle_currency
from core.identity.principal import Principal
from core.metering.reattribute import Moved, raise_epoch, reattribute
from core.rates.plans import Plan, Version, find_plan, require_month
from core.rates.terms import terms_text

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Repriced:
    """Stored hours in one currency that are priced anew: their cost, the charge before and after."""

    currency: str
    hours: int
    cost_nano: int
    charge_before_nano: int
    charge_after_nano: int


@dataclass(frozen=True)
class PlanChange:
    """Who pays by which plan from `from_hour` on, and what that moves."""

    account: str
    plan: str
    currency: str | None
    """Of that plan's prices."""
    version: Version
    """Of that plan, at `from_hour`."""
    plan_before: str
    """At `from_hour`, until now."""
    dropped: tuple[str, ...]
    """Plans whose periods ended or vanished by it."""
    from_hour: datetime
    until_hour: datetime | None
    moved: tuple[Repriced, ...]

    @property
    def hours(self) -> int:
        return sum(each.hours for each in self.moved)


@dataclass(frozen=True)
class _Period:
    id: int
    plan: str
    since: datetime
    until: datetime | None


def assign_plan(
    connection: Connection,
    principal: Principal,
    *,
    account: str,
    plan: str,
    from_hour: datetime | None,
    why: str,
    now: datetime,
) -> PlanChange:
    """Let an account (id or e-mail) pay by a plan from an hour on, without one the hour that runs.

    A period that holds the hour ends there; one that begins later stays.
    """
    principal.require_admin("assign plans")
    payer = find_account(connection, account)
    take(connection, Lock.ATTRIBUTION)
    wanted = find_plan(connection, plan)
    since = _since(from_hour, now)
    version = _version_at(wanted, since)
    require_month(
        version.terms, since, f"the plan {plan} is assigned from a month on, which begins"
    )
    periods = _periods(connection, payer, since)
    holding = [each for each in periods if each.since <= since]
    _require_another(payer, plan, holding, since)
    until = min((each.since for each in periods if each.since > since), default=None)
    if wanted.currency is not None:
        settle_currency(connection, payer.no, wanted.currency, f"The plan {plan} charges")
    free_nano = _free_nano(connection, payer, since, until)
    for each in holding:
        _end(connection, each, since)
    _begin(connection, payer, wanted, since, until, principal.actor)
    moved = _reprice(connection, payer, since, until, plan, free_nano)
    change = _change(connection, payer, wanted, version, holding, since, until, moved)
    _audit(connection, principal, "rates.assign", change, why)
    return change


def unassign_plan(
    connection: Connection,
    principal: Principal,
    *,
    account: str,
    from_hour: datetime | None,
    why: str,
    now: datetime,
) -> PlanChange:
    """Let an account pay by the default plan again, from an hour on and for good."""
    principal.require_admin("assign plans")
    payer = find_account(connection, account)
    take(connection, Lock.ATTRIBUTION)
    since = _since(from_hour, now)
    periods = _periods(connection, payer, since)
    if not periods:
        raise Unknown(
            f"{payer.label} pays by the default plan from {hour_text(since)} on already."
            " Nothing was changed."
        )
    default = find_plan(connection, _default(connection))
    version = _version_at(default, since)
    free_nano = _free_nano(connection, payer, since, None)
    for each in periods:
        _end(connection, each, since)
    moved = _reprice(connection, payer, since, None, default.name, free_nano)
    change = _change(connection, payer, default, version, periods, since, None, moved)
    _audit(connection, principal, "rates.unassign", change, why)
    return change


def _since(from_hour: datetime | None, now: datetime) -> datetime:
    if from_hour is not None and floor_hour(from_hour) != from_hour:
        raise InputFault("Plans go by whole hours. Nothing was changed.")
    return from_hour or floor_hour(now)


def _version_at(plan: Plan, since: datetime) -> Version:
    version = plan.version_at(since)
    if version is None:
        first = hour_text(plan.versions[0].since)
        raise Conflict(
            f"The plan {plan.name} has no price before {first}: assign it from then on, or give it"
            f" an earlier version (`hopsmeter rates new {plan.name}`). Nothing was changed."
        )
    return version


def _default(connection: Connection) -> str:
    row = connection.execute("SELECT name FROM hopsmeter.rate_plans WHERE is_default").fetchone()
    assert row is not None
    name: str = row[0]
    return name


def _periods(connection: Connection, payer: Account, since: datetime) -> list[_Period]:
    values = {"account_no": payer.no, "since": since}
    rows = connection.execute(_SQL["assignments_touching"], values).fetchall()
    return [_Period(*row) for row in rows]


def _require_another(payer: Account, plan: str, holding: list[_Period], since: datetime) -> None:
    if any(each.plan == plan for each in holding):
        raise Conflict(
            f"{payer.label} pays by the plan {plan} at {hour_text(since)} already."
            " Nothing was changed."
        )


def _begin(
    connection: Connection,
    payer: Account,
    plan: Plan,
    since: datetime,
    until: datetime | None,
    by: str,
) -> None:
    values = {
        "account_no": payer.no,
        "plan_id": plan.id,
        "since": since,
        "until": until,
        "by": by,
    }
    connection.execute(_SQL["add_assignment"], values)


def _end(connection: Connection, period: _Period, until: datetime) -> None:
    if period.since >= until:
        connection.execute(_SQL["drop_assignment"], {"id": period.id})
    else:
        connection.execute(_SQL["end_assignment"], {"id": period.id, "until": until})


def _free_nano(
    connection: Connection, payer: Account, since: datetime, until: datetime | None
) -> int:
    """Return what is not charged in [since, until) because it is free, as things stand."""
    values = {"account_no": payer.no, "since": since, "until": until}
    row = connection.execute(_SQL["free_value"], values).fetchone()
    assert row is not None
    return int(row[0])


def _reprice(
    connection: Connection,
    payer: Account,
    since: datetime,
    until: datetime | None,
    plan: str,
    free_nano: int,
) -> tuple[Repriced, ...]:
    """Revise what the account pays for in [since, until), cluster by cluster; sum by currency.

    `free_nano` was free of it until now. Whoever has something included pays in one currency, and
    all of these hours were under it, or come to be: what is free is a part of what is revised.
    """
    raise_epoch(connection)
    values = {"account_no": payer.no, "since": since, "until": until}
    found: dict[str, list[Moved]] = {}
    for cluster_id, currency, names in connection.execute(_SQL["paid_namespaces"], values):
        moved = reattribute(connection, cluster_id, names, since, until, f"plan: {plan}")
        if moved.hours:
            found.setdefault(currency, []).append(moved)
    free_after_nano = _free_nano(connection, payer, since, until) if found else 0
    return tuple(
        Repriced(
            currency,
            sum(each.hours for each in parts),
            sum(each.cost_nano for each in parts),
            sum(each.charge_before_nano for each in parts) - free_nano,
            sum(each.charge_after_nano for each in parts) - free_after_nano,
        )
        for currency, parts in sorted(found.items())
    )


def _change(
    connection: Connection,
    payer: Account,
    plan: Plan,
    version: Version,
    ended: list[_Period],
    since: datetime,
    until: datetime | None,
    moved: tuple[Repriced, ...],
) -> PlanChange:
    held = [each.plan for each in ended if each.since <= since]
    return PlanChange(
        account=payer.id,
        plan=plan.name,
        currency=plan.currency,
        version=version,
        plan_before=held[0] if held else _default(connection),
        dropped=tuple(each.plan for each in ended),
        from_hour=since,
        until_hour=until,
        moved=moved,
    )


def _audit(
    connection: Connection, principal: Principal, action: str, change: PlanChange, why: str
) -> None:
    record(
        connection,
        principal,
        action,
        f"account {change.account}",
        before={"plan": change.plan_before, "ended": list(change.dropped)},
        after={
            "plan": change.plan,
            "terms": terms_text(change.version.terms, change.currency),
            "from": hour_text(change.from_hour),
            "until": hour_text(change.until_hour) if change.until_hour else None,
            "moved": [
                {
                    "currency": each.currency,
                    "hours_revised": each.hours,
                    "charge_before_nano": each.charge_before_nano,
                    "charge_after_nano": each.charge_after_nano,
                }
                for each in change.moved
            ],
        },
        why=why,
    )
