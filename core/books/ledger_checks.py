"""The proof of the ledger: invariants 4 and 5 (design §4), each row that is wrong named."""

from collections.abc import Callable
from typing import Any

import psycopg

from core.books.lines import CheckLine, Span, pending_text
from core.books.months.frozen import frozen_faults
from core.db.queries import queries_beside
from core.money import text_from_nano

_SQL = queries_beside(__file__)
Connection = psycopg.Connection[Any]


def entries_equal_charges(connection: Connection, span: Span) -> CheckLine:
    """4: what was entered against revenue for each account-day is what it is charged."""
    rows = [
        f"{account} {day}: charged {_text(charged)}, entered {_text(entered)}"
        for account, day, charged, entered in _rows(connection, "entries_differ", span)
    ]
    rows += [
        f"posting {no} of {day}: it wrote {said} entries, and there are {found}"
        for day, no, said, found in _rows(connection, "postings_differ", span)
    ]
    rows += [
        f"{account}, entry {entry}: of {day}, and posted on {posted_on}"
        for account, entry, day, posted_on in _rows(connection, "posted_elsewhere", span)
    ]
    rows += [
        f"{account} is in {own}, and {cluster} bills in {other}"
        for account, own, cluster, other in _rows(connection, "currencies_mixed", span)
    ]
    pending = connection.execute(_SQL["posting_pending"], span.values).fetchone()
    assert pending is not None
    detail = pending_text(pending[0], pending[1])
    return _line(4, "entries equal the charges", detail, rows)


def balances_equal_entries(connection: Connection, span: Span) -> CheckLine:
    """5: balances, lots and draws are what the entries say; of all there is, whatever the span."""
    wrong = [row for check in _CHECKS for row in check(connection, span)]
    beyond = _rows(connection, "beyond_limit", span)
    wrong += [
        f"{account} owes {_text(owed)}, its limit is {_text(limit)}, and it is"
        f" {'' if is_marked else 'not '}marked"
        for account, owed, limit, is_marked, is_beyond, is_new in beyond
        if is_marked != is_beyond and not is_new
    ]
    sums = _rows(connection, "ledger_sums", span)
    wrong += [
        f"{currency}: {_text(books)} in the books, {_text(house)} outside"
        for currency, _, books, house in sums
        if (books or 0) + (house or 0)
    ]
    entries = sum(int(row[1]) for row in sums)
    detail = f"{entries} entries" if entries else "no entries yet"
    suspended = sum(bool(is_beyond) for *_, is_beyond, _ in beyond)
    if frozen := _rows(connection, "statements_frozen", span)[0][0]:
        detail += f", {frozen} frozen statements"
    if suspended:
        detail += f", {suspended} accounts to be suspended"
    return _line(5, "balances equal their entries", detail, wrong)


def _shapes(connection: Connection, span: Span) -> list[str]:
    return [
        f"{account}, entry {entry}: no posting moves {_text(amount)} between {book} and {contra} so"
        for account, entry, book, contra, amount in _rows(connection, "entries_misshapen", span)
    ] + [
        f"{account}: has entries, and no currency"
        for (account,) in _rows(connection, "entries_without_currency", span)
    ]


def _balances(connection: Connection, span: Span) -> list[str]:
    return [
        f"{account}, {book}: the balance is {_text(balance)}, its entries {_text(entered)}"
        for account, book, balance, entered in _rows(connection, "balances_differ", span)
    ] + [
        f"{account}, {book}: there is no such book"
        for account, book in _rows(connection, "books_missing", span)
    ]


def _told(connection: Connection, span: Span) -> list[str]:
    return [
        f"{account}, key {key}: the trail says {_text(told)} {currency}, the ledger"
        f" {'nothing' if nano is None else f'{_text(nano)} {own}'}"
        for account, key, currency, told, own, nano in _rows(
            connection, "told_and_not_posted", span
        )
    ]


def _lots(connection: Connection, span: Span) -> list[str]:
    return [
        f"{account}, lot {lot}: {_text(left)} left, by its draws {_text(drawn)}"
        for account, lot, left, drawn in _rows(connection, "lots_differ", span)
    ] + [
        f"{account}, lot {lot}: {fault}"
        for account, lot, fault in _rows(connection, "lots_misshapen", span)
    ]


def _draws(connection: Connection, span: Span) -> list[str]:
    return [
        f"{account}, entry {entry}: moved {_text(moved)} of credits, in lots {_text(held)}"
        for account, entry, moved, held in _rows(connection, "draws_differ", span)
    ] + [
        f"{account}, entry {entry}: {_text(amount)} from lot {lot}, which was not to be had for it"
        for account, entry, lot, amount in _rows(connection, "draws_astray", span)
    ]


def _beside(connection: Connection, span: Span) -> list[str]:
    return [
        f"{account}: credits {_text(held)}, in lots {_text(lots)}, arrears {_text(owed)}"
        for account, held, lots, owed in _rows(connection, "credits_beside_arrears", span)
    ]


def _frozen(connection: Connection, span: Span) -> list[str]:
    return frozen_faults(connection, span.since, span.until)


_CHECKS: tuple[Callable[[Connection, Span], list[str]], ...] = (
    _shapes,
    _balances,
    _told,
    _lots,
    _draws,
    _beside,
    _frozen,
)


def _rows(connection: Connection, name: str, span: Span) -> list[tuple[Any, ...]]:
    return connection.execute(_SQL[name], span.values).fetchall()


def _text(nano: Any) -> str:
    return text_from_nano(int(nano or 0), 9)


def _line(number: int, title: str, detail: str, rows: list[str]) -> CheckLine:
    return CheckLine(number, title, not rows, detail, tuple(rows))
