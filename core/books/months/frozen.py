"""Whether frozen statements still are what was frozen, and still equal the ledger by posting date."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import astuple
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
import psycopg

from core.books.statement.build import books_of
from core.books.statement.figures import Books, Statement, read, sha256_of
from core.books.statement.proof import faults
from core.clock import day_of
from core.db.queries import queries_beside
from core.money import text_from_nano

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


def seal_of(hashes: Iterable[bytes]) -> str:
    """Return the hash over all statements of a month, in the order of their accounts, for the trail."""
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def frozen_faults(connection: Connection, since: datetime, until: datetime) -> list[str]:
    """Return what is wrong with the months closed in [since, until), a sentence each."""
    values = {"since": day_of(since).replace(day=1), "until": day_of(until)}
    found: list[str] = []
    for month, seal, is_told, is_closed in connection.execute(_SQL["closings"], values).fetchall():
        name = f"{month:%Y-%m}"
        if not is_closed:
            found.append(f"{name}: the trail says that it was closed, and it is open")
        elif not is_told:
            found.append(f"{name}: it is closed, and the trail says nothing of it")
        else:
            found += [f"{name}: {each}" for each in _month(connection, month, seal)]
    return found


def _month(connection: Connection, month: date, seal: str) -> Iterator[str]:
    after = (month + timedelta(days=32)).replace(day=1)
    values = {"first": month, "after": after}
    due = {row[0] for row in connection.execute(_SQL["accounts_of_closed"], values).fetchall()}
    rows = connection.execute(_SQL["statements"], values).fetchall()
    if seal_of(sha256 for _, _, _, sha256 in rows) != seal:
        yield "its statements are not those that the trail saw frozen"
    frozen = {account_no for account_no, *_ in rows}
    for account_no in sorted(due - frozen):
        yield f"account {account_no} has no statement"
    connection.execute(_SQL["plan_for_all"])
    ledger = books_of(connection, sorted(frozen), month, after)
    connection.execute(_SQL["plan_as_usual"])
    for account_no, account, body, sha256 in rows:
        yield from (f"{account}: {each}" for each in _statement(body, sha256, ledger[account_no]))


def _statement(body: Any, sha256: bytes, ledger: tuple[Books, Books, int, str]) -> Iterator[str]:
    if sha256_of(body) != sha256:
        yield "the figures are not those that were frozen: their SHA-256 differs"
    try:
        statement = read(body)
    except msgspec.ValidationError as fault:
        yield f"the figures cannot be read: {fault}"
        return
    yield from _against(statement, ledger)
    yield from faults(statement)


def _against(statement: Statement, ledger: tuple[Books, Books, int, str]) -> Iterator[str]:
    opening, closing, entries, sha256 = ledger
    for when, frozen, now in (
        ("begun", statement.opening, opening),
        ("ended", statement.closing, closing),
    ):
        if frozen != now:
            yield f"{when} with {_text(frozen)} as frozen, with {_text(now)} by its entries"
    if (statement.entries, statement.entries_sha256) != (entries, sha256):
        yield f"{statement.entries} entries were frozen, and the {entries} that are there differ"


def _text(books: Books) -> str:
    return " / ".join(text_from_nano(nano, 9) for nano in astuple(books))
