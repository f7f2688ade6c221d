"""What is in the books of one account: credits, and what it owes."""

from dataclasses import dataclass
from typing import Any

import psycopg

from core.identity.accounts import Account

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Balances:
    """Amounts in nano-units of the account's currency; what is owed counts upwards."""

    credits_nano: int = 0
    arrears_nano: int = 0
    receivable_nano: int = 0


def balances_of(connection: Connection, account: Account) -> Balances:
    """Return what is in the books now."""
    row = connection.execute(
        "SELECT coalesce(sum(balance_nano) FILTER (WHERE book = 1), 0)::bigint,"
        " coalesce(-sum(balance_nano) FILTER (WHERE book = 3), 0)::bigint,"
        " coalesce(-sum(balance_nano) FILTER (WHERE book = 2), 0)::bigint"
        " FROM hopsmeter.ledger_balances WHERE account_no = %s",
        [account.no],
    ).fetchone()
    assert row is not None
    return Balances(*row)


def locked_balances(connection: Connection, account: Account) -> Balances:
    """Return the same, which stays so until this transaction ends."""
    connection.execute("SELECT FROM hopsmeter.lock_books(%s)", [account.no])
    return balances_of(connection, account)
