"""What the set-up left, looked at by the ids that are kept: by these accounts are billed.

What stands at Stripe under the same names may be another thing: once a meter is archived, its event name
is free for a second one, whose events no subscription bills.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from stripe.params.billing import MeterListParams

from core.billing.stripe.asking import every, is_gone
from core.billing.stripe.gateway import Ask, Gateway, Result
from core.billing.stripe.site import MeterKind
from core.db.queries import queries_beside
from core.errors import Conflict, StripeFault, StripeRefused

if TYPE_CHECKING:
    from stripe import Product
    from stripe.billing import Meter

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class KeptIds:
    """The ids of the meters, by kind, and of the prices, by kind and currency; nothing before set-up."""

    meters: dict[MeterKind, str]
    prices: dict[tuple[MeterKind, str], str]


def kept_ids(connection: Connection) -> KeptIds:
    """Return what `stripe setup` wrote."""
    meters = connection.execute("SELECT kind, meter_id FROM hopsmeter.stripe_meters").fetchall()
    prices = connection.execute(_SQL["prices_kept"]).fetchall()
    return KeptIds(dict(meters), {(kind, currency): id_ for kind, currency, id_ in prices})


async def faults_of(gateway: Gateway, kept: KeptIds, product_id: str) -> list[str]:
    """Say of each thing that is kept and cannot be billed by why, and what to do."""
    if not kept.meters:
        return []
    product = await find(gateway, lambda it: it.v1.products.retrieve_async(product_id))
    said = [product_fault(product)] if product else []
    said += [await meter_fault(gateway, each) for each in kept.meters.values()]
    said += [await price_fault(gateway, each) for each in kept.prices.values()]
    return [each for each in said if each]


async def find(gateway: Gateway, ask: Ask[Result]) -> Result | None:
    """Return what is asked for by its id, None where Stripe has no such thing."""
    try:
        return await gateway.ask(ask)
    except StripeRefused as fault:
        if not is_gone(fault):
            raise
        return None


async def active_meter(gateway: Gateway, event_name: str) -> Meter | None:
    """Return the meter that takes the events of a name: Stripe has at most one that is active."""
    known = await every(
        gateway,
        lambda client, params: client.v1.billing.meters.list_async(params),
        MeterListParams(status="active"),
        "meters",
    )
    return next((each for each in known if each.event_name == event_name), None)


async def is_archived(gateway: Gateway, event_name: str) -> bool:
    """Say whether surely no meter takes the events of a name; what cannot be asked is not sure."""
    try:
        return await active_meter(gateway, event_name) is None
    except (StripeFault, Conflict):
        return False


def product_fault(found: Product) -> str:
    """Say that the product is archived, and what to do; nothing where it is not."""
    if found.active:
        return ""
    return f"The product {found.id} is archived at Stripe. Restore it in Stripe's dashboard."


async def meter_fault(gateway: Gateway, meter_id: str) -> str:
    """Say why nobody can be billed by the meter that is kept, and what to do; nothing where all are."""
    found = await find(gateway, lambda it: it.v1.billing.meters.retrieve_async(meter_id))
    if found is None:
        return _gone("meter", meter_id)
    if found.status == "active":
        return ""
    said = f"The meter {meter_id} ({found.event_name}), by which accounts are billed, is archived at Stripe"
    twin = await active_meter(gateway, found.event_name)
    if twin is None:
        return f"{said}. Reactivate it in Stripe's dashboard (Billing, Meters)."
    return (
        f"{said}, and {twin.id} takes its events, which nobody is billed for. Archive {twin.id} and"
        " reactivate the first in Stripe's dashboard (Billing, Meters). An hour later `hopsmeter stripe"
        " reconcile --fetch` names the days that the other one took; `hopsmeter stripe again` tells each"
        " again."
    )


async def price_fault(gateway: Gateway, price_id: str) -> str:
    """The same of a price."""
    found = await find(gateway, lambda it: it.v1.prices.retrieve_async(price_id))
    if found is None:
        return _gone("price", price_id)
    if found.active:
        return ""
    return (
        f"The price {price_id}, by which accounts are billed, is archived at Stripe. Restore it in Stripe's"
        " dashboard (Product catalogue)."
    )


def _gone(noun: str, id_: str) -> str:
    return (
        f"Stripe no longer has the {noun} {id_}, by which accounts are billed: what is kept here belongs to"
        " things that are gone. Begin with another database."
    )
