"""Events whose delivery was missed, out of Stripe's own list, which has thirty days of them.

Read in slices, oldest first; what was read to stands in `stripe_site`, by Stripe's clock: under one of
ours that is ahead, events would be passed over that are still to come. What is kept already is kept: a
slice that is read twice changes nothing.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg

from core.billing.stripe.event_types import SNAPSHOT, THIN
from core.billing.stripe.gateway import Gateway
from core.billing.stripe.reading import read_event
from core.billing.stripe.their_time import stripe_now
from core.clock import monotonic_s
from core.db.queries import queries_beside
from core.errors import InputFault, StripeRefused
from core.webhooks.event import Delivery
from core.webhooks.store import store

_SQL = queries_beside(__file__)
KEPT_BY_STRIPE: Final = timedelta(days=30)
EDGE: Final = timedelta(minutes=10)
"""Read again before the last mark: an event may be listed a moment after it happened. Also how much
younger than thirty days the oldest is that is still asked for."""
SLICE: Final = timedelta(days=1)
PAGE: Final = 100
TYPES_MAX: Final = 20
"""In one question; Stripe takes no more."""
PAGES_MAX: Final = 2_000
"""Of one slice and question: 200,000 events."""
THIN_MAX: Final = 1_000
"""Of one slice. What is beyond them tells of a meter that the first ones have told of."""
RUN_MAX_S: Final = 400.0

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Missed:
    """What a run brought. `gap` is what lies too far back, None where nothing does."""

    read_to: datetime | None
    listed: int = 0
    new: int = 0
    gap: tuple[datetime, datetime] | None = None


async def fetch_missed(
    connection: Connection,
    gateway: Gateway,
    *,
    stopping: Callable[[], bool] = lambda: False,
) -> Missed:
    """Store what Stripe lists and we never got; the rest of a long absence is the next run's.

    A mark that is ahead of Stripe's clock says nothing of what was read: all that Stripe has is read again.
    Nothing before `stripe setup`, or as long as Stripe tells no time and no event. StripeAway and its kin where Stripe does not answer: what was read
    until then is kept.
    """
    row = connection.execute(_SQL["events_read_to"]).fetchone()
    if row is None:
        return Missed(None)
    set_up_at, read_to = row
    now = await stripe_now(gateway)
    if now is None:
        return Missed(read_to)
    latest, oldest = now + EDGE, now - KEPT_BY_STRIPE + EDGE
    is_ahead = read_to is not None and read_to > latest
    begin = oldest if is_ahead else (read_to or min(set_up_at, now)) - EDGE
    # The first look goes back to the set-up, before which nothing was ours.
    gap = (begin, oldest) if begin < oldest else None
    begin = max(begin, oldest)
    listed = new = 0
    begun_s = monotonic_s()
    while begin < now and monotonic_s() - begun_s < RUN_MAX_S and not stopping():
        end = min(begin + SLICE, now)
        found = await _slice(connection, gateway, begin, end)
        listed, new = listed + found[0], new + found[1]
        connection.execute(_SQL["set_events_read_to"], {"to": end, "latest": latest})
        begin = end
    return Missed(begin, listed, new, gap)


async def _slice(
    connection: Connection, gateway: Gateway, begin: datetime, end: datetime
) -> tuple[int, int]:
    """Store the events of [begin, end], page by page; return how many were listed, and new."""
    listed = new = 0
    bounds = {"gte": int(begin.timestamp()), "lte": int(end.timestamp())}
    for types in _chunks(SNAPSHOT, TYPES_MAX):
        after: str | None = None
        for number in itertools.count(1):
            page = await _snapshots(gateway, types, bounds, after)
            listed += len(page.found)
            new += store(connection, page.found)
            after = page.last
            if not page.more or after is None:
                break
            if number == PAGES_MAX:
                raise StripeRefused(
                    f"Stripe lists more than {PAGES_MAX * PAGE} events between {begin} and {end};"
                    " that cannot be, so none beyond them is fetched."
                )
    thin = await _thin(gateway, begin, end)
    return listed + len(thin), new + store(connection, thin)


@dataclass(frozen=True)
class _Page:
    found: list[Delivery]
    last: str | None
    more: bool


async def _snapshots(
    gateway: Gateway, types: Sequence[str], bounds: dict[str, int], after: str | None
) -> _Page:
    params: dict[str, Any] = {"types": list(types), "created": bounds, "limit": PAGE}
    if after is not None:
        params["starting_after"] = after
    answer = await gateway.ask(lambda it: it.v1.events.list_async(params))  # type: ignore[arg-type]  # a TypedDict, built by part
    things = [thing.to_dict() for thing in answer.data]
    last = str(things[-1]["id"]) if things else None
    return _Page(_deliveries(things, live=gateway.is_live), last, bool(answer.has_more))


async def _thin(gateway: Gateway, begin: datetime, end: datetime) -> list[Delivery]:
    """Return the thin ones: a handful, since each tells of many errors of a meter at once."""

    async def ask(client: Any) -> list[dict[str, Any]]:
        bounds = {"gte": begin.isoformat(), "lte": end.isoformat()}
        params = {"types": list(THIN), "created": bounds, "limit": PAGE}
        answer = await client.v2.core.events.list_async(params)
        found: list[dict[str, Any]] = []
        async for thing in answer.auto_paging_iter():
            found.append(thing.to_dict())
            if len(found) == THIN_MAX:
                break
        return found

    return _deliveries(await gateway.ask(ask), live=gateway.is_live)


def _deliveries(things: Sequence[dict[str, Any]], *, live: bool) -> list[Delivery]:
    """Keep what can be read; what cannot is none of the types that were asked for."""
    found = []
    for thing in things:
        try:
            found.append(read_event(thing, live=live))
        except InputFault:
            continue
    return found


def _chunks(types: Sequence[str], size: int) -> list[Sequence[str]]:
    return [types[at : at + size] for at in range(0, len(types), size)]
