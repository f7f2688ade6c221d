"""Arrears that no credits will repay any more: what an account owes on leaving prepaid."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg

from core.audit.trail import record
from core.billing.balances import Balances, balances_of, locked_balances
from core.billing.keys import reference_of
from core.billing.marks import mark_accounts
from core.clock import day_of
from core.db.queries import queries_beside
from core.errors import Conflict
from core.identity.accounts import Account, find_account
from core.identity.principal import Principal

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class ArrearsSettled:
    """What moved from arrears to receivable, in nano-units of `currency`, on which day it stands."""

    account: str
    currency: str
    moved_nano: int
    before: Balances
    after: Balances
    posted_on: date


def settle_arrears(
    connection: Connection, principal: Principal, *, account: str, why: str, now: datetime
) -> ArrearsSettled:
    """Move what an account owes as arrears to its receivable, which is reported; on the open day."""
    principal.require_admin("settle arrears")
    payer = find_account(connection, account)
    before = locked_balances(connection, payer)
    _require_left(connection, payer, before, day_of(now))
    values = {
        "account": payer.no,
        "amount": before.arrears_nano,
        "today": day_of(now),
        "key": reference_of(principal, None),
        "why": why,
    }
    row = connection.execute(_SQL["settle_arrears"], values).fetchone()
    assert row is not None
    mark_accounts(connection, now, [payer.no])
    after = balances_of(connection, payer)
    done = ArrearsSettled(
        payer.id,
        payer.currency or "",
        before.arrears_nano,
        before,
        after,
        _posted_on(connection, row[0]),
    )
    record(
        connection,
        principal,
        "account.settle-arrears",
        f"account {payer.id}",
        before={
            "arrears_nano": before.arrears_nano,
            "receivable_nano": before.receivable_nano,
        },
        after={"arrears_nano": after.arrears_nano, "receivable_nano": after.receivable_nano},
        why=why,
    )
    return done


def _require_left(connection: Connection, payer: Account, owed: Balances, today: date) -> None:
    """While an account pays prepaid, credits repay its arrears; an hour later there may be more."""
    if owed.arrears_nano <= 0:
        raise Conflict(f"{payer.label} owes no arrears. Nothing was changed.")
    row = connection.execute("SELECT hopsmeter.mode_on(%s, %s)", [payer.no, today]).fetchone()
    if row and row[0] == "prepaid":
        raise Conflict(
            f"{payer.label} pays prepaid today: its next credits repay the arrears. Let it pay"
            f" otherwise first (`hopsmeter account mode '{payer.id}' postpaid`), and settle once that"
            " began. Nothing was changed."
        )


def _posted_on(connection: Connection, entry: int) -> date:
    row = connection.execute(
        "SELECT posted_on FROM hopsmeter.ledger_entries WHERE id = %s", [entry]
    ).fetchone()
    assert row is not None
    posted_on: date = row[0]
    return posted_on
