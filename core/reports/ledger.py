"""The ledger's lines of an account, as a statement tells them: each with its lots and balances.

What hour after hour posts of one day is one line, as long as nothing else stands in between.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from core.db.queries import queries_beside
from core.reports.credits import AccountLine

_SQL = queries_beside(__file__)
_WORDS: Final = {
    ("credits", "purchases"): "purchase",
    ("credits", "promotions"): "grant",
    ("credits", "expired"): "expired",
    ("credits", "refunds"): "refund",
    ("arrears", "refunds"): "refund, owed",
    ("arrears", "credits"): "arrears repaid",
    ("arrears", "receivable"): "arrears settled",
    ("receivable", "stripe"): "accepted by Stripe",
}

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Draw:
    """What a line took from a lot (negative), or put into it."""

    lot: int
    amount_nano: int


@dataclass(frozen=True)
class StatementLine:
    """Some entries of one kind; what is owed counts upwards. `entry` is the first one's number.

    The amounts are what the line changes in each book, `…_after_nano` what stands there then.
    """

    posted_on: date
    what: str
    usage_day: date | None
    currency: str
    charge_nano: int
    """Of the usage day; negative where a correction made it less."""
    credits_nano: int
    credits_after_nano: int
    arrears_nano: int
    arrears_after_nano: int
    receivable_nano: int
    receivable_after_nano: int
    draws: tuple[Draw, ...]
    key: str
    why: str
    at: datetime
    """When the last of them was posted."""
    entry: int
    entries: int


@dataclass(frozen=True)
class Statement:
    """The lines of [first, after) by posting date; `opening` is what stood before them."""

    account: AccountLine
    first: date
    after: date
    opening_credits_nano: int
    opening_arrears_nano: int
    opening_receivable_nano: int
    lines: tuple[StatementLine, ...]


@dataclass(frozen=True)
class _Entry:
    id: int
    at: datetime
    posted_on: date
    book: str
    contra: str
    amount_nano: int
    usage_day: date | None
    key: str
    why: str
    lots: list[int] | None
    nanos: list[int] | None

    def moved_nano(self, book: str) -> int:
        """Return what this changes in a book: into it, less what another took from it."""
        return self.amount_nano * ((self.book == book) - (self.contra == book))


def statement(
    connection: Connection, account: AccountLine, first: date, after: date, *, each: bool = False
) -> Statement:
    """Return an account's statement; `each`: every entry by itself."""
    values = {"account_no": account.account_no, "first": first, "after": after}
    with connection.cursor(row_factory=class_row(_Entry)) as cursor:
        entries = cursor.execute(_SQL["ledger_lines"], values).fetchall()
    opening = connection.execute(_SQL["ledger_before"], values).fetchone()
    assert opening is not None
    credits_nano, receivable_nano, arrears_nano = opening
    lines = [_line(entry, account.currency) for entry in entries]
    told = _running(lines if each else _joined(lines), credits_nano, arrears_nano, receivable_nano)
    return Statement(
        account, first, after, credits_nano, arrears_nano, receivable_nano, tuple(told)
    )


def _line(entry: _Entry, currency: str) -> StatementLine:
    credits_nano = entry.moved_nano("credits")
    arrears_nano = -entry.moved_nano("arrears")
    receivable_nano = -entry.moved_nano("receivable")
    draws = zip(entry.lots or (), entry.nanos or (), strict=True)
    return StatementLine(
        posted_on=entry.posted_on,
        what=_what(entry),
        usage_day=entry.usage_day,
        currency=currency,
        charge_nano=-entry.amount_nano if entry.contra == "revenue" else 0,
        credits_nano=credits_nano,
        credits_after_nano=credits_nano,
        arrears_nano=arrears_nano,
        arrears_after_nano=arrears_nano,
        receivable_nano=receivable_nano,
        receivable_after_nano=receivable_nano,
        draws=tuple(Draw(*each) for each in draws),
        key=entry.key,
        why=entry.why,
        at=entry.at,
        entry=entry.id,
        entries=1,
    )


def _what(entry: _Entry) -> str:
    if entry.usage_day is not None:
        return f"charges of {entry.usage_day}"
    word = _WORDS.get((entry.book, entry.contra), f"{entry.contra} to {entry.book}")
    if word == "refund" and entry.amount_nano > 0:
        return "refund returned"
    return "taken back" if word == "grant" and entry.amount_nano < 0 else word


def _joined(lines: Iterable[StatementLine]) -> Iterator[StatementLine]:
    """Join charges of one day that follow each other."""
    last: StatementLine | None = None
    for line in lines:
        if last and line.usage_day and (last.what, last.posted_on) == (line.what, line.posted_on):
            last = _plus(last, line)
            continue
        if last:
            yield last
        last = line
    if last:
        yield last


def _plus(one: StatementLine, other: StatementLine) -> StatementLine:
    drawn: dict[int, int] = {}
    for draw in (*one.draws, *other.draws):
        drawn[draw.lot] = drawn.get(draw.lot, 0) + draw.amount_nano
    return replace(
        one,
        charge_nano=one.charge_nano + other.charge_nano,
        credits_nano=one.credits_nano + other.credits_nano,
        arrears_nano=one.arrears_nano + other.arrears_nano,
        receivable_nano=one.receivable_nano + other.receivable_nano,
        draws=tuple(Draw(lot, nano) for lot, nano in drawn.items() if nano),
        at=other.at,
        entries=one.entries + 1,
    )


def _running(
    lines: Iterable[StatementLine], credits_nano: int, arrears_nano: int, receivable_nano: int
) -> Iterator[StatementLine]:
    for line in lines:
        credits_nano += line.credits_nano
        arrears_nano += line.arrears_nano
        receivable_nano += line.receivable_nano
        yield replace(
            line,
            credits_after_nano=credits_nano,
            arrears_after_nano=arrears_nano,
            receivable_after_nano=receivable_nano,
        )
