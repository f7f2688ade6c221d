"""Credits: granted, bought, adjusted, refunded; each a post of its own under a key of its own.

The posts themselves are functions of the schema (lock the books, look for the key, write): one round
trip each, and the same whoever calls. The same key again changes nothing.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, LiteralString

import psycopg
from psycopg.rows import dict_row

from core.audit.trail import record
from core.billing.balances import Balances, balances_of, locked_balances
from core.billing.keys import key_used, posted_before, reference_of, require_no_expiry
from core.billing.marks import mark_accounts
from core.clock import DAY, day_of
from core.db.queries import queries_beside
from core.errors import Conflict, InputFault, Unknown
from core.identity.accounts import (
    Account,
    find_account,
    find_books,
    require_currency,
    settle_currency,
)
from core.identity.principal import Principal
from core.money import NANO_MAX, exact_from_nano, text_from_nano

_SQL = queries_beside(__file__)
PURCHASES, PROMOTIONS, REFUNDS = 12, 13, 15
"""Codes of hopsmeter.ledger_codes."""
GRANT_PRIORITY, PURCHASE_PRIORITY = 50, 100
"""Of lots that expire together: what was given is used before what was paid for."""
PRIORITY_MAX = 1_000
AMOUNT_MAX_NANO = NANO_MAX // 1_000
"""9.2 million units at once: above it is a slip of the finger, and sums stay far from their end."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Credited:
    """What a post of credits did; amounts in nano-units of `currency`."""

    account: str
    currency: str
    amount_nano: int
    """Into the credits; negative where they were taken."""
    repaid_nano: int
    """Of it, to the arrears at once."""
    owed_nano: int
    """What the lots did not hold any more, and is owed now as arrears."""
    before: Balances
    after: Balances
    expires_on: date | None
    lot: int | None
    key: str
    is_new: bool
    """False where the same was posted under this key before: nothing was changed."""


@dataclass(frozen=True)
class Lot:
    """What a grant or purchase is asked with."""

    amount_nano: int
    expires_on: date | None = None
    priority: int | None = None


def grant(
    connection: Connection,
    principal: Principal,
    *,
    account: str,
    lot: Lot,
    currency: str | None,
    key: str | None,
    why: str,
    now: datetime,
) -> Credited:
    """Give an account promotional credits; inside the caller's transaction."""
    principal.require_admin("grant credits")
    payer = find_account(connection, account)
    rank = GRANT_PRIORITY if lot.priority is None else lot.priority
    done = _add(
        connection, payer, PROMOTIONS, lot, rank, currency, reference_of(principal, key), why, now
    )
    _audit(connection, principal, "credits.grant", done, why)
    return done


def purchase(
    connection: Connection,
    principal: Principal,
    *,
    account: str,
    lot: Lot,
    currency: str | None,
    key: str,
    why: str,
    now: datetime,
) -> Credited:
    """Credit what an account paid for; `key` is the payment's own id outside."""
    principal.require_admin("book purchases")
    payer = find_books(connection, account)
    rank = PURCHASE_PRIORITY if lot.priority is None else lot.priority
    done = _add(
        connection, payer, PURCHASES, lot, rank, currency, reference_of(principal, key), why, now
    )
    _audit(connection, principal, "credits.purchase", done, why)
    return done


def adjust(
    connection: Connection,
    principal: Principal,
    *,
    account: str,
    amount_nano: int,
    currency: str | None,
    key: str | None,
    why: str,
    now: datetime,
) -> Credited:
    """Correct an account's credits by hand: up as a grant, down from its lots as far as they hold."""
    principal.require_admin("adjust credits")
    payer = find_account(connection, account)
    reference = reference_of(principal, key)
    if amount_nano < 0:
        require_currency(payer, currency)
        done = _take(connection, payer, PROMOTIONS, -amount_nano, None, reference, why, now)
        if done is None:
            held = exact_from_nano(balances_of(connection, payer).credits_nano)
            raise Conflict(
                f"{payer.label} has {held} {payer.currency or ''} of credits, and they never go"
                " below zero; take that much at most. Nothing was changed."
            )
    else:
        lot = Lot(amount_nano)
        done = _add(
            connection, payer, PROMOTIONS, lot, GRANT_PRIORITY, currency, reference, why, now
        )
    _audit(connection, principal, "credits.adjust", done, why)
    return done


def refund(
    connection: Connection,
    principal: Principal,
    *,
    account: str,
    amount_nano: int,
    lot: int | None,
    key: str,
    why: str,
    now: datetime,
) -> Credited:
    """Take back what was paid for: from its own lot, then from the others; the rest is owed."""
    principal.require_admin("refund purchases")
    payer = find_books(connection, account)
    require_currency(payer, None)
    # The books before the lot, as everybody does: whoever posts holds them when he draws from it.
    locked_balances(connection, payer)
    at = {"lot": lot, "account": payer.no}
    if lot is not None and connection.execute(_SQL["lot_of"], at).fetchone() is None:
        raise Unknown(
            f"{payer.label} has no lot {lot}; `hopsmeter credits show '{payer.id}'` lists them."
            " Nothing was changed."
        )
    done = _take(
        connection,
        payer,
        REFUNDS,
        amount_nano,
        lot,
        reference_of(principal, key),
        why,
        now,
        owed=True,
    )
    assert done is not None
    _audit(connection, principal, "credits.refund", done, why)
    return done


def give_back_refund(
    connection: Connection,
    principal: Principal,
    *,
    account: str,
    refund_key: str,
    expires_on: date | None,
    why: str,
    now: datetime,
) -> Credited | None:
    """Take a refund back, as a dispute that was won: what it took are credits again.

    They are a lot of their own, and repay first what the refund, or anything since, left as arrears.
    None where there is no such refund; given back once.
    """
    principal.require_admin("take refunds back")
    payer = find_books(connection, account)
    key = f"{refund_key}:returned"
    before = locked_balances(connection, payer)
    # Past its date it would be gone at once, and what was paid for it with it.
    until = expires_on if expires_on and expires_on > day_of(now) else None
    values = {
        "account": payer.no,
        "refund": refund_key,
        "key": key,
        "today": day_of(now),
        "expires": until,
        "rank": PURCHASE_PRIORITY,
        "why": why or None,
    }
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SQL["give_back_refund"], values).fetchone()
    if row is None:
        return None
    repaid = connection.execute(_SQL["repay_arrears"], {**values, "lot": row["lot_id"]}).fetchone()
    mark_accounts(connection, now, [payer.no])
    done = Credited(
        payer.id,
        payer.currency or "",
        row["amount_nano"],
        repaid[0] if repaid else 0,
        0,
        before,
        balances_of(connection, payer),
        until,
        row["lot_id"],
        key,
        is_new=True,
    )
    _audit(connection, principal, "credits.refund-returned", done, why)
    return done


def _add(
    connection: Connection,
    payer: Account,
    against: int,
    lot: Lot,
    rank: int,
    currency: str | None,
    key: str,
    why: str,
    now: datetime,
) -> Credited:
    if not posted_before(connection, payer.no, key):
        _require_lot(lot, rank, day_of(now))
    money = require_currency(payer, currency)
    settle_currency(connection, payer.no, money, "These credits are")
    before = locked_balances(connection, payer)
    require_no_expiry(connection, payer.id, key)
    values = {
        "account": payer.no,
        "against": against,
        "amount": lot.amount_nano,
        "key": key,
        "today": day_of(now),
        "expires": lot.expires_on,
        "rank": rank,
        "why": why or None,
    }
    row = _posted(connection, "add_credits", values, key)
    if not row["is_new"]:
        _require_same(connection, _SAME_RANK, [rank, row["lot_id"]], key)
    connection.execute(_SQL["keep_policy"], _policy(payer))
    mark_accounts(connection, now, [payer.no])
    return Credited(
        payer.id,
        money,
        lot.amount_nano,
        row["repaid_nano"],
        0,
        before,
        balances_of(connection, payer),
        lot.expires_on,
        row["lot_id"],
        key,
        row["is_new"],
    )


def _take(
    connection: Connection,
    payer: Account,
    against: int,
    amount_nano: int,
    lot: int | None,
    key: str,
    why: str,
    now: datetime,
    *,
    owed: bool = False,
) -> Credited | None:
    _require_amount(amount_nano)
    before = locked_balances(connection, payer)
    require_no_expiry(connection, payer.id, key)
    values = {
        "account": payer.no,
        "against": against,
        "amount": amount_nano,
        "key": key,
        "today": day_of(now),
        "lot": lot,
        "owed": owed,
        "why": why or None,
    }
    row = _posted(connection, "take_credits", values, key)
    if not row["is_new"]:
        _require_same(connection, _SAME_LOT, [lot, payer.no, payer.no, key], key)
    connection.execute(_SQL["keep_policy"], _policy(payer))
    mark_accounts(connection, now, [payer.no])
    if row["is_new"] and not (row["taken_nano"] or (row["arrears_nano"] and owed)):
        return None
    return Credited(
        payer.id,
        payer.currency or "",
        -(row["taken_nano"] or 0),
        0,
        row["arrears_nano"] or 0,
        before,
        balances_of(connection, payer),
        None,
        lot,
        key,
        row["is_new"],
    )


def _posted(connection: Connection, name: str, values: dict[str, Any], key: str) -> dict[str, Any]:
    try:
        with (
            connection.transaction(),
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            row = cursor.execute(_SQL[name], values).fetchone()
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name == "ledger_entries_payment":
            raise Conflict(
                f"The payment {key} was credited to another account. Nothing was changed."
            ) from None
        raise key_used(key) from None
    except psycopg.errors.NumericValueOutOfRange:
        raise InputFault(
            "With that the account would have more than the books hold. Nothing was changed."
        ) from None
    assert row is not None
    return row


_SAME_RANK: Final = "SELECT priority = %s FROM hopsmeter.credit_lots WHERE id = %s"
_SAME_LOT: Final = (
    "SELECT reverses IS NOT DISTINCT FROM"
    " (SELECT entry_id FROM hopsmeter.credit_lots WHERE id = %s AND account_no = %s)"
    " FROM hopsmeter.ledger_entries WHERE account_no = %s AND ref = %s"
)


def _require_same(
    connection: Connection, question: LiteralString, values: list[Any], key: str
) -> None:
    """See to it that a key stands for the same post in what the posts themselves do not compare.

    Two purchases of one price are refunded by two posts, of which the second is no repetition.
    """
    row = connection.execute(question, values).fetchone()
    if not (row and row[0]):
        raise key_used(key)


def _policy(payer: Account) -> dict[str, Any]:
    return {"account_no": payer.no, "grace_nano": None, "low_nano": None, "keep_low": True}


def _require_amount(amount_nano: int) -> None:
    if amount_nano <= 0:
        raise InputFault(
            "An amount of credits is more than zero; less is taken back by `hopsmeter credits"
            " adjust`. Nothing was changed."
        )
    if amount_nano > AMOUNT_MAX_NANO:
        raise InputFault(
            f"At most {text_from_nano(AMOUNT_MAX_NANO, 0)} units are posted at once; is it a slip of"
            " the finger? Nothing was changed."
        )


def _require_lot(lot: Lot, rank: int, today: date) -> None:
    _require_amount(lot.amount_nano)
    if lot.expires_on is not None and lot.expires_on <= today:
        raise InputFault(
            f"{lot.expires_on} is no day to come: credits pay the days before the one they expire"
            f" on, so name {today + DAY} or a later one. Nothing was changed."
        )
    if not 0 <= rank <= PRIORITY_MAX:
        raise InputFault(
            f"A priority is a number from 0 (used first) to {PRIORITY_MAX}. Nothing was changed."
        )


def _audit(
    connection: Connection, principal: Principal, action: str, done: Credited, why: str
) -> None:
    if not done.is_new:
        return
    record(
        connection,
        principal,
        action,
        f"account {done.account}",
        before={
            "credits_nano": done.before.credits_nano,
            "arrears_nano": done.before.arrears_nano,
        },
        after={
            "credits_nano": done.after.credits_nano,
            "arrears_nano": done.after.arrears_nano,
            "amount_nano": done.amount_nano,
            "repaid_nano": done.repaid_nano,
            "owed_nano": done.owed_nano,
            "currency": done.currency,
            "expires_on": str(done.expires_on) if done.expires_on else None,
            "key": done.key,
        },
        why=why,
    )
