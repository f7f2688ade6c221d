"""Which Stripe account this installation belongs to, and what `stripe setup` left there."""

from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import psycopg

from core.billing.stripe.gateway import Door, Gateway, Told
from core.errors import Conflict, SettingsFault, StripeAway, StripeStopped

Connection = psycopg.Connection[Any]
MeterKind = Literal["daily", "sum"]
KINDS: Final[tuple[MeterKind, ...]] = ("daily", "sum")


@dataclass(frozen=True)
class Site:
    """The Stripe account, and the meter that accounts get unless somebody says otherwise."""

    stripe_account: str
    livemode: bool
    default_meter: MeterKind


def read_site(connection: Connection) -> Site | None:
    """Return what `stripe setup` wrote, None before it was run."""
    row = connection.execute(
        "SELECT stripe_account, livemode, default_meter FROM hopsmeter.stripe_site"
    ).fetchone()
    return None if row is None else Site(*row)


def require_site(connection: Connection) -> Site:
    """Return the same; Conflict with the way out before set-up."""
    site = read_site(connection)
    if site is None:
        raise Conflict(
            "Stripe is not set up for this installation: run `hopsmeter stripe setup`, then try"
            " again. Nothing was changed."
        )
    return site


def require_door(door: Door | None) -> Door:
    """Return the way to Stripe; SettingsFault where the daemon has no key."""
    if door is None:
        raise SettingsFault(
            "The daemon has no key of Stripe's: name its file in HOPSMETER_STRIPE_KEY_FILE, restart"
            " hopsmeterd, and try again (docs/stripe.md). Nothing was changed."
        )
    return door


async def account_behind(gateway: Gateway) -> str:
    """Return the id of the Stripe account that the key opens; StripeAway where what answers is no account."""
    account = await gateway.ask(lambda client: client.v1.accounts.retrieve_current_async())
    said = account.to_dict()
    if said.get("object") != "account" or "id" not in said:
        raise StripeAway(
            "What answered is not Stripe: asked for the account, it says something else."
        )
    return str(said["id"])


async def require_same(gateway: Gateway, site: Site) -> None:
    """See to it that the key still opens the account that was set up; Conflict else."""
    refuse_other(site, await account_behind(gateway), livemode=gateway.is_live)


def gateway_of(door: Door, site: Site | None) -> Gateway:
    """Return a gateway that asks nothing of, and tells nothing to, another account than the site's.

    Before its first question it looks which account the key opens: another one may well have a meter
    of our name, and would take our reports for customers that it does not have. Its StripeStopped says
    whose the key is. Without a site there is nothing to compare with.
    """
    if site is None:
        return Gateway(door)

    async def first() -> Told | None:
        try:
            async with Gateway(door) as bare:
                await require_same(bare, site)
                return bare.told
        except Conflict as other:
            raise StripeStopped(other.message) from None
        except StripeAway as fault:
            fault.maybe_done = False
            raise

    return Gateway(door, first=first)


def refuse_other(site: Site, found: str, *, livemode: bool) -> None:
    """Conflict where ids that we keep would mean something else, or nothing."""
    if (found, livemode) == (site.stripe_account, site.livemode):
        return
    raise Conflict(
        f"This installation belongs to the Stripe account {site.stripe_account}"
        f" ({mode_word(site.livemode)}), and the key opens {found} ({mode_word(livemode)}): what is"
        " kept here names customers and prices of the first. Use a key of that account, or another"
        " database for the other one. Nothing was changed."
    )


def mode_word(livemode: bool) -> str:
    return "live" if livemode else "test mode"


def price_of(connection: Connection, kind: MeterKind, currency: str) -> str:
    """Return the metered price of a currency; Conflict with the way out where there is none."""
    row = connection.execute(
        "SELECT price_id FROM hopsmeter.stripe_prices WHERE kind = %s AND currency = %s",
        [kind, currency],
    ).fetchone()
    if row is None:
        raise Conflict(
            f"There is no price in {currency} at Stripe yet: run `hopsmeter stripe setup --currency"
            f" {currency}`, then try again. Nothing was changed."
        )
    return cast("str", row[0])
