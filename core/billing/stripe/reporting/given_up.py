"""Reports that Stripe does not have and will not take: given up, so that their day is due again.

Stripe takes no events older than 35 days. A report that was refused until then, or never left us,
would be refused for ever, and nothing else of its account could be told behind it. One for a customer that
was deleted it takes, and counts for nobody.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import psycopg

from core.billing.stripe.reporting.limits import REPORTABLE
from core.clock import day_of
from core.db.locks import Lock, take
from core.db.queries import queries_beside
from core.errors import Conflict

_SQL = queries_beside(__file__)
GIVEN_UP_MAX = 10_000
"""In one run."""

Connection = psycopg.Connection[Any]


def give_up_untold(connection: Connection, now: datetime) -> int:
    """Give up what never arrived, and is too old to be told or for a customer that was deleted; return how many.

    What may have arrived is asked about first (core.billing.stripe.reporting.decide).
    """
    with connection.transaction():
        take(connection, Lock.REPORTING)
        values = {"oldest": day_of(now) - REPORTABLE, "limit": GIVEN_UP_MAX}
        found = connection.execute(_SQL["never_arrived"], values).fetchall()
        return give_up(connection, [row[0] for row in found], now) if found else 0


def give_up_refused(
    connection: Connection, account_no: int, day: date | None, now: datetime
) -> int:
    """Give up what Stripe refused of an account, or of one of its days; under the lock REPORTING."""
    values = {"account_no": account_no, "day": day}
    found = connection.execute(_SQL["refused_reports"], values).fetchall()
    for _, of_day, was_tried in found:
        if was_tried:
            raise Conflict(
                f"Stripe refused a report of {of_day} after a try that may have arrived. The hourly run"
                " finds out by Stripe's sums within three hours; where it cannot, look at the customer's"
                " events in Stripe, and say with `hopsmeter stripe decide` whether it arrived."
                " Nothing was changed."
            )
    return give_up(connection, [row[0] for row in found], now) if found else 0


def give_up(connection: Connection, ids: Sequence[int], now: datetime) -> int:
    """Give up reports that Stripe surely does not have; those that somebody is sending are left."""
    return connection.execute(_SQL["give_up"], {"ids": list(ids), "now": now}).rowcount
