"""Prove that the books balance: one line per invariant (design §4), naming what is wrong.

The whole proof sees one snapshot of the database, so a store that commits meanwhile is neither half seen nor
missed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from core.books.answers import Answers, KeptHour
from core.books.ledger_checks import balances_equal_entries, entries_equal_charges
from core.books.lines import NAMED_MAX, CheckLine, Span, pending_text
from core.books.stripe.checks import receivable_told, stripe_agrees
from core.clock import day_of, day_start, hour_text, last_closed_hour, month_bounds
from core.db.queries import queries_beside
from core.errors import InputFault
from core.money import text_from_nano

_SQL = queries_beside(__file__)
Connection = psycopg.Connection[Any]


def check_books(
    connection: Connection,
    now: datetime,
    *,
    month: str | None = None,
    delay: timedelta = timedelta(minutes=10),
    progress: Callable[[int, int], None] | None = None,
) -> list[CheckLine]:
    """Prove invariants 1 to 8 of one month, or of all there is."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute("SET LOCAL statement_timeout = '15min'")
        connection.execute(_SQL["plan_for_proof"])
        span = _span(connection, now, month, delay)
        return [
            _raw_answers(connection, span, progress),
            _attribution(connection, span),
            _daily_rows(connection, span),
            entries_equal_charges(connection, span),
            balances_equal_entries(connection, span),
            receivable_told(connection, span),
            _windows(connection, span),
            stripe_agrees(connection, span),
        ]


def _span(connection: Connection, now: datetime, month: str | None, delay: timedelta) -> Span:
    newest = last_closed_hour(now, delay + timedelta(minutes=1))
    if month is not None:
        first, after = month_bounds(month)
        if first > day_of(now):
            raise InputFault(f"{month} has not begun; there is nothing to prove.")
        return Span(day_start(first), day_start(after), newest, now)
    row = connection.execute(_SQL["span"], {"newest": newest}).fetchone()
    assert row is not None
    # Whole days: daily rows are compared day by day.
    first_day, end = (at.astimezone(UTC).replace(hour=0) for at in row)
    return Span(first_day, end + timedelta(days=1), newest, now)


def _named(rows: list[tuple[Any, ...]]) -> tuple[str, ...]:
    return tuple(f"{row[0]} {row[1]} {hour_text(row[2])}".replace("  ", " ") for row in rows)


@dataclass(frozen=True)
class _Window:
    """A stored cluster-hour: what its window says, what is stored of it, what is kept of its answer."""

    cluster_id: int
    cluster: str
    hour: datetime
    sha256: bytes
    row_count: int
    total_nano: int
    rows: int
    stored_nano: int
    packed_bytes: int | None
    is_lost: bool

    @property
    def name(self) -> str:
        return f"{self.cluster} {hour_text(self.hour)}"

    @property
    def faults(self) -> list[str]:
        """Return what is wrong before the answer is looked at."""
        if (self.row_count, self.total_nano) != (self.rows, self.stored_nano):
            stored, said = (text_from_nano(each, 9) for each in (self.stored_nano, self.total_nano))
            return [f"{self.rows} rows with {stored}, the window says {self.row_count} with {said}"]
        return ["the raw answer that it names is not there"] if self.is_lost else []

    @property
    def kept(self) -> KeptHour | None:
        """Return what is to be compared with its answer, if that is there and nothing else is wrong."""
        if self.packed_bytes is None or self.faults:
            return None
        return KeptHour(self.cluster_id, self.hour, self.sha256, self.rows, self.packed_bytes)


def _raw_answers(
    connection: Connection, span: Span, progress: Callable[[int, int], None] | None
) -> CheckLine:
    """1: what is stored adds up to the raw answer that it came from, row by row."""
    found = connection.execute(_SQL["windows_to_prove"], span.values).fetchall()
    windows = [_Window(*row) for row in found]
    differences = Answers(connection).faults(each.kept for each in windows if each.kept)
    wrong: list[str] = []
    forgotten = 0
    for number, window in enumerate(windows):
        faults = window.faults
        if window.kept:
            faults = next(differences)
        elif not faults:
            forgotten += 1
        wrong += [f"{window.name}: {each}" for each in faults]
        if progress:
            progress(number + 1, len(windows))
    added = connection.execute(_SQL["kinds_do_not_add_up"], span.values).fetchall()
    wrong += [f"{each}: kinds and rounding are not the total" for each in _named(added)]
    orphans = connection.execute(_SQL["orphans"], span.values).fetchall()
    wrong += [f"{each}: allocations without a collected hour" for each in _named(orphans)]
    detail = f"{len(windows)} hours"
    if forgotten:
        detail += f" ({forgotten} by hash and sums: the raw answer is past its time)"
    return CheckLine(
        1, "allocations equal the raw answers", not wrong, detail, tuple(wrong[:NAMED_MAX])
    )


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
    connection.execute(_SQL["plan_to_hash"])
    usage = _named(connection.execute(_SQL["usage_differs"], span.values).fetchall())
    connection.execute(_SQL["plan_as_usual"])
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
