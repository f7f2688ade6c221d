"""What a posting changed of an account's day, hour by hour: where a charge, or a correction, came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from core.db.queries import queries_beside

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Move:
    """One allocation as a posting found it, and as the posting before it had.

    Amounts are None where the account did not pay it; `why` says what replaced what was posted.
    """

    cluster: str
    namespace: str
    project: str
    hour: datetime
    plan_before: str | None
    cost_before_nano: int | None
    charge_before_nano: int | None
    plan: str | None
    cost_nano: int | None
    charge_nano: int | None
    revision_before: int | None
    revision: int
    raw_before_sha256: str | None
    raw_sha256: str | None
    why: str
    shares_free: bool
    """Priced by a plan that includes something: what is free moves with every hour of the month, so its
    charge is the present one, its charge before is not kept, and they add up to no posting."""

    @property
    def moved_nano(self) -> int:
        return (self.charge_nano or 0) - (self.charge_before_nano or 0)

    @property
    def is_first(self) -> bool:
        """Say whether nothing of it was posted before."""
        return self.revision_before is None


def moves(connection: Connection, account_no: int, day: date, posting_no: int) -> tuple[Move, ...]:
    """Return what one posting of a day changed of what an account is charged."""
    return moves_of(connection, [account_no], day, posting_no)[account_no]


def moves_of(
    connection: Connection, accounts: Sequence[int], day: date, posting_no: int
) -> dict[int, tuple[Move, ...]]:
    """Return the same of many accounts: each question reads the whole day, whoever it is about."""
    values = {"accounts": list(accounts), "day": day, "no": posting_no}
    found: dict[int, list[Move]] = {account: [] for account in accounts}
    with connection.cursor(row_factory=dict_row) as cursor:
        # A plan that is kept would be one for a single account, and loop over those of many.
        for row in cursor.execute(_SQL["moves"], values, prepare=False):
            found[row.pop("account_no")].append(_move(row))
    return {account: tuple(each) for account, each in found.items()}


def are_kept(connection: Connection, day: date, posting_no: int) -> bool:
    """Say whether the hours of a posting were kept: of those of older versions they were not."""
    found = connection.execute(_SQL["has_hours"], {"day": day, "no": posting_no})
    return found.fetchone() is not None


def _move(row: dict[str, Any]) -> Move:
    before: bytes | None = row.pop("raw_before")
    sha256: bytes | None = row.pop("raw_sha256")
    why = row.pop("why") or ""
    return Move(
        raw_before_sha256=before.hex() if before else None,
        raw_sha256=sha256.hex() if sha256 else None,
        why=why,
        **row,
    )
