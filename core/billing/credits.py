"""Credits: granted, bought, adjusted, refunded; each a post of its own under a key of its own.

The posts themselves are functions of the schema (lock the books, look for the key, write): one round
trip each, and the same whoever calls. The same key again changes nothing.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from core.audit.trail import record
from core.billing.marks import mark_accounts
from core.clock import day_of
from core.db.queries import queries_beside
from core.errors import Conflict, InputFault
from core.identity.accounts import Account, find_account, require_currency, settle_currency
from core.identity.principal import Principal
from core.money import NANO_MAX, text_from_nano

_SQL = queries_beside(__file__)
PURCHASES, PROMOTIONS, REFUNDS = 12, 13, 15
"""Codes of hopsmeter.ledger_codes."""
GRANT_PRIORITY, PURCHASE_PRIORITY = 50, 100
"""Of lots that expire together: what was given is used before what was paid for."""
PRIORITY_MAX = 1_000
AMOUNT_MAX_NANO = NANO_MAX // 1_000
"""9.2 million units at once: above it is a slip of the finger, and sums stay far from their end."""
KEY_CHARS_MAX = 200

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
    arrears_nano: int
    """What the lots did not hold any more, and is owed now."""
    balance_before_nano: int
    balance_nano: int
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
    done = _add(connection, payer, PROMOTIONS, lot, rank, currency, _key(principal, key), why, now)
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
    payer = find_account(connection, account)
    rank = PURCHASE_PRIORITY if lot.priority is None else lot.priority
    done = _add(connection, payer, PURCHASES, lot, rank, currency, _key(principal, key), why, now)
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
    reference = _key(principal, key)
    if amount_nano < 0:
        done = _take(connection, payer, PROMOTIONS, -amount_nano, None, reference, why, now)
        if done is None:
            held = text_from_nano(_balance(connection, payer), 2)
            raise Conflict(
                f"{payer.label} has {held} {payer.currency or ''} of credits, and they never go"
                " below zero. Nothing was changed."
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
    payer = find_account(connection, account)
    done = _take(
        connection, payer, REFUNDS, amount_nano, lot, _key(principal, key), why, now, owed=True
    )
    assert done is not None
    _audit(connection, principal, "credits.refund", done, why)
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
    _require_lot(lot, rank)
    _require_to_come(connection, payer, lot, key, day_of(now))
    money = require_currency(payer, currency)
    settle_currency(connection, payer.no, money, "These credits are")
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
    connection.execute(_SQL["keep_policy"], _policy(payer))
    mark_accounts(connection, now, payer.no)
    after = _balance(connection, payer)
    return Credited(
        payer.id,
        money,
        lot.amount_nano,
        row["repaid_nano"],
        0,
        # Not read before the post: another may come between. What is read after it is locked.
        after - (lot.amount_nano - row["repaid_nano"] if row["is_new"] else 0),
        after,
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
    connection.execute(_SQL["keep_policy"], _policy(payer))
    mark_accounts(connection, now, payer.no)
    if row["is_new"] and not (row["taken_nano"] or (row["arrears_nano"] and owed)):
        return None
    after = _balance(connection, payer)
    taken_nano = row["taken_nano"] or 0
    return Credited(
        payer.id,
        payer.currency or "",
        -taken_nano,
        0,
        row["arrears_nano"] or 0,
        after + taken_nano,
        after,
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
    except psycopg.errors.UniqueViolation:
        raise Conflict(
            f"The key {key} was used for another post of this account; use one of its own."
            " Nothing was changed."
        ) from None
    assert row is not None
    return row


def _balance(connection: Connection, payer: Account) -> int:
    row = connection.execute(
        "SELECT balance_nano FROM hopsmeter.ledger_balances WHERE account_no = %s AND book = 1",
        [payer.no],
    ).fetchone()
    return int(row[0]) if row else 0


def _policy(payer: Account) -> dict[str, Any]:
    return {"account_no": payer.no, "grace_nano": None, "low_nano": None, "keep_low": True}


def _key(principal: Principal, key: str | None) -> str:
    """Return the reference under which this is posted once: what was given, or the command's own."""
    if key is None:
        assert principal.command_id is not None, "a post without a key or a command"
        return f"command:{principal.command_id}"
    if not 0 < len(key) <= KEY_CHARS_MAX or not key.isprintable() or key != key.strip():
        raise InputFault(
            f"A key has 1 to {KEY_CHARS_MAX} printable characters, none of them a space at its"
            " ends. Nothing was changed."
        )
    if key.startswith(("command:", "expiry:")) or key.endswith((":repaid", ":arrears")):
        raise InputFault(
            "A key does not begin with `command:` or `expiry:` nor end with `:repaid` or `:arrears`,"
            " which are ours. Nothing was changed."
        )
    return key


def _require_amount(amount_nano: int) -> None:
    if amount_nano <= 0:
        raise InputFault("An amount of credits is more than zero. Nothing was changed.")
    if amount_nano > AMOUNT_MAX_NANO:
        raise InputFault(
            f"At most {text_from_nano(AMOUNT_MAX_NANO, 0)} units are posted at once."
            " Nothing was changed."
        )


def _require_lot(lot: Lot, rank: int) -> None:
    _require_amount(lot.amount_nano)
    if not 0 <= rank <= PRIORITY_MAX:
        raise InputFault(
            f"A priority is a number from 0 (used first) to {PRIORITY_MAX}. Nothing was changed."
        )


def _require_to_come(
    connection: Connection, payer: Account, lot: Lot, key: str, today: date
) -> None:
    """Refuse a date that is past, but not to who asks again, after it, for what was posted before.

    His first answer was lost, perhaps; told that nothing was changed, he would post it twice.
    """
    if lot.expires_on is None or lot.expires_on > today:
        return
    known = {"account": payer.no, "key": key}
    if connection.execute(_SQL["key_known"], known).fetchone() is None:
        raise InputFault(
            f"{lot.expires_on} is no day to come: credits pay the days before they expire."
            " Nothing was changed."
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
        before={"credits_nano": done.balance_before_nano},
        after={
            "credits_nano": done.balance_nano,
            "amount_nano": done.amount_nano,
            "repaid_nano": done.repaid_nano,
            "arrears_nano": done.arrears_nano,
            "currency": done.currency,
            "expires_on": str(done.expires_on) if done.expires_on else None,
            "key": done.key,
        },
        why=why,
    )
