"""What a meter tells later that it could not count: the accounts are parked, until somebody has looked.

Stripe takes a report at once and counts it afterwards; what fails then comes by a thin event, which names
a few reports by their identifiers. The event itself is fetched: its delivery holds no reasons.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from core.billing.stripe.asking import is_gone
from core.billing.stripe.event_types import THIN
from core.billing.stripe.gateway import Gateway
from core.db.queries import queries_beside
from core.errors import StripeRefused
from core.webhooks.event import Connection, Event, Handler

_SQL = queries_beside(__file__)
NOT_FOUND: Final = "not_found"
"""The same in the words of v2."""
NAMED_MAX: Final = 1_000
CODE_CHARS_MAX: Final = 80

Codes = dict[str, str]
"""Why a report was not counted, in Stripe's word, by its identifier."""


async def _fetch(gateway: Gateway, event: Event) -> Codes:
    try:
        found = await gateway.ask(lambda it: it.v2.core.events.retrieve_async(event.event_id))
    except StripeRefused as fault:
        if is_gone(fault) or fault.code == NOT_FOUND:
            return {}
        raise
    return _codes(found.to_dict())


def _codes(event: Mapping[str, Any]) -> Codes:
    """Read the samples; what is not as expected names nobody."""
    reason = (event.get("data") or {}).get("reason") or {}
    codes: Codes = {}
    for kind in reason.get("error_types") or []:
        for sample in kind.get("sample_errors") or []:
            identifier = (sample.get("request") or {}).get("identifier")
            if isinstance(identifier, str) and len(codes) < NAMED_MAX:
                codes[identifier] = str(kind.get("code") or "unknown")[:CODE_CHARS_MAX]
    return codes


def _apply(connection: Connection, codes: Codes, event: Event, at: datetime) -> str:
    del event
    values = {"identifiers": list(codes), "codes": list(codes.values()), "now": at}
    parked = connection.execute(_SQL["park_uncounted"], values).fetchall()
    if not parked:
        return "names no report of ours that was not told of before"
    return f"parked: {', '.join(sorted(row[0] for row in parked))}"


HANDLERS: Final[Mapping[str, Handler[Gateway, Codes]]] = dict.fromkeys(
    THIN, Handler(_fetch, _apply)
)
