"""Accounts as they stand or stood: how they pay, their lots, what came and went, when it runs out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import psycopg
from psycopg.rows import class_row, dict_row

from core.clock import day_of
from core.db.queries import queries_beside
from core.errors import Conflict
from core.identity.principal import Principal
from core.identity.users import find_user
from core.reports.runway import PACE_DAYS, Left, Pace, runs_out_on

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]
ALWAYS: Final = datetime.max.replace(tzinfo=UTC)
"""The moment until which everything is: what stands now."""


@dataclass(frozen=True)
class AccountLine:
    """One account now; amounts in nano-units of `currency`, what is owed counts upwards."""

    account_no: int
    account_id: str
    email: str
    currency: str
    """Empty before anything cost this account, or was granted to it."""
    status: str
    mode: str
    next_mode: str | None
    next_mode_on: date | None
    grace_nano: int
    """What a prepaid account may owe; 0: it stops."""
    low_nano: int | None
    low_at: datetime | None
    empty_at: datetime | None
    beyond_at: datetime | None
    credits_nano: int
    arrears_nano: int
    receivable_nano: int

    @property
    def label(self) -> str:
        return f"{self.account_id} ({self.email})"

    @property
    def deducts(self) -> bool:
        """Whether its credits pay for something, today or in its next mode."""
        return {self.mode, self.next_mode or self.mode} != {"postpaid"}


@dataclass(frozen=True)
class ModePeriod:
    """How an account pays in [since, until), and who said so."""

    mode: str
    since: date
    until: date | None
    created_by: str
    created_at: datetime


@dataclass(frozen=True)
class Sums:
    """What came into an account's credits and went out of them, and what is in its books.

    bought + granted - refunded - used - expired = credits; `used` is what charges and arrears took.
    """

    account_no: int
    bought_nano: int = 0
    granted_nano: int = 0
    refunded_nano: int = 0
    used_nano: int = 0
    expired_nano: int = 0
    credits_nano: int = 0
    arrears_nano: int = 0
    receivable_nano: int = 0


@dataclass(frozen=True)
class LotLine:
    """One lot; it pays the days before `expires_on`, the lower priority first among equal dates."""

    lot: int
    kind: str
    amount_nano: int
    remaining_nano: int
    expires_on: date | None
    priority: int
    since: datetime
    expired_at: datetime | None
    key: str
    why: str


@dataclass(frozen=True)
class CreditLine:
    """An account's credits; `runs_out_on` is None where they do not at this pace, or are not used."""

    account: AccountLine
    sums: Sums
    pace: Pace
    runs_out_on: date | None


@contextmanager
def one_moment(connection: Connection) -> Iterator[None]:
    """Let several questions see the same books: none of a post that is committed in between."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def find_line(
    connection: Connection, principal: Principal, text: str, now: datetime
) -> AccountLine:
    """Return the account of an id or e-mail; a member has none of his own."""
    user = find_user(connection, text)
    if user.account_owner_id:
        raise Conflict(
            f"{user.label} is a team member, whose account is {user.account_owner_id};"
            " name that one."
        )
    principal.require_reader(user.id)
    (line,) = _accounts(connection, now, user.no)
    return line


def accounts(
    connection: Connection, principal: Principal, now: datetime
) -> tuple[AccountLine, ...]:
    """Return every account by e-mail; deleted ones only while something is in their books."""
    principal.require_admin("read the books of all")
    return _accounts(connection, now, None)


def modes(connection: Connection, account: AccountLine) -> tuple[ModePeriod, ...]:
    """Return how an account paid, pays and will pay, newest first."""
    with connection.cursor(row_factory=class_row(ModePeriod)) as cursor:
        return tuple(cursor.execute(_SQL["account_modes"], {"account_no": account.account_no}))


def sums_at(connection: Connection, account: AccountLine, until: datetime) -> Sums:
    """Return the sums of an account at a moment: of its entries until then, that one included."""
    found = _sums(connection, account.account_no, until)
    return found.get(account.account_no, Sums(account.account_no))


def lots_at(connection: Connection, account: AccountLine, until: datetime) -> tuple[LotLine, ...]:
    """Return the lots as they stood at a moment, those with something left in the order of use."""
    values = {"account_no": account.account_no, "until": until}
    with connection.cursor(row_factory=class_row(LotLine)) as cursor:
        return tuple(cursor.execute(_SQL["credit_lots"], values))


def mode_at(connection: Connection, account: AccountLine, at: datetime) -> str:
    """Return how an account paid on the day of a moment."""
    values = [account.account_no, day_of(at)]
    row = connection.execute("SELECT hopsmeter.mode_on(%s, %s)", values).fetchone()
    assert row is not None
    return str(row[0])


def credit_line(connection: Connection, account: AccountLine, now: datetime) -> CreditLine:
    """Return one account's credits now."""
    (line,) = _credit_lines(connection, (account,), now, account.account_no)
    return line


def credit_lines(
    connection: Connection, principal: Principal, now: datetime
) -> tuple[CreditLine, ...]:
    """Return the credits of every account that has, had or is about to use some."""
    lines = _credit_lines(connection, accounts(connection, principal, now), now, None)
    return tuple(line for line in lines if line.account.deducts or _ever(line.sums))


def _ever(sums: Sums) -> bool:
    return any((sums.bought_nano, sums.granted_nano, sums.used_nano, sums.arrears_nano))


def _accounts(
    connection: Connection, now: datetime, account_no: int | None
) -> tuple[AccountLine, ...]:
    values = {"today": day_of(now), "account_no": account_no}
    with connection.cursor(row_factory=class_row(AccountLine)) as cursor:
        return tuple(cursor.execute(_SQL["accounts"], values))


def _sums(connection: Connection, account_no: int | None, until: datetime) -> dict[int, Sums]:
    values = {"account_no": account_no, "until": until}
    with connection.cursor(row_factory=class_row(Sums)) as cursor:
        return {each.account_no: each for each in cursor.execute(_SQL["credit_sums"], values)}


def _credit_lines(
    connection: Connection,
    lines: tuple[AccountLine, ...],
    now: datetime,
    account_no: int | None,
) -> tuple[CreditLine, ...]:
    sums = _sums(connection, account_no, ALWAYS)
    paces = _paces(connection, now, account_no)
    left = _left(connection, account_no)
    made = []
    for line in lines:
        pace = paces.get(line.account_no, Pace())
        lots = left.get(line.account_no, [])
        ends_on = runs_out_on(lots, pace, day_of(now)) if lots and line.deducts else None
        made.append(
            CreditLine(line, sums.get(line.account_no, Sums(line.account_no)), pace, ends_on)
        )
    return tuple(made)


def _paces(connection: Connection, now: datetime, account_no: int | None) -> dict[int, Pace]:
    values = {"today": day_of(now), "days": PACE_DAYS, "account_no": account_no}
    with connection.cursor(row_factory=dict_row) as cursor:
        return {
            row["account_no"]: Pace(row["charged_nano"], row["days"])
            for row in cursor.execute(_SQL["daily_pace"], values)
        }


def _left(connection: Connection, account_no: int | None) -> dict[int, list[Left]]:
    found: dict[int, list[Left]] = {}
    rows = connection.execute(_SQL["open_lots"], {"account_no": account_no})
    for number, remaining_nano, expires_on in rows:
        found.setdefault(number, []).append(Left(remaining_nano, expires_on))
    return found
