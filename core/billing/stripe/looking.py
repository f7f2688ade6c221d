"""Looks again at purchases of which no webhook may have told: open ones, those taken back of, and in turn all
of which money may still go back.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from core.billing.stripe.gateway import Gateway
from core.billing.stripe.lag import RETURNS_WITHIN
from core.billing.stripe.moments import ahead_of, moments_since, right
from core.billing.stripe.payments import DECIDED, fetch_payment, ours, sessions_since
from core.billing.stripe.settling import settle_payment
from core.clock import monotonic_s
from core.db.queries import queries_beside
from core.errors import Conflict, InputFault, StripeAway, StripeFault, StripeStopped

_SQL = queries_beside(__file__)
OPEN_AFTER: Final = timedelta(minutes=10)
"""So long a webhook has to tell of a payment, before it is asked about."""
LOST_AFTER: Final = timedelta(hours=25)
"""A session lives a day: a purchase that never got one by then is none."""
WATCHED_EACH: Final = timedelta(days=1)
"""So often a purchase is asked about whose refund may fail, or whose dispute is open."""
FAILS_WITHIN: Final = timedelta(days=60)
"""A bank sends a refund back within thirty days of its arrival, which takes weeks at worst."""
SEEN_EACH: Final = timedelta(days=3)
"""So often every other purchase is asked about that somebody may still refund or dispute."""
LOOKED_AT_MAX: Final = 500
WATCHED_MAX: Final = 200
"""Of one look: three questions each, and 4,800 purchases a day."""
UNSEEN_MAX: Final = 200
"""Of one look: 14,400 purchases in three days; where there are more, a round takes longer."""
AWAY_MAX: Final = 3
RUN_MAX_S: Final = 1_200.0
"""Then the look ends by itself; the next one goes on with the longest unseen."""

Connection = psycopg.Connection[Any]


@dataclass
class Looked:
    """What a look at purchases found; `faults` are sentences by purchase."""

    looked_at: int = 0
    settled: int = 0
    faults: dict[int, str] = field(default_factory=dict)


async def look_at_purchases(
    connection: Connection, gateway: Gateway, now: datetime, *, purchases_max: int = LOOKED_AT_MAX
) -> Looked:
    """Ask about purchases that are open for a while, about refunds and disputes that may change, and in
    turn about all that may be refunded or disputed.

    Their webhooks may be lost, or still to come; nothing here depends on them.
    """
    now = right(now, gateway.time)
    ahead = ahead_of(now)
    asked: dict[str, dict[str, Any]] = {
        "open_purchases": {"before": now - OPEN_AFTER, "limit": purchases_max},
        "purchases_to_watch": {
            "before": now - WATCHED_EACH,
            "fails_since": now - FAILS_WITHIN,
            "decided": list(DECIDED),
            "limit": min(purchases_max, WATCHED_MAX),
        },
        "purchases_unseen": {
            "before": now - SEEN_EACH,
            "bought_since": now - RETURNS_WITHIN,
            "limit": min(purchases_max, UNSEEN_MAX),
        },
    }
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = {
            row["id"]: row
            for query, values in asked.items()
            for row in cursor.execute(_SQL[query], {**values, "ahead": ahead}).fetchall()
        }
    return await _look_at_each(connection, gateway, rows.values(), now)


async def _look_at_each(
    connection: Connection, gateway: Gateway, rows: Iterable[dict[str, Any]], now: datetime
) -> Looked:
    done, away = Looked(), 0
    begun_s, moment = monotonic_s(), moments_since(now)
    for row in rows:
        if monotonic_s() - begun_s > RUN_MAX_S:
            break
        done.looked_at += 1
        try:
            done.settled += await _look_at(connection, gateway, row, right(moment(), gateway.time))
        except StripeStopped:
            raise
        except StripeFault as fault:
            done.faults[row["id"]] = fault.message
            away += isinstance(fault, StripeAway)
            if away >= AWAY_MAX:
                break
        except (Conflict, InputFault) as fault:
            done.faults[row["id"]] = fault.message
    return done


async def _look_at(
    connection: Connection, gateway: Gateway, row: dict[str, Any], now: datetime
) -> bool:
    """Bring the books to what Stripe has of a purchase; whether that was something new."""
    session_id = row["session_id"]
    if session_id is None and row["customer_id"] is not None:
        # Its number says whose a session is; so far back it is found though our clock was ahead.
        since = min(row["created_at"], now) - LOST_AFTER
        known = await sessions_since(gateway, row["customer_id"], since)
        session_id = next((each.id for each in known if ours(each) == row["id"]), None)
    if session_id is None:
        if now - row["created_at"] < LOST_AFTER:
            return False
        connection.execute(_SQL["purchase_lost"], {"id": row["id"], "now": now})
        return True
    payment = await fetch_payment(gateway, session_id)
    if payment is None and row["state"] == "paid":
        # Kept as looked at all the same: it would stay the longest unseen, and hold up the others.
        connection.execute(_SQL["purchase_unknown"], {"id": row["id"], "at": now})
        raise Conflict(
            f"Stripe has no such session any more as {session_id}, in which purchase {row['id']} was paid:"
            " what is refunded of it cannot be seen here. Nothing was changed."
        )
    with connection.transaction():
        settle_payment(connection, payment, now)
        after = connection.execute(_SQL["standing_of_purchase"], {"id": row["id"]}).fetchone()
    return after != (row["state"], row["refunded_nano"])
