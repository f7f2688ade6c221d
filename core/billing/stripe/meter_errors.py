"""What a meter could not count after it had accepted it: the accounts of those reports are parked.

Stripe takes an event, and may find out later that it counts for nobody: a customer that was deleted, a
meter that was archived. It tells of some of them by their identifiers, which are our own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from core.audit.trail import record
from core.billing.stripe.event_types import THIN
from core.billing.stripe.gateway import Gateway
from core.db.queries import queries_beside
from core.errors import StripeRefused
from core.identity.principal import DAEMON
from core.webhooks.event import Connection, Event, Handler

_SQL = queries_beside(__file__)
GONE_CODES: Final = frozenset({"resource_missing", "not_found"})
"""Of the first and the second version of Stripe's API."""
SAMPLES_MAX: Final = 1_000
MESSAGE_MAX: Final = 200


@dataclass(frozen=True)
class MeterErrors:
    """How many events were not counted, and of those that Stripe names why: identifier → reason."""

    count: int
    named: Mapping[str, str]


async def fetch_errors(gateway: Gateway, event: Event) -> MeterErrors:
    """Fetch the whole of a thin event, whose notification has no more than its id.

    One that Stripe no longer has tells of nothing; what is missing at Stripe shows when it is compared.
    """
    try:
        whole = await gateway.ask(lambda it: it.v2.core.events.retrieve_async(event.event_id))
    except StripeRefused as fault:
        if fault.code not in GONE_CODES:
            raise
        return MeterErrors(0, {})
    document: dict[str, Any] = whole.to_dict()
    reason = (document.get("data") or {}).get("reason") or {}
    named: dict[str, str] = {}
    for kind in reason.get("error_types") or ():
        for sample in kind.get("sample_errors") or ():
            identifier = (sample.get("request") or {}).get("identifier")
            if identifier and len(named) < SAMPLES_MAX:
                said = str(sample.get("error_message") or "")[:MESSAGE_MAX]
                named[str(identifier)] = f"{kind.get('code')}: {said}".rstrip(": ")
    return MeterErrors(int(reason.get("error_count") or 0), named)


def park(connection: Connection, errors: MeterErrors, event: Event, at: datetime) -> str:
    """Park the accounts whose reports are named, and no other; what is not named is said."""
    values = {"identifiers": list(errors.named), "codes": list(errors.named.values()), "now": at}
    parked = connection.execute(_SQL["park_uncounted"], values).fetchall()
    for account, day, why in parked:
        record(
            connection,
            DAEMON,
            "stripe.park",
            f"account {account}",
            after={"day": str(day), "parked_why": why},
            why=f"event {event.event_id}",
        )
    said = f"{errors.count} events were not counted; {len(parked)} accounts parked"
    if errors.count > len(errors.named):
        said += f"; {errors.count - len(errors.named)} of them Stripe does not name"
    return said


HANDLERS: Final[Mapping[str, Handler[Gateway, Any]]] = {
    type_: Handler(fetch_errors, park) for type_ in THIN
}
