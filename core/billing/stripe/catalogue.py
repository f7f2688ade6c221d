"""What hopsmeter needs at Stripe before it can bill: a product, two meters, a price per currency.

What was set up is found again by the ids that are kept. Before that it is by what Stripe keeps unique (the
product's id, an active meter's event name, a price's lookup key), so that a set-up that was cut off is
completed by the next one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import uuid4

import psycopg
from stripe import RequestOptions, StripeClient

from core.audit.trail import record
from core.billing.stripe.asking import MARK, find_or_make
from core.billing.stripe.gateway import Gateway
from core.billing.stripe.kept import (
    KeptIds,
    active_meter,
    find,
    kept_ids,
    meter_fault,
    price_fault,
    product_fault,
)
from core.billing.stripe.site import (
    KINDS,
    MeterKind,
    account_behind,
    mode_word,
    read_site,
    refuse_other,
)
from core.billing.stripe.units import unit_price
from core.clock import utc_now
from core.db.queries import queries_beside
from core.errors import Conflict
from core.identity.principal import Principal

if TYPE_CHECKING:
    from stripe import Price
    from stripe.billing import Meter
    from stripe.params import PriceCreateParams, ProductCreateParams
    from stripe.params.billing import MeterCreateParams

_SQL = queries_beside(__file__)
PRODUCT_ID: Final = "hopsmeter_usage"
PRODUCT_NAME: Final = "Hopsworks usage"
EVENT_NAMES: Final[dict[MeterKind, str]] = {"daily": "hopsmeter_daily", "sum": "hopsmeter_sum"}
METER_NAMES: Final[dict[MeterKind, str]] = {
    "daily": "hopsmeter, totals of days",
    "sum": "hopsmeter, differences",
}
CUSTOMER_KEY, VALUE_KEY = "stripe_customer_id", "value"
"""In an event's payload."""

Connection = psycopg.Connection[Any]
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Found:
    """What is at Stripe, made or found; `made` names what was not there before.

    In a dry run ids of what would be made are empty.
    """

    stripe_account: str
    livemode: bool
    product_id: str
    meters: dict[MeterKind, str]
    prices: dict[tuple[MeterKind, str], str]
    made: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SetUp:
    """What the set-up came to: the words of what was made at Stripe, and what changed here."""

    found: Found
    default_meter: MeterKind
    default_before: MeterKind | None
    written: int


async def build(
    gateway: Gateway, connection: Connection, currencies: Sequence[str], *, dry_run: bool
) -> Found:
    """Make at Stripe what is missing there, or only say what would be made.

    Conflict where the key opens another account than before, or something of ours was changed there.
    """
    stripe_account = await account_behind(gateway)
    site = read_site(connection)
    if site is not None:
        refuse_other(site, stripe_account, livemode=gateway.is_live)
    maker = _Maker(gateway, kept_ids(connection), dry_run)
    product = await maker.product()
    meters = await maker.meters()
    prices = {
        (kind, currency): await maker.price(kind, currency, product, meters[kind])
        for kind in KINDS
        for currency in currencies
    }
    return Found(stripe_account, gateway.is_live, product, meters, prices, maker.made)


def write_down(
    connection: Connection,
    principal: Principal,
    found: Found,
    *,
    meter: MeterKind | None,
    why: str,
) -> SetUp:
    """Keep the ids; inside the caller's transaction. Conflict where others are kept already."""
    principal.require_admin("set Stripe up")
    before = read_site(connection)
    chosen = meter or (before.default_meter if before else "daily")
    written = 0
    for kind, meter_id in found.meters.items():
        values = {
            "kind": kind,
            "meter_id": meter_id,
            "event_name": EVENT_NAMES[kind],
            "product_id": found.product_id,
        }
        written += _keep(connection, "keep_meter", values, meter_id)
    for (kind, currency), price_id in found.prices.items():
        values = {"kind": kind, "currency": currency, "price_id": price_id}
        written += _keep(connection, "keep_price", values, price_id)
    site = {
        "account": found.stripe_account,
        "livemode": found.livemode,
        "meter": chosen,
    }
    written += connection.execute(_SQL["keep_site"], site).rowcount
    if written:
        record(
            connection,
            principal,
            "stripe.setup",
            f"stripe {found.stripe_account}",
            before={"default_meter": before.default_meter} if before else None,
            after={
                **site,
                "product": found.product_id,
                "meters": found.meters,
                "prices": {f"{kind} {money}": id_ for (kind, money), id_ in found.prices.items()},
                "made": found.made,
            },
            why=why,
        )
    return SetUp(found, chosen, before.default_meter if before else None, written)


def _keep(connection: Connection, name: str, values: dict[str, Any], now_id: str) -> int:
    """Write an id down; return whether it is new. A kept id stays: accounts were billed by it."""
    row = connection.execute(_SQL[name], values).fetchone()
    assert row is not None
    kept, is_new = row
    if kept != now_id:
        raise Conflict(
            f"Another set-up kept {kept} at this moment, and this one has {now_id}: archive that in"
            " Stripe's dashboard, then run the set-up again. Nothing was changed here."
        )
    return int(is_new)


class _Maker:
    """Finds or makes one thing after the other, and keeps account of what it made."""

    def __init__(self, gateway: Gateway, kept: KeptIds, dry_run: bool) -> None:
        self._gateway, self._kept, self._dry_run = gateway, kept, dry_run
        self.made: list[str] = []
        # All of it is unique at Stripe by a name of ours, so a run has keys of its own.
        self._run = uuid4()

    async def product(self) -> str:
        params: ProductCreateParams = {
            "id": PRODUCT_ID,
            "name": PRODUCT_NAME,
            "metadata": {MARK: "usage"},
        }
        found = await self._find_or_make(
            f"product {PRODUCT_ID}",
            lambda: find(self._gateway, lambda it: it.v1.products.retrieve_async(PRODUCT_ID)),
            lambda client, options: client.v1.products.create_async(params, options),
        )
        self._refuse(product_fault(found) if found else "")
        return PRODUCT_ID

    async def meters(self) -> dict[MeterKind, str]:
        return {kind: await self._meter(kind) for kind in KINDS}

    async def _meter(self, kind: MeterKind) -> str:
        if kept := self._kept.meters.get(kind):
            self._refuse(await meter_fault(self._gateway, kept))
            return kept
        found = await self._find_or_make(
            f"meter {EVENT_NAMES[kind]}",
            lambda: active_meter(self._gateway, EVENT_NAMES[kind]),
            lambda client, options: client.v1.billing.meters.create_async(
                _meter_params(kind), options
            ),
        )
        if found is None:
            return ""
        self._refuse(_shape_fault(found, kind))
        return found.id

    async def price(self, kind: MeterKind, currency: str, product: str, meter: str) -> str:
        if kept := self._kept.prices.get((kind, currency)):
            self._refuse(await price_fault(self._gateway, kept))
            return kept
        lookup_key = f"hopsmeter_{kind}_{currency.lower()}"
        params = _price_params(lookup_key, currency, product, meter)

        async def look() -> Price | None:
            answer = await self._gateway.ask(
                lambda client: client.v1.prices.list_async({"lookup_keys": [lookup_key]})
            )
            found = next((each for each in answer.data if each.active), None)
            if found is None and answer.data:
                # One that is archived keeps its lookup key until another takes it over.
                params["transfer_lookup_key"] = True
            return found

        found = await self._find_or_make(
            f"price {lookup_key}",
            look,
            lambda client, options: client.v1.prices.create_async(params, options),
        )
        if found is None:
            return ""
        self._refuse(_price_fault(found, currency, meter))
        return found.id

    def _refuse(self, fault: str) -> None:
        """Conflict where there is a fault: with it nothing more is made."""
        if not fault:
            return
        left = f"Made until then: {', '.join(self.made)}." if self.made else ""
        if self._dry_run or not left:
            left = "Nothing was changed."
        raise Conflict(f"{fault} Then run the set-up again. {left}")

    async def _find_or_make(
        self,
        what: str,
        look: Callable[[], Awaitable[Thing | None]],
        make: Callable[[StripeClient, RequestOptions], Awaitable[Thing]],
    ) -> Thing | None:
        if self._dry_run:
            found = await look()
            if found is None:
                self.made.append(what)
            return found
        thing, is_new = await find_or_make(
            self._gateway, look, make, what, self._run, now=utc_now()
        )
        if is_new:
            self.made.append(what)
        return thing


def _meter_params(kind: MeterKind) -> MeterCreateParams:
    params: MeterCreateParams = {
        "display_name": METER_NAMES[kind],
        "event_name": EVENT_NAMES[kind],
        "default_aggregation": {"formula": "sum"},
        "customer_mapping": {"type": "by_id", "event_payload_key": CUSTOMER_KEY},
        "value_settings": {"event_payload_key": VALUE_KEY},
    }
    if kind == "daily":
        params["event_time_window"] = "day"
    return params


def _price_params(lookup_key: str, currency: str, product: str, meter: str) -> PriceCreateParams:
    return {
        "currency": currency.lower(),
        "product": product,
        "lookup_key": lookup_key,
        "nickname": f"a millionth of {currency}",
        "unit_amount_decimal": unit_price(currency),
        "recurring": {"interval": "month", "usage_type": "metered", "meter": meter},
        "metadata": {MARK: "usage"},
    }


def _shape_fault(found: Meter, kind: MeterKind) -> str:
    """What a meter does with events cannot be changed, so another one's is not to be used."""
    window = "day" if kind == "daily" else None
    is_ours = (
        found.default_aggregation.formula == "sum"
        and found.event_time_window == window
        and found.customer_mapping.event_payload_key == CUSTOMER_KEY
        and found.value_settings.event_payload_key == VALUE_KEY
    )
    if is_ours:
        return ""
    return (
        f"Stripe has a meter for {EVENT_NAMES[kind]} ({found.id}) that counts otherwise than"
        " hopsmeter needs. Deactivate it in the dashboard."
    )


def _price_fault(found: Price, currency: str, meter: str) -> str:
    recurring = found.recurring
    exact = found.unit_amount_decimal
    is_ours = (
        found.currency.upper() == currency
        and exact is not None
        and Decimal(exact) == unit_price(currency)
        and recurring is not None
        and recurring.interval == "month"
        and recurring.meter == meter
    )
    if is_ours:
        return ""
    return (
        f"Stripe's price {found.id} bears the lookup key {found.lookup_key} and is another one"
        f" than hopsmeter makes ({unit_price(currency):f} a unit, monthly, of the meter"
        f" {meter or 'that is still to be made'}). Archive it in the dashboard: its lookup key is taken over."
    )


def told(found: Found, *, dry_run: bool) -> str:
    """Say in a sentence what was made, or would be."""
    where = f"the Stripe account {found.stripe_account} ({mode_word(found.livemode)})"
    if not found.made:
        return f"All is there in {where}."
    verb = "would be made" if dry_run else "made"
    return f"In {where} {verb}: {', '.join(found.made)}."
