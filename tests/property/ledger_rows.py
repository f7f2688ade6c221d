"""The ledger as the database holds it, in the words of the oracle."""

from dataclasses import dataclass
from datetime import date

from tests import factories
from tests.core.billing.ledger_site import day
from tests.core.metering.site import Site
from tests.property.ledger_oracle import BOOKS, Entry, Lot


@dataclass(frozen=True)
class Ledger:
    entries: list[Entry]
    lots: list[Lot]
    balances: dict[str, int]


def read_ledger(site: Site, users: dict[str, factories.User]) -> dict[str, Ledger]:
    """Read what each account has, by its name."""
    return {
        name: Ledger(_entries(site, user), _lots(site, user), _balances(site, user))
        for name, user in users.items()
    }


def lot_ids(site: Site, user: factories.User) -> list[int]:
    """Return an account's lots in the order in which they came."""
    rows = site.all("SELECT id FROM credit_lots WHERE account_no = %s ORDER BY id", user.no)
    return [row["id"] for row in rows]


def _entries(site: Site, user: factories.User) -> list[Entry]:
    numbers = {lot: number for number, lot in enumerate(lot_ids(site, user))}
    rows = site.all(
        "SELECT b.name AS book, c.name AS contra, e.amount_nano, e.usage_day, e.posted_on,"
        " (SELECT array_agg(ARRAY[d.lot_id, d.amount_nano]) FROM credit_draws d"
        "  WHERE d.entry_id = e.id) AS draws FROM ledger_entries e"
        " JOIN ledger_codes b ON b.code = e.book JOIN ledger_codes c ON c.code = e.contra"
        " WHERE e.account_no = %s",
        user.no,
    )
    return [
        Entry(
            row["book"],
            row["contra"],
            row["amount_nano"],
            None if row["usage_day"] is None else _number(row["usage_day"]),
            _number(row["posted_on"]),
            tuple(sorted((numbers[lot], amount) for lot, amount in row["draws"] or ())),
        )
        for row in rows
    ]


def _lots(site: Site, user: factories.User) -> list[Lot]:
    rows = site.all("SELECT * FROM credit_lots WHERE account_no = %s ORDER BY id", user.no)
    return [
        Lot(
            number,
            row["kind"],
            row["amount_nano"],
            row["remaining_nano"],
            None if row["expires_on"] is None else _number(row["expires_on"]),
            row["priority"],
            row["expired_at"] is not None,
        )
        for number, row in enumerate(rows)
    ]


def _balances(site: Site, user: factories.User) -> dict[str, int]:
    rows = site.all(
        "SELECT c.name, b.balance_nano FROM ledger_balances b"
        " JOIN ledger_codes c ON c.code = b.book WHERE b.account_no = %s",
        user.no,
    )
    return {**dict.fromkeys(BOOKS, 0), **{row["name"]: row["balance_nano"] for row in rows}}


def _number(on: date) -> int:
    return (on - day(0)).days
