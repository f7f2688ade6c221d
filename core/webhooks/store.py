"""Deliveries are kept under their id before they are answered; many in one statement and one commit."""

from collections.abc import Sequence

import msgspec

from core.db.queries import queries_beside
from core.webhooks.event import Connection, Delivery

_SQL = queries_beside(__file__)


def store(connection: Connection, deliveries: Sequence[Delivery]) -> int:
    """Keep what is new, count what came again, and return how many were new; safe to do twice."""
    if not deliveries:
        return 0
    # One text for all of them: a list for each column costs the endpoint three times as much.
    given = msgspec.json.encode(deliveries).decode()
    found = connection.execute(_SQL["store"], {"given": given}).fetchone()
    assert found is not None
    return int(found[0])
