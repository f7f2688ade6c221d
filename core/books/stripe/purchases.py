"""The proof of what was bought: credits are what was paid, less what Stripe gave back of it."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg

from core.billing.stripe.lag import RETURNS_WITHIN
from core.billing.stripe.units import nano_of_minor
from core.books.lines import NAMED_MAX, fetched_text
from core.db.queries import queries_beside
from core.money import exact_from_nano

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


def purchases_agree(connection: Connection, now: datetime) -> tuple[list[str], list[str]]:
    """Return how many were compared, over all time, and a sentence for each that is wrong.

    A refund or a dispute that holds is taken from the credits, as far as was paid; one that does not
    hold, or holds no more, is not. What Stripe says of it is as old as is told, of those that are still
    looked at.
    """
    values = {"looked_at_since": now - RETURNS_WITHIN}
    rows = connection.execute(_SQL["purchases_compared"], values).fetchall()
    wrong = [
        f"{account}, purchase {number}: {fault}"
        for account, number, _, *figures in rows
        for fault in _faults(*figures)
    ]
    if not rows:
        return [], []
    word = "1 purchase" if len(rows) == 1 else f"{len(rows)} purchases"
    fetched = [at for _, _, at, *_ in rows if at is not None]
    age = f", {fetched_text(min(fetched), max(fetched), now)}" if fetched else ""
    return [f"{word} compared{age}"], wrong[:NAMED_MAX]


def _faults(
    currency: str, paid: int, entered: int, taken_back: int, taken: int, claimed_minor: int
) -> Iterator[str]:
    def text(nano: int) -> str:
        return f"{exact_from_nano(nano)} {currency}"

    if entered != paid:
        yield f"{text(paid)} were paid, its entry credits {text(entered)}"
    if taken != taken_back:
        yield f"{text(taken_back)} count as taken back, its entries say {text(taken)}"
    claimed = min(paid, nano_of_minor(claimed_minor, currency))
    if taken_back != claimed:
        yield f"{text(taken_back)} are taken back, Stripe gave back or lost {text(claimed)} of it"
