"""Expiry: what is left in a lot past its date is posted as expired, once its days are all in.

An admin may let a lot expire before that. It means the same: what is left goes, and what a correction
brings back to the lot later goes with it; what the lot has paid stays paid.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg

from core.audit.trail import record
from core.billing.balances import Balances, balances_of, locked_balances
from core.billing.keys import expired_under, key_used, posted_before, reference_of
from core.billing.marks import mark_accounts
from core.clock import day_of
from core.db.queries import queries_beside
from core.errors import Conflict, Unknown
from core.identity.accounts import Account, find_account
from core.identity.principal import Principal

_SQL = queries_beside(__file__)
WAIT_MAX = timedelta(hours=72)
"""For late hours of the days before a lot's date; then it expires whatever is missing."""
LOTS_MAX = 10_000
"""Posted in one run; what is left is taken up by the next."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Expired:
    """What one run posted: lots that were past their date, and how many of them held something."""

    lots: int
    emptied: int


@dataclass(frozen=True)
class LotExpired:
    """One lot that a person let expire: what went, in nano-units of `currency`."""

    account: str
    currency: str
    lot: int
    expired_nano: int
    before: Balances
    after: Balances
    expires_on: date | None
    """When it would have."""
    key: str | None
    is_new: bool
    """False where it expired under this key before: nothing was changed."""


def expire_due(connection: Connection, now: datetime) -> Expired:
    """Post every lot that is past its date and waits for no hour any more, each by itself.

    In autocommit: a lot that cannot be locked in time holds back none before it.
    """
    assert connection.autocommit
    today = day_of(now)
    values = {"today": today, "limit": LOTS_MAX}
    ready: dict[date, bool] = {}
    lots = emptied = 0
    for lot, account, expires_on in connection.execute(_SQL["lots_past_date"], values).fetchall():
        if expires_on not in ready:
            ready[expires_on] = _waited(expires_on, now) or _settled(connection, expires_on)
        if not ready[expires_on]:
            continue
        row = connection.execute(
            "SELECT hopsmeter.expire_lot(%s, %s, %s)", [account, lot, today]
        ).fetchone()
        lots += 1
        emptied += bool(row and row[0])
    return Expired(lots, emptied)


def expire_by_hand(
    connection: Connection,
    principal: Principal,
    *,
    account: str,
    lot: int,
    why: str,
    now: datetime,
    key: str | None = None,
) -> LotExpired:
    """Let one lot expire now, whatever its date; inside the caller's transaction.

    The same `key` again is the same expiry; without one, a lot that is gone already is refused.
    """
    principal.require_admin("let credits expire")
    payer = find_account(connection, account)
    if key is not None:
        key = reference_of(principal, key)
    before = locked_balances(connection, payer)
    known = connection.execute(_SQL["lot_of"], {"lot": lot, "account": payer.no}).fetchone()
    if known is None:
        raise Unknown(
            f"{payer.label} has no lot {lot}; `hopsmeter credits show '{payer.id}'` lists them."
            " Nothing was changed."
        )
    expires_on, expired_at, left_nano = known
    currency = payer.currency or ""
    if key is not None and _is_repeated(connection, payer, lot, key):
        return LotExpired(payer.id, currency, lot, 0, before, before, expires_on, key, is_new=False)
    if expired_at is not None:
        raise Conflict(f"Lot {lot} expired on {day_of(expired_at)} already. Nothing was changed.")
    values = [payer.no, lot, day_of(now), why]
    connection.execute("SELECT hopsmeter.expire_lot(%s, %s, %s, %s)", values)
    mark_accounts(connection, now, [payer.no])
    after = balances_of(connection, payer)
    done = LotExpired(
        payer.id, currency, lot, left_nano, before, after, expires_on, key, is_new=True
    )
    _audit(connection, principal, done, why)
    return done


def _is_repeated(connection: Connection, payer: Account, lot: int, key: str) -> bool:
    """Say whether this lot expired under this key before; Conflict where the key is another post's."""
    known = expired_under(connection, payer.id, key)
    if known is None and not posted_before(connection, payer.no, key):
        return False
    if known != lot:
        raise key_used(key)
    return True


def _audit(connection: Connection, principal: Principal, done: LotExpired, why: str) -> None:
    record(
        connection,
        principal,
        "credits.expire",
        f"account {done.account}",
        before={
            "lot": done.lot,
            "remaining_nano": done.expired_nano,
            "credits_nano": done.before.credits_nano,
        },
        after={
            "expired_nano": done.expired_nano,
            "credits_nano": done.after.credits_nano,
            "key": done.key,
        },
        why=why,
    )


def _waited(expires_on: date, now: datetime) -> bool:
    return now >= datetime(expires_on.year, expires_on.month, expires_on.day, tzinfo=UTC) + WAIT_MAX


def _settled(connection: Connection, expires_on: date) -> bool:
    row = connection.execute(_SQL["settled_before"], {"day": expires_on}).fetchone()
    return bool(row and row[0])
