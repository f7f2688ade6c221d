"""A past month under another plan: what each account would have been charged. It changes nothing."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from core.clock import day_start, hour_text, month_bounds
from core.db.queries import queries_beside
from core.errors import Conflict, InputFault, Unknown
from core.identity.principal import Principal
from core.identity.users import find_user

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Rerated:
    """One account's month: what it cost, is charged now, and would be charged then."""

    account_id: str
    email: str
    currency: str
    hours: int
    """Of its namespaces, each counted by itself."""
    cost_nano: int
    charge_now_nano: int
    charge_then_nano: int
    difference_nano: int
    margin_now_nano: int
    margin_then_nano: int


@dataclass(frozen=True)
class Preview:
    """A month under a plan, the account whose charge moves most first.

    Accounts in another currency than the plan's are `left_out`: nothing is converted.
    """

    plan: str
    currency: str | None
    since: datetime
    until: datetime
    accounts: tuple[Rerated, ...]
    left_out: tuple[str, ...]


def preview(
    connection: Connection,
    principal: Principal,
    plan: str,
    month: str,
    *,
    account: str | None,
    now: datetime,
) -> Preview:
    """Rate what is stored of a month by another plan, each hour by its version then."""
    principal.require_admin("preview rates")
    first, after = month_bounds(month)
    since, until = day_start(first), day_start(after)
    if since > now:
        raise InputFault(f"{month} is still to come; name a month that is over, or that runs.")
    plan_id, currency = _plan(connection, plan, since)
    values: dict[str, Any] = {
        "since": since,
        "until": until,
        "plan_id": plan_id,
        "account_no": None,
    }
    if account is not None:
        values["account_no"] = find_user(connection, account).no
    with connection.cursor(row_factory=dict_row) as cursor:
        found = tuple(Rerated(**row) for row in cursor.execute(_SQL["rerated"], values))
    left_out = tuple(
        each.account_id for each in found if each.currency != (currency or each.currency)
    )
    if account is not None and left_out:
        raise Conflict(
            f"The plan {plan} charges in {currency}, and {left_out[0]} pays for cost in another"
            " currency: nothing is converted."
        )
    kept = tuple(each for each in found if each.account_id not in left_out)
    return Preview(plan, currency, since, until, kept, left_out)


def _plan(connection: Connection, plan: str, since: datetime) -> tuple[int, str | None]:
    """Return the plan's number and currency; it must have a price from the month's first hour on."""
    row = connection.execute(_SQL["plan_begins"], {"plan": plan}).fetchone()
    if row is None:
        raise Unknown(f"There is no plan {plan[:80]!r}; `hopsmeter rates list` shows all.")
    plan_id, currency, begins = row
    if begins > since:
        raise Conflict(
            f"The plan {plan} has no price before {hour_text(begins)}: choose a later month, or a"
            " plan that had one."
        )
    return plan_id, currency
