"""What a person decides about a day that is not reported by itself: billed elsewhere, or on the open day."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

import psycopg

from core.audit.trail import record
from core.billing.stripe.reporting.given_up import give_up_refused
from core.billing.stripe.reporting.limits import REPORTABLE
from core.billing.stripe.reporting.taking_back import posting_date
from core.clock import day_of
from core.db.locks import Lock, take
from core.db.queries import queries_beside
from core.errors import Conflict
from core.identity.accounts import Account, find_account
from core.identity.principal import Principal
from core.money import exact_from_nano

_SQL = queries_beside(__file__)
DAYS_MAX = 4_000

How = Literal["outside", "open-day"]
Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Settled:
    """Which days were settled and with how much, in nano-units of `currency`."""

    account: str
    currency: str
    how: How
    days: tuple[tuple[date, int], ...]

    @property
    def amount_nano(self) -> int:
        return sum(amount for _, amount in self.days)


def settle(
    connection: Connection,
    principal: Principal,
    *,
    account: str,
    day: date | None,
    how: How,
    why: str,
    now: datetime,
) -> Settled:
    """Settle one day, or all that wait for a person: outside of Stripe, or on the day that runs.

    Outside: what is due stands against the receivable, and Stripe is never told. On the open day: it
    is reported with that, and billed with its month. What Stripe refused of it is given up.
    """
    principal.require_admin("settle what Stripe was not told")
    payer = find_account(connection, account)
    take(connection, Lock.REPORTING)
    give_up_refused(connection, payer.no, day, now)
    days = waiting(connection, payer.no, how, now) if day is None else [day]
    if day is not None:
        require_waits(connection, payer.no, day, now)
    return settle_of(connection, principal, payer, days, how, why, now)


def waiting(connection: Connection, account_no: int, how: How, now: datetime) -> list[date]:
    """Return the days of an account that wait for a person, oldest first."""
    today = day_of(now)
    values = {"account_no": account_no, "oldest": today - REPORTABLE, "limit": DAYS_MAX}
    found = connection.execute(_SQL["due_days"], values).fetchall()
    # What waits of the open day, of an account that is not linked, is where it would be brought.
    return [row[0] for row in found if how == "outside" or row[0] != today]


def require_waits(connection: Connection, account_no: int, day: date, now: datetime) -> None:
    """Refuse a day that is told, or moved, without anybody: nobody could take it back."""
    values = {"account_no": account_no, "day": day, "oldest": day_of(now) - REPORTABLE}
    if connection.execute(_SQL["goes_by_itself"], values).rowcount:
        raise Conflict(
            f"What is due of {day} is told by itself: nobody has to settle it. Nothing was changed."
        )


def settle_of(
    connection: Connection,
    principal: Principal,
    payer: Account,
    days: Sequence[date],
    how: How,
    why: str,
    now: datetime,
    *,
    changed: Collection[date] = (),
) -> Settled:
    """Settle days under the lock REPORTING, with one row of the trail; Conflict where nothing is due of them.

    `changed`: days of which this very transaction counted something as not told. They are settled also
    where that leaves nothing due of them.
    """
    if how == "open-day":
        require_open_day(connection, payer)
    room_nano = _open_nano(connection, payer.no)
    done = [
        (each, _settle_day(connection, principal, payer.no, each, how, why, now)) for each in days
    ]
    settled = Settled(
        payer.id,
        payer.currency or "",
        how,
        tuple((each, amount) for each, amount in done if amount or each in changed),
    )
    if not settled.days:
        which = f"Of {days[0]} nothing" if len(days) == 1 else "Nothing"
        raise Conflict(f"{which} is due of {payer.label}. Nothing was changed.")
    if how == "open-day":
        _require_room(room_nano, _open_nano(connection, payer.no))
    record(
        connection,
        principal,
        "stripe.settle",
        f"account {payer.id}",
        after={
            "how": how,
            "currency": settled.currency,
            "amount_nano": settled.amount_nano,
            "days": [f"{each} {exact_from_nano(amount)}" for each, amount in settled.days],
        },
        why=why,
    )
    return settled


def require_open_day(connection: Connection, payer: Account) -> None:
    """Refuse to bring anything to the open day of an account that nothing bills."""
    if not connection.execute(_SQL["is_billed"], {"account_no": payer.no}).rowcount:
        raise Conflict(
            f"No subscription of {payer.label} would bill the open day: make one with `hopsmeter"
            " stripe link`, or say --outside if it is billed otherwise or given up. Nothing was"
            " changed."
        )


def _open_nano(connection: Connection, account_no: int) -> int:
    """Return what an account's days come to that no final invoice has."""
    row = connection.execute("SELECT hopsmeter.stripe_open_nano(%s)", [account_no]).fetchone()
    assert row is not None
    return int(row[0])


def _require_room(before_nano: int, after_nano: int) -> None:
    """Refuse what the open month cannot bear: Stripe bills nothing below zero, and it would be lost."""
    if after_nano < 0 and after_nano < before_nano:
        raise Conflict(
            f"The open month has {exact_from_nano(before_nano)}, and Stripe bills nothing below zero:"
            f" {exact_from_nano(after_nano - before_nano)} cannot be brought to it yet. Wait for"
            " usage, or give it back otherwise and say --outside. Nothing was changed."
        )


def _settle_day(
    connection: Connection,
    principal: Principal,
    account_no: int,
    day: date,
    how: How,
    why: str,
    now: datetime,
) -> int:
    found = connection.execute(_SQL["due_day"], {"account_no": account_no, "day": day}).fetchone()
    if found is None or not found[0]:
        return 0
    due_nano, under_way, posted_nano, seq = found
    if under_way:
        raise Conflict(
            f"Of {day} a report is under way; settle what is left once its outcome is known."
            " Nothing was changed."
        )
    ref = f"settled {day} {posted_nano} {seq} {now.isoformat()}"
    amount = Amount(account_no, day, int(due_nano), ref)
    settle_amount(connection, amount, how, principal.actor, why, now)
    return amount.nano


@dataclass(frozen=True)
class Amount:
    """What is settled of an account's day, in nano-units; under `ref` once. Of an invoice, where it names one."""

    account_no: int
    day: date
    nano: int
    ref: str
    invoice_id: str | None = None


def settle_amount(
    connection: Connection, amount: Amount, how: How, by: str, why: str, now: datetime
) -> None:
    """Settle what is due of a day, under the lock REPORTING: against the receivable, or on the open day."""
    today = day_of(now)
    values = {
        "account_no": amount.account_no,
        "day": amount.day,
        "amount_nano": amount.nano,
        "ref": amount.ref,
        "invoice_id": amount.invoice_id,
        "by": by,
        "why": why,
        "posted_on": posting_date(connection, today),
    }
    if how == "outside":
        connection.execute(_SQL["settle"], values)
        return
    if amount.day == today:
        raise Conflict(
            f"{amount.day} is the open day: what is due of it is there already. Nothing was changed."
        )
    move = {**values, "from_day": amount.day, "to_day": today, "kind": "by hand"}
    connection.execute(_SQL["move"], move)
