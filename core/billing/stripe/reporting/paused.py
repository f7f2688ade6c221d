"""Reports that came to nothing and wait for their next try: how many, why, and all of them tried now."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from core.billing.stripe.reporting.limits import FORGOTTEN, REPORTABLE
from core.clock import day_of

ENDED_MAX: Final = 10_000
"""Pauses that one command ends."""
WHY_CHARS_MAX: Final = 160

_PAUSED: Final = """
    FROM hopsmeter.stripe_reports r
    JOIN hopsmeter.stripe_accounts a ON a.account_no = r.account_no AND a.parked_at IS NULL
    JOIN hopsmeter.users u ON u.no = r.account_no
    WHERE r.state IN ('due', 'in flight', 'unknown') AND r.next_try_at > %(now)s
      AND (r.lease_until IS NULL OR r.lease_until < clock_timestamp())
      AND (r.meter = 'daily' OR r.sent_at IS NULL OR r.sent_at > %(forgotten)s)
      AND NOT a.customer_deleted AND split_part(r.identifier, ':', 1) = u.stripe_customer_id
      AND r.day >= %(oldest)s"""
"""As `claim_reports` takes them, but for the moment: what Stripe takes no more is asked about, not sent."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Paused:
    """How many reports wait for their next try, until when the last of them does, and what failed last."""

    count: int
    until: datetime | None
    error: str

    @property
    def why(self) -> str:
        """What failed last, as short as a sentence may be."""
        if len(self.error) <= WHY_CHARS_MAX:
            return self.error.rstrip(".")
        return f"{self.error[:WHY_CHARS_MAX].rstrip()}…"


def paused(connection: Connection, now: datetime) -> Paused:
    """Return what waits in its pause; of accounts that are parked nothing does."""
    with connection.cursor(row_factory=class_row(Paused)) as cursor:
        found = cursor.execute(
            "SELECT count(*) AS count, max(r.next_try_at) AS until,"
            " coalesce((array_agg(r.error ORDER BY r.next_try_at DESC)"
            f" FILTER (WHERE r.error IS NOT NULL))[1], '') AS error {_PAUSED}",
            _moments(now),
        ).fetchone()
    assert found is not None
    return found


def end_pauses(connection: Connection, now: datetime) -> int:
    """Let what waits be tried now, the longest waiting first; return how many.

    What comes to nothing again gets the next pause, which is longer: a run tries it once.
    """
    return connection.execute(
        "UPDATE hopsmeter.stripe_reports SET next_try_at = %(now)s WHERE id IN"
        f" (SELECT r.id {_PAUSED} ORDER BY r.id LIMIT %(limit)s FOR UPDATE OF r SKIP LOCKED)",
        {**_moments(now), "limit": ENDED_MAX},
    ).rowcount


def _moments(now: datetime) -> dict[str, Any]:
    return {"now": now, "forgotten": now - FORGOTTEN, "oldest": day_of(now) - REPORTABLE}
