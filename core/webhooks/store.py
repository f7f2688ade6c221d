"""Deliveries are kept under their id before they are answered; many in one statement and one commit."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from core.db.queries import queries_beside
from core.webhooks.event import Connection, Delivery

_SQL = queries_beside(__file__)


def store(connection: Connection, deliveries: Sequence[Delivery]) -> int:
    """Keep what is new, count what came again, and return how many were new; safe to do twice."""
    if not deliveries:
        return 0
    times = Counter((each.source, each.event_id) for each in deliveries if each.came == "delivered")
    # Sorted: two who store the same events at once wait for each other, and never in a circle.
    first = {(each.source, each.event_id): each for each in reversed(deliveries)}
    rows = [first[key] for key in sorted(first)]
    found = connection.execute(_SQL["store"], _columns(rows, times)).fetchone()
    assert found is not None
    return int(found[0])


def _columns(rows: Sequence[Delivery], times: Counter[tuple[str, str]]) -> dict[str, Any]:
    return {
        "sources": [each.source for each in rows],
        "event_ids": [each.event_id for each in rows],
        "types": [each.type for each in rows],
        "subjects": [each.subject for each in rows],
        "created": [each.created_at for each in rows],
        "came": [each.came for each in rows],
        "livemodes": [each.livemode for each in rows],
        "versions": [each.api_version for each in rows],
        "abouts": [msgspec.json.encode(dict(each.about)).decode() for each in rows],
        "digests": [each.body_sha256 for each in rows],
        "notes": [each.note for each in rows],
        "known": [each.known for each in rows],
        "times": [times[each.source, each.event_id] for each in rows],
    }
