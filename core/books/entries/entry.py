"""From one entry of the ledger down to what made it: hours and plans, or a key, a lot and a person."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row

from core.books.entries.moves import Move, are_kept, moves
from core.books.stripe.reported import DayMove, Report, report_of, settled_by
from core.books.words import REVENUE, SETTLED, STRIPE, entry_words
from core.db.queries import queries_beside
from core.errors import Unknown
from core.identity.principal import Principal

_SQL = queries_beside(__file__)
_FOLLOWERS = (":repaid", ":arrears")
"""What follows from a post stands under its key with one of these behind it."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Draw:
    """What an entry took from a lot (negative), gave back to it, or made a lot of."""

    entry_id: int
    lot: int
    kind: str
    expires_on: date | None
    amount_nano: int
    ref: str | None
    is_made: bool


@dataclass(frozen=True)
class Line:
    """One entry, as a list of them shows it, with the lots that it touched."""

    id: int
    at: datetime
    what: str
    book: int
    contra: int
    amount_nano: int
    posted_on: date
    posting_no: int
    draws: tuple[Draw, ...]


@dataclass(frozen=True)
class Asked:
    """Who asked for a post, from the audit trail."""

    audit_id: int
    at: datetime
    actor: str
    via: str
    action: str
    why: str
    command_id: int | None


@dataclass(frozen=True)
class EntryStory:
    """An entry, what was posted together with it, and what all of that came of."""

    id: int
    at: datetime
    account: str
    email: str
    currency: str
    what: str
    book: str
    contra: str
    amount_nano: int
    posted_on: date
    usage_day: date | None
    posting_no: int | None
    key: str | None
    memo: str | None
    reverses: int | None
    together: tuple[Line, ...]
    """All entries of the account in the same posting, or under the same key; this one too."""
    asked: Asked | None
    moves: tuple[Move, ...]
    moves_kept: bool
    """False where a posting of an older version did not keep its hours."""
    report: Report | None = None
    """What was said to Stripe, of an entry that stands for it."""
    settled: DayMove | None = None
    """What was settled by hand with it."""

    @property
    def charged_nano(self) -> int:
        """What the posting charged the account: its entries against revenue."""
        return -sum(each.amount_nano for each in self.together if each.contra == REVENUE)

    @property
    def moved_nano(self) -> int:
        return sum(each.moved_nano for each in self.moves)


def explain_entry(connection: Connection, principal: Principal, entry: int) -> EntryStory:
    """Explain one entry by its number; Unknown where there is none."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SQL["entry"], {"entry": entry}).fetchone()
    if row is None:
        raise Unknown(f"There is no entry {entry} in the ledger.")
    principal.require_reader(row["account"])
    day, number = row["usage_day"], row["posting_no"]
    return EntryStory(
        id=row["id"],
        at=row["at"],
        account=row["account"],
        email=row["email"],
        currency=row["currency"],
        what=entry_words(row["book"], row["contra"], row["amount_nano"]),
        book=row["book_name"],
        contra=row["contra_name"],
        amount_nano=row["amount_nano"],
        posted_on=row["posted_on"],
        usage_day=day,
        posting_no=number,
        key=row["ref"],
        memo=row["memo"],
        reverses=row["reverses"],
        together=_together(connection, row),
        asked=_asked(connection, row),
        moves=moves(connection, row["account_no"], day, number) if day else (),
        moves_kept=not day or are_kept(connection, day, number),
        report=report_of(connection, entry) if row["contra"] == STRIPE else None,
        settled=settled_by(connection, entry) if row["contra"] == SETTLED else None,
    )


def entries_of_day(connection: Connection, account_no: int, day: date) -> tuple[Line, ...]:
    """Return the entries of an account's day, by posting."""
    return _lines(connection, "entries_of_day", {"account_no": account_no, "day": day, "no": None})


def _together(connection: Connection, row: dict[str, Any]) -> tuple[Line, ...]:
    values = {"account_no": row["account_no"]}
    if row["usage_day"]:
        where = {**values, "day": row["usage_day"], "no": row["posting_no"]}
        return _lines(connection, "entries_of_day", where)
    return _lines(connection, "entries_of_key", {**values, "key": _key(row["ref"])})


def _lines(connection: Connection, name: str, values: dict[str, Any]) -> tuple[Line, ...]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_SQL[name], values).fetchall()
    with connection.cursor(row_factory=class_row(Draw)) as cursor:
        drawn = cursor.execute(_SQL["draws"], {"entries": [row["id"] for row in rows]}).fetchall()
    return tuple(
        Line(
            what=entry_words(row["book"], row["contra"], row["amount_nano"]),
            draws=tuple(each for each in drawn if each.entry_id == row["id"]),
            **row,
        )
        for row in rows
    )


def _asked(connection: Connection, row: dict[str, Any]) -> Asked | None:
    if row["ref"] is None:
        return None
    values = {"account": row["account"], "key": _key(row["ref"])}
    found = connection.execute(_SQL["trail"], values).fetchone()
    return Asked(*found) if found else None


def _key(reference: str) -> str:
    for follower in _FOLLOWERS:
        reference = reference.removesuffix(follower)
    return reference
