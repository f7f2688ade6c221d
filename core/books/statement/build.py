"""Build the figures of statements from the ledger and the hours, many accounts at a time.

Each part comes from a statement of its own, so that `faults` compares things that were summed apart:
entries, allocations, lots.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from core.books.completeness import ClusterHours, HourSpan, clusters_of, hours_of
from core.books.entries.moves import Move, moves_of
from core.books.statement.figures import (
    FORM,
    Books,
    ChargeDay,
    ChargeLine,
    CorrectedHour,
    Correction,
    LotMonth,
    LotPart,
    Movement,
    Restated,
    Statement,
    Told,
)
from core.books.statement.restated import restated
from core.books.words import BOOKS, entry_words
from core.clock import HOUR, day_start
from core.db.queries import queries_beside

_SQL = queries_beside(__file__)
_OUR_KEYS = ("command:", "expiry:")
"""Keys that say nothing to a customer."""
_REASONS_TOLD = ("gap", "waived")
"""Of other hours the reason is a technical one, and passes."""

T = TypeVar("T")
Connection = psycopg.Connection[Any]
Rows = list[dict[str, Any]]
Moved = dict[tuple[int, date, int], tuple[Move, ...]]
"""By account, day and number of a posting."""


def build(
    connection: Connection,
    accounts: Sequence[int],
    first: date,
    after: date,
    newest: datetime,
    *,
    is_closed: bool = False,
) -> dict[int, Statement]:
    """Return the statement of each account for [first, after), by the account's number.

    `newest` is the last hour that is over. Of a month that nothing can be posted in any more, the
    hours are not read: what is charged for them since stands in the statements of later months.
    """
    values = {"accounts": list(accounts), "first": first, "after": after}
    parts = {
        name: _by_account(connection, name, values)
        for name in (
            "books",
            "charges",
            "charge_draws",
            "movements",
            "movement_lots",
            "lots",
            "told",
        )
    }
    parts["lines"] = {} if is_closed else _by_account(connection, "lines", values)
    since, until = day_start(first), day_start(after)
    mine = clusters_of(connection, accounts, since, until)
    hours = [_told(each) for each in hours_of(connection, since, until, newest)]
    payers = connection.execute(_SQL["payers"], values).fetchall()
    moved = _correcting(connection, parts["charges"])
    again = {} if is_closed else restated(connection, accounts, since, until)
    built = {
        no: _statement(
            moved,
            (no, account, email, name, currency),
            first,
            {part: rows.get(no, []) for part, rows in parts.items()},
            tuple(each for each in hours if each.cluster in mine[no]),
        )
        for no, account, email, name, currency in payers
    }
    if is_closed:
        return {no: replace(each, pending_nano=0) for no, each in built.items()}
    return {no: replace(each, restated=again.get(no, Restated())) for no, each in built.items()}


def books_of(
    connection: Connection, accounts: Sequence[int], first: date, after: date
) -> dict[int, tuple[Books, Books, int, str]]:
    """Return the opening and closing balances of accounts, how many entries are between, their hash."""
    values = {"accounts": list(accounts), "first": first, "after": after}
    return {
        account: (
            _books(row, "opening_{}"),
            _books(row, "closing_{}"),
            row["entries"],
            row["sha256"].hex(),
        )
        for account, (row,) in _by_account(connection, "books", values).items()
    }


def is_closed(connection: Connection, first: date) -> bool:
    """Say whether nothing can be posted in the month any more."""
    row = connection.execute(_SQL["is_closed"], {"first": first}).fetchone()
    return bool(row and row[0])


def _by_account(connection: Connection, name: str, values: dict[str, Any]) -> dict[int, Rows]:
    found: dict[int, Rows] = defaultdict(list)
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(_SQL[name], values):
            found[row.pop("account_no")].append(row)
    return found


def _correcting(connection: Connection, charges: dict[int, Rows]) -> Moved:
    """Return what moved the corrections, posting by posting for all accounts of each."""
    postings: dict[tuple[date, int], list[int]] = defaultdict(list)
    for account, rows in charges.items():
        for row in rows:
            if not row["is_own"]:
                postings[row["usage_day"], row["posting_no"]].append(account)
    return {
        (account, day, number): found
        for (day, number), accounts in postings.items()
        for account, found in moves_of(connection, accounts, day, number).items()
    }


def _statement(
    moved: Moved,
    payer: tuple[int, str, str, str, str],
    first: date,
    parts: dict[str, Rows],
    clusters: tuple[ClusterHours, ...],
) -> Statement:
    no, account, email, name, currency = payer
    (books,) = parts["books"]
    days = _days(parts)
    lines = [line for day in days for line in day.lines]
    return Statement(
        form=FORM,
        account=account,
        email=email,
        name=name,
        month=f"{first:%Y-%m}",
        currency=currency,
        opening=_books(books, "opening_{}"),
        closing=_books(books, "closing_{}"),
        days=days,
        namespaces=_together(lines),
        lots=tuple(_lot(row) for row in parts["lots"]),
        movements=_movements(parts),
        corrections=_corrections(moved, no, parts),
        clusters=clusters,
        pending_nano=_sum(lines) - _sum(days),
        entries=books["entries"],
        entries_sha256=books["sha256"].hex(),
        told=Told(**parts["told"][0]) if parts["told"] else Told(),
    )


def _sum(parts: Iterable[ChargeDay] | Iterable[ChargeLine]) -> int:
    return sum(each.charge_nano for each in parts)


def _books(row: dict[str, Any], name: str) -> Books:
    return Books(*(row[name.format(book)] for book in BOOKS.values()))


def _days(parts: dict[str, Rows]) -> tuple[ChargeDay, ...]:
    charged = {row["usage_day"]: row for row in parts["charges"] if row["is_own"]}
    drawn = _grouped(parts["charge_draws"], lambda row: (row["usage_day"], row["posting_no"]))
    lines = _grouped(parts["lines"], lambda row: row["day"])
    return tuple(
        ChargeDay(
            day,
            charged[day]["charge_nano"] if day in charged else 0,
            _books(charged[day], "{}_nano") if day in charged else Books(),
            _lot_parts(drawn.get((day, 0), [])),
            tuple(_line(row) for row in lines.get(day, [])),
        )
        for day in sorted(charged.keys() | lines.keys())
    )


def _line(row: dict[str, Any]) -> ChargeLine:
    return ChargeLine(**{name: value for name, value in row.items() if name != "day"})


def _together(lines: list[ChargeLine]) -> tuple[ChargeLine, ...]:
    """Add up the lines of a month: by namespace, whoever used it, and plan; dearest first."""
    sums: dict[tuple[str, ...], ChargeLine] = {}
    for each in lines:
        key = (each.cluster, each.namespace, each.project, each.user, each.plan)
        known = sums.get(key)
        sums[key] = each if known is None else replace(
            known,
            hours=known.hours + each.hours,
            cost_nano=known.cost_nano + each.cost_nano,
            charge_nano=known.charge_nano + each.charge_nano,
        )  # fmt: skip
    return tuple(
        value for _, value in sorted(sums.items(), key=lambda at: (-at[1].charge_nano, at[0]))
    )


def _lot(row: dict[str, Any]) -> LotMonth:
    return LotMonth(reference=_reference(row.pop("ref")), **row)


def _movements(parts: dict[str, Rows]) -> tuple[Movement, ...]:
    lots = _grouped(parts["movement_lots"], lambda row: row["entry"])
    return tuple(
        Movement(
            row["entry"],
            row["posted_on"],
            entry_words(row["book"], row["contra"], row["amount_nano"]),
            _moved(row["book"], row["contra"], row["amount_nano"]),
            _reference(row["ref"]),
            _lot_parts(lots.get(row["entry"], [])),
        )
        for row in parts["movements"]
    )


def _moved(book: int, contra: int, amount_nano: int) -> Books:
    sides = {book: amount_nano, contra: -amount_nano}
    return Books(*(sides.get(code, 0) for code in BOOKS))


def _corrections(moved: Moved, account_no: int, parts: dict[str, Rows]) -> tuple[Correction, ...]:
    drawn = _grouped(parts["charge_draws"], lambda row: (row["usage_day"], row["posting_no"]))
    return tuple(
        Correction(
            row["usage_day"],
            row["posting_no"],
            row["posted_on"],
            row["charge_nano"],
            _books(row, "{}_nano"),
            _lot_parts(drawn.get((row["usage_day"], row["posting_no"]), [])),
            _corrected(moved[account_no, row["usage_day"], row["posting_no"]]),
        )
        for row in parts["charges"]
        if not row["is_own"]
    )


def _corrected(found: tuple[Move, ...]) -> tuple[CorrectedHour, ...]:
    return tuple(
        CorrectedHour(
            each.cluster,
            each.namespace,
            each.hour,
            None if each.shares_free else each.charge_before_nano or 0,
            None if each.shares_free else each.charge_nano or 0,
            each.why.partition(":")[0] or "late",
        )
        for each in found
    )


def _told(each: ClusterHours) -> ClusterHours:
    """Leave out reasons that are not meant for customers, and join what then is one span."""
    spans: list[HourSpan] = []
    for span in each.spans:
        told = span if span.state in _REASONS_TOLD else replace(span, why="")
        last = spans[-1] if spans else None
        if last and (last.state, last.why, last.last + HOUR) == (told.state, told.why, told.first):
            spans[-1] = replace(last, last=told.last, hours=last.hours + told.hours)
        else:
            spans.append(told)
    return replace(each, spans=tuple(spans))


def _lot_parts(rows: Rows) -> tuple[LotPart, ...]:
    return tuple(LotPart(row["lot_id"], row["amount_nano"]) for row in rows)


def _reference(key: str | None) -> str:
    if key is None or key.startswith(_OUR_KEYS):
        return ""
    return key.removesuffix(":repaid").removesuffix(":arrears")


def _grouped(rows: Rows, key: Callable[[dict[str, Any]], T]) -> dict[T, Rows]:
    found: dict[T, Rows] = defaultdict(list)
    for row in rows:
        found[key(row)].append(row)
    return found
