"""Marks: credits that ran low or out, and arrears beyond the policy, told of once each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row

from core.billing.outgoing import tell_outside
from core.clock import day_of
from core.db.queries import queries_beside
from core.money import decimal_from_nano

_SQL = queries_beside(__file__)
ACCOUNTS_MAX = 10_000
"""Marked in one run; the others are found again by the next."""

EventType = Literal["credits.low", "credits.empty", "credits.beyond_limit"]
Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Event:
    """Something that became so of an account's credits; amounts in nano-units of `currency`."""

    type: EventType
    account: str
    currency: str
    credits_nano: int
    arrears_nano: int


def mark_accounts(
    connection: Connection, now: datetime, accounts: Sequence[int] | None = None
) -> list[Event]:
    """Bring the marks of accounts, or of all, to what the books say; a new one leaves an event.

    Who marks an account holds its row: two at once tell of it once. One that another holds is left
    to him, and nobody waits for an account while he holds another.
    """
    values: dict[str, Any] = {"today": day_of(now), "limit": ACCOUNTS_MAX}
    found = _to_change(
        connection, {**values, "accounts": None if accounts is None else [*accounts]}
    )
    if not found:
        return []
    with connection.transaction():
        numbers = [row["account_no"] for row in found]
        held = connection.execute(_SQL["hold_marks"], {"accounts": numbers}).fetchall()
        events: list[Event] = []
        # Looked at again, since another may have told of it before it was ours.
        for row in _to_change(connection, {**values, "accounts": [each[0] for each in held]}):
            connection.execute(_SQL["mark"], {**row, "now": now})
            events += [_tell(connection, row, each, now) for each in _new(row)]
        return events


def _to_change(connection: Connection, values: dict[str, Any]) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_SQL["marks_to_change"], values).fetchall()


def _new(row: dict[str, Any]) -> list[EventType]:
    """Empty says more than low: where both begin at once, one word is enough."""
    found: list[EventType] = []
    if row["newly_empty"]:
        found.append("credits.empty")
    elif row["newly_low"]:
        found.append("credits.low")
    if row["newly_beyond"]:
        found.append("credits.beyond_limit")
    return found


def _tell(connection: Connection, row: dict[str, Any], kind: EventType, now: datetime) -> Event:
    event = Event(kind, row["id"], row["currency"] or "", row["credits"], row["owed"])
    amounts = {"credits_nano": event.credits_nano, "arrears_nano": event.arrears_nano}
    data = {
        "currency": event.currency,
        "credits": f"{decimal_from_nano(event.credits_nano):f}",
        "arrears": f"{decimal_from_nano(event.arrears_nano):f}",
    }
    tell_outside(connection, row["account_no"], event.account, kind, data, now, after=amounts)
    return event
