"""Subscriptions: at most one that counts per account, by calendar months of UTC."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Final

from stripe import RequestOptions, StripeClient
from stripe.params import SubscriptionListParams

from core.billing.stripe.asking import MARK, every, find_or_make, id_of, instant
from core.billing.stripe.gateway import Gateway
from core.errors import Conflict, Unknown
from core.identity.accounts import Account

if TYPE_CHECKING:
    from stripe import Subscription, SubscriptionItem
    from stripe.params import SubscriptionCreateParams

DEAD: Final = frozenset({"canceled", "incomplete_expired"})
"""Statuses from which there is no return: nothing used from then on is invoiced."""


@dataclass(frozen=True)
class Item:
    """What a subscription bills: a price, over the open period."""

    id: str
    price_id: str
    period_start: datetime
    period_end: datetime


@dataclass(frozen=True)
class SubscriptionSeen:
    """A subscription as Stripe has it."""

    id: str
    customer_id: str
    status: str
    items: tuple[Item, ...]
    billed_from: datetime
    """Usage before it is on no invoice of this subscription."""
    is_paused: bool
    """By itself, or its collection alone: either way nothing is collected."""
    collection_paused: bool
    ended_at: datetime | None
    card: str | None
    needs_card: bool
    """False where its invoices are sent, and paid by whatever way."""

    @property
    def is_live(self) -> bool:
        return self.status not in DEAD

    def item_of(self, price_ids: Collection[str]) -> Item | None:
        """Return the item that bills one of these prices."""
        return next((each for each in self.items if each.price_id in price_ids), None)


def seen(found: Subscription) -> SubscriptionSeen:
    """Return what we keep of a subscription."""
    paused = found.pause_collection is not None
    return SubscriptionSeen(
        id=found.id,
        customer_id=id_of(found.customer) or "",
        status=found.status,
        items=tuple(_item(each) for each in found.items.data),
        billed_from=datetime.fromtimestamp(found.start_date, UTC),
        is_paused=paused or found.status == "paused",
        collection_paused=paused,
        ended_at=instant(found.ended_at),
        card=id_of(found.default_payment_method) or id_of(found.default_source),
        needs_card=found.collection_method == "charge_automatically",
    )


def _item(found: SubscriptionItem) -> Item:
    return Item(
        found.id,
        found.price.id,
        datetime.fromtimestamp(found.current_period_start, UTC),
        datetime.fromtimestamp(found.current_period_end, UTC),
    )


async def subscriptions_of(gateway: Gateway, customer_id: str) -> list[SubscriptionSeen]:
    """Return all subscriptions that a customer has or had, the newest first."""
    found = await every(
        gateway,
        lambda client, params: client.v1.subscriptions.list_async(params),
        SubscriptionListParams(customer=customer_id, status="all"),
        "subscriptions",
    )
    return [seen(each) for each in found]


def the_live_one(
    known: list[SubscriptionSeen], price_id: str, account: Account
) -> SubscriptionSeen | None:
    """Return the live subscription that has this price; Conflict where there are several."""
    live = [each for each in known if each.is_live and each.item_of([price_id])]
    if len(live) > 1:
        names = ", ".join(each.id for each in live)
        raise Conflict(
            f"{account.label} has {len(live)} live subscriptions at Stripe ({names}), each of which"
            " invoices the same usage. Cancel all but one in the dashboard, then link it:"
            f" `hopsmeter stripe link '{account.id}' --subscription {live[-1].id}`."
        )
    return live[0] if live else None


def bills_twice(
    known: Collection[SubscriptionSeen], own: SubscriptionSeen | None, price_ids: Collection[str]
) -> str:
    """Say which live ones invoice the usage that the account's own, live too, does; else nothing.

    A meter's events belong to the customer: each subscription with its price bills all of them.
    """
    item = own.item_of(price_ids) if own and own.is_live else None
    if own is None or item is None:
        return ""
    beside = [
        each.id
        for each in known
        if each.id != own.id and each.is_live and each.item_of([item.price_id])
    ]
    if not beside:
        return ""
    one = len(beside) == 1
    return (
        f"beside its own subscription {own.id} {'lives' if one else 'live'} {', '.join(beside)}, which"
        f" {'bills' if one else 'bill'} the same usage: cancel {'it' if one else 'them'} in Stripe"
    )


def require_subscription(
    known: list[SubscriptionSeen], subscription_id: str, price_id: str, customer_id: str
) -> SubscriptionSeen:
    """Return the subscription that a person named; refused where it does not bill our meter."""
    found = next((each for each in known if each.id == subscription_id), None)
    if found is None:
        raise Unknown(f"The customer {customer_id} has no subscription {subscription_id}.")
    if not found.is_live:
        raise Conflict(f"The subscription {subscription_id} is {found.status}; name a live one.")
    if found.item_of([price_id]) is None:
        raise Conflict(
            f"The subscription {subscription_id} does not have the price {price_id}, by which"
            " hopsmeter's usage is billed; add it there, or let `stripe link` make another one."
        )
    return found


def require_whole_days(found: SubscriptionSeen, price_id: str, account: Account) -> None:
    """Refuse a subscription whose cycles begin within a day: that day would be on two invoices.

    Any midnight of UTC will do, of whatever day. The first cycle may begin at any time; its end says it.
    """
    item = found.item_of([price_id])
    if item is None or item.period_end.time() == time():
        return
    raise Conflict(
        f"The cycles of {found.id} begin at {item.period_end:%H:%M:%S} UTC, and the daily meter has one"
        " value for a day: the day between two of its invoices would be on both. Cancel it in Stripe"
        f" with a last invoice, then `hopsmeter stripe link '{account.id}'` makes one that begins at"
        " 00:00 UTC."
    )


async def find_or_make_subscription(
    gateway: Gateway,
    account: Account,
    customer_id: str,
    price_id: str,
    *,
    ended: int,
    now: datetime,
) -> SubscriptionSeen:
    """Return the live one, else make one from now on, of calendar months.

    `ended` is how many the customer had before. With that number in its key, one that ended is
    followed by another, and a try whose answer was lost, or two at once, by none.
    """
    params: SubscriptionCreateParams = {
        "customer": customer_id,
        "items": [{"price": price_id}],
        "billing_cycle_anchor_config": {"day_of_month": 1, "hour": 0, "minute": 0, "second": 0},
        "proration_behavior": "none",
        "collection_method": "charge_automatically",
        "off_session": True,
        "metadata": {MARK: account.id},
    }

    async def look() -> SubscriptionSeen | None:
        return the_live_one(await subscriptions_of(gateway, customer_id), price_id, account)

    async def make(client: StripeClient, options: RequestOptions) -> SubscriptionSeen:
        return seen(await client.v1.subscriptions.create_async(params, options))

    key = ("subscription", account.id, customer_id, price_id, ended)
    found, _ = await find_or_make(gateway, look, make, *key, now=now)
    return found
