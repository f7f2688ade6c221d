"""Which currencies need a price at Stripe, and which of those in use it cannot bill."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from core.billing.stripe.units import not_billable, require_billable
from core.db.queries import queries_beside
from core.errors import InputFault

_SQL = queries_beside(__file__)
NAMED_MAX: Final = 5

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Currencies:
    """`taken` get prices; `left_out` is a sentence about each other one in use."""

    taken: tuple[str, ...]
    left_out: tuple[str, ...]


def currencies_in_use(connection: Connection, asked: Sequence[str] = ()) -> Currencies:
    """Return the currencies of accounts and clusters, those that have a price, and those asked for.

    InputFault where one that was asked for cannot be billed, or none can.
    """
    for currency in asked:
        require_billable(currency)
    codes = _codes(connection, asked)
    taken = tuple(code for code in codes if not not_billable(code))
    said = left_out(connection)
    if not taken:
        said = [*said, "Say"] if codes else ["Nothing here has a currency yet: say"]
        raise InputFault(
            f"{' '.join(said)} which are to be billed (--currency EUR, more than once if need be)."
            " Nothing was changed."
        )
    return Currencies(taken, tuple(said))


def left_out(connection: Connection) -> list[str]:
    """Say of each currency in use that Stripe cannot bill why, whose it is, and what to do."""
    return [_said(connection, code) for code in _codes(connection) if not_billable(code)]


def _codes(connection: Connection, asked: Sequence[str] = ()) -> list[str]:
    rows = connection.execute(_SQL["currencies_in_use"], {"asked": [*asked]}).fetchall()
    return [str(row[0]) for row in rows]


def _said(connection: Connection, currency: str) -> str:
    values = {"currency": currency, "limit": NAMED_MAX}
    row = connection.execute(_SQL["users_of_currency"], values).fetchone()
    assert row is not None
    accounts, first_accounts, clusters, first_clusters = row
    whose = " and of ".join(
        _named(noun, count, first)
        for noun, count, first in (
            ("account", accounts, first_accounts),
            ("cluster", clusters, first_clusters),
        )
        if count
    )
    them = "it" if accounts + clusters == 1 else "them"
    of = f" It is the currency of {whose}: bill {them} another way." if whose else ""
    return f"Left out is {currency}: {not_billable(currency)}.{of}"


def _named(noun: str, count: int, first: list[str]) -> str:
    more = f" and {count - len(first)} more" if count > len(first) else ""
    return f"the {noun}{'' if count == 1 else 's'} {', '.join(first)}{more}"
