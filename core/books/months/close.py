"""Close a month: nothing is posted in it any more, and each account's statement is frozen.

Facts are not frozen: an hour of a closed month may still be corrected, and the difference is posted in
the month that is open then, naming its hour.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final

import psycopg
from psycopg.types.json import Jsonb

from core.audit.trail import record
from core.books.months.frozen import seal_of
from core.books.months.obstacles import obstacles
from core.books.months.untold import Unlinked, unlinked
from core.books.statement.build import build
from core.books.statement.figures import Statement, plain, sha256_of
from core.books.statement.proof import faults
from core.clock import HOUR, month_bounds
from core.db.locks import Lock, take
from core.db.queries import queries_beside
from core.errors import Conflict
from core.identity.principal import Principal

_SQL = queries_beside(__file__)
ACCOUNTS_AT_ONCE: Final = 500
"""Statements that are built, and held in memory, together."""
FAULTS_NAMED_MAX: Final = 5

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Closed:
    """A month that was closed: its statements, and what they tell of hours that are lost."""

    month: str
    statements: int
    charges_nano: dict[str, int]
    """By currency."""
    lost: tuple[tuple[str, str, int], ...]
    """(cluster, state, hours): gaps and waived hours that the statements name."""
    unlinked: tuple[Unlinked, ...] = ()
    """Accounts that owe something of it which Stripe is not told: they are not linked."""


def close_month(
    connection: Connection, principal: Principal, *, month: str, why: str, now: datetime
) -> Closed:
    """Close a month, inside the caller's transaction; Conflict names all that stands in the way."""
    principal.require_admin("close months")
    first, after = month_bounds(month)
    # Nobody posts, singly or in sets, between what is looked at here and what is frozen.
    take(connection, Lock.POSTING)
    take(connection, Lock.CLOSING)
    _require_open(connection, month, first)
    _require_something(connection, month, first, after)
    found = obstacles(connection, first, after, now)
    if found:
        listed = " ".join(f"({number}) {each}" for number, each in enumerate(found, 1))
        raise Conflict(f"{month} cannot be closed yet. {listed} Nothing was changed.")
    frozen, seal = _freeze(connection, principal, first, after, now, why)
    closed = replace(_closed(month, frozen), unlinked=unlinked(connection, first, after, now))
    record(
        connection,
        principal,
        "books.close",
        f"month {month}",
        after={
            "month": month,
            "statements": closed.statements,
            "charges_nano": closed.charges_nano,
            "sha256": seal,
        },
        why=why,
    )
    return closed


def _require_open(connection: Connection, month: str, first: date) -> None:
    row = connection.execute(_SQL["month"], {"first": first}).fetchone()
    assert row is not None
    closed_by, closed_at, open_from = row
    if closed_by is not None:
        raise Conflict(f"{month} was closed on {closed_at:%Y-%m-%d} by {closed_by}.")
    if open_from is not None and first < open_from:
        raise Conflict(
            f"{month} has no entries, and a later month is closed: nothing can be posted in it any"
            " more. Nothing was changed."
        )


def _require_something(connection: Connection, month: str, first: date, after: date) -> None:
    """A month is closed for good, so one that never was is a slip of the finger."""
    row = connection.execute(_SQL["is_empty"], {"first": first, "after": after}).fetchone()
    assert row is not None
    if row[0]:
        raise Conflict(
            f"Nothing was metered or booked in {month}: there is nothing to close."
            " `hopsmeter books months` lists the months there are. Nothing was changed."
        )


def _freeze(
    connection: Connection, principal: Principal, first: date, after: date, now: datetime, why: str
) -> tuple[list[Statement], str]:
    """Write every statement, each of which adds up; return them and the hash over all."""
    values = {"first": first, "after": after}
    accounts = [row[0] for row in connection.execute(_SQL["accounts"], values).fetchall()]
    connection.execute(_SQL["close"], {**values, "by": principal.actor, "why": why})
    frozen: list[Statement] = []
    hashes: list[bytes] = []
    for some in _batches(accounts):
        built = build(connection, some, first, after, now - HOUR)
        for account_no, each in sorted(built.items()):
            _require_sound(each)
            body = plain(each)
            hashes.append(sha256_of(body))
            row = {"account_no": account_no, "first": first, "body": Jsonb(body)}
            connection.execute(_SQL["freeze"], {**row, "sha256": hashes[-1]})
            frozen.append(each)
    return frozen, seal_of(hashes)


def _batches(accounts: Sequence[int]) -> Iterable[Sequence[int]]:
    return (
        accounts[at : at + ACCOUNTS_AT_ONCE] for at in range(0, len(accounts), ACCOUNTS_AT_ONCE)
    )


def _require_sound(each: Statement) -> None:
    """An hour that is stored while we look makes lines that are not posted; so may a fault."""
    wrong = faults(each)
    if each.pending_nano:
        wrong.append("an hour was stored, and not posted, meanwhile")
    if wrong:
        raise Conflict(
            f"The statement of {each.account} does not add up"
            f" ({'; '.join(wrong[:FAULTS_NAMED_MAX])}). Try again in a minute; if it stays so,"
            " `hopsmeter books check` names the rows. Nothing was changed."
        )


def _closed(month: str, frozen: list[Statement]) -> Closed:
    charges: dict[str, int] = {}
    lost: dict[tuple[str, str], int] = {}
    clusters = {each.cluster: each for one in frozen for each in one.clusters}
    for each in frozen:
        known = charges.get(each.currency, 0)
        charges[each.currency] = known + each.charge_nano + each.correction_nano
    for cluster in clusters.values():
        for span in cluster.spans:
            lost[cluster.cluster, span.state] = (
                lost.get((cluster.cluster, span.state), 0) + span.hours
            )
    told = tuple((cluster, state, hours) for (cluster, state), hours in sorted(lost.items()))
    return Closed(month, len(frozen), charges, told)
