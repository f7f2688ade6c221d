"""What is set up at Stripe and what is not, as far as its API tells; the rest is said in words."""

from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from stripe.params import WebhookEndpointListParams

from core.billing.stripe.asking import every
from core.billing.stripe.catalogue import PRODUCT_ID
from core.billing.stripe.currencies import left_out
from core.billing.stripe.event_types import SNAPSHOT
from core.billing.stripe.gateway import API_VERSION, Gateway
from core.billing.stripe.kept import faults_of, kept_ids
from core.billing.stripe.site import MeterKind, account_behind, read_site, refuse_other
from core.errors import StripeRefused, StripeStopped

HOOK_PATH: Final = "/webhooks/stripe"
WANTED: Final = frozenset(SNAPSHOT)
"""Events that an endpoint is to be told of; each is answered by fetching what it is about."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Endpoint:
    """A webhook endpoint at Stripe; `missing` are the events it is not told of."""

    url: str
    status: str
    api_version: str | None
    missing: tuple[str, ...]

    @property
    def fits(self) -> bool:
        return self.status == "enabled" and self.api_version == API_VERSION and not self.missing


@dataclass(frozen=True)
class Overview:
    """What is set up; `remarks` are sentences about what is not, `faults` those that keep us from billing."""

    stripe_account: str
    livemode: bool
    set_up: bool
    default_meter: str | None
    meters: dict[MeterKind, str]
    prices: dict[str, str]
    endpoints: tuple[Endpoint, ...]
    remarks: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


async def look(gateway: Gateway, connection: Connection) -> Overview:
    """Ask Stripe which account it is and who is told of events; Conflict where it is another one."""
    stripe_account = await account_behind(gateway)
    site = read_site(connection)
    if site is not None:
        refuse_other(site, stripe_account, livemode=gateway.is_live)
    remarks = [] if site else ["Not set up yet: run `hopsmeter stripe setup`."]
    kept = kept_ids(connection)
    faults: list[str] = []
    try:
        faults = await faults_of(gateway, kept, PRODUCT_ID)
    except (StripeRefused, StripeStopped) as fault:
        remarks.append(f"Whether a meter or price is archived cannot be read: {fault.message}")
    remarks += [*faults, *left_out(connection)]
    endpoints: tuple[Endpoint, ...] = ()
    try:
        endpoints = await _endpoints(gateway)
        remarks += _remarks(endpoints)
    except (StripeRefused, StripeStopped) as fault:
        remarks.append(f"Who is told of events cannot be read with this key: {fault.message}")
    remarks.append(
        "The grace of invoices cannot be read by API: set it to 72 hours by hand (Billing settings,"
        " invoices: finalisation grace period), else the last day's usage misses its invoice."
    )
    return Overview(
        stripe_account,
        gateway.is_live,
        site is not None,
        site.default_meter if site else None,
        dict(kept.meters),
        {f"{kind} {currency}": price for (kind, currency), price in kept.prices.items()},
        endpoints,
        remarks,
        faults,
    )


async def _endpoints(gateway: Gateway) -> tuple[Endpoint, ...]:
    found = await every(
        gateway,
        lambda client, params: client.v1.webhook_endpoints.list_async(params),
        WebhookEndpointListParams(),
        "webhook endpoints",
    )
    return tuple(
        Endpoint(
            each.url,
            each.status,
            each.api_version,
            ()
            if "*" in each.enabled_events
            else tuple(sorted(WANTED.difference(each.enabled_events))),
        )
        for each in found
        if each.url.endswith(HOOK_PATH)
    )


def _remarks(endpoints: tuple[Endpoint, ...]) -> list[str]:
    if not endpoints:
        said = (
            f"No webhook endpoint ends in {HOOK_PATH}: make one (docs/stripe.md), with the API"
            f" version {API_VERSION}; until then what happens at Stripe is seen by the hourly looks."
        )
        return [said]
    found = []
    for each in endpoints:
        if each.status != "enabled":
            found.append(f"The webhook endpoint {each.url} is {each.status}: enable it.")
        if each.api_version != API_VERSION:
            found.append(
                f"The webhook endpoint {each.url} speaks {each.api_version or 'the default'}, not"
                f" {API_VERSION}: make another one with that version, then delete this one."
            )
        if each.missing:
            found.append(
                f"The webhook endpoint {each.url} is not told of: {', '.join(each.missing)}."
            )
    return found
