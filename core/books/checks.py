"""Prove that the books balance: one line per invariant (design §4), naming what is wrong.

1 to 5 and 7; 6 and 8 come with Stripe. The whole proof sees one snapshot of the database, so a store that
commits meanwhile is neither half seen nor missed.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import zstandard

from core.books.ledger_checks import balances_equal_entries, entries_equal_charges
from core.books.lines import NAMED_MAX, CheckLine, Span, pending_text
from core.clock import day_of, day_start, hour_text, last_closed_hour, month_bounds
from core.db.queries import queries_beside
from core.errors import AnswerRefused, InputFault
from core.money import text_from_nano
from core.opencost.answer import MONEY_COLUMNS, QUANTITY_COLUMNS, TOTAL, Limits
from core.opencost.read import read_answer

_SQL = queries_beside(__file__)
ANSWER_MAX_BYTES = 2**30
_ANYTHING = Limits(2**62, 2**31 - 1, 2**31 - 1, 2**62, sentinel="")
_FIGURES = (MONEY_COLUMNS[TOTAL], *MONEY_COLUMNS[:TOTAL], *QUANTITY_COLUMNS)
"""In the order of the statement `stored_rows`."""

Figures = tuple[int, ...]

Connection = psycopg.Connection[Any]


def check_books(
    connection: Connection,
    now: datetime,
    *,
    month: str | None = None,
    delay: timedelta = timedelta(minutes=10),
    progress: Callable[[int, int], None] | None = None,
) -> list[CheckLine]:
    """Prove invariants 1 to 5 and 7 of one month, or of all there is."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute("SET LOCAL statement_timeout = '15min'")
        span = _span(connection, now, month, delay)
        return [
            _raw_answers(connection, span, progress),
            _attribution(connection, span),
            _daily_rows(connection, span),
            entries_equal_charges(connection, span),
            balances_equal_entries(connection, span),
            _windows(connection, span),
        ]


def _span(connection: Connection, now: datetime, month: str | None, delay: timedelta) -> Span:
    newest = last_closed_hour(now, delay + timedelta(minutes=1))
    if month is not None:
        first, after = month_bounds(month)
        if first > day_of(now):
            raise InputFault(f"{month} has not begun; there is nothing to prove.")
        return Span(day_start(first), day_start(after), newest, day_of(now))
    row = connection.execute(_SQL["span"], {"newest": newest}).fetchone()
    assert row is not None
    # Whole days: daily rows are compared day by day.
    first_day, end = (at.astimezone(UTC).replace(hour=0) for at in row)
    return Span(first_day, end + timedelta(days=1), newest, day_of(now))


def _named(rows: list[tuple[Any, ...]]) -> tuple[str, ...]:
    return tuple(f"{row[0]} {row[1]} {hour_text(row[2])}".replace("  ", " ") for row in rows)


def _raw_answers(
    connection: Connection, span: Span, progress: Callable[[int, int], None] | None
) -> CheckLine:
    """1: what is stored adds up to the raw answer that it came from, row by row."""
    found = connection.execute(_SQL["windows_to_prove"], span.values).fetchall()
    wrong: list[str] = []
    forgotten = 0
    for number, row in enumerate(found):
        cluster_id, cluster, hour, sha256, row_count, total, rows, stored, kept, is_lost = row
        name = f"{cluster} {hour_text(hour)}"
        if (row_count, total) != (rows, stored):
            wrong.append(
                f"{name}: {rows} rows with {text_from_nano(stored, 9)}, the window says"
                f" {row_count} with {text_from_nano(total, 9)}"
            )
        elif is_lost:
            wrong.append(f"{name}: the raw answer that it names is not there")
        elif not kept:
            forgotten += 1
        else:
            at = {"hour": hour, "cluster_id": cluster_id, "sha256": sha256}
            wrong += [f"{name}: {each}" for each in _against_raw(connection, at)]
        if progress:
            progress(number + 1, len(found))
    added = connection.execute(_SQL["kinds_do_not_add_up"], span.values).fetchall()
    wrong += [f"{each}: kinds and rounding are not the total" for each in _named(added)]
    orphans = connection.execute(_SQL["orphans"], span.values).fetchall()
    wrong += [f"{each}: allocations without a collected hour" for each in _named(orphans)]
    detail = f"{len(found)} hours"
    if forgotten:
        detail += f" ({forgotten} by hash and sums: the raw answer is past its time)"
    return CheckLine(
        1, "allocations equal the raw answers", not wrong, detail, tuple(wrong[:NAMED_MAX])
    )


def _against_raw(connection: Connection, at: dict[str, Any]) -> list[str]:
    packed = connection.execute(_SQL["raw_body"], at).fetchone()
    assert packed is not None
    try:
        body = zstandard.ZstdDecompressor().decompress(packed[0], max_output_size=ANSWER_MAX_BYTES)
        if hashlib.sha256(body).digest() != at["sha256"]:
            return ["the raw answer is not the one that was stored: its SHA-256 differs"]
        answer = read_answer(body, at["hour"], _ANYTHING)
    except zstandard.ZstdError as error:
        return [f"the raw answer cannot be unpacked: {error}"]
    except AnswerRefused as refused:
        return [f"the raw answer cannot be read: {refused.message}"]
    figures = np.hstack((answer.money[:, TOTAL:], answer.money[:, :TOTAL], answer.quantities))
    said = dict(zip(answer.names, map(tuple, figures.tolist()), strict=True))
    cursor = connection.cursor(binary=True)  # half a million figures a second more than as text
    stored = {name: tuple(rest) for name, *rest in cursor.execute(_SQL["stored_rows"], at)}
    return [
        _difference(name, stored.get(name), said.get(name))
        for name in sorted(said.keys() | stored.keys())
        if stored.get(name) != said.get(name)
    ]


def _difference(name: str, stored: Figures | None, said: Figures | None) -> str:
    if stored is None or said is None or stored[0] != said[0]:
        return f"{name}: stored {stored and stored[0]}, OpenCost said {said and said[0]} (nano)"
    column = next(i for i, pair in enumerate(zip(stored, said, strict=True)) if pair[0] != pair[1])
    return f"{name}: {_FIGURES[column]} is {stored[column]}, OpenCost said {said[column]}"


def _attribution(connection: Connection, span: Span) -> CheckLine:
    """2: each allocation is exactly one kind, whose it is says its period, and all is accounted."""
    wrong = _named(connection.execute(_SQL["wrong_attribution"], span.values).fetchall())
    money = [
        (currency, *map(int, sums))
        for currency, *sums in connection.execute(_SQL["money_by_kind"], span.values).fetchall()
    ]
    parts = [
        f"{currency}: {text_from_nano(total, 5)} in = {text_from_nano(users, 5)} attributed"
        f" + {text_from_nano(absorbed, 5)} absorbed + {text_from_nano(unmapped, 5)} unmapped"
        for currency, total, users, absorbed, unmapped in money
    ]
    lost = [
        f"{currency}: {total - users - absorbed - unmapped} nano are nowhere"
        for currency, total, users, absorbed, unmapped in money
        if total != users + absorbed + unmapped
    ]
    rows = tuple(f"{each}: not what its period says" for each in wrong) + tuple(lost)
    return CheckLine(
        2,
        "every cost is somebody's, absorbed or unmapped",
        not rows,
        "; ".join(parts) or "no cost",
        rows,
    )


def _daily_rows(connection: Connection, span: Span) -> CheckLine:
    """3: daily rows are the sums of their allocations."""
    usage = _named(connection.execute(_SQL["usage_differs"], span.values).fetchall())
    costs = _named(connection.execute(_SQL["cost_daily_differs"], span.values).fetchall())
    rows = tuple(f"{each}: usage_daily differs" for each in usage)
    rows += tuple(f"{each}: cost_daily differs" for each in costs)
    kept = _named(connection.execute(_SQL["included_differs"], span.values).fetchall())
    rows += tuple(f"{each}: included_used_daily differs" for each in kept)
    unclosed = _named(connection.execute(_SQL["unclosed_rows"], span.values).fetchall())
    rows += tuple(f"{each}: cost_daily has it, and its day is not closed" for each in unclosed)
    breakdowns = connection.execute(_SQL["breakdown_differs"], span.values).fetchall()
    rows += tuple(f"{each}: project_breakdown differs" for each in _named(breakdowns))
    pending = connection.execute(_SQL["posting_pending"], span.values).fetchone()
    assert pending is not None
    detail = pending_text(pending[0], pending[1])
    return CheckLine(3, "daily rows equal their allocations", not rows, detail, rows)


def _windows(connection: Connection, span: Span) -> CheckLine:
    """7: every hour since metering began has a row, true to what is stored, with its reason."""
    missing = _named(connection.execute(_SQL["missing_windows"], span.values).fetchall())
    silent = _named(connection.execute(_SQL["waived_without_reason"], span.values).fetchall())
    rows = tuple(f"{each}: no row" for each in missing)
    rows += tuple(f"{each}: no reason" for each in silent)
    stored = _named(connection.execute(_SQL["given_up_and_stored"], span.values).fetchall())
    rows += tuple(f"{each}: and yet it is stored" for each in stored)
    hollow = _named(connection.execute(_SQL["kept_and_not_stored"], span.values).fetchall())
    rows += tuple(f"{each}: and nothing of it is stored" for each in hollow)
    astray = _named(connection.execute(_SQL["windows_astray"], span.values).fetchall())
    rows += tuple(f"{each}: is no hour that this cluster is metered in" for each in astray)
    states = connection.execute(_SQL["window_states"], span.values).fetchall()
    detail = ", ".join(f"{count} {state}" for state, count in states) or "no hours yet"
    return CheckLine(7, "every hour has its row", not rows, detail, rows)
