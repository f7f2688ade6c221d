"""What of a month Stripe was not told: of accounts that are linked, and of those that are not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from core.billing.stripe.reporting.limits import REPORTABLE
from core.clock import day_of
from core.db.queries import queries_beside
from core.money import exact_from_nano

_SQL = queries_beside(__file__)
NAMED_MAX: Final = 5

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class UntoldDays:
    """Days of linked accounts that wait for one reason; `named` are the first of them."""

    reason: str
    days: int
    named: tuple[str, ...]


@dataclass(frozen=True)
class Unlinked:
    """An account that is not linked to Stripe, and what it owes of a month that nobody reports."""

    account: str
    email: str
    currency: str
    days: int
    due_nano: int


def untold(
    connection: Connection, first: date, after: date, now: datetime
) -> tuple[UntoldDays, ...]:
    """Return what of [first, after) is neither accepted nor settled; nothing before `stripe setup`."""
    with connection.cursor(row_factory=class_row(UntoldDays)) as cursor:
        found = cursor.execute(_SQL["untold"], _values(first, after, now)).fetchall()
    return tuple(UntoldDays(each.reason, each.days, tuple(each.named)) for each in found)


def unlinked(
    connection: Connection, first: date, after: date, now: datetime
) -> tuple[Unlinked, ...]:
    """Return the accounts that owe something of [first, after) and are not linked to Stripe."""
    with connection.cursor(row_factory=class_row(Unlinked)) as cursor:
        return tuple(cursor.execute(_SQL["unlinked"], _values(first, after, now)).fetchall())


def unlinked_words(found: Sequence[Unlinked]) -> str:
    """Return who owes what of it beside Stripe, in a sentence; the first of them by name."""
    named = ", ".join(
        f"{each.email} {exact_from_nano(each.due_nano)} {each.currency}"
        for each in found[:NAMED_MAX]
    )
    more = f" and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""
    accounts = "1 account is" if len(found) == 1 else f"{len(found)} accounts are"
    return f"{accounts} not linked to Stripe, which is not told what they owe: {named}{more}."


def _values(first: date, after: date, now: datetime) -> dict[str, Any]:
    return {
        "first": first,
        "after": after,
        "oldest": day_of(now) - REPORTABLE,
        "named": NAMED_MAX,
    }
