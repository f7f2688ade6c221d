"""What follows for an account from what it does not pay, or cannot be asked to pay."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

Word = Literal["good", "warned", "suspend"]
CARD_PATIENCE: Final = timedelta(days=1)
"""Who was linked just now leaves a payment method a little later; nobody is told of it before."""


@dataclass(frozen=True)
class Facts:
    """Since when what is so; `waits`: Stripe is still to be told of what the account owes."""

    unpaid_since: datetime | None = None
    ended_since: datetime | None = None
    paused_since: datetime | None = None
    no_card_since: datetime | None = None
    waits: bool = False
    customer_deleted: bool = False
    """Its subscription ended with it."""


@dataclass(frozen=True)
class Standing:
    """`until` is when it is to stop, unless something changes; None where nothing is wrong."""

    word: Word
    why: str = ""
    until: datetime | None = None


GOOD: Final = Standing("good")


def standing_of(facts: Facts, now: datetime, grace: timedelta) -> Standing:
    """Say how an account stands: warned from the first trouble on, to stop when its grace is over.

    What it owes is reported first: without its card, or with an unpaid invoice, it does not escape
    the invoice over what it used until then.
    """
    of_end = (
        "its customer was deleted at Stripe" if facts.customer_deleted else "its subscription ended"
    )
    found = [
        (since, word)
        for since, word in (
            (facts.unpaid_since, "an invoice is unpaid"),
            (facts.ended_since, of_end),
            (facts.paused_since, "its subscription is paused"),
            (_of_card(facts, now, grace), "it has no payment method"),
        )
        if since is not None
    ]
    if not found:
        return GOOD
    why = "; ".join(f"{word} since {since:%Y-%m-%d}" for since, word in found)
    until = min(since for since, _ in found) + grace
    if now < until:
        return Standing("warned", why, until)
    if facts.waits:
        return Standing("warned", f"{why}; it is to stop once what it owes is reported", until)
    return Standing("suspend", why, until)


def _of_card(facts: Facts, now: datetime, grace: timedelta) -> datetime | None:
    since = facts.no_card_since
    if since is None or now < since + min(CARD_PATIENCE, grace):
        return None
    return since
