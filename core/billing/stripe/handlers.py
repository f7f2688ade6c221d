"""Who handles which event of Stripe's. A room that handles some exports HANDLERS, and stands here."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from core.billing.stripe import following, uncounted
from core.billing.stripe.event_types import KNOWN
from core.billing.stripe.gateway import Gateway
from core.webhooks.event import Connection, Event, Handler

Handlers = Mapping[str, Handler[Gateway, Any]]

GRACE: Final = timedelta(days=7)
_ROOMS: Final[tuple[Handlers, ...]] = (uncounted.HANDLERS,)


async def _nothing(gateway: Gateway, event: Event) -> None:
    del gateway, event


def _noted(connection: Connection, fetched: None, event: Event, at: datetime) -> str:
    del connection, fetched, event, at
    return "noted: nothing follows from it"


NOTED: Final[Handler[Gateway, None]] = Handler(_nothing, _noted)
"""For what is asked for because people look for it in the list, or because what follows comes by itself."""


def stripe_handlers(grace: timedelta = GRACE) -> Handlers:
    """Return a handler for each known type of event; an assert where two rooms claim one.

    `grace` is how long an account may go on unpaid, as the settings say.
    """
    found: dict[str, Handler[Gateway, Any]] = {}
    for room in (*_ROOMS, following.handlers(grace)):
        twice = found.keys() & room.keys()
        assert not twice, f"two rooms handle {', '.join(sorted(twice))}"
        strange = room.keys() - KNOWN
        assert not strange, f"no endpoint asks for {', '.join(sorted(strange))}"
        found |= room
    return {type_: found.get(type_, NOTED) for type_ in sorted(KNOWN)}
